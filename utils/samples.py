"""The built-in samples: seeded generators whose truth is known, for machines without the real data.

Their words stand in `data/lexicon`; which data a notebook gets is decided by `datasets`.
"""

import bisect
import itertools
import random
import re
import tomllib
from functools import cache
from typing import NamedTuple

from utils import settings

REVIEWS_CARD = (
    "Built-in sample: film reviews from a seeded grammar with negation, contrast, intensity and plot talk, "
    "labelled by rule (utils.samples.reviews). No film and no critic is real. Licence: Apache-2.0."
)


class Review(NamedTuple):
    """A review with its truth: `clauses` holds every sentence with an opinion and its value."""

    text: str
    label: int
    clauses: tuple[tuple[str, int], ...]


# How often an opinion is put in which way. The first kind is read by single words, the second by pairs of
# neighbours, the others only by order: together they decide how far each kind of model can get.
KINDS = (("plain", 0.72), ("adjacent", 0.10), ("distant", 0.05), ("contrast", 0.13))
OPINION_SHARE = 0.6  # of the sentences; the others are plot and circumstances
AGREEING = 0.78  # probability that an opinion agrees with the verdict of its review
MARGIN = 2  # a review whose opinions add up to less is no clear case and is not used
SHORTEST, LONGEST = 20, 200


def reviews(part: str, count: int) -> tuple[list[str], list[int]]:
    """Write film reviews with their labels, 1 for positive and 0 for negative, in turns.

    The label rule: an opinion counts 2, with "very" or its like 3, with "a little" or its like 1; praise
    is positive and blame negative; a negation turns the sign; of a contrast ("for all its beauty, a bore")
    only the main clause counts, what is conceded does not; plot and circumstances count nothing, whatever
    words they use. The label is the sign of the sum, which is never closer to zero than `MARGIN`.

    Args:
        part: "train", "validation" or "test"; each has a seed of its own, and the first n reviews of a
            part are the same however many are asked for.
        count: how many.

    Returns:
        Texts of 20 to 200 words, and labels.
    """
    written = list(itertools.islice(stream(part), count))
    return [review.text for review in written], [review.label for review in written]


def stream(part: str):
    """Yield distinct `Review`s without end, negative and positive in turns."""
    rng, seen = random.Random(f"reviews {part}"), set()
    for label in itertools.cycle((0, 1)):
        review = _review(rng, label)
        while review is None or review.text in seen:
            review = _review(rng, label)
        seen.add(review.text)
        yield review


def _review(rng: random.Random, label: int) -> Review | None:
    """Draft a review; None if it does not bear out its label clearly enough."""
    length = SHORTEST + (LONGEST - SHORTEST - 20) * rng.random() ** 2
    writer, sentences, clauses, words = _Writer(rng), [], [], 0
    while words < length:
        if rng.random() < OPINION_SHARE or not clauses:
            agrees = rng.random() < AGREEING
            sentence, value = writer.opinion(1 if agrees == bool(label) else -1)
            clauses.append((sentence, value))
        else:
            sentence = writer.neutral()
        sentences.append(sentence)
        words += sentence.count(" ") + 1
    total = sum(value for _, value in clauses)
    if words > LONGEST or total * (1 if label else -1) < MARGIN:
        return None
    return Review(" ".join(sentences), label, tuple(clauses))


