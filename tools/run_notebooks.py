"""Run notebooks, each with every seed, and print a table of results: `make run`, `make render`."""

import argparse
import base64
import json
import os
import shutil
import signal
import sys
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools import cluster, evidence, results  # noqa: E402
from tools.execution import Outcome, build_folder, notebooks, store  # noqa: E402
from tools.parallel import default_at_once, job_name, run_here  # noqa: E402
from utils import settings  # noqa: E402

CELL_TIMEOUTS = {"quick": 120, "live": 600, "full": 24 * 3600}  # seconds


def export_images(notebook, folder: Path) -> None:
    """Write the image of every cell tagged `picture-NAME` to NAME.png or .jpeg, for the README."""
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []) if tag.startswith("picture-") else []:
                for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                    folder.mkdir(parents=True, exist_ok=True)
                    path = folder / f"{tag.removeprefix('picture-')}.{kind.removeprefix('image/')}"
                    path.write_bytes(base64.b64decode(output["data"][kind]))


def select_notebooks(only: str) -> list[Path]:
    """List the notebooks whose names begin with a word in `only`, or all if it is empty."""
    paths = notebooks()
    words = only.replace(",", " ").split()
    for word in words:
        if not any(path.name.startswith(word) for path in paths):
            names = ", ".join(path.stem for path in paths)
            sys.exit(f"No notebook begins with {word}. There are: {names}")
    return [path for path in paths if not words or path.name.startswith(tuple(words))]


def parse_seeds(text: str) -> list[int]:
    """Read the seeds, such as "0 1 2"; exit with one line if there is anything else."""
    seeds = text.replace(",", " ").split()
    if not seeds or not all(seed.isdecimal() for seed in seeds):
        sys.exit(f'SEEDS="{text}" are not seeds: give whole numbers, such as "0 1 2".')
    return [int(seed) for seed in seeds]


def parse_at_once(text: str, profile: str, kept: bool) -> int:
    """Read how many notebooks run at a time; exit with one line if that cannot be.

    Args:
        text: a whole number, or empty for the default.
        profile: its name.
        kept: whether outputs or numbers are stored, which other load must not change.
    """
    if not text:
        return 1 if kept else default_at_once(profile)
    if not text.isdecimal() or int(text) == 0:
        sys.exit(f'JOBS="{text}" is no number of notebooks: give a whole number, such as 2.')
    if kept and int(text) > 1:
        sys.exit(f"JOBS={text}: what is stored comes from notebooks that run alone. Leave it out.")
    return int(text)


def run_on_cluster(jobs: list[tuple[Path, int]], profile: str, timeout: int):
    """Run notebooks on the cluster that `RAY_ADDRESS` names; yield each with its `Outcome`."""
    from tqdm import tqdm

    for path, seed in jobs:
        shutil.rmtree(build_folder(profile, seed) / "runs" / path.stem, ignore_errors=True)
    form = "on the cluster {bar}{n_fmt}/{total_fmt} notebooks {elapsed}"
    with tqdm(total=len(jobs), bar_format=form) as bar:
        for job, outcome in cluster.run(jobs, profile, timeout):
            bar.update()
            yield job, outcome


def finish(path: Path, seed: int, outcome: Outcome, profile: str, stored: bool) -> tuple[dict, str]:
    """Write an executed notebook to its folder, or into notebooks/ with its images and its summary.

    Args:
        path: of the notebook.
        seed: with which it ran.
        outcome: of its run.
        profile: name of the profile.
        stored: write into notebooks/, unless it failed or a claim does not hold.

    Returns:
        Its row of the table, and a line of error, empty if it did not fail.
    """
    build = build_folder(profile, seed)
    runs = (ROOT if stored else build) / "runs"
    report = runs / path.stem / "summary.json"
    summary = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    claims = summary.get("claims", [])
    fallen = [claim for claim in claims if not claim["holds"]]
    refused = stored and not outcome.error and bool(fallen)
    stored = stored and not outcome.error and not refused
    target = path if stored else build / path.name
    if outcome.notebook:
        store(outcome.notebook, target)
    if stored:
        export_images(outcome.notebook, ROOT / "docs" / "pictures")
        if summary:
            results.copy_summary(report)
    error = ""
    if outcome.error:
        name = f"{path.name} (seed {seed})" if seed else path.name
        error = f"{name}, {outcome.error}"
        if outcome.notebook:
            error += f"\n    executed so far: {settings.display_path(target)}"
    elif refused:
        error = f"{path.name}, not stored: not all of its claims hold in this run."
        for claim in fallen:
            error += f"\n    does not hold: {claim['statement']}, {claim['details']}"
        error += "\n    Change what the text says or how it is measured, then render again."
        error += f"\n    executed: {settings.display_path(target)}"
    row = {
        "notebook": path.stem,
        "seed": seed,
        "machine": outcome.machine,
        "seconds": f"{outcome.seconds:.0f}",
        "peak memory": f"{outcome.peak / 2**30:.1f} GiB",
        "data": summary.get("data", "-"),
        "claims": f"{len(claims) - len(fallen)} of {len(claims)}" if claims else "-",
        "result": "FAILED" if outcome.error else summary.get("headline", "-"),
    }
    return row, error


