"""Kernels that die, hang or do not start, signals, and seeds: what `make run` makes of them."""

import fcntl
import functools
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import nbformat
import numpy as np
import psutil
import pytest

from tests.test_tools import run
from tools import execution, parallel
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


def test_one_kernel_that_dies_while_it_starts_fails_its_notebook_only(bare):
    kernel = bare / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    python, first = shlex.quote(sys.executable), shlex.quote(str(bare / "first"))
    starts = f"{python} -m ipykernel_launcher -f {{connection_file}}"
    once = f"mkdir {first} 2> /dev/null && exit 3; exec {starts}"
    spec = {"argv": ["/bin/sh", "-c", once], "display_name": "dies once", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    for name in ("01_second", "02_first"):
        write_notebook(bare / "notebooks", name, GOOD)
    done = run(bare, "run_notebooks.py", "--only", "02 01", JUPYTER_PATH=str(bare / "jupyter"))
    assert done.returncode == 1
    (failed,) = [line for line in done.stderr.splitlines() if line.startswith("FAILED")]
    assert "the kernel did not start: " in failed
    assert "Traceback" not in done.stderr
    results = [line.split()[-1] for line in done.stdout.splitlines() if re.match("0[12]_", line)]
    assert sorted(results) == ["-", "FAILED"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_kernels_and_their_children_and_says_what_is_done(bare, number):
    source = (
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "file = open(f'../{name}.txt', 'w')\n"
        "file.write(f'{os.getpid()} {child.pid} end')\n"
        "file.close()\n"
        "time.sleep(300)"
    )
    # The last number begins; 01 waits until one of the others ends.
    write_notebook(bare / "notebooks", "01_waits", GOOD)
    for name in ("02_sleeps", "03_sleeps"):
        write_notebook(bare / "notebooks", name, [f"name = {name!r}", source])
    write_notebook(bare / "notebooks", "04_good", GOOD)
    command = [sys.executable, str(bare / "tools" / "run_notebooks.py"), "--jobs", "2"]
    # A test run started in the background ignores Ctrl-C, and so would its children.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    runner = subprocess.Popen(command, cwd=bare, text=True, preexec_fn=listening, **pipes)
    files = [bare / "02_sleeps.txt", bare / "03_sleeps.txt"]
    try:
        assert wait_until(
            lambda: all(file.is_file() and file.read_text().endswith("end") for file in files), 60
        )
        began = time.monotonic()
        runner.send_signal(number)
        output, errors = runner.communicate(timeout=30)
    finally:
        runner.kill()
    assert runner.returncode == 128 + number
    assert time.monotonic() - began < 20
    for file in files:
        for pid in map(int, file.read_text().split()[:2]):
            assert wait_until(lambda pid=pid: not is_running(pid), 10)
    assert re.findall(r"^0\d_\w+", output, re.MULTILINE) == ["04_good"]
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last == "Stopped: 1 of 4 done; not: 01_waits, 02_sleeps, 03_sleeps"
    build = bare / "build" / "quick"
    assert {path.name for path in build.iterdir()} == {"04_good.ipynb", "seconds.json"}


def test_two_notebooks_run_at_a_time_and_lines_say_so(bare):
    meet = (
        "import pathlib, time\n"
        "pathlib.Path(f'../{own}.txt').touch()\n"
        "end = time.monotonic() + 60\n"
        "while not pathlib.Path(f'../{other}.txt').exists():\n"
        "    assert time.monotonic() < end, 'I am alone'\n"
        "    time.sleep(0.05)"
    )
    names = ["01_first", "02_second"]
    for own, other in (names, reversed(names)):
        write_notebook(bare / "notebooks", own, [f"own, other = {own!r}, {other!r}", meet])
    done = run(bare, "run_notebooks.py", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^0\d_\w+", done.stdout, re.MULTILINE) == names
    lines = [line for line in done.stderr.splitlines() if line.startswith("0")]
    assert lines[:2] == ["02_second  started", "01_first   started"]
    ended = [
        re.fullmatch(r"(\w+) +done  \d+ s  \((\d) of 2\)", line).groups() for line in lines[2:]
    ]
    assert sorted(name for name, _ in ended) == names
    assert [number for _, number in ended] == ["1", "2"]


@pytest.fixture
def fake_execute(monkeypatch, tmp_path):
    """Let `run_here` run nothing; return the names and environments that it would have run."""
    started = []

    def execute(path, seed, timeout, variables, bar, kernels):
        started.append((path.stem, variables))
        bar.update()
        error = "raised" if path.stem == "02_fails" else None
        return execution.Outcome(
            seconds={"01_short": 3, "03_long": 9}.get(path.stem, 5), error=error
        )

    monkeypatch.setattr(parallel, "execute", execute)
    monkeypatch.setattr(execution, "ROOT", tmp_path)
    monkeypatch.setattr(parallel, "num_cores", lambda: 6)
    for name in parallel.THREADS:
        monkeypatch.delenv(name, raising=False)
    return started


def test_the_longest_begin_and_share_the_cores(fake_execute, tmp_path, monkeypatch):
    names = ["01_short", "02_fails", "03_long"]
    jobs = [(write_notebook(tmp_path, name, GOOD), 0) for name in names]

    def order(at_once):
        fake_execute.clear()
        outcomes = list(parallel.run_here(jobs, "quick", 60, False, at_once))
        assert {job: outcome.error for job, outcome in outcomes} == dict(
            zip(jobs, [None, "raised", None], strict=True)
        )
        return [name for name, _ in fake_execute]

    assert order(1) == names
    assert not fake_execute[0][1].keys() & set(parallel.THREADS)
    # One that has never ended may take longest of all.
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", lambda number: ThreadPoolExecutor(1))
    assert order(2) == ["02_fails", "03_long", "01_short"]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    order(2)
    threads = {name: fake_execute[0][1].get(name) for name in parallel.THREADS}
    assert threads == {
        "TF_NUM_INTRAOP_THREADS": "3",
        "TF_NUM_INTEROP_THREADS": "3",
        "OMP_NUM_THREADS": None,
    }


def test_before_its_first_run_a_notebook_is_as_long_as_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "ROOT", tmp_path)
    rows = {"01_a": "quick 2 min, live 7 min", "02_b": "quick 90 s, full hours", "03_c": "a minute"}
    jobs = []
    for name, times in rows.items():
        path = write_notebook(tmp_path, name, GOOD)
        notebook = nbformat.read(path, as_version=4)
        table = f"# Title\n\n| Time on two CPU cores | {times} |"
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(table))
        nbformat.write(notebook, path)
        jobs.append((path, 0))
    order = [path.stem for path, _ in parallel.longest_first(jobs, "quick")]
    assert order == ["03_c", "01_a", "02_b"]  # the one that says nothing of it comes first
    parallel.write_seconds("quick", {"02_b": 200, "03_c": 1})
    order = [path.stem for path, _ in parallel.longest_first(jobs, "quick")]
    assert order == ["02_b", "01_a", "03_c"]


@pytest.mark.parametrize(
    ("profile", "cores", "gigabytes", "expected"),
    [
        ("quick", 2, 23, 3),
        ("quick", 1, 23, 1),
        ("quick", 16, 9, 4),
        ("quick", 4, 1, 1),
        ("live", 16, 64, 1),
    ],
)
def test_as_many_run_as_cores_and_memory_allow(monkeypatch, profile, cores, gigabytes, expected):
    monkeypatch.setattr(parallel, "num_cores", lambda: cores)
    memory = SimpleNamespace(available=gigabytes * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert parallel.default_at_once(profile) == expected


@pytest.mark.parametrize(
    ("columns", "running"),
    [
        (100, "01_text_vectorization, 10_gan "),
        (60, "01, 10 "),
        (40, "01, 10 "),
        (20, "01, 10 "),
    ],
)
def test_the_bar_is_one_line_at_any_width(tmp_path, monkeypatch, columns, running):
    names = ["01_text_vectorization", "10_gan"]
    jobs = [(write_notebook(tmp_path, name, GOOD * 4), 0) for name in names]
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        progress = parallel.Progress(jobs)
        progress.start(jobs[0])
        progress.start(jobs[1])
        for _ in range(5):  # with a seed there is one cell more
            progress.advance(jobs[0])
        progress.end(jobs[1], execution.Outcome())
        progress.bar.disable = True  # else it is drawn once more when it is deleted
        drawn = ""
        while select.select([reader], [], [], 0.3)[0]:  # it arrives in parts
            drawn += os.read(reader, 4000).decode()
    os.close(reader)
    assert "\n" not in drawn
    draws = [text.rstrip() for text in drawn.split("\r") if text.strip()]
    assert max(map(len, draws)) <= columns
    assert max(map(len, draws[1:])) <= columns - 3
    assert len([text for text in draws if text.startswith(running)]) == 6
    assert draws[-1].startswith("01")
    if columns > 20:
        assert [text.split()[-3] for text in draws[-3:]] == ["4/8", "4/8", "8/8"]


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
