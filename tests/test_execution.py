"""Kernels that die, hang or do not start, signals, and seeds: what `make run` makes of them."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import psutil
import pytest

from tests.test_tools import run
from tools import execution
from utils import settings

GOOD = ["print('good')"]


def write_notebook(folder, name, sources, tags=()):
    """Write a notebook of code cells, the first of which has these tags."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = list(tags)
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def test_a_killed_kernel_fails_its_notebook_and_the_next_one_runs(bare):
    write_notebook(
        bare / "notebooks", "01_dies", ["x = 1", "import os, signal; os.kill(os.getpid(), 9)"]
    )
    write_notebook(bare / "notebooks", "02_good", GOOD)
    done = run(bare, "run_notebooks.py")
    assert done.returncode == 1
    assert "FAILED 01_dies.ipynb, cell 2 (import os, signal" in done.stderr
    assert "the kernel died" in done.stderr
    executed = nbformat.read(bare / "build" / "quick" / "02_good.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text == "good\n"


def test_a_kernel_that_dies_while_it_starts_fails_every_notebook_in_a_line(bare):
    kernel = bare / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-c", "raise SystemExit(3)", "{connection_file}"]
    spec = {"argv": command, "display_name": "exits at once", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    for name in ("01_first", "02_second"):
        write_notebook(bare / "notebooks", name, GOOD)
    done = run(bare, "run_notebooks.py", JUPYTER_PATH=str(bare / "jupyter"))
    assert done.returncode == 1
    rows = [line for line in done.stdout.splitlines() if re.match("0[12]_", line)]
    assert len(rows) == 2 and all(row.endswith("FAILED") for row in rows)
    assert "Traceback" not in done.stderr
    for name in ("01_first", "02_second"):
        assert f"FAILED {name}.ipynb, the kernel did not start: " in done.stderr


def test_a_cell_that_hangs_is_cut_off_with_the_processes_that_it_started(tmp_path):
    source = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(300)"
    )
    path = write_notebook(tmp_path, "01_hangs", [source])
    began = time.perf_counter()
    outcome = execution.execute(path, 0, cell_timeout=5)
    assert outcome.error == "cell 1 (import subprocess, time): not finished after 5 s"
    assert time.perf_counter() - began < 60
    child = int(outcome.notebook.cells[0].outputs[0].text)
    assert wait_until(lambda: not is_running(child), 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_kernel_and_its_children(bare, number):
    pids = bare / "pids.txt"
    source = (
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} end')\n"
        "time.sleep(300)"
    )
    write_notebook(bare / "notebooks", "01_sleeps", [source])
    write_notebook(bare / "notebooks", "02_good", GOOD)
    command = [sys.executable, str(bare / "tools" / "run_notebooks.py")]
    # A test run started in the background ignores Ctrl-C, and so would its children.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    runner = subprocess.Popen(
        command, cwd=bare, stderr=subprocess.PIPE, text=True, preexec_fn=listening
    )
    try:
        ready = wait_until(lambda: pids.is_file() and pids.read_text().endswith("end"), 60)
        assert ready
        runner.send_signal(number)
        _, errors = runner.communicate(timeout=30)
    finally:
        runner.kill()
    assert runner.returncode == 128 + number
    assert "Traceback" not in errors
    for pid in map(int, pids.read_text().split()[:2]):
        assert wait_until(lambda pid=pid: not is_running(pid), 10)
    assert not (bare / "build" / "quick" / "02_good.ipynb").exists()


def test_a_seed_reaches_a_notebook_that_takes_one_and_others_fail(bare):
    print_seed = "print('the seed is', seed)"
    write_notebook(bare / "notebooks", "01_seeded", ["seed = 0", print_seed], ["parameters"])
    write_notebook(bare / "notebooks", "02_unseeded", ["seed = 0", print_seed])
    done = run(bare, "run_notebooks.py", "--seeds", "0 7")
    assert done.returncode == 1
    assert "FAILED 02_unseeded.ipynb (seed 7), takes no seed" in done.stderr
    assert done.stderr.count("FAILED") == 1
    build = bare / "build" / "quick"
    for seed, folder in ((0, build), (7, build / "seed-7")):
        executed = nbformat.read(folder / "01_seeded.ipynb", as_version=4)
        assert executed.cells[-1].outputs[0].text == f"the seed is {seed}\n"
    assert not (build / "seed-7" / "02_unseeded.ipynb").exists()


def test_variables_are_set_for_the_kernel_only(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_RUNS", "a reader's own")
    source = "import os; print(os.environ['COMPANION_RUNS'], os.environ['COMPANION_CACHE'])"
    path = write_notebook(tmp_path, "01_prints", [source])
    monkeypatch.setenv("COMPANION_CACHE", "inherited")
    outcome = execution.execute(path, 0, 60, {"COMPANION_RUNS": "of the run"})
    assert outcome.error is None
    assert outcome.notebook.cells[0].outputs[0].text == "of the run inherited\n"
    assert os.environ["COMPANION_RUNS"] == "a reader's own"


def test_papermill_sets_the_seed_of_the_skeleton(bare):
    """As README.md says it: with papermill's own command line, from the folder of the project."""
    first = execution.notebooks()[0]
    (bare / "notebooks" / first.name).write_bytes(first.read_bytes())
    written = run(bare, "new_notebook.py", "diffusion")
    assert written.returncode == 0, written.stderr
    arguments = ["notebooks/02_diffusion.ipynb", "out.ipynb", "-p", "seed", "3"]
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", *arguments]
    environment = os.environ | {"COMPANION_PROFILE": "quick"}
    done = subprocess.run(command, cwd=bare, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unknown parameter" not in done.stderr
    executed = nbformat.read(bare / "out.ipynb", as_version=4)
    by_hand = next(cell for cell in executed.cells if cell.source.startswith("scores = "))
    exponentials = np.exp(np.random.default_rng(3).normal(size=4))
    assert by_hand.outputs[0].text == f"{(exponentials / exponentials.sum()).round(2)}\n"


def test_no_tool_imports_another_that_imports_it():
    """Imports inside functions included."""
    folder = settings.ROOT / "tools"
    imported = {}
    for path in folder.glob("*.py"):
        source = path.read_text()
        names = re.findall(r"^ *from tools\.(\w+) import", source, re.MULTILINE)
        for line in re.findall(r"^ *from tools import ([\w, ]+)", source, re.MULTILINE):
            names += line.replace(" ", "").split(",")
        imported[path.stem] = set(names)
    assert imported["cluster"] == {"execution"}
    assert {"cluster", "execution"} <= imported["run_notebooks"]
    while imported:
        lowest = [name for name, names in imported.items() if not names & imported.keys()]
        assert lowest, f"a cycle among {sorted(imported)}"
        for name in lowest:
            del imported[name]
