"""Random draws, links between words, and noun phrases in English and Spanish.

Clauses are in `clauses`, whole sentences in `statements`, `questions` and `compound_sentences`.
"""

import random
from typing import NamedTuple

from utils.synthetic.lexicon import Adjective, Noun, NounClass, load_lexicon
from utils.synthetic.morphology import indefinite_article

# Words of one language, each with its links as a bit mask. Words of the two languages that share a
# bit are linked; 0 means that a word has no counterpart.
Words = list[tuple[str, int]]
Bilingual = tuple[Words, Words]  # English words, Spanish words

# Grammatical persons, as they index tables of verb forms.
FIRST, YOU, HE, WE, THEY = range(5)  # HE is any third person singular: she, it, a noun
_PERSONS = {"I": FIRST, "you": YOU, "he": HE, "she": HE, "it": HE, "we": WE, "they": THEY}

# A unit's link number is below this: each verb with what follows it reserves so many links.
LINKS_PER_VERB = 8


class RejectedError(Exception):
    """The draft would repeat a word, or have more than one translation."""


class Phrase(NamedTuple):
    """A noun phrase, or what stands for one."""

    english: Words
    spanish: Words
    person: int = HE
    feminine: bool | None = False  # None: English does not say
    pronoun: str = ""  # its key in the lexicon's [pronouns]
    object_pronouns: tuple[str, str] | None = None  # Spanish direct and indirect object: "lo", "le"

    @property
    def form_index(self) -> int:
        """Index into masculine, feminine, masculine plural, feminine plural."""
        return form_index(bool(self.feminine), self.person > HE)


class Sentence(NamedTuple):
    """A sentence before capitals and contractions; `punctuation` is what English ends it with."""

    english: Words
    spanish: Words
    punctuation: str


def form_index(feminine: bool, plural: bool) -> int:
    """Index into masculine, feminine, masculine plural, feminine plural."""
    return feminine + 2 * plural


