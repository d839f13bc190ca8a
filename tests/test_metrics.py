"""BLEU, baselines, the kernel distance and intervals, against formulas, loops and simulations."""

import numpy as np
import pytest
import sacrebleu
from scipy import special

from utils import datasets, metrics
from utils.metrics import intervals

PAIRS = datasets.Pairs(
    ["Go on.", "Who's he?", "I see two red cars.", 'She said: "No!"', "Go on."],
    ["Sigue.", "¿Quién es él?", "Veo dos coches rojos.", 'Ella dijo: "¡no!"', "Continúa."],
)


def test_all_translations_of_a_sentence_are_its_references():
    references = metrics.group_references(PAIRS)
    assert references["Go on."] == ["Sigue.", "Continúa."]
    assert list(references) == PAIRS.english[:4]


def test_bleu_by_hand():
    perfect = metrics.bleu_chrf(["la casa es roja ."], [["La casa es roja ."]])
    assert perfect == pytest.approx({"BLEU": 100, "chrF": 100})
    # 5 of 6 tokens, 3 of 5 bigrams, 1 of 4 trigrams, and no 4-gram, which counts as 1/2 of 3.
    partly = metrics.bleu_chrf(["uno dos tres x cinco seis"], [["uno dos tres cuatro cinco seis"]])
    by_hand = 100 * (5 / 6 * 3 / 5 * 1 / 4 * (0.5 / 3)) ** 0.25
    assert partly["BLEU"] == pytest.approx(by_hand, rel=1e-6)
    # All n-grams match, but half of the reference is missing: the brevity penalty is exp(1 - 8/4).
    short = metrics.bleu_chrf(["a b c d"], [["a b c d e f g h"]])
    assert short["BLEU"] == pytest.approx(100 * np.exp(-1), rel=1e-6)


def test_any_of_several_references_counts():
    references = [
        ["Sigue adelante ahora mismo.", "Continúa ahora mismo, por favor."],
        ["Él come pan con queso."],
    ]
    translations = ["Continúa ahora mismo, por favor.", "Él come pan con queso."]
    assert metrics.bleu_chrf(translations, references)["BLEU"] == pytest.approx(100)
    first_only = [row[:1] for row in references]
    assert metrics.bleu_chrf(translations, first_only)["BLEU"] < 80


def test_case_does_not_count_in_either_score():
    translations = ["ÉL COME PAN.", "¿Quién es Ángela?", "Ñandú", "el niño DUERME aquí ."]
    references = [["Él come pan."], ["¿Quién es ángela?", "¿Quién es?"], ["ÑANDÚ"], ["El niño"] * 3]
    scores = metrics.bleu_chrf(translations, references)
    lower = [text.lower() for text in translations]
    streams = []
    for i in range(3):
        streams.append([row[i].lower() if i < len(row) else None for row in references])
    assert scores["BLEU"] == sacrebleu.corpus_bleu(lower, streams).score
    assert scores["chrF"] == sacrebleu.corpus_chrf(lower, streams).score
    assert scores["chrF"] > sacrebleu.corpus_chrf(translations, streams).score


def test_in_a_script_without_spaces_a_character_counts_as_a_word():
    # Seven of eight characters, with 6 bigrams, 5 trigrams and 4 4-grams of which all but the
    # last ones are in the reference.
    score = metrics.bleu_chrf(["我们学习中文吗甲"], [["我们学习中文吗乙"]])["BLEU"]
    assert score == pytest.approx(100 * (7 / 8 * 6 / 7 * 5 / 6 * 4 / 5) ** 0.25)
    assert metrics.bleu_chrf(["สวัสดีครับ"], [["สวัสดีครับ"]])["BLEU"] == pytest.approx(100)


@pytest.mark.tensorflow
def test_odd_texts_are_scored_and_found(odd_texts):
    texts = [text[:3_000] for text in odd_texts]
    scores = metrics.bleu_chrf(texts, [[text] for text in texts])
    assert scores["BLEU"] == pytest.approx(100) and scores["chrF"] == pytest.approx(100)
    for text in texts:
        for other in (text, "", "a b c d"):
            for score in metrics.bleu_chrf([text], [[other, text[::-1]]]).values():
                assert 0 <= score <= 100 + 1e-9
    train = datasets.Pairs(["Go on.", *texts], ["Sigue.", *texts])
    found = metrics.nearest_translations(train, ["Go on.", "", *texts])
    assert found[0] == "Sigue." and set(found) <= set(train.spanish)
    with pytest.raises(ValueError, match="0 translations, 0 rows of references"):
        metrics.bleu_chrf([], [])


