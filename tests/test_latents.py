"""Spherical interpolation, against rotations computed another way."""

import numpy as np

from utils.models.latents import slerp


def test_in_a_plane_it_is_a_rotation():
    fractions = np.linspace(0, 1, 7)[:, None]
    path = slerp(np.array([2.0, 0.0]), np.array([0.0, 2.0]), fractions)  # (7, 2)
    angles = fractions * np.pi / 2
    np.testing.assert_allclose(path, 2 * np.hstack([np.cos(angles), np.sin(angles)]), atol=1e-12)


def test_the_path_keeps_the_norm_and_has_equal_steps():
    rng = np.random.default_rng(5)
    first, last = rng.normal(size=(2, 6, 9))
    first_norms = np.linalg.norm(first, axis=1, keepdims=True)
    last *= first_norms / np.linalg.norm(last, axis=1, keepdims=True)
    path = np.stack([slerp(first, last, fraction) for fraction in np.linspace(0, 1, 5)])
    norms = np.linalg.norm(path, axis=-1)  # (5, 6)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=-1)  # (4, 6)
    np.testing.assert_allclose(path[[0, -1]], [first, last], atol=1e-9)
    np.testing.assert_allclose(norms, np.tile(first_norms[:, 0], (5, 1)))
    np.testing.assert_allclose(steps, np.tile(steps[0], (4, 1)))
    single = slerp(first[0], last[0], np.linspace(0, 1, 5)[:, None])
    np.testing.assert_allclose(single, path[:, 0])
