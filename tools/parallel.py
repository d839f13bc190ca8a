"""Run notebooks on this machine, several at a time: `make run JOBS=2`.

Each notebook runs in a kernel of its own, which a thread of this process waits for. The main thread
waits for events: a cell or a notebook that ended, or a signal, which kills all kernels at once.
"""

import json
import os
import queue
import re
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat

from tools.execution import ROOT, Kernels, Outcome, build_folder, execute
from utils import settings
from utils.settings import num_cores

MEMORY_EACH = 2 * 2**30  # bytes that a notebook may take in the quick profile
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def default_at_once(profile: str) -> int:
    """Return how many notebooks run at a time: three on two cores, as far as the memory allows.

    A notebook with one thread often waits, for its input or a disk: three keep two cores busy.
    Beyond the quick profile, trainings have time budgets, so that other load would change what they
    reach: one notebook at a time.
    """
    import psutil

    if profile != "quick":
        return 1
    return max(1, min(3 * num_cores() // 2, psutil.virtual_memory().available // MEMORY_EACH))


def job_name(job: tuple[Path, int]) -> str:
    """Name a notebook with its seed, if that is not the notebook's own."""
    path, seed = job
    return f"{path.stem} (seed {seed})" if seed else path.stem


def set_aside(folder: Path) -> Path:
    """Move a folder of an earlier run to build/replaced, in place of what lies there."""
    target = ROOT / "build" / "replaced" / folder.name
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, target)
    return target


def read_seconds(profile: str) -> dict[str, float]:
    """Read how long each notebook took when it last ran in this profile, by its name."""
    path = build_folder(profile, 0) / "seconds.json"
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def write_seconds(profile: str, seconds: dict[str, float]) -> None:
    """Write what `read_seconds` reads."""
    path = build_folder(profile, 0) / "seconds.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(seconds, indent=1), encoding="utf-8")
    partial.replace(path)


def stated_seconds(path: Path, profile: str) -> float:
    """Return how long a notebook says in its first table that it takes; infinity if it does not."""
    with path.open(encoding="utf-8") as file:
        beginning = file.read(5_000)
    match = re.search(rf"Time on two CPU cores \| [^|]*?\b{profile} (\d+) (s|min)\b", beginning)
    if match is None:
        return float("inf")
    return int(match[1]) * {"s": 1, "min": 60}[match[2]]


def longest_first(jobs: list[tuple[Path, int]], profile: str) -> list[tuple[Path, int]]:
    """Sort notebooks by how long they last took, so that none is left alone at the end.

    For one that has not run yet here it is what it says itself; one that says nothing may be long,
    so it comes first. Among equals the last number comes first.
    """
    known = read_seconds(profile)
    seconds = {}
    for path, _ in jobs:
        seconds[path] = known.get(path.stem) or stated_seconds(path, profile)
    backwards = sorted(jobs, key=lambda job: job[0].stem, reverse=True)
    return sorted(backwards, key=lambda job: seconds[job[0]], reverse=True)


class Progress:
    """A bar of one line at a terminal; elsewhere a line when a notebook starts and when it ends."""

    def __init__(self, jobs: list[tuple[Path, int]]):
        from tqdm import tqdm

        self.cells = {}
        for path, seed in jobs:
            self.cells[path, seed] = len(nbformat.read(path, as_version=4).cells)
        self.done = dict.fromkeys(self.cells, 0)
        self.running = []
        self.ended = 0
        self.width = max(len(job_name(job)) for job in jobs)
        self.bar = tqdm(
            total=sum(self.cells.values()),
            bar_format="{desc}{bar} {n_fmt}/{total_fmt} cells {elapsed}",
            disable=None,  # unless stderr is a terminal
        )

    def names(self, columns: int) -> str:
        """Name what runs in the left part of a line of that many columns: by numbers if narrow."""
        room = max(8, min(44, columns - 40))
        text = ", ".join(job_name(job) for job in self.running)
        if len(text) >= room:
            text = ", ".join(path.stem.partition("_")[0] for path, _ in self.running)
        if len(text) >= room:
            text = text[: room - 2] + "…"
        return text.ljust(room)

    def refresh(self) -> None:
        """Draw the bar again, with the time that has passed."""
        if self.bar.disable:
            return
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        self.bar.ncols = max(1, columns - 3)  # a terminal writes ^C behind the bar
        self.bar.set_description_str(self.names(columns), refresh=False)
        self.bar.n = sum(self.done.values())
        self.bar.refresh()

    def line(self, text: str) -> None:
        """Write a line where there is no bar."""
        if self.bar.disable:
            print(text, file=sys.stderr, flush=True)

    def start(self, job: tuple[Path, int]) -> None:
        """Show that a notebook runs now."""
        self.running.append(job)
        self.line(f"{job_name(job):{self.width}}  started")
        self.refresh()

    def advance(self, job: tuple[Path, int]) -> None:
        """Count a cell; with a seed there is one more than the file has."""
        self.done[job] = min(self.done[job] + 1, self.cells[job])
        self.refresh()

    def end(self, job: tuple[Path, int], outcome: Outcome) -> None:
        """Show that a notebook has ended; of one that failed, all cells count."""
        self.running.remove(job)
        self.done[job] = self.cells[job]
        self.ended += 1
        result = "failed" if outcome.error else "done"
        count = f"({self.ended} of {len(self.cells)})"
        self.line(f"{job_name(job):{self.width}}  {result}  {outcome.seconds:.0f} s  {count}")
        self.refresh()


class Cells:
    """What `execute` tells of each cell of a notebook; it becomes an event."""

    def __init__(self, events: queue.SimpleQueue, job: tuple[Path, int]):
        self.events = events
        self.job = job

    def update(self) -> None:
        """Tell that one more cell is done."""
        self.events.put(("cell", self.job))


@contextmanager
def signals_as_events(events: queue.SimpleQueue):
    """Turn Ctrl-C and SIGTERM into events, so that they cut off no file that is being written.

    The second one ends the process as it would without this.
    """

    def handle(number, frame):
        signal.signal(number, signal.SIG_DFL)
        events.put(("signal", number))  # a SimpleQueue may be filled by a handler

    earlier = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as in a background job of a shell script
            earlier[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def run_here(
    jobs: list[tuple[Path, int]], profile: str, timeout: int, stored: bool, at_once: int = 1
):
    """Run notebooks on this machine.

    Args:
        jobs: notebook and seed of each.
        profile: its name.
        timeout: seconds that one cell may take.
        stored: whether they write to the project's `runs` while running, as those do whose outputs
            are stored; else to `runs` in their `build_folder`.
        at_once: how many run at a time, the longest first; they share the cores. A single one takes
            all of them, in the order of `jobs`.

    Yields:
        (notebook, seed), and its `Outcome`, as soon as it has ended.

    Raises:
        KeyboardInterrupt: on Ctrl-C; all kernels are killed, with the processes they started.
        SystemExit: on SIGTERM, as on Ctrl-C, with code 143.
    """
    events = queue.SimpleQueue()
    kernels = Kernels()
    variables = {"COMPANION_PROFILE": profile}
    if stored:
        variables["COMPANION_STORE"] = "1"  # pictures that may not be passed on are left out
    if at_once > 1:
        jobs = longest_first(jobs, profile)
        threads = str(max(1, num_cores() // at_once))
        variables |= {name: threads for name in THREADS if name not in os.environ}

    def work(job):
        path, seed = job
        events.put(("start", job))
        runs = (ROOT if stored else build_folder(profile, seed)) / "runs"
        # A model of an earlier run would be loaded, and the seconds would measure nothing.
        earlier = runs / path.stem
        if not stored:
            shutil.rmtree(earlier, ignore_errors=True)
        elif earlier.is_dir():  # it may hold logs that a reader has not uploaded yet
            source = settings.display_path(earlier)
            events.put(("note", f"Moved {source} to {settings.display_path(set_aside(earlier))}"))
        more = variables | {"COMPANION_RUNS": str(runs)}
        return execute(path, seed, timeout, more, Cells(events, job), kernels)

    seconds = read_seconds(profile)
    progress = Progress(jobs)
    waiting = len(jobs)
    with progress.bar, ThreadPoolExecutor(at_once) as pool, signals_as_events(events):
        try:
            for job in jobs:
                future = pool.submit(work, job)
                future.add_done_callback(lambda future, job=job: events.put(("end", job, future)))
            while waiting:
                kind = None
                with suppress(queue.Empty):
                    kind, *values = events.get(timeout=1)
                if kind is None:
                    progress.refresh()
                elif kind == "signal":
                    stop(values[0])
                elif kind == "note":
                    progress.bar.write(values[0])
                elif kind == "start":
                    progress.start(values[0])
                elif kind == "cell":
                    progress.advance(values[0])
                else:
                    job, future = values
                    outcome = future.result()
                    progress.end(job, outcome)
                    waiting -= 1
                    if not outcome.error:
                        seconds[job[0].stem] = round(outcome.seconds, 1)
                        write_seconds(profile, seconds)
                    yield job, outcome
        finally:
            # Nothing is left to end here, unless a signal or an error has cut the loop off.
            pool.shutdown(wait=False, cancel_futures=True)
            kernels.kill()


def stop(number: int) -> None:
    """Raise what stands for a signal."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
