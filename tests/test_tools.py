import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from utils import settings

SETUP = 'REPOSITORY = ""  # owner/name\nimport sys'


@pytest.fixture
def project(bare):
    """A project with two small notebooks of which the first fails in its third cell."""
    report = (
        "import json, os\nfrom pathlib import Path\n"
        'folder = Path(os.environ["COMPANION_RUNS"]) / "02_good"\nfolder.mkdir(parents=True)\n'
        'found = {"notebook": "02_good", "profile": os.environ["COMPANION_PROFILE"]}\n'
        'found |= {"data": "sample", "headline": "89% right", "numbers": {"right": 0.89}}\n'
        '(folder / "summary.json").write_text(json.dumps(found))'
    )
    cells = {
        "01_bad": [SETUP, "# Divide\n1 / 0", "print('never')"],
        "02_good": [SETUP, "import os; print(os.environ['COMPANION_PROFILE'])", report],
    }
    for name, sources in cells.items():
        title = nbformat.v4.new_markdown_cell(f"# {name}\n<!-- badge --><!-- /badge -->")
        notebook = nbformat.v4.new_notebook(cells=[title, *map(nbformat.v4.new_code_cell, sources)])
        nbformat.write(notebook, bare / "notebooks" / f"{name}.ipynb")
    return bare


def run(project, script, *arguments, **more):
    """Run a tool of a project; `more` are further variables of its environment."""
    command = [sys.executable, str(project / "tools" / script), *arguments]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COMPANION", "RAY"))
    }
    return subprocess.run(
        command, cwd=project, env=kept | more, capture_output=True, text=True, timeout=100
    )


def test_a_failing_notebook_is_named_and_the_others_still_run(project):
    done = run(project, "run_notebooks.py")
    assert done.returncode == 1
    assert "01_bad.ipynb, cell 3 (# Divide): ZeroDivisionError: division by zero" in done.stderr
    assert "build/quick/01_bad.ipynb" in done.stderr
    bad, good = (
        next(line for line in done.stdout.splitlines() if line.startswith(n)) for n in ("01", "02")
    )
    assert "FAILED" in bad
    assert "sample" in good and "89% right" in good and "GiB" in good
    executed = nbformat.read(project / "build" / "quick" / "02_good.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].text == "quick\n"
    untouched = nbformat.read(project / "notebooks" / "02_good.ipynb", as_version=4)
    assert untouched.cells[2].outputs == []


def test_only_the_chosen_notebooks_run_and_their_outputs_are_stored(project):
    done = run(project, "run_notebooks.py", "--only", "02", "--profile", "live", "--store")
    assert done.returncode == 0, done.stderr
    assert "01_bad" not in done.stdout
    stored = nbformat.read(project / "notebooks" / "02_good.ipynb", as_version=4)
    assert stored.cells[2].outputs[0].text == "live\n"
    assert [cell.execution_count for cell in stored.cells if cell.cell_type == "code"] == [1, 2, 3]
    kept = json.loads((project / "docs" / "results" / "02_good-live-sample.json").read_text())
    assert kept["numbers"] == {"right": 0.89}


def test_an_unknown_notebook_is_refused_with_the_known_ones(project):
    done = run(project, "run_notebooks.py", "--only", "07")
    assert (
        done.returncode == 1
        and "No notebook begins with 07" in done.stderr
        and "02_good" in done.stderr
    )


def test_stamp_writes_badge_and_address_and_takes_them_back(project):
    path = project / "notebooks" / "02_good.ipynb"
    before = path.read_text()
    done = run(project, "stamp_colab.py", "reader/films")
    assert done.returncode == 0, done.stderr
    stamped = nbformat.read(path, as_version=4)
    assert "github/reader/films/blob/HEAD/notebooks/02_good.ipynb" in stamped.cells[0].source
    assert 'REPOSITORY = "reader/films"' in stamped.cells[1].source
    run(project, "stamp_colab.py", "other/fork")
    assert "reader/films" not in path.read_text() and "other/fork" in path.read_text()
    run(project, "stamp_colab.py", "")
    unstamped = nbformat.read(path, as_version=4)
    assert (
        "http" not in unstamped.cells[0].source
        and "make colab REPO=owner/name" in unstamped.cells[0].source
    )
    assert unstamped.cells[1:] == nbformat.reads(before, as_version=4).cells[1:]


def test_a_mistyped_address_changes_nothing(project):
    before = (project / "notebooks" / "02_good.ipynb").read_text()
    done = run(project, "stamp_colab.py", "https://github.com/reader/films")
    assert done.returncode == 1 and "owner/name" in done.stdout
    assert (project / "notebooks" / "02_good.ipynb").read_text() == before


@pytest.fixture
def colab(tmp_path):
    """A folder as on Colab: a `google.colab` module, the project elsewhere, a local folder for GitHub."""
    (tmp_path / "site" / "google" / "colab").mkdir(parents=True)
    (tmp_path / "site" / "google" / "colab" / "__init__.py").touch()
    (tmp_path / "content").mkdir()
    tracked = ["utils", "requirements.txt", "data/lexicon", "data/sources.toml"]
    origin = tmp_path / "github" / "reader" / "films"
    for name in tracked:
        source, target = settings.ROOT / name, origin / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "fork"]):
        subprocess.run([*git, *command], cwd=origin, check=True)
    notebook = nbformat.read(sorted((settings.ROOT / "notebooks").glob("*.ipynb"))[0], as_version=4)
    setup = next(cell.source for cell in notebook.cells if cell.cell_type == "code")

    def execute(repository):
        source = setup.replace('REPOSITORY = ""', f'REPOSITORY = "{repository}"')
        program = f"import google.colab\nfor again in range(2):\n    exec({source!r})\nprint(notebook.__file__)"
        environment = os.environ | {
            "PYTHONPATH": str(tmp_path / "site"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/github/.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://github.com/",
        }
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, cwd=tmp_path / "content", env=environment, capture_output=True, text=True
        )

    return execute


