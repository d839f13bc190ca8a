"""Helpers of the proofs: notebooks in kernels that may be killed, small disks, reading of results.

The proofs themselves are the other scripts of this folder; pytest collects none of them.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tabulate import tabulate

from tools.execution import load, running_kernel
from utils import settings

ROOT = settings.ROOT
WORK = ROOT / "build" / "proofs"
MARK = "# NBVAL_CHECK_OUTPUT"  # begins the cells whose output is the same on every machine
# Every connection fails at once, except to this machine.
NO_NETWORK = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
) | dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")


def notebook(number: str) -> Path:
    """Find a notebook by the first letters of its name."""
    (path,) = (ROOT / "notebooks").glob(f"{number}*.ipynb")
    return path


def environment(runs: Path, **more: str) -> dict[str, str]:
    """Make the environment of a quick notebook on samples, offline, that writes to `runs`."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COMPANION", "WANDB"))
    }
    chosen = {"COMPANION_PROFILE": "quick", "COMPANION_DATA": "sample", "WANDB_MODE": "offline"}
    return inherited | NO_NETWORK | chosen | {"COMPANION_RUNS": str(runs), "PYTHONPATH": ""} | more


class Kernel:
    """A notebook in a kernel of its own, cell by cell."""

    def __init__(
        self, path: Path, env: dict[str, str], timeout: int = 600, folder: Path | None = None
    ):
        self.notebook = load(path, seed=0)
        self.cells = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        resources = {"metadata": {"path": str(folder or path.parent)}}
        self.client = NotebookClient(
            self.notebook,
            timeout=timeout,
            kernel_name="python3",
            resources=resources,
            record_timing=False,
        )
        self._running = running_kernel(self.client, env)

    def __enter__(self):
        self.pid = self._running.__enter__()
        return self

    def __exit__(self, *raised):
        return self._running.__exit__(*raised)

    def run(self, cell, times: int = 1) -> list[str]:
        """Execute a cell and return its text, once for each time.

        Raises:
            nbclient.exceptions.CellExecutionError: the cell raised.
            nbclient.exceptions.DeadKernelError: the kernel died.
        """
        number = self.notebook.cells.index(cell)
        return [cell_text(self.client.execute_cell(cell, number)) for _ in range(times)]

    def hidden(self, source: str) -> str:
        """Execute code that is no cell of the notebook, and return its text."""
        cell = nbformat.v4.new_code_cell(source)
        self.notebook.cells.append(cell)
        try:
            return cell_text(self.client.execute_cell(cell, len(self.notebook.cells) - 1))
        finally:
            self.notebook.cells.pop()


def stored(number: str) -> dict[str, str]:
    """Return the text stored in the notebook's file for its marked cells, by cell id."""
    cells = nbformat.read(notebook(number), as_version=4).cells
    return {cell.id: cell_text(cell) for cell in cells if cell.source.startswith(MARK)}


