"""What notebook 10 defines: value of the game, losses, training step, penalties, modes, layout."""

import ast
from types import SimpleNamespace

import keras
import nbformat
import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad
from scipy.stats import norm

from tests.test_notebook_code import define
from utils import settings
from utils.errors import CompanionError
from utils.synthetic.faces import ATTRIBUTE_RANGES

RNG = np.random.default_rng(0)
LINE = np.linspace(-12, 16, 20_001)
ANGLES = np.arange(8) * np.pi / 4
RING = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)  # (8, 2)
CFG = SimpleNamespace(latent=16, seed=0, momentum=0.5, ring_steps=1, batch=32)
GAME_NAMES = ("sigmoid", "value", "divergence", "small", "GAN")
STEP_NAMES = ("train_discriminator", "train_generator")
DCGAN_NAMES = ("doublings", "generator", "discriminator", "written", "checkerboard")
RING_NAMES = ("on_ring", "ring_samples", "diversity", "tiled", "batches")


@pytest.fixture(scope="module")
def gans():
    """Return the notebook's functions and classes, with the training step bound to the model."""
    known = {
        "cfg": CFG,
        "STEP": LINE[1] - LINE[0],
        "cross_entropy": keras.losses.BinaryCrossentropy(True),
    }
    definitions = define("10_gan", *GAME_NAMES, *STEP_NAMES, **known)
    GAN = definitions["GAN"]
    GAN.train_discriminator = definitions["train_discriminator"]
    GAN.train_generator = definitions["train_generator"]
    known |= {"GAN": GAN, "RING": RING}
    definitions |= define("10_gan", *DCGAN_NAMES, *RING_NAMES, **known)
    definitions |= define("10_gan", "WassersteinGAN", "ConditionalGAN", **known)
    return SimpleNamespace(**definitions)


def compiled(model, learning_rate=1e-3):
    discriminator_optimizer = keras.optimizers.Adam(learning_rate, beta_1=0.5)
    generator_optimizer = keras.optimizers.Adam(learning_rate, beta_1=0.5)
    model.compile(discriminator_optimizer, generator_optimizer)
    return model


def tensor(values):
    return tf.constant(values, "float32")


def random_images(size, channels, count=8):
    return tensor(RNG.uniform(-1, 1, (count, size, size, channels)))


def values_of(variables):
    return [variable.numpy() for variable in variables]


def has_changed(before, variables):
    return [bool((old != new.numpy()).any()) for old, new in zip(before, variables, strict=True)]


@pytest.mark.parametrize("distance", [0.0, 0.7, 2.0, 5.0])
def test_the_value_of_the_optimal_discriminator_follows_from_theory(gans, distance):
    p = norm.pdf(LINE, 0, 1)
    q = norm.pdf(LINE, distance, 1)
    optimal_logit = norm.logpdf(LINE, 0, 1) - norm.logpdf(LINE, distance, 1)
    largest = gans.value(p, q, optimal_logit)

    def kl_to_mixture(x, own, other):
        return own.pdf(x) * (own.logpdf(x) - np.log((own.pdf(x) + other.pdf(x)) / 2))

    real = norm(0, 1)
    generated = norm(distance, 1)
    kl_of_real = quad(kl_to_mixture, -12, 16, (real, generated), limit=200)[0]
    kl_of_generated = quad(kl_to_mixture, -12, 16, (generated, real), limit=200)[0]
    jensen_shannon = (kl_of_real + kl_of_generated) / 2
    assert largest == pytest.approx(-np.log(4) + 2 * jensen_shannon, abs=1e-6)
    assert gans.divergence(p, q) == pytest.approx(jensen_shannon, abs=1e-6)
    for change in (0.2, -0.2, 0.3 * np.sin(2 * LINE)):
        assert gans.value(p, q, optimal_logit + change) < largest


