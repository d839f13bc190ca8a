"""Functions and classes that notebooks define: equal to their versions in utils, clear errors."""

import ast
from types import SimpleNamespace

import keras
import nbformat
import numpy as np
import pytest
import tensorflow as tf

from utils import decoding, settings
from utils.models import seq2seq, transformer
from utils.text import END_TOKEN, START_TOKEN, standardize_target


def define(stem: str, *names: str, **known) -> dict:
    """Run the definitions of a notebook's cells that define `names`; return these by name.

    The notebook's imports are run too. Any other variable that the definitions use, such as its
    `cfg`, is passed in as `known`.
    """
    notebook = nbformat.read(settings.ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tree = ast.parse(code_cells[1].source)
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    namespace = {}
    exec(compile(tree, stem, "exec"), namespace)
    namespace |= known
    for cell in code_cells:
        starts = []
        for name in names:
            starts += [f"def {name}(", f"class {name}(", f"class {name}:"]
        if any(start in cell.source for start in starts):
            tree = ast.parse(cell.source)
            definitions = ast.FunctionDef | ast.ClassDef
            tree.body = [node for node in tree.body if isinstance(node, definitions)]
            exec(compile(tree, stem, "exec"), namespace)
    return {name: namespace[name] for name in names}


def test_notebook_03_and_utils_have_the_same_encoder():
    inputs = np.random.default_rng(0).normal(size=(2, 7, 8)).astype("float32")
    cells = define("03_transformer_encoder", "EncoderParts", "TransformerEncoder")
    theirs = cells["TransformerEncoder"](8, 16, 2)
    ours = transformer.TransformerEncoder(8, 16, 2)
    for layer in (theirs, ours):
        layer.build(inputs.shape)
    assert [w.shape for w in theirs.weights] == [w.shape for w in ours.weights]
    ours.set_weights(theirs.get_weights())
    for mask in (None, np.arange(7)[None] < [[4], [7]]):
        np.testing.assert_array_equal(ours(inputs, mask=mask), theirs(inputs, mask=mask))
    assert config_without_name(theirs) == config_without_name(ours)


def config_without_name(layer):
    return {key: value for key, value in layer.get_config().items() if key != "name"}


def test_notebook_04_and_utils_have_the_same_gru():
    cells = define("04_seq2seq_gru", "embedding_of", "build_translator", "decode_functions")
    cells["build_translator"].__globals__.update(
        source_words=["w"] * 20,
        target_words=["w"] * 25,
        cfg=SimpleNamespace(embed_dim=6, dropout=0.5),
    )
    encoder = keras.layers.Bidirectional(keras.layers.GRU(8), merge_mode="sum", name="encoder")
    theirs = cells["build_translator"](encoder)
    ours = seq2seq.build_gru_seq2seq(20, 25, 6, 8, 0.5)
    ours.set_weights([w + 0.1 for w in theirs.get_weights()])
    theirs.set_weights(ours.get_weights())
    ids = [np.array([[5, 6, 7, 0], [4, 1, 1, 2]]), np.array([[2, 9, 8], [2, 7, 0]])]
    np.testing.assert_array_equal(ours.predict(ids, verbose=0), theirs.predict(ids, verbose=0))
    generated = []
    for init_state, step in (cells["decode_functions"](theirs), seq2seq.gru_decode_fns(ours)):
        generated.append(decoding.greedy_search(step, init_state(ids[0]), 2, 3, 9))
    np.testing.assert_array_equal(*generated)


def test_notebook_04_and_utils_make_the_same_first_weights():
    """The GRU of notebooks 04 and 05 is one model: with one seed it is trained alike."""
    cells = define("04_seq2seq_gru", "embedding_of", "build_translator", "bidirectional")
    known = {"source_words": ["w"] * 20, "target_words": ["w"] * 25}
    known["cfg"] = SimpleNamespace(embed_dim=6, dropout=0.5, units=8)
    cells["build_translator"].__globals__.update(known)
    cells["bidirectional"].__globals__.update(known)
    keras.utils.set_random_seed(3)
    theirs = cells["build_translator"](cells["bidirectional"]())
    keras.utils.set_random_seed(3)
    ours = seq2seq.build_gru_seq2seq(20, 25, 6, 8, 0.5)
    for first, second in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_notebook_04_squeezes_the_vector_and_nothing_else():
    cells = define("04_seq2seq_gru", "bottleneck")
    cells["bottleneck"].__globals__["cfg"] = SimpleNamespace(units=8)
    vectors = keras.Input((None, 6))
    model = keras.Model(vectors, cells["bottleneck"](2)(vectors))
    assert model.output.shape == (None, 8)
    outputs = model.predict(np.random.default_rng(0).normal(size=(40, 5, 6)), verbose=0)
    assert np.linalg.matrix_rank(outputs, tol=1e-4) == 2  # the biases are 0 at first


def test_notebook_04_steps_as_keras_does():
    rng = np.random.default_rng(0)
    gru_step = define("04_seq2seq_gru", "sigmoid", "gru_step")["gru_step"]
    layer = keras.layers.GRU(4, bias_initializer="normal")
    vectors = rng.normal(size=(3, 1, 5)).astype("float32")  # (batch, positions, features)
    state = rng.normal(size=(3, 4)).astype("float32")  # (batch, units)
    expected = layer(vectors, initial_state=state)
    by_hand = gru_step(vectors[:, 0], state, *layer.get_weights())
    np.testing.assert_allclose(by_hand, expected, atol=1e-5)


def test_the_masked_loss_of_notebook_04_leaves_padding_out():
    masked_loss = define("04_seq2seq_gru", "masked_loss")["masked_loss"]
    logits = np.zeros((1, 3, 4))
    logits[0, 0, 2] = np.log(3)  # probability 3 / 6
    logits[0, 2, 1] = 1e3  # at padding, where it must not matter
    loss = masked_loss(logits, np.array([[2, 3, 0]]))
    assert loss == pytest.approx((np.log(2) + np.log(4)) / 2)


def test_notebook_04_compiles_as_utils_does():
    compile_translator = define("04_seq2seq_gru", "compile_translator")["compile_translator"]
    configs = []
    for compile_model in (compile_translator, seq2seq.compile_seq2seq):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        compile_model(model, 0.01, 100)
        configs.append(model.get_compile_config())
    for config in configs:  # Keras numbers optimizers by their order of creation
        config["optimizer"]["config"].pop("name")
    assert configs[0] == configs[1]
    assert configs[0]["optimizer"]["config"]["learning_rate"]["config"]["warmup_steps"] == 5


def test_the_orders_of_the_copy_task_have_one_mean_distance():
    copy_orders = define("04_seq2seq_gru", "copy_orders")["copy_orders"]
    for order in copy_orders(7).values():
        steps = {int(symbol): step for step, symbol in enumerate(order)}
        assert sorted(steps) == list(range(7))
        assert np.mean([7 + symbol - steps[symbol] for symbol in steps]) == 7
    assert copy_orders(4)["first symbol last"].tolist() == [1, 2, 3, 0]


def test_the_greedy_loop_of_notebook_04_ends_each_row():
    greedy = define("04_seq2seq_gru", "greedy")["greedy"]
    greedy.__globals__.update(start_id=2, end_id=3, cfg=SimpleNamespace(max_new_tokens=5))
    script = np.array([[7, 3, 9, 9, 9], [8, 8, 3, 9, 9]])  # one token for each row and step

    def next_logits(prefix, state):
        tokens = script[:, prefix.shape[1] - 1]
        return np.eye(10)[tokens], state

    np.testing.assert_array_equal(greedy(next_logits, None, 2), [[7, 3, 9], [8, 8, 3]])


def test_notebook_05_and_utils_have_the_same_decoder():
    cells = define("05_transformer_translation", "DecoderParts", "TransformerDecoder")
    theirs = cells["TransformerDecoder"](8, 16, 2, 0.1)
    ours = transformer.TransformerDecoder(8, 16, 2, 0.1)
    rng = np.random.default_rng(0)
    target = rng.normal(size=(2, 5, 8)).astype("float32")
    source = rng.normal(size=(2, 7, 8)).astype("float32")
    for layer in (theirs, ours):
        layer(target, source)
    ours.set_weights([w + rng.normal(size=w.shape) / 3 for w in ours.get_weights()])
    theirs.set_weights(ours.get_weights())
    masks = {
        "inputs_mask": np.arange(5)[None] < [[5], [3]],
        "encoded_mask": np.arange(7)[None] < [[4], [7]],
    }
    for arguments in ({}, masks):
        np.testing.assert_array_equal(
            ours(target, source, **arguments), theirs(target, source, **arguments)
        )
    assert config_without_name(ours).items() <= theirs.get_config().items()


VECTORS = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
IDS = np.array([[3, 5, 2, 0, 0], [1, 1, 4, 9, 0]])
LAYERS = {
    "02 Double": ({"supports_masking": True}, VECTORS),
    "02 PairAverage": ({}, VECTORS[:, :4]),
    "03 EncoderParts TransformerEncoder": (
        {"embed_dim": 8, "dense_dim": 16, "num_heads": 2, "dropout": 0.1},
        VECTORS,
    ),
    "03 EncoderParts BatchNormEncoder": (
        {"embed_dim": 8, "dense_dim": 16, "num_heads": 2, "momentum": 0.8, "use_mask": True},
        VECTORS,
    ),
    "03 FirstAndAverage": ({}, VECTORS),
    "03 ScaledEmbedding": ({"input_dim": 10, "output_dim": 4}, IDS),
    "03 ScaledEmbedding LearnedPositions": (
        {"sequence_length": 9, "input_dim": 10, "output_dim": 4},
        IDS,
    ),
    "03 sinusoids ScaledEmbedding SinusoidalEmbedding": (
        {"sequence_length": 9, "input_dim": 10, "output_dim": 4},
        IDS,
    ),
    "05 MaskProbe": ({}, VECTORS, VECTORS[:, :3]),
    "05 DecoderWithMask": ({"size": 8}, VECTORS, VECTORS),
    "05 DecoderWithMask DecoderWithInputsMask": ({"size": 8}, VECTORS, VECTORS),
    "05 DecoderParts TransformerDecoder": (
        {"embed_dim": 8, "dense_dim": 16, "num_heads": 2, "dropout": 0.1},
        VECTORS,
        VECTORS[:, :3],
    ),
    "09 Sampling": ({"seed": 3}, VECTORS, VECTORS),
}
OF_UTILS = (transformer.TransformerEncoder, transformer.TransformerDecoder)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_notebooks_are_saved_and_loaded_and_so_are_those_of_utils(name, tmp_path):
    """Also where both have the same name, as the decoder that notebook 05 builds by hand."""
    number, *definitions = name.split()
    (path,) = (settings.ROOT / "notebooks").glob(f"{number}*.ipynb")
    arguments, *arrays = LAYERS[name]
    theirs = define(path.stem, *definitions, cfg=SimpleNamespace(length=8))[definitions[-1]]
    namesakes = [theirs, *(layer for layer in OF_UTILS if layer.__name__ == definitions[-1])]
    for layer_class in namesakes:
        inputs = [keras.Input((None, *array.shape[2:]), dtype=array.dtype) for array in arrays]
        layer = layer_class(**arguments)
        outputs = layer(inputs) if number == "09" else layer(*inputs)
        model = keras.Model(inputs, outputs)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert type(loaded.layers[-1]) is layer_class
        assert arguments.items() <= loaded.layers[-1].get_config().items()
        np.testing.assert_array_equal(loaded(arrays), model(arrays))


def randomized(model, seed=0):
    """Set weights with which the model generates varied tokens, the same on any backend."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        noise = rng.normal(size=weight.shape)
        weight.assign(noise if len(weight.shape) > 1 else ("gamma" in weight.path) + 0.1 * noise)
    return model


@pytest.fixture(params=[False, True], ids=["eager", "compiled"])
def translator(request):
    """Return notebook 05's model, small and with random weights, and its two decoding functions."""
    names = ("build_transformer", "cache_functions", "cached_functions")
    cells = define("05_transformer_translation", *names)
    cells["build_transformer"].__globals__["cfg"] = SimpleNamespace(
        embed_dim=8,
        dense_dim=16,
        num_heads=2,
        blocks=2,
        dropout=0.1,
        max_positions=60,
        max_new_tokens=12,
    )
    keras.utils.set_random_seed(4)
    model = randomized(cells["build_transformer"](20, 25), seed=1)
    return model, *cells["cached_functions"](model, compiled=request.param)


ROWS = tf.ragged.constant([[5, 6, 7], [4], [9, 8, 3, 3, 12], [2, 2]], dtype="int64")


def test_notebook_05_decodes_from_its_cache_as_from_the_whole_prefix(translator):
    model, begin, step = translator
    together = decoding.greedy_search(step, begin(ROWS.to_tensor()), 2, 3, 12)
    for row, from_cache in zip(ROWS.numpy(), together, strict=True):
        generated = [2]
        while len(generated) < 13 and (len(generated) == 1 or generated[-1] != 3):
            logits = model.predict([row[None], np.array([generated])], verbose=0)
            generated.append(int(logits[0, -1].argmax()))
        assert [i for i in from_cache if i] == [i for i in generated[1:] if i]
    assert len({tuple(row) for row in together}) > 1


def test_notebook_05_searches_beams_from_its_cache(translator):
    model, begin, step = translator
    state = begin(ROWS.to_tensor())
    greedy = decoding.greedy_search(step, state, 2, 3, 12)
    np.testing.assert_array_equal(decoding.beam_search(step, state, 2, 3, 12, num_beams=1), greedy)

    def log_probability(row, tokens):
        """Score a sequence with the whole model, without a cache."""
        tokens = np.trim_zeros(tokens, "b")
        logits = model.predict([row[None], np.array([[2, *tokens[:-1]]])], verbose=0)[0]
        log_probabilities = np.asarray(keras.ops.log_softmax(logits, axis=-1))
        return sum(log_probabilities[position, token] for position, token in enumerate(tokens))

    wide = decoding.beam_search(step, state, 2, 3, 12, num_beams=6, length_penalty=0.0)
    gains = []
    for row, by_beams, by_greedy in zip(ROWS.numpy(), wide, greedy, strict=True):
        gains.append(log_probability(row, by_beams) - log_probability(row, by_greedy))
    assert min(gains) > -1e-4 and max(gains) > 0.1


def test_the_gru_with_attention_of_notebook_05_decodes_as_the_whole_model_does():
    names = ("build_gru_with_attention", "gru_attention_functions", "rerun_functions")
    sizes = SimpleNamespace(gru_embed_dim=6, gru_units=8, gru_dropout=0.1)
    cells = define("05_transformer_translation", *names, cfg=sizes, vocabulary_sizes=(20, 25))
    keras.utils.set_random_seed(4)
    model = randomized(cells["build_gru_with_attention"](), seed=2)
    plain_gru = seq2seq.build_gru_seq2seq(20, 25, 6, 8, 0.1)
    assert model.count_params() == plain_gru.count_params()
    generated = []
    for name in ("gru_attention_functions", "rerun_functions"):
        init_state, step = cells[name](model)
        generated.append(decoding.greedy_search(step, init_state(ROWS.to_tensor()), 2, 3, 12))
    np.testing.assert_array_equal(*generated)
    alone = decoding.greedy_search(step, init_state(ROWS[1:2].to_tensor()), 2, 3, 12)
    width = alone.shape[1]
    np.testing.assert_array_equal(generated[0][1:2, :width], alone, "padding was attended to")


def test_one_round_of_the_ibm_model_of_notebook_05_by_hand():
    ibm_model_1 = define("05_transformer_translation", "ibm_model_1")["ibm_model_1"]
    # Each Spanish token of the first pair is shared out equally; 5 is in the second pair, too.
    table = ibm_model_1([[2, 3], [2]], [[5, 6], [5]], 4, 7, rounds=1)
    np.testing.assert_allclose(table[2, 5:7], [0.75, 0.25])
    np.testing.assert_allclose(table[3, 5:7], [0.5, 0.5])
    # With more rounds 5 goes to 2, so that 6 is left for 3.
    table = ibm_model_1([[2, 3], [2]], [[5, 6], [5]], 4, 7, rounds=40)
    assert table[2, 5] > 0.95 and table[3, 6] > 0.95


def test_alignments_of_notebook_05_are_right_where_a_link_is():
    matches = define("05_transformer_translation", "alignment_matches")["alignment_matches"]
    links = [(0, 0), (2, 1), (3, 1), (1, 3)]  # English, Spanish; Spanish token 2 has no link
    predicted = [np.array([0, 3, 9, 2])]
    (of_pair,) = matches(predicted, [links])
    np.testing.assert_array_equal(of_pair, [True, True, False])


def test_notebook_05_notices_a_model_that_attends_to_the_future():
    known = {"cfg": SimpleNamespace(seed=0)}
    cells = define("05_transformer_translation", "attends_to_future", **known)
    attends = cells["attends_to_future"]
    ids = np.random.default_rng(0).integers(2, 30, (3, 8))
    assert not attends(lambda rows: np.cumsum(rows, axis=1), ids, 5, 30)
    assert attends(lambda rows: rows - rows.mean(axis=1, keepdims=True), ids, 5, 30)


@pytest.mark.parametrize("num_padding", [0, 7])
def test_notebook_05_attends_to_neither_future_nor_padding(translator, num_padding):
    model, *_ = translator
    source = ROWS.to_tensor().numpy()
    target = np.array([[2, 5, 9, 14, 7]] * 4)
    plain = model.predict([source, target], verbose=0)
    changed = target.copy()
    changed[:, 3:] = 20
    outputs = model.predict([source, changed], verbose=0)
    np.testing.assert_array_equal(outputs[:, :3], plain[:, :3])
    padded = [np.pad(ids, ((0, 0), (0, num_padding))) for ids in (source, target)]
    np.testing.assert_allclose(model.predict(padded, verbose=0)[:, :5], plain, atol=1e-3)


def test_the_coverage_of_word_vectors_is_counted():
    coverage = define("02_sequence_models", "coverage")["coverage"]
    coverage.__globals__["vocabulary"] = ["", "[UNK]", "the", "film", "zebra"]
    # Padding and unknown tokens, however frequent, are not counted.
    words, text = coverage(
        {"the": [0.1], "film": [2.5], ". . .": [3]}, np.array([900, 80, 6, 3, 1])
    )
    assert (words, text) == (pytest.approx(2 / 3), pytest.approx(9 / 10))


def ragged(*rows):
    lengths = [len(row) for row in rows]
    return tf.RaggedTensor.from_row_lengths(np.concatenate(rows).astype("int64"), lengths)


def define_02(*names, **cfg):
    values = {"cfg": SimpleNamespace(**cfg), "vocabulary": ["", "[UNK]", *"abcdef"]}
    return SimpleNamespace(**define("02_sequence_models", *names, **values))


def test_the_gates_of_the_lstm_step_keep_and_replace_the_cell_state():
    cells = define_02("sigmoid", "lstm_step")
    h, c = np.zeros((1, 2)), np.array([[0.5, -3.0]])
    nothing = (np.zeros((3, 8)), np.zeros((2, 8)))

    def step(input_gate, forget_gate, candidate, output_gate):
        bias = np.repeat([input_gate, forget_gate, candidate, output_gate], 2)
        return cells.lstm_step(np.ones((1, 3)), h, c, *nothing, bias)

    kept = step(-50, 50, 2.0, 50)
    np.testing.assert_allclose(kept[1], c)
    np.testing.assert_allclose(kept[0], np.tanh(c))
    replaced = step(50, -50, 2.0, -50)
    np.testing.assert_allclose(replaced[1], np.full((1, 2), np.tanh(2.0)))
    np.testing.assert_allclose(replaced[0], np.zeros((1, 2)), atol=1e-12)


def test_averages_of_pairs_leave_padding_out():
    layer = define_02("PairAverage").PairAverage(dtype="float32")
    vectors = np.array([[[1.0], [3.0], [5.0], [99.0], [98.0], [97.0]]])
    mask = np.array([[True, True, True, False, False, False]])
    averages = np.asarray(layer(vectors, mask=mask))
    np.testing.assert_allclose(averages[0, :2], [[2.0], [5.0]])
    assert np.asarray(layer.compute_mask(vectors, mask)).tolist() == [[True, True, False]]


def test_shuffled_reviews_have_the_same_words_in_another_order():
    shuffle = define_02("reordered", "shuffled", seed=0).shuffled
    rows = ragged(range(30), [4, 4, 7], [5])
    first, again, other = shuffle(rows, 1), shuffle(rows, 1), shuffle(rows, 2)
    assert [sorted(row) for row in first.to_list()] == [sorted(row) for row in rows.to_list()]
    assert first.to_list() == again.to_list()
    assert first.to_list()[0] != rows.to_list()[0] != other.to_list()[0] != first.to_list()[0]


def test_sets_of_words_count_a_word_once():
    bags = define_02("sets_of_words").sets_of_words(ragged([2, 2, 5], [3], [7, 2, 7]))
    rows = [set(np.flatnonzero(row)) for row in bags.toarray()]
    assert rows == [{2, 5}, {3}, {2, 7}] and bags.max() == 1


def test_log_odds_of_words_are_counted():
    count = define_02("log_odds_of_words").log_odds_of_words
    log_odds, counts = count(ragged([2, 2, 5], [2, 3, 3, 3]), np.array([1, 0]))
    # "a": 2 of 3 tokens of the positive review, 1 of 4 of the negative one, each count plus 1.
    assert log_odds[2] == pytest.approx(np.log((3 / 4) / (2 / 5)))
    assert log_odds[3] == pytest.approx(np.log((1 / 4) / (4 / 5)))
    assert counts.tolist() == [0, 0, 3, 3, 0, 1, 0, 0]


def test_cbow_examples_are_neighbours_in_one_review():
    names = ("subsample", "cbow_examples")
    sizes = {"window": 2, "negatives": 3, "cbow_examples": 200}
    make = define_02(*names, seed=0, **sizes).cbow_examples
    # The words of the first review never occur in the second; 1 is [UNK], which is left out.
    neighbours, candidates = make(ragged([2, 3, 4] * 50, [1, 5, 6, 7] * 50))
    words, negatives = candidates[:, 0], candidates[:, 1:]
    assert neighbours.shape == (len(words), 4) and len(words) > 20
    is_padding = neighbours == 0
    assert ((neighbours < 5) == (words < 5)[:, None])[~is_padding].all()
    assert not is_padding.all(axis=1).any() and words.min() >= 2
    assert set(negatives.ravel().tolist()) == {2, 3, 4, 5, 6, 7}


def define_03(*names, **sizes):
    sizes = {"embed_dim": 8, "dense_dim": 16, "num_heads": 2, "dropout": 0.5} | sizes
    cells = define("03_transformer_encoder", *names, cfg=SimpleNamespace(**sizes))
    return SimpleNamespace(**cells)


def test_attention_by_hand_averages_values_by_the_softmax_of_scores():
    attention = define_03("softmax", "attention").attention
    query, key = np.array([[2.0, 0.0]]), np.array([[1.0, 5.0], [0.0, 7.0]])
    attended, weights = attention(query, key, np.array([[10.0], [20.0]]))
    first = 1 / (1 + np.exp(-2 / np.sqrt(2)))  # scores 2 / sqrt(2) and 0
    np.testing.assert_allclose(weights, [[first, 1 - first]])
    np.testing.assert_allclose(attended, [[10 * first + 20 * (1 - first)]])


def test_a_sequence_to_match_repeats_its_first_symbol_or_none():
    make = define_03("matching_sequences", symbols=15, sequence_length=6).matching_sequences
    sequences, copies = make(500, np.random.default_rng(0))
    assert sequences.shape == (500, 6) and sequences.min() >= 1 and sequences.max() <= 15
    for sequence, copy in zip(sequences, copies, strict=True):
        repeated = [position for position in range(1, 6) if sequence[position] == sequence[0]]
        assert repeated == ([copy] if copy else [])
        assert len(set(sequence)) == 6 - len(repeated), "nothing else may be repeated"
    counts = np.bincount(copies, minlength=6)
    assert 200 < counts[0] < 300 and counts[1:].min() > 25, "half, at any position"


def test_the_control_of_the_matching_task_attends_uniformly_and_stays_so():
    names = ("EncoderParts", "TransformerEncoder", "uniform_encoder")
    block = define_03(*names, sequence_length=5).uniform_encoder()
    inputs = np.random.default_rng(0).normal(size=(4, 5, 8)).astype("float32")
    model = keras.Sequential([keras.Input((5, 8)), block])
    model.compile("sgd", "mse")
    model.train_on_batch(inputs, inputs + 1)
    _, weights = block.attention(inputs, inputs, return_attention_scores=True)
    np.testing.assert_allclose(weights, 1 / 5, atol=1e-6)


def test_replacing_a_word_changes_the_logit_of_an_average_by_its_share():
    names = ("ScaledEmbedding", "classifier", "effects")
    cells = define_03(*names)
    model = cells.classifier(cells.ScaledEmbedding(12, 8))
    effects = cells.effects(SimpleNamespace(model=model))(np.array([[5, 1, 9, 5]]))
    table, kernel = model.layers[1].get_weights()[0], model.layers[-1].get_weights()[0][:, 0]
    changes = np.sqrt(8) * (table[[5, 1, 9, 5]] - table[1]) @ kernel / 4
    np.testing.assert_allclose(effects, np.abs(changes), atol=1e-5)
    assert effects[1] == pytest.approx(0, abs=1e-6) and effects[0] > 1e-4


def test_masked_batch_normalization_counts_tokens_only():
    layer_class = define_03("EncoderParts", "BatchNormEncoder").BatchNormEncoder
    inputs = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    mask = np.array([[True] * 5, [True] * 2 + [False] * 3])
    averages = {}
    for use_mask in (False, True):
        keras.utils.set_random_seed(1)
        block = layer_class(8, 16, 2, momentum=0.75, use_mask=use_mask)
        block(inputs, mask=mask, training=True)
        averages[use_mask] = block.attention_norm.moving_mean.numpy()
    before_norm = inputs + block.attention(inputs, inputs, attention_mask=mask[:, None]).numpy()
    np.testing.assert_allclose(averages[True], 0.25 * before_norm[mask].mean(axis=0), atol=1e-5)
    everything = before_norm.reshape(-1, 8).mean(axis=0)
    np.testing.assert_allclose(averages[False], 0.25 * everything, atol=1e-5)


def test_sinusoids_and_learned_positions_begin_equally_large():
    names = ("sinusoids", "ScaledEmbedding", "LearnedPositions")
    cells = define_03(*names)
    assert np.mean(cells.sinusoids(400, 32) ** 2) == pytest.approx(0.5)
    keras.utils.set_random_seed(0)
    layer = cells.LearnedPositions(400, 50, 32)
    layer.build((None, 400))
    learned = layer.position_embedding.get_weights()[0]
    assert np.mean(learned**2) == pytest.approx(0.5, rel=0.05)


TINY = {
    "cfg": SimpleNamespace(
        dropout=0.1,
        batch=8,
        units=8,
        embed_dim=8,
        dense_dim=16,
        num_heads=2,
        max_positions=8,
        dim=8,
        dense=16,
        heads=2,
        blocks=1,
        length=8,
        layers=2,
    ),
    "vocabulary": ["w"] * 20,
    "source_words": ["w"] * 20,
    "target_words": ["w"] * 20,
}
SEQUENCE_NAMES = ("classifier", "bidirectional", "one_hot_vectors", "embedding_layer")
POSITION_NAMES = (
    "sinusoids",
    "ScaledEmbedding",
    "SinusoidalEmbedding",
    "LearnedPositions",
    "classifier",
)
MODELS = {
    "02 embedding": (
        "02_sequence_models",
        SEQUENCE_NAMES,
        lambda c: c.classifier(c.bidirectional(), c.embedding_layer()),
    ),
    "02 one-hot": (
        "02_sequence_models",
        SEQUENCE_NAMES,
        lambda c: c.classifier(c.bidirectional(), c.one_hot_vectors(20)),
    ),
    "03 average": (
        "03_transformer_encoder",
        POSITION_NAMES,
        lambda c: c.classifier(c.ScaledEmbedding(20, 8)),
    ),
    "03 learned positions": (
        "03_transformer_encoder",
        POSITION_NAMES,
        lambda c: c.classifier(
            c.LearnedPositions(8, 20, 8), transformer.TransformerEncoder(8, 16, 2)
        ),
    ),
    "03 sinusoids": (
        "03_transformer_encoder",
        POSITION_NAMES,
        lambda c: c.classifier(
            c.SinusoidalEmbedding(8, 20, 8), transformer.TransformerEncoder(8, 16, 2)
        ),
    ),
    "04": ("04_seq2seq_gru", (), lambda c: seq2seq.build_gru_seq2seq(20, 20, 8, 16, 0.1)),
    "04 deep": (
        "04_seq2seq_gru",
        ("embedding_of", "build_deep_translator"),
        lambda c: c.build_deep_translator(),
    ),
    "05": (
        "05_transformer_translation",
        ("build_transformer",),
        lambda c: c.build_transformer(20, 20),
    ),
    "06": ("06_text_generation", ("language_model",), lambda c: c.language_model(20, 8)),
}


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="nbval trains them on TensorFlow"
)
@pytest.mark.parametrize("name", MODELS)
def test_models_learn_on_other_backends(name):
    """Reviews are positive if they start with a 2; the next token is always one more."""
    keras.utils.set_random_seed(0)
    stem, names, build = MODELS[name]
    model = build(SimpleNamespace(**define(stem, *names, **TINY)))
    if name[:2] in ("02", "03"):
        good = np.arange(64) % 2
        ids = np.random.default_rng(0).integers(3, 20, (64, 6))
        ids[:, 0] = 1 + good
        model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
        arguments = {"x": ids, "y": good}
    else:
        ids = np.random.default_rng(0).integers(4, 14, (64, 1)) + np.arange(7)
        ids[::2, 5:] = 0
        target = ids[:, 1:]
        seq2seq.compile_seq2seq(model, 0.02, 12 * 8)
        arguments = {
            "x": [ids, ids[:, :-1]][-len(model.inputs) :],
            "y": target,
            "sample_weight": target != 0,
        }
    losses = model.fit(**arguments, batch_size=8, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0], losses


