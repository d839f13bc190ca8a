"""Sentences of one clause: what people do, what things are like, commands, exclamations.

Each function writes one sentence. `draw_predicate` and `draw_description` serve questions and
compound sentences too.
"""

from utils.synthetic.clauses import (
    BE,
    clause,
    draw_verb,
    english_finite,
    imperative,
    infinitive_phrase,
    time_phrase,
)
from utils.synthetic.grammar import HE, THEY, Grammar, Phrase, RejectedError, Sentence, Words
from utils.synthetic.lexicon import Verb

# Indirect objects for I, you, he, we, they.
_DATIVE_PRONOUNS = ("me", "te", "le", "nos", "les")


def draw_predicate(grammar: Grammar) -> tuple[Verb, dict]:
    """Draw what somebody does, and the arguments of `clause` that go with it."""
    draw = grammar.random()
    options = {}
    if draw < 0.26:  # "She often reads novels."
        verb = draw_verb(grammar, "habit")
        options["form"] = "present"
        if grammar.chance(0.4):
            options["adverb"] = grammar.choose(grammar.lexicon.often)
        elif grammar.chance(0.65):
            options["tail"] = time_phrase(grammar, "habit")
        else:
            options["negated"] = grammar.chance(0.4)
    elif draw < 0.54:  # "She bought a car yesterday."
        verb = draw_verb(grammar, "habit", "act", "event", "event", "mishap")
        options["form"] = "past"
        options["negated"] = grammar.chance(0.2)
        if grammar.chance(0.55):
            options["tail"] = time_phrase(grammar, "past")
    elif draw < 0.64:  # "She will buy a car tomorrow."
        verb = draw_verb(grammar, "habit", "act", "event")
        options["form"] = "future"
        options["negated"] = grammar.chance(0.2)
        if grammar.chance(0.6):
            options["tail"] = time_phrase(grammar, "future")
    elif draw < 0.77:  # "She is reading a book now."
        verb = draw_verb(grammar, "lasting", "act")
        options["form"] = "progressive"
        options["negated"] = grammar.chance(0.15)
        if grammar.chance(0.3):
            options["tail"] = time_phrase(grammar, "present")
    elif draw < 0.87:  # "She lives in Madrid."
        verb = draw_verb(grammar, "state")
        options["form"] = "present"
        options["negated"] = grammar.chance(0.2)
    else:  # "She wants to buy a car."
        verb = draw_verb(grammar, "habit", "act", "event")
        options["form"] = "present"
        options["modal"] = grammar.choose(list(grammar.lexicon.modals))
        options["negated"] = grammar.chance(0.2)
        if options["modal"] == "going" and grammar.chance(0.5):
            options["tail"] = time_phrase(grammar, "future")
    return verb, options


def simple(grammar: Grammar) -> Sentence:
    """Write "Pedro bought a phone yesterday. / Pedro compró un teléfono ayer."""
    subject = grammar.subject()
    verb, options = draw_predicate(grammar)
    if "tail" in options and grammar.chance(0.2):
        options["front"] = options.pop("tail")  # "Yesterday Pedro bought ..."
    english, spanish = clause(grammar, subject, verb, **options)
    return Sentence(english, spanish, ".")


def draw_description(grammar: Grammar, asked: bool = False) -> tuple[Phrase, Verb, dict]:
    """Draw a subject, a form of be with what the subject is, and the arguments of `clause`.

    Args:
        grammar: what draws the words.
        asked: whether the sentence is a question.
    """
    form = "past" if grammar.chance(0.2) else "present"
    options = {"form": form, "negated": grammar.chance(0.15)}
    if grammar.chance(0.6):
        subject, group, verb = _describe_person(grammar, asked)
    else:
        subject, group, verb = _describe_thing(grammar)
    if group == "origin":
        options["form"] = "present"  # nobody was from Madrid
    return subject, verb, options


def _describe_person(grammar: Grammar, asked: bool) -> tuple[Phrase, str, Verb]:
    """Draw "she" and "be from Madrid", "my mother" and "be old"."""
    group = grammar.choose(
        ["trait", "trait", "condition", "condition", "condition", "job", "origin", "age"]
    )
    gendered = group == "job" or grammar.chance(0.6)
    subject = grammar.subject(gendered=gendered, plain=True, asked=asked)
    if group == "age":
        # "Mayor" suits people of whom the sentences know that they are adults, or names.
        if grammar.chance(0.4):
            subject = grammar.name()
        else:
            subject = grammar.noun_phrase("", "elder", plain=True)
    elif group == "job":
        # One person, as "a lawyer" is singular.
        if grammar.chance(0.6):
            subject = grammar.name()
        else:
            subject = grammar.noun_phrase("", "kin", plain=True, plural=False)
    return subject, group, draw_verb(grammar, group)