def test_set_up_cell_fetches_the_project_on_colab_and_runs_twice(colab):
    done = colab("reader/films")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("content/companion/utils/notebook.py")


def test_unstamped_notebook_explains_itself_on_colab(colab):
    done = colab("")
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("This copy has no address yet: set REPOSITORY")
    )


def test_a_new_notebook_keeps_the_contract_as_it_is(project):
    for path in (project / "notebooks").iterdir():
        path.unlink()
    (project / "tests").mkdir()
    for name in ("conftest.py", "test_notebooks.py"):
        shutil.copy(settings.ROOT / "tests" / name, project / "tests")
    first = sorted((settings.ROOT / "notebooks").glob("[0-9]*.ipynb"))[0]
    shutil.copy(first, project / "notebooks")
    refused = run(project, "new_notebook.py", "Big Name")
    assert refused.returncode == 1 and "make new name=" in refused.stdout
    made = run(project, "new_notebook.py", "diffusion")
    assert "notebooks/02_diffusion.ipynb" in made.stdout, made.stderr
    done = run(project, "run_notebooks.py", "--only", "02", "--profile", "live", "--store")
    assert done.returncode == 0, done.stderr
    contract = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests",
        "-k",
        "diffusion",
    ]
    checked = subprocess.run(contract, cwd=project, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert re.search(r"1\d passed", checked.stdout), checked.stdout
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        settled = [*ruff, *command, "--config", str(settings.ROOT / "pyproject.toml"), "notebooks"]
        linted = subprocess.run(settled, cwd=project, capture_output=True, text=True)
        assert linted.returncode == 0, linted.stdout


def test_results_flatten_to_named_numbers_and_percentages():
    from tools import results

    told = {"dogs": {"cat": [0.5, 0.25]}, "rows": [{"way": "Adam", "steps": 18}], "kid": 0.123456}
    assert results.flat(told) == {
        "dogs: cat": [0.5, 0.25],
        "rows: Adam: steps": 18,
        "kid": 0.123456,
    }
    assert [results.written(v) for v in ([0.5, 2], 0.123456, 3000.0, 259.2, "InceptionV3")] == [
        "0.5, 2", "0.123", "3,000", "259.2", "InceptionV3"
    ]  # fmt: skip
    assert results.written(0.8877, percent=True) == "88.8%"


def test_results_page_is_made_from_the_kept_summaries():
    from tools import results

    assert (settings.ROOT / "docs" / "results.md").read_text() == results.page(), (
        "run `make results`"
    )


def test_every_make_target_is_documented():
    listed = subprocess.run(
        ["make", "help"], cwd=settings.ROOT, capture_output=True, text=True
    ).stdout
    for target in (
        "run",
        "test",
        "lab",
        "data",
        "render",
        "colab",
        "site",
        "slides",
        "new",
        "results",
        "clean",
        "help",
    ):
        assert f"make {target} " in listed


def test_lock_pins_every_requirement():
    pins = {}
    for line in (settings.ROOT / "requirements.lock").read_text().splitlines():
        name, _, version = line.partition(";")[0].strip().partition("==")
        pins.setdefault(name.lower(), []).append(version)
    wanted = [
        line
        for line in (settings.ROOT / "requirements.txt").read_text().splitlines()
        if line[:1].isalpha()
    ]
    for line in wanted:
        name, sign, floor = re.fullmatch(r"([\w-]+)([>=]=)([\d.]+)(,.*)?", line).groups()[:3]
        for version in pins[name]:
            assert sign == ">=" or version == floor, line
            assert tuple(map(int, version.split(".")[:2])) >= tuple(
                map(int, floor.split(".")[:2])
            ), line
    assert len(wanted) >= 7


def test_a_stored_panel_is_shown_with_its_values_texts_and_pictures():
    from tools import build_site

    def widget(**told):
        return {"state": told}

    state = {
        "box": widget(children=["IPY_MODEL_slider", "IPY_MODEL_screen", "IPY_MODEL_line"]),
        "slider": widget(description="smile", value=0.5),
        "screen": widget(format="png", value=None)
        | {"buffers": [{"data": "QUJD", "path": ["value"]}]},
        "line": widget(value="3 < 5"),
    }
    shown = build_site.panel(state, "box")
    assert "<td>smile</td><td>0.5</td>" in shown and "3 &lt; 5" in shown
    assert 'src="data:image/png;base64,QUJD" alt="What the panel' in shown
