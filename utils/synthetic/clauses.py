"""Clauses: a subject, a verb and what follows it, in the word order of English and of Spanish."""

from typing import NamedTuple

from utils.synthetic.grammar import (
    HE,
    LINKS_PER_VERB,
    Bilingual,
    Grammar,
    Phrase,
    RejectedError,
    Words,
)
from utils.synthetic.lexicon import Lexicon, Verb
from utils.synthetic.morphology import english_third_person

# Forms for I, you, he, we, they.
BE = {
    "present": ("am", "are", "is", "are", "are"),
    "past": ("was", "were", "was", "were", "were"),
}
_REFLEXIVE_PRONOUNS = ("me", "te", "se", "nos", "se")
_CONTRACTIONS = {"can": "can't", "will": "won't"}  # the others end in n't


class _VerbWords(NamedTuple):
    """A verb and the words that belong to it: "have to / tener que"."""

    english: tuple[str, ...]
    spanish: tuple[str, ...]
    link: int


def draw_verb(grammar: Grammar, *groups: str) -> Verb:
    """Draw a verb with what follows it from one of the groups of the lexicon's [phrases]."""
    group = grammar.choose(groups)
    return grammar.pick(grammar.lexicon.phrases[group], _english_verb)


def _english_verb(verb: Verb) -> tuple[str, ...]:
    return verb.english[0].words


def time_phrase(grammar: Grammar, when: str) -> Bilingual:
    """Write when something happens: "last week / la semana pasada"."""
    english_units, spanish_units = grammar.choose(grammar.lexicon.times[when])
    base = grammar.new_link(LINKS_PER_VERB)
    english = []
    for unit in english_units:
        english += _unit_words(unit.words, unit.link, base)
    spanish = []
    for unit in spanish_units:
        spanish += _unit_words(unit.words, unit.link, base)
    return english, spanish


def clause(
    grammar: Grammar,
    subject: Phrase,
    verb: Verb,
    form: str,
    *,
    negated: bool = False,
    modal: str = "",
    adverb: tuple = (),
    asks: bool = False,
    front: Bilingual = ([], []),
    tail: Bilingual = ([], []),
    gap: bool = False,
) -> Bilingual:
    """Write a clause: "He never eats apples / Él nunca come manzanas".

    Args:
        grammar: what draws the words.
        subject: its person decides the form of the verb.
        verb: an entry of the lexicon's [phrases].
        form: "present", "past", "future", "progressive" ("is reading"),
            "background" ("was reading").
        negated: "doesn't eat / no come".
        modal: a key of the lexicon's [modals] ("wants to eat / quiere comer"), or "". Not with
            "progressive" or "background".
        adverb: an entry of `Lexicon.often`, or ().
        asks: whether the verb goes before the subject.
        front: words in front of everything else, such as "where / dónde".
        tail: words at the end, such as "yesterday / ayer".
        gap: leave the slots empty, because `front` or a relative pronoun stands for them ("what
            did he eat").

    Returns:
        The English and the Spanish words.
    """
    lexicon = grammar.lexicon
    base = grammar.new_link(LINKS_PER_VERB)
    fillers = {}
    for slot, pronoun_possible in verb.slots.items():
        # After a modal there would be two translations: "lo quiere ver", "quiere verlo".
        allow_pronoun = pronoun_possible and not modal
        fillers[slot] = None if gap else grammar.fill_slot(slot, subject, allow_pronoun)
    rest_english, rest_spanish, object_pronouns = complement(verb, fillers, base)

    person = subject.person
    if subject.pronoun == "there":
        person = next(iter(fillers.values())).person  # "there are two dogs"
    main = _VerbWords(verb.english[0].words, verb.spanish[0].words, base << 1)
    helper = None
    progressive = form in ("progressive", "background")
    if progressive:
        helper = _VerbWords(("be",), ("estar",), grammar.new_link())
        form = "present" if form == "progressive" else "past"
    elif modal:
        helper = _VerbWords(*lexicon.modals[modal], grammar.new_link())

    # English
    needs_do = negated or asks
    auxiliary, main_english = _english_verb_words(
        lexicon, main, helper, form, person, progressive, needs_do
    )
    no = []
    middle = []  # between auxiliary and main verb
    if negated:
        no_link = grammar.new_link()
        no = [("no", no_link)]
        auxiliary, middle = _negate(grammar, auxiliary, no_link)
    adverb_spanish = []
    if adverb:
        adverb_english, adverb_spanish = grammar.linked(*adverb)
        middle = middle + adverb_english
    inverted = auxiliary + subject.english if asks else subject.english + auxiliary
    english = front[0] + inverted + middle + main_english + rest_english + tail[0]

    # Spanish
    finite = helper or main
    tense = form
    if form == "past":
        # States and what goes on are in the imperfect, events in the preterite: "tenía", "compró".
        lasts = helper or main.spanish[0] in lexicon.stative
        tense = "imperfect" if lasts else "preterite"
    finite_word = lexicon.conjugate(finite.spanish[0])[tense][person]
    if main.spanish[0].endswith("se"):
        object_pronouns.insert(0, (_REFLEXIVE_PRONOUNS[person], main.link))
    # A pronoun that Spanish leaves out is linked to the verb that shows its person: "I / compro".
    subject_is_omitted = subject.pronoun and not subject.spanish
    subject_link = subject.english[0][1] if subject_is_omitted else 0
    particles = [(word, finite.link) for word in finite.spanish[1:]]  # "que" of "tener que"
    if progressive:
        gerund = lexicon.conjugate(main.spanish[0])["gerund"]
        particles.append((gerund, main.link))
    elif helper:
        particles.append(_infinitive_with_pronouns(main, object_pronouns))
        object_pronouns = []
    if helper:
        particles += [(word, main.link) for word in main.spanish[1:]]

    spanish = front[1] + ([] if asks else subject.spanish) + adverb_spanish + no + object_pronouns
    spanish.append((finite_word, finite.link | subject_link))
    if asks:
        spanish += _after_question_verb(subject, verb, particles, rest_spanish, progressive)
    else:
        spanish += particles + rest_spanish
    return english, spanish + tail[1]


