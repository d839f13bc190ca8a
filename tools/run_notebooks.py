"""Execute notebooks one after the other and report what each took and found: `make run` and `make render`."""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# What every notebook says of itself, whatever kernel and Python version it was executed with.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class PeakMemory(threading.Thread):
    """Sample the resident memory of a process and its children until `stop`; `peak` is in bytes."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak, self._done = pid, 0, threading.Event()

    def run(self):
        """Sample five times a second; a process that ends meanwhile is no longer counted."""
        import psutil

        while not self._done.wait(0.2):
            try:
                kernel = psutil.Process(self.pid)
                family = [kernel, *kernel.children(recursive=True)]
                self.peak = max(self.peak, sum(process.memory_info().rss for process in family))
            except psutil.NoSuchProcess:
                continue

    def stop(self) -> int:
        """End sampling and return the peak."""
        self._done.set()
        self.join()
        return self.peak


@dataclass
class Outcome:
    """What became of one notebook: as executed, seconds, peak memory in bytes, one line of error, where."""

    notebook: object = None
    seconds: float = 0.0
    peak: int = 0
    error: str | None = None
    machine: str = "here"


def seeded(notebook, seed: int) -> None:
    """Put a cell behind the notebook's knobs that sets another seed, as papermill injects parameters."""
    import nbformat

    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and "cfg = settings.choose(" in cell.source:
            source = f"cfg.seed = {seed}\nkeras.utils.set_random_seed(cfg.seed)"
            extra = nbformat.v4.new_code_cell(source, metadata={"tags": ["injected-parameters"]})
            notebook.cells.insert(number + 1, extra)
            return