def test_both_losses_are_those_of_numpy(gans):
    """A step without label noise logs what the formulas give for the networks before the step."""
    keras.utils.set_random_seed(1)
    gan = compiled(gans.GAN(gans.small(4, 2), gans.small(2, 1)), learning_rate=0.0)
    real = RNG.normal(size=(32, 2)).astype("float32")
    latent = RNG.normal(size=(32, 4)).astype("float32")
    generated = gan.generator(latent)
    gan.make = lambda count: gan.generator(latent)
    gan.train_discriminator(tensor(real))
    gan.train_generator(32)

    def probability_of_real(x):
        return 1 / (1 + np.exp(-np.array(gan.discriminator(x), "float64")))

    on_real = probability_of_real(real)
    on_generated = probability_of_real(generated)
    d_loss = -np.log(on_real).mean() - np.log(1 - on_generated).mean()
    g_loss = -np.log(on_generated).mean()
    accuracy = (on_real > 0.5).mean() / 2 + (on_generated < 0.5).mean() / 2
    assert float(gan.found["d_loss"].result()) == pytest.approx(d_loss, rel=1e-5)
    assert float(gan.found["g_loss"].result()) == pytest.approx(g_loss, rel=1e-5)
    assert float(gan.found["d_accuracy"].result()) == pytest.approx(accuracy)


def test_label_noise_moves_labels_inwards_by_half_its_size_on_average(gans):
    keras.utils.set_random_seed(1)
    model = gans.GAN(gans.small(4, 2), gans.small(2, 1), label_noise=0.4)
    gan = compiled(model, learning_rate=0.0)
    real = tensor(1 + RNG.normal(size=(20_000, 2)))
    generated = tensor(-1 + RNG.normal(size=(20_000, 2)))
    gan.make = lambda count: generated
    gan.train_discriminator(real)
    on_real = np.array(gan.discriminator(real), "float64")
    on_generated = np.array(gan.discriminator(generated), "float64")
    # The cross-entropy is linear in the label, so its mean is that of the mean label.
    expected = np.logaddexp(0, -on_real).mean() + 0.2 * on_real.mean()
    expected += np.logaddexp(0, on_generated).mean() - 0.2 * on_generated.mean()
    assert float(gan.found["d_loss"].result()) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("options", [{}, {"spectral": True}, {"strided": False, "leak": 0.0}])
def test_each_step_trains_only_its_own_network(gans, size, options):
    """With DCGAN's networks, whose moving statistics change in both steps and are not trained."""
    keras.utils.set_random_seed(2)
    shape = (size, size, 1 if size == 28 else 3)
    generator = gans.generator(shape, 4)
    discriminator = gans.discriminator(shape, 4, **options)
    gan = compiled(gans.GAN(generator, discriminator, 0.1), 1e-2)
    generator_weights = generator.trainable_variables
    discriminator_weights = discriminator.trainable_variables
    generator_before = values_of(generator_weights)
    discriminator_before = values_of(discriminator_weights)

    gan.train_discriminator(random_images(*shape[1:]))
    assert not any(has_changed(generator_before, generator_weights))
    assert all(has_changed(discriminator_before, discriminator_weights))

    discriminator_before = values_of(discriminator_weights)
    gan.train_generator(8)
    assert all(has_changed(generator_before, generator_weights))
    discriminator_after = values_of(discriminator_weights)
    tolerance = 0
    if options.get("spectral"):
        # Every call divides the kernels by their spectral norm; only their direction stays.
        discriminator_before = [w / np.linalg.norm(w) for w in discriminator_before]
        discriminator_after = [w / np.linalg.norm(w) for w in discriminator_after]
        tolerance = 1e-6
    for before, after in zip(discriminator_before, discriminator_after, strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=tolerance)


def test_the_ema_generator_is_the_exponential_moving_average(gans):
    keras.utils.set_random_seed(3)
    gan = compiled(gans.GAN(gans.small(4, 2), gans.small(2, 1), decay=0.75), 1e-2)
    expected = values_of(gan.generator.weights)
    for _ in range(3):
        gan.train_step(tensor(RNG.normal(size=(16, 2))))
        current = values_of(gan.generator.weights)
        expected = [0.75 * ema + 0.25 * new for ema, new in zip(expected, current, strict=True)]
    for weight, ema in zip(gan.smooth.weights, expected, strict=True):
        np.testing.assert_allclose(weight.numpy(), ema, rtol=1e-5, atol=1e-7)


