"""Vectorizers and detokenization, against tokens and sentences written by hand."""

import keras
import numpy as np
import pytest

from utils import datasets
from utils.text import adapt_vectorizers, detokenize, filter_pairs, ids_to_text

PAIRS = datasets.Pairs(
    ["Go on.", "Who's he?", "I see two red cars.", 'She said: "No!"', "Go on."],
    ["Sigue.", "¿Quién es él?", "Veo dos coches rojos.", 'Ella dijo: "¡no!"', "Continúa."],
)


@pytest.fixture
def vectorizers():
    return adapt_vectorizers(PAIRS, 60)


def tokens_of(vectorizer, text):
    vocabulary = vectorizer.get_vocabulary()
    return [vocabulary[i] for i in vectorizer([text])[0].numpy()]


@pytest.mark.tensorflow
def test_punctuation_marks_are_tokens_and_targets_have_special_tokens(vectorizers):
    source, target = vectorizers
    assert tokens_of(source, "Who's he?") == ["who's", "he", "?"]
    assert tokens_of(target, "¿Quién es él?") == ["[start]", "¿", "quién", "es", "él", "?", "[end]"]
    assert tokens_of(target, "ÉL") == ["[start]", "él", "[end]"]


@pytest.mark.tensorflow
def test_a_token_outside_the_vocabulary_is_unknown(vectorizers):
    # Of these five tokens, the pairs have "he" and "?"; a comma is in none of them.
    tokens = tokens_of(vectorizers[0], "He, zebra, he?")
    assert tokens == ["he", "[UNK]", "[UNK]", "[UNK]", "he", "?"]


@pytest.mark.tensorflow
def test_vocabularies_come_from_the_pairs_alone(vectorizers):
    source_words = {
        "go",
        "on",
        "who's",
        "he",
        "i",
        "see",
        "two",
        "red",
        "cars",
        "she",
        "said",
        "no",
    }
    punctuation = set('.?:"!')
    assert set(vectorizers[0].get_vocabulary()) == {"", "[UNK]"} | source_words | punctuation
    small, _ = adapt_vectorizers(PAIRS, 5)
    assert small.vocabulary_size() == 5
    assert small.get_vocabulary()[2] == ".", "the most frequent token comes first"


@pytest.mark.tensorflow
def test_standardizers_are_registered_so_that_vectorizers_can_be_saved(vectorizers, tmp_path):
    expected = (["who's", "he", "?"], ["[start]", "¿", "[UNK]", "[UNK]", "?", "[end]"])
    for vectorizer, tokens in zip(vectorizers, expected, strict=True):
        path = tmp_path / "vectorizer.keras"
        keras.Sequential([keras.Input((1,), dtype="string"), vectorizer]).save(path)
        loaded = keras.models.load_model(path).layers[-1]
        assert loaded.get_vocabulary() == vectorizer.get_vocabulary()
        text = "Who's he?" if tokens[0] != "[start]" else "¿Who's he?"
        assert tokens_of(loaded, text) == tokens


@pytest.mark.tensorflow
def test_long_pairs_and_pairs_with_unknown_words_are_removed(vectorizers):
    part = datasets.Pairs(
        ["Go on.", "Go zebra.", "I see two red cars.", "Go on."],
        ["Sigue.", "Sigue.", "Veo dos coches rojos.", "Sigue cebra."],
        [((0, 0),), (), ((1, 1),), ()],
    )
    pairs = datasets.Dataset("sentence pairs", part, part, "sample", "card", validation=part)
    # Target tokens: 4 in the first two pairs, 7 in the third, 5 in the last.
    short = filter_pairs(pairs, vectorizers, max_length=5, known_only=False, max_train=2)
    assert short.train.english == ["Go on.", "Go zebra."]
    assert short.test.spanish == ["Sigue.", "Sigue.", "Sigue cebra."]
    known = filter_pairs(pairs, vectorizers, max_length=7, known_only=True, max_train=9)
    assert known.validation.english == ["Go on.", "I see two red cars."]
    assert known.train.alignments == [((0, 0),), ((1, 1),)]
    assert known.source == "sample"


@pytest.mark.tensorflow
def test_pairs_without_alignments_can_be_filtered(vectorizers):
    pairs = datasets.Dataset("sentence pairs", PAIRS, PAIRS, "real", "card", validation=PAIRS)
    filtered = filter_pairs(pairs, vectorizers, 20, True, 9)
    assert filtered.test.alignments is None
    assert filtered.test.english == PAIRS.english


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        ("[start] ¿ quién es él ? [end] basura", "¿Quién es él?"),
        ('ella dijo : " ¡ no ! " [end]', 'Ella dijo: "¡no!"'),
        ("[UNK] vive ( aquí ) . [end]", "[UNK] vive (aquí)."),
        ("3 de mayo . [end]", "3 de mayo."),
        ("¿ 3 gatos ?", "¿3 gatos?"),
        ("[end]", ""),
        ("", ""),
    ],
)
def test_tokens_are_joined_into_a_sentence(tokens, sentence):
    assert detokenize(tokens.split()) == sentence


def test_empty_tokens_are_left_out():
    assert detokenize(["", "¿", "", "qué", "", "dice", "?"]) == "¿Qué dice?"


@pytest.mark.tensorflow
def test_a_number_with_a_point_does_not_survive_as_its_spaces_are_not_in_the_tokens():
    texts = ["Cuesta 3.5 euros.", "Son las 3. 5 euros."]
    _, target = adapt_vectorizers(datasets.Pairs(texts, texts), 60)
    assert tokens_of(target, texts[0])[2:5] == ["3", ".", "5"]
    assert tokens_of(target, texts[1])[3:6] == ["3", ".", "5"], "the same tokens"
    decoded = ids_to_text(target(texts).to_tensor(), target.get_vocabulary())
    assert decoded == ["Cuesta 3. 5 euros.", "Son las 3. 5 euros."]


@pytest.mark.tensorflow
def test_every_training_sentence_survives_the_round_trip(vectorizers):
    target = vectorizers[1]
    ids = target(PAIRS.spanish).to_tensor()
    assert ids_to_text(ids, target.get_vocabulary()) == PAIRS.spanish
    assert ids_to_text(np.pad(ids, ((0, 0), (0, 3))), target.get_vocabulary()) == PAIRS.spanish
