"""Execute one notebook in a fresh kernel, and store it: for runs here and on a cluster."""

import asyncio
import os
import re
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent

# Every stored notebook carries this, whatever kernel and Python version it was executed with.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class PeakMemory(threading.Thread):
    """Sample the resident memory of a process and its children until `stop`; `peak` is in bytes."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self._stopped = threading.Event()

    def run(self):
        """Sample five times a second; a process that ends meanwhile is no longer counted."""
        import psutil

        while not self._stopped.wait(0.2):
            with suppress(psutil.NoSuchProcess):
                kernel = psutil.Process(self.pid)
                processes = [kernel, *kernel.children(recursive=True)]
                memory = sum(process.memory_info().rss for process in processes)
                self.peak = max(self.peak, memory)

    def stop(self) -> int:
        """End sampling and return the peak."""
        self._stopped.set()
        self.join()
        return self.peak


@dataclass
class Outcome:
    """The result of one notebook: its cells, seconds, peak memory in bytes, error, machine."""

    notebook: nbformat.NotebookNode | None = None
    seconds: float = 0.0
    peak: int = 0
    error: str | None = None
    machine: str = "local"


def notebooks() -> list[Path]:
    """List the numbered notebooks; a notebook without a number is a reader's own."""
    return sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def build_folder(profile: str, seed: int) -> Path:
    """Return the folder for executed notebooks; `runs` inside it takes what they write."""
    build = ROOT / "build" / profile
    return build / f"seed-{seed}" if seed else build


def load(path: Path, seed: int) -> nbformat.NotebookNode:
    """Read a notebook without its outputs; papermill injects a seed other than 0, its own.

    Raises:
        ValueError: the notebook has no parameter `seed`, so nothing would read what papermill sets.
    """
    notebook = nbformat.read(path, as_version=4)
    if seed:
        from papermill.iorw import load_notebook_node
        from papermill.parameterize import parameterize_notebook

        parameters = "\n".join(
            cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
        )
        if not re.search(r"^seed = ", parameters, re.MULTILINE):
            raise ValueError("takes no seed: no cell tagged `parameters` sets the variable `seed`")
        notebook = parameterize_notebook(
            load_notebook_node(str(path)), {"seed": seed}, kernel_name="python3", language="python"
        )
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return notebook


class KernelStartError(Exception):
    """The kernel died while it started, did not answer in time, or is not installed."""


async def cancel_tasks() -> None:
    """Cancel what nbclient still waits for when a signal has cut it off."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def kill_group(group: int) -> None:
    """Kill a kernel's process group, unless it is our own: some kernels have none of theirs."""
    if group != os.getpgrp():
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


class Kernels:
    """The process groups of kernels that run in threads of this process, to kill all at once."""

    def __init__(self):
        self._groups = set()
        self._killed = False
        self._lock = threading.Lock()

    def add(self, group: int) -> None:
        """Add a kernel that has started; it is killed if the others have been."""
        with self._lock:
            self._groups.add(group)
            if self._killed:
                kill_group(group)

    def remove(self, group: int) -> None:
        """Remove a kernel that has ended."""
        with self._lock:
            self._groups.discard(group)

    def kill(self) -> None:
        """Kill all of them, with their children; the threads then find their kernel dead."""
        with self._lock:
            self._killed = True
            for group in self._groups:
                kill_group(group)


@contextmanager
def running_kernel(client, environment: dict[str, str], kernels: Kernels | None = None):
    """Start the kernel of a client, and shut it down at the end.

    A kernel that is cut off (by Ctrl-C, SIGTERM, a timeout) is killed with its process group, to
    which its children belong; nbclient's own `setup_kernel` would leave the children running.

    Args:
        client: of nbclient; its resources name the folder in which the kernel runs.
        environment: all environment variables of the kernel.
        kernels: where it is listed while it runs.

    Yields:
        The kernel's process id.

    Raises:
        KernelStartError: there is no kernel to run cells in.
    """
    from jupyter_client.kernelspec import NoSuchKernel
    from jupyter_core.utils import run_sync
    from nbclient.exceptions import CellExecutionError

    client.create_kernel_manager()
    manager = client.km
    kernels = kernels or Kernels()
    group = None
    graceful = False
    try:
        try:
            # Warnings of the kernel about its own transport are no result.
            client.start_new_kernel(env=environment, stderr=subprocess.DEVNULL)
            group = manager.provisioner.pgid
            kernels.add(group)
            pid = manager.provisioner.pid
            client.start_new_kernel_client()
        except (RuntimeError, NoSuchKernel, OSError) as failure:
            raise KernelStartError(f"the kernel did not start: {failure}") from failure
        yield pid
        graceful = True
    except CellExecutionError:
        graceful = True
        raise
    finally:
        if not graceful:
            run_sync(cancel_tasks)()
            if group:
                kill_group(group)
        if client.kc is not None:
            client.kc.stop_channels()
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=not graceful)
        kernels.remove(group)


def execute(
    path: Path,
    seed: int,
    cell_timeout: int,
    variables: dict[str, str] | None = None,
    bar=None,
    kernels: Kernels | None = None,
) -> Outcome:
    """Run one notebook in a fresh kernel.

    Args:
        path: path of the notebook; the file does not change.
        seed: 0 is the notebook's own.
        cell_timeout: seconds that one cell may take.
        variables: environment variables that the kernel has in addition to those of this process.
        bar: a progress bar that advances by one for every cell.
        kernels: where the kernel is listed while it runs, so that another thread may kill it.

    Returns:
        An `Outcome`. Its `error` says which cell raised, took too long, or lost its kernel, or that
        the kernel did not start, or that the notebook takes no seed.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    began = time.perf_counter()
    try:
        notebook = load(path, seed)
    except ValueError as failure:
        return Outcome(error=str(failure))
    client = NotebookClient(
        notebook,
        timeout=cell_timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    number = None  # of the cell that runs
    memory = None
    error = None
    try:
        with running_kernel(client, os.environ | (variables or {}), kernels) as pid:
            memory = PeakMemory(pid)
            memory.start()
            for number, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    client.execute_cell(cell, number)
                if bar is not None:
                    bar.update()
            # With the state of its widgets stored, a page shows a panel without a kernel.
            client.set_widgets_metadata()
    except CellExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}"
    except CellTimeoutError:
        error = f"not finished after {cell_timeout} s"
    except DeadKernelError:
        error = "the kernel died (out of memory?)"
    except KernelStartError as failure:
        error = str(failure)
    if error:
        error = error.strip().splitlines()[0]
        if number is not None:
            first_line = notebook.cells[number].source.strip().partition("\n")[0]
            error = f"cell {number + 1} ({first_line}): {error}"
    peak = memory.stop() if memory else 0
    return Outcome(notebook, time.perf_counter() - began, peak, error)


def store(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook without what differs from machine to machine: kernel and Python version."""
    widgets = notebook.metadata.get("widgets")
    notebook.metadata = METADATA | ({"widgets": widgets} if widgets else {})
    for cell in notebook.cells:
        for key in ("execution", "papermill"):
            cell.metadata.pop(key, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    nbformat.write(notebook, partial)
    partial.replace(path)
