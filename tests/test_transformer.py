"""Transformer layers against NumPy, with padding, step by step from the KV cache, and on JAX."""

import importlib.util
import inspect
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from utils import decoding, settings
from utils.models import transformer

TOKENS = np.array([[5, 3, 9, 2, 7, 3], [4, 4, 8, 6, 1, 2]])
LAYERS = {
    "TransformerEncoder": lambda: transformer.TransformerEncoder(8, 16, 2, dropout=0.1),
    "PositionalEmbedding": lambda: transformer.PositionalEmbedding(60, 10, 8),
    "TransformerDecoder": lambda: transformer.TransformerDecoder(8, 16, 2, dropout=0.1),
    "TransformerDecoder without a source": lambda: transformer.TransformerDecoder(
        8, 16, 2, dropout=0.1
    ),
}


def model_of(name):
    """Return a model of token ids whose last layer is the one to test, and that layer."""
    inputs = keras.Input((None,), dtype="int64")
    layer = LAYERS[name]()
    ids = "Embedding" in name
    vectors = inputs if ids else keras.layers.Embedding(10, 8, mask_zero=True)(inputs)
    arguments = [vectors]
    if name == "TransformerDecoder":
        # The target serves as the source too: padding must be masked in both.
        arguments.append(keras.layers.Embedding(10, 8, mask_zero=True)(inputs))
    return keras.Model(inputs, layer(*arguments)), layer


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(3)


def test_every_layer_of_the_module_is_tested():
    classes = [name for name, item in vars(transformer).items() if inspect.isclass(item)]
    classes.remove("_TransformerBlock")  # what both blocks share
    assert sorted(classes) == sorted({name.split()[0] for name in LAYERS})


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("num_padding", [1, 50])
def test_padding_changes_no_other_position(name, num_padding):
    model, _ = model_of(name)
    plain = model.predict(TOKENS, verbose=0)
    padded = model.predict(np.pad(TOKENS, ((0, 0), (0, num_padding))), verbose=0)
    np.testing.assert_allclose(padded[:, :6], plain, atol=1e-5)


BLOCKS = [name for name in LAYERS if "Embedding" not in name]


