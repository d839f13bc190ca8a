"""Interpolation between latent vectors, of a VAE or of a GAN."""

import numpy as np


def slerp(first, last, fraction):
    """Interpolate spherically between latent vectors: along the arc between them, not the chord.

    In many dimensions, draws from a Gaussian have nearly the same norm. The arc keeps that norm;
    the middle of the chord is shorter. From Shoemake (1985), *Animating rotation with quaternion
    curves*, section 3.3; for latent spaces White (2016), *Sampling generative networks*, section 2.

    Args:
        first: latent vectors (d,) or (n, d).
        last: latent vectors of the same shape. Where they have the direction of `first`, or the
            opposite one, no arc is given: the interpolation is linear.
        fraction: 0 gives `first`, 1 gives `last`; an array (steps, 1) gives all steps between two
            vectors (d,).

    Returns:
        Latent vectors (n, d) or (steps, d).
    """
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(last, axis=-1)  # (n,)
    cosine = (first * last).sum(axis=-1) / np.where(norms > 0, norms, 1)
    angle = np.arccos(np.clip(cosine, -1, 1))[..., None]  # (n, 1)
    sine = np.sin(angle)
    from_first = np.sin((1 - fraction) * angle) * first
    from_last = np.sin(fraction * angle) * last
    # Two photographs of a folder may be the same file, and a latent space may have one dimension.
    has_arc = sine > 1e-3
    arc = (from_first + from_last) / np.where(has_arc, sine, 1)
    return np.where(has_arc, arc, (1 - fraction) * first + fraction * last)
