"""What notebooks define in the open: equal to the version in utils, and clear about bad input."""

import keras
import nbformat
import numpy as np
import pytest

from utils import layers, settings


def define(stem: str, *names: str) -> dict:
    """Run the cells of a notebook that define these names, and return them."""
    notebook = nbformat.read(settings.ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    found = {"keras": keras, "np": np, "ops": keras.ops, "settings": settings}
    for cell in notebook.cells:
        starts = [f"{kind} {name}(" for kind in ("def", "class") for name in names]
        if cell.cell_type == "code" and any(start in cell.source for start in starts):
            exec(cell.source, found)
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
