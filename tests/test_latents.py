"""Walks between codes, against rotations that are done in another way."""

import numpy as np

from utils.models.latents import slerp


def test_in_a_plane_it_is_a_rotation():
    shares = np.linspace(0, 1, 7)[:, None]
    walk = slerp(np.array([2.0, 0.0]), np.array([0.0, 2.0]), shares)
    angles = shares * np.pi / 2
    np.testing.assert_allclose(walk, 2 * np.hstack([np.cos(angles), np.sin(angles)]), atol=1e-12)


def test_many_pairs_keep_their_length_and_turn_evenly():
    random = np.random.default_rng(5)
    first, last = random.normal(size=(2, 6, 9))
    last *= np.linalg.norm(first, axis=1, keepdims=True) / np.linalg.norm(
        last, axis=1, keepdims=True
    )
    steps = np.stack([slerp(first, last, share) for share in np.linspace(0, 1, 5)])
    lengths, strides = (
        np.linalg.norm(steps, axis=-1),
        np.linalg.norm(np.diff(steps, axis=0), axis=-1),
    )
    np.testing.assert_allclose(steps[[0, -1]], [first, last], atol=1e-9)
    np.testing.assert_allclose(lengths, np.tile(np.linalg.norm(first, axis=1), (5, 1)))
    np.testing.assert_allclose(strides, np.tile(strides[0], (4, 1)))
    one = slerp(first[0], last[0], np.linspace(0, 1, 5)[:, None])
    np.testing.assert_allclose(one, steps[:, 0])