WORDS = ["", "[UNK]", START_TOKEN, END_TOKEN, *"abcdefgh"]


@pytest.fixture
def generation():
    """Return the functions of notebook 06, with a vocabulary of eight words."""
    cfg = SimpleNamespace(dim=8, dense=16, heads=2, blocks=2, dropout=0.2, length=12, seed=0)
    names = ("language_model", "batches", "writer", "read", "TextGenerator")
    cells = define("06_text_generation", *names, cfg=cfg)
    vectorizer = keras.layers.TextVectorization(
        vocabulary=WORDS[2:], standardize=standardize_target, output_sequence_length=13
    )
    known = {
        "vocabulary": WORDS,
        "vectorizer": vectorizer,
        "HIDDEN": [0, 1, 2],
        "END": 3,
    }
    cells["writer"].__globals__.update(known)
    keras.utils.set_random_seed(2)
    return SimpleNamespace(
        **cells, vectorizer=vectorizer, model=cells["language_model"](len(WORDS), 12)
    )


def test_notebook_06_does_not_attend_to_the_future(generation):
    model = randomized(generation.model)
    ids = np.array([[2, 5, 6, 7, 8, 9], [2, 4, 4, 4, 4, 4]])
    changed = ids.copy()
    changed[:, 3:] = 11
    before, after = (model.predict(rows, verbose=0)[:, :3] for rows in (ids, changed))
    np.testing.assert_array_equal(before, after)