def test_bleu_by_length_is_that_of_each_bin():
    translations = ["uno dos tres cuatro"] * 20 + ["cinco seis siete ocho"] * 20 + ["nueve"] * 3
    references = [["uno dos tres cuatro"]] * 20 + [["nada de esto aquí"]] * 20 + [["nueve"]] * 3
    lengths = [2, 4] * 10 + [5] * 20 + [12] * 3
    scores = metrics.bleu_by_length(translations, references, lengths, edges=(1, 5, 6, 99))
    assert [(name, score.sentences) for name, score in scores.items()] == [
        ("up to 4 tokens", 20),
        ("5 tokens", 20),
    ]
    assert scores["up to 4 tokens"].bleu == pytest.approx(100)
    assert scores["5 tokens"].bleu == pytest.approx(0, abs=9)


def noisy_translations(share_right, seed):
    """Return translations of four words of which some are wrong, and their references."""
    rng = np.random.default_rng(seed)
    translations, references = [], []
    for _ in range(300):
        reference = rng.choice(list("abcdefgh"), 8)
        is_right = rng.random(8) < share_right
        translations.append(" ".join(np.where(is_right, reference, "x")))
        references.append([" ".join(reference)])
    return translations, references


def test_the_interval_of_bleu_is_that_of_resampled_sentences():
    translations, references = noisy_translations(0.8, 0)
    score = metrics.bleu_interval(translations, references)
    assert score.bleu == pytest.approx(metrics.bleu_chrf(translations, references)["BLEU"])
    assert score.sentences == 300
    # The same by scoring the resampled texts themselves.
    rng = np.random.default_rng(1)
    resampled = []
    for _ in range(200):
        rows = rng.integers(0, 300, 300)
        texts = [translations[row] for row in rows]
        resampled.append(metrics.bleu_chrf(texts, [references[row] for row in rows])["BLEU"])
    low, high = np.percentile(resampled, [2.5, 97.5])
    assert score.low == pytest.approx(low, abs=0.8)
    assert score.high == pytest.approx(high, abs=0.8)
    assert metrics.bleu_interval(translations, references) == score


def test_a_paired_difference_of_bleu_is_narrower_than_two_intervals():
    translations, references = noisy_translations(0.8, 0)
    worse = [*translations[:280], *["x x x x x x x x"] * 20]
    difference, low, high = metrics.bleu_difference(translations, worse, references)
    first, second = [metrics.bleu_interval(t, references) for t in (translations, worse)]
    assert difference == pytest.approx(first.bleu - second.bleu)
    assert 0 < low < difference < high
    assert high - low < (first.high - first.low) + (second.high - second.low)
    assert metrics.bleu_difference(translations, translations, references) == (0, 0, 0)


@pytest.mark.parametrize(
    ("edges", "names"),
    [
        ((1, 5, 8, 99), ["up to 4 tokens", "5 to 7 tokens", "8 and more tokens"]),
        ((1, 2, 3, 9), ["up to 1 token", "2 tokens", "3 to 8 tokens"]),  # two have 9 tokens
        ((2, 5, 6, 10), ["2 to 4 tokens", "5 tokens", "6 and more tokens"]),  # two have 1 token
    ],
)
def test_the_name_of_a_bin_is_its_range(edges, names):
    lengths = [*range(1, 10), *range(1, 10)]
    texts = ["uno dos tres cuatro"] * 18
    scores = metrics.bleu_by_length(texts, [[text] for text in texts], lengths, edges, 2)
    assert list(scores) == names


def test_the_nearest_training_sentence_by_hand():
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
    sentences = ["The dog sleeps?", "Fish eats the cat", "A dog!", "xyzzy", ""]
    assert metrics.nearest_translations(train, sentences) == [
        "El perro duerme.",
        "El gato come pescado.",
        "¡Un gato!",  # two of its three tokens are rare ones of the last pair
        "El perro duerme.",  # no known word: the most frequent translation
        "El perro duerme.",
    ]
    references = [["El gato come pescado."]]
    nearest = metrics.nearest_translations(train, ["The cat eats fish."])
    assert metrics.bleu_chrf(nearest, references)["BLEU"] == pytest.approx(100)
    assert metrics.bleu_chrf(["The cat eats fish."], references)["BLEU"] < 20


