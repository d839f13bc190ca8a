"""What notebooks 07 and 08 define: gradients, climbs, octaves, Gram matrices, losses, optimisers."""

import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy.optimize import minimize

from tests.test_notebook_code import define
from utils.models import pretrained
from utils.models.pretrained import to_batch

RANDOM = np.random.default_rng(0)
KNOBS = SimpleNamespace(rate=8.0, seed=0, steps=4, content=1.0, style=10.0, variation=1.0)
CFG = SimpleNamespace(rate=1.5, scale=1.4, shift=4, seed=0, octaves=3, steps=4)


def tiny(filters=(4, 6), strides=(1, 2)):
    """A network of two smooth layers in double precision, so that finite differences are exact enough."""
    keras.utils.set_random_seed(1)
    inputs = vectors = keras.Input((None, None, 3))
    names = tuple(f"layer{number}" for number in range(len(filters)))
    for name, count, stride in zip(names, filters, strides, strict=True):
        layer = keras.layers.Conv2D(count, 3, stride, padding="same", activation="tanh", name=name)
        vectors = layer(vectors)
    return pretrained.Backbone(
        "tiny", keras.Model(inputs, vectors), names, lambda seen: seen / 128.0 - 1.0, "nothing"
    )


@pytest.fixture(scope="module")
def dreams():
    names = ("inside", "climbing", "climb", "ascend", "resize", "dream", "coarse_too")
    return SimpleNamespace(**define("07_deepdream", *names, cfg=CFG))


@pytest.fixture(scope="module")
def styles():
    names = (
        "distance",
        "downhill",
        "note",
        "adam",
        "grey",
        "resize",
        "gram",
        "style_loss",
        "variation",
    )
    knobs = {"cfg": KNOBS, "time": time, "minimize": minimize, "STYLE": (), "network": None}
    return SimpleNamespace(**define("08_style_transfer", *names, "transfer_loss", "lbfgs", **knobs))


