"""Sentences of two clauses: reasons, contrasts, opinions, relative clauses and the like."""

from utils.synthetic.clauses import clause, draw_verb, joined, time_phrase
from utils.synthetic.grammar import HE, Bilingual, Grammar, Phrase, RejectedError, Sentence
from utils.synthetic.lexicon import ClausePlan
from utils.synthetic.statements import draw_predicate


def reason(grammar: Grammar) -> Sentence:
    """Write "You ordered tea because you were thirsty. / Pediste té porque tenías sed."""
    main_plan, cause_plan = grammar.choose(grammar.lexicon.reasons)
    subject = grammar.subject()
    main = _planned_clause(grammar, subject, main_plan)
    if cause_plan.group == "weather":
        cause_subject = grammar.pronoun("it")
    else:
        cause_subject = grammar.pronoun_for(subject)
    cause = _planned_clause(grammar, cause_subject, cause_plan)
    english, spanish = joined(grammar, main, "because", "porque", cause)
    return Sentence(english, spanish, ".")


def contrast(grammar: Grammar) -> Sentence:
    """Write "He drinks water, but Pablo drinks tea. / Él bebe agua, pero Pablo bebe té."""
    if grammar.chance(0.5):  # "I want to sleep, but I have to work."
        main_plan, obstacle_plan = grammar.choose(grammar.lexicon.obstacles)
        subject = grammar.subject()
        first = _planned_clause(grammar, subject, main_plan)
        second = _planned_clause(grammar, grammar.pronoun_for(subject), obstacle_plan)
    else:
        group, form = grammar.choose(
            [("contrast", "present"), ("contrast_once", "past"), ("contrast_once", "future")]
        )
        verb = draw_verb(grammar, group)
        first = clause(grammar, grammar.subject(pronouns=0.3), verb, form)
        second = clause(grammar, grammar.subject(pronouns=0), verb, form)
    english, spanish = joined(grammar, first, "but", "pero", second, comma=True)
    return Sentence(english, spanish, ".")


def _planned_clause(grammar: Grammar, subject: Phrase, plan: ClausePlan) -> Bilingual:
    verb = draw_verb(grammar, plan.group)
    return clause(grammar, subject, verb, plan.form, negated=plan.negated, modal=plan.modal)


def addition(grammar: Grammar) -> Sentence:
    """Write "I swam in the river, and Maria worked hard. / Nadé en el río y María trabajó mucho."

    Two subjects do one thing each, or one does two: "You left the market and drank the beer."
    """
    form = grammar.choose(["past", "past", "future"])
    subject = grammar.subject(pronouns=0.3)
    tail = time_phrase(grammar, form) if grammar.chance(0.4) else ([], [])
    first_verb = draw_verb(grammar, "habit", "act", "event")
    first = clause(grammar, subject, first_verb, form)
    if form == "past" and grammar.chance(0.6):
        second_subject = Phrase([], [], subject.person, subject.feminine)
    else:
        # English has a comma between two subjects, Spanish has none in front of "y".
        first[0].append((",", 0))
        second_subject = grammar.subject(pronouns=0)
    second_verb = draw_verb(grammar, "habit", "act", "event")
    second = clause(grammar, second_subject, second_verb, form, tail=tail)
    english, spanish = joined(grammar, first, "and", "y", second)
    return Sentence(english, spanish, ".")


def simultaneous(grammar: Grammar) -> Sentence:
    """Write "We were eating when Pedro arrived. / Estábamos comiendo cuando Pedro llegó."""
    first_subject = grammar.subject()
    first_verb = draw_verb(grammar, "lasting", "act")
    first = clause(grammar, first_subject, first_verb, "background")
    if grammar.chance(0.5):
        second_subject = grammar.subject(pronouns=0)
        second_verb = draw_verb(grammar, "lasting", "act")
        second = clause(grammar, second_subject, second_verb, "background")
        english, spanish = joined(grammar, first, "while", "mientras", second)
    else:
        second_subject = grammar.subject(pronouns=0)
        second_verb = draw_verb(grammar, "arrival")
        second = clause(grammar, second_subject, second_verb, "past")
        english, spanish = joined(grammar, first, "when", "cuando", second)
    return Sentence(english, spanish, ".")


def opinion(grammar: Grammar) -> Sentence:
    """Write "Pedro says that he is hungry. / Pedro dice que tiene hambre."""
    subject = grammar.subject()
    verb = draw_verb(grammar, "opinion")
    first = clause(grammar, subject, verb, "present")
    knows = verb.english[0].words == ("know",)
    if grammar.chance(0.35) and subject.person == HE and not knows:
        # "Luis says that he is sleepy"; that somebody knows it is odd.
        inner_verb = draw_verb(grammar, "feeling", "condition")
        second = clause(grammar, grammar.pronoun_for(subject), inner_verb, "present")
    else:
        inner_subject = grammar.subject(pronouns=0)
        if grammar.chance(0.7):
            inner_verb, options = draw_predicate(grammar)
        else:
            inner_verb = draw_verb(grammar, "condition", "trait")
            options = {"form": "present"}
        second = clause(grammar, inner_subject, inner_verb, **options)
    return Sentence(first[0] + second[0], first[1] + second[1], ".")


def relative(grammar: Grammar) -> Sentence:
    """Write a sentence whose subject has a relative clause."""
    if grammar.chance(0.35):
        return _relative_object(grammar)
    return _relative_subject(grammar)


def _relative_object(grammar: Grammar) -> Sentence:
    """Write "The book that she read was short. / El libro que ella leyó era corto."""
    lexicon = grammar.lexicon
    verb = draw_verb(grammar, "what")
    kind = next(iter(verb.slots))
    thing = grammar.noun_phrase("the", kind, plain=True)
    that_english, that_spanish = grammar.linked("that", "que")
    reader = grammar.subject(plain=True)
    inner_english, inner_spanish = clause(grammar, reader, verb, "past", gap=True)
    group = grammar.choose(lexicon.classes[kind].predicative)
    subject = Phrase(
        thing.english + that_english + inner_english,
        thing.spanish + that_spanish + inner_spanish,
        thing.person,
        thing.feminine,
    )
    negated = grammar.chance(0.2)
    english, spanish = clause(grammar, subject, lexicon.described[group], "past", negated=negated)
    return Sentence(english, spanish, ".")


def _relative_subject(grammar: Grammar) -> Sentence:
    """Write "The man who runs in the square is ... / El hombre que corre en la plaza es ..."""
    plural = grammar.chance(0.15)
    kind = grammar.choose(["folk", "adult"])
    plain = grammar.chance(0.6)
    noun = grammar.noun_phrase("the", kind, plain=plain, plural=plural)
    who = Phrase(*grammar.linked("who", "que"), noun.person, noun.feminine)
    verb, options = draw_predicate(grammar)
    if options["form"] == "future" or options.get("modal", "want") != "want":
        raise RejectedError  # "The man who will be able to swim is rich."
    if options["form"] == "progressive":
        options.pop("tail", None)
    options["negated"] = False
    options["adverb"] = ()
    inner_english, inner_spanish = clause(grammar, who, verb, **options)
    subject = Phrase(
        noun.english + inner_english, noun.spanish + inner_spanish, noun.person, noun.feminine
    )
    if grammar.chance(0.6):
        verb = draw_verb(grammar, "trait", "condition", "condition", "origin")
        negated = grammar.chance(0.1)
    else:
        verb = draw_verb(grammar, "state")
        negated = False
    english, spanish = clause(grammar, subject, verb, "present", negated=negated)
    return Sentence(english, spanish, ".")
