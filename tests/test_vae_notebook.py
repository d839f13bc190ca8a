"""What notebook 09 defines: KL divergence, ELBO, sampling, interpolation, conditional VAE."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.special import expit, logsumexp
from scipy.stats import norm

from tests.test_gan_notebook import refusals, settings_of
from tests.test_notebook_code import define
from utils import settings
from utils.errors import CompanionError
from utils.synthetic.faces import ATTRIBUTE_RANGES

CFG = SimpleNamespace(units=(24, 12), seed=0, code=3, batch=16)
MODEL_NAMES = ("bernoulli", "encoder", "decoder", "autoencoder", "drawn", "kl", "Sampling", "VAE")
EVALUATION_NAMES = (
    "evaluated",
    "in_holes",
    "log_likelihood",
    "straight",
    "codes_of",
    "at_level",
    "gaussian",
)
NAMES = (*MODEL_NAMES, "vae", *EVALUATION_NAMES, "with_label", "ConditionalVAE")


@pytest.fixture(scope="module")
def cells():
    known = {"cfg": CFG, "norm": norm, "logsumexp": logsumexp, "expit": expit, "cdist": cdist}
    return SimpleNamespace(**define("09_vae", *NAMES, **known))


def bars(count=40, seed=0):
    """Horizontal bars at random heights: (count, 28, 28, 1), pixels of 0 and 1."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 28, 28, 1), "float32")
    for image, top in zip(images, rng.integers(2, 22, count), strict=True):
        image[top : top + 4, 4:24] = 1
    return images


def bernoulli_log_likelihood(x, logits):
    """Sum the log-probabilities of the pixels of each image: (n,)."""
    log_probabilities = x * np.log(expit(logits)) + (1 - x) * np.log(expit(-logits))
    return log_probabilities.sum(axis=(1, 2, 3))


@pytest.mark.parametrize(
    ("mean", "log_variance"), [(0.0, 0.0), (1.5, -2.0), (-0.3, 1.2), (2.0, 0.5)]
)
def test_kl_divergence_against_an_integral_and_monte_carlo(cells, mean, log_variance):
    deviation = np.exp(log_variance / 2)

    def log_ratio(z):
        return norm.logpdf(z, mean, deviation) - norm.logpdf(z)

    def integrand(z):
        return norm.pdf(z, mean, deviation) * log_ratio(z)

    low = mean - 12 * deviation
    high = mean + 12 * deviation
    integral = quad(integrand, low, high, limit=200)[0]
    divergence = float(cells.kl(np.array([mean]), np.array([log_variance])))
    np.testing.assert_allclose(divergence, integral, atol=1e-6)
    samples = np.random.default_rng(1).normal(mean, deviation, 400_000)
    np.testing.assert_allclose(divergence, log_ratio(samples).mean(), rtol=0.02, atol=1e-9)


def test_kl_divergence_is_summed_over_dimensions_and_not_over_examples(cells):
    rng = np.random.default_rng(2)
    mean, log_variance = rng.normal(size=(2, 5, 3))
    by_dimension = np.zeros((5, 3))
    for index in np.ndindex(5, 3):
        by_dimension[index] = cells.kl(mean[index][None], log_variance[index][None])
    np.testing.assert_allclose(cells.kl(mean, log_variance), by_dimension.sum(axis=1), rtol=1e-6)


def test_reconstruction_losses_against_numpy(cells):
    rng = np.random.default_rng(3)
    x = rng.random((4, 28, 28, 1))
    logits = 3 * rng.normal(size=(4, 28, 28, 1))
    losses = cells.bernoulli(x.astype("float32"), logits.astype("float32"))
    np.testing.assert_allclose(losses, -bernoulli_log_likelihood(x, logits), rtol=1e-5)

    # Up to a constant, it is minus the log-density of a Gaussian with standard deviation 0.1.
    x, reconstructed = rng.random((2, 3, 6, 6, 3))
    log_density = norm.logpdf(x, reconstructed, 0.1).sum(axis=(1, 2, 3))
    constant = norm.logpdf(0, 0, 0.1) * 6 * 6 * 3
    np.testing.assert_allclose(cells.gaussian(x, reconstructed), constant - log_density, rtol=1e-5)


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_the_loss_is_the_sum_of_two_terms_and_both_are_logged(cells, beta):
    model = cells.vae(3, beta)
    x = bars(6)
    logits, mean, log_variance = (np.array(output) for output in model(x))
    reconstruction = -bernoulli_log_likelihood(x, logits).mean()
    kl_of_dimensions = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1)
    divergence = kl_of_dimensions.sum(axis=1).mean()
    loss = float(model.compute_loss(y=x, y_pred=(logits, mean, log_variance)))
    np.testing.assert_allclose(loss, reconstruction + beta * divergence, rtol=1e-5)
    np.testing.assert_allclose(float(model.redrawing.result()), reconstruction, rtol=1e-5)
    np.testing.assert_allclose(float(model.divergence.result()), divergence, rtol=1e-4)