def test_the_nearest_training_sentence_has_the_largest_cosine_of_tf_idf():
    rng = np.random.default_rng(0)
    words = np.array([f"w{n}" for n in range(12)])
    english = [" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(60)]
    train = datasets.Pairs(english, [f"t{row}" for row in range(60)])
    queries = [" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(30)]

    document_frequency = {w: sum(w in text.split() for text in english) for w in words}
    idf = {w: np.log(61 / (1 + count)) + 1 for w, count in document_frequency.items()}

    def cosine(first, second):
        first, second = set(first.split()), set(second.split())
        product = sum(idf[w] ** 2 for w in first & second)
        norms = [np.sqrt(sum(idf[w] ** 2 for w in bag)) for bag in (first, second)]
        return product / np.prod(norms)

    for query, translation in zip(
        queries, metrics.nearest_translations(train, queries), strict=True
    ):
        cosines = [cosine(query, text) for text in english]
        # Every translation is different, so the first of the equally near ones is returned.
        assert translation == f"t{np.flatnonzero(np.isclose(cosines, max(cosines)))[0]}"


def distance_by_loops(first, second):
    """The unbiased MMD² (Gretton et al. 2012, lemma 6), pair by pair."""

    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def mean_within(rows):
        n = len(rows)
        kernels = [kernel(rows[i], rows[j]) for i in range(n) for j in range(n) if i != j]
        return sum(kernels) / (n * (n - 1))

    across = [kernel(x, y) for x in first for y in second]
    return mean_within(first) + mean_within(second) - 2 * sum(across) / len(across)


def test_kernel_distance_is_what_the_sums_over_pairs_give(monkeypatch):
    rng = np.random.default_rng(0)
    first = rng.normal(size=(9, 4))
    second = rng.normal(1, 2, size=(13, 4))
    whole = metrics.kernel_distance(first, second)
    assert whole[0] == pytest.approx(distance_by_loops(first, second), rel=1e-9)
    assert metrics.kernel_distance(second, first) == pytest.approx(whole, rel=1e-9)
    monkeypatch.setattr("utils.metrics.images.ROWS_PER_BLOCK", 4)
    assert metrics.kernel_distance(first, second) == pytest.approx(whole, rel=1e-9)


def classifier_like_features(rng, count, shift):
    """Correlated and non-negative, as after a ReLU: 32 features of 10 latent variables."""
    latent = rng.normal(size=(count, 10))
    latent[:, 0] += shift
    mixing = np.random.default_rng(99).normal(size=(10, 32))
    return np.maximum(latent @ mixing, 0) / 2


# At shift 0 only pairs contribute to the variance, at 2 nearly only single rows; 0.4 is between.
@pytest.mark.parametrize("shift", [0, 0.4, 2])
@pytest.mark.parametrize(("n", "m"), [(80, 80), (50, 150)])
def test_the_error_of_the_kernel_distance_is_its_deviation_over_fresh_draws(shift, n, m):
    rng = np.random.default_rng(1)
    estimates = []
    errors = []
    for _ in range(800):
        first = classifier_like_features(rng, n, 0)
        second = classifier_like_features(rng, m, shift)
        estimate, error = metrics.kernel_distance(first, second)
        estimates.append(estimate)
        errors.append(error)
    deviation = np.std(estimates, ddof=1)
    assert 0.85 < np.mean(errors) / deviation < 1.18
    if shift == 0:
        assert abs(np.mean(estimates)) < 3 * deviation / np.sqrt(800), "0 on average"
        assert min(estimates) < 0 < max(estimates)


def test_kernel_distance_grows_with_the_difference():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(600, 8))
    distances = []
    for shift in (0, 0.3, 0.6, 1):
        distances.append(metrics.kernel_distance(real, rng.normal(shift, 1, size=(600, 8)))[0])
    assert (np.diff(distances) > 0).all()
    assert distances[0] < 0.1 * distances[1]


def test_kernel_distance_refuses_what_it_cannot_compare():
    first = np.random.default_rng(0).normal(size=(30, 5))
    with pytest.raises(ValueError, match="at least two rows"):
        metrics.kernel_distance(first[:1], first)
    with pytest.raises(ValueError, match=r"\(30, 5\) and \(30, 4\)"):
        metrics.kernel_distance(first, first[:, :4])


def test_t_interval_against_tables_and_closed_form():
    # 2.776 is the 97.5% quantile of Student's t with 4 degrees of freedom in printed tables.
    values = [0.81, 0.84, 0.79, 0.86, 0.80]
    half_width = 2.776445 * np.std(values, ddof=1) / np.sqrt(5)
    expected = (np.mean(values) - half_width, np.mean(values) + half_width)
    assert metrics.t_interval(values) == pytest.approx(expected, rel=1e-6)
    # Two values at 50%: t with one degree of freedom is Cauchy, whose upper quartile is 1.
    assert metrics.t_interval([1.0, 3.0], confidence=0.5) == pytest.approx((1, 3))
    assert metrics.t_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="at least two"):
        metrics.t_interval([0.8])


