"""Claims that notebooks execute, and the evidence of earlier runs."""

import json

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from tests.test_tools import run
from tools import evidence, run_notebooks
from tools.execution import Outcome, notebooks
from utils import plots, results, settings

NUMBERS = {"binary unigrams": 0.88, "binary bigrams": 0.9}


def summary(**changes):
    """A summary as `results.save_summary` writes it."""
    facts = {
        "notebook": "toy",
        "profile": "live",
        "data": "real",
        "headline": "bigrams 90%",
        "numbers": NUMBERS,
        "claims": [{"statement": "Bigrams win", "holds": True, "details": "by 2 points"}],
        "versions": {"python": "3.11.7", "keras": "3.15.1", "tensorflow": "2.21.0"},
        "machine": "2 CPU cores",
    }
    return facts | changes


@pytest.fixture
def project(monkeypatch, tmp_path):
    """An empty project with a toy notebook, in place of this one; return the notebook's path."""
    for module in (settings, run_notebooks, run_notebooks.results):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr("tools.execution.ROOT", tmp_path)
    monkeypatch.setattr(run_notebooks.results, "SUMMARIES", tmp_path / "docs" / "results")
    monkeypatch.setattr(settings._session, "notebook", "toy")
    path = tmp_path / "notebooks" / "toy.ipynb"
    write(path, "# Toy", "print(1)")
    return path


def write(path, text, code):
    """Write a notebook with one cell of text and one of code."""
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell(code)]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_claim_says_whether_it_holds_and_a_second_run_replaces_it(capsys):
    results.claim("Bigrams win", np.bool_(False), "by -1 points")
    results.claim("Bigrams win", np.True_, "by 2 points")
    results.claim("Dropout helps", False, "no interval above 0")
    assert capsys.readouterr().out.splitlines() == [
        "does not hold in this run: Bigrams win, by -1 points",
        "holds: Bigrams win, by 2 points",
        "does not hold in this run: Dropout helps, no interval above 0",
    ]
    results.save_summary("", data="sample")
    saved = json.loads((settings.output_dir() / "summary.json").read_text())
    assert [(item["statement"], item["holds"]) for item in saved["claims"]] == [
        ("Bigrams win", True),
        ("Dropout helps", False),
    ]
    results.start_run()
    results.show_claims()
    assert capsys.readouterr().out == ""


def test_required_claim_that_does_not_hold_stops_the_notebook():
    results.claim("It learns", True, "80% against 50%", required=True)
    with pytest.raises(AssertionError, match=r"does not hold in this run: It learns, 40% against"):
        results.claim("It learns", False, "40% against 50%", required=True)


def test_evidence_holds_what_each_run_found(project, capsys):
    target = evidence.add(project, 1, summary(), 100)
    fallen = [{"statement": "Bigrams win", "holds": False, "details": "by -1 points"}]
    numbers = {"binary unigrams": 0.91, "binary bigrams": 0.9}
    evidence.add(project, 0, summary(numbers=numbers, claims=fallen), 80)
    stored = results.evidence()
    assert [run["seed"] for run in stored.runs] == [0, 1]
    gains = stored.values("binary bigrams") - stored.values("binary unigrams")
    np.testing.assert_allclose(gains, [-0.01, 0.02])
    assert stored.held("Bigrams win") == [False, True] and stored.held("Unknown") == []
    assert stored.source() == (
        "2 stored runs: live profile, real data, seeds 0, 1, "
        "Keras 3.15.1, TensorFlow 2.21.0, 3 minutes on 2 CPU cores"
    )
    results.claim("Bigrams win", True, "by 2 points")
    results.claim("New", True, "by far")
    capsys.readouterr()
    results.show_claims()
    assert capsys.readouterr().out.splitlines() == [
        "holds: Bigrams win, by 2 points (1 of 2 stored runs)",
        "holds: New, by far",
    ]
    assert target.parent == settings.ROOT / "docs" / "results" / "evidence"


def test_evidence_of_other_code_or_versions_begins_anew(project):
    evidence.add(project, 0, summary(), 1)
    evidence.add(project, 1, summary(), 1)
    evidence.add(project, 1, summary(headline="again"), 1)
    assert [run["headline"] for run in results.evidence().runs] == ["bigrams 90%", "again"]
    write(project, "# The text may change", "print(1)")
    evidence.add(project, 2, summary(), 1)
    assert len(results.evidence().runs) == 3
    evidence.add(project, 3, summary(versions={"keras": "4"}), 1)
    assert [run["seed"] for run in results.evidence().runs] == [3]
    write(project, "# Toy", "print(2)")
    evidence.add(project, 4, summary(versions={"keras": "4"}), 1)
    assert [run["seed"] for run in results.evidence().runs] == [4]


def test_no_evidence_is_none(project, monkeypatch):
    assert results.evidence() is None
    target = evidence.add(project, 0, summary(), 1)
    assert results.evidence(data="sample") is None
    monkeypatch.setenv("COMPANION_EVIDENCE", "none")
    assert results.evidence() is None
    monkeypatch.delenv("COMPANION_EVIDENCE")
    target.write_text("{")
    assert results.evidence() is None


