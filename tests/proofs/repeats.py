"""Prove that any cell may run twice in a row, and that two runs of a notebook agree.

`twice` executes every cell of a notebook twice in a row, on samples in the quick profile: without
an error, and with the stored output wherever a cell is marked for that. `agree` runs a notebook
twice, in separate kernels and folders, and compares printed text, numbers, and images. About four
minutes per notebook: `python tests/proofs/repeats.py twice 01 02`.
"""

import hashlib
import sys
import time

from nbclient.exceptions import CellExecutionError

from tests.proofs import common
from tools.execution import notebooks


def twice(number: str) -> dict:
    """Execute every cell of a notebook twice in a row."""
    lost = []
    checked = common.stored(number)
    cells = 0
    runs = common.fresh("repeats", number, "twice")
    with common.Kernel(common.notebook(number), common.environment(runs)) as kernel:
        for position, cell in enumerate(kernel.cells, 1):
            try:
                first, second = kernel.run(cell, times=2)
            except CellExecutionError as error:
                lost.append(f"cell {position}: {error.ename}: {error.evalue}"[:200])
                break
            cells += 1
            if cell.id in checked and not first == second == checked[cell.id]:
                lost.append(f"cell {position} prints something else")
    return {
        "notebook": common.notebook(number).stem,
        "proof": f"{cells} cells, each twice",
        "compared": f"{len(checked)} stored outputs",
        "lost": "; ".join(lost) or "nothing",
    }


def once(number: str, kind: str) -> tuple[list[list[str]], dict, list[str]]:
    """Run a notebook; return its text without times, its numbers, and hashes of its images."""
    runs = common.fresh("repeats", number, kind)
    texts = []
    images = []
    with common.Kernel(common.notebook(number), common.environment(runs)) as kernel:
        for cell in kernel.cells:
            (text,) = kernel.run(cell)
            text = text.replace(str(runs), "<runs>").replace(f"/{kind}", "/<runs>")
            texts.append(common.timeless(text))
            for output in cell.outputs:
                for mime, content in output.get("data", {}).items():
                    if "image" in mime:
                        images.append(hashlib.sha256(content.encode()).hexdigest())
    return texts, common.summary(runs, number)["numbers"], images


def agree(number: str) -> dict:
    """Run a notebook twice and compare."""
    texts, numbers, images = once(number, "first")
    texts2, numbers2, images2 = once(number, "second")
    lost = [f"number {name!r}" for name in common.differences(numbers, numbers2)]
    for position, (one, other) in enumerate(zip(texts, texts2, strict=True), 1):
        lines = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
        if lines or len(one) != len(other):
            lost.append(f"cell {position}: {lines[:1]}")
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
