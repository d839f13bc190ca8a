"""Copy the summaries of runs to docs/results, and write docs/results.md from them.

`make render` takes those of the stored runs, `make results` those of the last quick and full runs.
What runs with several seeds found lies in docs/results/evidence, one file for each notebook,
profile and source of data; the page shows it beside the single run.
"""

import json
import math
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.build_site import ROW  # noqa: E402
from tools.execution import notebooks  # noqa: E402
from utils.settings import PROFILES  # noqa: E402

SUMMARIES = ROOT / "docs" / "results"
MOST_ROWS = 12
# Spaces that do not break: a narrow column would put an arrow or a ± in a line of its own.
SPACE = "\N{NO-BREAK SPACE}"
ARROWS = {"higher": f"{SPACE}↑", "lower": f"{SPACE}↓", None: ""}

INTRODUCTION = """# Results

For each notebook: its question, what one run found, the claims that its code checks, and the
numbers to look at first, beside the book's where it prints one. All other numbers are in the JSON
files below each table. ↑ stands where higher is better, ↓ where lower is better.

There is a column for each profile and source of data that was run. A sample is an experiment with
known truth, so its numbers say nothing about real reviews, sentences or faces; and the quick
profile is there to show that everything works, with models that have hardly learned. Live runs on
real data are those whose outputs are stored in the notebooks. Where a notebook also ran with
several seeds, a column shows the mean over the seeds ± half of its 95% t-interval. "-" means that a
run has no such number or claim.
"""


@dataclass
class Column:
    """What is known about one notebook with one profile and source of data.

    Attributes:
        profile: name of the profile.
        data: "real" or "sample".
        summary: of a single run; None if there are only runs with several seeds.
        seeds: the runs with several seeds, each with `numbers` and `claims`.
        files: name to address of each JSON file, relative to the page.
    """

    profile: str
    data: str
    summary: dict | None = None
    seeds: list[dict] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name the runs of this column."""
        return f"{self.profile}, {self.data} data"

    @property
    def seeds_label(self) -> str:
        """Name the runs with several seeds."""
        return f"{self.label}, {len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"


def copy_summary(report: Path) -> Path:
    """Copy one run's summary.json to docs/results, and rewrite the page of all summaries."""
    summary = json.loads(report.read_text(encoding="utf-8"))
    SUMMARIES.mkdir(parents=True, exist_ok=True)
    name = f"{summary['notebook']}-{summary['profile']}-{summary['data']}.json"
    target = SUMMARIES / name
    target.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    write_page()
    return target


def write_page() -> Path:
    """Write docs/results.md from the summaries and the evidence, and return its path."""
    target = SUMMARIES.parent / "results.md"
    target.write_text(page(), encoding="utf-8")
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


