"""What notebook 10 defines: the game's value, both losses, who moves in a step, penalties, modes, layout."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad
from scipy.stats import norm

from tests.test_notebook_code import define

RANDOM = np.random.default_rng(0)
LINE = np.linspace(-12, 16, 20_001)
RING = 2 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)
CFG = SimpleNamespace(latent=16, seed=0, momentum=0.5, ring_steps=1)


@pytest.fixture(scope="module")
def gans():
    """The notebook's functions and classes, those of the step bound to the model as the notebook does."""
    known = {
        "cfg": CFG,
        "STEP": LINE[1] - LINE[0],
        "cross_entropy": keras.losses.BinaryCrossentropy(True),
    }
    names = (
        "sigmoid",
        "value",
        "divergence",
        "small",
        "GAN",
        "train_discriminator",
        "train_generator",
    )
    found = define("10_gan", *names, **known)
    GAN = found["GAN"]
    GAN.train_discriminator, GAN.train_generator = (
        found["train_discriminator"],
        found["train_generator"],
    )
    known |= {"GAN": GAN, "RING": RING}
    names = ("doublings", "generator", "discriminator", "written", "checkerboard", "on_ring")
    found |= define("10_gan", *names, "ring_samples", "diversity", "tiled", **known)
    return SimpleNamespace(**found, **define("10_gan", "WassersteinGAN", "ConditionalGAN", **known))


def compiled(model, rate=1e-3):
    model.compile(*(keras.optimizers.Adam(rate, beta_1=0.5) for _ in range(2)))
    return model


def tensor(values):
    return tf.constant(values, "float32")


def pictures(size, channels, count=8):
    return tensor(RANDOM.uniform(-1, 1, (count, size, size, channels)))


def values_of(variables):
    return [variable.numpy() for variable in variables]


def changed(before, variables):
    return [bool((old != new.numpy()).any()) for old, new in zip(before, variables, strict=True)]


@pytest.mark.parametrize("far", [0.0, 0.7, 2.0, 5.0])
def test_the_best_discriminators_value_is_that_of_the_theory(gans, far):
    p, q = norm.pdf(LINE, 0, 1), norm.pdf(LINE, far, 1)
    best = gans.value(p, q, norm.logpdf(LINE, 0, 1) - norm.logpdf(LINE, far, 1))

    def kl_to_middle(x, own, other):
        return own.pdf(x) * (own.logpdf(x) - np.log((own.pdf(x) + other.pdf(x)) / 2))

    ours, theirs = norm(0, 1), norm(far, 1)
    jsd = sum(
        quad(kl_to_middle, -12, 16, pair, limit=200)[0] / 2
        for pair in ((ours, theirs), (theirs, ours))
    )
    assert best == pytest.approx(-np.log(4) + 2 * jsd, abs=1e-6)
    assert gans.divergence(p, q) == pytest.approx(jsd, abs=1e-6)
    for bend in (0.2, -0.2, 0.3 * np.sin(2 * LINE)):
        assert gans.value(p, q, norm.logpdf(LINE) - norm.logpdf(LINE, far, 1) + bend) < best


def test_both_losses_are_those_of_numpy(gans):
    """A step without label noise records what the formulas give for the networks as they were before it."""
    keras.utils.set_random_seed(1)
    gan = compiled(gans.GAN(gans.small(4, 2), gans.small(2, 1)), rate=0.0)
    real, fixed = (RANDOM.normal(size=(32, size)).astype("float32") for size in (2, 4))
    made = gan.generator(fixed)
    gan.make = lambda count: gan.generator(fixed)
    gan.train_discriminator(tensor(real))
    gan.train_generator(32)
    on_real, on_made = (
        1 / (1 + np.exp(-np.array(gan.discriminator(x), "float64"))) for x in (real, made)
    )
    d_loss = -np.log(on_real).mean() - np.log(1 - on_made).mean()
    assert float(gan.found["d_loss"].result()) == pytest.approx(d_loss, rel=1e-5)
    assert float(gan.found["g_loss"].result()) == pytest.approx(-np.log(on_made).mean(), rel=1e-5)
    right = (on_real > 0.5).mean() / 2 + (on_made < 0.5).mean() / 2
    assert float(gan.found["d_accuracy"].result()) == pytest.approx(right)


