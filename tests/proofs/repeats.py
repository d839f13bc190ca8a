"""Prove that any cell may run twice in a row, and that two runs of a notebook agree.

`twice` executes every cell of a notebook twice in a row, on samples in the quick profile: without
an error, with the stored output wherever a cell is marked for that, and with the text of a run in
which every cell is executed once: both executions of every cell print the same lines, and numbers
and claims of the summary are equal. Only what depends on time is left out, and what a training
prints by epoch where the second execution loads it. `agree` runs a notebook twice, in separate
kernels and folders, and compares printed text, numbers, claims, and images. About four minutes per
notebook: `python tests/proofs/repeats.py twice 01 02`.
"""

import functools
import hashlib
import re
import sys
import time

from nbclient.exceptions import CellExecutionError

from tests.proofs import common
from tools.execution import notebooks

LOADED = re.compile(r"\bloaded from\b")  # a training, or images, of the execution before


def twice(number: str) -> dict:
    """Execute every cell of a notebook twice in a row, and compare with a plain run."""
    lost = []
    checked = common.stored(number)
    plain_texts, plain_numbers, _ = once(number, "first")
    lines = 0
    cells = 0
    runs = common.fresh("repeats", number, "twice")
    with common.Kernel(common.notebook(number), common.environment(runs)) as kernel:
        for position, (cell, plain) in enumerate(zip(kernel.cells, plain_texts, strict=True), 1):
            try:
                first, second = kernel.run(cell, times=2)
            except CellExecutionError as error:
                lost.append(f"cell {position}: {error.ename}: {error.evalue}"[:200])
                break
            cells += 1
            lines += len(plain)
            if cell.id in checked and not first == second == checked[cell.id]:
                lost.append(f"cell {position} prints something else than is stored")
            changed = changed_lines(plain, comparable(first, runs), comparable(second, runs))
            if changed:
                lost.append(f"cell {position}: {changed[0]!r}"[:200])
    if cells == len(plain_texts):
        numbers = numbers_and_claims(runs, number)
        lost += [f"number {name!r}" for name in common.differences(plain_numbers, numbers)]
    return {
        "notebook": common.notebook(number).stem,
        "proof": f"{cells} cells, each twice",
        "compared": f"{len(checked)} stored outputs, {lines} lines, {len(plain_numbers)} numbers",
        "lost": "; ".join(lost) or "nothing",
    }


def comparable(text: str, runs) -> list[str]:
    """Return the lines of a cell's text without what depends on time and on the folder of a run."""
    text = text.replace(str(runs), "<runs>").replace(f"/{runs.name}", "/<runs>")
    return common.timeless(text)


def changed_lines(plain: list[str], first: list[str], second: list[str]) -> list[str]:
    """List what two executions of a cell in a row print differently from the one of a plain run.

    Where the second execution loads what the first one has trained or drawn, it says so in a line,
    and lines about epochs are missing.

    Args:
        plain: the cell's lines in a run in which every cell is executed once.
        first: its lines when it is executed the first time.
        second: its lines when it is executed again.

    Returns:
        Lines, the first ones first; empty if nothing differs.
    """
    changed = differing(plain, first)
    if any(LOADED.search(line) for line in second):
        return changed + [line for line in second if line not in plain and not LOADED.search(line)]
    return changed + differing(plain, second)


def differing(one: list[str], other: list[str]) -> list[str]:
    """List the lines of `other` that differ from those of `one`, and lines that it lacks."""
    changed = [now for before, now in zip(one, other, strict=False) if before != now]
    return changed + other[len(one) :] + one[len(other) :]


def numbers_and_claims(runs, number: str) -> dict:
    """Return the numbers of a summary, and each claim with its details as one more number."""
    summary = common.summary(runs, number)
    claims = {
        f"claim: {claim['statement']}": [claim["holds"], *common.timeless(claim["details"])]
        for claim in summary["claims"]
    }
    return summary["numbers"] | claims


@functools.cache
def once(number: str, kind: str) -> tuple[list[list[str]], dict, list[str]]:
    """Run a notebook once; return its text without times, its numbers, and hashes of its images."""
    runs = common.fresh("repeats", number, kind)
    texts = []
    images = []
    with common.Kernel(common.notebook(number), common.environment(runs)) as kernel:
        for cell in kernel.cells:
            (text,) = kernel.run(cell)
            texts.append(comparable(text, runs))
            for output in cell.outputs:
                for mime, content in output.get("data", {}).items():
                    if "image" in mime:
                        images.append(hashlib.sha256(content.encode()).hexdigest())
    return texts, numbers_and_claims(runs, number), images


def agree(number: str) -> dict:
    """Run a notebook twice and compare."""
    texts, numbers, images = once(number, "first")
    texts2, numbers2, images2 = once(number, "second")
    lost = [f"number {name!r}" for name in common.differences(numbers, numbers2)]
    for position, (one, other) in enumerate(zip(texts, texts2, strict=True), 1):
        if changed := differing(one, other):
            lost.append(f"cell {position}: {changed[0]!r}"[:200])
    timed = [name for name in numbers if common.CLOCK.search(name)]
    same = sum(one == other for one, other in zip(images, images2, strict=True))
    return {
        "notebook": common.notebook(number).stem,
        "proof": "two runs",
        "compared": f"{sum(map(len, texts))} lines, {len(numbers) - len(timed)} numbers; "
        f"{same} of {len(images)} images are the same file",
        "lost": "; ".join(lost) or "nothing",
    }


def main() -> int:
    """Prove one of the two, or both, for the named notebooks or for all."""
    began = time.perf_counter()
    words = sys.argv[1:]
    proofs = [proof for proof in (twice, agree) if proof.__name__ in words] or [twice, agree]
    numbers = [word for word in words if word.isdigit()] or [path.name[:2] for path in notebooks()]
    rows = []
    for number in numbers:
        for proof in proofs:
            rows.append(proof(number))
            print(rows[-1], flush=True)
    return common.report("Every cell twice in a row; two runs", rows, began)


if __name__ == "__main__":
    sys.exit(main())
