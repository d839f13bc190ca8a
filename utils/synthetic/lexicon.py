"""The words of data/lexicon/pairs.toml as typed tables, with the forms that the grammar needs.

How entries are written is explained in that file. Mistakes in it are reported when it is read.
"""

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from utils import settings
from utils.synthetic import morphology


class Adjective(NamedTuple):
    """An adjective with its Spanish forms: masculine, feminine, and both in the plural."""

    english: str
    spanish: list[str]
    rank: (
        int  # order of English adjectives: 0 "first", 1 "small" or "good", 2 "red" next to the noun
    )
    determiners: list[str]  # only for adjectives in front of Spanish nouns: those they may follow


class Noun(NamedTuple):
    """A noun: English singular and plural, Spanish singular and plural."""

    english: tuple[str, str]
    spanish: tuple[str, str]
    feminine: bool
    takes_el: bool  # "el agua", though feminine
    countable: bool
    plural_allowed: bool


class NounClass(NamedTuple):
    """Nouns that may fill the same slot, and the words that go with them."""

    nouns: list[Noun]
    determiners: list[str]
    attributive: list[Adjective]  # "the red car"
    predicative: list[str]  # groups of adjectives after a form of be: "the car is fast"
    people: bool


class Unit(NamedTuple):
    """Words that are linked as one, or a slot for a noun phrase."""

    words: tuple[str, ...]
    link: int  # units of both languages with the same number are linked; 0 has no counterpart
    slot: str = ""


class Verb(NamedTuple):
    """A verb with what follows it; the first unit of each language is the verb itself."""

    english: list[Unit]
    spanish: list[Unit]
    slots: dict[str, bool]  # whether an object pronoun may replace the noun phrase
    repeats_recipient: bool  # "le da el libro a Ana"


class ClausePlan(NamedTuple):
    """One clause of a compound sentence: a group of verbs and settings of `clauses.clause`."""

    group: str
    form: str
    negated: bool
    modal: str


@dataclass(frozen=True)
class Lexicon:
    """All tables; keys are those of pairs.toml."""

    names: dict[str, list[tuple[str, str]]]  # by gender
    places: dict[str, list[tuple[str, str]]]
    pronouns: dict[str, list[str]]
    jobs: dict[str, list[str]]
    determiners: dict[str, list[str]]
    modes: dict[str, list[str]]
    adjectives: dict[str, list[Adjective]]
    comparatives: dict[str, str]
    classes: dict[str, NounClass]
    describable: list[str]
    very: list[str]
    phrases: dict[str, list[Verb]]
    where: dict[str, list[Verb]]
    described: dict[str, Verb]  # "be" with an adjective of the group, and three bare verbs
    modals: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    times: dict[str, list[tuple[list[Unit], list[Unit]]]]
    often: list[tuple[str, str]]
    reasons: list[tuple[ClausePlan, ClausePlan]]
    obstacles: list[tuple[ClausePlan, ClausePlan]]
    stative: set[str]
    irregular_english: dict[str, list[str]]  # past and, for some, gerund
    irregular_spanish: dict[str, dict[str, str]]
    _conjugations: dict[str, dict] = field(default_factory=dict, init=False)

    def past(self, verb: str) -> str:
        """Return the simple past of an English verb."""
        if verb in self.irregular_english:
            return self.irregular_english[verb][0]
        return morphology.english_past(verb)

    def gerund(self, verb: str) -> str:
        """Return the form in -ing of an English verb."""
        forms = self.irregular_english.get(verb, [])
        if len(forms) > 1:
            return forms[1]
        return morphology.english_gerund(verb)

    def conjugate(self, infinitive: str) -> dict:
        """Return the forms of a Spanish verb; reflexive ones without pronoun: levanto."""
        forms = self._conjugations.get(infinitive)
        if forms is None:
            verb = infinitive.removesuffix("se")
            forms = morphology.conjugate(verb, **self.irregular_spanish.get(verb, {}))
            self._conjugations[infinitive] = forms
        return forms