def test_notebook_06_decodes_from_its_cache_as_from_the_whole_prefix(generation):
    model = randomized(generation.model)
    begin, step = generation.writer(model)
    prompts = np.array([[2, 5, 6], [2, 9, 4], [2, 11, 11], [2, 8, 0]])
    together = decoding.sample(step, begin(4), prompts, 3, 9, 0, temperature=0)
    for prompt, from_cache in zip(prompts, together, strict=True):
        generated = prompt.tolist()
        while len(generated) < 12 and generated[-1] != 3:
            logits = model.predict(np.array([generated]), verbose=0)[0, -1]
            generated.append(3 + int(logits[3:].argmax()))
        assert [i for i in from_cache if i] == generated[3:]
    assert len({tuple(row) for row in together}) > 1


def test_the_generation_callback_does_not_disturb_training(generation, tmp_path):
    random, weights, start = np.random.default_rng(1), [], generation.model.get_weights()
    rows = np.concatenate([np.full((64, 1), 2), random.integers(4, 12, (64, 12))], axis=1)
    for watched in (False, True):
        keras.utils.set_random_seed(5)
        model = generation.language_model(len(WORDS), 12)
        model.set_weights(start)
        watch = generation.TextGenerator(
            "a b", 6, (0.0, 1.0), frequency=2, path=tmp_path / "generated.json"
        )
        seq2seq.compile_seq2seq(model, 1e-2, 16)
        data = generation.batches(rows, 16, seed=0)
        model.fit(data, epochs=4, shuffle=False, verbose=0, callbacks=[watch] if watched else [])
        weights.append(model.get_weights())
    for plain, watched_weights in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, watched_weights)
    assert [(row["epoch"], row["temperature"]) for row in watch.rows] == [
        (2, 0.0),
        (2, 1.0),
        (4, 0.0),
        (4, 1.0),
    ]
    assert all(row["writes"].startswith("A b") for row in watch.rows)


