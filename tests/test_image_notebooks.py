"""What notebooks 07 and 08 define: gradients, octaves, Gram matrices, losses and optimizers."""

import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy.optimize import minimize

from tests.test_gan_notebook import refusals, settings_of
from tests.test_notebook_code import define
from utils import settings
from utils.errors import CompanionError
from utils.models import pretrained
from utils.models.pretrained import to_batch

DREAM_CFG = SimpleNamespace(rate=1.5, scale=1.4, shift=4, seed=0, octaves=3, steps=4)
STYLE_CFG = SimpleNamespace(rate=8.0, seed=0, steps=4, content=1.0, style=10.0, variation=1.0)


def tiny_backbone():
    """Build a network of two smooth layers, so that finite differences are exact enough."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 3))
    x = inputs
    for name, filters, stride in (("layer0", 4, 1), ("layer1", 6, 2)):
        x = keras.layers.Conv2D(filters, 3, stride, padding="same", activation="tanh", name=name)(x)
    return pretrained.Backbone(
        name="tiny",
        model=keras.Model(inputs, x),
        layers=("layer0", "layer1"),
        preprocess=lambda images: images / 128.0 - 1.0,
        trained_on="nothing",
    )


@pytest.fixture(scope="module")
def deepdream():
    """The functions of notebook 07."""
    names = ("inside", "climbing", "climb", "ascend", "resize", "dream", "coarse_too")
    return SimpleNamespace(**define("07_deepdream", *names, cfg=DREAM_CFG))


@pytest.fixture(scope="module")
def style_transfer():
    """The functions of notebook 08."""
    names = ("distance", "downhill", "note", "adam", "grey", "resize", "gram", "style_loss")
    names += ("variation", "transfer_loss", "lbfgs")
    known = {"cfg": STYLE_CFG, "time": time, "minimize": minimize, "STYLE": (), "network": None}
    return SimpleNamespace(**define("08_style_transfer", *names, **known))


def random_image(height=20, width=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype("uint8")


def finite_difference(loss, images, index, step):
    """Estimate the derivative of a loss by one pixel's value, from both sides."""
    higher = images.copy()
    lower = images.copy()
    higher[index] += step
    lower[index] -= step
    return (float(loss(higher)) - float(loss(lower))) / (2 * step)


@pytest.mark.parametrize("border", [0, 2])
def test_deepdreams_gradient_against_finite_differences(deepdream, border):
    backbone = tiny_backbone()
    weights = {"layer0": 1.0, "layer1": -0.5}
    loss_and_gradient = deepdream.climbing(backbone, weights, border)
    images = random_image()[None].astype("float32")
    loss, gradient = loss_and_gradient(images)
    inner = slice(border, -border) if border else slice(None)
    by_hand = 0.0
    for name, activations in backbone.feature_extractor(weights)(images).items():
        by_hand += weights[name] * (np.array(activations)[:, inner, inner] ** 2).mean()
    np.testing.assert_allclose(loss, by_hand, rtol=1e-5)
    for index in ((0, 10, 12, 0), (0, 9, 7, 2), (0, 12, 15, 1)):
        expected = finite_difference(lambda at: loss_and_gradient(at)[0], images, index, 4.0)
        np.testing.assert_allclose(np.array(gradient)[index], expected, rtol=0.03, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 2), (3, 9), (4, 5), (10, 12)])