def formatted(value, share: bool = False, decimals: int | None = None) -> str:
    """Format a number with three or four digits; a share from 0 to 1 in percent; "-" for none.

    Args:
        value: a number, a text, None, or a list of such.
        share: the number is a share; anything outside 0 to 1 is shown as it is.
        decimals: digits after the decimal point, where three or four digits in all do not fit.
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return ", ".join(formatted(item, share, decimals) for item in value)
    if not is_number(value):
        return str(value)
    if share and 0 <= value <= 1:
        return f"{value:.{1 if decimals is None else decimals}%}"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if isinstance(value, int) or (value == round(value) and abs(value) >= 1):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def is_number(value) -> bool:
    """Say whether a value can be averaged."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def over_seeds(values: list, share: bool = False) -> str:
    """Format the mean over seeds ± half of its 95% t-interval, to the half's first digit.

    Args:
        values: one number for each seed, or one list of numbers of the same length.
        share: in percent.

    Returns:
        "-" if there are fewer than two seeds, or anything else than numbers.
    """
    if len(values) >= 2 and all(isinstance(value, list) for value in values):
        lengths = {len(value) for value in values}
        if len(lengths) == 1:
            parts = [over_seeds(list(part), share) for part in zip(*values, strict=True)]
            return ", ".join(parts)
    if len(values) < 2 or not all(is_number(value) for value in values):
        return "-"
    # SciPy takes a second to import, and a page without evidence does not need it.
    from utils.metrics.intervals import t_interval

    scale = 100 if share else 1
    low, high = t_interval([scale * value for value in values])
    half = (high - low) / 2
    if half == 0:
        return formatted(values[0], share)
    decimals = max(0, -math.floor(math.log10(half)))
    text = f"{(low + high) / 2:,.{decimals}f}{SPACE}±{SPACE}{half:,.{decimals}f}"
    return f"{text}%" if share else text


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def title(name: str) -> str:
    """Read a notebook's title, number and all, from its first line."""
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return "".join(notebook["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")


def questions() -> dict[str, str]:
    """Read the question of each notebook from the table in README.md, by the notebook's name."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    found = {}
    for _, _, address, question in ROW.findall(text):
        found[Path(address).stem] = question
    return found


def read_columns() -> dict[str, list[Column]]:
    """Read summaries and evidence; return the columns of each notebook, live on real data first."""
    columns = {}
    for folder in (SUMMARIES, SUMMARIES / "evidence"):
        for path in sorted(folder.glob("*.json")):
            stored = json.loads(path.read_text(encoding="utf-8"))
            facts = (stored["notebook"], stored["profile"], stored["data"])
            column = columns.setdefault(facts, Column(*facts[1:]))
            if folder == SUMMARIES:
                column.summary = stored
            else:
                column.seeds = stored["runs"]
            label = column.label if folder == SUMMARIES else column.seeds_label
            column.files[label] = f"results/{path.relative_to(SUMMARIES).as_posix()}"

    def importance(column: Column) -> tuple:
        first = (column.profile, column.data) == ("live", "real")
        return not first, column.data != "real", -PROFILES.index(column.profile)

    of_notebook = {}
    for (notebook, _, _), column in columns.items():
        of_notebook.setdefault(notebook, []).append(column)
    for found in of_notebook.values():
        found.sort(key=importance)
    return of_notebook


def claims_table(columns: list[Column]) -> list[str]:
    """Write the claims of a notebook with their state in each column, or one line if none."""
    head = ["claim"]
    states = []  # one dict for each column of the table, by statement
    for column in columns:
        if column.summary:
            head.append(column.label)
            claims = column.summary.get("claims", [])
            states.append({claim["statement"]: state(claim) for claim in claims})
        if column.seeds:
            head.append(column.seeds_label)
            states.append(states_over_seeds(column.seeds))
    statements = dict.fromkeys(statement for column in states for statement in column)
    if not statements:
        return ["No executed claims yet."]
    rows = []
    for statement in statements:
        rows.append([statement, *(column.get(statement, "-") for column in states)])
    return table(head, rows)


def state(claim: dict) -> str:
    """Say whether a claim held in one run, with its numbers."""
    if claim["holds"]:
        return f"holds, {claim['details']}"
    return f"does not hold: {claim['details']}"


def states_over_seeds(runs: list[dict]) -> dict[str, str]:
    """Count for each claim, by its statement, the runs in which it held."""
    held = {}
    for run in runs:
        for claim in run.get("claims", []):
            held.setdefault(claim["statement"], []).append(claim["holds"])
    return {name: f"holds with {sum(some)} of {len(some)} seeds" for name, some in held.items()}


def numbers_table(columns: list[Column], rows: list[dict]) -> list[str]:
    """Write the numbers of a notebook that a reader should see first.

    Args:
        columns: of the notebook.
        rows: as in rows.toml; empty takes the first ones of the newest summary.
    """
    if not rows:
        names = dict.fromkeys(
            name for column in columns if column.summary for name in flat(column.summary["numbers"])
        )
        rows = [{"name": name, "what": name.replace("_", " ")} for name in list(names)[:MOST_ROWS]]
    head = ["result"]
    for column in columns:
        head += [column.label] if column.summary else []
        head += [column.seeds_label] if column.seeds else []
    if any("book" in row for row in rows):
        head.append("the book")
    lines = []
    for row in rows:
        share = row.get("percent", False)
        line = [row["what"] + ARROWS[row.get("better")]]
        for column in columns:
            if column.summary:
                value = flat(column.summary["numbers"]).get(row["name"])
                line.append(formatted(value, share, row.get("decimals")))
            if column.seeds:
                values = [flat(run["numbers"]).get(row["name"]) for run in column.seeds]
                line.append(over_seeds(values, share))
        if "the book" in head:
            line.append(row.get("book", ""))
        lines.append(line)
    return table(head, lines)


def fill(template: str, numbers: dict, rows: list[dict]) -> str:
    """Put a run's numbers into a sentence.

    Args:
        template: with the names of numbers in braces.
        numbers: of the run, flattened.
        rows: of the notebook, as in rows.toml: they say how each of these numbers is written.
    """
    formats = {row["name"]: row for row in rows}

    def write(match: re.Match) -> str:
        row = formats[match[1]]
        return formatted(numbers.get(match[1]), row.get("percent", False), row.get("decimals"))

    return re.sub(r"\{(.+?)\}", write, template)


def section(
    notebook: str, columns: list[Column], question: str, rows: list[dict], answer: str = ""
) -> list[str]:
    """Write what the page says about one notebook.

    Args:
        notebook: its name.
        columns: what is known about it, the most important first.
        question: that it answers; may be empty.
        rows: of its table, as in rows.toml; may be empty.
        answer: template of a sentence, as in rows.toml; the headline of the run if it is empty.
    """
    lines = [f"## [{title(notebook)}](../notebooks/{notebook}.ipynb)", ""]
    if question:
        lines += [f"**{question}**", ""]
    first = next((column for column in columns if column.summary), None)
    if first:
        sentence = f"{first.summary['headline']}."
        if answer:
            sentence = fill(answer, flat(first.summary["numbers"]), rows)
        lines += [f"{first.label.capitalize()}: {sentence}", ""]
    lines += [*claims_table(columns), "", *numbers_table(columns, rows), ""]
    files = {label: file for column in columns for label, file in column.files.items()}
    links = ", ".join(f"[{label}]({file})" for label, file in files.items())
    return [*lines, f"All numbers: {links}.", ""]


def page() -> str:
    """Write the results page, in Markdown; summaries whose notebook is gone are left out."""
    rows_path = SUMMARIES / "rows.toml"
    chosen = tomllib.loads(rows_path.read_text(encoding="utf-8")) if rows_path.is_file() else {}
    answers = chosen.get("answers", {})
    asked = questions()
    lines = [INTRODUCTION]
    present = {path.stem for path in notebooks()}
    for notebook, columns in sorted(read_columns().items()):
        if notebook in present:
            rows = chosen.get(notebook, [])
            question = asked.get(notebook, "")
            lines += section(notebook, columns, question, rows, answers.get(notebook, ""))
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
    write_page()
    print("wrote docs/results.md")
    if not reports:
        print("There were no new summaries: `make run` makes them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
