"""Vectorizers and detokenization, against tokens and sentences written by hand."""

import random
import re
import string
import unicodedata

import keras
import numpy as np
import pytest

from utils import datasets
from utils.errors import CompanionError
from utils.text import (
    adapt_vectorizers,
    detokenize,
    filter_pairs,
    ids_to_text,
    leave_out_empty,
    read_word_vectors,
)

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
    assert short.validation.spanish == ["Sigue.", "Sigue.", "Sigue cebra."]
    known = filter_pairs(pairs, vectorizers, max_length=7, known_only=True, max_train=9)
    assert known.validation.english == ["Go on.", "I see two red cars."]
    assert known.train.alignments == [((0, 0),), ((1, 1),)]
    assert known.source == "sample"


@pytest.mark.tensorflow
def test_a_test_sentence_is_judged_by_its_source_and_keeps_all_its_references(vectorizers):
    part = datasets.Pairs(
        ["Go on.", "Go on.", "Go on.", "I see two red cars.", "Go zebra."],
        ["Sigue.", "Sigue cebra.", "Sigue sigue sigue sigue.", "Veo.", "Sigue."],
    )
    pairs = datasets.Dataset("sentence pairs", part, part, "real", "card", validation=part)
    # Source tokens: 3 in "Go on.", 6 in the fourth; the second and third reference do not fit.
    filtered = filter_pairs(pairs, vectorizers, max_length=5, known_only=True, max_train=9)
    assert filtered.test.spanish == part.spanish[:3]
    assert filtered.train.spanish == filtered.validation.spanish == ["Sigue."]


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
        ("我 们 用 python 学 习 。 [end]", "我们用 python 学习。"),
        ("「 是 的 」 ， 他 说", "「是的」，他说"),
        ("ที่ นี่".replace("", " "), "ที่นี่"),
        ("هل هذا صحيح ؟", "هل هذا صحيح؟"),
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


def tokens_by_hand(text):
    """Tokenize with Python's categories of characters in place of a regular expression."""
    words = [""]
    for character in text.lower():
        category = unicodedata.category(character)
        name = unicodedata.name(character, "")
        is_unspaced = re.match("CJK|HIRAGANA|KATAKANA|THAI", name) and category != "Po"
        if character in "\t\n\x0c\r ":
            words.append("")
        elif (category[0] in "LMN" and not is_unspaced) or character in "'\u200c":
            words[-1] += character
        else:
            words += [character, ""]
    return [word for word in words if word]


@pytest.mark.tensorflow
def test_odd_texts_are_split_as_by_hand_and_survive_the_round_trip(odd_texts, capsys):
    pairs = datasets.Pairs(odd_texts, odd_texts)
    source, target = adapt_vectorizers(pairs, 5_000)
    assert capsys.readouterr().out == "", "most of these texts have spaces"
    source_words, vocabulary = source.get_vocabulary(), target.get_vocabulary()
    source_ids = source(pairs.english)
    target_ids = target(pairs.spanish)
    for text, ids, other_ids in zip(pairs.english, source_ids, target_ids, strict=True):
        assert [source_words[i] for i in ids.numpy()] == tokens_by_hand(text), repr(text)
        decoded = ids_to_text(other_ids.numpy()[None], vocabulary)[0]
        assert "".join(decoded.lower().split()) == "".join(text.lower().split()), repr(text)


@pytest.mark.tensorflow
def test_the_vocabulary_of_odd_texts_is_saved_and_loaded(odd_texts, tmp_path):
    texts = datasets.Texts(odd_texts, np.zeros(len(odd_texts), "uint8")).texts
    vectorizer = keras.layers.TextVectorization()
    vectorizer.adapt(texts)
    path = tmp_path / "vectorizer.keras"
    keras.Sequential([keras.Input((1,), dtype="string"), vectorizer]).save(path)
    loaded = keras.models.load_model(path).layers[-1]
    assert loaded.get_vocabulary() == vectorizer.get_vocabulary()