class FixedEncoder:
    """Stands in for a trained encoder: mean and log-variance (1, d), the same for every image."""

    def __init__(self, mean, log_variance):
        self.outputs = mean, log_variance

    def predict(self, x, **_):
        shape = len(x), self.outputs[0].shape[-1]
        return tuple(np.broadcast_to(output, shape).astype("float32") for output in self.outputs)


class FunctionDecoder:
    """Stands in for a trained decoder: a function of latent vectors (n, d)."""

    def __init__(self, function):
        self.function = function

    def predict(self, latent, **_):
        return self.function(latent).astype("float32")


@pytest.mark.parametrize("draws", [1, 7])
def test_the_bound_is_exact_for_a_decoder_that_ignores_the_latent_vector(cells, draws):
    """p(x|z) does not depend on z, and q is the prior: every importance weight is p(x)."""
    logits = 2 * np.random.default_rng(4).normal(size=(1, 28, 28, 1))
    x = bars(5)
    model = SimpleNamespace(
        encoder=FixedEncoder(np.zeros((1, 2)), np.zeros((1, 2))),
        decoder=FunctionDecoder(lambda latent: np.repeat(logits, len(latent), axis=0)),
    )
    exact = bernoulli_log_likelihood(x, logits)
    np.testing.assert_allclose(cells.log_likelihood(model, x, draws), exact, rtol=1e-5)


def test_the_bound_rises_to_the_likelihood_from_an_integral(cells):
    """With one latent dimension, p(x) is an integral. More draws close the gap of a poor q."""
    slope = np.linspace(-0.05, 0.05, 784).reshape(1, 28, 28, 1)
    x = bars(4)
    model = SimpleNamespace(
        encoder=FixedEncoder(np.array([[0.4]]), np.array([[-0.5]])),
        decoder=FunctionDecoder(lambda latent: latent.reshape(-1, 1, 1, 1) * slope),
    )
    grid = np.linspace(-8, 8, 1_601)
    width = grid[1] - grid[0]
    log_joint = np.stack([bernoulli_log_likelihood(x, z * slope) + norm.logpdf(z) for z in grid])
    exact = logsumexp(log_joint, axis=0) + np.log(width)  # (4,)
    many_draws = cells.log_likelihood(model, x, 3_000)
    np.testing.assert_allclose(many_draws, exact, atol=0.25)

    # With one draw it is the ELBO on average: the likelihood minus KL(q(z|x) || p(z|x)).
    posterior = np.exp(log_joint - exact)  # (1601, 4)
    q = norm.pdf(grid, 0.4, np.exp(-0.25))[:, None]  # (1601, 1)
    gap = (q * (np.log(q) - np.log(posterior))).sum(axis=0) * width  # (4,)
    assert (gap > 0).all()
    assert gap.max() > 1
    single_draws = []
    for seed in range(60):
        CFG.seed = seed
        single_draws.append(cells.log_likelihood(model, x, 1))
    CFG.seed = 0
    assert single_draws[0].shape == (4,)
    error = np.std(single_draws, axis=0) / np.sqrt(60)
    assert (np.abs(np.mean(single_draws, axis=0) - (exact - gap)) < 4 * error + 1e-3).all()


