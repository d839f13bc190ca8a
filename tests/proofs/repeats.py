"""Prove that any cell may run twice in a row, and that two runs of a notebook agree.

`twice` executes every cell of a notebook twice in a row, on samples in the quick profile: without an error,
and with the stored output wherever a cell is marked for that. `agree` runs a notebook two times in kernels
and folders of their own and compares all that they print, their numbers, and their pictures. About four
minutes a notebook: `python tests/proofs/repeats.py twice 01 02`.
"""

import hashlib
import sys
import time

from nbclient.exceptions import CellExecutionError

from tests.proofs import common


def twice(number: str) -> dict:
    """Execute every cell of a notebook twice in a row."""
    lost, checked, cells, runs = (
        [],
        common.stored(number),
        0,
        common.fresh("repeats", number, "twice"),
    )
    with common.Kernel(common.notebook(number), common.environment(runs)) as kernel:
        for place, cell in enumerate(kernel.cells):
            try:
                first, second = kernel.run(cell, times=2)
            except CellExecutionError as error:
                lost.append(f"cell {place + 1}: {error.ename}: {error.evalue}"[:200])
                break
            cells += 1
            if cell.id in checked and not first == second == checked[cell.id]:
                lost.append(f"cell {place + 1} prints something else")
    return {
        "notebook": common.notebook(number).stem,
        "proof": f"{cells} cells, each twice",
        "compared": f"{len(checked)} stored outputs",
        "lost": "; ".join(lost) or "nothing",
    }


def once(number: str, kind: str) -> tuple[list[list[str]], dict, list[str]]:
    """Run a notebook; return what its cells said, without what a clock decides, its numbers, its pictures."""
    runs, texts, pictures = common.fresh("repeats", number, kind), [], []
    with common.Kernel(common.notebook(number), common.environment(runs)) as kernel:
        for cell in kernel.cells:
            (text,) = kernel.run(cell)
            texts.append(
                common.timeless(text.replace(str(runs), "<runs>").replace(f"/{kind}", "/<runs>"))
            )
            shown = [output.get("data", {}) for output in cell.outputs]
            pictures += [hashed(data[kind]) for data in shown for kind in data if "image" in kind]
    return texts, common.summary(runs, number)["numbers"], pictures


def hashed(picture: str) -> str:
    """Hash a picture as it stands in a notebook."""
    return hashlib.sha256(picture.encode()).hexdigest()


def agree(number: str) -> dict:
    """Run a notebook two times and compare."""
    (texts, numbers, pictures), (texts2, numbers2, pictures2) = (
        once(number, "first"),
        once(number, "second"),
    )
    lost = [f"number {name!r}" for name in common.differences(numbers, numbers2)]
    for place, (one, other) in enumerate(zip(texts, texts2, strict=True)):
        lines = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
        if lines or len(one) != len(other):
            lost.append(f"cell {place + 1}: {lines[:1]}")
    timed = [name for name in numbers if common.CLOCK.search(name)]
    same = sum(one == other for one, other in zip(pictures, pictures2, strict=True))
    return {
        "notebook": common.notebook(number).stem,
        "proof": "two runs",
        "compared": f"{sum(map(len, texts))} lines, {len(numbers) - len(timed)} numbers; "
        f"{same} of {len(pictures)} pictures are the same file",
        "lost": "; ".join(lost) or "nothing",
    }


def main() -> int:
    """Prove one of the two, or both, for the notebooks that are named or all."""
    began, words = time.perf_counter(), sys.argv[1:]
    proofs = [proof for proof in (twice, agree) if proof.__name__ in words] or [twice, agree]
    numbers = [word for word in words if word.isdigit()] or [
        path.name[:2] for path in common.notebooks()
    ]
    rows = []
    for number in numbers:
        for proof in proofs:
            rows.append(proof(number))
            print(rows[-1], flush=True)
    return common.report("Every cell twice in a row; two runs", rows, began)


if __name__ == "__main__":
    sys.exit(main())
