"""A grammar that writes English sentences with their Spanish translations and the true word alignment.

Its words are in data/lexicon/pairs.toml. What chooses between its sentences and real ones is in `datasets`.
"""

import random
import re
import tomllib
import zlib
from functools import cache
from itertools import chain, pairwise
from types import SimpleNamespace
from typing import NamedTuple

from utils import settings
from utils.errors import CompanionError

PAIRS_CARD = (
    "English sentences with Spanish translations, written by a grammar of this project (utils/sentences.py, "
    "data/lexicon/pairs.toml; Apache-2.0, nothing to download). They stand in for the Tatoeba pairs of "
    "spa-eng: everyday sentences of 2 to 18 words with agreement, tenses, questions, and an order of words "
    "that differs between the languages. Unlike there, an English sentence has exactly one translation, so "
    "that a model can be right every time; which words translate which is known; the vocabulary is small, "
    "and nobody errs, jokes or uses slang. People and events are invented; nothing follows for real text."
)

# The most pairs of each part that were tried out; the grammar could go on for long, but not for ever.
MOST = {"train": 200_000, "validation": 20_000, "test": 20_000}
# Drafts with more English words than this are thrown away.
LONGEST = 18
# How often each kind of sentence is drawn; each names a method of `_Writer`.
KINDS = {
    "simple": 27, "description": 13, "place": 5, "existence": 5, "liking": 8, "yes_no": 9, "wh": 10,
    "order": 4, "exclamation": 3, "comparison": 4, "reason": 5, "contrast": 4, "addition": 3, "meanwhile": 3,
    "opinion": 5, "relative": 6,
}  # fmt: skip
PERSONS = {"I": 0, "you": 1, "he": 2, "she": 2, "it": 2, "we": 3, "they": 4}
BE = {
    "present": ("am", "are", "is", "are", "are"),
    "past": ("was", "were", "was", "were", "were"),
}


class Pair(NamedTuple):
    """A sentence, its translation and the true links between them.

    `alignment` holds (place of an English token, place of a Spanish token), counted in `tokens` of either
    side, sorted. English words are linked to all the Spanish ones that express them: "will buy" to
    "comprará", "Maria's" to "de" and "María", a pronoun that Spanish leaves out to the verb that carries its
    person. What the other language does without has no link: "do" of questions and negations, the "a" before
    persons, the pronoun that repeats an object ("le" of "le da el libro a Ana"), articles of one side, "¿"
    and "¡".
    """

    english: str
    spanish: str
    alignment: tuple[tuple[int, int], ...]


def tokenize(text: str) -> list[str]:
    """Split a text into lower-case words and single punctuation signs; apostrophes stay within words."""
    return re.findall(r"[\w']+|[^\w\s']", text.lower())


def part_of(english: str) -> str:
    """Say which part a sentence belongs to: a hash of its words gives validation and test a tenth each."""
    words = " ".join(re.findall(r"\w+", english.lower()))
    return {0: "validation", 1: "test"}.get(zlib.crc32(words.encode()) % 10, "train")


def generate_pairs(part: str, count: int) -> list[Pair]:
    """Write sentences with their translations; no English sentence comes twice or in two parts.

    Args:
        part: "train", "validation" or "test". The first n pairs of a part are the same however many are asked
            for; `part_of` says which part a sentence belongs to.
        count: how many pairs.

    Returns:
        Pairs in the order in which they were written.

    Raises:
        ValueError: there is no such part.
        settings.Stop: more pairs are asked for than the grammar can give.
    """
    if part not in MOST:
        raise ValueError(f"part {part!r} is not known: choose one of {', '.join(MOST)}")
    if count > MOST[part]:
        raise CompanionError(
            f"{count:,} {part} pairs asked for: the sample has at most {MOST[part]:,}."
        )
    writer = _Writer(random.Random(f"pairs {part}"))
    found, seen = [], set()
    while len(found) < count:
        try:
            english, spanish, mark = writer.draft()
        except _Rejected:
            continue
        text = _text(english, mark)
        if text not in seen and len(english) <= LONGEST:
            seen.add(text)
            if part_of(text) == part:
                found.append(_pair(text, english, spanish, mark))
    return found


Words = list[
    tuple[str, int]
]  # a word and its links: words of both sides that share a bit are linked


class _Rejected(Exception):
    """What was drafted would repeat a word, or have more than one translation."""


class _Phrase(NamedTuple):
    """A noun phrase or what stands for one; `feminine` is None where its gender is open."""

    english: Words
    spanish: Words
    person: int = 2
    feminine: bool | None = False
    pronoun: str = ""  # its key in the lexicon's [pronouns]
    clitic: tuple[str, int] | None = None


class _Adjective(NamedTuple):
    english: str
    spanish: list[str]  # masculine, feminine, and both in the plural
    rank: int  # 0 in front of the noun; 2 next to the noun, 1 outside of that
    determiners: list[str]


class _Noun(NamedTuple):
    english: tuple[str, str]
    spanish: tuple[str, str]
    feminine: bool
    takes_el: bool
    counted: bool
    often_plural: bool


class _Class(NamedTuple):
    nouns: list[_Noun]
    determiners: list[str]
    beside: list[_Adjective]
    after: list[str]
    people: bool


class _Verb(NamedTuple):
    """A verb with what follows it: units are (words, number of their link) or (slot, -1)."""

    english: list[tuple]
    spanish: list[tuple]
    slots: dict[str, bool]  # whether an object pronoun may take the place
    le: bool