def _describe_thing(grammar: Grammar) -> tuple[Phrase, str, Verb]:
    """Draw "this car" and "be fast"."""
    lexicon = grammar.lexicon
    kind = grammar.choose(lexicon.describable)
    noun_class = lexicon.classes[kind]
    definite = [
        determiner
        for determiner in noun_class.determiners
        if determiner in ("the", "this", "that", "my")
    ]
    subject = grammar.noun_phrase(grammar.choose(definite), kind, plain=True)
    group = grammar.choose(noun_class.predicative)
    return subject, group, lexicon.described[group]


def description(grammar: Grammar) -> Sentence:
    """Write "She isn't very happy. / Ella no está muy contenta."""
    subject, verb, options = draw_description(grammar)
    english, spanish = clause(grammar, subject, verb, **options)
    return Sentence(english, spanish, ".")


def location(grammar: Grammar) -> Sentence:
    """Write "My car is behind the house. / Mi coche está detrás de la casa."""
    where = grammar.lexicon.where
    kind = grammar.choose(list(where))
    may_be_owned = kind in ("vehicle", "home")
    determiner = "my" if may_be_owned and grammar.chance(0.5) else "the"
    subject = grammar.noun_phrase(determiner, kind)
    verb = grammar.choose(where[kind])
    is_be = verb.english[0].words == ("be",)
    form = "past" if is_be and grammar.chance(0.25) else "present"
    negated = grammar.chance(0.12)
    english, spanish = clause(grammar, subject, verb, form, negated=negated)
    return Sentence(english, spanish, ".")


def existence(grammar: Grammar) -> Sentence:
    """Write "There were two dogs in the kitchen. / Había dos perros en la cocina."""
    verb = draw_verb(grammar, "there")
    form = "past" if grammar.chance(0.2) else "present"
    asks = grammar.chance(0.2)
    there = Phrase([("there", grammar.new_link())], [], HE, None, "there")
    english, spanish = clause(grammar, there, verb, form, asks=asks)
    return Sentence(english, spanish, "?" if asks else ".")


# ---------------------------------------------------------------- liking


def liking(grammar: Grammar) -> Sentence:
    """Write "He likes tea. / A él le gusta el té.", or ask for it.

    What is liked is the subject in Spanish, and "gustar" agrees with it: "me gustan las manzanas".
    """
    asks = grammar.chance(0.2)
    subject = grammar.subject(plain=True, asked=asks)
    past = grammar.chance(0.25)
    negated = not asks and grammar.chance(0.2)
    like_link = grammar.new_link()
    not_link = grammar.new_link()
    thing, has_infinitive = _what_is_liked(grammar, subject, past)

    form = "past" if past else "present"
    auxiliary, main_verb = english_finite(
        grammar.lexicon, "like", form, subject.person, needs_do=negated or asks
    )
    before_verb = []
    if negated and grammar.chance(0.65):
        before_verb = [(auxiliary + "n't", not_link)]
    elif negated:
        before_verb = [(auxiliary, 0), ("not", not_link)]
    elif auxiliary:
        before_verb = [(auxiliary, 0)]
    inverted = before_verb + subject.english if asks else subject.english + before_verb
    english = [*inverted, (main_verb, like_link)]
    if has_infinitive:
        english.append(("to", like_link))
    english += thing.english

    spanish = _gustar(grammar, subject, thing, past, like_link)
    if negated:
        spanish = [("no", not_link), *spanish]
    # "A Juan" comes first in a statement, last in a question.
    experiencer = [("a", 0), *subject.spanish] if subject.spanish else []
    if asks:
        return Sentence(english, spanish + experiencer, "?")
    return Sentence(english, experiencer + spanish, ".")


def _what_is_liked(grammar: Grammar, subject: Phrase, past: bool) -> tuple[Phrase, bool]:
    """Return what is liked, and whether it is a verb: "apples / las manzanas", "swim / nadar"."""
    if past:
        kind = grammar.choose(["dish", "text", "garment", "meal", "home"])
        return grammar.noun_phrase("the", kind), False
    if grammar.chance(0.3):
        verb = draw_verb(grammar, "pastime")
        return infinitive_phrase(grammar, verb, subject), True
    mode = "the"
    kinds = ["dish", "text", "garment", "scenery"]
    if grammar.chance(0.6):
        mode = "general"
        kinds = ["fruit", "dish", "drink", "pet", "text", "garment"]
    return grammar.noun_phrase(mode, grammar.choose(kinds)), False


