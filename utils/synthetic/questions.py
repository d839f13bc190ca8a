"""Questions: those answered by yes or no, and those with a question word."""

from utils.synthetic.clauses import clause, draw_verb
from utils.synthetic.grammar import HE, Bilingual, Grammar, Phrase, RejectedError, Sentence
from utils.synthetic.lexicon import Verb
from utils.synthetic.statements import draw_description, draw_predicate

_QUESTION_KINDS = [
    "where", "what", "what", "who", "whom", "when", "why", "how_many", "what_time", "cost", "which",
    "where_thing",
]  # fmt: skip


def yes_no_question(grammar: Grammar) -> Sentence:
    """Write "Is the coffee very cold? / ¿Está muy frío el café?"""
    if grammar.chance(0.35):
        subject, verb, options = draw_description(grammar, asked=True)
    else:
        subject = grammar.subject(plain=True, asked=True)
        verb, options = draw_predicate(grammar)
        options.pop("adverb", None)
        if options.get("modal") == "must":
            raise RejectedError  # "Must she work?" is hardly ever said
    options.pop("negated", None)
    english, spanish = clause(grammar, subject, verb, asks=True, **options)
    return Sentence(english, spanish, "?")


def wh_question(grammar: Grammar) -> Sentence:
    """Write "What did she buy? / ¿Qué compró ella?", or ask where, who, when, why, how many, ..."""
    lexicon = grammar.lexicon
    kind = grammar.choose(_QUESTION_KINDS)
    if kind == "who":
        return _who_question(grammar)
    # Some kinds replace the subject or the form.
    subject = grammar.subject(plain=True, asked=True)
    form = grammar.choose(["past", "past", "future", "progressive"])
    gap = False
    if kind == "where":  # "Where do you work?"
        front = grammar.linked("where", "dónde")
        verb = draw_verb(grammar, "somewhere")
        form = "present"
    elif kind == "where_thing":  # "Where are my keys?"
        front = grammar.linked("where", "dónde")
        verb = lexicon.described["being"]
        form = "present"
        determiner = grammar.choose(["the", "my", "your"])
        subject = grammar.noun_phrase(determiner, grammar.choose(["small", "garment", "vehicle"]))
    elif kind == "when":  # "When will they come to the market?"
        front = grammar.linked("when", "cuándo")
        verb = draw_verb(grammar, "habit", "event", "act")
        form = grammar.choose(["past", "future"])
    elif kind == "why":  # "Why did you sell the car?", "Why is she tired?"
        front = grammar.linked("why", "por_qué")
        verb = draw_verb(grammar, "habit", "event", "act")
        form = "past"
        if grammar.chance(0.5):
            subject = grammar.subject(gendered=True, plain=True)
            verb = draw_verb(grammar, "condition")
            form = "present"
    elif kind == "what_time":  # "What time did the bus arrive?"
        what_english, what_spanish = grammar.linked("what", "qué")
        time_english, time_spanish = grammar.linked("time", "hora")
        front = what_english + time_english, [("a", 0), *what_spanish, *time_spanish]
        verb = draw_verb(grammar, "hourly")
        form = grammar.choose(["past", "future", "present"])
        if grammar.chance(0.4):
            subject = grammar.noun_phrase("the", "transport")
            verb = draw_verb(grammar, "timetable")
    elif kind == "cost":  # "How much does this lamp cost?"
        front = grammar.linked("how_much", "cuánto")
        verb = lexicon.described["cost"]
        form = "present"
        subject = grammar.noun_phrase(grammar.choose(["the", "this", "that"]), "ware")
    else:  # The object is asked for: "What did she buy?"
        verb = draw_verb(grammar, "whom" if kind == "whom" else "what")
        front = _asked_object(grammar, kind, verb)
        gap = True
    english, spanish = clause(grammar, subject, verb, form, asks=True, front=front, gap=gap)
    return Sentence(english, spanish, "?")


def _who_question(grammar: Grammar) -> Sentence:
    """Write "Who is writing a book? / ¿Quién está escribiendo un libro?"; "who" is the subject."""
    verb, options = draw_predicate(grammar)
    options["negated"] = False
    options["adverb"] = ()
    who = Phrase(*grammar.linked("who", "quién"))
    english, spanish = clause(grammar, who, verb, **options)
    return Sentence(english, spanish, "?")


def _asked_object(grammar: Grammar, kind: str, verb: Verb) -> Bilingual:
    """Write what asks for an object: "who / a quién", "how many pears / cuántas peras"."""
    if kind == "whom":
        who_english, who_spanish = grammar.linked("who", "quién")
        return who_english, [("a", 0), *who_spanish]
    if kind == "what":
        return grammar.linked("what", "qué")
    slot = next(iter(verb.slots))
    plural = True if kind == "how_many" else None
    thing = grammar.noun_phrase("bare", slot, plain=True, plural=plural)
    if kind == "which":
        words = ("which", "qué")
    elif thing.person == HE:  # what is not counted: "how much bread"
        words = ("how_much", "cuánta" if thing.feminine else "cuánto")
    else:
        words = ("how_many", "cuántas" if thing.feminine else "cuántos")
    english, spanish = grammar.linked(*words)
    return english + thing.english, spanish + thing.spanish