@pytest.mark.tensorflow
def test_gradients_through_sampling_against_finite_differences(cells):
    values = [np.array([[0.3, -1.2, 0.7]], "float32"), np.array([[-0.4, 0.2, -1.5]], "float32")]

    def loss(mean, log_variance):
        inputs = [tf.convert_to_tensor(mean), tf.convert_to_tensor(log_variance)]
        sample = cells.Sampling(seed=5)(inputs)
        return keras.ops.sum(keras.ops.sin(sample) + sample**2)

    variables = [tf.Variable(value) for value in values]
    with tf.GradientTape() as tape:
        result = loss(*variables)
    for number, gradient in enumerate(tape.gradient(result, variables)):
        for dimension in range(3):
            losses = []
            for step in (0.01, -0.01):
                changed = [value.copy() for value in values]
                changed[number][0, dimension] += step
                losses.append(float(loss(*changed)))
            by_hand = (losses[0] - losses[1]) / 0.02
            np.testing.assert_allclose(gradient[0, dimension], by_hand, atol=5e-3)


def test_samples_have_the_requested_mean_and_standard_deviation(cells):
    mean = np.full((20_000, 1), 1.5, "float32")
    log_variance = np.full((20_000, 1), -1.0, "float32")
    samples = np.array(cells.Sampling(seed=1)([mean, log_variance]))
    np.testing.assert_allclose(samples.mean(), 1.5, atol=0.02)
    np.testing.assert_allclose(samples.std(), np.exp(-0.5), atol=0.02)


def test_the_sampling_layer_is_seeded_and_can_be_saved(cells, tmp_path):
    inputs = [np.zeros((4, 3), "float32"), np.zeros((4, 3), "float32")]
    layer = cells.Sampling(seed=7)
    samples = np.array(layer(inputs))
    np.testing.assert_array_equal(samples, cells.Sampling(seed=7)(inputs))
    assert np.abs(samples - np.array(cells.Sampling(seed=8)(inputs))).max() > 0.1
    assert np.abs(samples - np.array(layer(inputs))).max() > 0.1, "every call draws anew"

    keras_inputs = [keras.Input((3,)), keras.Input((3,))]
    model = keras.Model(keras_inputs, cells.Sampling(seed=7)(keras_inputs))
    model.save(tmp_path / "sampling.keras")
    loaded = keras.models.load_model(tmp_path / "sampling.keras")
    for _ in range(2):
        np.testing.assert_array_equal(model(inputs), loaded(inputs))
    assert loaded.layers[-1].seed == 7


def test_fit_is_reproducible_and_decreases_the_loss(cells):
    x = bars(96)
    trained_weights = []
    for _ in range(2):
        model = cells.vae(2)
        model.compile(keras.optimizers.Adam(2e-3))
        history = model.fit(x, x, epochs=4, batch_size=16, verbose=0).history
        trained_weights.append(model.get_weights())
        assert history["loss"][-1] < 0.9 * history["loss"][0]
        terms = np.add(history["reconstruction"], history["kl"])
        np.testing.assert_allclose(history["loss"], terms, rtol=1e-4)
    for first, second in zip(*trained_weights, strict=True):
        np.testing.assert_array_equal(first, second)


def test_evaluating_twice_gives_the_same_and_leaves_the_random_numbers(cells):
    x = bars(12)
    models = []
    for _ in range(2):
        model = cells.vae(2)
        model.compile(keras.optimizers.Adam(2e-3))
        model(x)
        models.append(model)
    first = cells.evaluated(models[0], x, x)
    assert first == cells.evaluated(models[0], x, x)
    assert first["loss"] == pytest.approx(first["reconstruction"] + first["kl"], rel=1e-5)
    np.testing.assert_array_equal(models[0](x)[0], models[1](x)[0])


def test_the_middle_of_a_linear_interpolation_has_a_smaller_norm(cells):
    rng = np.random.default_rng(5)
    first, last = rng.normal(size=(2, 6, 9))
    first_norms = np.linalg.norm(first, axis=1, keepdims=True)
    last *= first_norms / np.linalg.norm(last, axis=1, keepdims=True)
    middle = cells.straight(first, last, 0.5)
    np.testing.assert_allclose(middle, (first + last) / 2)
    assert (np.linalg.norm(middle, axis=1) < first_norms[:, 0]).all()


def test_an_attribute_is_set_along_one_direction_alone(cells):
    rng = np.random.default_rng(6)
    latent = rng.normal(size=(7, 5))
    direction = rng.normal(size=5)
    regression = rng.normal(size=6)  # coefficients and intercept
    moved = cells.at_level(latent, 1.7, direction, regression)
    np.testing.assert_allclose(moved @ regression[:-1] + regression[-1], 1.7)
    orthogonal = np.linalg.svd(direction[None])[2][1:]  # (4, 5)
    np.testing.assert_allclose(moved @ orthogonal.T, latent @ orthogonal.T, atol=1e-12)


