"""Compare the numbers in a notebook's text with its stored outputs.

A number that a run produced stands in an output of that run. So a percentage or a decimal number in
the text that no output shows is left over from another run, or was never measured. "Text" is the
Markdown, and what is typed in code for a reader: titles, labels and alternative texts.

These are not checked:

- whole numbers without a percent sign: most count things that the text itself describes;
- numbers in words, such as "a quarter" or "twice";
- whether the output that shows a number is the one that the sentence is about.
"""

import ast
import re
from typing import NamedTuple

# What is glued to a letter, a colon or another point is part of a name, a time or a version. In
# "2 to 3%" both are percentages.
NUMBER = re.compile(
    r"(?<![\w.:])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(e[-+]?\d+)?(?![\w:]|\.\d)"
    r"( ?%|(?= (?:to|and|or) \d+(?:\.\d+)? ?%))?"
)
# A sentence that names the book, or a paper by author and year, says what is printed there.
SOURCE = re.compile(
    r"\b(?:[Tt]he|[Tt]heir|[Oo]riginal) (?:book|paper)\b"
    r"|\bet al\.,? \(?(?:19|20)\d\d|\b[A-Z]\w+ \((?:19|20)\d\d\)|\([A-Z]\w+,? (?:19|20)\d\d\)"
)
LABEL = re.compile(
    r"\b(?:[Ss]ections?|[Cc]hapters?|Keras|TensorFlow|Python|CC BY(?:-SA)?) \d+\.\d+"
    r"(?: (?:to|and) \d+\.\d+)?"
)
SENTENCE_END = re.compile(r"(?<=[.?!])(?<!\bal\.)[*_\"')]*\s+(?=[A-Z0-9\"*(\[`])|;\s+")


class Number(NamedTuple):
    """A number as it is written: its text, value, digits after the point, and if in percent."""

    text: str
    value: float
    decimals: int
    percent: bool


def numbers(text: str) -> list[Number]:
    """Read the numbers of a text; signs are left out, since a text may say "less" instead."""
    found = []
    for match in NUMBER.finditer(text):
        whole, fraction, exponent, percent = match.groups()
        value = float(whole.replace(",", "") + (fraction or "") + (exponent or ""))
        decimals = len(fraction or ".") - 1 - int((exponent or "e0")[1:])
        found.append(Number(match[0].strip(), value, max(0, decimals), percent is not None))
    return found


def shown(notebook) -> list[Number]:
    """Read the numbers that the stored outputs of a notebook show as text.

    Two kinds of output do not count: alternative texts, which are typed, and the lines of training
    logs, which have so many numbers that each short one is among them. A table with a percent sign
    in its head may leave the sign out below.
    """
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            text = re.sub(
                r"^\[(?:Figure|Animation): .*|^.*\d+/\d+ - .*", "", text, flags=re.MULTILINE
            )
            head, _, rest = text.partition("\n")
            in_percent = "%" in head and rest.startswith("---")
            for number in numbers(text):
                found.append(number)
                if in_percent:
                    found.append(number._replace(percent=True))
    return found


def sentences(markdown: str) -> list[str]:
    """Split Markdown; a row of a table, an item of a list and a heading each stand alone."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|<!--.*?-->", "", markdown, flags=re.DOTALL)
    found = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?)", text):
        joined = " ".join(line.lstrip("> ") for line in block.splitlines())
        found += [sentence for sentence in SENTENCE_END.split(joined) if sentence.strip()]
    return found


def is_shown(number: Number, output: Number) -> bool:
    """Say whether an output is the number, or rounds to it."""
    if output.decimals < number.decimals or (number.percent and not output.percent):
        return False
    # The output may be rounded itself, so half of the last digit is near enough on either side.
    return abs(output.value - number.value) <= 0.500001 * 10**-number.decimals


def unsupported(notebook) -> list[str]:
    """List the percentages and decimal numbers of the text that no stored output shows.

    Exempt are sentences that name the book or a paper, formulas, numbers of sections and versions,
    and decimal numbers that stand in the notebook's code: settings.

    Args:
        notebook: of nbformat, with outputs.

    Returns:
        One line for each such number, with its cell, counted from 0, and its sentence.
    """
    outputs = shown(notebook)
    constants = set()
    texts = []
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            texts += [(position, sentence) for sentence in sentences(cell.source)]
        elif cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
                if isinstance(value, str) and " " in value:
                    texts.append((position, " ".join(value.split())))
                elif isinstance(value, int | float) and not isinstance(value, bool):
                    constants.add(value)
    found = []
    for position, sentence in texts:
        if SOURCE.search(sentence):
            continue
        plain = re.sub(r"\$[^$]+\$|\]\([^)]*\)", "", sentence)  # formulas, addresses of links
        for number in numbers(LABEL.sub("", plain)):
            if not number.percent and (number.decimals == 0 or number.value in constants):
                continue
            if not any(is_shown(number, output) for output in outputs):
                found.append(f"cell {position}: no output shows {number.text}: {sentence.strip()}")
    return found
