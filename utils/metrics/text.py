"""How good translations are: BLEU, chrF, and the baselines that need no network."""

from collections import Counter, defaultdict
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from utils.metrics import intervals


def group_references(pairs) -> dict[str, list[str]]:
    """Gather all translations of each English sentence, in the order of the pairs."""
    references = defaultdict(list)
    for english, spanish in zip(pairs.english, pairs.spanish, strict=True):
        references[english].append(spanish)
    return dict(references)


def bleu_chrf(translations: list[str], references: list[list[str]]) -> dict[str, float]:
    """Score translations against all their references, without regard to case.

    BLEU counts the n-grams of words that a reference has too (Papineni et al. 2002), chrF the
    n-grams of characters (Popović 2015), both as sacrebleu computes them (Post 2018); 100 is a
    perfect match. In scripts without spaces between words, such as Chinese, each character counts
    as a word.

    Args:
        translations: one per sentence.
        references: the accepted translations of each sentence, at least one.

    Returns:
        {"BLEU": 0 to 100, "chrF": 0 to 100}.

    Raises:
        ValueError: there are no translations, or not as many as references.
    """
    from sacrebleu.metrics import BLEU, CHRF

    translations, references = _checked(translations, references)
    # sacrebleu takes "streams": the first reference of every sentence, then the second, and so on.
    streams = []
    for position in range(max(map(len, references))):
        streams.append([row[position] if position < len(row) else None for row in references])
    return {
        "BLEU": BLEU(lowercase=True).corpus_score(translations, streams).score,
        "chrF": CHRF(lowercase=True).corpus_score(translations, streams).score,
    }


def _checked(translations, references):
    """Check the numbers of sentences; return both with spaces in scripts that have none."""
    # Keras takes seconds to import, and the intervals do not need it.
    from utils.text import separate_unspaced

    if not translations or len(translations) != len(references):
        raise ValueError(f"{len(translations)} translations, {len(references)} rows of references.")
    translations = [separate_unspaced(text) for text in translations]
    references = [[separate_unspaced(text) for text in row] for row in references]
    return translations, references


class BleuScore(NamedTuple):
    """BLEU with its interval over test sentences.

    Attributes:
        bleu: 0 to 100.
        low, high: ends of the 95% bootstrap interval.
        sentences: how many were scored.
    """

    bleu: float
    low: float
    high: float
    sentences: int


def bleu_interval(translations, references, resamples: int = 1_000, seed: int = 0) -> BleuScore:
    """Score translations by BLEU; the interval comes from drawing the sentences again.

    BLEU is no mean over sentences: n-grams are counted over all of them. So each resample draws
    sentences with replacement, adds up their counts and computes one BLEU (Koehn 2004,
    *Statistical Significance Tests for Machine Translation Evaluation*).

    Args:
        translations, references: as for `bleu_chrf`.
        resamples: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: as for `bleu_chrf`, or there is one sentence only.
    """
    counts = _ngram_counts(translations, references)

    def bleu_of(rows):
        return _bleu(counts, rows)

    rows = np.arange(len(counts))
    interval = intervals.bootstrap_interval(rows, bleu_of, resamples=resamples, seed=seed)
    return BleuScore(bleu_of(rows), *interval, len(counts))


def bleu_difference(
    first, second, references, resamples: int = 1_000, seed: int = 0
) -> tuple[float, float, float]:
    """Compare two translators on the same sentences by a paired bootstrap.

    Args:
        first, second: the translations of each, as for `bleu_chrf`.
        references, resamples, seed: as for `bleu_interval`.

    Returns:
        BLEU of `first` minus BLEU of `second`, and the ends of its 95% interval.

    Raises:
        ValueError: as for `bleu_interval`.
    """
    first_counts = _ngram_counts(first, references)
    second_counts = _ngram_counts(second, references)

    def difference_on(rows):
        return _bleu(first_counts, rows) - _bleu(second_counts, rows)

    rows = np.arange(len(first_counts))
    interval = intervals.bootstrap_interval(rows, difference_on, resamples=resamples, seed=seed)
    return (difference_on(rows), *interval)