def cell_text(cell) -> str:
    """Return all text among the outputs of a cell: printed, or shown as plain text."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        parts.append(output.get("text", "") or data.get("text/plain", ""))
    return "".join(part if part.endswith("\n") or not part else part + "\n" for part in parts)


def run_notebook(
    number: str,
    env: dict[str, str],
    before: dict[int, str] | None = None,
    relief: str | None = None,
    **more,
) -> str:
    """Run a notebook to its end and return the text of its cells.

    Args:
        number: first letters of the notebook's name.
        env: environment of its kernel.
        before: additional code, by the number of the code cell before which it runs.
        relief: code that does what the message of a failed cell asks for; the cell then runs again.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised, and no relief helped.
    """
    text = []
    path = notebook(number)
    with Kernel(path, env, **more) as kernel:
        for number, cell in enumerate(kernel.cells):
            if number in (before or {}):
                kernel.hidden(before[number])
            try:
                text += kernel.run(cell)
            except CellExecutionError as error:
                if relief is None or error.ename != "CompanionError":
                    raise
                text += [
                    f"CompanionError: {error.evalue}\n",
                    kernel.hidden(relief),
                    *kernel.run(cell),
                ]
    return "".join(text)


def summary(runs: Path, number: str) -> dict:
    """Read the summary.json of a notebook: "headline", "data" and "numbers"."""
    path = runs / notebook(number).stem / "summary.json"
    return json.loads(path.read_text(encoding="utf-8"))


class NotPermitted(Exception):
    """This machine does not allow us to mount a file system."""


@contextmanager
def disk(megabytes: float | None = None, read_only: Path | None = None):
    """Mount a small disk in memory, or a read-only one with a copy of a folder.

    Args:
        megabytes: its size.
        read_only: the folder whose content is copied before the disk is made read-only.

    Raises:
        NotPermitted: mounting needs Linux and root.
    """
    folder = Path(tempfile.mkdtemp(prefix="proof-disk-"))
    size = f"size={int((megabytes or 2_000) * 2**20)}"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        folder.rmdir()
        raise NotPermitted("a small disk needs Linux and root")
    try:
        if read_only is not None:
            shutil.copytree(read_only, folder, dirs_exist_ok=True)
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path) -> Path:
    """Write a file until the disk is full."""
    path = folder / "filler"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            if file.write(bytes(1 << 16)) < 1 << 16:
                break
    return path


def fresh(*parts: str | Path) -> Path:
    """Make an empty folder below build/proofs, or at an absolute path."""
    folder = WORK.joinpath(*parts)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def copy_project(folder: Path) -> None:
    """Copy the files of the project that git knows or would add."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        sys.exit("This proof copies what git tracks, but this is no git repository: clone one.")
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def digest(value) -> str:
    """Return a short hash of texts and numbers."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:8]


def report(title: str, rows: list[dict], began: float) -> int:
    """Print a table of losses; return 1, for `sys.exit`, if there is one or nothing was tried.

    Args:
        title: of the table.
        rows: dicts; those whose "lost" is not "nothing" or "skipped" count as failures.
        began: `time.perf_counter()` at the beginning.
    """
    failed = [row for row in rows if not str(row["lost"]).startswith(("nothing", "skipped"))]
    print(
        f"\n{title}\n\n{tabulate(rows, headers='keys', disable_numparse=True, maxcolwidths=70)}\n"
    )
    print(f"{len(rows)} tried, {len(failed)} lost something, {time.perf_counter() - began:.0f} s")
    sys.stdout.flush()
    return int(bool(failed) or not rows)


# Names of what depends on time; two runs need not agree in it.
CLOCK = re.compile(
    r"seconds|per.second|throughput|per s\b|/s\b|times.as.(fast|long)|\bms\b|took|speed",
    re.IGNORECASE,
)
TIMES = (
    r"\b\d[\d.,]*\+? ?(?:ms|µs|us|s|min|h|seconds|minutes)(?:/\w+)?\b",
    r"\b\d[\d.,]* times as (?:fast|long)",
    r"offline-run-\w+-\w+",
    r"\d{4}-\d\d-\d\d at \d\d:\d\d",  # when a training was saved
)


def differences(one: dict, other: dict) -> list[str]:
    """Name the numbers of two summaries that differ, but for those that are named after time."""
    one, other = without_times(one), without_times(other)
    names = sorted(set(one) | set(other))
    return [name for name in names if one.get(name) != other.get(name)]


def without_times(value):
    """Leave out of a summary's numbers what is named after time, in the rows of its tables too."""
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if not CLOCK.search(name)}
    if isinstance(value, list):
        return [without_times(part) for part in value]
    return value


def timeless(text: str) -> list[str]:
    """Return the lines of a cell's text with what depends on time replaced.

    That is: a number with a unit of time, "12 times as fast", the name of a W&B run, and every
    column of a table (or row, where the first column names what is measured) named after time.
    """
    lines = []
    columns = []
    originals = text.splitlines()
    for number, line in enumerate(originals):
        rule = originals[number + 1] if number + 1 < len(originals) else ""
        if re.fullmatch(r"-+(  +-+)*", rule.strip()) and line.strip():
            # Below the head of a table are dashes as wide as its columns.
            spans = [match.span() for match in re.finditer(r"-+", rule)]
            columns = [span for span in spans if CLOCK.search(line[span[0] : span[1]])]
        elif not line.strip():
            columns = []
        elif not re.fullmatch(r"[- ]+", line):
            for start, end in columns:
                line = line[:start] + "<time>".ljust(end - start)[: end - start] + line[end:]
        for pattern in TIMES:
            line = re.sub(pattern, "<time>", line)
        lines.append(re.sub(r" {2,}|-{2,}", "  ", line).rstrip())
    return lines