def test_samples_far_from_encoded_training_images_are_detected(cells):
    rng = np.random.default_rng(7)
    ring = rng.normal(size=(3_000, 2))
    ring /= np.linalg.norm(ring, axis=1, keepdims=True)
    ring *= rng.normal(1, 0.02, (3_000, 1))
    known = ring[:2_000]
    unseen = ring[2_000:]
    samples = np.array([[0.0, 0.0], [3.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    is_far = cells.in_holes(samples, known, unseen)
    np.testing.assert_array_equal(is_far, [True, True, False, False])
    assert cells.in_holes(unseen, known, unseen).mean() == pytest.approx(0.01, abs=0.002)
    # The units of one dimension make no difference.
    units = np.array([1, 50])
    scaled = cells.in_holes(samples * units, known * units, unseen * units)
    np.testing.assert_array_equal(scaled, is_far)


def test_the_label_reaches_encoder_and_decoder_and_decides_the_output(cells):
    keras.utils.set_random_seed(0)
    mean = keras.layers.Dense(2, name="mean")
    log_variance = keras.layers.Dense(2, name="log_variance")
    pixels = keras.Sequential([keras.layers.Dense(784), keras.layers.Reshape((28, 28, 1))])
    model = cells.ConditionalVAE(
        cells.with_label(keras.Input((28, 28, 1)), lambda x: [mean(x), log_variance(x)]),
        cells.with_label(keras.Input((2,)), pixels),
    )
    x = bars(3)
    labels = np.eye(10, dtype="float32")
    latent = np.ones((3, 2), "float32")
    decoded = np.array(model.decoder([latent, labels[:3]]))
    assert np.abs(decoded - np.array(model.decoder([latent, labels[3:6]]))).max() > 1e-3
    encoded = np.array(model.encoder([x, labels[:3]])[0])
    assert np.abs(encoded - np.array(model.encoder([x, labels[3:6]])[0])).max() > 1e-3

    # Targets are white or black by label; all inputs are equal, so only the label can tell.
    classes = np.arange(64) % 2
    targets = np.repeat(classes.astype("float32"), 784).reshape(64, 28, 28, 1)
    inputs = np.full_like(targets, 0.5)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit([inputs, labels[classes]], targets, epochs=16, batch_size=16, verbose=0)
    logits = np.array(model.decoder([np.zeros((2, 2), "float32"), labels[:2]]))
    probabilities = expit(logits).mean(axis=(1, 2, 3))
    assert probabilities[0] < 0.1
    assert probabilities[1] > 0.9


VAE_ONES = ("train", "test", "faces", "rate", "code", "draws", "people", "budget", "filters")


@pytest.mark.parametrize(
    ("profile", "largest"), [("quick", ()), ("live", ("train",)), ("full", ("train", "test"))]
)
def test_impossible_settings_are_refused_where_they_stand(monkeypatch, profile, largest):
    monkeypatch.setenv("COMPANION_PROFILE", profile)
    sentences = refusals("09_vae")
    expected = {f"{name} one" for name in VAE_ONES} | {f"{name} double" for name in largest}
    assert set(sentences) == expected
    for tried, sentence in sentences.items():
        assert f"cfg.{tried.split()[0]}" in sentence and "choose" in sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"someone": 100}, "cfg.someone = 100: choose 0 to 99."),
        ({"units": (256, 0)}, r"cfg.units = \(256, 0\): choose 1 or more for each layer."),
        ({"sweep": (-1, 10)}, r"cfg.sweep = \(-1, 10\): choose 0 or more."),
        ({"epochs": 2.5}, "cfg.epochs = 2.5: choose an integer of 1 or more."),
    ],
)
def test_settings_that_do_not_go_together_are_refused(monkeypatch, change, sentence):
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    chosen, refusing = settings_of("09_vae")
    namespace = {"settings": settings, "seed": 0, "ATTRIBUTE_RANGES": ATTRIBUTE_RANGES}
    exec(chosen, namespace)
    vars(namespace["cfg"]).update(change)
    with pytest.raises(CompanionError, match=f"^{sentence}$"):
        exec(refusing, namespace)