def test_two_trainings_with_one_seed_agree_bit_for_bit(gans):
    samples = tensor(RNG.normal(size=(64, 2)))
    results = []
    for seed in (5, 5, 6):
        keras.utils.set_random_seed(seed)
        gan = compiled(gans.GAN(gans.small(4, 2, 8), gans.small(2, 1, 8), 0.1))
        gan.fit(samples, batch_size=16, epochs=2, shuffle=False, verbose=0)
        results.append(np.concatenate([weight.numpy().ravel() for weight in gan.weights]))
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).mean() > 0.5


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (64, 64, 3)])
def test_networks_have_the_shapes_and_ranges_of_images(gans, shape):
    latent = RNG.normal(size=(3, CFG.latent)).astype("float32")
    generated = np.array(gans.generator(shape, 4)(latent))
    assert generated.shape == (3, *shape)
    assert gans.discriminator(shape, 4)(generated).shape == (3, 1)
    assert gans.discriminator(shape, 4, strided=False)(generated).shape == (3, 1)
    assert generated.min() < 0
    assert abs(generated).max() < 1
    with_sigmoid = np.array(gans.generator(shape, 4, tanh=False)(latent))
    assert with_sigmoid.min() > 0
    assert with_sigmoid.max() < 1


def test_upsampled_pixels_get_equal_contributions_where_the_stride_divides_the_kernel(gans):
    for kernel, stride in ((2, 2), (3, 2), (4, 2), (5, 2), (3, 3), (4, 3), (6, 3)):
        is_even = len(set(gans.written(kernel, stride, 12))) == 1
        assert is_even == (kernel % stride == 0), (kernel, stride)
    # Away from the border, kernel 3 and stride 2 give one and two contributions in turn.
    assert sorted(gans.written(3)[:2]) == [1, 2]
    layer = keras.layers.Conv2DTranspose(1, 3, 2, "same", kernel_initializer="ones")
    line = np.array(layer(np.ones((1, 8, 8, 1), "float32")))[0, 4, 4:12, 0]
    assert sorted(set(line / line.min())) == [1, 2]


def test_the_checkerboard_share_of_known_images(gans):
    board = np.indices((1, 16, 16)).sum(axis=0) % 2.0
    wave = np.sin(2 * np.pi * np.arange(16) / 16)[None, :, None] * np.ones((1, 1, 16))
    assert gans.checkerboard(board) == pytest.approx(1)
    assert gans.checkerboard(wave) == pytest.approx(0, abs=1e-9)
    # The variance of the board is a quarter, that of the wave a half; independent parts add.
    assert gans.checkerboard(board + wave) == pytest.approx(0.25 / 0.75, rel=1e-6)


def test_modes_of_the_ring_are_counted(gans):
    samples = RING[[0, 3, 5]].repeat(100, axis=0) + RNG.normal(0, 0.05, (300, 2))
    assert gans.on_ring(samples) == (3, 1.0)
    center = np.zeros((100, 2))  # at a distance of 2 from all modes
    assert gans.on_ring(np.concatenate([samples, center])) == (3, 0.75)
    rare = RING[[6]].repeat(2, axis=0)  # two of 302 are less than a hundredth
    assert gans.on_ring(np.concatenate([samples, rare]))[0] == 3
    modes, share = gans.on_ring(gans.ring_samples(4_000, np.random.default_rng(0)))
    assert modes == 8
    assert share > 0.999


def test_diversity_is_the_mean_distance_of_two_samples(gans):
    samples = RNG.normal(size=(60, 2))
    distances = [np.linalg.norm(a - b) for i, a in enumerate(samples) for b in samples[:i]]
    assert gans.diversity(samples) == pytest.approx(np.mean(distances), rel=1e-6)
    assert gans.diversity(samples[:1].repeat(60, axis=0)) == pytest.approx(0, abs=1e-5)


