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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


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


def execute(path: Path, bar, cell_timeout: int):
    """Run one notebook in a fresh kernel.

    Returns:
        The executed notebook, its peak memory in bytes, and a one-line error, or None if there was none.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=cell_timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    error, number, memory = None, 0, None
    bar.set_description(path.stem)
    try:
        # What a kernel writes past its outputs, such as warnings about its own transport, is no result.
        with client.setup_kernel(stderr=subprocess.DEVNULL):
            memory = PeakMemory(client.km.provisioner.pid)
            memory.start()
            for number, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    client.execute_cell(cell, number)
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
        bar.update(len(notebook.cells) - number)
    return notebook, memory.stop() if memory else 0, error


def store(notebook, path: Path) -> None:
    """Write a notebook without what differs from machine to machine: kernel and Python version."""
    import nbformat

    widgets = {"widgets": notebook.metadata.widgets} if notebook.metadata.get("widgets") else {}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    } | widgets
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
    picked = [path for path in every if not words or any(path.name.startswith(word) for word in words)]
    if unknown := [word for word in words if not any(path.name.startswith(word) for path in picked)]:
        sys.exit(
            f"No notebook begins with {', '.join(unknown)}. There are: {', '.join(p.stem for p in every)}"
        )
    return picked


def main() -> int:
    """Parse the command line, run, and print the table; 1 if any notebook failed."""
    from tabulate import tabulate
    from tqdm import tqdm

    from tools import results
    from utils import settings

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="quick", choices=settings.PROFILES)
    parser.add_argument("--only", default="", help='first letters of file names, such as "01 05"')
    parser.add_argument("--store", action="store_true", help="write the outputs into notebooks/")
    options = parser.parse_args()

    paths = chosen(options.only)
    build = ROOT / "build" / options.profile
    runs = ROOT / "runs" if options.store else build / "runs"
    os.environ |= {"COMPANION_PROFILE": options.profile, "COMPANION_RUNS": str(runs)}
    cell_timeout = {"quick": 120, "live": 600, "full": 24 * 3600}[options.profile]
    import nbformat

    cells = sum(len(nbformat.read(path, as_version=4).cells) for path in paths)
    rows, failed = [], []
    with tqdm(
        total=cells, unit="cell", bar_format="{desc:28}{bar}{n_fmt}/{total_fmt} cells {elapsed}"
    ) as bar:
        for path in paths:
            # A trained model left by an earlier run would be loaded, and its seconds would be no measurement.
            shutil.rmtree(runs / path.stem, ignore_errors=True)
            began = time.perf_counter()
            notebook, peak, error = execute(path, bar, cell_timeout)
            seconds = time.perf_counter() - began
            target = path if options.store and not error else build / path.name
            store(notebook, target)
            if target == path:
                export_pictures(notebook, ROOT / "docs" / "pictures")
            report = runs / path.stem / "summary.json"
            summary = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
            if target == path and summary:
                results.keep(report)
            if error:
                failed.append(f"{path.name}, {error}\n    executed so far: {settings.shorten(target)}")
            rows.append(
                {
                    "notebook": path.stem,
                    "seconds": f"{seconds:.0f}",
                    "peak memory": f"{peak / 2**30:.1f} GiB",
                    "data": summary.get("data", "-"),
                    "result": "FAILED" if error else summary.get("headline", "-"),
                }
            )
    print(f"\nProfile {options.profile}\n\n{tabulate(rows, headers='keys', disable_numparse=True)}\n")
    print(f"Executed notebooks: {settings.shorten(ROOT / 'notebooks' if options.store else build)}")
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