class _Writer:
    """Draws sentences; every method returns the English and the Spanish words."""

    def __init__(self, rng: random.Random):
        self.random = rng.random
        self.lexicon = _lexicon()
        self.kinds = [kind for kind, weight in KINDS.items() for _ in range(weight)]

    # ------------------------------------------------------------ drawing

    def draft(self) -> tuple[Words, Words, str]:
        self.used, self.bit = set(), 1
        return getattr(self, self.choose(self.kinds))()

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def choose(self, options):
        return options[int(self.random() * len(options))]

    def pick(self, options, name=lambda option: option):
        """Draw an option that the sentence does not hold yet, early ones more often than late ones."""
        for _ in range(20):
            draw = self.random()
            option = options[int(len(options) * draw * (0.5 + 0.5 * draw))]
            if (key := name(option)) not in self.used:
                self.used.add(key)
                return option
        raise _Rejected

    def bits(self, count: int = 1) -> int:
        first = self.bit
        self.bit <<= count
        return first

    def unit(self, english: str, spanish: str) -> tuple[Words, Words]:
        bit = self.bits()
        return [(w, bit) for w in english.split("_")], [(w, bit) for w in spanish.split("_")]

    # ------------------------------------------------------------ noun phrases

    def name(self) -> _Phrase:
        gender = self.choose("fm")
        english, spanish = self.pick(self.lexicon.names[gender]).split()
        return _Phrase(*self.unit(english, spanish), feminine=gender == "f")

    def pronoun(self, key: str, feminine: bool | None = None, drop: bool = False) -> _Phrase:
        spanish = "" if drop else self.lexicon.pronouns[key][1]
        feminine = {"he": False, "she": True}.get(key, feminine)
        bit = self.bits()
        return _Phrase(
            [(key, bit)], [(spanish, bit)] if spanish else [], PERSONS[key], feminine, key
        )

    def pronoun_for(self, phrase: _Phrase) -> _Phrase:
        """Stand for a subject that was named before: Spanish leaves that pronoun out."""
        keys = ("I", "you", "she" if phrase.feminine else "he", "we", "they")
        return self.pronoun(keys[phrase.person], phrase.feminine, drop=True)

    def subject(
        self,
        *,
        pronouns: float = 0.4,
        plain: bool = False,
        gendered: bool = False,
        asked: bool = False,
    ) -> _Phrase:
        draw = self.random()
        if draw < pronouns:
            keys = (
                "he she"
                if gendered
                else "you you he she they"
                if asked
                else "I I you he she we they"
            )
            return self.pronoun(self.choose(keys.split()))
        if draw < pronouns + (1 - pronouns) * 0.45:
            return self.name()
        if draw < pronouns + (1 - pronouns) * 0.57 and not plain:
            first, second, (en, es) = self.name(), self.name(), self.unit("and", "y")
            feminine = first.feminine and second.feminine
            return _Phrase(
                first.english + en + second.english,
                first.spanish + es + second.spanish,
                4,
                feminine,
            )
        kind = self.choose(["folk", "folk", "adult", "kin", "elder", "friend"])
        return self.noun_phrase(
            "the" if plain and kind in ("folk", "adult") else "", kind, plain=plain
        )

    def possessor(self) -> _Phrase:
        if self.chance(0.6):
            return self.name()
        return self.noun_phrase(
            self.choose(["my", "your", "his", "her"]),
            self.choose(["kin", "elder"]),
            plain=True,
            plural=False,
        )

    def noun_phrase(
        self, mode: str, kind: str, plain: bool = False, plural: bool | None = None
    ) -> _Phrase:
        """Write a noun with its determiner and adjectives.

        Args:
            mode: a determiner, "" for any that suits the class, or one of the lexicon's [modes].
            kind: a class, or a list of proper names.
            plain: no adjectives and no possessor.
            plural: whether the noun is; drawn if None.
        """
        if kind in self.lexicon.places:
            return _Phrase(*self.unit(*self.pick(self.lexicon.places[kind]).split()))
        group = self.lexicon.classes[kind]
        noun = self.pick(group.nouns, lambda noun: noun.english[0])
        mode = (
            self.choose(self.lexicon.modes.get(mode) or [mode])
            if mode
            else self.choose(group.determiners)
        )
        if plain and mode == "s":
            mode = "my"
        forms = self.lexicon.determiners.get(mode)
        if forms and not (forms[0] and forms[2]):
            plural = not forms[0]
        elif plural is None:
            often = mode in ("bare", "general") or (noun.often_plural and self.chance(0.22))
            plural = noun.counted and often
        else:
            plural = plural and noun.counted
        return self.assemble(
            group, noun, mode, plural, [] if plain else self.adjectives(group, mode)
        )

    def adjectives(self, group: _Class, mode: str) -> list[_Adjective]:
        found, draw = [], self.random()
        for enough in (0.55, 0.93):
            options = group.beside
            if found:
                options = [a for a in options if a.rank > found[0].rank and not a.determiners]
            if draw > enough and options:
                adjective = self.choose(options)
                suits = not adjective.determiners or mode in adjective.determiners
                if suits and adjective.english not in self.used:
                    self.used.add(adjective.english)
                    found.append(adjective)
        return found

    def assemble(
        self, group, noun: _Noun, mode: str, plural: bool, adjectives: list[_Adjective]
    ) -> _Phrase:
        place = noun.feminine + 2 * plural
        inner, tail, before, behind = [], [], [], []
        for adjective in adjectives:
            en, es = self.unit(adjective.english, adjective.spanish[place])
            inner += en
            if adjective.determiners:
                before += es
            else:
                behind = es + behind
        en, es = self.unit(noun.english[plural].replace(" ", "_"), noun.spanish[plural])
        inner, core = inner + en, before + es + behind
        forms = self.lexicon.determiners.get("the" if mode in ("s", "general") else mode)
        article = forms[place] if forms else ""
        if article in ("la", "una") and noun.takes_el and not before:
            article = {"la": "el", "una": "un"}[article]
        bit = self.bits()
        if mode == "s":
            owner = self.name() if group.people else self.possessor()
            last, owner_bit = owner.english[-1]
            start = [*owner.english[:-1], (f"{last}'s", owner_bit)]
            tail = [("de", owner_bit), *owner.spanish]
            bit = 0
        elif mode in ("bare", "general"):
            start, bit = [], 0
        else:
            start = [(_a(inner[0][0]) if mode == "a" else mode, bit)]
        start_es = [(article, bit)] if article else []
        return _Phrase(start + inner, start_es + core + tail, 4 if plural else 2, noun.feminine)

    def fill(self, slot: str, subject: _Phrase, clitic: bool) -> _Phrase:
        """Write what a slot in braces stands for."""
        mode, _, kind = slot.rpartition(" ")
        if mode == "is":
            return self.predicate(kind, subject)
        if kind == "recipient":
            kind = self.choose(["folk", "kin", "elder"])
        people = self.lexicon.classes[kind].people if kind in self.lexicon.classes else False
        if clitic and people and self.chance(0.3):
            # "I see me" is no English, and "he sees him" would leave open who is who.
            taken = {0: ["I", "we"], 1: ["you"], 3: ["I", "we"]}.get(
                subject.person, [subject.pronoun]
            )
            options = [key for key in ("I", "you", "he", "she", "we") if key not in taken]
            key, bit = self.choose(options), self.bits()
            english, _, direct, dative = self.lexicon.pronouns[key]
            return _Phrase([(english, bit)], [], 2, None, key, (f"{direct} {dative}", bit))
        if kind == "folk" and mode not in ("some", "count") and self.chance(0.4):
            return self.name()
        return self.noun_phrase(mode, kind)

    def predicate(self, kind: str, subject: _Phrase, very: bool = True) -> _Phrase:
        """Write an adjective or a profession that agrees with the subject."""
        place = bool(subject.feminine) + 2 * (subject.person > 2)
        if kind == "job":
            english = self.choose(list(self.lexicon.jobs))
            en, es = self.unit(english, self.lexicon.jobs[english][place])
            return _Phrase([(_a(english), 0), *en], es)
        adjective = self.pick(self.lexicon.adjectives[kind], lambda a: a.english)
        if subject.feminine is None and adjective.spanish[0] != adjective.spanish[1]:
            raise _Rejected
        en, es = self.unit(adjective.english, adjective.spanish[place])
        if very and kind in self.lexicon.very and self.chance(0.25):
            en_very, es_very = self.unit("very", "muy")
            en, es = en_very + en, es_very + es
        return _Phrase(en, es)

    # ------------------------------------------------------------ clauses

    def clause(
        self, subject: _Phrase, verb: _Verb, form: str, *, negated: bool = False, modal: str = "",
        adverb: tuple = (), asks: bool = False, front: tuple = ([], []), tail: tuple = ([], []),
        gap: bool = False,
    ) -> tuple[Words, Words]:  # fmt: skip
        """Put a subject, a verb and what follows it together.

        Args:
            subject: with its person, which the verb agrees with.
            verb: an entry of the lexicon's [phrases].
            form: "present", "past", "future", "progressive" (is ...ing) or "background" (was ...ing).
            negated: whether the clause is denied.
            modal: a key of the lexicon's [modals] whose verb rules the other one, or "".
            adverb: an entry of the lexicon's times.often, or ().
            asks: whether the verb goes before the subject.
            front: words of both sides in front of everything else, such as "where".
            tail: words of both sides at the end, such as "yesterday".
            gap: leave the slots empty, because `front` or a relative pronoun stands for them.
        """
        person, lexicon = subject.person, self.lexicon
        base = self.bits(8)
        slots = {
            s: None if gap else self.fill(s, subject, may and not modal)
            for s, may in verb.slots.items()
        }
        rest, rest_es, clitics = self.complement(verb, slots, base)
        if subject.pronoun == "there":
            person = next(iter(slots.values())).person
        heads = [(verb.english[0][0], verb.spanish[0][0], base << 1)]
        if modal:
            heads.insert(0, (*lexicon.modals[modal], self.bits()))
        lasting = form in ("progressive", "background")
        if lasting:
            heads.insert(0, (("be",), ("estar",), self.bits()))
            form = "present" if form == "progressive" else "past"
        (words, words_es, bit), others = heads[0], heads[1:]

        # English: auxiliary, negation and adverb go between subject and verb, the auxiliary alone before it.
        aux, main = self.finite(words[0], form, person, negated or asks)
        aux = [(aux, bit if aux not in ("do", "does", "did") else 0)] if aux else []
        main = [(main, bit)] if main else []
        main += [(w, bit) for w in words[1:]]
        for later, _, later_bit in others:
            first = lexicon.gerund(later[0]) if lasting else later[0]
            main += [(first, later_bit), *((w, later_bit) for w in later[1:])]
        left_out = subject.english[0][1] if subject.pronoun and not subject.spanish else 0
        no, middle, middle_es = [], [], []
        if negated:
            (word, link), no = aux[-1], [("no", self.bits())]
            if word != "am" and self.chance(0.65):
                short = {"can": "can't", "will": "won't"}.get(word, f"{word}n't")
                aux = [(short, link | no[0][1])]
            elif word == "can":
                aux = [("cannot", link | no[0][1])]
            else:
                middle = [("not", no[0][1])]
        if adverb:
            en, middle_es = self.unit(*adverb)
            middle = middle + en
        order = aux + subject.english + middle if asks else subject.english + aux + middle
        english = front[0] + order + main + rest + tail[0]

        # Spanish: pronouns go before the finite verb, or become a part of an infinitive.
        tense = form
        if form == "past":
            stative = lasting or modal or words_es[0] in lexicon.stative
            tense = "imperfect" if stative else "preterite"
        if heads[-1][1][0].endswith("se"):
            clitics.insert(0, (("me", "te", "se", "nos", "se")[person], base << 1))
        finite = [(lexicon.conjugate(_stem(words_es[0]))[tense][person], bit | left_out)]
        particles = [(w, bit) for w in words_es[1:]]
        for _, later, later_bit in others:
            first = _stem(later[0])
            if lasting:
                first = lexicon.conjugate(first)["gerund"]
            for clitic, clitic_bit in [] if lasting else clitics:
                first, later_bit = first + clitic, later_bit | clitic_bit
            clitics = clitics if lasting else []
            particles.append((first, later_bit))
            particles += [(w, base << 1) for w in later[1:]]
        lead = front[1] + middle_es + no + clitics + finite
        if not asks:
            spanish = (
                front[1] + subject.spanish + middle_es + no + clitics + finite + particles + rest_es
            )
        else:
            # Short answers to "how" or "what" go before a subject that has a name.
            agrees = any(slot.startswith("is ") for slot in slots)
            early = (
                not subject.pronoun and (agrees or len(rest_es) == 1) and (lasting or not particles)
            )
            nearer = particles if lasting else []
            nearer, later = (nearer + rest_es, []) if early else (nearer, rest_es)
            spanish = lead + nearer + subject.spanish + (particles if not lasting else []) + later
        return english, spanish + tail[1]

    def complement(self, verb: _Verb, slots: dict, base: int) -> tuple[Words, Words, Words]:
        """Write what follows a verb, and the Spanish pronouns that go before it."""
        english, spanish, clitics = [], [], []
        for text, index in verb.english[1:]:
            if index < 0:
                english += slots[text].english if slots[text] else []
            else:
                english += [(word, base << index if index else 0) for word in text]
        for text, index in verb.spanish[1:]:
            if index >= 0:
                spanish += [(word, base << index if index else 0) for word in text]
                continue
            phrase = slots[text]
            if phrase and not phrase.clitic:
                spanish += phrase.spanish
                if verb.le and text.endswith("recipient"):
                    clitics.append(("les" if phrase.person > 2 else "le", 0))
                continue
            link = 0
            if spanish and spanish[-1][0] == "a" and verb.slots[text]:
                link = spanish.pop()[1]
            if phrase:
                forms, bit = phrase.clitic
                clitics.append((forms.split()[verb.le], bit | link))
        return english, spanish, clitics

    def finite(self, base: str, form: str, person: int, support: bool) -> tuple[str, str]:
        """Give the English auxiliary and main verb, either of them "" where there is none."""
        if form == "future":
            return "will", base
        if base == "be":
            return BE[form][person], ""
        if base in ("can", "must"):
            return base, ""
        if support:
            return ("did" if form == "past" else "does" if person == 2 else "do"), base
        past = self.lexicon.past(base)
        if past == base and person != 2:
            raise _Rejected  # "They read books": leen or leyeron?
        return "", past if form == "past" else _third(base) if person == 2 else base

    # ------------------------------------------------------------ kinds of sentences

    def verb(self, *groups: str) -> _Verb:
        return self.pick(self.lexicon.phrases[self.choose(groups)], lambda verb: verb.english[0][0])

    def time(self, when: str) -> tuple[Words, Words]:
        english, spanish = self.choose(self.lexicon.times[when])
        base = self.bits(8)
        return tuple(
            [(w, base << i if i else 0) for text, i in side for w in text]
            for side in (english, spanish)
        )

    def predicate_phrase(self) -> tuple[_Verb, dict]:
        """Draw what somebody does, with the settings that `clause` needs: tense, negation, time."""
        draw, options = self.random(), {}
        if draw < 0.26:
            verb, options["form"] = self.verb("habit"), "present"
            if self.chance(0.4):
                options["adverb"] = self.choose(self.lexicon.often)
            elif self.chance(0.65):
                options["tail"] = self.time("habit")
            else:
                options["negated"] = self.chance(0.4)
        elif draw < 0.54:
            verb, options["form"] = self.verb("habit", "act", "event", "event", "mishap"), "past"
            options["negated"] = self.chance(0.2)
            if self.chance(0.55):
                options["tail"] = self.time("past")
        elif draw < 0.64:
            verb, options["form"] = self.verb("habit", "act", "event"), "future"
            options["negated"] = self.chance(0.2)
            if self.chance(0.6):
                options["tail"] = self.time("future")
        elif draw < 0.77:
            verb, options["form"] = self.verb("lasting", "act"), "progressive"
            options["negated"] = self.chance(0.15)
            if self.chance(0.3):
                options["tail"] = self.time("present")
        elif draw < 0.87:
            verb, options["form"] = self.verb("state"), "present"
            options["negated"] = self.chance(0.2)
        else:
            verb, options["form"] = self.verb("habit", "act", "event"), "present"
            options["modal"] = self.choose(list(self.lexicon.modals))
            options["negated"] = self.chance(0.2)
            if options["modal"] == "going" and self.chance(0.5):
                options["tail"] = self.time("future")
        return verb, options

    def simple(self):
        subject, (verb, options) = self.subject(), self.predicate_phrase()
        if "tail" in options and self.chance(0.2):
            options["front"] = options.pop("tail")
        return *self.clause(subject, verb, **options), "."

    def describe(self, asked: bool = False) -> tuple[_Phrase, _Verb, dict]:
        """Draw what somebody or something is."""
        form = "past" if self.chance(0.2) else "present"
        options = {"form": form, "negated": self.chance(0.15)}
        if self.chance(0.6):
            group = self.choose(
                ["trait", "trait", "condition", "condition", "condition", "job", "origin", "age"]
            )
            subject = self.subject(
                gendered=group == "job" or self.chance(0.6), plain=True, asked=asked
            )
            if group == "age":
                subject = (
                    self.name() if self.chance(0.4) else self.noun_phrase("", "elder", plain=True)
                )
            if group == "job":
                subject = (
                    self.name()
                    if self.chance(0.6)
                    else self.noun_phrase("", "kin", plain=True, plural=False)
                )
            verb = self.verb(group)
        else:
            kind = self.choose(self.lexicon.describable)
            definite = [
                d
                for d in self.lexicon.classes[kind].determiners
                if d in ("the", "this", "that", "my")
            ]
            subject = self.noun_phrase(self.choose(definite), kind, plain=True)
            group = self.choose(self.lexicon.classes[kind].after)
            verb = self.lexicon.described[group]
        if group == "origin":
            options["form"] = "present"
        return subject, verb, options

    def description(self):
        subject, verb, options = self.describe()
        return *self.clause(subject, verb, **options), "."

    def place(self):
        kind = self.choose(list(self.lexicon.phrases["where"]))
        mode = "my" if kind in ("vehicle", "home") and self.chance(0.5) else "the"
        subject = self.noun_phrase(mode, kind)
        verb = self.choose(self.lexicon.phrases["where"][kind])
        form = "past" if verb.english[0][0] == ("be",) and self.chance(0.25) else "present"
        return *self.clause(subject, verb, form, negated=self.chance(0.12)), "."

    def existence(self):
        verb = self.verb("there")
        form, asks = "past" if self.chance(0.2) else "present", self.chance(0.2)
        there = _Phrase([("there", self.bits())], [], 2, None, "there")
        english, spanish = self.clause(there, verb, form, asks=asks)
        return english, spanish, "?" if asks else "."

    def liking(self):
        asks = self.chance(0.2)
        subject = self.subject(plain=True, asked=asks)
        past, negated = self.chance(0.25), not asks and self.chance(0.2)
        (like, _), no = self.unit("like", "gustar"), self.unit("not", "no")
        if past:
            thing = self.noun_phrase(
                "the", self.choose(["dish", "text", "garment", "meal", "home"])
            )
        elif self.chance(0.3):
            verb = self.verb("pastime")
            base = self.bits(8)
            slots = {slot: self.fill(slot, subject, False) for slot in verb.slots}
            rest, rest_es, _ = self.complement(verb, slots, base)
            like = [*like, ("to", like[0][1])]
            thing = _Phrase(
                [(w, base << 1) for w in verb.english[0][0]] + rest,
                [(w, base << 1) for w in verb.spanish[0][0]] + rest_es,
            )
        else:
            mode, kinds = "the", ["dish", "text", "garment", "scenery"]
            if self.chance(0.6):
                mode, kinds = "general", ["fruit", "dish", "drink", "pet", "text", "garment"]
            thing = self.noun_phrase(mode, self.choose(kinds))
        aux, main = self.finite(
            "like", "past" if past else "present", subject.person, negated or asks
        )
        aux = [(aux, 0)] if aux else []
        middle = []
        if negated and self.chance(0.65):
            aux = [(aux[0][0] + "n't", no[0][0][1])]
        elif negated:
            middle = no[0]
        english = aux + subject.english if asks else subject.english + aux + middle
        english = [*english, (main, like[0][1]), *like[1:], *thing.english]
        person = 4 if thing.person > 2 else 2
        verb = (
            self.lexicon.conjugate("gustar")["preterite" if past else "present"][person],
            like[0][1],
        )
        dative = ("me", "te", "le", "nos", "les")[subject.person]
        experiencer = [("a", 0), *subject.spanish] if subject.spanish else []
        clitic = (dative, 0 if experiencer else subject.english[0][1])
        core = [*(no[1] if negated else []), clitic, verb, *thing.spanish]
        return english, core + experiencer if asks else experiencer + core, "?" if asks else "."

    def yes_no(self):
        if self.chance(0.35):
            subject, verb, options = self.describe(asked=True)
        else:
            subject, (verb, options) = self.subject(plain=True, asked=True), self.predicate_phrase()
            options.pop("adverb", None)
            if options.get("modal") == "must":
                raise _Rejected
        options.pop("negated", None)
        return *self.clause(subject, verb, asks=True, **options), "?"

    def wh(self):
        kind = self.choose(
            [
                "where",
                "what",
                "what",
                "who",
                "whom",
                "when",
                "why",
                "many",
                "hour",
                "cost",
                "which",
                "thing",
            ]
        )
        if kind == "who":
            verb, options = self.predicate_phrase()
            options |= {"negated": False, "adverb": ()}
            return *self.clause(_Phrase(*self.unit("who", "quién")), verb, **options), "?"
        subject, options = self.subject(plain=True, asked=True), {}
        form = self.choose(["past", "past", "future", "progressive"])
        if kind == "where":
            front, verb, form = self.unit("where", "dónde"), self.verb("somewhere"), "present"
        elif kind == "thing":
            front, verb, form = (
                self.unit("where", "dónde"),
                self.lexicon.described["being"],
                "present",
            )
            subject = self.noun_phrase(
                self.choose(["the", "my", "your"]), self.choose(["small", "garment", "vehicle"])
            )
        elif kind in ("when", "why"):
            front = self.unit(*{"when": ("when", "cuándo"), "why": ("why", "por_qué")}[kind])
            verb = self.verb("habit", "event", "act")
            form = self.choose(["past", "future"]) if kind == "when" else "past"
            if kind == "why" and self.chance(0.5):
                subject = self.subject(gendered=True, plain=True)
                verb, form = self.verb("condition"), "present"
        elif kind == "hour":
            (en, es), (en2, es2) = self.unit("what", "qué"), self.unit("time", "hora")
            front, verb = (en + en2, [("a", 0), *es, *es2]), self.verb("hourly")
            form = self.choose(["past", "future", "present"])
            if self.chance(0.4):
                subject, verb = self.noun_phrase("the", "transport"), self.verb("timetable")
        elif kind == "cost":
            front, verb, form = (
                self.unit("how_much", "cuánto"),
                self.lexicon.described["cost"],
                "present",
            )
            subject = self.noun_phrase(self.choose(["the", "this", "that"]), "ware")
        else:
            verb = self.verb("whom" if kind == "whom" else "what")
            options["gap"] = True
            front = self.unit("who", "quién") if kind == "whom" else self.unit("what", "qué")
            if kind == "whom":
                front = front[0], [("a", 0), *front[1]]
            elif kind in ("many", "which"):
                thing = self.noun_phrase(
                    "bare", next(iter(verb.slots)), plain=True, plural=kind == "many" or None
                )
                if kind == "many" and thing.person == 2:
                    front = self.unit("how_much", "cuánta" if thing.feminine else "cuánto")
                elif kind == "many":
                    front = self.unit("how_many", "cuántas" if thing.feminine else "cuántos")
                else:
                    front = self.unit("which", "qué")
                front = front[0] + thing.english, front[1] + thing.spanish
        return *self.clause(subject, verb, form, asks=True, front=front, **options), "?"

    def order(self):
        verb, negated = self.verb("order"), self.chance(0.3)
        base = self.bits(8)
        slots = {slot: self.fill(slot, _Phrase([], []), False) for slot in verb.slots}
        english, spanish, _ = self.complement(verb, slots, base)
        forms = self.lexicon.conjugate(verb.spanish[0][0][0])
        english = [(w, base << 1) for w in verb.english[0][0]] + english
        verb_es = forms["forbidden" if negated else "command"]
        spanish = [(w, base << 1) for w in (verb_es, *verb.spanish[0][0][1:])] + spanish
        if negated:
            no = self.bits()
            english, spanish = [("don't", no), *english], [("no", no), *spanish]
        mark = "!" if self.chance(0.4) else "."
        (please, favour), (comma, coma) = self.unit("please", "por_favor"), self.unit(",", ",")
        draw = self.random()
        if draw < 0.2:
            return please + english, [*favour, (",", 0), *spanish], mark
        if draw < 0.4:
            return english + comma + please, spanish + coma + favour, mark
        return english, spanish, mark

    def exclamation(self):
        if self.chance(0.5):
            kind = self.choose(self.lexicon.describable)
            group = self.choose(self.lexicon.classes[kind].after)
            if group not in (*self.lexicon.very, "savour"):
                raise _Rejected
            subject = self.noun_phrase(self.choose(["the", "this"]), kind, plain=True)
        else:
            subject = self.subject(pronouns=0.1, gendered=True, plain=True)
            group = self.choose(["state", "trait"])
        verb = self.lexicon.described[group]
        adjective = self.predicate(group, subject, very=False)
        en, es = self.unit("how", "qué")
        bit = self.bits()
        is_ = BE["present"][subject.person]
        is_es = self.lexicon.conjugate(verb.spanish[0][0][0])["present"][subject.person]
        english = en + adjective.english + subject.english + [(is_, bit)]
        return english, es + adjective.spanish + [(is_es, bit)] + subject.spanish, "!"

    def joined(self, first: tuple, english: str, spanish: str, second: tuple, comma: bool = False):
        """Put a conjunction between two clauses, with a comma in both languages or in none."""
        en, es = self.unit(english, spanish)
        if comma:
            (sign, signo) = self.unit(",", ",")
            en, es = sign + en, signo + es
        return first[0] + en + second[0], first[1] + es + second[1]

    def reason(self):
        row = self.choose(self.lexicon.reasons)
        subject = self.subject()
        main = self.clause(subject, self.verb(row[0]), **row[1])
        cause = self.pronoun_for(subject) if row[2] != "weather" else self.pronoun("it")
        verb = self.verb(row[2])
        return *self.joined(main, "because", "porque", self.clause(cause, verb, **row[3])), "."

    def contrast(self):
        if self.chance(0.5):
            row = self.choose(self.lexicon.obstacles)
            subject = self.subject()
            main = self.clause(subject, self.verb(row[0]), **row[1])
            second = self.clause(self.pronoun_for(subject), self.verb(row[2]), **row[3])
        else:
            group, form = self.choose(
                [("contrast", "present"), ("contrast_once", "past"), ("contrast_once", "future")]
            )
            verb = self.verb(group)
            main = self.clause(self.subject(pronouns=0.3), verb, form)
            second = self.clause(self.subject(pronouns=0), verb, form)
        return *self.joined(main, "but", "pero", second, True), "."

    def addition(self):
        form, subject = self.choose(["past", "past", "future"]), self.subject(pronouns=0.3)
        tail = self.time(form) if self.chance(0.4) else ([], [])
        first = self.clause(subject, self.verb("habit", "act", "event"), form)
        if form == "past" and self.chance(0.6):
            same = _Phrase([], [], subject.person, subject.feminine)
            second = self.clause(same, self.verb("habit", "act", "event"), form, tail=tail)
        else:
            first[0].append((",", 0))
            second = self.clause(
                self.subject(pronouns=0), self.verb("habit", "act", "event"), form, tail=tail
            )
        return *self.joined(first, "and", "y", second), "."

    def comparison(self):
        subject, other = (
            self.subject(gendered=True, plain=True),
            self.subject(pronouns=0, plain=True),
        )
        place, equal = subject.feminine + 2 * (subject.person > 2), self.chance(0.4)
        adjective = self.choose(self.lexicon.adjectives["trait"])
        en, es = self.unit(adjective.english, adjective.spanish[place])
        (more, mas), (than, que) = (
            self.unit("as" if equal else "more", "tan" if equal else "más"),
            self.unit("as" if equal else "than", "como" if equal else "que"),
        )
        if not equal and adjective.english in self.lexicon.comparatives:
            more, en = [], [(self.lexicon.comparatives[adjective.english], more[0][1] | en[0][1])]
        tail = more + en + than + other.english, mas + es + que + other.spanish
        negated = equal and self.chance(0.4)
        return *self.clause(
            subject, self.lexicon.described["is"], "present", negated=negated, tail=tail
        ), "."

    def meanwhile(self):
        first = self.clause(self.subject(), self.verb("lasting", "act"), "background")
        if self.chance(0.5):
            second = self.clause(
                self.subject(pronouns=0), self.verb("lasting", "act"), "background"
            )
            return *self.joined(first, "while", "mientras", second), "."
        second = self.clause(self.subject(pronouns=0), self.verb("arrival"), "past")
        return *self.joined(first, "when", "cuando", second), "."

    def opinion(self):
        subject = self.subject()
        verb = self.verb("opinion")
        first = self.clause(subject, verb, "present")
        if self.chance(0.35) and subject.person == 2 and verb.english[0][0] != ("know",):
            inner, options = self.verb("feeling", "condition"), {"form": "present"}
            second = self.clause(self.pronoun_for(subject), inner, **options)
        else:
            person = self.subject(pronouns=0)
            inner, options = (
                self.predicate_phrase()
                if self.chance(0.7)
                else (self.verb("condition", "trait"), {"form": "present"})
            )
            second = self.clause(person, inner, **options)
        return first[0] + second[0], first[1] + second[1], "."

    def relative(self):
        if self.chance(0.35):
            verb = self.verb("what")
            kind = next(iter(verb.slots))
            thing, (that, que) = self.noun_phrase("the", kind, plain=True), self.unit("that", "que")
            inner = self.clause(self.subject(plain=True), verb, "past", gap=True)
            group = self.choose(self.lexicon.classes[kind].after)
            subject = _Phrase(
                thing.english + that + inner[0],
                thing.spanish + que + inner[1],
                thing.person,
                thing.feminine,
            )
            return *self.clause(
                subject, self.lexicon.described[group], "past", negated=self.chance(0.2)
            ), "."
        plural = self.chance(0.15)
        noun = self.noun_phrase(
            "the", self.choose(["folk", "adult"]), plain=self.chance(0.6), plural=plural
        )
        who = _Phrase(*self.unit("who", "que"), noun.person, noun.feminine)
        verb, options = self.predicate_phrase()
        if options["form"] == "future" or options.get("modal", "want") != "want":
            raise _Rejected
        if options["form"] == "progressive":
            options.pop("tail", None)
        inner = self.clause(who, verb, **(options | {"negated": False, "adverb": ()}))
        subject = _Phrase(
            noun.english + inner[0], noun.spanish + inner[1], noun.person, noun.feminine
        )
        if self.chance(0.6):
            verb = self.verb("trait", "condition", "condition", "origin")
            return *self.clause(subject, verb, "present", negated=self.chance(0.1)), "."
        return *self.clause(subject, self.verb("state"), "present"), "."


