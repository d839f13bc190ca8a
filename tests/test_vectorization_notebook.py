"""What notebook 01 defines: tokens, subwords, patterns, checked on texts made for it."""

import re
import string
from collections import Counter
from itertools import pairwise

import keras
import nbformat
import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

from tests.test_notebook_code import define
from utils import settings

STEM = "01_text_vectorization"
STANDARD = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)


def constants(*names: str) -> dict:
    """Run the assignments of one of the notebook's cells that hold text patterns."""
    notebook = nbformat.read(settings.ROOT / "notebooks" / f"{STEM}.ipynb", as_version=4)
    source, *_ = [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and re.search(f"^{names[-1]} = ", cell.source, re.MULTILINE)
    ]
    namespace = {"re": re}
    begin = re.search(f"^{names[0]} = ", source, re.MULTILINE).start()
    exec(re.split(r"\n\n\n", source[begin:])[0], namespace)
    return {name: namespace[name] for name in names}


@pytest.fixture(scope="module")
def cells():
    known = {"PUNCTUATION": string.punctuation, "STANDARD": STANDARD}
    names = ("standardize", "split_words", "Vectorizer", "strip_html", "strip_html_by_hand")
    return define(STEM, *names, **known)


def random_texts(number: int) -> list[str]:
    rng = np.random.default_rng(7)
    pieces = [
        "Good",
        "film",
        "<br />",
        "<BR />",
        "<br/>",
        "É",
        "isn't",
        " ",
        "  ",
        "\n",
        "7/10",
        "!",
        "br",
        "—",
    ]
    return ["".join(rng.choice(pieces, size=12)) for _ in range(number)]


def test_the_punctuation_is_what_keras_deletes():
    layer = keras.layers.TextVectorization()
    layer.adapt([f"a{chr(code)}b" for code in range(33, 127)])
    deleted = {
        code
        for code in map(chr, range(33, 127))
        if f"a{code}b".lower() not in layer.get_vocabulary()
    }
    assert deleted == set(constants("PUNCTUATION")["PUNCTUATION"])


def test_html_is_removed_by_hand_as_in_the_graph(cells):
    texts = random_texts(300)
    in_graph = [text.decode() for text in cells["strip_html"](tf.constant(texts)).numpy()]
    assert in_graph == [cells["strip_html_by_hand"](text) for text in texts]
    assert cells["strip_html_by_hand"]("film.<br /><br />The") == "film  the"


def test_texts_without_html_are_standardized_as_keras_does_by_default(cells):
    texts = [text for text in random_texts(300) if "<br />" not in text.lower()]
    ours = keras.layers.TextVectorization(standardize=cells["strip_html"], split=None)
    default = keras.layers.TextVectorization(split=None)
    for layer in (ours, default):
        layer.adapt(texts)
    assert len(texts) > 20 and ours.get_vocabulary() == default.get_vocabulary()


@pytest.fixture(scope="module")
def subwords():
    return define(STEM, "merge", "learn_merges", "learn_many_merges", "subwords_of")


def random_word_counts(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abc"), size=rng.integers(1, 9))) for _ in range(120)]
    return {word: int(rng.integers(1, 20)) for word in words}


@pytest.mark.parametrize("seed", range(5))
def test_counting_again_only_where_a_pair_was_gives_the_same_merges(subwords, seed):
    word_counts = random_word_counts(seed)
    slowly = [pair for pair, _ in subwords["learn_merges"](word_counts, 60)]
    assert len(slowly) == 60 and subwords["learn_many_merges"](word_counts, 60) == slowly
    # More merges than there are pairs: both end.
    few = {"ab": 2, "ba": 1}
    slowly = [pair for pair, _ in subwords["learn_merges"](few, 60)]
    assert len(slowly) < 60 and subwords["learn_many_merges"](few, 60) == slowly


def test_the_first_merge_is_the_most_frequent_pair(subwords):
    word_counts = random_word_counts(3)
    counted = Counter()
    for word, count in word_counts.items():
        for first, second in pairwise([*word, "_"]):
            counted[first, second] += count
    ((_, count),) = subwords["learn_merges"](word_counts, 1)
    assert count == max(counted.values())


def test_subwords_join_to_the_word_and_are_those_that_were_learned(subwords):
    word_counts = random_word_counts(4)
    merges = subwords["learn_many_merges"](word_counts, 40)
    subwords["subwords_of"].__wrapped__.__globals__["rank_of_merge"] = {
        pair: rank for rank, pair in enumerate(merges)
    }
    spelled = {word: (*word, "_") for word in word_counts}
    for pair in merges:
        spelled = {word: subwords["merge"](symbols, pair) for word, symbols in spelled.items()}
    for word, symbols in spelled.items():
        assert subwords["subwords_of"](word) == symbols
        assert "".join(symbols) == f"{word}_"


def test_negations_are_known_and_other_words_are_not():
    negation = constants("NEGATION")["NEGATION"]
    for word in ("not", "never", "isnt", "cant", "wouldnt", "without"):
        assert negation.fullmatch(word), word
    for word in ("knot", "want", "patient", "nothings", "nowhere", "note", "ant"):
        assert not negation.fullmatch(word), word


def test_ratings_are_removed_and_other_numbers_are_not():
    rating = constants("NUMBER", "RATING")["RATING"]
    for text in (
        "7/10",
        "8.5/10",
        "10 out of 10",
        "three out of four",
        "two stars",
        "** out of ****",
        "1 star",
    ):
        left = tf.strings.regex_replace(f"I say {text} for this", rating, " ").numpy().decode()
        assert left.split() == ["I", "say", "for", "this"], text
        assert re.sub(rating, " ", f"I say {text} for this").split() == left.split()
    for text in (
        "9/11",
        "24/7",
        "1 of the 10 best",
        "1950/51",
        "seven samurai",
    ):
        assert re.sub(rating, " ", text) == text
        assert tf.strings.regex_replace(text, rating, " ").numpy().decode() == text


def test_log_count_ratios_are_counted_word_by_word():
    ratios_of = define(STEM, "log_count_ratios")["log_count_ratios"]
    bags = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0]], float)
    labels = np.array([1, 1, 0, 0, 1])
    ratios = ratios_of(sparse.csr_array(bags), labels)
    # Entries of positive reviews: 3, 2, 2, 0 times; of negative ones: 1, 1, 1, 0 times; plus 1.
    expected = np.log(
        [(4 / 11) / (2 / 7), (3 / 11) / (2 / 7), (3 / 11) / (2 / 7), (1 / 11) / (1 / 7)]
    )
    assert ratios.shape == (4,)
    np.testing.assert_allclose(ratios, expected)
    np.testing.assert_allclose(ratios_of(sparse.csr_array(bags), 1 - labels), -expected)