def test_t_interval_covers_the_true_mean_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(3, 2, size=(1_000, 5))
    intervals = np.array([metrics.t_interval(sample) for sample in samples])
    covered = (intervals[:, 0] < 3) & (intervals[:, 1] > 3)
    assert covered.mean() == pytest.approx(0.95, abs=0.021)  # 3 standard errors


def test_bootstrap_interval_of_a_mean_of_zeros_and_ones_is_binomial():
    # A resampled sum of 60 ones and 40 zeros is binomial: its quantiles have a closed form.
    values = np.repeat([1.0, 0.0], [60, 40])
    low, high = metrics.bootstrap_interval(values)
    for end, tail in ((low, 0.025), (high, 0.975)):
        successes = round(100 * end)
        assert special.bdtr(successes - 2, 100, 0.6) < tail < special.bdtr(successes + 1, 100, 0.6)


def test_bootstrap_interval_of_a_median_covers_it_and_repeats_by_seed():
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        sample = rng.exponential(size=60)
        low, high = metrics.bootstrap_interval(sample, np.median, resamples=500, seed=seed)
        covered.append(low < np.log(2) < high)  # the median of an exponential distribution
    assert np.mean(covered) == pytest.approx(0.95, abs=0.05)
    again = metrics.bootstrap_interval(sample, np.median, resamples=500, seed=199)
    assert again == (low, high)
    assert metrics.bootstrap_interval(sample, np.median, resamples=500, seed=7) != again

    def without_axis(values):
        return float(np.median(values))

    assert metrics.bootstrap_interval(sample, without_axis, resamples=500, seed=199) == again


def test_paired_difference_ignores_what_both_models_share():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 10, 400)
    first = difficulty + rng.normal(0.5, 1, 400)
    second = difficulty + rng.normal(0, 1, 400)
    low, high = metrics.paired_difference_interval(first, second)
    # Nearly normal with the standard error sqrt((1 + 1) / 400) = 0.0707.
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(2 / 400), rel=0.1)
    assert (low + high) / 2 == pytest.approx(np.mean(first - second), abs=0.01)
    assert 0 < low < 0.5 < high
    swapped = metrics.paired_difference_interval(second, first)
    assert swapped == pytest.approx((-high, -low), abs=0.01)
    with pytest.raises(ValueError, match="pairs of values"):
        metrics.paired_difference_interval(first, second[1:])


def test_the_mean_over_seeds_has_the_interval_of_student():
    # Mean 2 and standard error 1 / sqrt(3); t for 2 degrees of freedom is 4.303.
    width = 4.302653 / np.sqrt(3)
    assert intervals.over_seeds([1, 2, 3]) == pytest.approx((2, 2 - width, 2 + width), rel=1e-5)
    with pytest.raises(ValueError, match="at least two"):
        intervals.over_seeds([1])


def test_a_difference_in_points_is_that_of_the_accuracies():
    first = np.array([True] * 60 + [False] * 40)  # accuracy 0.6
    second = np.array([True] * 50 + [False] * 50)  # accuracy 0.5, never right where first is wrong
    points, low, high = intervals.difference_in_points(first, second, resamples=4_000)
    # 10 of 100 examples differ: the standard error of their share is sqrt(0.1 * 0.9 / 100) = 0.03.
    assert points == pytest.approx(10)
    assert (low, high) == pytest.approx((10 - 5.9, 10 + 5.9), abs=1.5)
    assert intervals.in_points((-1.25, -2, 0.04)) == "-1.2 points, 95% interval -2.0 to +0.0"


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (7, 10), (180, 200), (25, 25)])
def test_proportion_interval_is_where_the_score_test_is_at_its_limit(successes, n):
    low, high = metrics.proportion_interval(successes, n)
    share = successes / n
    for end in (low, high):
        if end in (0, 1):
            assert end == share, "only an empty or a full count reaches the border"
        else:  # Wilson: the ends are the p with |share - p| = z sqrt(p (1 - p) / n)
            limit = 1.959964 * np.sqrt(end * (1 - end) / n)
            assert abs(share - end) == pytest.approx(limit, rel=1e-6)
    assert low <= share <= high
    assert low < high


def test_proportion_interval_refuses_what_is_no_count():
    with pytest.raises(TypeError, match="integer"):
        metrics.proportion_interval(7.5, 10)
    with pytest.raises(ValueError, match="must not be greater"):
        metrics.proportion_interval(11, 10)
