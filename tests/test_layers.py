"""Layers against NumPy, against themselves with padding and in another order, and against notebook 03's."""

import inspect

import keras
import numpy as np
import pytest

from utils.models import transformer

TOKENS = np.array([[5, 3, 9, 2, 7, 3], [4, 4, 8, 6, 1, 2]])
MAKE = {
    "TransformerEncoder": lambda: transformer.TransformerEncoder(8, 16, 2, dropout=0.1),
    "PositionalEmbedding": lambda: transformer.PositionalEmbedding(60, 10, 8),
    "TransformerDecoder": lambda: transformer.TransformerDecoder(8, 16, 2, dropout=0.1),
    "TransformerDecoder without a source": lambda: transformer.TransformerDecoder(
        8, 16, 2, dropout=0.1
    ),
}
EVERY = [name for name, item in vars(transformer).items() if inspect.isclass(item)]


def model_of(name):
    """The layer as the last one of a model that reads token ids."""
    inputs = keras.Input((None,), dtype="int64")
    layer = MAKE[name]()
    ids = "Embedding" in name
    vectors = inputs if ids else keras.layers.Embedding(10, 8, mask_zero=True)(inputs)
    # A decoder gets its own input as the source too: what holds for one place must hold for both.
    given = (
        [vectors, keras.layers.Embedding(10, 8, mask_zero=True)(inputs)]
        if name == "TransformerDecoder"
        else [vectors]
    )
    return keras.Model(inputs, layer(*given)), layer


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(3)


def test_every_layer_is_tested_here():
    assert sorted(EVERY) == sorted({name.split()[0] for name in MAKE})


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
    np.testing.assert_array_equal(
        loaded.predict(TOKENS, verbose=0), model.predict(TOKENS, verbose=0)
    )
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    assert not [note for note in recwarn if "build" in str(note.message)]


@pytest.mark.parametrize("name", MAKE)
def test_weights_are_there_once_built(name):
    _, layer = model_of(name)
    fresh = type(layer).from_config(layer.get_config())
    shape = (None, None) if "Embedding" in name else (None, None, 8)
    fresh.build(*[shape] * (2 if name == "TransformerDecoder" else 1))
    assert [w.shape for w in fresh.weights] == [w.shape for w in layer.weights]


def test_encoder_equals_numpy():
    encoder = transformer.TransformerEncoder(8, 16, 2)
    vectors = np.random.default_rng(0).normal(size=(1, 5, 8)).astype("float32")
    encoded = np.asarray(encoder(vectors))
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
    np.testing.assert_allclose(
        model(TOKENS[:, order]), np.asarray(model(TOKENS))[:, order], atol=1e-5
    )


def test_positions_make_the_order_matter():
    model, _ = model_of("PositionalEmbedding")
    order = np.array([3, 0, 5, 1, 4, 2])
    encoder = transformer.TransformerEncoder(8, 16, 2)
    pooled = [np.asarray(encoder(model(ids))).mean(axis=1) for ids in (TOKENS, TOKENS[:, order])]
    assert np.abs(pooled[0] - pooled[1]).max() > 1e-3


def test_positional_embedding_is_token_plus_place_times_root_of_width():
    layer = transformer.PositionalEmbedding(20, 10, 4)
    found = np.asarray(layer(TOKENS))
    tokens, places = (
        table.get_weights()[0] for table in (layer.token_embedding, layer.position_embedding)
    )
    for row, ids in enumerate(TOKENS):
        for place, token in enumerate(ids):
            np.testing.assert_allclose(
                found[row, place], 2 * (tokens[token] + places[place]), rtol=1e-5
            )


def test_tokens_begin_at_unit_size_and_places_near_zero():
    layer = transformer.PositionalEmbedding(200, 500, 64)
    layer.build((None, None))
    assert np.std(layer.token_embedding.get_weights()[0] * 8) == pytest.approx(1, rel=0.02)
    assert np.std(layer.position_embedding.get_weights()[0] * 8) == pytest.approx(0.16, rel=0.02)