def _english_verb_words(
    lexicon: Lexicon,
    main: _VerbWords,
    helper: _VerbWords | None,
    form: str,
    person: int,
    progressive: bool,
    needs_do: bool,
) -> tuple[Words, Words]:
    """Return the auxiliary and the other verb words: "is", "going to buy"; "", "wants to buy"."""
    finite = helper or main
    auxiliary, main_verb = english_finite(lexicon, finite.english[0], form, person, needs_do)
    words = [(main_verb, finite.link)] if main_verb else []
    words += [(word, finite.link) for word in finite.english[1:]]
    if helper:
        first = lexicon.gerund(main.english[0]) if progressive else main.english[0]
        words.append((first, main.link))
        words += [(word, main.link) for word in main.english[1:]]
    if not auxiliary:
        return [], words
    # "Do" has no counterpart in Spanish.
    auxiliary_link = 0 if auxiliary in ("do", "does", "did") else finite.link
    return [(auxiliary, auxiliary_link)], words


def english_finite(
    lexicon: Lexicon, verb: str, form: str, person: int, needs_do: bool
) -> tuple[str, str]:
    """Return auxiliary and main verb: "did", "buy"; "", "bought"; "is", "".

    Args:
        lexicon: for irregular forms.
        verb: infinitive.
        form: "present", "past" or "future".
        person: index from I to they.
        needs_do: whether the clause is a question or negated.
    """
    if form == "future":
        return "will", verb
    if verb == "be":
        return BE[form][person], ""
    if verb in ("can", "must"):
        return verb, ""
    third_person = form == "present" and person == HE
    if needs_do:
        if form == "past":
            return "did", verb
        return "does" if third_person else "do", verb
    past = lexicon.past(verb)
    if past == verb and person != HE:
        raise RejectedError  # "They read books": leen or leyeron?
    if form == "past":
        return "", past
    return "", english_third_person(verb) if third_person else verb


def _negate(grammar: Grammar, auxiliary: Words, no_link: int) -> tuple[Words, Words]:
    """Return the auxiliary and what follows it: "isn't" or "is", "not"."""
    word, link = auxiliary[-1]
    if word != "am" and grammar.chance(0.65):
        contraction = _CONTRACTIONS.get(word, f"{word}n't")
        return [(contraction, link | no_link)], []
    if word == "can":
        return [("cannot", link | no_link)], []
    return auxiliary, [("not", no_link)]


def _infinitive_with_pronouns(main: _VerbWords, object_pronouns: Words) -> tuple[str, int]:
    """Make pronouns a part of the infinitive: "levantarse" in "tiene que levantarse"."""
    infinitive = main.spanish[0].removesuffix("se")
    links = main.link
    for pronoun, pronoun_link in object_pronouns:
        infinitive += pronoun
        links |= pronoun_link
    return infinitive, links


