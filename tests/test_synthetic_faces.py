"""Cartoon faces: reproducible, and their attributes are true of the images."""

import numpy as np
import pytest

from tests.test_synthetic_digits import block_means
from utils.synthetic.faces import (
    ATTRIBUTE_PROBABILITIES,
    ATTRIBUTE_RANGES,
    draw_faces,
    render_faces,
    sample_attributes,
)

COUNT = 40

# Block means (3, 3) of the red, green and blue of faces 0 and 64, the latter of which begins the
# second chunk, and face 64's attributes.
GOLDEN_BLOCKS = [
    [
        [[100, 71, 82], [106, 193, 74], [106, 148, 80]],
        [[162, 87, 134], [141, 153, 114], [140, 120, 128]],
        [[106, 63, 88], [97, 125, 76], [98, 97, 84]],
    ],
    [
        [[151, 138, 146], [162, 200, 153], [152, 161, 149]],
        [[160, 121, 151], [161, 161, 145], [161, 135, 157]],
        [[96, 73, 91], [101, 134, 93], [100, 111, 98]],
    ],
]
GOLDEN_ATTRIBUTES = {
    "smile": -0.4496,
    "skin": 0.8246,
    "hair": 0.4629,
    "hair_length": 0.1978,
    "turn": 0.4039,
    "light": -0.0715,
    "background": 0.1914,
    "width": -0.4008,
    "height": -0.952,
    "eyes": -0.024,
    "iris": 0.2983,
    "brows": -0.6019,
    "nose": -0.5622,
    "lips": 0.9461,
    "shirt": 0.6629,
    "tilt": 0.1588,
    "x": 0.3643,
    "y": 0.7797,
    "glasses": 0.0,
    "beard": 0.0,
}


def constant(value):
    return np.full(COUNT, value, "float32")


@pytest.fixture(scope="module")
def attributes():
    """Forty faces that look straight ahead, beardless, in the middle of the image."""
    neutral = {"turn": 0, "tilt": 0, "x": 0, "y": 0, "beard": 0, "light": 0}
    neutral = {name: constant(value) for name, value in neutral.items()}
    return sample_attributes(COUNT, "people") | neutral


def render_with(attributes, **values):
    """Render the faces with some attributes set to the same value for all: (40, 64, 64, 3), int."""
    values = {name: constant(value) for name, value in values.items()}
    return render_faces(attributes | values).astype(int)


def test_faces_are_the_same_on_every_machine():
    """NumPy's random streams and rounding (AVX or not) may differ; what is drawn may not."""
    images, attributes = draw_faces(65)
    for name, expected in GOLDEN_ATTRIBUTES.items():
        assert attributes[name][64] == pytest.approx(expected, abs=1e-4), name
    for index, expected in zip((0, 64), GOLDEN_BLOCKS, strict=True):
        # 63 of 64 pixels: divisible by three
        found = block_means(images[index, :63, :63], 3, 3).transpose(2, 0, 1)
        np.testing.assert_allclose(found, expected, atol=2)


def test_the_first_faces_do_not_depend_on_the_count():
    images, _ = draw_faces(5)
    np.testing.assert_array_equal(images, draw_faces(100)[0][:5])
    np.testing.assert_array_equal(images, draw_faces(5)[0])
    assert not np.array_equal(images, draw_faces(5, seed="test")[0])
    more_attributes = sample_attributes(100)
    for name, values in sample_attributes(5).items():
        np.testing.assert_array_equal(values, more_attributes[name][:5])


def test_a_count_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        draw_faces(0)


