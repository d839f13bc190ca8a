"""Layers against NumPy, against themselves with padding and in another order, and against notebook 03's."""

import inspect

import keras
import numpy as np
import pytest

from utils import layers

TOKENS = np.array([[5, 3, 9, 2, 7, 3], [4, 4, 8, 6, 1, 2]])
MAKE = {
    "TransformerEncoder": lambda: layers.TransformerEncoder(8, 16, 2, dropout=0.1),
    "PositionalEmbedding": lambda: layers.PositionalEmbedding(60, 10, 8),
}
EVERY = [name for name, item in vars(layers).items() if inspect.isclass(item)]


def model_of(name):
    """The layer as the last one of a model that reads token ids."""
    inputs = keras.Input((None,), dtype="int64")
    layer = MAKE[name]()
    ids = "Embedding" in name
    vectors = inputs if ids else keras.layers.Embedding(10, 8, mask_zero=True)(inputs)
    return keras.Model(inputs, layer(vectors)), layer


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(3)


def test_every_layer_is_tested_here():
    assert sorted(EVERY) == sorted(MAKE)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("zeros", [1, 50])
def test_padding_changes_no_real_place(name, zeros):
    model, _ = model_of(name)
    plain = model.predict(TOKENS, verbose=0)
    padded = model.predict(np.pad(TOKENS, ((0, 0), (0, zeros))), verbose=0)
    np.testing.assert_allclose(padded[:, :6], plain, atol=1e-5)


@pytest.mark.parametrize("name", MAKE)
def test_the_mask_travels_on(name):
    model, _ = model_of(name)
    pooled = keras.Model(model.input, keras.layers.GlobalAveragePooling1D()(model.outputs[0]))
    padded = np.pad(TOKENS, ((0, 0), (0, 9)))
    np.testing.assert_allclose(pooled(padded), pooled(TOKENS), atol=1e-5)


@pytest.mark.parametrize("name", MAKE)
def test_saved_and_loaded_it_is_the_same(name, tmp_path, recwarn):
    model, _ = model_of(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(TOKENS, verbose=0), model.predict(TOKENS, verbose=0))
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    assert not [note for note in recwarn if "build" in str(note.message)]


@pytest.mark.parametrize("name", MAKE)
def test_weights_are_there_once_built(name):
    _, layer = model_of(name)
    fresh = type(layer).from_config(layer.get_config())
    fresh.build((None, None) if "Embedding" in name else (None, None, 8))
    assert [w.shape for w in fresh.weights] == [w.shape for w in layer.weights]


def test_encoder_equals_numpy():
    encoder = layers.TransformerEncoder(8, 16, 2)
    vectors = np.random.default_rng(0).normal(size=(1, 5, 8)).astype("float32")
    encoded = encoder(vectors).numpy()
    for variable in encoder.weights:  # biases begin as zeros: they would not be tested
        variable.assign(np.random.default_rng(len(variable.path)).normal(size=variable.shape) / 3)
    assert not np.allclose(encoder(vectors), encoded)
    weights = {v.path.split("/", 1)[1]: v.numpy() for v in encoder.weights}

    def part(name, kind):
        found = [value for path, value in weights.items() if f"{name}/{kind}" in path]
        assert len(found) == 1, (name, kind, list(weights))
        return found[0]

    def normalise(x, scale, offset):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3) * scale + offset

    roles = [
        np.einsum("ld,dhk->hlk", vectors[0], part(role, "kernel")) + part(role, "bias")[:, None]
        for role in ("query", "key", "value")
    ]
    scores = np.einsum("hqk,hlk->hql", roles[0], roles[1]) / np.sqrt(4)
    powers = np.exp(scores)
    heads = np.einsum("hql,hlk->qhk", powers / powers.sum(axis=-1, keepdims=True), roles[2])
    attended = np.einsum("qhk,hkd->qd", heads, part("attention_output", "kernel")) + part(
        "attention_output", "bias"
    )
    norms = [
        (layer.gamma.numpy(), layer.beta.numpy())
        for layer in (encoder.attention_norm, encoder.projection_norm)
    ]
    middle = normalise(vectors[0] + attended, *norms[0])
    hidden = np.maximum(middle @ encoder.hidden.kernel.numpy() + encoder.hidden.bias.numpy(), 0)
    last = hidden @ encoder.projection.kernel.numpy() + encoder.projection.bias.numpy()
    np.testing.assert_allclose(encoder(vectors)[0], normalise(middle + last, *norms[1]), atol=1e-4)


def test_encoder_permutes_its_outputs_with_its_inputs():
    model, _ = model_of("TransformerEncoder")
    order = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(model(TOKENS[:, order]), model(TOKENS).numpy()[:, order], atol=1e-5)


def test_positions_make_the_order_matter():
    model, _ = model_of("PositionalEmbedding")
    order = np.array([3, 0, 5, 1, 4, 2])
    encoder = layers.TransformerEncoder(8, 16, 2)
    pooled = [encoder(model(ids)).numpy().mean(axis=1) for ids in (TOKENS, TOKENS[:, order])]
    assert np.abs(pooled[0] - pooled[1]).max() > 1e-3


def test_positional_embedding_is_token_plus_place_times_root_of_width():
    layer = layers.PositionalEmbedding(20, 10, 4)
    found = layer(TOKENS).numpy()
    tokens, places = (table.get_weights()[0] for table in (layer.tokens, layer.places))
    for row, ids in enumerate(TOKENS):
        for place, token in enumerate(ids):
            np.testing.assert_allclose(found[row, place], 2 * (tokens[token] + places[place]), rtol=1e-5)


def test_tokens_begin_at_unit_size_and_places_near_zero():
    layer = layers.PositionalEmbedding(200, 500, 64)
    layer.build((None, None))
    assert np.std(layer.tokens.get_weights()[0] * 8) == pytest.approx(1, rel=0.02)
    assert np.std(layer.places.get_weights()[0] * 8) == pytest.approx(0.16, rel=0.02)


def test_dropout_works_in_training_only():
    encoder = layers.TransformerEncoder(8, 16, 2, dropout=0.5)
    vectors = np.ones((1, 4, 8), "float32")
    np.testing.assert_array_equal(encoder(vectors), encoder(vectors, training=False))
    assert np.abs(encoder(vectors, training=True) - encoder(vectors)).max() > 0.01


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="embed_dim=10 cannot be divided among 4 heads"):
        layers.TransformerEncoder(10, 16, 4)
    with pytest.raises(ValueError, match="6 tokens, but only 5 places"):
        layers.PositionalEmbedding(5, 10, 4)(TOKENS)


def test_layers_run_on_any_backend():
    assert "tensorflow" not in inspect.getsource(layers) and "tf." not in inspect.getsource(layers)
