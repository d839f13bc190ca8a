"""Generators of built-in sample data: made by code, the same on every machine, with a truth that is known.

What reads files, or decides between real data and a sample, belongs in `datasets`.
"""

import random
import re
import tomllib
from bisect import bisect
from collections.abc import Iterator
from functools import cache
from itertools import accumulate, islice, zip_longest
from typing import NamedTuple

from utils import settings

REVIEWS_CARD = (
    "Film reviews written by a grammar of this project (utils/samples.py, data/lexicon/reviews.toml; "
    "Apache-2.0, nothing to download). They stand in for IMDB in one respect: opinions are plain, "
    "intensified, negated or contrasted, and plots use the same words without judging anything. So "
    "counting words misleads, counting pairs of words misleads less, and a model that reads in order can "
    "be right every time, because a rule decides each label. Films, people and places are invented; "
    "nothing follows for real reviews."
)

INTENSITY = {"weak": 0.5, "even": 1.0, "strong": 2.0}
MARGIN = 1.0
# How often each kind of opinion and each intensity is drawn, and how often an opinion agrees with the label:
# these set words, pairs of words and sequences apart.
KINDS = {"plain": 0.56, "negated": 0.09, "distant": 0.13, "contrast": 0.22}
LEVELS = {"weak": 0.2, "even": 0.5, "strong": 0.3}
AGREEMENT = 0.92


class Sentence(NamedTuple):
    """A sentence and what it adds to the sum; `kind` is a key of `KINDS`, or "plot" or "filler"."""

    text: str
    kind: str
    value: float


class Review(NamedTuple):
    """A film review, its label (1 is positive), and the sentences the label follows from."""

    text: str
    label: int
    sentences: tuple[Sentence, ...]


def generate_reviews(part: str, count: int) -> tuple[list[str], list[int]]:
    """Write film reviews; return their texts and labels (1 is positive), both labels equally often.

    Args:
        part: "train", "validation", "test" or any other name. Each part is a stream of its own: its first n
            reviews are the same however many are asked for, and no review of it is in another part.
        count: how many reviews.
    """
    written = list(islice(review_stream(part), count))
    return [review.text for review in written], [review.label for review in written]


def review_stream(part: str) -> Iterator[Review]:
    """Write film reviews without end, each with the truth about its sentences.

    The label rule: an opinion is worth its polarity (1 or -1) times its intensity (0.5 weak, 1 even, 2
    strong). A negation flips it, whether next to it or far off; negated opinions and those ascribed to
    somebody are even. Where two opinions contrast, only the main clause counts: what follows "but" or
    "yet", and never what follows "although", "even though", "while", "despite" or "for all". Plot and filler
    are worth nothing, whatever words they use. The label is the sign of the sum; a draft whose sum is
    less than `MARGIN` from zero is thrown away.
    """
    writer = _Writer(random.Random(f"reviews {part}"))
    while True:
        # Taking turns keeps every beginning of a part balanced.
        yield writer.review(-1)
        yield writer.review(1)