def test_a_smile_lifts_the_corners_of_the_mouth(attributes):
    """Compare the mean row of the mouth's pixels at its corners with that in its middle."""
    neutral = render_with(attributes, smile=0)
    rows = np.arange(14)[None, :, None]
    lifts = []
    for smile in (-1, -0.5, 0, 0.5, 1):
        faces = render_with(attributes, smile=smile)
        mouth = faces[:, 38:52, 22:42]
        skin = np.median(mouth.reshape(COUNT, -1, 3), axis=1)[:, None, None]
        is_mouth = np.abs(mouth - skin).sum(axis=-1) > 60
        corners = is_mouth[:, :, [2, 3, -4, -3]]
        middle = is_mouth[:, :, 8:12]
        corner_row = (corners * rows).sum() / corners.sum()
        middle_row = (middle * rows).sum() / middle.sum()
        lifts.append(middle_row - corner_row)
        if smile != 0:
            change = np.abs(faces - neutral)
            assert change[:, 34:56].sum() > 0.5 * change.sum(), "it is the mouth that changes"
    assert (np.diff(lifts) > 0.3).all(), lifts


def test_each_attribute_changes_its_own_region(attributes):
    """Check which rows and columns of 64 change between the two ends of an attribute."""

    def change(name, low, high):
        return np.abs(
            render_with(attributes, **{name: high}) - render_with(attributes, **{name: low})
        )

    glasses = change("glasses", 0, 1)
    assert glasses[:, 20:38].sum() == glasses.sum() > 0
    beard = change("beard", 0, 1)
    assert beard[:, 34:].sum() == beard.sum() > 0
    wall = change("background", 0, 0.5)
    corner = wall[:, 2:8, 2:8].max(axis=-1)  # of the three channels, the one that changes most
    assert corner.min() > 0 and wall[:, 30:40, 28:36].max() == 0
    shirt = change("shirt", 0, 0.5)
    assert shirt[:, :50].max() == 0 < shirt[:, 60:].max()


def test_skin_hair_and_light_can_be_measured(attributes):
    skin = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        skin.append(render_with(attributes, skin=value)[:, 36:40, 22:25].mean())  # a cheek
    assert (np.diff(skin) > 10).all()
    hair = []
    for value in (0, 0.33, 0.67, 1):
        hair.append(render_with(attributes, hair=value)[:, 10:14, 26:38].mean())
    assert (np.diff(hair) > 5).all()
    lit_from_right = render_with(attributes, light=1)
    left = lit_from_right[:, :, :24].mean(axis=(1, 2, 3))
    right = lit_from_right[:, :, 40:].mean(axis=(1, 2, 3))
    assert (right > left).all()


def test_glasses_move_with_the_turn_of_the_head(attributes):
    columns = np.arange(64)
    mean_columns = []
    for turn in (-1, 0, 1):
        with_glasses = render_with(attributes, turn=turn, glasses=1)
        without = render_with(attributes, turn=turn, glasses=0)
        change = np.abs(with_glasses - without).sum(axis=(0, 1, 3))  # (columns,)
        mean_columns.append((change * columns).sum() / change.sum())
    left, straight, right = mean_columns
    assert left + 2 < straight < right - 2
    assert straight == pytest.approx(31.5, abs=0.5)


def test_attributes_are_independent_and_fill_their_range():
    attributes = sample_attributes(4_000)
    values = np.stack(list(attributes.values()))
    correlations = np.corrcoef(values) - np.eye(len(values))
    assert np.abs(correlations).max() < 0.075
    for name, (low, high) in ATTRIBUTE_RANGES.items():
        quantiles = np.quantile(attributes[name], [0, 0.5, 1])
        expected = [low, (low + high) / 2, high]
        np.testing.assert_allclose(quantiles, expected, atol=0.06 * (high - low))
    for name, probability in ATTRIBUTE_PROBABILITIES.items():
        assert set(attributes[name]) == {0, 1}
        assert attributes[name].mean() == pytest.approx(probability, abs=0.03)


def test_a_small_face_is_the_large_one_shrunk():
    large, attributes = draw_faces(20, 64)
    small = render_faces(attributes, 32)
    shrunk = large.reshape(20, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - shrunk).max() <= 1