def _gustar(grammar: Grammar, subject: Phrase, thing: Phrase, past: bool, like_link: int) -> Words:
    """Write "le gusta el agua"."""
    person = THEY if thing.person > HE else HE
    tense = "preterite" if past else "present"
    verb = grammar.lexicon.conjugate("gustar")[tense][person]
    # The pronoun repeats "a Juan"; where that is left out, it stands for the English subject alone.
    pronoun_link = 0 if subject.spanish else subject.english[0][1]
    pronoun = _DATIVE_PRONOUNS[subject.person]
    return [(pronoun, pronoun_link), (verb, like_link), *thing.spanish]


# ---------------------------------------------------------------- commands, exclamations


def command(grammar: Grammar) -> Sentence:
    """Write "Don't open the red window, please. / No abras la ventana roja, por favor."""
    verb = draw_verb(grammar, "order")
    negated = grammar.chance(0.3)
    english, spanish = imperative(grammar, verb, negated)
    punctuation = "!" if grammar.chance(0.4) else "."
    draw = grammar.random()
    please_english, please_spanish = grammar.linked("please", "por_favor")
    if draw < 0.2:
        # Only Spanish has a comma there: "Please open the door", "Por favor, abre la puerta".
        english = please_english + english
        spanish = [*please_spanish, (",", 0), *spanish]
    elif draw < 0.4:
        comma_english, comma_spanish = grammar.linked(",", ",")
        english = english + comma_english + please_english
        spanish = spanish + comma_spanish + please_spanish
    return Sentence(english, spanish, punctuation)


def exclamation(grammar: Grammar) -> Sentence:
    """Write "How sad Andres is! / ¡Qué triste está Andrés!"""
    lexicon = grammar.lexicon
    if grammar.chance(0.5):
        kind = grammar.choose(lexicon.describable)
        group = grammar.choose(lexicon.classes[kind].predicative)
        if group not in lexicon.very and group != "savour":
            raise RejectedError  # "How open the door is!"
        subject = grammar.noun_phrase(grammar.choose(["the", "this"]), kind, plain=True)
    else:
        subject = grammar.subject(pronouns=0.1, gendered=True, plain=True)
        group = grammar.choose(["state", "trait"])
    adjective = grammar.predicate(group, subject, allow_very=False)
    how_english, how_spanish = grammar.linked("how", "qué")
    be_link = grammar.new_link()
    be_english = BE["present"][subject.person]
    infinitive = lexicon.described[group].spanish[0].words[0]  # ser or estar
    be_spanish = lexicon.conjugate(infinitive)["present"][subject.person]
    english = [*how_english, *adjective.english, *subject.english, (be_english, be_link)]
    spanish = [*how_spanish, *adjective.spanish, (be_spanish, be_link), *subject.spanish]
    return Sentence(english, spanish, "!")


def comparison(grammar: Grammar) -> Sentence:
    """Write "Ana is taller than Luis. / Ana es más alta que Luis.", or "as tall as"."""
    lexicon = grammar.lexicon
    subject = grammar.subject(gendered=True, plain=True)
    other = grammar.subject(pronouns=0, plain=True)
    equal = grammar.chance(0.4)
    adjective = grammar.choose(lexicon.adjectives["trait"])
    adjective_link = grammar.new_link()
    adjective_spanish = adjective.spanish[subject.form_index]
    if equal:
        more_english, more_spanish = grammar.linked("as", "tan")
        than_english, than_spanish = grammar.linked("as", "como")
    else:
        more_english, more_spanish = grammar.linked("more", "más")
        than_english, than_spanish = grammar.linked("than", "que")
    if not equal and adjective.english in lexicon.comparatives:
        # One English word for two Spanish ones: "taller", "más alta".
        word = lexicon.comparatives[adjective.english]
        english = [(word, more_english[0][1] | adjective_link)]
    else:
        english = [*more_english, (adjective.english, adjective_link)]
    tail_english = english + than_english + other.english
    tail_spanish = [*more_spanish, (adjective_spanish, adjective_link)]
    tail_spanish += than_spanish + other.spanish
    negated = equal and grammar.chance(0.4)
    english, spanish = clause(
        grammar,
        subject,
        lexicon.described["is"],
        "present",
        negated=negated,
        tail=(tail_english, tail_spanish),
    )
    return Sentence(english, spanish, ".")