class _Writer(dict):
    """Fills the slots of sentences: an empty one is drawn from the lexicon's table of its name."""

    # What stays the same throughout a review, once drawn.
    KEPT = frozenset({"title", "director", "town", "friend"})

    def __init__(self, rng: random.Random):
        # Python promises the same random() in every version, but not the same choices() or shuffle().
        self.random = rng.random
        self.lexicon, self.once = _lexicon()

    def review(self, sign: int) -> Review:
        """Write a review whose sum has the given sign."""
        self.clear()
        self.used, self.tables = set(), self.lexicon[1, False]
        woman = self.chance(0.5)
        self.update(he="she", his="her", him="her") if woman else self.update(
            he="he", his="his", him="him"
        )
        self["hero"] = self["woman" if woman else "man"]
        # The second of five uniform draws: many reviews of middling length, and a tail of long ones.
        wanted = 26 + min(150, int(172 * sorted([self.random() for _ in range(5)])[1]))
        count = min(6, 1 + int(wanted / 28 + self.random()))
        body = [self.opinion(*draft) for draft in self.plan(sign, count)]
        opening, plot, remarks = self.padding(
            wanted - sum([_length(sentence) for sentence in body])
        )
        for remark in remarks:
            body.insert(int(self.random() * len(body)), remark)
        start = int(self.random() * 2)
        sentences = (*opening, *body[:start], *plot, *body[start:])
        return Review(" ".join([sentence.text for sentence in sentences]), int(sign > 0), sentences)

    def plan(self, sign: int, count: int) -> list[tuple[str, str, int, str]]:
        """Draw kind, level and polarity of the opinions; often the last is a verdict on the whole film."""
        final = self.chance(0.6)
        while True:
            drafts = []
            for left in reversed(range(count)):
                kind = self.one_of(KINDS)
                verdict = final and not left
                graded = kind == "plain" or (kind == "contrast" and not verdict)
                level = self.one_of(LEVELS) if graded else "even"
                polarity = sign if verdict or self.chance(AGREEMENT) else -sign
                drafts.append((kind, level, polarity, "final_" if verdict else ""))
            if (
                sign * sum([polarity * INTENSITY[level] for _, level, polarity, _ in drafts])
                >= MARGIN
            ):
                return drafts

    def opinion(self, kind: str, level: str, polarity: int, prefix: str) -> Sentence:
        """Write an opinion worth polarity times intensity."""
        if kind == "contrast" and not prefix:
            frame = self.choose("contrast")
            main_first = frame.startswith("{main}")
            # A tail between the halves keeps "but" from being a neighbour of the word that it revokes.
            self["aside"] = self.clause(self.one_of(LEVELS), -polarity, 0.2 if main_first else 0.8)
            self["main"] = self.clause(level, polarity, 0.8 if main_first else 0.2)
            text = frame.format_map(self)
        elif kind in ("plain", "negated"):
            text = self.clause(
                prefix + (level if kind == "plain" else kind), polarity, 0 if prefix else 0.35
            )
            if not prefix and not text.startswith("I ") and self.chance(0.2):
                text = f"{self['opener']}, {text}"
        else:
            form = kind if kind == "contrast" else "affirmed" if self.chance(0.5) else "denied"
            text = self.clause(prefix + form, polarity, 0)
        return self.sentence(text, kind, polarity * INTENSITY[level])

    def clause(self, form: str, polarity: int, tail: float) -> str:
        several = self.chance(0.35)
        self.tables = self.lexicon[
            -polarity if form.endswith(("negated", "denied")) else polarity, several
        ]
        self["x"] = self["several" if several else "single"]
        self["is"], self["does"], self["its"] = (
            ("are", "do", "their") if several else ("is", "does", "its")
        )
        text = self[form]
        if self.chance(tail):
            text += self["own_tail" if text.startswith("I ") else "tail"]
        return text

    def padding(self, missing: int) -> tuple[list[Sentence], list[Sentence], list[Sentence]]:
        """Write an opening, a plot and remarks of about as many words as are missing."""
        found = {"opening": [], "plot": [], "remark": []}
        while missing > 4:
            if not found["opening"] and self.chance(0.5):
                into = slot = "opening"
            elif self.chance(0.25):
                into = slot = "remark"
            else:
                into, slot = "plot", "turn" if found["plot"] else "setup"
            found[into].append(
                self.sentence(self[slot], "plot" if into == "plot" else "filler", 0.0)
            )
            missing -= _length(found[into][-1])
        return tuple(found.values())

    def sentence(self, text: str, kind: str, value: float) -> Sentence:
        mark = "" if text[-1] in "!?" else "!" if abs(value) > 1 and self.chance(0.3) else "."
        return Sentence(text[0].upper() + text[1:] + mark, kind, value)

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def one_of(self, chances: dict[str, float]) -> str:
        return list(chances)[bisect(list(accumulate(chances.values())), self.random())]

    def choose(self, slot: str) -> str:
        entries, odds = self.tables[slot]
        # Twenty misses mean that hardly any entry is left: then it has to be a repetition.
        for _ in range(20):
            entry = entries[bisect(odds, self.random())]
            if entry not in self.used:
                break
        if entry in self.once:
            self.used.add(entry)
        return entry

    def __missing__(self, slot: str) -> str:
        article = slot.startswith("a_")
        text = self.choose(slot[2:] if article else slot)
        if "{" in text:
            text = text.format_map(self)
        if article:
            text = ("an " if text[0] in "aeiou" else "a ") + text
        if slot in self.KEPT:
            self[slot] = text
        return text


def _length(sentence: Sentence) -> int:
    return sentence.text.count(" ") + 1


@cache
def _lexicon() -> tuple[dict, set[str]]:
    """Read the tables for each polarity and number: the entries of every slot with their running odds."""
    sections = tomllib.loads(
        (settings.ROOT / "data/lexicon/reviews.toml").read_text(encoding="utf-8")
    )
    sides = {1: sections.pop("good"), -1: sections.pop("bad")}
    neutral = {slot: entries for section in sections.values() for slot, entries in section.items()}
    for side in sides.values():
        side["adjective"] = [
            w for pair in zip_longest(side["graded"], side["extreme"]) for w in pair if w
        ]
    lexicon, once = {}, set()
    for polarity, several in ((1, False), (1, True), (-1, False), (-1, True)):
        tables = neutral | sides[polarity] | {"other_asset": sides[-polarity]["asset"]}
        tables["verb_base"] = [verb.split("/")[1] for verb in tables["verb"]]
        tables["verb"] = [verb.split("/")[several] for verb in tables["verb"]]
        lexicon[polarity, several] = {
            slot: (words, _odds(len(words))) for slot, words in tables.items()
        }
        # Entries made of slots alone, such as those of names, differ each time; all others are used once.
        once.update(
            e
            for entries in tables.values()
            for e in entries
            if re.sub(r"{.*?}|[^A-Za-z0-9]", "", e)
        )
    return lexicon, once


def _odds(count: int) -> list[float]:
    # Zipf's law, as in real text: odds fall with rank.
    weights = list(accumulate(1 / (rank + 5) for rank in range(count)))
    return [weight / weights[-1] for weight in weights]