@pytest.mark.parametrize("name", BLOCKS)
def test_padding_in_front_changes_no_token(name):
    model, layer = model_of(name)
    randomize(layer, 0)
    plain = model.predict(TOKENS, verbose=0)
    padded = model.predict(np.pad(TOKENS, ((0, 0), (4, 0))), verbose=0)
    np.testing.assert_allclose(padded[:, 4:], plain, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_other_layers_that_use_the_same_tensors_still_find_the_mask(name):
    """Keras's attention removes the mask from the tensors it gets."""
    embedding = keras.layers.Embedding(10, 8, mask_zero=True)
    average = keras.layers.GlobalAveragePooling1D()
    expected = average(embedding(TOKENS))
    inputs = []
    for _ in range(2 if name == "TransformerDecoder" else 1):
        inputs.append(embedding(np.pad(TOKENS, ((0, 0), (0, 9)))))
    LAYERS[name]()(*inputs)
    for vectors in inputs:
        np.testing.assert_allclose(average(vectors), expected, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_the_mask_is_passed_on(name):
    model, _ = model_of(name)
    pooled = keras.Model(model.input, keras.layers.GlobalAveragePooling1D()(model.outputs[0]))
    padded = np.pad(TOKENS, ((0, 0), (0, 9)))
    np.testing.assert_allclose(pooled(padded), pooled(TOKENS), atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_a_saved_layer_loads_with_the_same_weights(name, tmp_path, recwarn):
    model, _ = model_of(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(TOKENS, verbose=0), model.predict(TOKENS, verbose=0)
    )
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    assert not [note for note in recwarn if "build" in str(note.message)]


@pytest.mark.parametrize("name", LAYERS)
def test_build_creates_all_weights(name):
    _, layer = model_of(name)
    fresh = type(layer).from_config(layer.get_config())
    shape = (None, None) if "Embedding" in name else (None, None, 8)
    fresh.build(*[shape] * (2 if name == "TransformerDecoder" else 1))
    assert [w.shape for w in fresh.weights] == [w.shape for w in layer.weights]


def feed_forward(block, x):
    kernel, bias = block.feed_forward_hidden.get_weights()
    hidden = np.maximum(x @ kernel + bias, 0)
    kernel, bias = block.feed_forward_output.get_weights()
    return hidden @ kernel + bias


def test_encoder_equals_numpy():
    encoder = transformer.TransformerEncoder(8, 16, 2)
    vectors = np.random.default_rng(0).normal(size=(1, 5, 8)).astype("float32")
    encoded = np.asarray(encoder(vectors))
    randomize(encoder, 1)  # biases start as zeros and would not be tested
    assert not np.allclose(encoder(vectors), encoded)
    weights = {v.path.split("/", 1)[1]: v.numpy() for v in encoder.weights}

    def part(name, kind):
        (matching,) = [value for path, value in weights.items() if f"{name}/{kind}" in path]
        return matching

    def normalize(x, scale, offset):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3) * scale + offset

    query, key, value = (
        np.einsum("ld,dhk->hlk", vectors[0], part(role, "kernel")) + part(role, "bias")[:, None]
        for role in ("query", "key", "value")
    )
    scores = np.einsum("hqk,hlk->hql", query, key) / np.sqrt(4)
    attention_weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    heads = np.einsum("hql,hlk->qhk", attention_weights, value)
    attended = np.einsum("qhk,hkd->qd", heads, part("attention_output", "kernel")) + part(
        "attention_output", "bias"
    )
    attended = normalize(vectors[0] + attended, *encoder.attention_norm.get_weights())
    expected = attended + feed_forward(encoder, attended)
    expected = normalize(expected, *encoder.feed_forward_norm.get_weights())
    np.testing.assert_allclose(encoder(vectors)[0], expected, atol=1e-4)


def test_encoder_permutes_its_outputs_with_its_inputs():
    model, _ = model_of("TransformerEncoder")
    order = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(
        model(TOKENS[:, order]), np.asarray(model(TOKENS))[:, order], atol=1e-5
    )


def test_positional_embeddings_make_order_matter():
    model, _ = model_of("PositionalEmbedding")
    order = np.array([3, 0, 5, 1, 4, 2])
    encoder = transformer.TransformerEncoder(8, 16, 2)
    pooled = [np.asarray(encoder(model(ids))).mean(axis=1) for ids in (TOKENS, TOKENS[:, order])]
    assert np.abs(pooled[0] - pooled[1]).max() > 1e-3


def test_positional_embedding_is_a_scaled_sum_of_two_table_rows():
    layer = transformer.PositionalEmbedding(20, 10, 4)
    embedded = np.asarray(layer(TOKENS))
    later = np.asarray(layer(TOKENS, start_index=5))
    tokens = layer.token_embedding.get_weights()[0]
    positions = layer.position_embedding.get_weights()[0]
    for row, ids in enumerate(TOKENS):
        for position, token in enumerate(ids):
            expected = 2 * (tokens[token] + positions[position])
            np.testing.assert_allclose(embedded[row, position], expected, rtol=1e-5)
            expected = 2 * (tokens[token] + positions[position + 5])
            np.testing.assert_allclose(later[row, position], expected, rtol=1e-5)


@pytest.mark.tensorflow
def test_the_gradient_of_the_positions_is_dense():
    """Two mirrored copies that add up sparse gradients do not train as one model does."""
    import tensorflow as tf

    layer = transformer.PositionalEmbedding(8, 10, 4)
    with tf.GradientTape() as tape:
        total = ops.sum(layer(TOKENS, start_index=1))
    gradient = tape.gradient(total, layer.position_embedding.embeddings.value)
    assert not isinstance(gradient, tf.IndexedSlices)
    # The sum is scaled by sqrt(4), and each of the positions 1 to 6 is used in two rows.
    np.testing.assert_allclose(gradient, np.outer([0, 1, 1, 1, 1, 1, 1, 0], [4.0] * 4), atol=1e-6)


def test_tokens_start_at_unit_scale_and_positions_near_zero():
    layer = transformer.PositionalEmbedding(200, 500, 64)
    layer.build((None, None))
    assert np.std(layer.token_embedding.get_weights()[0] * 8) == pytest.approx(1, rel=0.02)
    assert np.std(layer.position_embedding.get_weights()[0] * 8) == pytest.approx(0.16, rel=0.02)


@pytest.mark.parametrize("name", ["TransformerEncoder", "TransformerDecoder"])
def test_dropout_is_active_in_training_only(name):
    layer = getattr(transformer, name)(8, 16, 2, dropout=0.5)
    vectors = [np.ones((1, 4, 8), "float32")] * (2 if name == "TransformerDecoder" else 1)
    np.testing.assert_array_equal(layer(*vectors), layer(*vectors, training=False))
    assert np.abs(layer(*vectors, training=True) - layer(*vectors)).max() > 0.01


@pytest.fixture
def translator():
    """Return a model of two decoder blocks, its two embeddings, and the blocks."""
    source_ids = keras.Input((None,), dtype="int64")
    target_ids = keras.Input((None,), dtype="int64")
    source_embedding = transformer.PositionalEmbedding(80, 10, 8)
    target_embedding = transformer.PositionalEmbedding(80, 10, 8)
    decoders = [transformer.TransformerDecoder(8, 16, 2) for _ in range(2)]
    encoded = source_embedding(source_ids)
    decoded = target_embedding(target_ids)
    for decoder in decoders:
        decoded = decoder(decoded, encoded)
    model = keras.Model([source_ids, target_ids], decoded)
    randomize(model, 2)
    return model, source_embedding, target_embedding, decoders


def randomize(layer, seed):
    """Add noise to all weights, so that no bias is 0."""
    rng = np.random.default_rng(seed)
    layer.set_weights([w + rng.normal(size=w.shape) / 3 for w in layer.get_weights()])


TARGET = np.array([[1, 5, 7, 2, 9, 3], [1, 8, 8, 4, 6, 2]])


def test_decoder_does_not_attend_to_the_future(translator):
    model, *_ = translator
    plain = model.predict([TOKENS, TARGET], verbose=0)
    for position in range(1, 6):
        changed = TARGET.copy()
        changed[:, position:] = 11 - changed[:, position:]
        outputs = model.predict([TOKENS, changed], verbose=0)
        np.testing.assert_array_equal(outputs[:, :position], plain[:, :position])
        differences = np.abs(outputs - plain)[:, position:]
        assert differences.max(axis=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("padded", ["source", "target"])
@pytest.mark.parametrize("junk", [False, True])
def test_decoder_does_not_attend_to_padding(translator, padded, junk):
    """More padding changes rounding at most; other vectors at padding positions change no bit."""
    _, source_embedding, target_embedding, decoders = translator
    source = np.array(source_embedding(np.pad(TOKENS, ((0, 0), (0, 7)))))
    target = np.array(target_embedding(np.pad(TARGET, ((0, 0), (0, 7)))))
    mask = np.arange(13)[None] < np.array([[6], [6]])
    masks = {"inputs_mask": mask, "encoded_mask": mask}
    plain = np.asarray(decoders[0](target, source, **masks))[:, :6]
    if junk:
        changed = source if padded == "source" else target
        changed[:, 6:] = np.random.default_rng(0).normal(size=(2, 7, 8)) * 9
        np.testing.assert_array_equal(decoders[0](target, source, **masks)[:, :6], plain)
    else:
        short = {"source": (target, source[:, :6]), "target": (target[:, :6], source)}[padded]
        masks["encoded_mask" if padded == "source" else "inputs_mask"] = mask[:, :6]
        np.testing.assert_allclose(decoders[0](*short, **masks)[:, :6], plain, atol=1e-5)


def test_every_block_masks_the_padding_of_the_source(translator):
    """Keras's attention removes the mask from its input, so a second block might miss it."""
    model, *_ = translator
    plain = model.predict([TOKENS, TARGET], verbose=0)
    padded = model.predict([np.pad(TOKENS, ((0, 0), (0, 30))), TARGET], verbose=0)
    np.testing.assert_allclose(padded, plain, atol=1e-5)


def test_decoder_depends_on_the_source_and_on_earlier_positions(translator):
    model, *_ = translator
    plain = model.predict([TOKENS, TARGET], verbose=0)
    other_source = TOKENS.copy()
    other_source[:, 4] = 9
    differences = np.abs(model.predict([other_source, TARGET], verbose=0) - plain)
    assert differences.max(axis=(0, 2)).min() > 1e-3
    other_target = TARGET.copy()
    other_target[:, 1] = 3
    differences = np.abs(model.predict([TOKENS, other_target], verbose=0) - plain)
    assert differences[:, 1:].max(axis=(0, 2)).min() > 1e-3


def decode_from_cache(translator, source_ids, target_ids, max_length=9):
    """Return the decoder's outputs, computed one position at a time from the KV cache."""
    _, source_embedding, target_embedding, decoders = translator
    encoded = source_embedding(source_ids)
    caches = [decoder.init_cache(encoded, max_length=max_length) for decoder in decoders]
    outputs = []
    for index in range(target_ids.shape[1]):
        ids = target_ids[:, index : index + 1]
        vectors = target_embedding(ids, start_index=index)
        for number, decoder in enumerate(decoders):
            vectors, caches[number] = decoder.call_with_cache(
                vectors, caches[number], index, source_ids != 0, ids != 0
            )
            assert caches[number]["keys"].shape == (2, max_length, 2, 4)
        outputs.append(ops.convert_to_numpy(vectors)[:, 0])
    return np.stack(outputs, axis=1)


def test_decoding_from_the_cache_equals_call(translator):
    source_ids = np.pad(TOKENS, ((0, 0), (0, 3)))
    source_ids[1, 4:] = 0
    expected = translator[0].predict([source_ids, TARGET], verbose=0)
    outputs = decode_from_cache(translator, source_ids, TARGET)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("padding", [slice(0, 3), slice(2, 4), slice(4, 6)])
def test_decoding_padded_prompts_from_the_cache_equals_call(translator, padding):
    target_ids = TARGET.copy()
    target_ids[1, padding] = 0
    is_token = target_ids != 0  # outputs at padding are not used
    expected = translator[0].predict([TOKENS, target_ids], verbose=0)
    outputs = decode_from_cache(translator, TOKENS, target_ids)
    np.testing.assert_allclose(outputs[is_token], expected[is_token], atol=1e-5)
    if padding.stop < 6:  # later positions would have noticed a mask that is ignored
        plain = translator[0].predict([TOKENS, TARGET], verbose=0)
        assert np.abs(expected - plain)[1, padding.stop :].max() > 1e-2


@pytest.mark.tensorflow
def test_one_compiled_step_serves_all_positions(translator):
    import tensorflow as tf

    model, source_embedding, target_embedding, decoders = translator
    traces = []

    @tf.function
    def step(ids, index, caches):
        traces.append(1)
        vectors = target_embedding(ids, start_index=index)
        next_caches = []
        for decoder, cache in zip(decoders, caches, strict=True):
            vectors, cache = decoder.call_with_cache(vectors, cache, index, inputs_mask=ids != 0)
            next_caches.append(cache)
        return vectors, next_caches

    encoded = source_embedding(TOKENS)
    caches = [decoder.init_cache(encoded, max_length=10) for decoder in decoders]
    target_ids = TARGET.copy()
    target_ids[1, 3] = 0
    expected = model.predict([TOKENS, target_ids], verbose=0)
    for index in range(6):
        ids = tf.constant(target_ids[:, index : index + 1])
        vectors, caches = step(ids, tf.constant(index), caches)
        is_token = target_ids[:, index] != 0  # outputs at padding are not used
        np.testing.assert_allclose(vectors[:, 0][is_token], expected[:, index][is_token], atol=1e-5)
    assert len(traces) == 1


def test_positions_beyond_the_cache_are_refused():
    decoder = transformer.TransformerDecoder(8, 16, 2)
    vectors = np.ones((3, 1, 8), "float32")
    decoder(vectors)
    cache = decoder.init_cache(batch_size=3, max_length=2)
    with pytest.raises(ValueError, match="Position 2 is beyond the end of a cache of 2"):
        decoder.call_with_cache(vectors, cache, 2)


def test_a_source_neither_appears_nor_disappears_after_the_first_call():
    vectors = np.ones((2, 3, 8), "float32")
    with_source = transformer.TransformerDecoder(8, 16, 2)
    with_source(vectors, vectors)
    with pytest.raises(ValueError, match="was built with a source: pass `encoded`"):
        with_source(vectors)
    with pytest.raises(ValueError, match="was built with a source: pass `encoded`"):
        with_source.init_cache(batch_size=2, max_length=3)
    without_source = transformer.TransformerDecoder(8, 16, 2)
    without_source(vectors)
    with pytest.raises(ValueError, match="was built without a source"):
        without_source(vectors, vectors)
    with pytest.raises(ValueError, match="was built without a source"):
        without_source.init_cache(vectors, max_length=3)


def test_decoder_equals_its_parts_in_numpy():
    decoder = transformer.TransformerDecoder(8, 16, 2)
    rng = np.random.default_rng(0)
    target = rng.normal(size=(1, 4, 8)).astype("float32")
    source = rng.normal(size=(1, 5, 8)).astype("float32")
    decoder(target, source)
    randomize(decoder, 1)

    def attend(layer, queries, others, allowed):
        query, q, key, k, value, v, output, o = layer.get_weights()
        heads = []
        for h in range(2):
            scores = (queries @ query[:, h] + q[h]) @ (others @ key[:, h] + k[h]).T / 2
            powers = np.exp(np.where(allowed, scores, -np.inf))
            weights = powers / powers.sum(axis=-1, keepdims=True)
            heads.append(weights @ (others @ value[:, h] + v[h]) @ output[h])
        return sum(heads) + o

    def normalize(x, norm):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3)
        return scaled * norm.gamma.numpy() + norm.beta.numpy()

    source_mask = np.array([True, True, True, False, True])
    causal_mask = np.tri(4, dtype=bool)
    attended = attend(decoder.attention, target[0], target[0], causal_mask)
    attended = normalize(target[0] + attended, decoder.attention_norm)
    crossed = attend(decoder.cross_attention, attended, source[0], source_mask)
    crossed = normalize(attended + crossed, decoder.cross_attention_norm)
    expected = normalize(crossed + feed_forward(decoder, crossed), decoder.feed_forward_norm)
    outputs = decoder(target, source, encoded_mask=source_mask[None])
    np.testing.assert_allclose(outputs[0], expected, atol=1e-4)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("length", [0, 5])
def test_a_row_without_tokens_is_finite_and_changes_no_other_row(name, length):
    _, layer = model_of(name)
    randomize(layer, 0)
    vectors = np.random.default_rng(4).normal(size=(2, 5, 8)).astype("float32")
    mask = np.array([[True] * 5, [False] * 5])
    arguments = {"mask": mask}
    if name == "TransformerDecoder":
        # A source of no positions, or of padding alone in the second row.
        source = ops.convert_to_tensor(vectors[:, :length])
        arguments = {"encoded": source, "inputs_mask": mask, "encoded_mask": mask[:, :length]}
    outputs = ops.convert_to_numpy(layer(vectors, **arguments))
    assert np.isfinite(outputs).all()
    alone = {key: value[:1] for key, value in arguments.items()}
    np.testing.assert_allclose(outputs[:1], layer(vectors[:1], **alone), atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", BLOCKS)
def test_the_gradient_of_a_row_without_tokens_is_finite(name):
    import tensorflow as tf

    model, _ = model_of(name)
    ids = np.array([[4, 2, 0], [0, 0, 0]])
    with tf.GradientTape() as tape:
        loss = ops.sum(model(ids) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert gradients and all(np.isfinite(tf.convert_to_tensor(array)).all() for array in gradients)


def test_decoding_from_the_cache_of_a_source_without_tokens_is_finite():
    decoder = transformer.TransformerDecoder(8, 16, 2)
    vectors = np.random.default_rng(5).normal(size=(2, 3, 8)).astype("float32")
    decoder(vectors, vectors)
    mask = np.array([[True] * 3, [False] * 3])
    for source, source_mask in ((vectors, mask), (vectors[:, :0], mask[:, :0])):
        cache = decoder.init_cache(ops.convert_to_tensor(source), max_length=3)
        for index in range(3):
            now = vectors[:, index : index + 1]
            outputs, cache = decoder.call_with_cache(
                now, cache, index, source_mask, mask[:, index : index + 1]
            )
            assert np.isfinite(outputs).all()


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="embed_dim=10 is not divisible by num_heads=4"):
        transformer.TransformerEncoder(10, 16, 4)
    with pytest.raises(ValueError, match="embed_dim=10 is not divisible by num_heads=3"):
        transformer.TransformerDecoder(10, 16, 3)
    with pytest.raises(ValueError, match="6 tokens, but only 5 positions"):
        transformer.PositionalEmbedding(5, 10, 4)(TOKENS)
    with pytest.raises(ValueError, match="6 tokens, but only 5 positions"):
        transformer.PositionalEmbedding(5, 10, 4)(keras.Input((6,), dtype="int64"))
    with pytest.raises(ValueError, match="7 tokens, but only 6 positions"):
        transformer.PositionalEmbedding(6, 10, 4)(TOKENS[:, :1], start_index=6)


def test_a_decoder_without_a_source_is_a_causal_encoder():
    decoder = transformer.TransformerDecoder(8, 16, 2)
    encoder = transformer.TransformerEncoder(8, 16, 2)
    vectors = np.random.default_rng(2).normal(size=(2, 6, 8)).astype("float32")
    decoder(vectors)
    encoder(vectors)
    encoder.set_weights(decoder.get_weights())
    for position in range(6):
        # The last position of a truncated sequence attends to what a causal mask would leave.
        expected = encoder(vectors[:, : position + 1])[:, -1]
        np.testing.assert_allclose(decoder(vectors)[:, position], expected, atol=1e-5)


def test_a_decoder_without_a_source_decodes_from_the_cache():
    decoder = transformer.TransformerDecoder(8, 16, 2)
    vectors = np.random.default_rng(3).normal(size=(3, 7, 8)).astype("float32")
    mask = np.ones((3, 7), bool)
    mask[1, 4:6] = False
    expected = decoder(vectors, inputs_mask=mask)
    cache = decoder.init_cache(batch_size=3, max_length=7)
    for index in range(7):
        now = slice(index, index + 1)
        outputs, cache = decoder.call_with_cache(
            vectors[:, now], cache, index, inputs_mask=mask[:, now]
        )
        np.testing.assert_allclose(outputs[:, 0], expected[:, index], atol=1e-5)


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function)


def forward_passes():
    """Call every layer and decoding strategy, with weights that do not depend on the backend."""
    rng = np.random.default_rng(7)
    outputs = {}
    for name in LAYERS:
        model, layer = model_of(name)
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        outputs[name] = model(np.pad(TOKENS, ((0, 0), (0, 2))))
        if "Decoder" not in name:
            continue
        vectors = rng.normal(size=(2, 2, 8)).astype("float32")
        encoded = vectors[:, ::-1] if name == "TransformerDecoder" else None
        cache = layer.init_cache(encoded, batch_size=2, max_length=5)
        for index in range(2):
            # The second index is an array, as in a compiled step.
            position = ops.convert_to_tensor(index) if index == 1 else index
            last, cache = layer.call_with_cache(vectors[:, index : index + 1], cache, position)
        outputs[f"{name}, from the cache"] = last

    embedding = transformer.PositionalEmbedding(9, 10, 4)
    embedding.build((None, None))
    embedding.set_weights([rng.normal(size=w.shape) for w in embedding.get_weights()])
    outputs["position 3"] = embedding(TOKENS[:, :1], start_index=3)
    embed = compiled(lambda index: embedding(TOKENS[:, :1], start_index=index))
    outputs["position 3, compiled"] = embed(ops.convert_to_tensor(3))

    table = rng.normal(size=(7, 6)).astype("float32")

    def step(ids, state):
        history = (3 * state + ids) % 7
        return ops.take(ops.convert_to_tensor(table), history, axis=0), history

    start = np.arange(5, dtype="int32")
    prompt = np.ones((5, 2), int)
    outputs["greedy"] = decoding.greedy_search(step, start, 1, 2, 8, banned_ids=(0,))
    outputs["beam"] = decoding.beam_search(step, start, 1, 2, 8, 3)
    outputs["cold sample"] = decoding.sample(step, start, prompt, 2, 8, seed=0, temperature=0)
    filters = {"temperature": 0.7, "top_k": 4, "top_p": 0.8, "min_p": 0.05, "epsilon": 0.01}
    outputs["filtered"] = decoding.filtered_probabilities(table, **filters)
    sampled = decoding.sample(step, start, prompt, 2, 8, seed=0)
    assert sampled.shape[0] == 5 and sampled.max() < 6
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


@pytest.mark.tensorflow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_layers_and_decoding_give_the_same_on_jax(tmp_path):
    code = (
        "import sys, keras, numpy as np; from tests import test_transformer as tests; "
        "assert keras.backend.backend() == 'jax'; "
        "np.savez(sys.argv[1], **tests.forward_passes())"
    )
    path = tmp_path / "outputs.npz"
    subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=settings.ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        check=True,
    )
    on_jax = np.load(path)
    expected = forward_passes()
    assert sorted(on_jax) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(on_jax[name], value, atol=1e-4, err_msg=name)
