import hashlib
import re
import tomllib
from collections import Counter
from itertools import islice

import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

from utils import settings
from utils.synthetic.reviews import KINDS, MARGIN, generate_reviews, review_stream

COUNTS = {"train": 20_000, "validation": 5_000, "test": 25_000}


@pytest.fixture(scope="module")
def parts():
    return {part: generate_reviews(part, count) for part, count in COUNTS.items()}


@pytest.fixture(scope="module")
def texts(parts):
    return [text for part in parts.values() for text in part[0]]


@pytest.fixture(scope="module")
def reviews():
    """Reviews with their sentences, and what each adds to the label."""
    return list(islice(review_stream("truth"), 3_000))


def words(text):
    """Split a text as Keras does by default: lower case, punctuation away, white space."""
    return re.sub(r"[^\w\s]", "", text.lower()).split()


# ---------------------------------------------------------------- the texts


def test_reviews_are_distinct_within_and_across_parts(texts):
    assert len(set(texts)) == len(texts) == 50_000


def test_lengths_range_from_20_to_200_words(texts):
    lengths = sorted(len(text.split()) for text in texts)
    assert lengths[0] >= 20 and lengths[-1] <= 200
    mean = sum(lengths) / len(lengths)
    median = lengths[len(lengths) // 2]
    assert 75 < mean < 95 and median < mean, "skewed to shorter reviews"
    twentieth = len(lengths) // 20
    assert lengths[twentieth] < 45 and lengths[-twentieth] > 130


@pytest.mark.parametrize("count", [10, 1_000, 5_000])
def test_first_reviews_are_balanced(parts, count):
    for _, labels in parts.values():
        assert sum(labels[:count]) == count // 2


def test_fewer_reviews_are_the_beginning_of_more(parts):
    for part, (texts, labels) in parts.items():
        assert generate_reviews(part, 50) == (texts[:50], labels[:50])


def test_reviews_are_the_same_on_every_machine():
    texts, labels = generate_reviews("train", 300)
    digest = hashlib.sha256("\n".join([*texts, str(labels)]).encode()).hexdigest()
    assert digest == "76cff4c3aca4f37856586bf2ab53e18cd3f8ae3c152dd1239471fe115b147030"


def test_a_goes_before_consonants_and_an_before_vowels(texts):
    wrong = re.compile(r"\b(?:[Aa] (?=[aeiouAEIOU])|[Aa]n (?=[^aeiouAEIOU]))\w+")
    # Letters and sounds disagree in these; the lexicon keeps them away from articles.
    ambiguous = re.compile(
        r"\b[Aa]n? (?:uni(?!n)|use|eu|one|hour|honest|honour|heir)", re.IGNORECASE
    )
    for text in texts:
        assert not wrong.search(text) and not ambiguous.search(text), text


def test_punctuation_and_capitals(texts):
    wrong = re.compile(r"[{}/]|  | [,.!?]|[,.!?]{2}|,\S|[.!?] [a-z0-9]|\bi\b")
    for text in texts:
        assert text[0].isupper() and text[-1] in ".!?" and not wrong.search(text), text


def test_no_word_comes_twice_in_a_row(texts):
    double = re.compile(r"\b(\w+),? \1\b", re.IGNORECASE)
    for text in texts:
        assert not double.search(text), double.search(text)


def test_no_sentence_comes_twice_in_a_review(reviews):
    for review in reviews:
        sentences = [sentence.text for sentence in review.sentences]
        assert len(set(sentences)) == len(sentences), review.text


def test_subject_and_verb_agree(reviews):
    lexicon = tables()["opinions"]
    several = "|".join(lexicon["several"])
    single = "|".join(name for name in lexicon["single"] if "{" not in name)
    wrong = re.compile(rf"\b(?:(?:{several}) (?:is|does)|(?:{single}) (?:are|do))\b", re.IGNORECASE)
    for review in reviews:
        assert not wrong.search(review.text), review.text


def test_words_have_a_long_tail(parts):
    frequencies = Counter(word for text in parts["train"][0] for word in words(text))
    assert len(frequencies) > 15_000
    validation_words = [word for text in parts["validation"][0] for word in words(text)]

    def out_of_vocabulary_rate(size):
        vocabulary = {word for word, _ in frequencies.most_common(size)}
        unknown = [word for word in validation_words if word not in vocabulary]
        return len(unknown) / len(validation_words)

    assert 0.02 < out_of_vocabulary_rate(2_000) < 0.06
    assert 0.005 < out_of_vocabulary_rate(len(frequencies)) < 0.03


# ---------------------------------------------------------------- the label rule, by another way


def tables():
    return tomllib.loads((settings.ROOT / "data/lexicon/reviews.toml").read_text())


@pytest.fixture(scope="module")
def sentence_value():
    """A function that works out from its words alone what a sentence is worth."""
    lexicon = tables()
    polarity = {}
    for side, sign in (("good", 1), ("bad", -1)):
        for table in ("extreme", "graded", "noun", "verb", "loved", "asset", "advice"):
            for entry in lexicon[side][table]:
                for word in entry.lower().split("/"):
                    polarity[word] = sign
    longest_first = sorted(polarity, key=len, reverse=True)
    opinion = re.compile(rf"\b(?:{'|'.join(longest_first)})\b")
    very = [*lexicon["opinions"]["very"], *lexicon["opinions"]["utterly"]]
    degrees = {
        0.5: [
            *lexicon["good"]["slightly"],
            *lexicon["bad"]["slightly"],
            "something of",
            "occasionally",
        ],
        2.0: [*very, "constantly", "an absolute", "what an?", "in a word"],
    }
    negation = re.compile(
        r"\b(?:not|no|never|hardly|nobody|cannot|far from|disagree|wrong|could claim)\b"
    )
    conceding = re.compile(r"\b(?:although|even though|while|despite|for all)\b")

    def value(sentence):
        sentence = sentence.lower().replace("piece of work", "piece")
        hits = list(opinion.finditer(sentence))
        concession = conceding.search(sentence)
        if concession and concession.start() > 0:  # "the plot is dull, although ..."
            main_word = hits[0]
            clause = sentence[: concession.start()]
        elif concession or re.search(r"\b(?:but|yet)\b", sentence):
            main_word = hits[1]
            clause = sentence[hits[0].end() :]
        else:
            (main_word,) = hits
            clause = sentence
        sign = polarity[main_word[0]]
        if negation.search(clause):
            return -sign
        for weight, degree in degrees.items():
            if re.search(rf"\b(?:{'|'.join(degree)})\b", clause):
                return sign * weight
        return sign

    return value


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("The acting is superb.", 1),
        ("The songs are utterly dreadful!", -2),
        ("The plot is a little dull.", -0.5),
        ("The score is mildly charming.", 0.5),
        ("The costumes are very beautiful.", 2),
        ("The ending is not bad.", 1),
        ("The script is hardly a triumph.", -1),
        ("The dialogue is never dull.", 1),
        ("The direction is far from brilliant.", -1),
        ("Nobody could seriously call the acting superb.", -1),
        ("Not for one moment is the photography dull.", 1),
        ("I would not say that the ending is in any way moving.", -1),
        ("Who could deny that the jokes are clever?", 1),
        ("Some people call the sets a mess, and they are wrong.", 1),
        ("For all its beauty, a bore.", -1),
        ("The acting is superb, but the plot is dull.", -1),
        ("Although the score is lovely, the ending is a mess.", -1),
        ("The plot is dull, although the acting is utterly superb.", -1),
        ("The dialogue is extremely silly, yet the casting works.", 1),
        ("This is a clever film despite its flaws.", 1),
    ],
)
def test_sentence_value_follows_the_rule(sentence_value, sentence, value):
    assert sentence_value(sentence) == value