@cache
def load_lexicon() -> Lexicon:
    """Read pairs.toml.

    Raises:
        ValueError: the two sides of an entry do not match, or it names a slot that does not exist.
    """
    path = settings.ROOT / "data/lexicon/pairs.toml"
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    adjectives = _adjectives(raw)
    phrases = {}
    for group, entries in raw["phrases"].items():
        if group != "where":
            phrases[group] = [_parse_verb(entry) for entry in entries]
    where = {}
    for kind, entries in raw["phrases"]["where"].items():
        where[kind] = [_parse_verb(entry) for entry in entries]
    _check_slots(raw, [*phrases.values(), *where.values()])
    # "He is wearing a hat" is no habit: these have no progressive that means the same.
    phrases["lasting"] = [
        verb for verb in phrases["habit"] if verb.english[0].words[0] not in raw["momentary"]
    ]
    times = {}
    for when, entries in raw["times"].items():
        times[when] = [_parse_units(entry) for entry in entries]
    return Lexicon(
        names={gender: _split_rows(rows, " ") for gender, rows in raw["names"].items()},
        places={kind: _split_rows(rows, " ") for kind, rows in raw["places"].items()},
        pronouns=raw["pronouns"],
        jobs=raw["jobs"],
        determiners=raw["determiners"],
        modes=raw["modes"],
        adjectives=adjectives,
        comparatives=raw["comparatives"],
        classes=_noun_classes(raw, adjectives),
        describable=raw["describable"],
        very=raw["very"],
        phrases=phrases,
        where=where,
        described=_descriptions(raw, adjectives),
        modals={
            name: (tuple(english.split("_")), tuple(spanish.split("_")))
            for name, (english, spanish) in raw["modals"].items()
        },
        times=times,
        often=_split_rows(raw["times"]["often"], " = "),
        reasons=_clause_plans(raw["compound"]["reasons"]),
        obstacles=_clause_plans(raw["compound"]["obstacles"]),
        stative=set(raw["spanish"]["stative"]),
        irregular_english={row.split()[0]: row.split()[1:] for row in raw["english"]["irregular"]},
        irregular_spanish=raw["spanish"]["irregular"],
    )


# ---------------------------------------------------------------- verbs with what follows them


def _parse_verb(entry: str) -> Verb:
    """Parse an entry of [phrases], such as "wait_for {folk} = esperar ~a {folk}"."""
    english, spanish = _parse_units(entry)
    slots = {unit.slot: False for unit in english if unit.slot}
    if sorted(slots) != sorted(unit.slot for unit in spanish if unit.slot):
        raise ValueError(f"the slots of {entry!r} do not match")
    for before, unit in pairwise(spanish):
        # A pronoun replaces a person or a recipient with the "a" in front: "espera a Ana", "la
        # espera". The "a" of "ir a {the place}" translates "to" and stays.
        if unit.slot and before.words == ("a",):
            slots[unit.slot] = before.link == 0 or unit.slot.endswith("recipient")
    return Verb(english, spanish, slots, repeats_recipient="le+" in entry)


def _parse_units(entry: str) -> tuple[list[Unit], list[Unit]]:
    """Split "last1 week2 = ~la semana2 pasada1" into the units of both languages."""
    english, spanish = entry.split(" = ")
    english_units = _parse_side(english)
    spanish_units = _parse_side(spanish)
    english_links = {unit.link for unit in english_units}
    spanish_links = {unit.link for unit in spanish_units}
    if english_links - {0} != spanish_links - {0}:
        raise ValueError(f"the units of {entry!r} do not match")
    return english_units, spanish_units


def _parse_side(side: str) -> list[Unit]:
    units = []
    next_link = 1
    for text in re.findall(r"\{[^}]*\}|\S+", side):
        if text.startswith("{"):
            units.append(Unit((), 0, slot=text[1:-1]))
            continue
        # "~" has no counterpart, "le+" is `repeats_recipient`, a digit is the number of the link.
        unlinked, words, digit = re.fullmatch(r"(~?)(?:le\+)?(.+?)(\d?)", text).groups()
        if unlinked:
            link = 0
        else:
            link = int(digit or next_link)
            next_link += 1
        units.append(Unit(tuple(words.split("_")), link))
    return units


