"""Copy the summaries of runs to docs/results, and write docs/results.md from them.

`make render` takes those of the stored runs, `make results` those of the last quick and full runs.
"""

import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.execution import notebooks  # noqa: E402
from utils.settings import PROFILES  # noqa: E402

SUMMARIES = ROOT / "docs" / "results"

INTRODUCTION = """# Results

The numbers that the notebooks claim, as the last cell of each saves them: one column for each
profile and source of data that was run, and the book's number where it prints one. A sample is an
experiment with known truth, so its numbers say nothing about real reviews, sentences or faces; and
the quick profile is there to show that everything works, with models that have hardly learned. "-"
means that a run has no such number. Times are those of two CPU cores. Live runs on real data are
those whose outputs are stored in the notebooks.
"""


def copy_summary(report: Path) -> Path:
    """Copy one run's summary.json to docs/results, and rewrite the page of all summaries."""
    summary = json.loads(report.read_text(encoding="utf-8"))
    SUMMARIES.mkdir(parents=True, exist_ok=True)
    name = f"{summary['notebook']}-{summary['profile']}-{summary['data']}.json"
    target = SUMMARIES / name
    target.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (SUMMARIES.parent / "results.md").write_text(page(), encoding="utf-8")
    return target


def flat(value, name: str = "") -> dict[str, object]:
    """Flatten nested numbers to one dict; names of dicts and of table rows are joined by colons.

    Args:
        value: a number, a text, or a dict or list of such, as `results.save_summary` takes them.
        name: name of the value, the beginning of each name in the result.
    """
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        # A table: its first column names the rows.
        parts = [(str(next(iter(row.values()))), dict(list(row.items())[1:])) for row in value]
    elif isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        parts = [(str(number), item) for number, item in enumerate(value, 1)]
    else:
        return {name: value}
    numbers = {}
    for key, item in parts:
        numbers |= flat(item, f"{name}: {key}" if name else str(key))
    return numbers


def is_share(name: str, book: dict) -> bool:
    """Say whether a number is a share of examples: by its name, or by what the book prints for it.

    Args:
        name: of the number, as in the summary.
        book: a notebook's table in book.toml: the book's numbers, and a list `shares` of names.
    """
    in_percent = str(book.get(name, "")).partition(",")[0].endswith("%")
    return name.endswith("accuracy") or in_percent or name in book.get("shares", [])


def formatted(value, share: bool = False) -> str:
    """Format a number with three or four digits; a share from 0 to 1 in percent; None as "-"."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(formatted(item, share) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if share and 0 <= value <= 1:
        return f"{value:.1%}"
    if isinstance(value, int) or (value == round(value) and abs(value) >= 1):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def title(name: str) -> str:
    """Read a notebook's title, number and all, from its first line."""
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return "".join(notebook["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")


def page() -> str:
    """Write the results page, in Markdown; summaries whose notebook is gone are left out."""
    summaries = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(SUMMARIES.glob("*.json"))
    ]
    present = {path.stem for path in notebooks()}
    book_path = SUMMARIES / "book.toml"
    books = tomllib.loads(book_path.read_text(encoding="utf-8")) if book_path.is_file() else {}
    lines = [INTRODUCTION]
    for notebook in sorted(present & {run["notebook"] for run in summaries}):
        runs = [run for run in summaries if run["notebook"] == notebook]
        runs.sort(key=lambda run: (run["data"] != "real", -PROFILES.index(run["profile"])))
        book = books.get(notebook, {})
        head = [notebook[:2], *(f"{run['profile']}, {run['data']} data" for run in runs)]
        printed = {name: text for name, text in book.items() if name != "shares"}
        if printed:
            head.append("the book")
        columns = [flat(run["numbers"]) for run in runs]
        rows = []
        for name in dict.fromkeys(name for column in columns for name in column):
            share = is_share(name, book)
            row = [name.replace("_", " ")]
            for column in columns:
                row.append(formatted(column[name], share) if name in column else "-")
            if printed:
                row.append(printed.get(name, ""))
            rows.append(row)
        lines.append(f"## [{title(notebook)}](../notebooks/{notebook}.ipynb)\n")
        for run in runs:
            lines.append(f"- {run['profile']}, {run['data']} data: {run['headline']}")
        lines += ["", *table(head, rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Copy the summaries of the last quick and full runs, and write the page."""
    reports = [
        path
        for profile in ("quick", "full")
        for path in ROOT.glob(f"build/{profile}/runs/*/summary.json")
    ]
    for report in sorted(reports):
        print(f"copied {copy_summary(report).relative_to(ROOT)}")
    (SUMMARIES.parent / "results.md").write_text(page(), encoding="utf-8")
    print("wrote docs/results.md")
    if not reports:
        print("There were no new summaries: `make run` makes them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