def reviews_of(texts):
    parts = {}
    for name in ("train", "validation", "test"):
        labels = np.arange(len(texts), dtype="uint8")
        parts[name] = datasets.Texts(texts, labels)
    return datasets.Dataset("reviews", **parts, source="mine.csv", card="")


PARTS = ("train", "validation", "test")


@pytest.mark.tensorflow
@pytest.mark.parametrize("by", ["characters", "ids"])
def test_texts_without_a_token_are_named_and_left_out(odd_texts, capsys, by):
    reviews = reviews_of(odd_texts)
    vectorizer = keras.layers.TextVectorization(ragged=True)
    vectorizer.adapt(reviews.train.texts)
    tokens = {name: vectorizer(getattr(reviews, name).texts) for name in PARTS}
    without_punctuation = str.maketrans("", "", string.punctuation)
    expected = []
    for row, text in enumerate(reviews.train.texts):
        if text.translate(without_punctuation).strip(" \t\n\f\r\v"):
            expected.append(row)
    if by == "characters":
        result = leave_out_empty(reviews)
    else:
        result, ids = leave_out_empty(reviews, tokens)
        for name in PARTS:
            lengths = ids[name].row_lengths().numpy().tolist()
            assert lengths == [len(tokens[name][row]) for row in expected] and min(lengths) > 0
    num_empty = len(odd_texts) - len(expected)
    lines = capsys.readouterr().out.splitlines()
    for name, line in zip(PARTS, lines, strict=True):
        part = getattr(result, name)
        assert part.labels.tolist() == expected
        assert part.texts == [reviews.train.texts[row] for row in expected]
        start = (
            f"Left out: {num_empty} of {len(odd_texts)} {name} texts, without a token (rows 0, 1,"
        )
        assert line.startswith(start) and line.endswith(", ...).")
    # What is left has tokens: a cell that runs twice changes nothing.
    assert leave_out_empty(result).train.texts == result.train.texts
    assert capsys.readouterr().out == ""


@pytest.mark.tensorflow
def test_texts_that_hold_no_token_at_all_are_refused():
    with pytest.raises(CompanionError, match="none of the 2 train texts has a token"):
        leave_out_empty(reviews_of(["...", ""]))


@pytest.mark.tensorflow
def test_a_line_says_that_words_have_no_spaces(capsys):
    chinese = ["我喜欢这部电影", "剧情很糟糕。", "Amélie"]
    reviews = reviews_of(chinese)
    leave_out_empty(reviews)
    assert 'split="character"' in capsys.readouterr().out
    for split, num_lines in (("whitespace", 1), ("character", 0)):
        vectorizer = keras.layers.TextVectorization(ragged=True, split=split)
        vectorizer.adapt(chinese)
        leave_out_empty(reviews, dict.fromkeys(PARTS, vectorizer(chinese)))
        assert capsys.readouterr().out.count("\n") == num_lines
    english = ["One.", "Two.", "Three."]
    source, target = adapt_vectorizers(datasets.Pairs(english, chinese), 60)
    output = capsys.readouterr().out
    assert output == (
        "The words of these translations have no spaces between them: a token is a character.\n"
    )
    assert tokens_of(target, "这部电影 good。")[1:-1] == ["这", "部", "电", "影", "[UNK]", "。"]
    assert len(source(["One."])[0]) == 2
    for spaced in (["Guten Tag"], ["こんにちは", "Hello there", "Bonjour à tous"]):
        adapt_vectorizers(datasets.Pairs(spaced, spaced), 60)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("empty", [None, float("nan"), np.float64("nan"), np.nan])
def test_an_empty_cell_of_a_table_is_an_empty_text(empty):
    texts = datasets.Texts(["good", empty], [1, 0])
    assert texts.texts == ["good", ""] and texts.labels.tolist() == [1, 0]
    assert datasets.Pairs([empty, "b"], ["c", empty]).english == ["", "b"]


