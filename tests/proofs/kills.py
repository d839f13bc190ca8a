"""Prove that a kernel killed without warning loses nothing: same epochs, logged once, same results.

Each notebook runs once undisturbed. Then it runs again from the top, several times, and its kernel
is killed at a random moment while it trains (or generates images); the last run is not killed. If
no kill met a training, all of them are tried again, at earlier moments. Four minutes per notebook:
`python tests/proofs/kills.py 01 02` proves some of them, `KILLS=5` changes how often a kernel is
killed.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from nbclient.exceptions import DeadKernelError

from tests.proofs import common
from tools.execution import notebooks

KILLS = int(os.environ.get("KILLS", "3"))
TRIES = 3  # until a kill lands while the notebook trains


def states(runs: Path) -> dict[str, int | str]:
    """Return how many epochs each training has on disk, and a hash of each image."""
    saved_states = {}
    for path in sorted(runs.glob("*/models/*.npz")):
        with np.load(path, allow_pickle=False) as saved:
            saved_states[path.stem] = json.loads(str(saved["past"]))["epochs"]
    for path in sorted(runs.glob("*/pictures/*/*.png")):
        name = path.relative_to(runs).as_posix()
        saved_states[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return saved_states


def logged(runs: Path) -> Counter:
    """Count how often the W&B logs have each epoch of each training, by name, epoch, losses."""
    counts = Counter()
    for folder in sorted(runs.glob("*/wandb/offline-run-*")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=common.environment(runs))
        records = [json.loads(line) for line in done.stdout.splitlines()]
        names = [record["run"]["display_name"] for record in records if record["type"] == "run"]
        for record in records:
            item = record.get("history", {}).get("item", {})
            if "epoch/epoch" in item:
                losses = tuple(item.get(f"epoch/{key}") for key in ("loss", "val_loss"))
                counts[names[0], item["epoch/epoch"], losses] += 1
    return counts


def undisturbed(path: Path, runs: Path) -> list[tuple[int, float]]:
    """Run a notebook; return the cells that train or generate images, with their seconds."""
    cells = []
    before = {}
    with common.Kernel(path, common.environment(runs)) as kernel:
        for number, cell in enumerate(kernel.cells):
            start = time.perf_counter()
            kernel.run(cell)
            after = states(runs)
            if after != before:
                cells.append((number, time.perf_counter() - start))
            before = after
    return cells


def killed(path: Path, runs: Path, at: tuple[int, float]) -> int | None:
    """Run a notebook and kill its kernel some seconds after a cell began.

    Returns:
        The number of the cell in which it died, from 0; None if it ended before.
    """
    try:
        with common.Kernel(path, common.environment(runs)) as kernel:
            timer = threading.Timer(at[1], os.kill, (kernel.pid, signal.SIGKILL))
            try:
                for number, cell in enumerate(kernel.cells):
                    if number == at[0]:
                        timer.start()
                    kernel.run(cell)
            finally:
                timer.cancel()
    except DeadKernelError:
        return number
    return None


def moment(cells: list[tuple[int, float]], share: float) -> tuple[int, float]:
    """Turn a share of all training time into a cell and the seconds since it began."""
    left = share * sum(seconds for _, seconds in cells)
    for number, seconds in cells:
        if left <= seconds:
            return number, left
        left -= seconds
    return cells[-1]


def prove(number: str) -> dict:
    """Kill one notebook's kernel again and again, then compare with the undisturbed run."""
    path = common.notebook(number)
    whole = common.fresh("kills", number, "whole")
    cells = undisturbed(path, whole)
    trains = {cell for cell, _ in cells}
    rng = random.Random(number)
    # In order, so that every kill meets a training which no earlier one has let finish.
    shares = sorted(rng.random() for _ in range(KILLS))
    for attempt in range(TRIES):
        cut = common.fresh("kills", number, "cut")
        deaths = []
        for share in shares:
            death = killed(path, cut, moment(cells, share / 2**attempt))
            deaths.append(death)
            where = "ended before the kill" if death is None else f"killed in {place(death)}"
            saved = len(states(cut))
            print(f"{path.stem}: {where}, {saved} trainings or images saved", flush=True)
        if trains & set(deaths):
            break
        print(f"{path.stem}: its training ended before every kill; tried again", flush=True)
    common.run_notebook(number, common.environment(cut))
    row = compare(number, whole, cut, deaths)
    if not trains & set(deaths):
        row["lost"] = f"no kill landed while it trained; {row['lost']}"
    return row


def place(death: int) -> str:
    """Name the cell in which a kernel died, as a reader counts code cells."""
    return f"cell {death + 1}"


def compare(number: str, whole: Path, cut: Path, deaths: list[int | None]) -> dict:
    """Return what a killed notebook lost of its trainings, logs and numbers."""
    lost = []
    expected = common.summary(whole, number)
    actual = common.summary(cut, number)
    different = common.differences(expected["numbers"], actual["numbers"])
    if different:
        lost.append(f"numbers {different}")
    if (ours := states(cut)) != (theirs := states(whole)):
        lost.append(f"trainings {sorted(set(ours.items()) ^ set(theirs.items()))}")
    log, whole_log = logged(cut), logged(whole)
    for entry in sorted(set(log) | set(whole_log), key=str):
        if log[entry] != whole_log[entry]:
            lost.append(f"{entry} logged {log[entry]} times, not {whole_log[entry]}")
    landed = [place(death) for death in deaths if death is not None]
    return {
        "notebook": common.notebook(number).stem,
        "kills": len(landed),
        "in": ", ".join(landed),
        "trainings": len(list(whole.glob("*/models/*.npz"))),
        "epochs logged": sum(whole_log.values()),
        "result": actual["headline"],
        "lost": "; ".join(lost) or "nothing",
    }


def main() -> int:
    """Prove the notebooks that are named, or all."""
    start = time.perf_counter()
    rows = []
    for number in sys.argv[1:] or [path.name[:2] for path in notebooks()]:
        rows.append(prove(number))
        print(rows[-1], flush=True)
        shutil.rmtree(common.WORK / "kills" / number, ignore_errors=True)
    return common.report("Kernels killed at random moments", rows, start)


if __name__ == "__main__":
    sys.exit(main())