def execute(path: Path, seed: int, cell_timeout: int, bar=None) -> Outcome:
    """Run one notebook in a fresh kernel.

    Args:
        path: of the notebook, which stays as it is.
        seed: 0 is the notebook's own.
        cell_timeout: seconds that one cell may take.
        bar: a progress bar that moves on with every cell.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    cells = len(notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if seed:
        seeded(notebook, seed)
    client = NotebookClient(
        notebook,
        timeout=cell_timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    began, error, number, memory = time.perf_counter(), None, 0, None
    try:
        # What a kernel writes past its outputs, such as warnings about its own transport, is no result.
        with client.setup_kernel(stderr=subprocess.DEVNULL):
            memory = PeakMemory(client.km.provisioner.pid)
            memory.start()
            for number, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    client.execute_cell(cell, number)
                if bar is not None and number < cells:
                    bar.update()
            # With the state of its widgets, a page shows the panel as it was, without a kernel.
            client.set_widgets_metadata()
    except CellExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}"
    except CellTimeoutError:
        error = f"not done after {cell_timeout} s"
    except DeadKernelError:
        error = "the kernel died (out of memory?)"
    if error:
        first_line = notebook.cells[number].source.strip().partition("\n")[0]
        error = f"cell {number + 1} ({first_line}): {error.strip().splitlines()[0]}"
        if bar is not None:
            bar.update(cells - min(number, cells))
    return Outcome(notebook, time.perf_counter() - began, memory.stop() if memory else 0, error)


def store(notebook, path: Path) -> None:
    """Write a notebook without what differs from machine to machine: kernel and Python version."""
    import nbformat

    widgets = {"widgets": notebook.metadata.widgets} if notebook.metadata.get("widgets") else {}
    notebook.metadata = METADATA | widgets
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    nbformat.write(notebook, partial)
    partial.replace(path)


def export_pictures(notebook, folder: Path) -> None:
    """Write the picture of every cell tagged `picture-NAME` to NAME.png or NAME.jpeg, for the README."""
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []) if tag.startswith("picture-") else []:
                for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                    folder.mkdir(parents=True, exist_ok=True)
                    path = folder / f"{tag.removeprefix('picture-')}.{kind.removeprefix('image/')}"
                    path.write_bytes(base64.b64decode(output["data"][kind]))


def chosen(only: str) -> list[Path]:
    """List the notebooks whose names begin with one of the words in `only`, or all of them."""
    every = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    words = only.replace(",", " ").split()
    picked = [
        path for path in every if not words or any(path.name.startswith(word) for word in words)
    ]
    if unknown := [
        word for word in words if not any(path.name.startswith(word) for path in picked)
    ]:
        sys.exit(
            f"No notebook begins with {', '.join(unknown)}. There are: {', '.join(p.stem for p in every)}"
        )
    return picked


def folder(profile: str, seed: int) -> Path:
    """Say where executed notebooks go, and their runs in it."""
    build = ROOT / "build" / profile
    return build / f"seed-{seed}" if seed else build


def here(jobs: list[tuple[Path, int]], profile: str, timeout: int, runs: Path | None):
    """Run notebooks one after the other on this machine; yield each with its `Outcome`.

    Args:
        jobs: notebook and seed.
        profile, timeout: as for `execute`.
        runs: where they leave what they make, if not in their `folder`.
    """
    import nbformat
    from tqdm import tqdm

    cells = sum(len(nbformat.read(path, as_version=4).cells) for path, _ in jobs)
    form = "{desc:28}{bar}{n_fmt}/{total_fmt} cells {elapsed}"
    with tqdm(total=cells, unit="cell", bar_format=form) as bar:
        for path, seed in jobs:
            left = runs or folder(profile, seed) / "runs"
            os.environ["COMPANION_RUNS"] = str(left)
            # A trained model left by an earlier run would be loaded, and its seconds would be no measurement.
            shutil.rmtree(left / path.stem, ignore_errors=True)
            bar.set_description(path.stem)
            yield (path, seed), execute(path, seed, timeout, bar)


def elsewhere(jobs: list[tuple[Path, int]], profile: str, timeout: int):
    """Run notebooks on the cluster that `RAY_ADDRESS` names; yield each with its `Outcome`."""
    from tqdm import tqdm

    from tools import cluster

    for path, seed in jobs:
        shutil.rmtree(folder(profile, seed) / "runs" / path.stem, ignore_errors=True)
    with tqdm(
        total=len(jobs), bar_format="on the cluster {bar}{n_fmt}/{total_fmt} notebooks {elapsed}"
    ) as bar:
        for job, outcome in cluster.run(jobs, profile, timeout):
            bar.update()
            yield job, outcome


def main() -> int:
    """Parse the command line, run, and print the table; 1 if any notebook failed."""
    from tabulate import tabulate

    from tools import results
    from utils import settings

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="quick", choices=settings.PROFILES)
    parser.add_argument("--only", default="", help='first letters of file names, such as "01 05"')
    parser.add_argument("--seeds", default="0", help='whole numbers, such as "0 1 2"')
    parser.add_argument("--store", action="store_true", help="write the outputs into notebooks/")
    options = parser.parse_args()
    seeds = options.seeds.replace(",", " ").split()
    if not seeds or not all(seed.isdecimal() for seed in seeds):
        sys.exit(f'SEEDS="{options.seeds}" are no seeds: give whole numbers, such as "0 1 2".')
    if options.store and seeds != ["0"]:
        sys.exit("Outputs are stored for seed 0, which is the notebooks' own.")

    os.environ["COMPANION_PROFILE"] = options.profile
    cell_timeout = {"quick": 120, "live": 600, "full": 24 * 3600}[options.profile]
    jobs = [(path, int(seed)) for seed in seeds for path in chosen(options.only)]
    if os.environ.get("RAY_ADDRESS") and not options.store:
        done = elsewhere(jobs, options.profile, cell_timeout)
    else:
        done = here(jobs, options.profile, cell_timeout, ROOT / "runs" if options.store else None)
    rows, failed = {}, []
    for (path, seed), outcome in done:
        build = folder(options.profile, seed)
        report = (ROOT / "runs" if options.store else build / "runs") / path.stem / "summary.json"
        summary = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
        stored = options.store and not outcome.error
        target = path if stored else build / path.name
        if outcome.notebook:
            store(outcome.notebook, target)
        if stored:
            export_pictures(outcome.notebook, ROOT / "docs" / "pictures")
            if summary:
                results.keep(report)
        if outcome.error:
            failed.append(
                f"{path.name}, {outcome.error}\n    executed so far: {settings.display_path(target)}"
            )
        rows[seed, path.stem] = {
            "notebook": path.stem,
            "seed": seed,
            "machine": outcome.machine,
            "seconds": f"{outcome.seconds:.0f}",
            "peak memory": f"{outcome.peak / 2**30:.1f} GiB",
            "data": summary.get("data", "-"),
            "result": "FAILED" if outcome.error else summary.get("headline", "-"),
        }
    # Columns that are the same all the way down say nothing.
    plain = [
        name
        for name, value in (("seed", 0), ("machine", "here"))
        if all(row[name] == value for row in rows.values())
    ]
    table = [
        {key: value for key, value in rows[job].items() if key not in plain} for job in sorted(rows)
    ]
    print(
        f"\nProfile {options.profile}\n\n{tabulate(table, headers='keys', disable_numparse=True)}\n"
    )
    place = ROOT / "notebooks" if options.store else ROOT / "build" / options.profile
    print(f"Executed notebooks: {settings.display_path(place)}")
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