def test_what_is_no_text_is_named():
    with pytest.raises(CompanionError, match="row 1 is not a text but 3"):
        datasets.Texts(["good", 3], [1, 0])
    with pytest.raises(CompanionError, match="2 texts, but 1 labels"):
        datasets.Texts(["good", "bad"], [1])
    with pytest.raises(CompanionError, match="1 sentences, but 2 translations"):
        datasets.Pairs(["a"], ["b", "c"])


@pytest.mark.tensorflow
def test_pairs_without_a_token_are_named_and_left_out(capsys):
    part = datasets.Pairs(["Go on.", "", "Go on.", "Go on."], ["Sigue.", "Sigue.", " ", "Sigue."])
    pairs = datasets.Dataset("sentence pairs", part, part, "mine", "card", validation=part)
    vectorizers = adapt_vectorizers(part, 60)
    filtered = filter_pairs(pairs, vectorizers, 20, known_only=False, max_train=9)
    assert filtered.train.english == filtered.test.english == ["Go on.", "Go on."]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Left out: 2 of 4 train pairs, without a token (rows 1, 2)."
    assert len(lines) == 3
    with pytest.raises(CompanionError, match="none of the 4 train pairs has at most 2 tokens"):
        filter_pairs(pairs, vectorizers, 2, known_only=False, max_train=9)


HEADERS = {"GloVe": "", "word2vec": "{words} {size}\n"}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("seed", range(20))
def test_word_vectors_are_read_from_files_of_any_form(tmp_path, capsys, header, seed):
    rng = random.Random(seed)
    size = rng.choice([2, 3, 50])
    words = ["the", "2003", "café", "我们", ". . .", "at name@example.com", "'", "\u00a0x", "-"]
    words += [f"word{number}" for number in range(rng.choice([4, 40]))]
    rng.shuffle(words)
    vectors = {word: [round(rng.uniform(-2, 2), 4) for _ in range(size)] for word in words}
    lines = [f"{word} {' '.join(map(str, values))}" for word, values in vectors.items()]
    odd_lines = []
    odd = ["", "cut 0.5", "long " + "1 " * (size + 2) + "1", "odd " + "x " * size, "the"]
    for line in rng.sample(odd, rng.randrange(3)):
        position = rng.randrange(1, len(lines))
        lines.insert(position, line)
    for number, line in enumerate(lines, start=1):
        if line in odd:
            odd_lines.append(number + (header == "word2vec"))
    newline = rng.choice(["\n", "\r\n", " \n"])  # fastText ends lines with a space
    text = HEADERS[header].format(words=len(words), size=size) + newline.join(lines)
    path = tmp_path / "glove.txt"
    path.write_text(text + newline, encoding=rng.choice(["utf-8", "utf-8-sig"]), newline="")
    wanted = {*words[::2], "long", "odd", "cut", "missing"}
    found = read_word_vectors(path, wanted)
    assert set(found) == set(words[::2])
    for word, vector in found.items():
        assert vector.dtype == "float32"
        np.testing.assert_allclose(vector, vectors[word], rtol=1e-6)
    output = capsys.readouterr().out
    assert output.count("\n") == bool(odd_lines)
    if odd_lines:
        assert f"{len(odd_lines)} of " in output and f"line {odd_lines[0]}" in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a text file with a word and its numbers on each line"),
        (b"<html>\n<body>not found</body>\n", "is not a text file with a word and its numbers"),
        (bytes(range(256)) * 40, "is not a text file with a word and its numbers"),
        (b"400000 100\nthe 1 2\ncat 3 4\n", "holds none of the 1 words"),
        (b"der 1 2\nkatze 3 4\n", "holds none of the 1 words: is it of this language?"),
        (None, "cannot be read"),
    ],
)
def test_a_file_without_the_word_vectors_is_refused(tmp_path, content, message):
    path = tmp_path / "glove.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CompanionError, match=message) as refused:
        read_word_vectors(path, {"film"})
    assert "\n" not in str(refused.value) and "glove.txt" in str(refused.value)