def test_images_are_tiled_in_order(gans):
    images = RNG.uniform(size=(6, 4, 5, 3))
    grid = gans.tiled(images, 3)
    assert grid.shape == (8, 15, 3)
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(grid[4:, 5:10], (255 * images[4]).astype("uint8"))
    assert gans.tiled(images[..., :1], 2).shape == (12, 10, 3)


def test_the_gradient_penalty_against_finite_differences(gans, monkeypatch):
    """The critic's optimizer gets the gradient of the two means and of a penalty by hand."""
    keras.utils.set_random_seed(7)
    layers = [keras.layers.Dense(6, "tanh", kernel_initializer="normal"), keras.layers.Dense(1)]
    gan = gans.WassersteinGAN(gans.small(4, 2), keras.Sequential([keras.Input((2,)), *layers]))
    real, generated = RNG.normal(size=(2, 5, 2)).astype("float32")
    fraction = RNG.uniform(size=(5, 1)).astype("float32")

    def loss(weights):
        kernel, bias, output_kernel, output_bias = weights

        def score(x):
            return (np.tanh(x @ kernel + bias) @ output_kernel + output_bias)[:, 0]

        mixed = fraction * real + (1 - fraction) * generated
        step = 1e-5
        gradient = []  # of the score, one array (5,) for each input
        for direction in np.eye(2):
            difference = score(mixed + step * direction) - score(mixed - step * direction)
            gradient.append(difference / (2 * step))
        norms = np.sqrt(np.square(gradient).sum(axis=0))
        critic_loss = score(generated).mean() - score(real).mean()
        return critic_loss, critic_loss + 10 * ((norms - 1) ** 2).mean()

    class Recorder(keras.optimizers.SGD):
        def apply(self, gradients, variables=None):
            self.gradients = [keras.ops.convert_to_numpy(gradient) for gradient in gradients]

    gan.compile(Recorder(), Recorder())
    gan.make = lambda count: tensor(generated)
    monkeypatch.setattr(keras.random, "uniform", lambda shape: tensor(fraction))
    gan.train_discriminator(tensor(real))
    weights = [weight.numpy().astype("float64") for weight in gan.discriminator.weights]
    critic_loss, with_penalty = loss(weights)
    assert float(gan.found["d_loss"].result()) == pytest.approx(critic_loss, abs=1e-5)
    assert with_penalty - critic_loss > 1, "or the test would not notice a missing penalty"
    for number, weight in enumerate(weights[:3]):
        for index in np.ndindex(weight.shape):
            losses = []
            for change in (1e-4, -1e-4):
                changed = [w.copy() for w in weights]
                changed[number][index] += change
                losses.append(loss(changed)[1])
            by_hand = (losses[0] - losses[1]) / 2e-4
            gradient = gan.d_optimizer.gradients[number][index]
            assert gradient == pytest.approx(by_hand, rel=1e-3, abs=1e-3)


def test_the_requested_classes_reach_both_networks(gans, monkeypatch):
    keras.utils.set_random_seed(8)
    generator = gans.generator((28, 28, 1), 4)
    gan = gans.ConditionalGAN(generator, gans.discriminator((28, 28, 11), 4))
    gan.classes = keras.ops.one_hot(np.array([3, 9]), 10)
    conditioned = np.array(gan.with_class(random_images(28, 1, 2)))
    assert conditioned.shape == (2, 28, 28, 11)
    for row, label in enumerate((3, 9)):
        expected = np.eye(10)[label] * np.ones((28, 28, 1))
        np.testing.assert_array_equal(conditioned[row, :, :, 1:], expected)
    # From equal noise, images of two classes differ only if the generator gets the class.
    monkeypatch.setattr(keras.random, "normal", lambda shape: tensor(np.ones(shape)))
    first, second = np.array(gan.make(2))[..., 0]
    assert abs(first - second).max() > 1e-3