# ---------------------------------------------------------------- texts


def _text(words: Words, mark: str, opening: str = "") -> str:
    text = " ".join([word for word, _ in words]).replace(" ,", ",")
    return opening + text[0].upper() + text[1:] + mark


def _pair(text: str, english: Words, spanish: Words, mark: str) -> Pair:
    """Apply what Spanish does where words meet, write the sentence and read off the links."""
    opening = {"?": "¿", "!": "¡"}.get(mark, "")
    met = [(opening, 0)] if opening else []
    for place, (word, bits) in enumerate(spanish):
        following = spanish[place + 1][0].lower() if place + 1 < len(spanish) else ""
        if word == "el" and met and met[-1][0] in ("a", "de"):
            before, links = met.pop()
            word, bits = {"a": "al", "de": "del"}[before], bits | links
        elif word == "y" and re.match("h?[ií](?!e)", following):
            word = "e"
        met.append((word, bits))
    links = [
        (i, j)
        for i, (_, first) in enumerate(english)
        for j, (_, second) in enumerate(met)
        if first & second
    ]
    links.append((len(english), len(met)))
    spanish_text = _text(met[1:] if opening else met, mark, opening)
    return Pair(text, spanish_text, tuple(links))


def _a(word: str) -> str:
    return "an" if word[0].lower() in "aeiou" and not word.startswith("uni") else "a"


