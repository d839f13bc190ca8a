"""Ways through the spaces that pictures are decoded from: the codes of a VAE, the latent points of a GAN."""

import numpy as np


def slerp(first, last, share):
    """Turn from one code to another by a share of the angle between them, rather than cut straight across.

    Draws of a Gaussian in many dimensions have nearly one length, and a turn keeps it. From Shoemake (1985),
    *Animating rotation with quaternion curves*, section 3.3; for latent spaces White (2016), *Sampling
    generative networks*, section 2.

    Args:
        first, last: codes (d,) or (n, d), at an angle that is neither 0 nor 180 degrees.
        share: 0 gives `first`, 1 `last`; an array (steps, 1) gives the steps between two codes (d,).

    Returns:
        Codes (n, d) or (steps, d).
    """
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(last, axis=-1)
    angle = np.arccos(np.clip((first * last).sum(axis=-1) / lengths, -1, 1))[..., None]
    return (np.sin((1 - share) * angle) * first + np.sin(share * angle) * last) / np.sin(angle)
