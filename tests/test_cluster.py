"""`make run` on a Ray cluster of this machine: results come back, a lost worker's notebook begins anew."""

import json
import os

import nbformat
import pytest

pytest.importorskip("ray", reason="Ray comes with the tests on Linux only")

from tests.test_tools import run
from tools import cluster

KNOBS = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
sys.path.insert(0, "..")
keras = SimpleNamespace(utils=SimpleNamespace(set_random_seed=np.random.seed))
settings = SimpleNamespace(choose=SimpleNamespace)
cfg = settings.choose(dim=3)
cfg.seed = 0
"""
# The first time it is run, this notebook takes the worker that runs it along.
DIES = """
with Path({log!r}).open("a") as log:
    log.write("begun\\n")
if len(Path({log!r}).read_text().splitlines()) == 1:
    os.kill(os.getppid(), signal.SIGKILL)
"""
REPORTS = """
import json
runs = Path(os.environ["COMPANION_RUNS"])
folder = runs / {name!r}
folder.mkdir(parents=True)
found = {{"data": "sample", "headline": f"seed {{cfg.seed}}", "numbers": {{"seed": cfg.seed}}}}
(folder / "summary.json").write_text(json.dumps(found))
(folder / "log.txt").write_text("what a run logs")
row = {{"model": {name!r}, "seed": cfg.seed}}
(runs / "leaderboard-tests.jsonl").write_text(json.dumps(row) + "\\n")
print(np.random.get_state()[1][0], os.environ["COMPANION_PROFILE"])
"""


@pytest.fixture
def project(bare):
    """A project of two small notebooks, of which one kills its worker once for each log it begins."""
    for name, extra in (("01_plain", []), ("02_dies", [DIES.format(log=str(bare / "begun.txt"))])):
        sources = [KNOBS, *extra, REPORTS.format(name=name)]
        notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, sources)))
        nbformat.write(notebook, bare / "notebooks" / f"{name}.ipynb")
    return bare


@pytest.fixture
def address(monkeypatch):
    """Start two workers on this machine, in a cluster that ends with the test."""
    from ray.cluster_utils import Cluster

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    settled = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=settled)
    yield cluster.address
    cluster.shutdown()


def test_a_lost_worker_costs_time_and_nothing_else(project, address):
    done = run(project, "run_notebooks.py", "--seeds", "0 3", RAY_ADDRESS=address)
    assert done.returncode == 0, done.stdout + done.stderr
    # Once it died, once it was tried again, and once it ran with the other seed.
    assert (project / "begun.txt").read_text().splitlines() == ["begun"] * 3
    lines = [line for line in done.stdout.splitlines() if line.startswith(("01", "02"))]
    assert [(line.split()[:2], line.split()[-1]) for line in lines] == [
        (["01_plain", "0"], "0"),
        (["02_dies", "0"], "0"),
        (["01_plain", "3"], "3"),
        (["02_dies", "3"], "3"),
    ]
    for seed, build in (
        (0, project / "build" / "quick"),
        (3, project / "build" / "quick" / "seed-3"),
    ):
        for name in ("01_plain", "02_dies"):
            executed = nbformat.read(build / f"{name}.ipynb", as_version=4)
            assert executed.cells[-1].outputs[0].text.endswith(" quick\n")
            assert seed == 0 or executed.cells[-1].outputs[0].text.split()[0] == str(seed)
            assert json.loads((build / "runs" / name / "summary.json").read_text())["numbers"] == {
                "seed": seed
            }
            assert (build / "runs" / name / "log.txt").read_text() == "what a run logs"
        rows = (build / "runs" / "leaderboard-tests.jsonl").read_text().splitlines()
        assert sorted(json.loads(row)["model"] for row in rows) == ["01_plain", "02_dies"]
        assert not [
            path for path in (build / "runs").rglob("*") if path.name.startswith("companion-")
        ]


def test_a_cluster_that_is_not_there_is_one_line(project):
    done = run(project, "run_notebooks.py", RAY_ADDRESS="127.0.0.1:9")
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("RAY_ADDRESS=127.0.0.1:9: no cluster answers")
    )


def test_archives_stay_in_their_folder_and_add_to_leaderboards(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, row in ((ours, "first\n"), (theirs, "second\n")):
        (folder / "01_x").mkdir(parents=True)
        (folder / "leaderboard-a.jsonl").write_text(row)
    (theirs / "01_x" / "log.txt").write_text("theirs")
    (theirs / "01_x" / "latest").symlink_to("log.txt")
    (theirs / "01_x" / "debug.log").symlink_to(tmp_path / "elsewhere.log")  # W&B makes such a one
    cluster.unpack(cluster.pack(theirs), ours)
    assert (ours / "leaderboard-a.jsonl").read_text() == "first\nsecond\n"
    assert (ours / "01_x" / "latest").read_text() == "theirs"
    assert not (ours / "01_x" / "debug.log").is_symlink()
