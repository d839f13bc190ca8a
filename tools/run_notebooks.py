"""Run notebooks, each with every seed, and print a table of results: `make run`, `make render`."""

import argparse
import base64
import json
import os
import shutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools import cluster, results  # noqa: E402
from tools.execution import Outcome, build_folder, execute, notebooks, store  # noqa: E402
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


def set_aside(folder: Path) -> Path:
    """Move a folder of an earlier run to build/replaced, in place of what lies there."""
    target = ROOT / "build" / "replaced" / folder.name
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, target)
    return target


def run_here(jobs: list[tuple[Path, int]], profile: str, timeout: int, stored: bool):
    """Run notebooks one after the other on this machine.

    Args:
        jobs: notebook and seed of each.
        profile: its name.
        timeout: seconds that one cell may take.
        stored: whether they write to the project's `runs` while running, as those do whose outputs
            are stored; else to `runs` in their `build_folder`.

    Yields:
        (notebook, seed), and its `Outcome`.
    """
    import nbformat
    from tqdm import tqdm

    cells = [len(nbformat.read(path, as_version=4).cells) for path, _ in jobs]
    form = "{desc:28}{bar}{n_fmt}/{total_fmt} cells {elapsed}"
    finished = 0
    with tqdm(total=sum(cells), unit="cell", bar_format=form) as bar:
        for (path, seed), count in zip(jobs, cells, strict=True):
            runs = (ROOT if stored else build_folder(profile, seed)) / "runs"
            # A model of an earlier run would be loaded, and the seconds would measure nothing.
            earlier = runs / path.stem
            if not stored:
                shutil.rmtree(earlier, ignore_errors=True)
            elif earlier.is_dir():  # it may hold logs that a reader has not uploaded yet
                source = settings.display_path(earlier)
                bar.write(f"Moved {source} to {settings.display_path(set_aside(earlier))}")
            bar.set_description(path.stem)
            variables = {"COMPANION_PROFILE": profile, "COMPANION_RUNS": str(runs)}
            outcome = execute(path, seed, timeout, variables, bar)
            # A notebook that failed has not counted all its cells; one with a seed has one more.
            finished += count
            bar.update(finished - bar.n)
            yield (path, seed), outcome


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
        stored: write into notebooks/, unless it failed.

    Returns:
        Its row of the table, and a line of error, empty if it did not fail.
    """
    build = build_folder(profile, seed)
    runs = (ROOT if stored else build) / "runs"
    report = runs / path.stem / "summary.json"
    summary = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    stored = stored and not outcome.error
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
    row = {
        "notebook": path.stem,
        "seed": seed,
        "machine": outcome.machine,
        "seconds": f"{outcome.seconds:.0f}",
        "peak memory": f"{outcome.peak / 2**30:.1f} GiB",
        "data": summary.get("data", "-"),
        "result": "FAILED" if outcome.error else summary.get("headline", "-"),
    }
    return row, error


def print_table(rows: list[dict], profile: str) -> None:
    """Print a row for each notebook and seed, without columns that say the same everywhere."""
    from tabulate import tabulate

    hidden = [
        name
        for name, usual in (("seed", 0), ("machine", "local"))
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
    options = parser.parse_args()
    seeds = parse_seeds(options.seeds)
    if options.store and seeds != [0]:
        sys.exit("Outputs are stored for seed 0, which is the notebooks' own.")

    signal.signal(signal.SIGTERM, stop)
    timeout = CELL_TIMEOUTS[options.profile]
    jobs = [(path, seed) for seed in seeds for path in select_notebooks(options.only)]
    if os.environ.get("RAY_ADDRESS") and not options.store:
        outcomes = run_on_cluster(jobs, options.profile, timeout)
    else:
        outcomes = run_here(jobs, options.profile, timeout, options.store)
    rows = []
    errors = []
    for (path, seed), outcome in outcomes:
        row, error = finish(path, seed, outcome, options.profile, options.store)
        rows.append(row)
        if error:
            errors.append(error)
    print_table(rows, options.profile)
    folders = [build_folder(options.profile, seed) for seed in seeds]
    if options.store:
        folders = [ROOT / "notebooks"]
    print(f"Executed notebooks: {', '.join(map(settings.display_path, folders))}")
    for error in errors:
        print(f"FAILED {error}", file=sys.stderr)
    return bool(errors)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
