"""The kinds of sentence that the grammar writes, and how often it writes each."""

from utils.synthetic import compound_sentences, questions, statements
from utils.synthetic.grammar import Grammar, Sentence

# Function that writes a sentence: how often it is drawn, of about a hundred.
_WEIGHTS = {
    statements.simple: 27,
    statements.description: 13,
    statements.location: 5,
    statements.existence: 5,
    statements.liking: 8,
    questions.yes_no_question: 9,
    questions.wh_question: 10,
    statements.command: 4,
    statements.exclamation: 3,
    statements.comparison: 4,
    compound_sentences.reason: 5,
    compound_sentences.contrast: 4,
    compound_sentences.addition: 3,
    compound_sentences.simultaneous: 3,
    compound_sentences.opinion: 5,
    compound_sentences.relative: 6,
}
# Each function as many times as its weight, so that one uniform draw decides.
_KINDS = [kind for kind, weight in _WEIGHTS.items() for _ in range(weight)]


def draw_sentence(grammar: Grammar) -> Sentence:
    """Write a sentence of a random kind.

    Raises:
        RejectedError: the draft cannot be used; try again.
    """
    grammar.start_sentence()
    kind = grammar.choose(_KINDS)
    return kind(grammar)