def test_numbers_are_found_by_the_beginning_of_their_names(project):
    for seed in (0, 1):
        numbers = {"BLEU, GRU": 20 + seed, "BLEU, lookup": 18, "chrF, GRU": 40}
        evidence.add(project, seed, summary(numbers=numbers), 1)
    found = results.evidence().values_by_name("BLEU, ")
    assert {name: values.tolist() for name, values in found.items()} == {
        "GRU": [20, 21],
        "lookup": [18, 18],
    }


def test_this_run_is_compared_with_runs_of_its_own_kind_only(project, monkeypatch):
    evidence.add(project, 0, summary(), 1)
    assert results.evidence().is_like_this_run("real")
    assert not results.evidence().is_like_this_run("sample")
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    assert not results.evidence().is_like_this_run("real")


def test_figure_shows_each_run_the_interval_and_the_own_run(project, monkeypatch):
    for seed, value in enumerate((1.0, 2.0, 3.0)):
        evidence.add(project, seed, summary(numbers={"a": value, "b": 10 * value}), 1)
    stored = results.evidence()
    drawn = []
    monkeypatch.setattr(plots, "show_figure", lambda figure, alt: drawn.append(figure))
    values = {"A": stored.values("a"), "B": stored.values("b")}
    stored.show(values, "title", "%", "alt", own={"A": 2.5, "B": 25.0})
    axes = drawn[0].axes[0]
    lines = [np.ravel(line.get_xdata()).tolist() for line in axes.get_lines()]
    # Three values with mean 2 and standard error 1 / sqrt(3); t for 2 degrees of freedom is 4.303.
    width = 4.302653 / np.sqrt(3)
    np.testing.assert_allclose(lines[0], [2 - width, 2 + width], rtol=1e-5)
    assert lines[1] == [1.0, 2.0, 3.0] and lines[2] == [2.0] and lines[3] == [2.5]
    assert lines[7] == [25.0]
    stored.show(values, "title", "%", "alt")
    stored.show(values, "title", "%", "alt", own={"A": 2.5, "C": 25.0})  # of other settings
    for figure in drawn[1:]:
        assert len(figure.axes[0].get_lines()) == 6
    plt.close("all")


@pytest.mark.parametrize("holds", [True, False])
def test_notebook_is_stored_only_if_its_claims_hold(project, holds):
    before = project.read_bytes()
    claims = [{"statement": "Bigrams win", "holds": holds, "details": "by some points"}]
    report = settings.ROOT / "runs" / "toy" / "summary.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps(summary(claims=claims)))
    executed = nbformat.read(project, as_version=4)
    executed.cells[1].outputs = [nbformat.v4.new_output("stream", text="new")]
    row, error = run_notebooks.finish(project, 0, Outcome(executed, 1.0), "live", True)
    if holds:
        assert not error and row["claims"] == "1 of 1"
        assert "new" in project.read_text()
        return
    assert "not stored" in error and "does not hold: Bigrams win, by some points" in error
    assert row["claims"] == "0 of 1"
    assert project.read_bytes() == before
    assert "new" in (settings.ROOT / "build" / "live" / "toy.ipynb").read_text()
    assert not (settings.ROOT / "docs").exists()


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_every_claim_of_a_stored_notebook_holds(path):
    cells = nbformat.read(path, as_version=4).cells
    printed = "".join(
        output.get("text", "") for cell in cells for output in cell.get("outputs", [])
    )
    assert "does not hold" not in printed
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    assert ("results.claim(" in "".join(sources)) == ("results.show_claims()" in sources), (
        "a notebook that makes claims lists them in its recap"
    )


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_evidence_has_the_numbers_of_the_stored_run(path):
    target = results.evidence_path(path.stem, "live", "real")
    if not target.is_file():
        return
    report = settings.ROOT / "docs" / "results" / f"{path.stem}-live-real.json"
    names = json.loads(report.read_text())["numbers"].keys()
    runs = json.loads(target.read_text())["runs"]
    assert len(runs) >= 5
    assert all(run["numbers"].keys() == names for run in runs), "run `make evidence` again"


def test_render_stores_nothing_that_this_run_contradicts(bare):
    path = bare / "notebooks" / "01_toy.ipynb"
    code = "\n".join(
        [
            "import os, sys",
            "sys.path.insert(0, '..')",
            "from utils import results, settings",
            "settings.set_notebook('01_toy')",
            "print('storing:', os.environ['COMPANION_STORE'])",
            "results.claim('Two is more than three', 2 > 3, 'by -1')",
        ]
    )
    save = "sys.modules['utils.settings'].device_summary = lambda: ''\n"
    write(path, "# 01 Toy", f"{code}\n{save}results.save_summary('', data='sample')")
    before = path.read_bytes()
    done = run(bare, "run_notebooks.py", "--store", "--profile", "live")
    assert done.returncode == 1
    assert "FAILED 01_toy.ipynb, not stored: not all of its claims hold" in done.stderr
    assert "does not hold: Two is more than three, by -1" in done.stderr
    assert path.read_bytes() == before
    executed = (bare / "build" / "live" / "01_toy.ipynb").read_text()
    assert "storing: 1" in executed and "does not hold in this run" in executed