@pytest.mark.parametrize("name", ["TransformerEncoder", "TransformerDecoder"])
def test_dropout_works_in_training_only(name):
    layer = getattr(transformer, name)(8, 16, 2, dropout=0.5)
    vectors = [np.ones((1, 4, 8), "float32")] * (2 if name == "TransformerDecoder" else 1)
    np.testing.assert_array_equal(layer(*vectors), layer(*vectors, training=False))
    assert np.abs(layer(*vectors, training=True) - layer(*vectors)).max() > 0.01


@pytest.fixture
def translator():
    """Two blocks of a decoder over token ids, with biases that are not zero either, and the layers in it."""
    read, written = (keras.Input((None,), dtype="int64") for _ in range(2))
    source, target = (
        transformer.PositionalEmbedding(80, 10, 8),
        transformer.PositionalEmbedding(80, 10, 8),
    )
    decoders = [transformer.TransformerDecoder(8, 16, 2) for _ in range(2)]
    encoded, decoded = source(read), target(written)
    for decoder in decoders:
        decoded = decoder(decoded, encoded)
    model = keras.Model([read, written], decoded)
    random = np.random.default_rng(2)
    model.set_weights([w + random.normal(size=w.shape) / 3 for w in model.get_weights()])
    return model, source, target, decoders


WRITTEN = np.array([[1, 5, 7, 2, 9, 3], [1, 8, 8, 4, 6, 2]])


def test_decoder_never_sees_the_future(translator):
    model, *_ = translator
    plain = model.predict([TOKENS, WRITTEN], verbose=0)
    for place in range(1, 6):
        changed = WRITTEN.copy()
        changed[:, place:] = 11 - changed[:, place:]
        found = model.predict([TOKENS, changed], verbose=0)
        np.testing.assert_array_equal(found[:, :place], plain[:, :place])
        assert np.abs(found[:, place:] - plain[:, place:]).max(axis=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("padded", ["source", "target"])
@pytest.mark.parametrize("junk", [False, True])
def test_decoder_never_sees_padding(translator, padded, junk):
    """More padding changes nothing beyond rounding; other vectors at the padding change not a single bit."""
    _, source, target, decoders = translator
    read, written = (
        np.array(layer(np.pad(ids, ((0, 0), (0, 7)))))
        for layer, ids in ((source, TOKENS), (target, WRITTEN))
    )
    mask = np.arange(13)[None] < np.array([[6], [6]])
    masks = {"inputs_mask": mask, "encoded_mask": mask}
    plain = np.asarray(decoders[0](written, read, **masks))[:, :6]
    if junk:
        (read if padded == "source" else written)[:, 6:] = (
            np.random.default_rng(0).normal(size=(2, 7, 8)) * 9
        )
        np.testing.assert_array_equal(decoders[0](written, read, **masks)[:, :6], plain)
    else:
        short = {"source": (written, read[:, :6]), "target": (written[:, :6], read)}[padded]
        masks["encoded_mask" if padded == "source" else "inputs_mask"] = mask[:, :6]
        np.testing.assert_allclose(decoders[0](*short, **masks)[:, :6], plain, atol=1e-5)


def test_every_block_knows_the_padding_of_the_source(translator):
    """Keras's attention takes the mask off its input, so that a second block might see padding."""
    model, *_ = translator
    plain = model.predict([TOKENS, WRITTEN], verbose=0)
    padded = model.predict([np.pad(TOKENS, ((0, 0), (0, 30))), WRITTEN], verbose=0)
    np.testing.assert_allclose(padded, plain, atol=1e-5)


def test_decoder_reads_the_source_and_the_past(translator):
    model, *_ = translator
    plain = model.predict([TOKENS, WRITTEN], verbose=0)
    other = TOKENS.copy()
    other[:, 4] = 9
    assert np.abs(model.predict([other, WRITTEN], verbose=0) - plain).max(axis=(0, 2)).min() > 1e-3
    other = WRITTEN.copy()
    other[:, 1] = 3
    assert (
        np.abs(model.predict([TOKENS, other], verbose=0) - plain)[:, 1:].max(axis=(0, 2)).min()
        > 1e-3
    )


def test_decoding_step_by_step_equals_decoding_at_once(translator):
    model, source, target, decoders = translator
    read = np.pad(TOKENS, ((0, 0), (0, 3)))
    read[1, 4:] = 0
    expected = model.predict([read, WRITTEN], verbose=0)
    caches = [decoder.init_cache(source(read)) for decoder in decoders]
    for place in range(6):
        vectors = target(WRITTEN[:, place : place + 1], start_index=place)
        for number, decoder in enumerate(decoders):
            vectors, caches[number] = decoder.call_with_cache(vectors, caches[number], read != 0)
        np.testing.assert_allclose(vectors[:, 0], expected[:, place], atol=1e-5)
        assert caches[0]["keys"].shape == (2, place + 1, 2, 4)


def test_decoder_equals_its_parts_in_numpy():
    decoder = transformer.TransformerDecoder(8, 16, 2)
    random = np.random.default_rng(0)
    written, read = (random.normal(size=(1, n, 8)).astype("float32") for n in (4, 5))
    decoder(written, read)
    for variable in decoder.weights:
        variable.assign(np.random.default_rng(len(variable.path)).normal(size=variable.shape) / 3)

    def attend(layer, queries, others, allowed):
        query, q, key, k, value, v, output, o = layer.get_weights()
        heads = []
        for h in range(2):
            scores = (queries @ query[:, h] + q[h]) @ (others @ key[:, h] + k[h]).T / 2
            powers = np.exp(np.where(allowed, scores, -np.inf))
            weights = powers / powers.sum(axis=-1, keepdims=True)
            heads.append(weights @ (others @ value[:, h] + v[h]) @ output[h])
        return sum(heads) + o

    def normalise(x, norm):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3)
        return scaled * norm.gamma.numpy() + norm.beta.numpy()

    real = np.array([True, True, True, False, True])
    found = attend(decoder.attention, written[0], written[0], np.tri(4, dtype=bool))
    found = normalise(written[0] + found, decoder.attention_norm)
    found = normalise(
        found + attend(decoder.cross_attention, found, read[0], real), decoder.cross_norm
    )
    hidden = np.maximum(found @ decoder.hidden.kernel.numpy() + decoder.hidden.bias.numpy(), 0)
    last = hidden @ decoder.projection.kernel.numpy() + decoder.projection.bias.numpy()
    expected = normalise(found + last, decoder.projection_norm)
    np.testing.assert_allclose(
        decoder(written, read, encoded_mask=real[None])[0], expected, atol=1e-4
    )


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="embed_dim=10 cannot be divided among 4 heads"):
        transformer.TransformerEncoder(10, 16, 4)
    with pytest.raises(ValueError, match="embed_dim=10 cannot be divided among 3 heads"):
        transformer.TransformerDecoder(10, 16, 3)
    with pytest.raises(ValueError, match="6 tokens, but only 5 places"):
        transformer.PositionalEmbedding(5, 10, 4)(TOKENS)
    with pytest.raises(ValueError, match="6 tokens, but only 5 places"):
        transformer.PositionalEmbedding(5, 10, 4)(keras.Input((6,), dtype="int64"))
    with pytest.raises(ValueError, match="7 tokens, but only 6 places"):
        transformer.PositionalEmbedding(6, 10, 4)(TOKENS[:, :1], start_index=6)


