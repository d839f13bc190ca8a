"""`make run` on a Ray cluster of this machine: what goes there, what comes back, a lost worker."""

import io
import json
import os
import shutil
import subprocess
import tarfile

import nbformat
import pytest

pytest.importorskip("ray", reason="Ray comes with the tests on Linux only")

from tests.test_tools import run
from tools import cluster

SETUP = """
import os, signal
from pathlib import Path
seed = 0
"""
# Run for the first time, this notebook kills the worker that runs it.
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
summary = {{"data": "sample", "headline": f"seed {{seed}}", "numbers": {{"seed": seed}}}}
(folder / "summary.json").write_text(json.dumps(summary))
(folder / "log.txt").write_text("what a run logs")
row = {{"model": {name!r}, "seed": seed}}
(runs / "leaderboard-tests.jsonl").write_text(json.dumps(row) + "\\n")
print(*sorted(path.name for path in Path("..").iterdir()), sep="\\n")
print(seed, os.environ["COMPANION_PROFILE"])
"""


@pytest.fixture
def project(bare):
    """A project of two small notebooks, one of which kills its worker once; git tracks the code."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for command in (["init", "-q"], ["add", "tools", "utils"], ["commit", "-qm", "tools"]):
        subprocess.run([*git, *command], cwd=bare, check=True)
    for name in (".env", "keys [mine].txt", "#draft.txt"):
        (bare / name).write_text("WANDB_API_KEY=secret")
    for name, extra in (("01_plain", []), ("02_dies", [DIES.format(log=str(bare / "begun.txt"))])):
        sources = [SETUP, *extra, REPORTS.format(name=name)]
        notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, sources)))
        notebook.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(notebook, bare / "notebooks" / f"{name}.ipynb")
    return bare


@pytest.fixture
def address(monkeypatch):
    """Start two workers on this machine, in a cluster that ends with the test."""
    from ray.cluster_utils import Cluster

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    options = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    yield cluster.address
    cluster.shutdown()


def test_a_lost_worker_costs_time_and_nothing_else(project, address):
    done = run(project, "run_notebooks.py", "--seeds", "0 3", RAY_ADDRESS=address)
    assert done.returncode == 0, done.stdout + done.stderr
    # It was begun when it died, when it was tried again, and with the other seed.
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
            *uploaded, last = executed.cells[-1].outputs[0].text.splitlines()
            assert last == f"{seed} quick"
            # Not what git does not track, but for the notebooks themselves.
            assert uploaded == ["notebooks", "tools", "utils"]
            summary = json.loads((build / "runs" / name / "summary.json").read_text())
            assert summary["numbers"] == {"seed": seed}
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


def test_what_git_does_not_track_stays_here(project):
    first, second = sorted((project / "notebooks").glob("*.ipynb"))
    patterns = cluster.excluded_patterns(project, [first])
    assert set(patterns) == {
        ".?*",
        "/docs",
        "/.env",
        "/keys\\ \\[mine\\].txt",
        "/\\#draft.txt",
        f"/notebooks/{second.name}",
    }


def test_what_a_reader_lets_git_ignore_stays_here(project):
    """Ray reads .gitignore by itself, but not the other lists that git has."""
    (project / ".git" / "info").mkdir(exist_ok=True)
    (project / ".git" / "info" / "exclude").write_text("/private/\n")
    (project / "private").mkdir()
    for number in range(3):
        (project / "private" / f"{number}.txt").touch()
    patterns = cluster.excluded_patterns(project, [])
    assert [pattern for pattern in patterns if "private" in pattern] == ["/private/"]


