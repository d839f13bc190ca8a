"""Keep the summaries of runs in docs/results, and write docs/results.md from them.

`make render` keeps those of the stored runs, `make results` those of the last quick and full runs.
"""

import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "results"
PROFILES = ("quick", "live", "full")

INTRODUCTION = """# Results

The numbers that the notebooks claim, as the last cell of each writes them down: one column for each profile
and source of data that was run, and the book's number where it prints one. A sample is an experiment with
known truth, so its numbers say nothing about real reviews, sentences or faces; and the quick profile is
there to show that everything works, with models that have hardly learned. "-" means that a number does not
exist there. Times are of two CPU cores. Live runs on real data are those whose outputs the notebooks hold.
"""


def keep(report: Path) -> Path:
    """Copy one run's summary.json into docs/results, and write the page of all of them anew."""
    found = json.loads(report.read_text(encoding="utf-8"))
    KEPT.mkdir(parents=True, exist_ok=True)
    target = KEPT / f"{found['notebook']}-{found['profile']}-{found['data']}.json"
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (KEPT.parent / "results.md").write_text(page(), encoding="utf-8")
    return target


def flat(value, name: str = "") -> dict[str, object]:
    """Flatten nested numbers: dicts and rows of tables by their names, short lists of numbers on one line.

    Args:
        value: whatever `tracking.summary` took.
        name: of the value, a part of each name that comes out.
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
    found = {}
    for key, item in parts:
        found |= flat(item, f"{name}: {key}" if name else str(key))
    return found


def written(value, percent: bool = False) -> str:
    """Write a number with three or four digits, as a share where the book prints one."""
    if isinstance(value, list):
        return ", ".join(written(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if percent:
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
    """Write the results page, in Markdown."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("*.json"))]
    printed_by_book = KEPT / "book.toml"
    book = (
        tomllib.loads(printed_by_book.read_text(encoding="utf-8"))
        if printed_by_book.is_file()
        else {}
    )
    lines = [INTRODUCTION]
    for name in sorted({run["notebook"] for run in found}):
        runs = [run for run in found if run["notebook"] == name]
        runs.sort(key=lambda run: (run["data"] != "real", -PROFILES.index(run["profile"])))
        printed, numbers = book.get(name, {}), [flat(run["numbers"]) for run in runs]
        head = [name[:2], *(f"{run['profile']}, {run['data']} data" for run in runs)]
        rows = []
        for number in dict.fromkeys(key for each in numbers for key in each):
            # What the book prints are accuracies, and those are kept as shares.
            percent = number in printed or (name < "04" and number != "network")
            cells = [written(each[number], percent) if number in each else "-" for each in numbers]
            rows.append(
                [number.replace("_", " "), *cells, *([printed.get(number, "")] if printed else [])]
            )
        lines += [f"## [{title(name)}](../notebooks/{name}.ipynb)\n"]
        for run in runs:
            lines.append(f"- {run['profile']}, {run['data']} data: {run['headline']}")
        lines += ["", *table([*head, *(["the book"] if printed else [])], rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Take up the summaries of the last quick and full runs."""
    reports = [
        path
        for profile in ("quick", "full")
        for path in ROOT.glob(f"build/{profile}/runs/*/summary.json")
    ]
    for report in sorted(reports):
        print(f"kept {keep(report).relative_to(ROOT)}")
    (KEPT.parent / "results.md").write_text(page(), encoding="utf-8")
    print(
        f"wrote docs/results.md{'' if reports else '; no new summaries, those come from `make run`'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
