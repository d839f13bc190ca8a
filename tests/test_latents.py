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


def test_without_an_arc_it_is_linear():
    """The same photograph twice, opposite vectors, the origin, a latent space of one dimension."""
    first = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    last = np.array([[1.0, 2.0], [3.0, 6.0], [-1.0, -2.0], [0.0, 0.0]])
    expected = [[1.0, 2.0], [1.5, 3.0], [0.5, 1.0], [0.0, 0.0]]  # a quarter of the way
    np.testing.assert_allclose(slerp(first, last, 0.25), expected, atol=1e-9)
    one_dimension = slerp(np.array([-2.0]), np.array([4.0]), np.linspace(0, 1, 3)[:, None])
    np.testing.assert_allclose(one_dimension, [[-2], [1], [4]])
    # In float32 two equal vectors may seem to be at a small angle.
    rng = np.random.default_rng(5)
    same = rng.normal(size=(50, 32)).astype("float32")
    np.testing.assert_allclose(slerp(same, same.copy(), 0.5), same, rtol=1e-3)
