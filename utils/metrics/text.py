"""How good translations are: BLEU, chrF, and the baselines that need no network."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

from utils.text import standardize_source


def group_references(pairs) -> dict[str, list[str]]:
    """Gather all translations of each English sentence, in the order of the pairs."""
    found = defaultdict(list)
    for english, spanish in zip(pairs.english, pairs.spanish, strict=True):
        found[english].append(spanish)
    return dict(found)


def bleu_chrf(translations: list[str], references: list[list[str]]) -> dict[str, float]:
    """Score sentences against all the translations that people gave, upper and lower case alike.

    BLEU counts n-grams of words that some reference has (Papineni et al. 2002), chrF those of letters
    (Popović 2015), both as sacrebleu computes them (Post 2018); 100 is a perfect match.

    Args:
        translations: one for each sentence.
        references: the accepted translations of each, at least one.

    Returns:
        {"BLEU": 0 to 100, "chrF": 0 to 100}.
    """
    import sacrebleu

    most = max(map(len, references))
    streams = [
        [row[place] if place < len(row) else None for row in references] for place in range(most)
    ]
    return {
        "BLEU": sacrebleu.corpus_bleu(translations, streams, lowercase=True).score,
        "chrF": sacrebleu.corpus_chrf([t.lower() for t in translations], _lower(streams)).score,
    }


def bleu_by_length(
    translations, references, lengths, edges=(1, 5, 6, 7, 8, 9, 10, 1_000), min_sentences: int = 15
):
    """Score sentences of each length by themselves.

    Args:
        translations, references: as for `score`.
        lengths: number of source tokens of each sentence.
        edges: each group reaches from one of them to below the next.
        least: groups of fewer sentences are left out, their score would be chance.

    Returns:
        Name of the group, such as "5 tokens", to BLEU.
    """
    found = {}
    for low, high in pairwise(edges):
        inside = np.flatnonzero((np.asarray(lengths) >= low) & (np.asarray(lengths) < high))
        if len(inside) >= min_sentences:
            name = (
                f"up to {high - 1}"
                if low == edges[0]
                else f"{low} and more"
                if high == edges[-1]
                else f"{low}"
            )
            scores = bleu_chrf([translations[i] for i in inside], [references[i] for i in inside])
            found[f"{name} tokens"] = scores["BLEU"]
    return found


def _lower(streams):
    return [[text and text.lower() for text in stream] for stream in streams]


class NearestSource:
    """A translator without a network: it gives the translation of the most similar training sentence.

    Similar is a large cosine between bags of words, rare words counting more (TF-IDF); where several training
    pairs are equally near, the most frequent translation wins.
    """

    def __init__(self, pairs):
        self.spanish = np.array(pairs.spanish)
        self.bags = [set(_words(text)) for text in pairs.english]
        rows = defaultdict(list)
        for row, bag in enumerate(self.bags):
            for word in bag:
                rows[word].append(row)
        self.rows = {word: np.array(found) for word, found in rows.items()}
        self.rarity = {
            w: float(np.log(1 + len(self.bags) / len(found))) for w, found in self.rows.items()
        }
        self.norms = (
            np.array([np.sqrt(sum(self.rarity[w] ** 2 for w in bag)) for bag in self.bags]) + 1e-9
        )

    def __call__(self, english: str) -> str:
        """Translate a sentence; one without any known word gets the most frequent of all translations."""
        known = [word for word in set(_words(english)) if word in self.rows]
        likeness = np.zeros(len(self.bags))
        for word in known:
            likeness[self.rows[word]] += self.rarity[word] ** 2
        likeness /= self.norms
        nearest = np.flatnonzero(likeness >= likeness.max() - 1e-9)
        return str(Counter(self.spanish[nearest].tolist()).most_common(1)[0][0])


def _words(text: str) -> list[str]:
    return standardize_source(text).numpy().decode().split()


def baseline_scores(
    train, english: list[str], references: list[list[str]]
) -> dict[str, dict[str, float]]:
    """Score what needs no network: the source as it is, and the translation of the nearest training sentence.

    Args:
        train: training pairs.
        english, references: as for `score`.
    """
    nearest = NearestSource(train)
    return {
        "copy the source": bleu_chrf(english, references),
        "nearest training sentence": bleu_chrf([nearest(text) for text in english], references),
    }