def _after_question_verb(
    subject: Phrase, verb: Verb, particles: Words, rest: Words, progressive: bool
) -> Words:
    """Put subject, particles and what follows the verb into the order of a Spanish question.

    A gerund stays with "estar": "¿Está buscando María un mapa?". A short complement goes before a
    subject that is not a pronoun: "¿Está cansado Luis?", but "¿Está ella cansada?".
    """
    is_description = any(slot.startswith("is ") for slot in verb.slots)
    is_short = is_description or len(rest) == 1
    if progressive:
        if is_short and not subject.pronoun:
            return particles + rest + subject.spanish
        return particles + subject.spanish + rest
    if is_short and not subject.pronoun and not particles:
        return rest + subject.spanish
    return subject.spanish + particles + rest


def complement(
    verb: Verb, fillers: dict[str, Phrase | None], base: int
) -> tuple[Words, Words, Words]:
    """Write what follows a verb: "the book to Ana / el libro a Ana" and "le".

    Args:
        verb: an entry of the lexicon's [phrases].
        fillers: a phrase for each of its slots; None leaves a slot empty.
        base: the links of the verb's units are left shifts of this one.

    Returns:
        The English words, the Spanish words, and the Spanish pronouns that go before the verb.
    """
    english = []
    for words, link, slot in verb.english[1:]:
        if not slot:
            english += _unit_words(words, link, base)
        elif fillers[slot]:
            english += fillers[slot].english

    spanish = []
    object_pronouns = []
    for words, link, slot in verb.spanish[1:]:
        if not slot:
            spanish += _unit_words(words, link, base)
            continue
        phrase = fillers[slot]
        if phrase and not phrase.object_pronouns:
            spanish += phrase.spanish
            if verb.repeats_recipient and slot.endswith("recipient"):
                # A pronoun repeats the recipient: "le da el libro a Ana".
                object_pronouns.append(("les" if phrase.person > HE else "le", 0))
            continue
        # Without a noun phrase there is no "a" either: "espera a Ana", "la espera".
        a_link = 0
        if verb.slots[slot] and spanish and spanish[-1][0] == "a":
            _, a_link = spanish.pop()
        if phrase:
            direct, indirect = phrase.object_pronouns
            pronoun = indirect if verb.repeats_recipient else direct
            object_pronouns.append((pronoun, phrase.english[0][1] | a_link))
    return english, spanish, object_pronouns


def _unit_words(words: tuple[str, ...], link: int, base: int) -> Words:
    """Give the words of a unit their link: `base` shifted by its number, or 0."""
    word_link = base << link if link else 0
    return [(word, word_link) for word in words]


def imperative(grammar: Grammar, verb: Verb, negated: bool) -> Bilingual:
    """Write a command: "Open the window / Abre la ventana", "Don't go / No vayas"."""
    base = grammar.new_link(LINKS_PER_VERB)
    addressee = Phrase([], [])
    fillers = {slot: grammar.fill_slot(slot, addressee, False) for slot in verb.slots}
    rest_english, rest_spanish, _ = complement(verb, fillers, base)
    forms = grammar.lexicon.conjugate(verb.spanish[0].words[0])
    verb_spanish = forms["forbidden" if negated else "command"]
    verb_link = base << 1
    english = [(word, verb_link) for word in verb.english[0].words] + rest_english
    spanish = [(word, verb_link) for word in (verb_spanish, *verb.spanish[0].words[1:])]
    spanish += rest_spanish
    if negated:
        no_link = grammar.new_link()
        english = [("don't", no_link), *english]
        spanish = [("no", no_link), *spanish]
    return english, spanish


def infinitive_phrase(grammar: Grammar, verb: Verb, subject: Phrase) -> Phrase:
    """Write a verb as a noun: "swim in the lake / nadar en el lago"."""
    base = grammar.new_link(LINKS_PER_VERB)
    fillers = {slot: grammar.fill_slot(slot, subject, False) for slot in verb.slots}
    rest_english, rest_spanish, _ = complement(verb, fillers, base)
    verb_link = base << 1
    english = [(word, verb_link) for word in verb.english[0].words] + rest_english
    spanish = [(word, verb_link) for word in verb.spanish[0].words] + rest_spanish
    return Phrase(english, spanish)


def joined(
    grammar: Grammar,
    first: Bilingual,
    english: str,
    spanish: str,
    second: Bilingual,
    comma: bool = False,
) -> Bilingual:
    """Put a conjunction between two clauses, with a comma in both languages or in none."""
    english_words, spanish_words = grammar.linked(english, spanish)
    if comma:
        english_comma, spanish_comma = grammar.linked(",", ",")
        english_words = english_comma + english_words
        spanish_words = spanish_comma + spanish_words
    return first[0] + english_words + second[0], first[1] + spanish_words + second[1]
