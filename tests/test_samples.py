import hashlib
import itertools
import re
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from utils import samples

SIZES = {"train": 20_000, "validation": 5_000, "test": 25_000}


@pytest.fixture(scope="module")
def written():
    return {part: samples.reviews(part, count) for part, count in SIZES.items()}


@pytest.fixture(scope="module")
def texts(written):
    return [text for part in written.values() for text in part[0]]


def test_fifty_thousand_distinct_reviews_of_20_to_200_words(texts):
    assert len(set(texts)) == 50_000
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) >= 20 and max(lengths) <= 200
    assert 70 <= np.mean(lengths) <= 100
    assert np.percentile(lengths, 5) < 30 and np.percentile(lengths, 95) > 150


def test_classes_are_balanced(written):
    assert all(np.mean(labels) == 0.5 for _, labels in written.values())


def test_same_text_on_every_machine_and_python(written):
    digest = hashlib.sha256("\n".join(written["train"][0][:1_000]).encode()).hexdigest()
    assert digest.startswith("GOLDEN")


def test_fewer_reviews_are_the_beginning_of_more(written):
    few, labels = samples.reviews("test", 50)
    assert (few, labels) == (written["test"][0][:50], written["test"][1][:50])


def test_articles_words_and_sentences_are_in_order(texts):
    faults = {
        "article": r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]",
        "word twice": r"\b(\w+) \1\b",
        "unfilled slot": r"[{}~()]",
        "capital": r"[.!?] [^A-Z]",
        "space": r"  | [.,!?]",
    }
    for name, pattern in faults.items():
        hits = [text for text in texts if re.search(pattern, text)]
        assert not hits, (name, hits[0])


def test_no_sentence_comes_twice_in_a_review(texts):
    for text in texts[:10_000]:
        sentences = re.split(r"(?<=[.!?]) ", text)
        assert len(set(sentences)) == len(sentences), text


def test_names_give_the_vocabulary_a_long_tail(written):
    counts = Counter(word for text in written["train"][0] for word in re.findall(r"\w+", text.lower()))
    held_out = [word for text in written["validation"][0] for word in re.findall(r"\w+", text.lower())]
    assert len(counts) > 12_000
    assert sum(count == 1 for count in counts.values()) > 4_000
    assert 0.002 < np.mean([word not in counts for word in held_out]) < 0.02


# The label rule again, worked out from the text alone: every word of feeling, then what stands before it.
FEELINGS = {
    word: sign
    for name, sign in (("praise", 1), ("blame", -1))
    for kind in ("adj", "noun", "mass")
    for word in samples._lexicon()[name][kind].split()
}
STRENGTH = dict.fromkeys(samples._lexicon()["words"]["strong"].split(), 3) | {
    word.replace("~", " "): 1 for word in samples._lexicon()["words"]["weak"].split()
}
NEGATION = re.compile(
    r"\b(not|never|hardly|isn't|far from|anything but|nobody|nothing|no|at no point|few|wrong)\b",
    re.IGNORECASE,
)


def judged(sentence):
    """Value of one sentence of opinion by its surface."""
    main = sentence.rstrip(".!?")
    if re.match(r"(Although|Even if|For all|Despite) ", main):
        main = main.split(", ", 1)[1]
    for word in (", but ", ", yet "):
        main = main.split(word)[-1]
    main = re.split(r", (?:although|even though|despite) ", main)[0]
    feeling = next(word for word in reversed(re.findall(r"[a-z]+", main)) if word in FEELINGS)
    strength = next((value for word, value in STRENGTH.items() if f"{word} {feeling}" in main), 2)
    return strength * FEELINGS[feeling] * (-1 if NEGATION.search(main) else 1)


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("The acting is superb.", 2),
        ("The acting is utterly superb.", 3),
        ("The plot feels a little dull.", -1),
        ("The plot is not dull.", 2),
        ("It is hardly a triumph.", -2),
        ("Nobody could call the acting superb.", -2),
        ("For all its beauty, the film is a bore.", -2),
        ("The plot is dull, but the acting is superb.", 2),
        ("The acting is superb, although the plot is dull.", 2),
        ("Although the score is lovely, the ending is never moving.", -2),
    ],
)
def test_the_second_reading_of_the_rule_is_right_by_eye(sentence, value):
    assert judged(sentence) == value


def test_labels_follow_the_rule():
    seen = Counter()
    for review in itertools.islice(samples.stream("validation"), 3_000):
        for sentence, value in review.clauses:
            assert judged(sentence) == value, sentence
            assert sentence in review.text
            seen[value] += 1
        total = sum(judged(sentence) for sentence, _ in review.clauses)
        assert abs(total) >= samples.MARGIN and (total > 0) == bool(review.label)
    assert set(seen) == {-3, -2, -1, 1, 2, 3}


def test_plot_talk_uses_words_of_feeling_without_an_opinion():
    neutral = []
    for review in itertools.islice(samples.stream("validation"), 500):
        opinions = {sentence for sentence, _ in review.clauses}
        neutral += [s for s in re.split(r"(?<=[.!?]) ", review.text) if s not in opinions]
    signs = [FEELINGS[word] for sentence in neutral for word in sentence.lower().split() if word in FEELINGS]
    assert len(signs) > 0.4 * len(neutral)
    assert abs(np.mean(signs)) < 0.1


def best_linear(vectorizer, train, test, strengths):
    vectors, held_out = vectorizer.fit_transform(train[0]), vectorizer.transform(test[0])
    models = [LogisticRegression(C=c, solver="liblinear").fit(vectors, train[1]) for c in strengths]
    return max(model.score(held_out, test[1]) for model in models)


@pytest.mark.parametrize("count", [4_000, 20_000])
def test_unigrams_then_bigrams_then_room_for_order(written, count):
    train = [column[:count] for column in written["train"]]
    test = [column[:5_000] for column in written["test"]]
    size = {"max_features": 20_000}
    unigrams = best_linear(CountVectorizer(binary=True, **size), train, test, (0.03, 0.1))
    bigrams = best_linear(CountVectorizer(binary=True, ngram_range=(1, 2), **size), train, test, (0.1, 0.3))
    tf_idf = best_linear(TfidfVectorizer(ngram_range=(1, 2), **size), train, test, (3, 10))
    print(f"{count:,} reviews: unigrams {unigrams:.3f}, bigrams {bigrams:.3f}, TF-IDF {tf_idf:.3f}")
    assert 0.75 < unigrams < 0.88
    assert unigrams + 0.04 < bigrams < 0.94
    assert unigrams + 0.04 < tf_idf < 0.94