def _ngram_counts(translations, references) -> np.ndarray:
    """Return what BLEU adds up over sentences, (sentences, 10).

    These are the matching and the possible n-grams of each of four lengths, and the lengths of the
    translation and of the reference.
    """
    translations, references = _checked(translations, references)
    rows = []
    for text, accepted in zip(translations, references, strict=True):
        rows.append(_counts_of_sentence(text, tuple(accepted)))
    return np.array(rows)


@lru_cache(maxsize=100_000)  # the same sentences are scored whole, by length and in pairs
def _counts_of_sentence(text: str, accepted: tuple[str, ...]) -> list[int]:
    score = _sentence_scorer().sentence_score(text, accepted)
    return [*score.counts, *score.totals, score.sys_len, score.ref_len]


@lru_cache
def _sentence_scorer():
    from sacrebleu.metrics import BLEU

    return BLEU(lowercase=True, effective_order=True)  # else it warns about short sentences


def _bleu(counts, rows) -> float:
    """Compute BLEU of some sentences from the counts of all of them (sentences, 10)."""
    from sacrebleu.metrics import BLEU

    sums = counts[rows.astype(int)].sum(axis=0).tolist()  # resampled row numbers come as floats
    # Smoothed as `corpus_score` does, which matters if no 4-gram of a corpus is right.
    return BLEU.compute_bleu(sums[:4], sums[4:8], sums[8], sums[9], smooth_method="exp").score


def bleu_by_length(
    translations, references, lengths, edges=(1, 5, 6, 7, 8, 9, 10, 1_000), min_sentences: int = 15
) -> dict[str, BleuScore]:
    """Compute BLEU separately for sentences of each length.

    Args:
        translations, references: as for `bleu_chrf`.
        lengths: number of source tokens of each sentence.
        edges: a bin reaches from one edge to just below the next; sentences outside are left out.
        min_sentences: bins with fewer sentences are left out, as their score would be noise.

    Returns:
        Name of the bin, such as "5 tokens" or "5 to 7 tokens", to BLEU and its interval.
    """
    lengths = np.asarray(lengths)
    scores = {}
    for low, high in pairwise(edges):
        rows = np.flatnonzero((lengths >= low) & (lengths < high))
        if len(rows) < min_sentences:
            continue
        if low == edges[0] and lengths.min() >= low:
            name = f"up to {high - 1}"
        elif high == edges[-1] and lengths.max() < high:
            name = f"{low} and more"
        elif high == low + 1:
            name = f"{low}"
        else:
            name = f"{low} to {high - 1}"
        unit = "token" if high == 2 else "tokens"
        bin_translations = [translations[row] for row in rows]
        bin_references = [references[row] for row in rows]
        scores[f"{name} {unit}"] = bleu_interval(bin_translations, bin_references)
    return scores


def nearest_translations(train, english: list[str]) -> list[str]:
    """Translate each sentence as the most similar training sentence was translated.

    Similarity is the cosine of bags of words weighted by TF-IDF. If several training sentences are
    equally near, their most frequent translation is returned. A sentence without a known word is
    equally far from all of them, so it gets the most frequent translation of all.

    Args:
        train: training pairs.
        english: sentences to translate.

    Returns:
        One translation per sentence.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import pairwise_distances_chunked

    vectorizer = TfidfVectorizer(analyzer=str.split, binary=True)
    train_bags = vectorizer.fit_transform(_standardized(train.english))  # (pairs, vocabulary)
    bags = vectorizer.transform(_standardized(english))  # (sentences, vocabulary)

    # `NearestNeighbors` returns a fixed number of neighbors; here all equally near ones count.
    def most_frequent_nearest(distances, _start):  # (sentences of a chunk, pairs)
        nearest = distances <= distances.min(axis=1, keepdims=True) + 1e-9
        rows = [np.flatnonzero(row) for row in nearest]
        return [Counter(train.spanish[i] for i in row).most_common(1)[0][0] for row in rows]

    chunks = pairwise_distances_chunked(
        bags,
        train_bags,
        reduce_func=most_frequent_nearest,
        metric="cosine",
        working_memory=64,  # MiB of distances at once
    )
    return [text for chunk in chunks for text in chunk]


def _standardized(texts: list[str]) -> list[str]:
    from utils.text import standardize_source  # it imports Keras, see above

    return [text.decode() for text in standardize_source(texts).numpy()]
