import json
import subprocess
import sys

import numpy as np
import pytest

from tests.test_tracking import LIMIT, environment
from utils import notebook, results, settings


@pytest.fixture
def board(tmp_path):
    """The file of the leaderboard of reviews."""
    return tmp_path / "runs" / "leaderboard-reviews.jsonl"


def start(monkeypatch, name):
    """Do what `notebook.start` does about results."""
    monkeypatch.setattr(settings._session, "notebook", name)
    results.start_run()


def models(**options):
    return [row["model"] for row in results.leaderboard(data="sample", **options)]


def test_leaderboard_shows_the_newest_row_of_each_model(monkeypatch):
    monkeypatch.setattr(settings._session, "notebook", "02_second")
    results.add_score("late", data="sample", accuracy=0.5)
    monkeypatch.setattr(settings._session, "notebook", "01_first")
    results.add_score("old", data="sample", accuracy=0.1)
    results.add_score("other", data="sample", accuracy=np.float32(0.25), parameters=np.int64(7))
    results.add_score("old", data="sample", accuracy=0.9)
    results.add_score("old", data="real", accuracy=0.2)
    results.add_score("old", data="sample", board="digits", accuracy=0.3)
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    results.add_score("old", data="sample", accuracy=0.4)
    monkeypatch.setenv("COMPANION_PROFILE", "live")
    rows = results.leaderboard(data="sample")
    assert [(row["model"], row["accuracy"]) for row in rows] == [
        ("old", 0.9),
        ("other", 0.25),
        ("late", 0.5),
    ]
    about = {"notebook": "01_first", "profile": "live", "data": "sample"}
    assert rows[1] == about | {"model": "other", "accuracy": 0.25, "parameters": 7}
    assert [row["accuracy"] for row in results.leaderboard("digits", data="sample")] == [0.3]
    assert results.leaderboard("faces", data="sample") == []


def test_row_that_was_cut_off_breaks_no_other(board):
    results.add_score("first", data="sample", accuracy=0.1)
    with board.open("ab") as file:
        file.write(board.read_bytes()[:30])
    assert models() == ["first"]
    results.add_score("second", data="sample", accuracy=0.2)
    assert models() == ["first", "second"]


def test_the_rows_of_a_notebook_expire_with_the_first_row_of_its_next_run(monkeypatch):
    start(monkeypatch, "01_first")
    results.add_score("bag", data="sample", accuracy=0.8)
    results.add_score("vanished", data="sample", accuracy=0.99)
    results.add_score("other board", data="sample", board="digits", accuracy=0.5)
    results.add_score("real", data="real", accuracy=0.7)
    start(monkeypatch, "02_second")
    results.add_score("LSTM", data="sample", accuracy=0.7)
    start(monkeypatch, "01_first")
    assert models() == ["bag", "vanished", "LSTM"], "a run without results empties no leaderboard"
    results.add_score("bag", data="sample", accuracy=0.9)
    assert models() == ["bag", "LSTM"]
    assert models(board="digits") == ["other board"]
    assert [row["model"] for row in results.leaderboard(data="real")] == ["real"]


def test_notebook_start_begins_a_run():
    notebook.start("01_first")
    results.add_score("old", data="sample")
    results.add_score("both", data="sample")
    notebook.start("01_first")
    results.add_score("both", data="sample")
    assert models() == ["both"]