def test_label_noise_moves_labels_inwards_and_by_half_of_its_size_on_average(gans):
    keras.utils.set_random_seed(1)
    gan = compiled(gans.GAN(gans.small(4, 2), gans.small(2, 1), label_noise=0.4), rate=0.0)
    real, made = (tensor(shift + RANDOM.normal(size=(20_000, 2))) for shift in (1, -1))
    gan.make = lambda count: made
    gan.train_discriminator(real)
    on_real, on_made = (np.array(gan.discriminator(x), "float64") for x in (real, made))
    # The cross-entropy is linear in the label, so its mean is that of the mean label.
    expected = np.logaddexp(0, -on_real).mean() + 0.2 * on_real.mean()
    expected += np.logaddexp(0, on_made).mean() - 0.2 * on_made.mean()
    assert float(gan.found["d_loss"].result()) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("options", [{}, {"spectral": True}, {"strided": False, "leak": 0.0}])
def test_only_the_right_networks_weights_move(gans, size, options):
    """With DCGAN's networks, where moving statistics follow whatever passes and are no weights."""
    keras.utils.set_random_seed(2)
    shape = (size, size, 1 if size == 28 else 3)
    networks = gans.generator(shape, 4), gans.discriminator(shape, 4, **options)
    gan, real = compiled(gans.GAN(*networks, 0.1), 1e-2), pictures(*shape[1:])
    weights = [network.trainable_variables for network in networks]
    before = [values_of(variables) for variables in weights]
    gan.train_discriminator(real)
    assert not any(changed(before[0], weights[0])) and all(changed(before[1], weights[1]))
    middle = values_of(weights[1])
    gan.train_generator(8)
    assert all(changed(before[0], weights[0]))
    after = values_of(weights[1])
    if options.get(
        "spectral"
    ):  # it divides its kernels by their norm whenever it is called: same direction
        middle, after = ([w / np.linalg.norm(w) for w in found] for found in (middle, after))
    for old, new in zip(middle, after, strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-6 if options.get("spectral") else 0)


def test_the_smooth_generator_is_the_running_average(gans):
    keras.utils.set_random_seed(3)
    gan = compiled(gans.GAN(gans.small(4, 2), gans.small(2, 1), decay=0.75), 1e-2)
    expected = values_of(gan.generator.weights)
    for _ in range(3):
        gan.train_step(tensor(RANDOM.normal(size=(16, 2))))
        now = values_of(gan.generator.weights)
        expected = [0.75 * slow + 0.25 * new for slow, new in zip(expected, now, strict=True)]
    for found, slow in zip(gan.smooth.weights, expected, strict=True):
        np.testing.assert_allclose(found.numpy(), slow, rtol=1e-5, atol=1e-7)


def test_two_seeded_trainings_agree_bit_for_bit(gans):
    samples, ends = tensor(RANDOM.normal(size=(64, 2))), []
    for seed in (5, 5, 6):
        keras.utils.set_random_seed(seed)
        gan = compiled(gans.GAN(gans.small(4, 2, 8), gans.small(2, 1, 8), 0.1))
        gan.fit(samples, batch_size=16, epochs=2, shuffle=False, verbose=0)
        ends.append(np.concatenate([weight.numpy().ravel() for weight in gan.weights]))
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[0] != ends[2]).mean() > 0.5


def test_networks_have_the_shapes_and_ranges_of_pictures(gans):
    points = RANDOM.normal(size=(3, CFG.latent)).astype("float32")
    for shape in ((28, 28, 1), (32, 32, 3), (64, 64, 3)):
        made = np.array(gans.generator(shape, 4)(points))
        assert made.shape == (3, *shape) and gans.discriminator(shape, 4)(made).shape == (3, 1)
        assert gans.discriminator(shape, 4, strided=False)(made).shape == (3, 1)
        assert made.min() < 0 and abs(made).max() < 1
        plain = np.array(gans.generator(shape, 4, tanh=False)(points))
        assert plain.min() > 0 and plain.max() < 1


def test_pixels_of_a_doubled_line_are_written_to_equally_where_the_stride_divides_the_kernel(gans):
    for kernel, stride in ((2, 2), (3, 2), (4, 2), (5, 2), (3, 3), (4, 3), (6, 3)):
        even = len(set(gans.written(kernel, stride, 12))) == 1
        assert even == (kernel % stride == 0), (kernel, stride)
    # An input far from the border: kernel 3 and stride 2 write once and twice in turn.
    assert sorted(gans.written(3)[:2]) == [1, 2]
    layer = keras.layers.Conv2DTranspose(1, 3, 2, "same", kernel_initializer="ones")
    line = np.array(layer(np.ones((1, 8, 8, 1), "float32")))[0, 4, 4:12, 0]
    assert sorted(set(line / line.min())) == [1, 2]


def test_the_checkerboards_share_of_known_pictures(gans):
    board = np.indices((1, 16, 16)).sum(axis=0) % 2.0
    wave = np.sin(2 * np.pi * np.arange(16) / 16)[None, :, None] * np.ones((1, 1, 16))
    assert gans.checkerboard(board) == pytest.approx(1)
    assert gans.checkerboard(wave) == pytest.approx(0, abs=1e-9)
    # Variances: a quarter of the board's, a half of the wave's; two independent parts add.
    assert gans.checkerboard(board + wave) == pytest.approx(0.25 / 0.75, rel=1e-6)