def test_the_callback_generates_at_its_temperatures(generation):
    watch = generation.TextGenerator("a", 9, (0.0, 5.0))
    watch.set_model(randomized(generation.model))
    texts = []
    for seed in range(6):
        watch.seed = seed
        watch.on_epoch_end(0)
        texts.append([row["writes"] for row in watch.rows])
    cold, hot = zip(*texts, strict=True)
    assert len(set(cold)) == 1 and len(set(hot)) > 3


def test_the_table_of_texts_survives_a_restart_and_a_damaged_file(generation, tmp_path):
    path = tmp_path / "generated.json"
    for expected in ([1], [1, 2]):
        watch = generation.TextGenerator("a", 3, (1.0,), path=path)
        watch.set_model(generation.model)
        watch.on_epoch_end(expected[-1] - 1)
        assert [row["epoch"] for row in watch.rows] == expected
    path.write_text('[{"epoch": 1, "temp')
    assert generation.TextGenerator("a", 3, (1.0,), path=path).rows == []


def test_unknown_long_and_empty_prompts_are_continued(generation):
    write = generation.read.__globals__["write"]
    for prompt in ("zzz", "a b c d e f g h " * 5, ""):
        assert write(randomized(generation.model), prompt, 5, 0)


def test_kneser_ney_by_its_definition():
    NGram = define("06_text_generation", "NGram", "count_grams")["NGram"]
    rows = np.random.default_rng(3).choice([2, 3, 4, 5], (12, 9), p=[0.4, 0.3, 0.2, 0.1]).tolist()
    model = NGram(rows, 3, 7)
    triples = [tuple(row[i : i + 3]) for row in rows for i in range(7)]
    kinds = set(triples)  # each triple is one context in which its last pair was met
    pairs = [triple[1:] for triple in kinds]
    words = [pair[1] for pair in set(pairs)]

    def discounted(table, gram, context, shorter):
        inside = [other for other in table if other[: len(context)] == context]
        if not inside:
            return shorter
        left = 0.75 * len(set(inside)) / len(inside) * shorter
        return max(inside.count(gram) - 0.75, 0) / len(inside) + left

    for a in range(1, 7):
        for b in range(1, 7):
            for c in range(1, 7):
                one = discounted([(word,) for word in words], (c,), (), 1 / 7)
                two = discounted(pairs, (b, c), (b,), one)
                expected = discounted(triples, (a, b, c), (a, b), two)
                np.testing.assert_allclose(model.probability((a, b, c)), expected, rtol=1e-9)
    np.testing.assert_allclose([model.next([2, a, b]).sum() for a in (2, 6) for b in (3, 6)], 1)


def test_repetition_and_distinctness_by_counting():
    cells = define("06_text_generation", "repetition", "distinct", "grams")
    assert cells["repetition"]([[1, 2, 3, 4, 5, 6]]) == 0
    assert cells["repetition"]([[7] * 10, [1, 2, 3, 4]]) == pytest.approx((6 / 7 + 0) / 2)
    assert cells["distinct"]([[1, 2, 1, 2], [1, 2]]) == pytest.approx(2 / 4)
