"""How good translations are: BLEU, chrF, and the baselines that need no network."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np


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

    # Keras takes seconds to import, and the intervals do not need it.
    from utils.text import separate_unspaced

    if not translations or len(translations) != len(references):
        raise ValueError(f"{len(translations)} translations, {len(references)} rows of references.")
    translations = [separate_unspaced(text) for text in translations]
    references = [[separate_unspaced(text) for text in row] for row in references]
    # sacrebleu takes "streams": the first reference of every sentence, then the second, and so on.
    streams = []
    for position in range(max(map(len, references))):
        streams.append([row[position] if position < len(row) else None for row in references])
    return {
        "BLEU": BLEU(lowercase=True).corpus_score(translations, streams).score,
        "chrF": CHRF(lowercase=True).corpus_score(translations, streams).score,
    }


def bleu_by_length(
    translations, references, lengths, edges=(1, 5, 6, 7, 8, 9, 10, 1_000), min_sentences: int = 15
) -> dict[str, float]:
    """Compute BLEU separately for sentences of each length.

    Args:
        translations, references: as for `bleu_chrf`.
        lengths: number of source tokens of each sentence.
        edges: a bin reaches from one edge to just below the next; sentences outside are left out.
        min_sentences: bins with fewer sentences are left out, as their score would be noise.

    Returns:
        Name of the bin, such as "5 tokens" or "5 to 7 tokens", to BLEU.
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
        scores[f"{name} {unit}"] = bleu_chrf(bin_translations, bin_references)["BLEU"]
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


def baseline_scores(
    train, english: list[str], references: list[list[str]]
) -> dict[str, dict[str, float]]:
    """Score two translators without a network: copy the source, use the nearest training sentence.

    Args:
        train, english: as for `nearest_translations`.
        references: the accepted translations of each sentence.

    Returns:
        Name of the baseline to its scores, as from `bleu_chrf`.
    """
    return {
        "copy the source": bleu_chrf(english, references),
        "nearest training sentence": bleu_chrf(nearest_translations(train, english), references),
    }
