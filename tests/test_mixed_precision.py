"""`keras.mixed_precision.set_global_policy` in the set-up cell: layers, decoding, every model."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests import test_gan_notebook, test_vae_notebook
from tests.test_notebook_code import MODELS, TINY, define, randomized
from utils import decoding, notebook
from utils.models import seq2seq, transformer

POLICIES = ["mixed_float16", "mixed_bfloat16"]
IDS = np.array([[5, 3, 9, 2, 7, 3], [4, 4, 8, 0, 0, 0]])
MASK = IDS != 0
VECTORS = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
SOURCE = np.random.default_rng(1).normal(size=(2, 5, 8)).astype("float32")
LAYERS = {
    "encoder": (lambda **kind: transformer.TransformerEncoder(8, 16, 2, **kind), (VECTORS,)),
    "decoder": (lambda **kind: transformer.TransformerDecoder(8, 16, 2, **kind), (VECTORS, SOURCE)),
    "language model": (lambda **kind: transformer.TransformerDecoder(8, 16, 2, **kind), (VECTORS,)),
    "embedding": (lambda **kind: transformer.PositionalEmbedding(60, 10, 8, **kind), (IDS,)),
}
pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(3)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(params=POLICIES)
def policy(request):
    keras.config.set_dtype_policy(request.param)
    return request.param


@pytest.fixture
def float16():
    """Set the policy that also scales losses; layers are tested with both."""
    keras.config.set_dtype_policy("mixed_float16")


def compute_dtype(policy):
    return policy.removeprefix("mixed_")


def as_float32(array):
    return ops.convert_to_numpy(ops.cast(array, "float32"))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_in_the_policys_dtype_and_agree_with_float32(name, policy):
    build, inputs = LAYERS[name]
    layer, exact = build(), build(dtype="float32")
    results = layer(*inputs), exact(*inputs)
    exact.set_weights(layer.get_weights())
    results = layer(*inputs), exact(*inputs)
    assert [keras.backend.standardize_dtype(result.dtype) for result in results] == [
        compute_dtype(policy),
        "float32",
    ]
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    tolerance = 2 * notebook.tolerance(1e-5)
    np.testing.assert_allclose(as_float32(results[0]), results[1], atol=tolerance)
    assert np.abs(as_float32(results[0]) - results[1]).max() > 0, "nothing was rounded"


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_its_own_policy_under_another_one_made_or_loaded(name, policy, tmp_path):
    build, inputs = LAYERS[name]
    keras.config.set_dtype_policy("float32")
    expected = build(name="layer")
    ids = [keras.Input(array.shape[1:], dtype=array.dtype) for array in inputs]
    model = keras.Model(ids, expected(*ids))
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy(policy)
    loaded = keras.models.load_model(tmp_path / "model.keras").get_layer("layer")
    made = build(dtype="float32")
    made(*inputs)
    made.set_weights(expected.get_weights())
    for layer in (loaded, made):
        np.testing.assert_array_equal(layer(*inputs), expected(*inputs))


@pytest.mark.parametrize("name", ["decoder", "language model"])
def test_decoding_from_the_cache_is_close_to_call(name, policy):
    build, inputs = LAYERS[name]
    layer = build()
    encoded = ops.cast(SOURCE, compute_dtype(policy)) if len(inputs) == 2 else None
    expected = layer(*inputs)
    cache = layer.init_cache(encoded, batch_size=2, max_length=9)
    steps = []
    for index in range(VECTORS.shape[1]):
        output, cache = layer.call_with_cache(VECTORS[:, index : index + 1], cache, index)
        steps.append(output)
    kinds = {keras.backend.standardize_dtype(cache[key].dtype) for key in cache if key != "mask"}
    assert kinds == {compute_dtype(policy)}
    tolerance = 2 * notebook.tolerance(1e-5)
    stepwise = as_float32(ops.concatenate(steps, axis=1))
    np.testing.assert_allclose(stepwise, as_float32(expected), atol=tolerance)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_padding_is_not_attended_to(name, policy):
    build, inputs = LAYERS[name]
    layer = build()
    masks = {"mask": MASK}
    if name == "decoder":
        masks = {"inputs_mask": MASK, "encoded_mask": MASK[:, :5]}
    plain = layer(*inputs, **masks)
    changed = [np.where(MASK[:, : array.shape[1], None], array, 99.0) for array in inputs]
    other = layer(*(array.astype("float32") for array in changed), **masks)
    np.testing.assert_array_equal(as_float32(plain)[MASK], as_float32(other)[MASK])


def test_the_gru_translator_has_float32_logits_and_decodes_from_its_state(policy):
    model = randomized(seq2seq.build_gru_seq2seq(20, 25, 6, 8, 0.0))
    target = np.array([[2, 9, 8, 4], [2, 7, 5, 6]])
    logits = model([IDS, target])
    assert logits.dtype == tf.float32
    init_state, step = seq2seq.gru_decode_fns(model)
    state = init_state(IDS)
    for index in range(4):
        stepwise, state = step(target[:, index], state)
        np.testing.assert_allclose(
            stepwise, logits[:, index], atol=5 * notebook.tolerance(1e-5), rtol=0.05
        )
    tokens = decoding.greedy_search(step, init_state(IDS), 2, 3, 7)
    assert tokens.dtype == np.int32 and len(tokens) == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "search",
    [
        lambda *given: decoding.greedy_search(*given, banned_ids={4}),
        lambda *given: decoding.beam_search(*given, banned_ids={4}),
        lambda step, state, start, end, limit: decoding.sample(
            step, state, [[start]] * 2, end, limit, seed=1, top_p=0.9, banned_ids={4}
        ),
    ],
)
def test_half_precision_logits_are_decoded_as_the_same_numbers_in_float32(dtype, search):
    table = ops.cast(np.random.default_rng(0).normal(0, 3, (12, 12)), dtype)

    def search_with(logits_of):
        def step(ids, state):
            return logits_of(ops.take(table, ids, axis=0)), state

        return search(step, [np.zeros((2, 1))], 2, 3, 9)

    half = search_with(lambda logits: logits)
    exact = search_with(lambda logits: ops.cast(logits, "float32"))
    np.testing.assert_array_equal(half, exact)
    assert half.shape[1] > 1 and not (half == 4).any()


def train(model, x, y, sample_weight=None):
    """Return the loss of five steps on one batch, which take less time than to build a graph."""
    model.run_eagerly = True
    losses = []
    for _ in range(5):
        losses.append(model.train_on_batch(x, y, sample_weight, return_dict=True)["loss"])
        model.reset_metrics()
    return losses


def assert_trains(losses, model):
    assert np.isfinite(losses).all() and losses[-1] < losses[0], losses
    for output in model.outputs:
        assert output.dtype == "float32", "losses and metrics would be computed in half precision"


@pytest.mark.parametrize("name", MODELS)
def test_models_of_the_text_notebooks_train(name, float16):
    stem, names, build = MODELS[name]
    model = build(SimpleNamespace(**define(stem, *names, **TINY)))
    rng = np.random.default_rng(0)
    if name[:2] in ("02", "03"):
        labels = np.arange(16) % 2
        ids = rng.integers(3, 20, (16, 6))
        ids[:, 0] = 1 + labels
        model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
        losses = train(model, ids, labels)
    else:
        ids = rng.integers(4, 14, (16, 1)) + np.arange(7)
        ids[::2, 5:] = 0
        seq2seq.compile_seq2seq(model, 0.02, 8)
        x = [ids, ids[:, :-1]][-len(model.inputs) :]
        losses = train(model, x if len(x) > 1 else x[0], ids[:, 1:], ids[:, 1:] != 0)
    assert_trains(losses, model)


OTHER_LAYERS = {
    "01 network": ("01_text_vectorization", ("build_model",), lambda c: c.build_model(5), (5,)),
    "03 batch normalization": (
        "03_transformer_encoder",
        ("EncoderParts", "BatchNormEncoder"),
        lambda c: c.BatchNormEncoder(8, 16, 2),
        (6, 8),
    ),
    "05 without masks": (
        "05_transformer_translation",
        ("DecoderWithMask", "DecoderWithInputsMask"),
        lambda c: lambda x: c.DecoderWithInputsMask(8)(x, x),
        (6, 8),
    ),
}


@pytest.mark.parametrize("name", OTHER_LAYERS)
def test_other_layers_of_the_text_notebooks_compute(name, float16):
    stem, names, build, shape = OTHER_LAYERS[name]
    layer = build(SimpleNamespace(**define(stem, *names, **TINY)))
    output = layer(np.ones((2, *shape), "float32"))
    assert np.isfinite(as_float32(output)).all()


@pytest.fixture(scope="module")
def autoencoders():
    settings = SimpleNamespace(**vars(test_vae_notebook.CFG), filters=(8, 16, 16), face_code=4)
    names = (*test_vae_notebook.NAMES, "face_vae")
    return SimpleNamespace(**define("09_vae", *names, cfg=settings))


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "face_vae"])
def test_models_of_notebook_09_train_and_give_float32(autoencoders, float16, kind):
    x = test_vae_notebook.bars(16)
    if kind == "autoencoder":
        model, encoder, decoder = autoencoders.autoencoder(2)
        model.compile(keras.optimizers.Adam(3e-3), autoencoders.bernoulli)
    elif kind == "vae":
        model = autoencoders.vae(2)
        encoder, decoder = model.encoder, model.decoder
        model.compile(keras.optimizers.Adam(3e-3))
    else:
        x = np.random.default_rng(0).random((16, 16, 16, 3)).astype("float32")
        model = autoencoders.face_vae(16)
        encoder, decoder = model.encoder, model.decoder
        model.compile(keras.optimizers.Adam(3e-3))
    losses = train(model, x, x)
    for network in (encoder, decoder):
        assert_trains(losses, network)
    hidden = [layer for layer in encoder.layers if layer.name.startswith(("dense", "conv"))]
    assert {layer.compute_dtype for layer in hidden} == {"float16"}


gans = test_gan_notebook.gans


@pytest.mark.parametrize("kind", ["GAN", "WassersteinGAN", "ConditionalGAN", "spectral"])
def test_models_of_notebook_10_train_and_give_float32(gans, float16, kind):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (8, 28, 28, 1)).astype("float32")
    batch = images
    if kind == "ConditionalGAN":
        batch = images, np.arange(8) % 10
        networks = gans.generator((28, 28, 1), 4), gans.discriminator((28, 28, 11), 4)
        model = gans.ConditionalGAN(*networks)
    elif kind == "WassersteinGAN":
        batch = rng.normal(size=(8, 2)).astype("float32")
        model = gans.WassersteinGAN(gans.small(4, 2), gans.small(2, 1))
    else:
        spectral = kind == "spectral"
        discriminator = gans.discriminator((28, 28, 1), 4, spectral=spectral)
        model = gans.GAN(gans.generator((28, 28, 1), 4), discriminator)
    test_gan_notebook.compiled(model)
    before = [network.get_weights() for network in (model.generator, model.discriminator)]
    batch = tf.nest.map_structure(tf.convert_to_tensor, batch)
    for _ in range(2):
        logs = model.train_step(batch)
    assert all(np.isfinite(float(value)) for value in logs.values()), logs
    for weights, network in zip(before, (model.generator, model.discriminator), strict=True):
        assert network.outputs[0].dtype == "float32"
        changed = zip(weights, network.get_weights(), strict=True)
        assert any((old != new).any() for old, new in changed)
        assert all(np.isfinite(weight).all() for weight in network.get_weights())


def test_full_precision_and_tolerance_follow_the_policy(policy):
    eps = {"mixed_float16": 2**-10, "mixed_bfloat16": 2**-7}[policy]
    assert notebook.tolerance(1e-5) == 10 * eps and notebook.tolerance(0.5) == 0.5
    with pytest.raises(ArithmeticError), notebook.full_precision():
        assert notebook.tolerance(1e-5) == 1e-5
        assert keras.layers.Dense(1).compute_dtype == "float32"
        raise ArithmeticError
    assert keras.layers.Dense(1).compute_dtype == compute_dtype(policy)