def keep_evidence(path: Path, seed: int, outcome: Outcome, profile: str) -> None:
    """Add a run to the evidence of its notebook, and rewrite the results page."""
    report = build_folder(profile, seed) / "runs" / path.stem / "summary.json"
    if not report.is_file():
        print(f"{path.name} saves no summary, so there is nothing to keep.", file=sys.stderr)
        return
    summary = json.loads(report.read_text(encoding="utf-8"))
    target = evidence.add(path, seed, summary, outcome.seconds)
    results.write_page()
    print(f"Kept seed {seed} in {settings.display_path(target)}")


def print_table(rows: list[dict], profile: str) -> None:
    """Print a row for each notebook and seed, without columns that say the same everywhere."""
    from tabulate import tabulate

    hidden = [
        name
        for name, usual in (("seed", 0), ("machine", "local"), ("claims", "-"))
        if all(row[name] == usual for row in rows)
    ]
    rows = sorted(rows, key=lambda row: (row["seed"], row["notebook"]))
    table = [{name: row[name] for name in row if name not in hidden} for row in rows]
    print(f"\nProfile {profile}\n\n{tabulate(table, headers='keys', disable_numparse=True)}\n")


def stop(*_):
    """Exit on SIGTERM by an exception, so that the kernel and its children are ended first."""
    sys.exit(128 + signal.SIGTERM)


def main() -> int:
    """Parse the command line, run, and print the table; 1 if any notebook failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="quick", choices=settings.PROFILES)
    parser.add_argument("--only", default="", help='first letters of file names, such as "01 05"')
    parser.add_argument("--seeds", default="0", help='whole numbers, such as "0 1 2"')
    parser.add_argument("--store", action="store_true", help="write the outputs into notebooks/")
    parser.add_argument("--evidence", action="store_true", help="keep the results of every seed")
    parser.add_argument("--jobs", default="", help="how many notebooks run at a time")
    options = parser.parse_args()
    seeds = parse_seeds(options.seeds)
    if options.store and seeds != [0]:
        sys.exit("Outputs are stored for seed 0, which is the notebooks' own.")

    kept = options.store or options.evidence
    at_once = parse_at_once(options.jobs, options.profile, kept)
    if options.evidence:  # these runs become evidence, so they do not read what is stored
        os.environ["COMPANION_EVIDENCE"] = "none"
    signal.signal(signal.SIGTERM, stop)
    timeout = CELL_TIMEOUTS[options.profile]
    jobs = [(path, seed) for seed in seeds for path in select_notebooks(options.only)]
    if os.environ.get("RAY_ADDRESS") and not options.store:
        outcomes = run_on_cluster(jobs, options.profile, timeout)
    else:
        outcomes = run_here(jobs, options.profile, timeout, options.store, at_once)
    rows = {}
    errors = {}
    signal_number = 0
    try:
        with closing(outcomes):
            for job, outcome in outcomes:
                path, seed = job
                rows[job], error = finish(path, seed, outcome, options.profile, options.store)
                if error:
                    errors[job] = error
                elif options.evidence:
                    keep_evidence(path, seed, outcome, options.profile)
    except KeyboardInterrupt:
        signal_number = signal.SIGINT
    except SystemExit as request:
        if request.code != 128 + signal.SIGTERM:
            raise
        signal_number = signal.SIGTERM
    folders = [build_folder(options.profile, seed) for seed in seeds]
    if options.store and len(errors) < len(rows):
        folders = [ROOT / "notebooks"]
    if rows:
        print_table(list(rows.values()), options.profile)
        print(f"Executed notebooks: {', '.join(map(settings.display_path, folders))}")
    for job in jobs:
        if job in errors:
            print(f"FAILED {errors[job]}", file=sys.stderr)
    if signal_number:
        missing = ", ".join(job_name(job) for job in jobs if job not in rows)
        print(f"Stopped: {len(rows)} of {len(jobs)} done; not: {missing}", file=sys.stderr)
        return 128 + signal_number
    return int(bool(errors))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
