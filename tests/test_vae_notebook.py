"""What notebook 09 defines: divergence, bound, draws, walks and the conditional model, against other ways."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.special import expit, logsumexp
from scipy.stats import norm

from tests.test_notebook_code import define

CFG = SimpleNamespace(units=(24, 12), seed=0, code=3, batch=16)
NAMES = (
    *(
        "bernoulli",
        "encoder",
        "decoder",
        "autoencoder",
        "in_holes",
        "drawn",
        "kl",
        "Sampling",
        "VAE",
        "vae",
    ),
    *("log_likelihood", "straight", "codes_of", "at_level", "with_label", "ConditionalVAE"),
    "gaussian",
)


@pytest.fixture(scope="module")
def cells():
    known = {"cfg": CFG, "norm": norm, "logsumexp": logsumexp, "expit": expit, "cdist": cdist}
    return SimpleNamespace(**define("09_vae", *NAMES, **known))


def pictures(count=40, seed=0):
    """Bars of ink at random heights: (count, 28, 28, 1), pure ink and paper."""
    random = np.random.default_rng(seed)
    found = np.zeros((count, 28, 28, 1), "float32")
    for picture, top in zip(found, random.integers(2, 22, count), strict=True):
        picture[top : top + 4, 4:24] = 1
    return found


@pytest.mark.parametrize(
    ("mean", "log_variance"), [(0.0, 0.0), (1.5, -2.0), (-0.3, 1.2), (2.0, 0.5)]
)
def test_the_divergence_against_an_integral_and_against_draws(cells, mean, log_variance):
    deviation = np.exp(log_variance / 2)

    def integrand(z):
        return norm.pdf(z, mean, deviation) * (norm.logpdf(z, mean, deviation) - norm.logpdf(z))

    integral = quad(integrand, mean - 12 * deviation, mean + 12 * deviation, limit=200)[0]
    found = float(cells.kl(np.array([mean]), np.array([log_variance])))
    np.testing.assert_allclose(found, integral, atol=1e-6)
    points = np.random.default_rng(1).normal(mean, deviation, 400_000)
    estimate = (norm.logpdf(points, mean, deviation) - norm.logpdf(points)).mean()
    np.testing.assert_allclose(found, estimate, rtol=0.02, atol=1e-9)


def test_the_divergence_is_summed_over_numbers_and_not_over_codes(cells):
    random = np.random.default_rng(2)
    mean, log_variance = random.normal(size=(2, 5, 3))
    each = np.zeros((5, 3))
    for place in np.ndindex(5, 3):
        each[place] = cells.kl(mean[place][None], log_variance[place][None])
    np.testing.assert_allclose(cells.kl(mean, log_variance), np.sum(each, axis=1), rtol=1e-6)


def test_nats_of_a_picture_against_numpy(cells):
    random = np.random.default_rng(3)
    x, logits = random.random((4, 28, 28, 1)), 3 * random.normal(size=(4, 28, 28, 1))
    expected = -(x * np.log(expit(logits)) + (1 - x) * np.log(expit(-logits))).sum(axis=(1, 2, 3))
    found = cells.bernoulli(x.astype("float32"), logits.astype("float32"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    colours, decoded = random.random((2, 3, 6, 6, 3))
    # Up to what does not depend on the decoder, it is minus the log-density of a Gaussian of deviation 0.1.
    log_density = (
        norm.logpdf(colours, decoded, 0.1).sum(axis=(1, 2, 3)) - norm.logpdf(0, 0, 0.1) * 6 * 6 * 3
    )
    np.testing.assert_allclose(cells.gaussian(colours, decoded), -log_density, rtol=1e-5)


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_the_loss_is_its_two_parts_and_both_are_logged(cells, beta):
    model, x = cells.vae(3, beta), pictures(6)
    decoded, mean, log_variance = (np.array(part) for part in model(x))
    first = (
        -(x * np.log(expit(decoded)) + (1 - x) * np.log(expit(-decoded))).sum(axis=(1, 2, 3)).mean()
    )
    second = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).sum(axis=1).mean()
    loss = float(model.compute_loss(y=x, y_pred=(decoded, mean, log_variance)))
    np.testing.assert_allclose(loss, first + beta * second, rtol=1e-5)
    np.testing.assert_allclose(float(model.redrawing.result()), first, rtol=1e-5)
    np.testing.assert_allclose(float(model.divergence.result()), second, rtol=1e-4)


class Encoder:
    """Stands in for a trained one: the same mean and log-variance for every picture, or an own one each."""

    def __init__(self, mean, log_variance):
        self.given = mean, log_variance

    def predict(self, x, **_):
        return tuple(
            np.broadcast_to(part, (len(x), part.shape[-1])).astype("float32") for part in self.given
        )


class Decoder:
    def __init__(self, function):
        self.function = function

    def predict(self, codes, **_):
        return self.function(codes).astype("float32")


@pytest.mark.parametrize("draws", [1, 7])
def test_the_bound_of_a_decoder_that_ignores_its_code(cells, draws):
    """p(x) does not depend on z, and q is the prior: every weight is p(x) itself."""
    logits, x = 2 * np.random.default_rng(4).normal(size=(1, 28, 28, 1)), pictures(5)
    model = SimpleNamespace(
        encoder=Encoder(np.zeros((1, 2)), np.zeros((1, 2))),
        decoder=Decoder(lambda codes: np.repeat(logits, len(codes), axis=0)),
    )
    exact = (x * np.log(expit(logits)) + (1 - x) * np.log(expit(-logits))).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(cells.log_likelihood(model, x, draws), exact, rtol=1e-5)


def test_the_bound_rises_to_the_likelihood_that_an_integral_gives(cells):
    """One number a code: p(x) is an integral. A poor q bounds it from below, and more draws close the gap."""
    slope, x = np.linspace(-0.05, 0.05, 784).reshape(1, 28, 28, 1), pictures(4)
    model = SimpleNamespace(
        encoder=Encoder(np.array([[0.4]]), np.array([[-0.5]])),
        decoder=Decoder(lambda codes: codes.reshape(-1, 1, 1, 1) * slope),
    )

    def log_joint(z):
        ink = expit(z * slope)
        return (x * np.log(ink) + (1 - x) * np.log(1 - ink)).sum(axis=(1, 2, 3)) + norm.logpdf(z)

    grid = np.linspace(-8, 8, 1_601)
    exact = logsumexp([log_joint(z) for z in grid], axis=0) + np.log(grid[1] - grid[0])
    one, many = (cells.log_likelihood(model, x, draws) for draws in (1, 3_000))
    np.testing.assert_allclose(many, exact, atol=0.25)
    # The bound with one draw is the ELBO on average: the likelihood less the divergence of q from p(z|x).
    weights = np.exp(np.stack([log_joint(z) for z in grid]) - exact)
    density = norm.pdf(grid, 0.4, np.exp(-0.25))[:, None]
    gap = (density * (np.log(density) - np.log(weights))).sum(axis=0) * (grid[1] - grid[0])
    assert (gap > 0).all() and gap.max() > 1
    ones = []
    for seed in range(60):
        CFG.seed = seed
        ones.append(cells.log_likelihood(model, x, 1))
    CFG.seed = 0
    error = np.std(ones, axis=0) / np.sqrt(len(ones))
    assert (np.abs(np.mean(ones, axis=0) - (exact - gap)) < 4 * error + 1e-3).all()
    assert one.shape == (4,)


@pytest.mark.tensorflow
def test_gradients_through_a_draw_against_finite_differences(cells):
    values = [np.array([[0.3, -1.2, 0.7]], "float32"), np.array([[-0.4, 0.2, -1.5]], "float32")]

    def loss(mean, log_variance):
        drawn = cells.Sampling(seed=5)(
            [tf.convert_to_tensor(mean), tf.convert_to_tensor(log_variance)]
        )
        return keras.ops.sum(keras.ops.sin(drawn) + drawn**2)

    variables = [tf.Variable(value) for value in values]
    with tf.GradientTape() as tape:
        result = loss(*variables)
    for part, gradient in enumerate(tape.gradient(result, variables)):
        for place in range(3):
            ends = []
            for step in (0.01, -0.01):
                nudged = [value.copy() for value in values]
                nudged[part][0, place] += step
                ends.append(float(loss(*nudged)))
            np.testing.assert_allclose(gradient[0, place], (ends[0] - ends[1]) / 0.02, atol=5e-3)


def test_draws_have_the_mean_and_deviation_they_are_given(cells):
    mean, log_variance = (np.full((20_000, 1), value, "float32") for value in (1.5, -1.0))
    drawn = np.array(cells.Sampling(seed=1)([mean, log_variance]))
    np.testing.assert_allclose(drawn.mean(), 1.5, atol=0.02)
    np.testing.assert_allclose(drawn.std(), np.exp(-0.5), atol=0.02)


def test_the_sampling_layer_is_seeded_and_survives_a_file(cells, tmp_path):
    inputs = [np.zeros((4, 3), "float32"), np.zeros((4, 3), "float32")]
    first, same, other = (cells.Sampling(seed=seed) for seed in (7, 7, 8))
    drawn = np.array(first(inputs))
    np.testing.assert_array_equal(drawn, same(inputs))
    assert np.abs(drawn - np.array(other(inputs))).max() > 0.1
    assert np.abs(drawn - np.array(first(inputs))).max() > 0.1, "the next draw is another one"
    ends = [keras.Input((3,)), keras.Input((3,))]
    model = keras.Model(ends, cells.Sampling(seed=7)(ends))
    model.save(tmp_path / "drawing.keras")
    loaded = keras.models.load_model(tmp_path / "drawing.keras")
    for _ in range(2):
        np.testing.assert_array_equal(model(inputs), loaded(inputs))
    assert loaded.layers[-1].seed == 7


def test_fit_gives_the_same_weights_twice_and_lowers_the_loss(cells):
    x, ends = pictures(96), []
    for _ in range(2):
        model = cells.vae(2)
        model.compile(keras.optimizers.Adam(2e-3))
        history = model.fit(x, x, epochs=4, batch_size=16, verbose=0).history
        ends.append(model.get_weights())
        assert history["loss"][-1] < 0.9 * history["loss"][0]
        parts = np.add(history["reconstruction"], history["kl"])
        np.testing.assert_allclose(history["loss"], parts, rtol=1e-4)
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_middle_of_a_straight_walk_is_shorter(cells):
    random = np.random.default_rng(5)
    first, last = random.normal(size=(2, 6, 9))
    last *= np.linalg.norm(first, axis=1, keepdims=True) / np.linalg.norm(
        last, axis=1, keepdims=True
    )
    middle = cells.straight(first, last, 0.5)
    np.testing.assert_allclose(middle, (first + last) / 2)
    assert (np.linalg.norm(middle, axis=1) < np.linalg.norm(first, axis=1)).all()


def test_a_level_is_set_and_the_rest_stays(cells):
    random = np.random.default_rng(6)
    codes, way, ruler = random.normal(size=(7, 5)), random.normal(size=5), random.normal(size=6)
    moved = cells.at_level(codes, 1.7, way, ruler)
    np.testing.assert_allclose(moved @ ruler[:-1] + ruler[-1], 1.7)
    across = np.linalg.svd(way[None])[2][1:]  # what is at right angles to the way
    np.testing.assert_allclose(moved @ across.T, codes @ across.T, atol=1e-12)


def test_holes_are_where_no_code_is(cells):
    random = np.random.default_rng(7)
    ring = random.normal(size=(3_000, 2))
    ring /= np.linalg.norm(ring, axis=1, keepdims=True)
    ring *= random.normal(1, 0.02, (3_000, 1))
    known, unseen = ring[:2_000], ring[2_000:]
    codes = np.array([[0.0, 0.0], [3.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    np.testing.assert_array_equal(cells.in_holes(codes, known, unseen), [True, True, False, False])
    assert cells.in_holes(unseen, known, unseen).mean() == pytest.approx(0.01, abs=0.002)
    # Units of one axis change nothing.
    np.testing.assert_array_equal(
        *(cells.in_holes(codes * k, known * k, unseen * k) for k in (1, [1, 50]))
    )


def test_the_label_reaches_both_networks_and_only_they_learn_from_it(cells):
    keras.utils.set_random_seed(0)
    heads = [keras.layers.Dense(2, name=name) for name in ("mean", "log_variance")]
    pixels = keras.Sequential([keras.layers.Dense(784), keras.layers.Reshape((28, 28, 1))])
    model = cells.ConditionalVAE(
        cells.with_label(
            keras.Input((28, 28, 1)), lambda vectors: [head(vectors) for head in heads]
        ),
        cells.with_label(keras.Input((2,)), pixels),
    )
    x, labels, codes = pictures(3), np.eye(10, dtype="float32"), np.ones((3, 2), "float32")
    assert (
        np.abs(model.decoder([codes, labels[:3]]) - model.decoder([codes, labels[3:6]])).max()
        > 1e-3
    )
    assert (
        np.abs(model.encoder([x, labels[:3]])[0] - model.encoder([x, labels[3:6]])[0]).max() > 1e-3
    )
    # White or black as the label says: the code cannot tell, as all pictures of the encoder look alike.
    kind = np.arange(64) % 2
    wanted = np.repeat(kind.astype("float32"), 784).reshape(64, 28, 28, 1)
    same = np.full_like(wanted, 0.5)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit([same, labels[kind]], wanted, epochs=16, batch_size=16, verbose=0)
    shown = expit(np.array(model.decoder([np.zeros((2, 2), "float32"), labels[:2]]))).mean(
        axis=(1, 2, 3)
    )
    assert shown[0] < 0.1 and shown[1] > 0.9