def test_layers_run_on_any_backend():
    assert "tensorflow" not in inspect.getsource(transformer) and "tf." not in inspect.getsource(
        transformer
    )


def test_a_decoder_without_a_source_is_a_causal_encoder():
    decoder, encoder = (
        transformer.TransformerDecoder(8, 16, 2),
        transformer.TransformerEncoder(8, 16, 2),
    )
    vectors = np.random.default_rng(2).normal(size=(2, 6, 8)).astype("float32")
    decoder(vectors), encoder(vectors)
    encoder.set_weights(decoder.get_weights())
    for place in range(6):
        # The last place of an encoder that reads no further sees what a causal one sees there.
        expected = encoder(vectors[:, : place + 1])[:, -1]
        np.testing.assert_allclose(decoder(vectors)[:, place], expected, atol=1e-5)


def test_a_decoder_without_a_source_steps_as_it_runs():
    decoder = transformer.TransformerDecoder(8, 16, 2)
    vectors = np.random.default_rng(3).normal(size=(3, 7, 8)).astype("float32")
    expected, cache = decoder(vectors), decoder.init_cache(batch=3)
    for place in range(7):
        found, cache = decoder.call_with_cache(vectors[:, place : place + 1], cache)
        np.testing.assert_allclose(found[:, 0], expected[:, place], atol=1e-5)