def settings_of(stem):
    """Return the code that sets a notebook's `cfg`, and the code that refuses what cannot be."""
    notebook = nbformat.read(settings.ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    (source,) = [cell.source for cell in notebook.cells if "settings.choose(" in cell.source]
    chosen = ast.parse(source)
    refusing = ast.parse("")
    for node in list(chosen.body):
        if isinstance(node, ast.Expr):
            chosen.body.remove(node)
            if ast.unparse(node.value.func).startswith("settings.require"):
                refusing.body.append(node)
    loaders = ("datasets.", "pretrained.", ".resized(")
    for node in list(chosen.body):
        if any(loader in ast.unparse(node) for loader in loaders):
            chosen.body.remove(node)
    return compile(chosen, stem, "exec"), compile(refusing, stem, "exec")


def half(number):
    return number // 2 if isinstance(number, int) else number / 2


CHANGES = {"half": half, "double": lambda number: 2 * number, "one": lambda number: 1}


def refusals(stem):
    """Try every number of a notebook's settings at half, at double and at 1, one at a time.

    Returns:
        The sentence of each that is refused, by "name change", such as "epochs half".
    """
    chosen, refusing = settings_of(stem)
    namespace = {"settings": settings, "seed": 3, "ATTRIBUTE_RANGES": ATTRIBUTE_RANGES}
    exec(chosen, namespace)
    cfg = namespace["cfg"]
    exec(refusing, namespace)  # what the profile says is possible
    sentences = {}
    for name, setting in dict(vars(cfg)).items():
        numbers = setting if isinstance(setting, tuple) else (setting,)
        for position, number in enumerate(numbers):
            if isinstance(number, str):
                continue
            for kind, change in CHANGES.items():
                changed = [*numbers[:position], change(number), *numbers[position + 1 :]]
                value = tuple(changed) if isinstance(setting, tuple) else changed[0]
                setattr(cfg, name, value)
                try:
                    exec(refusing, namespace)
                except CompanionError as error:
                    sentences[f"{name} {kind}"] = str(error)
        setattr(cfg, name, setting)
    return sentences


GAN_ONES = ("digits", "judged", "size", "latent", "rate", "face_rate", "momentum", "budget")


@pytest.mark.parametrize(
    ("profile", "largest"),
    [("quick", ()), ("live", ("digits",)), ("full", ("digits", "judged"))],
)
def test_impossible_settings_are_refused_where_they_stand(monkeypatch, profile, largest):
    monkeypatch.setenv("COMPANION_PROFILE", profile)
    sentences = refusals("10_gan")
    expected = {f"{name} one" for name in GAN_ONES}
    expected |= {f"{name} double" for name in (*largest, "decay", "momentum")}
    assert set(sentences) == expected
    for tried, sentence in sentences.items():
        assert f"cfg.{tried.split()[0]}" in sentence and "choose" in sentence


@pytest.mark.tensorflow
@pytest.mark.parametrize("count", [1, 2, 22, 117, 1_000])
def test_small_folders_fill_every_batch_of_an_epoch(gans, count):
    numbers = np.arange(count)
    channels = np.stack([numbers % 256, numbers // 256, 0 * numbers], axis=1)
    images = channels.reshape(count, 1, 1, 3).astype("uint8")
    steps = 25
    size = min(32, count)
    data = gans.batches(images, steps, low=0.0, flip=False)
    epochs = []
    for _ in range(2):
        rows = [np.round(255 * np.array(batch)[:, 0, 0]).astype(int) for batch in data]
        assert [len(row) for row in rows] == [size] * steps
        seen = np.concatenate(rows) @ [1, 256, 0]
        copies = -(-steps * size // count)  # of every image, before the last ones are dropped
        frequency = np.bincount(seen, minlength=count)
        assert len(frequency) == count and frequency.max() <= copies
        assert frequency.sum() == steps * size
        epochs.append(seen)
    assert count == 1 or (epochs[0] != epochs[1]).any()


def test_a_sheet_of_few_images_is_padded(gans):
    images = RNG.uniform(size=(13, 4, 4, 3))
    sheet = gans.tiled(images, 6)
    assert sheet.shape == (12, 24, 3)
    np.testing.assert_array_equal(sheet[8:, :4], (255 * images[12]).astype("uint8"))
    assert not sheet[8:, 4:].any()
    assert gans.tiled(images[:2], 6).shape == (4, 8, 3)