def test_sentence_value_and_grammar_agree_on_every_opinion(sentence_value, reviews):
    for review in reviews:
        for text, kind, value in review.sentences:
            if kind in KINDS:
                assert sentence_value(text) == value, text
            else:
                assert kind in ("plot", "filler") and value == 0


def test_label_is_the_sign_of_the_sum(sentence_value, reviews):
    for review in reviews:
        assert review.text == " ".join(sentence.text for sentence in review.sentences)
        total = sum(sentence_value(text) for text, kind, _ in review.sentences if kind in KINDS)
        assert abs(total) >= MARGIN and review.label == (total > 0), review.text


def test_every_construction_is_in_use(reviews):
    text = " ".join(review.text for review in reviews).lower()
    lexicon = tables()
    for template in [*lexicon["opinions"]["affirmed"], *lexicon["opinions"]["denied"]]:
        beginning = template.split("{")[0].strip().lower()
        assert beginning in text, template
    kinds = Counter(sentence.kind for review in reviews for sentence in review.sentences)
    assert set(kinds) == {*KINDS, "plot", "filler"} and min(kinds.values()) > 500


def test_plots_use_sentiment_words_without_telling_the_label(reviews):
    lexicon = tables()
    good = {*lexicon["good"]["extreme"], *lexicon["good"]["graded"]}
    bad = {*lexicon["bad"]["extreme"], *lexicon["bad"]["graded"]}
    num_good = Counter()
    num_bad = Counter()
    for review in reviews:
        for sentence in review.sentences:
            if sentence.kind == "plot":
                num_good[review.label] += sum(word in good for word in words(sentence.text))
                num_bad[review.label] += sum(word in bad for word in words(sentence.text))
    shares = []
    for label in (0, 1):
        total = num_good[label] + num_bad[label]
        assert total > 3_000
        shares.append(num_good[label] / total)
    assert abs(shares[0] - shares[1]) < 0.03