def test_of_two_kernels_side_by_side_the_last_one_counts(monkeypatch):
    start(monkeypatch, "01_first")
    kernel_1 = results._session.run
    start(monkeypatch, "01_first")
    kernel_2 = results._session.run
    for model, kernel in (("a", kernel_1), ("a", kernel_2), ("b", kernel_1), ("b", kernel_2)):
        monkeypatch.setattr(results._session, "run", kernel)
        results.add_score(model, data="sample", kernel=kernel)
    rows = results.leaderboard(data="sample")
    assert [(row["model"], row["kernel"]) for row in rows] == [("a", kernel_2), ("b", kernel_2)]


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b"[]",
        b"null",
        b"{}",
        b'{"model": "m"}',
        b'{"model": "m", "data": "sample", "notebook": "01_first"}',
        b'{"model": ["m"], "data": "sample", "notebook": "01_first", "profile": "live"}',
        b'{"model": "m", "data": "sample", "notebook": null, "profile": "live"}',
        b"\xff\xfe",
    ],
)
def test_a_broken_row_is_left_out(board, line):
    results.add_score("first", data="sample", accuracy=0.1)
    with board.open("ab") as file:
        file.write(line + b"\n")
    assert models() == ["first"]


def test_rows_without_a_run_expire_too(board, monkeypatch):
    start(monkeypatch, "01_first")
    board.parent.mkdir()
    old = {"model": "old", "notebook": "01_first", "profile": "live", "data": "sample", "pace": 3}
    board.write_text(json.dumps(old) + "\n")
    assert results.leaderboard(data="sample") == [old]
    results.add_score("new", data="sample")
    assert models() == ["new"]


def test_two_processes_append_at_once_and_lose_no_row(tmp_path):
    program = """
import sys
from utils import results
for number in range(200):
    results.add_score(f"{sys.argv[1]} {number}", data="sample", text="x" * 300)
"""
    runs = tmp_path / "runs"
    processes = []
    for name in "ab":
        command = [sys.executable, "-c", program, name]
        processes.append(subprocess.Popen(command, cwd=settings.ROOT, env=environment(runs)))
    assert [process.wait(LIMIT) for process in processes] == [0, 0]
    rows = results.leaderboard(data="sample")
    assert {row["model"] for row in rows} == {f"{name} {n}" for name in "ab" for n in range(200)}
    lines = (runs / "leaderboard-reviews.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines if line]) == 400


def test_summary(tmp_path, capsys):
    results.save_summary("old", data="sample")
    assert (
        results.save_summary(
            "90.1% vs 50.0%", data="real", accuracy=np.float64(0.901), counts=np.arange(2)
        )
        is None
    )
    assert capsys.readouterr().out == ""
    (path,) = (tmp_path / "runs").rglob("summary*")
    summary = json.loads(path.read_text(encoding="utf-8"))
    versions = summary.pop("versions")
    assert summary.pop("machine") == settings.device_summary()
    assert summary == {
        "notebook": settings.notebook_name(),
        "profile": "live",
        "data": "real",
        "headline": "90.1% vs 50.0%",
        "numbers": {"accuracy": 0.901, "counts": [0, 1]},
        "claims": [],
    }
    assert versions["python"] == ".".join(str(part) for part in sys.version_info[:3])


def test_what_is_not_finite_is_null(tmp_path, board):
    results.save_summary(
        "diverged",
        data="real",
        loss=float("nan"),
        largest=np.float32("inf"),
        history=[1.0, -np.inf, {"a": np.array([np.nan, 2])}],
    )
    (path,) = (tmp_path / "runs").rglob("summary.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    summary = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert summary["numbers"] == {
        "loss": None,
        "largest": None,
        "history": [1.0, None, {"a": [None, 2.0]}],
    }
    results.add_score("diverged", data="sample", accuracy=np.nan)
    (row,) = board.read_text().splitlines()
    assert json.loads(row, parse_constant=refuse)["accuracy"] is None


def test_tensors_become_plain_numbers(tmp_path):
    import keras

    results.save_summary(
        "ones", data="real", one=keras.ops.ones(()), two=keras.ops.ones((1, 2)), yes=np.bool_(True)
    )
    (path,) = (tmp_path / "runs").rglob("summary.json")
    numbers = json.loads(path.read_text(encoding="utf-8"))["numbers"]
    assert numbers == {"one": 1.0, "two": [[1.0, 1.0]], "yes": True}