def picture(height=20, width=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype("uint8")


def finite_difference(loss, at, where, step):
    high, low = at.copy(), at.copy()
    high[where] += step
    low[where] -= step
    return (float(loss(high)) - float(loss(low))) / (2 * step)


@pytest.mark.parametrize("border", [0, 2])
def test_the_dreams_gradient_against_finite_differences(dreams, border):
    network, weights = tiny(), {"layer0": 1.0, "layer1": -0.5}
    slope = dreams.climbing(network, weights, border)
    at = picture()[None].astype("float32")
    loss, uphill = slope(at)
    found = network.feature_extractor(weights)(at)
    cut = slice(border, -border) if border else slice(None)
    by_hand = sum(w * (np.array(found[n])[:, cut, cut] ** 2).mean() for n, w in weights.items())
    np.testing.assert_allclose(loss, by_hand, rtol=1e-5)
    for where in ((0, 10, 12, 0), (0, 9, 7, 2), (0, 12, 15, 1)):
        expected = finite_difference(lambda seen: slope(seen)[0], at, where, 4.0)
        np.testing.assert_allclose(np.array(uphill)[where], expected, rtol=0.03, atol=2e-6)


def test_a_left_out_border_never_leaves_nothing(dreams):
    for height, width in ((1, 2), (3, 9), (4, 5), (10, 12)):
        activations = np.arange(height * width, dtype="float32").reshape(1, height, width, 1)
        kept = np.array(dreams.inside(activations, 2))
        top, left = min(2, (height - 1) // 2), min(2, (width - 1) // 2)
        np.testing.assert_array_equal(kept, activations[:, top : height - top, left : width - left])
        assert kept.size


def test_a_climb_rises_stops_at_its_maximum_and_stays_a_picture(dreams):
    slope = dreams.climbing(tiny(), {"layer1": 1.0})
    start = to_batch(picture())
    climbed, losses = dreams.ascend(slope, start, 12)
    assert losses == sorted(losses) and losses[-1] > 1.5 * losses[0] and len(losses) == 12
    assert float(np.min(climbed)) >= 0 and float(np.max(climbed)) <= 255
    limit = (losses[3] + losses[4]) / 2
    _, some = dreams.ascend(slope, start, 12, largest=limit)
    np.testing.assert_allclose(some, losses[:4])
    step = np.array(dreams.climb(start * 0 + 128, slope(start)[1])) - 128
    assert np.abs(step).mean() == pytest.approx(CFG.rate, rel=1e-4)


def test_a_shift_is_undone(dreams):
    """Half the sum of squares has the picture itself as its slope, wherever that was moved to."""

    def slope(seen):
        return np.float32(0), seen

    start = to_batch(picture())
    plain, _ = dreams.ascend(slope, start, 1)
    shifted, _ = dreams.ascend(slope, start, 1, shift=7, random=np.random.default_rng(3))
    np.testing.assert_allclose(shifted, plain, atol=1e-4)


def test_octaves_without_a_climb_give_the_picture_back(dreams, monkeypatch):
    monkeypatch.setitem(
        dreams.dream.__globals__, "ascend", lambda slope, seen, *_, **__: (seen, [])
    )
    smooth = np.array(dreams.resize(picture(12, 14)[None].astype("float32"), (140, 190)))[0].clip(
        0, 255
    )
    *_, back = dreams.dream(None, smooth)
    assert np.abs(back - smooth).max() <= 1.0
    *_, blurred = dreams.dream(None, picture(140, 190), detail=False)
    assert np.abs(blurred - picture(140, 190).astype(float)).mean() > 20


def test_octaves_grow_to_the_picture_and_none_is_too_small(dreams):
    slope = dreams.climbing(tiny(), {"layer1": 1.0})
    shapes = [step.shape[:2] for step in dreams.dream(slope, picture(100, 140), steps=1)]
    assert shapes == [(51, 71), (71, 100), (100, 140)]
    assert [step.shape[:2] for step in dreams.dream(slope, picture(40, 90), steps=1)] == [(40, 90)]
    first, second = (list(dreams.dream(slope, picture(60, 60), steps=2))[-1] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_coarse_forms_are_added_to_a_gradient(dreams):
    fine = (np.indices((1, 32, 32, 3)).sum(axis=0) % 2 * 2 - 1).astype("float32")  # a checkerboard
    wave = np.sin(np.arange(32) * 2 * np.pi / 32)[None, :, None, None] * np.ones((1, 32, 32, 3))
    _, found = dreams.coarse_too(lambda seen: (0.0, seen))((fine + 0.1 * wave).astype("float32"))

    def share(seen):
        return np.abs((np.array(seen) * wave).mean()) / np.abs((np.array(seen) * fine).mean())

    assert share(found) > 5 * share(fine + 0.1 * wave)


def test_gram_against_the_loop_and_against_numpy(styles):
    found = RANDOM.normal(size=(1, 5, 4, 3)).astype("float32")
    flat = found.reshape(20, 3)
    loop = [
        [sum(flat[p, i] * flat[p, j] for p in range(20)) / 20 for j in range(3)] for i in range(3)
    ]
    np.testing.assert_allclose(styles.gram(found), loop, rtol=1e-4)
    np.testing.assert_allclose(styles.gram(found), flat.T @ flat / 20, rtol=1e-4)


def test_variation_against_numpy(styles):
    seen = RANDOM.uniform(0, 255, (1, 6, 9, 3)).astype("float32")
    expected = (np.diff(seen, axis=1) ** 2).mean() + (np.diff(seen, axis=2) ** 2).mean()
    np.testing.assert_allclose(styles.variation(seen), expected / 1e4, rtol=1e-4)
    assert float(styles.variation(np.full((1, 6, 9, 3), 77.0, "float32"))) == 0


def test_distance_is_nought_for_equals_and_one_for_nothing(styles):
    wanted = RANDOM.normal(size=(2, 3)).astype("float32")
    assert float(styles.distance(wanted, wanted)) == 0
    np.testing.assert_allclose(styles.distance(0 * wanted, wanted), 1, rtol=1e-6)
    np.testing.assert_allclose(styles.distance(5 * wanted, 10 * wanted), 0.25, rtol=1e-5)


@pytest.fixture
def loss(styles):
    eyes = {"seen_by": tiny(), "layers": ("layer0", "layer1"), "kept": "layer1"}
    return styles.transfer_loss(picture(), picture(18, 30, 1), 1.0, 10.0, 1.0, **eyes)


def test_the_losses_vanish_where_they_must(styles, loss):
    parts = loss(to_batch(picture()))
    assert float(parts["content"]) < 1e-10 and float(parts["style"]) > 0.01
    eyes = {"seen_by": tiny(), "layers": ("layer0", "layer1"), "kept": "layer1"}
    same = styles.transfer_loss(picture(), picture(), 1.0, 10.0, 1.0, **eyes)
    assert float(same(to_batch(picture()))["style"]) < 1e-10


def test_the_transfers_gradient_against_finite_differences(styles, loss):
    slope = styles.downhill(loss)
    at = picture(20, 24, 2)[None].astype("float32")
    total, gradient, parts = slope(at)
    np.testing.assert_allclose(total, sum(float(part) for part in parts.values()), rtol=1e-5)
    for where in ((0, 10, 12, 0), (0, 0, 7, 2), (0, 19, 23, 1)):
        expected = finite_difference(lambda seen: slope(seen)[0], at, where, 4.0)
        np.testing.assert_allclose(np.array(gradient)[where], expected, rtol=0.03, atol=1e-5)


@pytest.mark.parametrize("walk", ["adam", "lbfgs"])
def test_both_optimisers_find_the_lowest_point(styles, walk):
    wanted, log = picture().astype("float32"), []
    slope = styles.downhill(lambda seen: {"far": keras.ops.mean((seen - wanted) ** 2) / 1e4})
    *_, found = getattr(styles, walk)(slope, picture(seed=5), 150, log=log)
    assert np.abs(found - wanted).max() <= 2
    assert log[-1]["total"] < 1e-3 * log[0]["total"] and log[-1]["far"] == pytest.approx(
        log[-1]["total"]
    )
    assert [line["seconds"] for line in log] == sorted(line["seconds"] for line in log)