class _Writer:
    """Writes the sentences of one review; words of opinion and sentence patterns do not come twice."""

    def __init__(self, rng):
        self.rng, self.used = rng, set()

    def pick(self, *path, once=True):
        words, bounds = _weighted(path)
        for _ in range(20):
            word = words[bisect.bisect(bounds, self.rng.random() * bounds[-1])]
            if not (once and (path[-1], word) in self.used):
                break
        self.used.add((path[-1], word))
        return word

    def chance(self, choices):
        threshold = self.rng.random()
        for name, share in choices:
            threshold -= share
            if threshold < 0:
                return name
        return choices[-1][0]

    def feeling(self, sign, kind):
        return self.pick("praise" if sign > 0 else "blame", kind)

    def fill(self, pattern, sign):
        """Put words into a pattern: `sign` is that of its words of opinion, before any negation."""
        slots = {
            "aspect": lambda: "the " + self.pick("words", "aspect"),
            "thing": lambda: self.pick("words", "thing", once=False),
            "adj": lambda: self.feeling(sign, "adj"),
            "noun": lambda: self.feeling(sign, "noun"),
            "mass": lambda: self.feeling(sign, "mass"),
        }
        return re.sub(r"\{(\w+)\}", lambda match: slots[match[1]](), pattern)

    def opinion(self, sign):
        """Write a sentence whose opinion counts in the direction of `sign`; return it with its value."""
        kind = self.chance(KINDS)
        pattern = self.pick("opinion", kind)
        value = 2 * sign
        if kind == "contrast":
            turned = self.rng.random() < 0.25
            main = self.pick("opinion", "adjacent" if turned else "clause", once=False)
            minor = self.pick("opinion", "clause", once=False)
            text = pattern.replace("{main}", self.fill(main, -sign if turned else sign))
            text = text.replace("{minor}", self.fill(minor, -sign))
            text = text.replace("{minor_mass}", self.feeling(-sign, "mass"))
        else:
            if "{deg}" in pattern:
                degree = self.chance((("strong", 0.25), ("weak", 0.25), ("", 0.5)))
                value = sign * {"strong": 3, "weak": 1, "": 2}[degree]
                word = self.pick("words", degree, once=False) + " " if degree else ""
                pattern = pattern.replace("{deg}", word)
            text = self.fill(pattern, sign if kind == "plain" else -sign)
        return _finish(text), value

    def neutral(self):
        """Write a sentence without an opinion."""
        place = self.pick("words", "place_start", once=False) + self.pick("words", "place_end", once=False)
        kind = "praise" if self.rng.random() < 0.5 else "blame"
        special = {
            "person": lambda: self.pick(kind, "person"),
            "occasion": lambda: self.pick(kind, "occasion"),
            "place": lambda: place.replace("~", " ").title() if "~" in place else place,
            "surname": self.surname,
            "year": lambda: str(1930 + int(90 * self.rng.random())),
            "minutes": lambda: str(70 + int(110 * self.rng.random())),
            "verb_plain": lambda: self.pick("words", "verb", once=False).removesuffix("s"),
        }

        def word(match):
            slot = match[1].rstrip("2")
            return special[slot]() if slot in special else self.pick("words", slot)

        return _finish(re.sub(r"\{(\w+)\}", word, self.pick("neutral", "sentences")))

    def surname(self):
        """Make a name; there are over 20,000, as real reviews have names that no vocabulary holds."""
        return "".join(
            self.pick("words", f"surname_{part}", once=False) for part in ("start", "middle", "end")
        )


def _finish(text: str) -> str:
    """Set articles, capital and full stop."""
    text = re.sub(r"\ba\(n\) (?=[aeiou])", "an ", text.replace("~", " "))
    text = text.replace("a(n) ", "a ")
    return text[0].upper() + text[1:] + ("" if text[-1] in "!?" else ".")


@cache
def _lexicon() -> dict:
    with (settings.ROOT / "data" / "lexicon" / "reviews.toml").open("rb") as file:
        return tomllib.load(file)


@cache
def _weighted(path: tuple[str, ...]) -> tuple[list[str], list[float]]:
    """Return the words at a path of the lexicon and the running sum of their weights."""
    words = _lexicon()
    for name in path:
        words = words[name]
    if isinstance(words, str):
        words = words.split()
    # Frequency falls with rank, as Zipf found, but gently: the fourth pattern should not be a rarity.
    return words, list(itertools.accumulate(1 / (rank + 5) for rank in range(len(words))))