class Grammar:
    """Draws words and noun phrases for one sentence after another.

    The functions that write clauses and sentences take a grammar as their first argument: it holds
    the random numbers, the lexicon, and which words the sentence has used so far.
    """

    def __init__(self, rng: random.Random):
        # Only random() gives the same numbers in every version of Python.
        self.random = rng.random
        self.lexicon = load_lexicon()
        self.start_sentence()

    def start_sentence(self) -> None:
        """Forget the words and links of the sentence before."""
        self.used = set()
        self.next_link = 1

    # ------------------------------------------------------------ draws and links

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.random() < probability

    def choose(self, options):
        """Draw one of the options, all of them equally often."""
        return options[int(self.random() * len(options))]

    def pick(self, options, name=None):
        """Draw an option that is not in the sentence yet, early ones more often than late ones.

        The first is three times as likely as the last.

        Args:
            options: a list.
            name: function that returns the word of an option; the option itself if None.
        """
        for _ in range(20):
            draw = self.random()
            option = options[int(len(options) * draw * (0.5 + 0.5 * draw))]
            word = name(option) if name else option
            if word not in self.used:
                self.used.add(word)
                return option
        raise RejectedError

    def new_link(self, count: int = 1) -> int:
        """Return a link that no word has yet; its next `count` - 1 left shifts are free too."""
        link = self.next_link
        self.next_link <<= count
        return link

    def linked(self, english: str, spanish: str) -> Bilingual:
        """Link words with each other: "how_much" and "cuánto"; "_" separates words."""
        link = self.new_link()
        english_words = [(word, link) for word in english.split("_")]
        spanish_words = [(word, link) for word in spanish.split("_")]
        return english_words, spanish_words

    # ------------------------------------------------------------ persons

    def name(self) -> Phrase:
        """Write a first name: "Lucia / Lucía"."""
        gender = self.choose("fm")
        names = self.pick(self.lexicon.names[gender])
        english, spanish = self.linked(*names)
        return Phrase(english, spanish, feminine=gender == "f")

    def pronoun(self, key: str, feminine: bool | None = None, omitted: bool = False) -> Phrase:
        """Write a subject pronoun: "she / ella"; "we" alone, as Spanish leaves "nosotros" out."""
        if key in ("he", "she"):
            feminine = key == "she"
        spanish_pronoun = "" if omitted else self.lexicon.pronouns[key][1]
        link = self.new_link()
        spanish = [(spanish_pronoun, link)] if spanish_pronoun else []
        return Phrase([(key, link)], spanish, _PERSONS[key], feminine, key)

    def pronoun_for(self, phrase: Phrase) -> Phrase:
        """Write the pronoun for a subject named before, which Spanish leaves out."""
        third_person = "she" if phrase.feminine else "he"
        keys = ("I", "you", third_person, "we", "they")
        return self.pronoun(keys[phrase.person], phrase.feminine, omitted=True)

    def subject(
        self,
        *,
        pronouns: float = 0.4,
        plain: bool = False,
        gendered: bool = False,
        asked: bool = False,
    ) -> Phrase:
        """Write a subject: "she / ella", "Ana and Luis / Ana y Luis", "my brother / mi hermano".

        Args:
            pronouns: how often it is a pronoun.
            plain: no adjectives, no possessor, no two names.
            gendered: pronouns only where English shows their gender, "he" and "she".
            asked: pronouns as in a question, where "I" and "we" are rare.
        """
        draw = self.random()
        others = 1 - pronouns
        if draw < pronouns:
            if gendered:
                keys = ["he", "she"]
            elif asked:
                keys = ["you", "you", "he", "she", "they"]
            else:
                keys = ["I", "I", "you", "he", "she", "we", "they"]
            return self.pronoun(self.choose(keys))
        if draw < pronouns + others * 0.45:
            return self.name()
        if draw < pronouns + others * 0.57 and not plain:
            return self._two_names()
        kind = self.choose(["folk", "folk", "adult", "kin", "elder", "friend"])
        determiner = "the" if plain and kind in ("folk", "adult") else ""
        return self.noun_phrase(determiner, kind, plain=plain)

    def _two_names(self) -> Phrase:
        """Write "Ana and Luis / Ana y Luis"."""
        first = self.name()
        second = self.name()
        and_english, and_spanish = self.linked("and", "y")
        return Phrase(
            first.english + and_english + second.english,
            first.spanish + and_spanish + second.spanish,
            THEY,
            feminine=first.feminine and second.feminine,  # one man makes it "cansados"
        )

    def _possessor(self) -> Phrase:
        """Write who owns something: "Marta", "his sister / su hermana"."""
        if self.chance(0.6):
            return self.name()
        determiner = self.choose(["my", "your", "his", "her"])
        kind = self.choose(["kin", "elder"])
        return self.noun_phrase(determiner, kind, plain=True, plural=False)

    # ------------------------------------------------------------ noun phrases

    def noun_phrase(
        self, mode: str, kind: str, plain: bool = False, plural: bool | None = None
    ) -> Phrase:
        """Write a noun with what goes with it: "these blue dresses / estos vestidos azules".

        Args:
            mode: a determiner, "" for any that suits the class, or one of the lexicon's [modes].
                "bare" is without an article, "general" has one in Spanish only ("Apples are / Las
                manzanas son"), and "s" is a possessor ("Maria's / de María").
            kind: a class of nouns, or a list of proper names.
            plain: no adjectives and no possessor.
            plural: whether the noun is plural, where mode and noun allow either; drawn if None.
        """
        lexicon = self.lexicon
        if kind in lexicon.places:
            proper_name = self.pick(lexicon.places[kind])
            return Phrase(*self.linked(*proper_name))
        noun_class = lexicon.classes[kind]
        noun = self.pick(noun_class.nouns, _english_singular)
        if mode:
            mode = self.choose(lexicon.modes.get(mode) or [mode])
        else:
            mode = self.choose(noun_class.determiners)
        if plain and mode == "s":
            mode = "my"
        plural = self._draw_number(noun, mode, plural)
        adjectives = [] if plain else self._draw_adjectives(noun_class, mode)
        return self._assemble(noun_class, noun, mode, plural, adjectives)

    def _draw_number(self, noun: Noun, mode: str, plural: bool | None) -> bool:
        """Return whether the noun is plural."""
        determiner = self.lexicon.determiners.get(mode)
        if determiner and not determiner[0]:
            return True  # "these", "two"
        if determiner and not determiner[2]:
            return False  # "this", "a"
        if plural is not None:
            return plural and noun.countable
        if mode in ("bare", "general"):
            return noun.countable  # "he eats apples", "he drinks water"
        return noun.plural_allowed and self.chance(0.22)

    def _draw_adjectives(self, noun_class: NounClass, mode: str) -> list[Adjective]:
        """Draw none, one or two adjectives, in English order: "small", "red"."""
        adjectives = []
        draw = self.random()
        for threshold in (0.55, 0.93):
            if draw <= threshold:
                break
            options = noun_class.attributive
            if adjectives:
                first = adjectives[0]
                options = [
                    adjective
                    for adjective in options
                    if adjective.rank > first.rank and not adjective.determiners
                ]
            if not options:
                continue
            adjective = self.choose(options)
            suits_mode = not adjective.determiners or mode in adjective.determiners
            if suits_mode and adjective.english not in self.used:
                self.used.add(adjective.english)
                adjectives.append(adjective)
        return adjectives

    def _assemble(
        self,
        noun_class: NounClass,
        noun: Noun,
        mode: str,
        plural: bool,
        adjectives: list[Adjective],
    ) -> Phrase:
        """Put determiner, adjectives and noun into the order of each language."""
        index = form_index(noun.feminine, plural)
        english = []
        before_noun = []
        after_noun = []
        for adjective in adjectives:
            adjective_english, adjective_spanish = self.linked(
                adjective.english, adjective.spanish[index]
            )
            english += adjective_english
            if adjective.determiners:
                before_noun += adjective_spanish  # "buen libro"
            else:
                # Spanish mirrors the English order: "big grey car", "coche gris grande".
                after_noun = adjective_spanish + after_noun
        noun_english, noun_spanish = self.linked(
            noun.english[plural].replace(" ", "_"), noun.spanish[plural]
        )
        english += noun_english
        spanish = before_noun + noun_spanish + after_noun

        # What a possessor owns has the article in Spanish: "Maria's dog", "el perro de María".
        determiner = "the" if mode in ("s", "general") else mode
        forms = self.lexicon.determiners.get(determiner)
        article = forms[index] if forms else ""
        # "La" and "una" become "el" and "un" in front of a stressed a: el agua, but esta agua.
        if noun.takes_el and not before_noun and article in ("la", "una"):
            article = {"la": "el", "una": "un"}[article]

        article_link = 0
        if mode == "s":
            owner = self.name() if noun_class.people else self._possessor()
            last_word, owner_link = owner.english[-1]
            english = [*owner.english[:-1], (f"{last_word}'s", owner_link), *english]
            spanish = [*spanish, ("de", owner_link), *owner.spanish]
        elif mode not in ("bare", "general"):
            article_link = self.new_link()
            word = indefinite_article(english[0][0]) if mode == "a" else mode
            english = [(word, article_link), *english]
        if article:
            spanish = [(article, article_link), *spanish]
        return Phrase(english, spanish, THEY if plural else HE, noun.feminine)

    # ------------------------------------------------------------ what follows a verb

    def fill_slot(self, slot: str, subject: Phrase, allow_pronoun: bool) -> Phrase:
        """Write what a slot of the lexicon stands for.

        Args:
            slot: "fruit", "the water", "is trait", ...
            subject: of the clause; adjectives agree with it, and an object is not the same person.
            allow_pronoun: whether a pronoun may stand for a person: "Ana calls us / Ana nos llama".
        """
        mode, _, kind = slot.rpartition(" ")
        if mode == "is":
            return self.predicate(kind, subject)
        if kind == "recipient":
            kind = self.choose(["folk", "kin", "elder"])
        noun_class = self.lexicon.classes.get(kind)
        if allow_pronoun and noun_class and noun_class.people and self.chance(0.3):
            return self._object_pronoun(subject)
        if kind == "folk" and mode not in ("some", "count") and self.chance(0.4):
            return self.name()
        return self.noun_phrase(mode, kind)

    def _object_pronoun(self, subject: Phrase) -> Phrase:
        """Write an object pronoun: "him", which is "lo" or "le" in front of a Spanish verb."""
        # "I see me" is no English, and "he sees him" would leave open who is who.
        if subject.person in (FIRST, WE):
            excluded = ["I", "we"]
        elif subject.person == YOU:
            excluded = ["you"]
        else:
            excluded = [subject.pronoun]
        keys = [key for key in ("I", "you", "he", "she", "we") if key not in excluded]
        key = self.choose(keys)
        english, _, direct, indirect = self.lexicon.pronouns[key]
        words = [(english, self.new_link())]
        return Phrase(words, [], HE, None, key, (direct, indirect))

    def predicate(self, kind: str, subject: Phrase, allow_very: bool = True) -> Phrase:
        """Write an adjective or a profession that agrees with the subject: "very tall / muy alta".

        Args:
            kind: a group of adjectives, or "job" ("a lawyer / abogada").
            subject: what is described.
            allow_very: whether "very" may stand in front.
        """
        lexicon = self.lexicon
        if kind == "job":
            job = self.choose(list(lexicon.jobs))
            english, spanish = self.linked(job, lexicon.jobs[job][subject.form_index])
            return Phrase([(indefinite_article(job), 0), *english], spanish)
        adjective = self.pick(lexicon.adjectives[kind], _english_adjective)
        masculine, feminine = adjective.spanish[:2]
        if subject.feminine is None and masculine != feminine:
            raise RejectedError  # "I am tired": cansado or cansada?
        english, spanish = self.linked(adjective.english, adjective.spanish[subject.form_index])
        if allow_very and kind in lexicon.very and self.chance(0.25):
            very_english, very_spanish = self.linked("very", "muy")
            english = very_english + english
            spanish = very_spanish + spanish
        return Phrase(english, spanish)


def _english_singular(noun: Noun) -> str:
    return noun.english[0]


def _english_adjective(adjective: Adjective) -> str:
    return adjective.english
