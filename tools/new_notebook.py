"""Write a skeleton for another notebook, which keeps the contract: `make new name=diffusion`."""

import re
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.execution import METADATA, notebooks  # noqa: E402
from tools.stamp_colab import badge  # noqa: E402

SOLUTION = {
    "cellView": "form",
    "jupyter": {"outputs_hidden": True, "source_hidden": True},
    "tags": ["hide-input", "solution"],
}

# Markdown and code in turns; a cell that begins with "# @title Solution" is folded.
CELLS = [
    """The next cell holds every setting of this notebook.""",
    """import keras
import matplotlib.pyplot as plt
import numpy as np

from utils import notebook, plots, results, settings

cfg = settings.choose(
    quick={"words": 4},
    live={"words": 8},
    full={"words": 8},
)
cfg.seed = seed
keras.utils.set_random_seed(cfg.seed)
settings.require_at_least(cfg, words=2)

notebook.banner()""",
    """## 1. From scores to probabilities (session 00:00:00-00:01:00)

Say why before how, in one to four sentences: what is the question, and what will the next cell
show? First by hand, small enough to check by eye.""",
    """scores = np.random.default_rng(cfg.seed).normal(size=cfg.words)
by_hand = np.exp(scores) / np.exp(scores).sum()
print(by_hand.round(2))""",
    """The same with Keras, given the same numbers, and a check that the two agree.""",
    """with_keras = keras.ops.convert_to_numpy(keras.ops.softmax(scores))
np.testing.assert_allclose(by_hand, with_keras, atol=1e-6)
print(f"by hand and Keras agree to 1e-6 on {cfg.words} scores")""",
    """What the experiment found is a claim, which this run confirms or contradicts. It compares
with a baseline or an interval.""",
    """results.claim(
    "A softmax gives every score some probability",
    with_keras.min() > 0,
    f"the smallest of {cfg.words} is {with_keras.min():.2f}",
)""",
    """A figure stands under the cell that draws it. Its title states the finding.""",
    """figure, axes = plt.subplots()
axes.bar(np.arange(cfg.words), with_keras, color=plots.BLUE)
axes.axhline(1 / cfg.words, color=plots.RED, linestyle="--", label="uniform (baseline)")
axes.set(title="A softmax gives every score some probability", xlabel="score", ylabel="probability")
axes.legend()
plots.show_figure(
    figure,
    "Bars of the probability that a softmax gives to each score, and a line at the uniform one.",
)""",
    """## 2. Exercises

Predict first, then change a few lines, then unfold the solution.

**1. A constant.** Add 1 to every score. What happens to the probabilities?

<details><summary>Hint</summary>

Write down the fraction, and cancel the factor that all its terms have.

</details>""",
    """# @title Solution 1
shifted = keras.ops.convert_to_numpy(keras.ops.softmax(scores + 1))
np.testing.assert_allclose(shifted, with_keras, atol=1e-6)
print("the probabilities do not change")""",
    """**2. Twice the scores.** Does the largest probability grow or shrink?

<details><summary>Hint</summary>

Doubling the scores squares the exponentials.

</details>""",
    """# @title Solution 2
doubled = keras.ops.convert_to_numpy(keras.ops.softmax(2 * scores))
assert doubled.max() > with_keras.max()
print(f"largest probability: {with_keras.max():.2f}, with doubled scores {doubled.max():.2f}")""",
    """## Recap

The answer to the question of the title in three to five sentences. The claims behind them:""",
    """results.show_claims()""",
    """The numbers that the results page shows, each with its baseline:""",
    """results.save_summary(
    f"largest probability {with_keras.max():.2f}, baseline {1 / cfg.words:.2f}",
    data="sample",
    largest=float(with_keras.max()),
    baseline=1 / cfg.words,
)""",
    """**Next:** where a reader goes from here.

**Papers:** authors, year, title, for all that the text cites.""",
]


def front(stem: str) -> str:
    """Write the first cell: title, badge, and everything at a glance."""
    title = f"{stem[:2]} {stem[3:].replace('_', ' ').capitalize()}"
    return f"""# {title}

{badge("", f"{stem}.ipynb")}

In two or three sentences: the question that this notebook answers, and what a reader will have
at the end.

| At a glance | |
|---|---|
| You will build | name the parts |
| Session | 00:00:00-00:01:00 |
| Book | *Deep Learning with Python*, 2nd edition, section |
| Time on two CPU cores | quick 20 s, live 20 s, full 20 s |
| Data | none; name the loader and its sample |
| Read before | nothing |"""


def skeleton(stem: str, setup: str) -> nbformat.NotebookNode:
    """Make the notebook.

    Args:
        stem: file name without its ending, such as "11_diffusion".
        setup: the set-up cell, the same in all notebooks but for the name.
    """
    # papermill injects a seed below the cell with this tag.
    setup_cell = new_code_cell(setup, metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell(front(stem)), setup_cell]
    for number, source in enumerate(CELLS):
        cell = new_code_cell(source) if number % 2 else new_markdown_cell(source)
        if source.startswith("# @title Solution"):
            cell.metadata.update(SOLUTION)
        cells.append(cell)
    for number, cell in enumerate(cells):
        cell.id = f"{stem[:2]}-{number:03d}"
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


def main() -> int:
    """Write the next free number's notebook under the name given on the command line."""
    name = sys.argv[1].strip() if len(sys.argv) > 1 else ""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        print("Give a name of lower-case letters, digits and underscores: make new name=diffusion")
        return 1
    paths = notebooks()
    stem = f"{int(paths[-1].name[:2]) + 1:02d}_{name}"
    first = nbformat.read(paths[0], as_version=4)
    setup = next(cell.source for cell in first.cells if cell.cell_type == "code")
    target = ROOT / "notebooks" / f"{stem}.ipynb"
    nbformat.write(skeleton(stem, setup.replace(paths[0].stem, stem)), target)
    print(
        f"Wrote notebooks/{target.name}. Fill it in, run `make render ONLY={stem[:2]}`, "
        "and add its row to the table in README.md."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