def test_modes_of_the_ring_are_counted(gans):
    around = RING[[0, 3, 5]].repeat(100, axis=0) + RANDOM.normal(0, 0.05, (300, 2))
    assert gans.on_ring(around) == (3, 1.0)
    nowhere = np.zeros((100, 2))  # the middle is 2 away from all of them
    assert gans.on_ring(np.concatenate([around, nowhere])) == (3, 0.75)
    few = RING[[6]].repeat(2, axis=0)  # two in three hundred are fewer than a hundredth
    assert gans.on_ring(np.concatenate([around, few]))[0] == 3
    modes, share = gans.on_ring(gans.ring_samples(4_000, np.random.default_rng(0)))
    assert modes == 8 and share > 0.999


def test_diversity_is_the_mean_distance_of_two_samples(gans):
    samples = RANDOM.normal(size=(60, 2))
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(samples) for b in samples[:i]]
    assert gans.diversity(samples) == pytest.approx(np.mean(pairs), rel=1e-6)
    assert gans.diversity(samples[:1].repeat(60, axis=0)) == pytest.approx(0, abs=1e-5)


def test_pictures_lie_side_by_side_in_order(gans):
    shown = RANDOM.uniform(size=(6, 4, 5, 3))
    sheet = gans.tiled(shown, 3)
    assert sheet.shape == (8, 15, 3) and sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet[4:, 5:10], (255 * shown[4]).astype("uint8"))
    assert gans.tiled(shown[..., :1], 2).shape == (12, 10, 3)


def test_the_gradient_penalty_against_finite_differences(gans, monkeypatch):
    """What the critic's optimizer gets is the slope of its two means and of a penalty, taken by hand."""
    keras.utils.set_random_seed(7)
    layers = [keras.layers.Dense(6, "tanh", kernel_initializer="normal"), keras.layers.Dense(1)]
    gan = gans.WassersteinGAN(gans.small(4, 2), keras.Sequential([keras.Input((2,)), *layers]))
    real, made = RANDOM.normal(size=(2, 5, 2)).astype("float32")
    share = RANDOM.uniform(size=(5, 1)).astype("float32")

    def loss(weights):
        kernel, bias, out, last = weights

        def score(x):
            return (np.tanh(x @ kernel + bias) @ out + last)[:, 0]

        mixed, step = share * real + (1 - share) * made, 1e-5
        slopes = [
            (score(mixed + step * side) - score(mixed - step * side)) / (2 * step)
            for side in np.eye(2)
        ]
        apart = score(made).mean() - score(real).mean()
        return apart, apart + 10 * ((np.sqrt(np.square(slopes).sum(axis=0)) - 1) ** 2).mean()

    class Recorder(keras.optimizers.SGD):
        def apply(self, gradients, variables=None):
            self.seen = [keras.ops.convert_to_numpy(gradient) for gradient in gradients]

    gan.compile(Recorder(), Recorder())
    gan.make = lambda count: tensor(made)
    monkeypatch.setattr(keras.random, "uniform", lambda shape: tensor(share))
    gan.train_discriminator(tensor(real))
    weights = [weight.numpy().astype("float64") for weight in gan.discriminator.weights]
    apart, total = loss(weights)
    assert float(gan.found["d_loss"].result()) == pytest.approx(apart, abs=1e-5)
    assert total - apart > 1, "or the test would not see the penalty"
    for number, weight in enumerate(weights[:3]):
        for where in np.ndindex(weight.shape):
            ends = []
            for move in (1e-4, -1e-4):
                bent = [w.copy() for w in weights]
                bent[number][where] += move
                ends.append(loss(bent)[1])
            by_hand = (ends[0] - ends[1]) / 2e-4
            assert gan.d_optimizer.seen[number][where] == pytest.approx(by_hand, rel=1e-3, abs=1e-3)


def test_the_classes_that_were_ordered_reach_both_networks(gans):
    keras.utils.set_random_seed(8)
    gan = gans.ConditionalGAN(gans.generator((28, 28, 1), 4), gans.discriminator((28, 28, 11), 4))
    gan.classes = keras.ops.one_hot(np.array([3, 9]), 10)
    seen = np.array(gan.with_class(pictures(28, 1, 2)))
    assert seen.shape == (2, 28, 28, 11)
    for row, asked in enumerate((3, 9)):
        np.testing.assert_array_equal(seen[row, :, :, 1:], np.eye(10)[asked] * np.ones((28, 28, 1)))
