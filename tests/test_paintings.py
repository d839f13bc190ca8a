"""Paintings rendered by code: reproducible, cheap, and strokes follow the flow."""

import tracemalloc

import numpy as np
import pytest

from tests.test_synthetic_digits import block_means
from utils.synthetic import paintings

PAINTERS = (paintings.starry_night, paintings.sunset, paintings.glass)

# Block means (channel, row, column) of each painting, 96x128.
GOLDEN_BLOCKS = {
    "starry_night": [
        [[59, 71, 75, 116], [65, 72, 76, 66], [35, 40, 43, 38]],
        [[74, 87, 89, 115], [89, 101, 109, 91], [67, 70, 72, 69]],
        [[99, 120, 112, 106], [116, 147, 150, 127], [79, 86, 85, 85]],
    ],
    "sunset": [
        [[92, 116, 140, 116], [158, 173, 220, 202], [108, 120, 136, 127]],
        [[98, 109, 130, 109], [113, 129, 177, 140], [102, 116, 135, 137]],
        [[121, 147, 139, 146], [91, 96, 122, 110], [94, 87, 80, 69]],
    ],
    "glass": [
        [[52, 134, 126, 43], [63, 204, 209, 51], [41, 81, 115, 52]],
        [[93, 119, 79, 81], [71, 121, 111, 73], [93, 64, 88, 87]],
        [[127, 90, 84, 116], [126, 60, 50, 124], [105, 106, 88, 96]],
    ],
}


@pytest.fixture(scope="module", params=PAINTERS)
def painting(request):
    """A function that paints, and what it paints at 96x128."""
    paint = request.param
    return paint, paint(96, 128)


def test_a_painting_is_the_same_for_the_same_seed(painting):
    paint, image = painting
    assert image.shape == (96, 128, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, paint(96, 128))
    assert np.abs(image.astype(int) - paint(96, 128, seed=1)).mean() > 5


def test_a_painting_is_the_same_on_every_machine(painting):
    """Pillow, NumPy's random streams and rounding may differ; what is painted may not."""
    paint, image = painting
    found = block_means(image, 3, 4).transpose(2, 0, 1)
    np.testing.assert_allclose(found, GOLDEN_BLOCKS[paint.__name__], atol=2)


def test_glass_needs_little_memory():
    """Distances of every pixel to all points would take more than a gigabyte."""
    tracemalloc.start()
    try:
        paintings.glass(384, 480)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.25e9


def mean_change_along(image, angle):
    """Measure how much the brightness changes along a direction."""
    down, right = np.gradient(image.mean(axis=-1))
    return np.abs(np.cos(angle) * right + np.sin(angle) * down).mean()


@pytest.mark.parametrize("angle", [0.0, np.pi / 2, np.pi / 4])
def test_strokes_follow_the_flow(angle):
    canvas = paintings._Canvas(96, 128, 0)
    shape = (canvas.height, canvas.width)
    colours = np.random.default_rng(0).integers(0, 256, (*shape, 3))
    canvas.paint_strokes(colours, np.full(shape, angle), 6_000, 0.1, 0.02, 5)
    image = canvas.to_array().astype(float)
    assert mean_change_along(image, angle) < 0.6 * mean_change_along(image, angle + np.pi / 2)