def test_without_git_hidden_files_stay_here(bare):
    assert cluster.excluded_patterns(bare, []) == [".?*", "/docs"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_an_archive_inside_another_repository_is_uploaded(bare):
    """That repository tracks none of its files, and all of them would stay here."""
    subprocess.run(["git", "init", "-q"], cwd=bare.parent, check=True)
    assert cluster.excluded_patterns(bare, []) == [".?*", "/docs"]
    (bare.parent / ".gitignore").write_text("*\n")
    assert cluster.excluded_patterns(bare, []) == [".?*", "/docs"]


def archive_of(*members):
    """Make an archive of members: name, type, link target or content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                archive.addfile(member)
    return packed.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        [("../outside.txt", tarfile.REGTYPE, b"hostile")],
        [("run/../../outside.txt", tarfile.REGTYPE, b"hostile")],
        [("run", tarfile.SYMTYPE, ".."), ("run/outside.txt", tarfile.REGTYPE, b"hostile")],
        [("run", tarfile.SYMTYPE, "{outside}"), ("run/x.txt", tarfile.REGTYPE, b"hostile")],
        [("hard", tarfile.LNKTYPE, "../outside.txt")],
        [("leaderboard-a.jsonl", tarfile.SYMTYPE, "../outside.txt")],
        [("run/leaderboard-a.jsonl", tarfile.LNKTYPE, "../outside.txt")],
        [("pipe", tarfile.FIFOTYPE, "")],
    ],
    ids=[
        "parent",
        "inner parent",
        "link",
        "absolute link",
        "hard link",
        "board",
        "hard board",
        "pipe",
    ],
)
def test_hostile_archives_are_refused_and_write_nothing_outside(tmp_path, members):
    target = tmp_path / "target"
    outside = tmp_path / "outside.txt"
    outside.write_text("untouched")
    members = [
        (name, kind, content.format(outside=tmp_path) if isinstance(content, str) else content)
        for name, kind, content in members
    ]
    with pytest.raises(tarfile.TarError):
        cluster.unpack(archive_of(*members), target)
    assert outside.read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.txt", "target"]


def test_an_absolute_name_is_extracted_inside_the_folder(tmp_path):
    outside = tmp_path / "outside.txt"
    packed = archive_of((str(outside), tarfile.REGTYPE, b"hostile"))
    cluster.unpack(packed, tmp_path / "target")
    assert not outside.exists()
    inside = tmp_path / "target" / outside.relative_to("/")
    assert inside.read_text() == "hostile"


def test_a_leaderboard_that_is_a_link_here_is_not_written_through(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    outside = tmp_path / "outside.txt"
    outside.write_text("untouched")
    (target / "leaderboard-a.jsonl").symlink_to(outside)
    packed = archive_of(("leaderboard-a.jsonl", tarfile.REGTYPE, b"hostile"))
    with pytest.raises(tarfile.TarError, match=r"leaderboard-a\.jsonl is not a regular file"):
        cluster.unpack(packed, target)
    assert outside.read_text() == "untouched"


def test_archives_stay_in_their_folder_and_add_to_leaderboards(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, row in ((ours, "first\n"), (theirs, "second\n")):
        (folder / "01_x").mkdir(parents=True)
        (folder / "leaderboard-a.jsonl").write_text(row)
    (theirs / "01_x" / "log.txt").write_text("theirs")
    (theirs / "01_x" / "latest").symlink_to("log.txt")
    (theirs / "01_x" / "debug.log").symlink_to(tmp_path / "elsewhere.log")  # as W&B makes one
    cluster.unpack(cluster.pack(theirs), ours)
    assert (ours / "leaderboard-a.jsonl").read_text() == "first\nsecond\n"
    assert (ours / "01_x" / "latest").read_text() == "theirs"
    assert not (ours / "01_x" / "debug.log").is_symlink()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ('{"model": "cu', '{"model": "cu\nsecond\n'),
        ("first\n", "first\nsecond\n"),
        ("", "second\n"),
    ],
    ids=["cut off", "whole", "empty"],
)
def test_rows_of_a_worker_begin_on_a_new_line(tmp_path, rows, expected):
    """A row that a kill cut off would damage the row that follows it on the same line."""
    (tmp_path / "leaderboard-a.jsonl").write_text(rows)
    cluster.unpack(archive_of(("leaderboard-a.jsonl", tarfile.REGTYPE, b"second\n")), tmp_path)
    assert (tmp_path / "leaderboard-a.jsonl").read_text() == expected
