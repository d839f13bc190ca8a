"""What notebooks define in the open: equal to the version in utils, and clear about bad input."""

import ast
from types import SimpleNamespace

import keras
import nbformat
import numpy as np
import pytest
import tensorflow as tf

from utils import decoding, layers, settings, translation


def define(stem: str, *names: str) -> dict:
    """Take functions and classes of these names out of a notebook, with others of the same cells."""
    notebook = nbformat.read(settings.ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    found = {"keras": keras, "np": np, "ops": keras.ops, "settings": settings, "layers": layers}
    for cell in notebook.cells:
        starts = [f"{kind} {name}(" for kind in ("def", "class") for name in names]
        if cell.cell_type == "code" and any(start in cell.source for start in starts):
            tree = ast.parse(cell.source)
            tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
            exec(compile(tree, stem, "exec"), found)
    return {name: found[name] for name in names}


@pytest.mark.parametrize(
    ("name", "sizes", "inputs"),
    [
        ("TransformerEncoder", (8, 16, 2), np.random.default_rng(0).normal(size=(2, 7, 8)).astype("float32")),
        ("PositionalEmbedding", (9, 10, 4), np.array([[3, 5, 2, 0, 0]])),
    ],
)
def test_notebook_03_and_utils_have_the_same_layers(name, sizes, inputs):
    kept = dict(keras.saving.get_custom_objects())
    theirs = define("03_transformer_encoder", name)[name](*sizes)
    keras.saving.get_custom_objects().update(kept)  # the notebook registers under the same name
    ours = getattr(layers, name)(*sizes)
    for layer in (theirs, ours):
        layer.build(inputs.shape)
    assert [w.shape for w in theirs.weights] == [w.shape for w in ours.weights]
    ours.set_weights(theirs.get_weights())
    masks = [None] if name == "PositionalEmbedding" else [None, np.arange(7)[None] < [[4], [7]]]
    for mask in masks:
        given = {} if mask is None else {"mask": mask}
        np.testing.assert_array_equal(ours(inputs, **given), theirs(inputs, **given))
    np.testing.assert_array_equal(
        ours.compute_mask(inputs, None) if name == "PositionalEmbedding" else True,
        theirs.compute_mask(inputs, None) if name == "PositionalEmbedding" else True,
    )
    config = {key: value for key, value in theirs.get_config().items() if key != "name"}
    assert config == {key: value for key, value in ours.get_config().items() if key != "name"}


def test_notebook_04_and_utils_have_the_same_gru():
    cells = define("04_seq2seq_gru", "translator")
    cells["translator"].__globals__.update(
        source_words=["w"] * 20, target_words=["w"] * 25, cfg=SimpleNamespace(dim=6, dropout=0.5)
    )
    encoder = keras.layers.Bidirectional(keras.layers.GRU(8), merge_mode="sum", name="encoder")
    theirs, ours = cells["translator"](encoder, 8), translation.gru(20, 25, 6, 8, 0.5)
    ours.set_weights([w + 0.1 for w in theirs.get_weights()])
    theirs.set_weights(ours.get_weights())
    ids = [np.array([[5, 6, 7, 0], [4, 1, 1, 2]]), np.array([[2, 9, 8], [2, 7, 0]])]
    np.testing.assert_array_equal(ours.predict(ids, verbose=0), theirs.predict(ids, verbose=0))
    writers = define("04_seq2seq_gru", "writer")["writer"](theirs), translation.gru_writer(ours)
    written = [decoding.greedy(step, begin(ids[0]), 2, 3, 9) for begin, step in writers]
    np.testing.assert_array_equal(*written)


def test_notebook_04_steps_as_keras_does():
    random = np.random.default_rng(0)
    step = define("04_seq2seq_gru", "sigmoid", "gru_step")["gru_step"]
    layer = keras.layers.GRU(4, bias_initializer="normal")
    words, state = (
        random.normal(size=(3, 1, 5)).astype("float32"),
        random.normal(size=(3, 4)).astype("float32"),
    )
    expected = layer(words, initial_state=state)
    np.testing.assert_allclose(step(words[:, 0], state, *layer.get_weights()), expected, atol=1e-5)


def test_notebook_05_and_utils_have_the_same_decoder():
    kept = dict(keras.saving.get_custom_objects())
    theirs = define("05_transformer_translation", "TransformerDecoder")["TransformerDecoder"](8, 16, 2)
    keras.saving.get_custom_objects().update(kept)  # the notebook registers under the same name
    ours, random = layers.TransformerDecoder(8, 16, 2), np.random.default_rng(0)
    written, read = (random.normal(size=(2, length, 8)).astype("float32") for length in (5, 7))
    for layer in (theirs, ours):
        layer(written, read)
    ours.set_weights([w + random.normal(size=w.shape) / 3 for w in ours.get_weights()])
    theirs.set_weights(ours.get_weights())
    masks = {"inputs_mask": np.arange(5)[None] < [[5], [3]], "encoded_mask": np.arange(7)[None] < [[4], [7]]}
    for given in ({}, masks):
        np.testing.assert_array_equal(ours(written, read, **given), theirs(written, read, **given))
    config = {key: value for key, value in theirs.get_config().items() if key != "name"}
    assert config == {key: value for key, value in ours.get_config().items() if key != "name"}


@pytest.fixture
def transformer():
    """Notebook 05's model, small and with weights that make it write different things, and its writer."""
    cells = define("05_transformer_translation", "transformer", "writer")
    cells["transformer"].__globals__["cfg"] = SimpleNamespace(
        dim=8, dense=16, heads=2, blocks=2, dropout=0.1, places=60
    )
    keras.utils.set_random_seed(4)
    model, random = cells["transformer"](20, 25), np.random.default_rng(4)
    model.set_weights(
        [w + random.normal(size=w.shape) * (1 if w.ndim > 1 else 0.1) for w in model.get_weights()]
    )
    return model, *cells["writer"](model)


ROWS = tf.ragged.constant([[5, 6, 7], [4], [9, 8, 3, 3, 12], [2, 2]], dtype="int64")


def test_kept_keys_and_values_write_what_the_whole_prefix_writes(transformer):
    model, begin, step = transformer
    together = decoding.greedy(step, begin(ROWS.to_tensor()), 2, 3, 12)
    for row, found in zip(ROWS.numpy(), together, strict=True):
        written = [2]
        while len(written) < 13 and (len(written) == 1 or written[-1] != 3):
            logits = model.predict([row[None], np.array([written])], verbose=0)
            written.append(int(logits[0, -1].argmax()))
        assert [i for i in found if i] == [i for i in written[1:] if i]
    assert len({tuple(row) for row in together}) > 1


def test_a_beam_over_kept_keys_and_values(transformer):
    model, begin, step = transformer
    state = begin(ROWS.to_tensor())
    greedy = decoding.greedy(step, state, 2, 3, 12)
    np.testing.assert_array_equal(decoding.beam_search(step, state, 2, 3, 12, width=1), greedy)

    def worth(row, found):
        """Log-probability by the whole model, which keeps nothing."""
        found = [int(i) for i in found if i]
        logits = model.predict([row[None], np.array([[2, *found[:-1]]])], verbose=0)[0]
        chances = keras.ops.log_softmax(logits, axis=-1).numpy()
        return sum(chances[place, token] for place, token in enumerate(found))

    wide = decoding.beam_search(step, state, 2, 3, 12, width=6, penalty=0.0)
    gains = [worth(row, w) - worth(row, g) for row, w, g in zip(ROWS.numpy(), wide, greedy, strict=True)]
    assert min(gains) > -1e-4 and max(gains) > 0.1


@pytest.mark.parametrize("padded", [0, 7])
def test_the_whole_transformer_sees_neither_future_nor_padding(transformer, padded):
    model, *_ = transformer
    ids, written = ROWS.to_tensor().numpy(), np.array([[2, 5, 9, 14, 7]] * 4)
    plain = model.predict([ids, written], verbose=0)
    changed = written.copy()
    changed[:, 3:] = 20
    np.testing.assert_array_equal(model.predict([ids, changed], verbose=0)[:, :3], plain[:, :3])
    wider = [np.pad(ids, ((0, 0), (0, padded))), np.pad(written, ((0, 0), (0, padded)))]
    np.testing.assert_allclose(model.predict(wider, verbose=0)[:, :5], plain, atol=1e-3)


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("the 0.1 0.2\nfilm -1 2.5\n. . . 3 4\n", encoding="utf-8")
    return path


def test_word_vectors_are_read_and_covered(vectors):
    cells = define("02_sequence_models", "read_vectors", "coverage")
    found = cells["read_vectors"](vectors, {"film", "the", "zebra", ". . ."})
    assert {word: row.tolist() for word, row in found.items()} == {
        "the": pytest.approx([0.1, 0.2]),
        "film": [-1, 2.5],
        ". . .": [3, 4],
    }
    cells["coverage"].__globals__["vocabulary"] = ["", "[UNK]", "the", "film", "zebra"]
    # Padding and unknown, however frequent, count neither as words nor as text.
    words, text = cells["coverage"](found, np.array([900, 80, 6, 3, 1]))
    assert (words, text) == (pytest.approx(2 / 3), pytest.approx(9 / 10))


def test_cut_off_word_vectors_are_named(vectors):
    vectors.write_text(vectors.read_text() + "dull 0.5", encoding="utf-8")
    read = define("02_sequence_models", "read_vectors")["read_vectors"]
    with pytest.raises(settings.Stop, match=r"glove.txt, line 4: 1 numbers, not 2. Fetch it again."):
        read(vectors, {"the"})
    vectors.write_bytes(b"")
    assert read(vectors, {"the"}) == {}