# ---------------------------------------------------------------- forms of words


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if re.search("[^aeiou]y$", word) else word + "s"


def _past(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if re.search("[^aeiou]y$", verb) else verb + "ed"


def _gerund(verb: str) -> str:
    return verb[:-1] + "ing" if re.search("[^e]e$", verb) and verb != "be" else verb + "ing"


def _third(verb: str) -> str:
    if verb in ("have", "be"):
        return {"have": "has", "be": "is"}[verb]
    return verb + "es" if verb.endswith("o") else _plural(verb)


def _unaccented(text: str) -> str:
    return text.translate(str.maketrans("áéíóú", "aeiou"))


def _plural_es(word: str) -> str:
    if word == "paraguas":
        return word
    if word == "joven":
        return "jóvenes"
    if word[-1] in "aeiouáéó":
        return word + "s"
    # A stress on the last syllable needs no accent any more once a syllable follows.
    stem = re.sub("[áéíóú](?=[ns]$)", lambda match: _unaccented(match[0]), word)
    return stem[:-1] + "ces" if stem.endswith("z") else stem + "es"


def _adjective_es(masculine: str) -> list[str]:
    feminine = masculine
    if masculine.endswith("o"):
        feminine = masculine[:-1] + "a"
    elif masculine in ("español", "inglés", "francés", "alemán", "hablador"):
        feminine = _unaccented(masculine) + "a" if masculine != "español" else "española"
    return [masculine, feminine, _plural_es(masculine), _plural_es(feminine)]


def _stem(infinitive: str) -> str:
    return infinitive.removesuffix("se")


def _conjugate(verb: str, change="", first="", past="", future="", **forms) -> dict:
    """Give the forms of a Spanish verb: for each tense those of I, you, he, we, they.

    Args:
        verb: infinitive.
        change: "e>ie" and the like: what becomes of the stem's last vowel where it is stressed.
        first: first person of the present.
        past, future: irregular stems.
        forms: whole tenses, and single forms ("gerund", "command", "forbidden").
    """
    stem, kind = verb[:-2], _unaccented(verb[-2])
    old, _, new = change.partition(">")
    head, found, rest = stem.rpartition(old) if old else (stem, "", "")
    strong = head + new + rest if found else stem
    # Verbs in -ir that change also do so, in a weaker form, where -ie- or -ió follows.
    weak = head + {"ie": "i", "ue": "u", "i": "i"}[new] + rest if found and kind == "i" else stem
    glides = stem.endswith(("a", "e", "o", "u")) and kind != "a"
    table = {
        "present": {"a": "o as a amos an", "e": "o es e emos en", "i": "o es e imos en"}[kind],
        "preterite": "é aste ó amos aron" if kind == "a" else "í iste ió imos ieron",
        "imperfect": "aba abas aba ábamos aban" if kind == "a" else "ía ías ía íamos ían",
        "future": "é ás á emos án",
    }
    table = {tense: endings.split() for tense, endings in table.items()}
    made = {
        "present": [
            (stem if i == 3 else strong) + ending for i, ending in enumerate(table["present"])
        ],
        "preterite": [
            (weak if i in (2, 4) else stem) + ending for i, ending in enumerate(table["preterite"])
        ],
        "imperfect": [stem + ending for ending in table["imperfect"]],
        "future": [(future or _unaccented(verb)) + ending for ending in table["future"]],
        "gerund": weak + ("ando" if kind == "a" else "yendo" if glides else "iendo"),
    }
    if first:
        made["present"][0] = first
    if kind == "a":
        made["preterite"][0] = _before_e(stem) + "é"
    if glides:
        accent = "" if stem[-1] == "u" else "í"
        ending = ["í", f"{accent or 'i'}ste", "yó", f"{accent or 'i'}mos", "yeron"]
        made["preterite"] = [stem + e for e in ending]
    if past:
        endings = ["e", "iste", "o", "imos", "eron" if past.endswith("j") else "ieron"]
        made["preterite"] = [past + ending for ending in endings]
    made |= {key: form.split() if " " in form else form for key, form in forms.items()}
    root = made["present"][0][:-1]
    made.setdefault("command", made["present"][2])
    made.setdefault("forbidden", (_before_e(root) + "es") if kind == "a" else root + "as")
    return made


def _before_e(stem: str) -> str:
    """Spell a stem so that it sounds the same in front of e."""
    return re.sub("[cgz]$", lambda match: {"c": "qu", "g": "gu", "z": "c"}[match[0]], stem)


# ---------------------------------------------------------------- the lexicon


def _parse(entry: str) -> _Verb:
    """Read an entry of [phrases], such as "wait_for {folk} = esperar ~a {folk}"."""
    sides, le = [], False
    for side in entry.split(" = "):
        units, place = [], 0
        for unit in re.findall(r"\{[^}]*\}|\S+", side):
            if unit[0] == "{":
                units.append((unit[1:-1], -1))
                continue
            le |= unit.startswith("le+")
            plain, _, text, digit = re.fullmatch(r"(~?)(le\+)?(.+?)(\d?)", unit).groups()
            place += not plain
            units.append((tuple(text.split("_")), 0 if plain else int(digit or place)))
        sides.append(units)
    english, spanish = sides
    if {u[1] for u in english} - {0} != {u[1] for u in spanish} - {0}:
        raise ValueError(f"the units of {entry!r} do not match")
    slots = {text: False for text, index in english if index < 0}
    if sorted(slots) != sorted(text for text, index in spanish if index < 0):
        raise ValueError(f"the slots of {entry!r} do not match")
    for (before, index), (text, is_slot) in pairwise(spanish):
        if is_slot < 0 and before == ("a",) and (index == 0 or text.endswith("recipient")):
            slots[text] = True
    return _Verb(english, spanish, slots, le)


@cache
def _lexicon() -> SimpleNamespace:
    """Read the tables of the lexicon and work out the forms of its words."""
    path = settings.ROOT / "data/lexicon/pairs.toml"
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    kept = ("names", "places", "pronouns", "jobs", "determiners", "modes", "describable", "very")
    lexicon = SimpleNamespace(**{key: raw[key] for key in kept})
    lexicon.adjectives = {
        group: [
            _Adjective(en, _adjective_es(es), 2 if group in raw["near"] else 1, [])
            for en, es in words.items()
        ]
        for group, words in raw["adjectives"].items()
    }
    lexicon.comparatives = raw["comparatives"]
    leading = {
        group: [
            _Adjective(en, forms[:4], int(group != "order"), forms[4].split())
            for en, forms in words.items()
        ]
        for group, words in raw["leading"].items()
    }
    nouns = {
        section: [
            _noun(english, entry, section not in raw["uncounted"], section in raw["never_plural"])
            for english, entry in words.items()
        ]
        for section, words in raw["nouns"].items()
    }
    lexicon.classes = {}
    for name, row in raw["classes"].items():
        sections, determiners, beside, after = [column.split() for column in row.split("|")]
        lexicon.classes[name] = _Class(
            [noun for section in sections for noun in nouns[section]],
            determiners,
            [a for group in beside for a in (lexicon.adjectives.get(group) or leading[group])],
            after,
            bool({*sections} & {*raw["people"]}),
        )
    lexicon.phrases = {
        group: [*map(_parse, rows)] for group, rows in raw["phrases"].items() if group != "where"
    }
    lexicon.phrases["where"] = {
        kind: [*map(_parse, rows)] for kind, rows in raw["phrases"]["where"].items()
    }
    lexicon.phrases["lasting"] = [
        v for v in lexicon.phrases["habit"] if v.english[0][0][0] not in raw["momentary"]
    ]
    for group in raw["phrases"].values():
        for entry in group if isinstance(group, list) else chain.from_iterable(group.values()):
            for slot in _parse(entry).slots:
                mode, _, kind = slot.rpartition(" ")
                known = (
                    {**lexicon.adjectives, "job": 0}
                    if mode == "is"
                    else {**lexicon.classes, **raw["places"]}
                )
                modes = {*raw["determiners"], *raw["modes"], "", "is", "bare", "general"}
                if mode not in modes or kind not in {*known, "recipient"}:
                    raise ValueError(f"the slot {{{slot}}} of {entry!r} is not known")
    lexicon.described = {
        group: _parse(
            f"be {{is {group}}} = {'estar' if group in raw['passing'] else 'ser'} {{is {group}}}"
        )
        for group in lexicon.adjectives
    }
    lexicon.described |= {
        "being": _parse("be = estar"),
        "is": _parse("be = ser"),
        "cost": _parse("cost = costar"),
    }
    lexicon.modals = {
        name: (tuple(en.split("_")), tuple(es.split("_")))
        for name, (en, es) in raw["modals"].items()
    }
    times = {
        when: [_parse(f"x {row.replace(' = ', ' = x ')}") for row in rows]
        for when, rows in raw["times"].items()
    }
    lexicon.often = [tuple(row.split(" = ")) for row in raw["times"]["often"]]
    lexicon.times = {
        when: [(v.english[1:], v.spanish[1:]) for v in rows] for when, rows in times.items()
    }
    for kind in ("reasons", "obstacles"):
        rows = [[half.split() for half in row.split("|")] for row in raw["compound"][kind]]
        setattr(lexicon, kind, [(a[0], _options(a[1:]), b[0], _options(b[1:])) for a, b in rows])
    irregular = {row.split()[0]: row.split()[1:] for row in raw["english"]["irregular"]}
    lexicon.past = lambda verb: irregular[verb][0] if verb in irregular else _past(verb)
    lexicon.gerund = lambda verb: (
        irregular[verb][1] if len(irregular.get(verb, ())) > 1 else _gerund(verb)
    )
    lexicon.stative = {*raw["spanish"]["stative"]}
    lexicon.conjugate = cache(
        lambda verb: _conjugate(verb, **raw["spanish"]["irregular"].get(verb, {}))
    )
    return lexicon


def _options(words: list[str]) -> dict:
    """Read the settings of `clause` in a row of [compound], such as "past not" or "present can"."""
    form, *rest = words
    return {
        "form": form,
        "negated": "not" in rest,
        "modal": next((w for w in rest if w != "not"), ""),
    }


def _noun(english: str, entry: str, counted: bool, single: bool) -> _Noun:
    spanish, gender, *plural = entry.split()
    return _Noun(
        (english, plural[0] if plural else _plural(english)),
        (spanish, _plural_es(spanish)),
        gender != "m",
        gender == "e",
        counted,
        counted and not single,
    )
