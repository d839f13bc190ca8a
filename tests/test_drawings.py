"""Drawn digits and faces: the truth that goes with them is the truth of the picture."""

import numpy as np
import pytest

from utils.synthetic.digits import draw_digits
from utils.synthetic.faces import (
    ATTRIBUTE_PROBABILITIES,
    ATTRIBUTE_RANGES,
    draw_faces,
    render_faces,
    sample_attributes,
)


@pytest.fixture(scope="module")
def people():
    """Forty people who look straight at you, beardless, in the middle of the picture."""
    found = sample_attributes(40, "people")
    still = {"turn": 0, "tilt": 0, "x": 0, "y": 0, "beard": 0, "light": 0}
    return found | {name: np.full(40, value, "float32") for name, value in still.items()}


def with_value(people, name, value):
    return render_faces(people | {name: np.full(40, value, "float32")}).astype(int)


def test_more_begin_with_fewer_and_parts_differ():
    for make in (draw_digits, draw_faces):
        few, more, other = make(5), make(600), make(5, seed="test")
        np.testing.assert_array_equal(few[0], more[0][:5])
        np.testing.assert_array_equal(few[0], make(5)[0])
        assert not np.array_equal(few[0], other[0])
    for name, values in sample_attributes(5).items():
        np.testing.assert_array_equal(values, sample_attributes(100)[name][:5])
    with pytest.raises(ValueError, match="1 or more"):
        draw_digits(0)


def test_digits_are_told_by_a_reader_that_knows_no_fonts():
    """Nearest neighbours, on pixels: as for MNIST, most are right, and far more than by chance."""
    images, labels = draw_digits(3_000)
    assert images.shape == (3_000, 28, 28) and images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels, minlength=10).min() > 200
    known, new = (part.reshape(len(part), -1) / 255 for part in (images[:2_500], images[2_500:]))
    distance = (known**2).sum(axis=1) - 2 * new @ known.T
    right = (labels[:2_500][distance.argmin(axis=1)] == labels[2_500:]).mean()
    assert 0.9 < right < 1
    ink = images.reshape(3_000, -1).mean(axis=1) / 255
    assert ink.min() > 0.02 and ink.max() < 0.6 and ink.std() > 0.03, "thin ones and thick ones"
    assert images[:, [0, -1]].max(axis=(0, 2)).min() < 255 or images[:, :, [0, -1]].mean() < 10


def test_a_smile_lifts_the_corners_of_the_mouth(people):
    """Dark and red pixels of the mouth: their height at the corners against their height in the middle."""
    lifts = []
    for smile in (-1, -0.5, 0, 0.5, 1):
        difference = np.abs(with_value(people, "smile", smile) - with_value(people, "smile", 0))
        faces = with_value(people, "smile", smile)
        mouth = faces[:, 38:52, 22:42]
        skin = np.median(mouth.reshape(40, -1, 3), axis=1)[:, None, None]
        unlike = np.abs(mouth - skin).sum(axis=-1) > 60
        rows = np.arange(14)[None, :, None]
        corners, middle = unlike[:, :, [2, 3, -4, -3]], unlike[:, :, 8:12]
        places = [(part * rows).sum() / part.sum() for part in (corners, middle)]
        lifts.append(places[1] - places[0])
        assert smile == 0 or difference[:, 34:56].sum() > 0.5 * difference.sum(), (
            "it is the mouth that changes"
        )
    assert (np.diff(lifts) > 0.3).all(), lifts


def test_each_attribute_changes_its_own_place(people):
    """Which rows and columns change between the two ends of an attribute, of 64."""
    bare = people | {"glasses": np.zeros(40, "float32")}
    glasses = np.abs(
        render_faces(bare | {"glasses": np.ones(40, "float32")}).astype(int) - render_faces(bare)
    )
    assert glasses[:, 20:38].sum() == glasses.sum() > 0
    beard = np.abs(with_value(people, "beard", 1) - with_value(people, "beard", 0))
    assert beard[:, 34:].sum() == beard.sum() > 0
    wall = np.abs(with_value(people, "background", 0.5) - with_value(people, "background", 0))
    assert (
        wall[:, 2:8, 2:8].min(axis=(1, 2)).max(axis=-1).min() > 0
        and wall[:, 30:40, 28:36].max() == 0
    )
    shirt = np.abs(with_value(people, "shirt", 0.5) - with_value(people, "shirt", 0))
    assert shirt[:, :50].max() == 0 < shirt[:, 60:].max()


def test_skin_hair_light_and_turn_can_be_measured(people):
    cheek = (slice(None), slice(36, 40), slice(22, 25))
    by_skin = [with_value(people, "skin", value)[cheek].mean() for value in (0, 0.25, 0.5, 0.75, 1)]
    assert (np.diff(by_skin) > 10).all()
    top = (slice(None), slice(10, 14), slice(26, 38))
    by_hair = [with_value(people, "hair", value)[top].mean() for value in (0, 0.33, 0.67, 1)]
    assert (np.diff(by_hair) > 5).all()
    lit = with_value(people, "light", 1)
    assert (lit[:, :, 40:].mean(axis=(1, 2, 3)) > lit[:, :, :24].mean(axis=(1, 2, 3))).all()
    # The white of the eyes and the pupils go where the head turns.
    columns = np.arange(64)
    places = []
    for turn in (-1, 0, 1):
        change = np.abs(
            with_value(people | {"glasses": np.ones(40, "float32")}, "turn", turn)
            - with_value(people | {"glasses": np.zeros(40, "float32")}, "turn", turn)
        ).sum(axis=(0, 1, 3))
        places.append((change * columns).sum() / change.sum())
    assert places[0] + 2 < places[1] < places[2] - 2
    assert places[1] == pytest.approx(31.5, abs=0.5)


def test_attributes_are_independent_and_fill_their_range():
    found = sample_attributes(4_000)
    values = np.stack(list(found.values()))
    correlations = np.corrcoef(values) - np.eye(len(values))
    assert np.abs(correlations).max() < 0.075
    for name, (low, high) in ATTRIBUTE_RANGES.items():
        quantiles = np.quantile(found[name], [0, 0.5, 1])
        np.testing.assert_allclose(
            quantiles, [low, (low + high) / 2, high], atol=0.06 * (high - low)
        )
    for name, chance in ATTRIBUTE_PROBABILITIES.items():
        assert set(found[name]) == {0, 1} and found[name].mean() == pytest.approx(chance, abs=0.03)


def test_a_small_face_is_the_large_one_shrunk():
    large, people = draw_faces(20, 64)
    small = render_faces(people, 32)
    shrunk = large.reshape(20, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - shrunk).max() <= 1
