"""Digits rendered from fonts: reproducible, balanced, and recognisable."""

import numpy as np
import pytest

from utils.synthetic.digits import draw_digits


def block_means(image, rows, columns):
    """Average an image over a grid of blocks: (rows, columns), or (rows, columns, channels)."""
    height, width = image.shape[:2]
    blocks = image.reshape(rows, height // rows, columns, width // columns, *image.shape[2:])
    return blocks.mean(axis=(1, 3))


# Block means of digits 0, 511 and 512, the last of which begins the second chunk.
GOLDEN_LABELS = [4, 2, 4, 1, 2, 1, 4, 3, 9, 7, 2, 5]
GOLDEN_BLOCKS = [
    [[0, 11, 14, 0], [0, 59, 80, 0], [0, 77, 122, 4], [0, 0, 10, 0]],
    [[0, 110, 94, 0], [7, 212, 107, 0], [1, 176, 165, 0], [0, 59, 44, 0]],
    [[0, 3, 67, 1], [0, 129, 66, 0], [19, 99, 92, 0], [3, 93, 9, 0]],
]


def test_digits_are_the_same_on_every_machine():
    """FreeType, Pillow, NumPy's random streams and rounding may differ; what is drawn may not."""
    images, labels = draw_digits(513)
    assert labels[:12].tolist() == GOLDEN_LABELS
    for index, expected in zip((0, 511, 512), GOLDEN_BLOCKS, strict=True):
        np.testing.assert_allclose(block_means(images[index], 4, 4), expected, atol=2)


def test_the_first_digits_do_not_depend_on_the_count():
    images, labels = draw_digits(5)
    more_images, more_labels = draw_digits(600)
    np.testing.assert_array_equal(images, more_images[:5])
    np.testing.assert_array_equal(labels, more_labels[:5])
    np.testing.assert_array_equal(images, draw_digits(5)[0])
    assert not np.array_equal(images, draw_digits(5, seed="test")[0])


def test_a_count_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        draw_digits(0)


def test_nearest_neighbours_classify_nearly_all_digits():
    """As on MNIST, nearest neighbours on pixels are right far more often than by chance."""
    images, labels = draw_digits(3_000)
    assert images.shape == (3_000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels, minlength=10).min() > 200
    vectors = images.reshape(3_000, -1) / 255
    train = vectors[:2_500]
    test = vectors[2_500:]
    distances = (train**2).sum(axis=1) - 2 * test @ train.T  # squared, less a constant per row
    predicted = labels[:2_500][distances.argmin(axis=1)]
    accuracy = (predicted == labels[2_500:]).mean()
    assert 0.9 < accuracy < 1


def test_digits_are_thin_and_thick_and_lie_inside_the_image():
    images, _ = draw_digits(3_000)
    ink = images.reshape(3_000, -1).mean(axis=1) / 255
    assert ink.min() > 0.02 and ink.max() < 0.6
    assert ink.std() > 0.03, "thin digits and thick ones"
    rows = images[:, [0, -1]].reshape(3_000, -1)
    columns = images[:, :, [0, -1]].reshape(3_000, -1)
    touches_border = (np.hstack([rows, columns]) > 128).any(axis=1)
    assert touches_border.mean() < 0.1
