"""Words, batches and scores against values worked out by hand; the GRU's step against the whole GRU."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import datasets, decoding, metrics, plots
from utils.models import seq2seq
from utils.text import adapt_vectorizers, detokenize, filter_pairs, ids_to_text

PAIRS = datasets.Pairs(
    ["Go on.", "Who's he?", "I see two red cars.", 'She said: "No!"', "Go on."],
    ["Sigue.", "¿Quién es él?", "Veo dos coches rojos.", 'Ella dijo: "¡no!"', "Continúa."],
)


@pytest.fixture
def both():
    return adapt_vectorizers(PAIRS, 60)


def words(vectorizer, text):
    vocabulary = vectorizer.get_vocabulary()
    return [vocabulary[i] for i in vectorizer([text])[0].numpy()]


@pytest.mark.tensorflow
def test_punctuation_is_kept_as_tokens_and_spanish_gets_marks(both):
    assert words(both[0], "Who's he?") == ["who's", "he", "?"]
    assert words(both[1], "¿Quién es él?") == ["[start]", "¿", "quién", "es", "él", "?", "[end]"]
    assert words(both[1], "ÉL") == ["[start]", "él", "[end]"]
    assert words(both[0], "Who, zebra?")[1:3] == [",", "[UNK]"] or words(both[0], "zebra") == [
        "[UNK]"
    ]


@pytest.mark.tensorflow
def test_vocabularies_come_from_the_pairs_given_alone(both):
    assert "zebra" not in both[0].get_vocabulary() and "[start]" not in both[0].get_vocabulary()
    small, _ = adapt_vectorizers(PAIRS, 5)
    assert small.vocabulary_size() == 5 and small.get_vocabulary()[2] == "."


@pytest.mark.tensorflow
def test_standardizers_are_registered_so_that_vectorizers_can_be_saved(both, tmp_path):
    for vectorizer, wanted in zip(both, (["who's", "he"], ["[start]", "¿"]), strict=True):
        path = tmp_path / "vectorizer.keras"
        keras.Sequential([keras.Input((1,), dtype="string"), vectorizer]).save(path)
        loaded = keras.models.load_model(path).layers[-1]
        assert loaded.get_vocabulary() == vectorizer.get_vocabulary()
        assert words(loaded, "¿Who's he?" if wanted[1] == "¿" else "Who's he?")[:2] == wanted


@pytest.mark.tensorflow
def test_long_pairs_and_unknown_words_are_left_out(both):
    part = datasets.Pairs(
        ["Go on.", "Go zebra.", "I see two red cars.", "Go on."],
        ["Sigue.", "Sigue.", "Veo dos coches rojos.", "Sigue cebra."],
        [((0, 0),), (), ((1, 1),), ()],
    )
    pairs = datasets.SentencePairs(part, part, part, "sample", "card")
    short = filter_pairs(pairs, both, max_length=5, known_only=False, max_train=2)
    assert short.train.english == ["Go on.", "Go zebra."] and len(short.test) == 3
    plain = filter_pairs(pairs, both, max_length=7, known_only=True, max_train=9)
    assert plain.validation.english == ["Go on.", "I see two red cars."]
    assert plain.train.alignments == [((0, 0),), ((1, 1),)] and plain.source == "sample"
    real = datasets.SentencePairs(PAIRS, PAIRS, PAIRS, "real", "card")
    assert filter_pairs(real, both, 20, True, 9).test.alignments is None


def test_the_rate_rises_and_falls_to_zero(gru):
    seq2seq.compile_seq2seq(gru, 4e-3, 200)
    rates = [float(gru.optimizer._learning_rate(step)) for step in (0, 10, 105, 200)]
    assert rates == pytest.approx([0, 4e-3, 2e-3, 0], abs=1e-6)


@pytest.mark.tensorflow
def test_targets_are_the_inputs_one_place_on_and_padding_weighs_nothing(both):
    source, target = (
        vectorizer(texts)
        for vectorizer, texts in zip(both, (PAIRS.english, PAIRS.spanish), strict=True)
    )
    rows = {tuple(row.tolist()) for row in target.numpy()}
    met = []
    for (read, written), asked, weights in seq2seq.teacher_forcing_batches(source, target, 2):
        read, written, asked, weights = (x.numpy() for x in (read, written, asked, weights))
        assert len(read) == len(written)
        np.testing.assert_array_equal(written[:, 1:], asked[:, :-1])
        np.testing.assert_array_equal(weights, asked != 0)
        for first, rest in zip(written, asked, strict=True):
            met.append(tuple(i for i in [first[0], *rest] if i))
    assert set(met) == rows and len(met) == 5


@pytest.mark.tensorflow
def test_batches_hold_like_lengths_and_are_shuffled_anew():
    random = np.random.default_rng(0)
    source = tf.ragged.constant([[3] * n for n in random.integers(1, 20, 200)], dtype="int64")
    target = tf.ragged.constant(
        [[2, *[5] * n, 3] for n in random.integers(1, 20, 200)], dtype="int64"
    )
    data = seq2seq.teacher_forcing_batches(source, target, 16, seed=1)
    epochs = [[batch[0][1].numpy() for batch in data] for _ in range(2)]
    assert len(epochs[0]) == len(list(data)) == data.cardinality()
    assert sum(map(len, epochs[0])) == 200
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(*epochs, strict=True))
    longest = np.maximum(source.row_lengths(), target.row_lengths())
    places = sum(
        max(read.shape[1], written.shape[1] + 1) * len(read) for (read, written), _, _ in data
    )
    assert places < longest.sum() + 4 * 200, "padded to the group, not to the longest of all"


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        ("[start] ¿ quién es él ? [end] basura", "¿Quién es él?"),
        ('ella dijo : " ¡ no ! " [end]', 'Ella dijo: "¡no!"'),
        ("cuesta 3 . 5 euros , creo . [end]", "Cuesta 3. 5 euros, creo."),
        ("[UNK] vive ( aquí ) . [end]", "[UNK] vive (aquí)."),
        ("[end]", ""),
        ("", ""),
    ],
)
def test_tokens_are_joined_into_a_sentence(tokens, sentence):
    assert detokenize(tokens.split()) == sentence


@pytest.mark.tensorflow
def test_every_training_sentence_survives_the_round_trip(both):
    target = both[1]
    vocabulary = target.get_vocabulary()
    assert ids_to_text(target(PAIRS.spanish).to_tensor(), vocabulary) == PAIRS.spanish


def test_all_translations_of_a_sentence_are_its_references():
    found = metrics.group_references(PAIRS)
    assert found["Go on."] == ["Sigue.", "Continúa."] and list(found) == PAIRS.english[:4]


def test_scores_by_hand():
    perfect = metrics.bleu_chrf(["la casa es roja ."], [["La casa es roja ."]])
    assert perfect == pytest.approx({"BLEU": 100, "chrF": 100})
    # 5 of 6 tokens, 3 of 5 pairs, 1 of 4 triples, and no quadruple, which counts as 1/2 of 3; equal length.
    partly = metrics.bleu_chrf(["uno dos tres x cinco seis"], [["uno dos tres cuatro cinco seis"]])
    by_hand = 100 * (5 / 6 * 3 / 5 * 1 / 4 * (0.5 / 3)) ** 0.25
    assert partly["BLEU"] == pytest.approx(by_hand, rel=1e-6)
    # Half as long as the reference: what is there is right, the brevity penalty is exp(1 - 8 / 4).
    short = metrics.bleu_chrf(["a b c d"], [["a b c d e f g h"]])
    assert short["BLEU"] == pytest.approx(100 * np.exp(-1), rel=1e-6)


def test_any_of_several_references_counts():
    references = [
        ["Sigue adelante ahora mismo.", "Continúa ahora mismo, por favor."],
        ["Él come pan con queso."],
    ]
    written = ["Continúa ahora mismo, por favor.", "Él come pan con queso."]
    assert metrics.bleu_chrf(written, references)["BLEU"] == pytest.approx(100)
    assert metrics.bleu_chrf(written, [refs[:1] for refs in references])["BLEU"] < 80


def test_scores_by_length_are_those_of_each_group():
    written = ["uno dos tres cuatro"] * 20 + ["cinco seis siete ocho"] * 20 + ["nueve"] * 3
    references = [["uno dos tres cuatro"]] * 20 + [["nada de esto aquí"]] * 20 + [["nueve"]] * 3
    lengths = [2, 4] * 10 + [5] * 20 + [12] * 3
    found = metrics.bleu_by_length(written, references, lengths, edges=(1, 5, 6, 99))
    assert found == {"up to 4 tokens": pytest.approx(100), "5 tokens": pytest.approx(0, abs=9)}
    assert (
        list(metrics.bleu_by_length(written, references, lengths, (1, 6, 99), 3))[1]
        == "6 and more tokens"
    )


def test_the_nearest_sentence_lends_its_most_frequent_translation():
    train = datasets.Pairs(
        ["The dog sleeps.", "The dog sleeps.", "the dog sleeps", "The cat eats fish.", "A cat!"],
        [
            "Duerme el perro.",
            "El perro duerme.",
            "El perro duerme.",
            "El gato come pescado.",
            "¡Un gato!",
        ],
    )
    nearest = metrics.NearestSource(train)
    assert nearest("The dog sleeps?") == "El perro duerme."
    assert nearest("Fish eats the cat") == "El gato come pescado."
    assert nearest("xyzzy") in train.spanish
    scores = metrics.baseline_scores(train, ["The cat eats fish."], [["El gato come pescado."]])
    assert scores["nearest training sentence"]["BLEU"] == pytest.approx(100)
    assert scores["copy the source"]["BLEU"] < 20


@pytest.fixture
def gru():
    keras.utils.set_random_seed(1)
    model = seq2seq.build_gru_seq2seq(20, 25, 6, 8, 0.5)
    random = np.random.default_rng(1)
    model.set_weights([w + random.normal(size=w.shape) for w in model.get_weights()])
    return model


ROWS = tf.ragged.constant([[5, 6, 7], [4], [9, 8, 3, 3, 12], [2, 2]], dtype="int64")


def test_the_carried_state_writes_what_the_whole_prefix_writes(gru):
    begin, step = seq2seq.gru_decode_fns(gru)
    together = decoding.greedy_search(step, begin(ROWS.to_tensor()), 2, 3, 9)
    for row, found in zip(ROWS.numpy(), together, strict=True):
        written = [2]
        while len(written) < 10 and (len(written) == 1 or written[-1] != 3):
            logits = gru.predict([row[None], np.array([written])], verbose=0)
            written.append(int(logits[0, -1].argmax()))
        assert [i for i in found if i] == [i for i in written[1:] if i]


def test_gru_never_sees_the_future_or_padding(gru):
    written = np.array([[2, 5, 9, 14, 7]] * 4)
    plain = gru.predict([ROWS.to_tensor(), written], verbose=0)
    changed = written.copy()
    changed[:, 3:] = 20
    found = gru.predict([ROWS.to_tensor(), changed], verbose=0)
    np.testing.assert_array_equal(found[:, :3], plain[:, :3])
    padded = gru.predict([np.pad(ROWS.to_tensor(), ((0, 0), (0, 6))), written], verbose=0)
    np.testing.assert_allclose(padded, plain, atol=1e-5)


def test_the_loss_counts_real_places_only(gru):
    seq2seq.compile_seq2seq(gru, 1e-3, 100)
    written = np.array([[2, 5, 9, 3, 0, 0], [2, 7, 3, 0, 0, 0]])
    inputs, asked = [ROWS.to_tensor().numpy()[:2], written[:, :-1]], written[:, 1:]
    found = gru.test_on_batch(inputs, asked, asked != 0, return_dict=True)
    logits = gru.predict(inputs, verbose=0).astype("float64")
    chances = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    places = [(r, c) for r in range(2) for c in range(5) if asked[r, c]]
    assert len(places) == 5
    assert found["loss"] == pytest.approx(
        -np.mean([chances[r, c, asked[r, c]] for r, c in places]), rel=1e-4
    )
    right = [logits[r, c].argmax() == asked[r, c] for r, c in places]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    wider = [inputs[0], np.pad(inputs[1], ((0, 0), (0, 20)))]
    again = gru.test_on_batch(
        wider,
        np.pad(asked, ((0, 0), (0, 20))),
        np.pad(asked != 0, ((0, 0), (0, 20))),
        return_dict=True,
    )
    assert again == pytest.approx(found, rel=1e-4), "more padding, the same loss"


def test_translations_come_back_in_the_order_of_the_rows(gru):
    vocabulary = ["", "[UNK]", "[start]", "[end]", *(f"w{n}" for n in range(21))]
    begin, step = seq2seq.gru_decode_fns(gru)
    together = seq2seq.translate(ROWS, begin, step, vocabulary, batch_size=2)
    alone = [seq2seq.translate(ROWS[i : i + 1], begin, step, vocabulary)[0] for i in range(4)]
    assert together == alone and len(set(together)) > 1


def test_leaderboard_leaves_out_what_a_baseline_does_not_have(capsys):
    rows = [
        {"model": "copy", "bleu": 1.0, "chrf": 10.0, "notebook": "04_x"},
        {
            "model": "GRU",
            "bleu": 20.0,
            "chrf": 40.0,
            "accuracy": 0.5,
            "parameters": 1_000,
            "seconds": 60,
            "pace": 900,
            "notebook": "04_x",
        },
    ]
    plots.translation_leaderboard(rows, "Bars of BLEU, two of them, one longer than the other.")
    said = capsys.readouterr().out
    assert "50.0%" in said and "1,000" in said and "None" not in said


def test_only_reading_text_needs_tensorflow():
    source = inspect.getsource(seq2seq)
    for line in source.splitlines():
        assert "tf." not in line or any(word in line for word in ("strings", "data", "gather")), (
            line
        )