def test_leaving_the_border_out_never_leaves_nothing(deepdream, height, width):
    activations = np.arange(height * width, dtype="float32").reshape(1, height, width, 1)
    inner = np.array(deepdream.inside(activations, 2))
    top = min(2, (height - 1) // 2)
    left = min(2, (width - 1) // 2)
    expected = activations[:, top : height - top, left : width - left]
    np.testing.assert_array_equal(inner, expected)
    assert inner.size


def test_gradient_ascent_rises_stops_at_its_limit_and_stays_an_image(deepdream):
    loss_and_gradient = deepdream.climbing(tiny_backbone(), {"layer1": 1.0})
    start = to_batch(random_image())
    image, losses = deepdream.ascend(loss_and_gradient, start, 12)
    assert len(losses) == 12
    assert losses == sorted(losses) and losses[-1] > 1.5 * losses[0]
    assert float(np.min(image)) >= 0 and float(np.max(image)) <= 255
    limit = (losses[3] + losses[4]) / 2
    _, limited_losses = deepdream.ascend(loss_and_gradient, start, 12, largest=limit)
    np.testing.assert_allclose(limited_losses, losses[:4])
    grey = start * 0 + 128
    step = np.array(deepdream.climb(grey, loss_and_gradient(start)[1])) - 128
    assert np.abs(step).mean() == pytest.approx(DREAM_CFG.rate, rel=1e-4)


def test_jitter_is_undone(deepdream):
    """Half the sum of squares has the image itself as its gradient, however it is jittered."""

    def loss_and_gradient(images):
        return np.float32(0), images

    start = to_batch(random_image())
    plain, _ = deepdream.ascend(loss_and_gradient, start, 1)
    rng = np.random.default_rng(3)
    jittered, _ = deepdream.ascend(loss_and_gradient, start, 1, shift=7, random=rng)
    np.testing.assert_allclose(jittered, plain, atol=1e-4)


def test_octaves_without_ascent_give_the_image_back(deepdream, monkeypatch):
    def no_ascent(loss_and_gradient, images, *_, **__):
        return images, []

    monkeypatch.setitem(deepdream.dream.__globals__, "ascend", no_ascent)
    small = random_image(12, 14)[None].astype("float32")
    smooth = np.array(deepdream.resize(small, (140, 190)))[0].clip(0, 255)
    *_, result = deepdream.dream(None, smooth)
    assert np.abs(result - smooth).max() <= 1.0
    detailed = random_image(140, 190)
    *_, blurred = deepdream.dream(None, detailed, detail=False)
    assert np.abs(blurred - detailed.astype(float)).mean() > 20


def test_octaves_grow_to_the_images_size_and_none_is_too_small(deepdream):
    loss_and_gradient = deepdream.climbing(tiny_backbone(), {"layer1": 1.0})

    def octaves(image, steps):
        return list(deepdream.dream(loss_and_gradient, image, steps=steps))

    shapes = [octave.shape[:2] for octave in octaves(random_image(100, 140), 1)]
    assert shapes == [(51, 71), (71, 100), (100, 140)]
    assert [octave.shape[:2] for octave in octaves(random_image(40, 90), 1)] == [(40, 90)]
    first = octaves(random_image(60, 60), 2)[-1]
    second = octaves(random_image(60, 60), 2)[-1]
    np.testing.assert_array_equal(first, second)


def test_coarse_forms_are_amplified_in_a_gradient(deepdream):
    checkerboard = (np.indices((1, 32, 32, 3)).sum(axis=0) % 2 * 2 - 1).astype("float32")
    wave = np.sin(np.arange(32) * 2 * np.pi / 32)[None, :, None, None] * np.ones((1, 32, 32, 3))
    gradient = (checkerboard + 0.1 * wave).astype("float32")
    _, amplified = deepdream.coarse_too(lambda images: (0.0, images))(gradient)

    def coarse_share(values):
        coarse = np.abs((np.array(values) * wave).mean())
        return coarse / np.abs((np.array(values) * checkerboard).mean())

    assert coarse_share(amplified) > 5 * coarse_share(gradient)


def test_gram_against_the_loop_and_against_numpy(style_transfer):
    features = np.random.default_rng(0).normal(size=(1, 5, 4, 3)).astype("float32")
    flat = features.reshape(20, 3)
    loop = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            loop[i, j] = sum(flat[p, i] * flat[p, j] for p in range(20)) / 20
    np.testing.assert_allclose(style_transfer.gram(features), loop, rtol=1e-4)
    np.testing.assert_allclose(style_transfer.gram(features), flat.T @ flat / 20, rtol=1e-4)


def test_variation_against_numpy(style_transfer):
    images = np.random.default_rng(0).uniform(0, 255, (1, 6, 9, 3)).astype("float32")
    down = (np.diff(images, axis=1) ** 2).mean()
    right = (np.diff(images, axis=2) ** 2).mean()
    np.testing.assert_allclose(style_transfer.variation(images), (down + right) / 1e4, rtol=1e-4)
    constant = np.full((1, 6, 9, 3), 77.0, "float32")
    assert float(style_transfer.variation(constant)) == 0


def test_distance_is_zero_for_equal_features_and_one_for_none(style_transfer):
    target = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    distance = style_transfer.distance
    assert float(distance(target, target)) == 0
    np.testing.assert_allclose(distance(0 * target, target), 1, rtol=1e-6)
    np.testing.assert_allclose(distance(5 * target, 10 * target), 0.25, rtol=1e-5)


def transfer_loss(style_transfer, photograph, painting):
    return style_transfer.transfer_loss(
        photograph,
        painting,
        1.0,
        10.0,
        1.0,
        seen_by=tiny_backbone(),
        layers=("layer0", "layer1"),
        kept="layer1",
    )


def test_content_and_style_losses_vanish_where_they_must(style_transfer):
    photograph = random_image()
    painting = random_image(18, 30, 1)
    losses = transfer_loss(style_transfer, photograph, painting)(to_batch(photograph))
    assert float(losses["content"]) < 1e-10 and float(losses["style"]) > 0.01
    own_style = transfer_loss(style_transfer, photograph, photograph)
    assert float(own_style(to_batch(photograph))["style"]) < 1e-10


def test_the_transfers_gradient_against_finite_differences(style_transfer):
    loss = transfer_loss(style_transfer, random_image(), random_image(18, 30, 1))
    loss_and_gradient = style_transfer.downhill(loss)
    images = random_image(20, 24, 2)[None].astype("float32")
    total, gradient, parts = loss_and_gradient(images)
    np.testing.assert_allclose(total, sum(float(part) for part in parts.values()), rtol=1e-5)
    for index in ((0, 10, 12, 0), (0, 0, 7, 2), (0, 19, 23, 1)):
        expected = finite_difference(lambda at: loss_and_gradient(at)[0], images, index, 4.0)
        np.testing.assert_allclose(np.array(gradient)[index], expected, rtol=0.03, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_both_optimizers_find_the_minimum(style_transfer, optimizer):
    target = random_image().astype("float32")
    log = []

    def loss(images):
        return {"squared error": keras.ops.mean((images - target) ** 2) / 1e4}

    optimize = getattr(style_transfer, optimizer)
    *_, image = optimize(style_transfer.downhill(loss), random_image(seed=5), 150, log=log)
    assert np.abs(image - target).max() <= 2
    assert log[-1]["total"] < 1e-3 * log[0]["total"]
    assert log[-1]["squared error"] == pytest.approx(log[-1]["total"])
    seconds = [line["seconds"] for line in log]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 9])
def test_the_shortest_way_with_adam_yields_an_image(style_transfer, steps):
    """Half of one step, as some cells take it, is none."""
    taken = []

    def loss_and_gradient(images):
        taken.append(1)
        return np.float32(1), images * 0 + 1, {"loss": np.float32(1)}

    images = list(style_transfer.adam(loss_and_gradient, random_image(), steps, rate=3))
    assert len(taken) == max(1, steps)
    assert images[-1].shape == (20, 24, 3) and images[-1].dtype == np.uint8


@pytest.mark.parametrize(
    ("stem", "refused"),
    [
        ("07_deepdream", {"longest one", "scale half"}),
        ("08_style_transfer", {"size one", "small one"}),
    ],
)
@pytest.mark.parametrize("profile", settings.PROFILES)
def test_impossible_settings_are_refused_where_they_stand(monkeypatch, profile, stem, refused):
    monkeypatch.setenv("COMPANION_PROFILE", profile)
    sentences = refusals(stem)
    assert set(sentences) == refused
    for tried, sentence in sentences.items():
        assert sentence.startswith(f"cfg.{tried.split()[0]} = ") and "choose" in sentence


@pytest.mark.parametrize("stem", ["07_deepdream", "08_style_transfer"])
def test_no_setting_is_left_unchecked(stem):
    chosen, refusing = settings_of(stem)
    namespace = {"settings": settings, "seed": 3}
    exec(chosen, namespace)
    cfg = namespace["cfg"]
    for name, number in dict(vars(cfg)).items():
        if name == "seed":
            continue
        for impossible in ("3", -1):
            setattr(cfg, name, impossible)
            with pytest.raises(CompanionError, match=f"^cfg.{name} = {impossible!r}: choose"):
                exec(refusing, namespace)
        setattr(cfg, name, number)