# ---------------------------------------------------------------- accuracy of bags of words


@pytest.fixture(scope="module")
def standardized(parts):
    """Reviews to train on and reviews to test on, as words between single spaces."""
    texts = {"train": parts["train"][0], "test": parts["test"][0][:5_000]}
    return {part: [" ".join(words(text)) for text in texts[part]] for part in texts}


def bags(standardized, num_train, use_bigrams):
    """Count unigrams, or unigrams and bigrams, in reviews to train on and in reviews to test on."""
    vectorizer = CountVectorizer(
        max_features=20_000,
        ngram_range=(1, 2 if use_bigrams else 1),
        tokenizer=str.split,
        token_pattern=None,
        lowercase=False,
    )
    train = vectorizer.fit_transform(standardized["train"][:num_train])
    return train, vectorizer.transform(standardized["test"])


def best_accuracy(parts, train, test, regularizations):
    """Return the test accuracy of the best logistic regression."""
    train_labels = parts["train"][1][: train.shape[0]]
    test_labels = parts["test"][1][: test.shape[0]]
    accuracies = []
    for c in regularizations:
        model = LogisticRegression(C=c, solver="liblinear", random_state=0)
        accuracies.append(model.fit(train, train_labels).score(test, test_labels))
    return max(accuracies)


def test_bigrams_beat_unigrams_and_leave_room(parts, standardized):
    train, test = bags(standardized, 20_000, use_bigrams=False)
    unigrams = best_accuracy(parts, train.sign(), test.sign(), [0.1])
    train, test = bags(standardized, 20_000, use_bigrams=True)
    bigrams = best_accuracy(parts, train.sign(), test.sign(), [0.3])
    tfidf = TfidfTransformer().fit(train)
    weighted = best_accuracy(parts, tfidf.transform(train), tfidf.transform(test), [5])
    assert 0.75 < unigrams < 0.88
    assert unigrams + 0.04 <= bigrams <= 0.93
    assert unigrams + 0.04 <= weighted <= 0.93


def test_bigrams_beat_unigrams_on_fewer_reviews(parts, standardized):
    train, test = bags(standardized, 4_000, use_bigrams=False)
    unigrams = best_accuracy(parts, train.sign(), test.sign(), [0.1, 0.5])
    train, test = bags(standardized, 4_000, use_bigrams=True)
    bigrams = best_accuracy(parts, train.sign(), test.sign(), [0.1, 0.5])
    assert 0.70 < unigrams < bigrams
