"""Keep what runs with several seeds found, for the notebooks to read back: `make evidence`.

A notebook's five runs in the live profile take half an hour, more than a reader waits. So they run
once, and docs/results/evidence keeps their numbers, claims and seconds, one file for each notebook,
profile and source of data.
"""

import hashlib
import json
from pathlib import Path

import nbformat

from utils import results


def code_digest(path: Path) -> str:
    """Return a digest of the code cells of a notebook: runs of other code are not put together."""
    notebook = nbformat.read(path, as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def add(path: Path, seed: int, summary: dict, seconds: float) -> Path:
    """Add one run to the evidence of its notebook.

    Runs with other seeds stay if they had the same code, versions and machine; else the evidence
    begins anew with this run.

    Args:
        path: path of the notebook.
        seed: with which it ran.
        summary: that the run saved.
        seconds: that it took.

    Returns:
        The file of the evidence.
    """
    target = results.evidence_path(summary["notebook"], summary["profile"], summary["data"])
    facts = {
        "notebook": summary["notebook"],
        "profile": summary["profile"],
        "data": summary["data"],
        "versions": summary["versions"],
        "machine": summary["machine"],
        "code": code_digest(path),
    }
    run = {
        "seed": seed,
        "seconds": round(seconds),
        "headline": summary["headline"],
        "numbers": summary["numbers"],
        "claims": summary["claims"],
    }
    runs = [other for other in earlier_runs(target, facts) if other["seed"] != seed]
    runs = sorted([*runs, run], key=lambda item: item["seed"])
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    partial.write_text(json.dumps(facts | {"runs": runs}, indent=1) + "\n", encoding="utf-8")
    partial.replace(target)
    return target


def earlier_runs(target: Path, facts: dict) -> list[dict]:
    """Return the runs that a file of evidence holds, if everything in `facts` is the same."""
    if not target.is_file():
        return []
    stored = json.loads(target.read_text(encoding="utf-8"))
    same = all(stored.get(name) == value for name, value in facts.items())
    return stored["runs"] if same else []