def _check_slots(raw: dict, verb_lists: list[list[Verb]]) -> None:
    """Refuse slots whose class or determiner does not exist."""
    classes = {*raw["classes"], *raw["places"], "recipient"}
    descriptions = {*raw["adjectives"], "job"}
    determiners = {*raw["determiners"], *raw["modes"], "", "bare", "general"}
    for verbs in verb_lists:
        for verb in verbs:
            for slot in verb.slots:
                mode, _, kind = slot.rpartition(" ")
                if mode == "is":
                    known = kind in descriptions
                else:
                    known = mode in determiners and kind in classes
                if not known:
                    verb_text = " ".join(verb.english[0].words)
                    raise ValueError(f"the slot {{{slot}}} after {verb_text!r} is not known")


def _descriptions(raw: dict, groups: dict[str, list[Adjective]]) -> dict[str, Verb]:
    """Return "be" for each group of adjectives: estar for passing states, ser for the rest."""
    descriptions = {}
    for group in groups:
        be = "estar" if group in raw["passing"] else "ser"
        descriptions[group] = _parse_verb(f"be {{is {group}}} = {be} {{is {group}}}")
    descriptions["being"] = _parse_verb("be = estar")
    descriptions["is"] = _parse_verb("be = ser")
    descriptions["cost"] = _parse_verb("cost = costar")
    return descriptions


def _clause_plans(rows: list[str]) -> list[tuple[ClausePlan, ClausePlan]]:
    """Parse rows of [compound], such as "outing present can not | hindrance present"."""
    plans = []
    for row in rows:
        main, other = row.split("|")
        plans.append((_clause_plan(main), _clause_plan(other)))
    return plans


def _clause_plan(text: str) -> ClausePlan:
    group, form, *rest = text.split()
    modals = [word for word in rest if word != "not"]
    return ClausePlan(group, form, negated="not" in rest, modal=modals[0] if modals else "")


# ---------------------------------------------------------------- nouns and adjectives


def _adjectives(raw: dict) -> dict[str, list[Adjective]]:
    """Return the groups of adjectives that follow a Spanish noun."""
    groups = {}
    for group, words in raw["adjectives"].items():
        rank = 2 if group in raw["near"] else 1
        groups[group] = [
            Adjective(english, morphology.spanish_adjective(spanish), rank, [])
            for english, spanish in words.items()
        ]
    return groups


def _leading_adjectives(raw: dict) -> dict[str, list[Adjective]]:
    """Return the groups of adjectives that stand in front of a Spanish noun: "buen libro"."""
    groups = {}
    for group, words in raw["leading"].items():
        rank = 0 if group == "order" else 1
        groups[group] = [
            Adjective(english, forms[:4], rank, forms[4].split())
            for english, forms in words.items()
        ]
    return groups


def _noun_classes(raw: dict, adjectives: dict[str, list[Adjective]]) -> dict[str, NounClass]:
    attributive = _leading_adjectives(raw) | adjectives
    nouns = {}
    for section, words in raw["nouns"].items():
        countable = section not in raw["uncounted"]
        plural_allowed = countable and section not in raw["never_plural"]
        nouns[section] = [
            _noun(english, entry, countable, plural_allowed) for english, entry in words.items()
        ]
    classes = {}
    for name, row in raw["classes"].items():
        sections, determiners, before_noun, after_be = (column.split() for column in row.split("|"))
        classes[name] = NounClass(
            nouns=[noun for section in sections for noun in nouns[section]],
            determiners=determiners,
            attributive=[adjective for group in before_noun for adjective in attributive[group]],
            predicative=after_be,
            people=any(section in raw["people"] for section in sections),
        )
    return classes


def _noun(english: str, entry: str, countable: bool, plural_allowed: bool) -> Noun:
    """Parse an entry of [nouns], such as "cuchillo m knives"."""
    spanish, gender, *irregular_plural = entry.split()
    plural = irregular_plural[0] if irregular_plural else morphology.english_plural(english)
    return Noun(
        english=(english, plural),
        spanish=(spanish, morphology.spanish_plural(spanish)),
        feminine=gender in ("f", "e"),
        takes_el=gender == "e",
        countable=countable,
        plural_allowed=plural_allowed,
    )


def _split_rows(rows: list[str], separator: str) -> list[tuple[str, str]]:
    """Split "Maria María" into the English and the Spanish word."""
    return [tuple(row.split(separator)) for row in rows]
