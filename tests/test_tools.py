import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from packaging.specifiers import SpecifierSet

from tools.execution import notebooks
from utils import settings

SETUP = 'REPOSITORY = ""  # owner/name\nimport sys'


@pytest.fixture
def project(bare):
    """A project with two small notebooks of which the first fails in its third cell."""
    report = (
        "import json, os\nfrom pathlib import Path\n"
        'folder = Path(os.environ["COMPANION_RUNS"]) / "02_good"\nfolder.mkdir(parents=True)\n'
        'summary = {"notebook": "02_good", "profile": os.environ["COMPANION_PROFILE"]}\n'
        'summary |= {"data": "sample", "headline": "89% right", "numbers": {"right": 0.89}}\n'
        '(folder / "summary.json").write_text(json.dumps(summary))'
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
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COMPANION", "RAY"))
    }
    return subprocess.run(
        command, cwd=project, env=environment | more, capture_output=True, text=True, timeout=100
    )


def test_a_failing_notebook_is_named_and_the_others_still_run(project):
    done = run(project, "run_notebooks.py")
    assert done.returncode == 1
    assert "01_bad.ipynb, cell 3 (# Divide): ZeroDivisionError: division by zero" in done.stderr
    assert "build/quick/01_bad.ipynb" in done.stderr
    bad, good = re.findall("^0[12]_.*$", done.stdout, re.MULTILINE)
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
    summary = json.loads((project / "docs" / "results" / "02_good-live-sample.json").read_text())
    assert summary["numbers"] == {"right": 0.89}


def test_storing_sets_the_folder_of_an_earlier_run_aside(project):
    log = project / "runs" / "02_good" / "wandb" / "unsynced.log"
    log.parent.mkdir(parents=True)
    (project / "build" / "replaced" / "02_good").mkdir(parents=True)
    (project / "build" / "replaced" / "02_good" / "older.log").touch()
    log.write_text("not uploaded yet")
    store = ("--only", "02", "--profile", "live", "--store")
    done = run(project, "run_notebooks.py", *store)
    assert done.returncode == 0, done.stderr
    assert "Moved runs/02_good to build/replaced/02_good\n" in done.stdout
    aside = project / "build" / "replaced" / "02_good"
    assert [path.name for path in aside.iterdir()] == ["wandb"]
    assert (aside / "wandb" / "unsynced.log").read_text() == "not uploaded yet"
    assert [path.name for path in (project / "runs" / "02_good").iterdir()] == ["summary.json"]
    quick = project / "build" / "quick" / "runs" / "02_good"
    quick.mkdir(parents=True)
    done = run(project, "run_notebooks.py", "--only", "02")
    assert done.returncode == 0, done.stderr
    assert "Moved" not in done.stdout and (aside / "wandb").is_dir()


def test_the_folders_of_all_seeds_are_named(project):
    done = run(project, "run_notebooks.py", "--only", "01", "--seeds", "2 5")
    assert "Executed notebooks: build/quick/seed-2, build/quick/seed-5\n" in done.stdout
    assert "FAILED 01_bad.ipynb (seed 2), takes no seed" in done.stderr
    assert "FAILED 01_bad.ipynb (seed 5), takes no seed" in done.stderr


def test_an_unknown_notebook_is_refused_with_the_known_ones(project):
    done = run(project, "run_notebooks.py", "--only", "07")
    assert (
        done.returncode == 1
        and "No notebook begins with 07" in done.stderr
        and "02_good" in done.stderr
    )


NO_SEEDS = 'SEEDS="{}" are not seeds: give whole numbers, such as "0 1 2".'
NO_JOBS = 'JOBS="{}" is no number of notebooks: give a whole number, such as 2.'
ALONE = "JOBS={}: what is stored comes from notebooks that run alone. Leave it out."


@pytest.mark.parametrize(
    ("option", "value", "more", "message"),
    [
        ("--seeds", "one", [], NO_SEEDS),
        ("--seeds", "0 -1", [], NO_SEEDS),
        ("--seeds", " ", [], NO_SEEDS),
        ("--jobs", "0", [], NO_JOBS),
        ("--jobs", "two", [], NO_JOBS),
        ("--jobs", "2", ["--store"], ALONE),
        ("--jobs", "2", ["--evidence"], ALONE),
    ],
)
def test_seeds_and_jobs_that_cannot_be_are_refused_in_a_line(
    monkeypatch, option, value, more, message
):
    from tools import run_notebooks

    monkeypatch.setattr(run_notebooks, "run_here", None)
    monkeypatch.setattr(sys, "argv", ["run_notebooks.py", option, value, *more])
    with pytest.raises(SystemExit) as refusal:
        run_notebooks.main()
    assert refusal.value.code == message.format(value)


def test_sigterm_reaches_what_make_run_starts(tmp_path):
    """Make kills only its own child, which must be the tool and no shell in between."""
    shutil.copy(settings.ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "requirements.lock").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$$"\nexec sleep 60\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / "ready").touch()
    make = subprocess.Popen(["make", "run"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    pid = int(make.stdout.readline())
    make.terminate()
    assert make.wait(timeout=20) == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_stamp_writes_badge_and_address_and_removes_them(project):
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


def test_nothing_is_stamped_if_one_notebook_has_no_badge(project):
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 03 No badge")])
    nbformat.write(plain, project / "notebooks" / "03_plain.ipynb")
    before = {path: path.read_bytes() for path in (project / "notebooks").iterdir()}
    done = run(project, "stamp_colab.py", "reader/films")
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout == "Nothing stamped: no badge or no REPOSITORY line in 03_plain.ipynb.\n"
    assert {path: path.read_bytes() for path in before} == before


def test_stamping_leaves_notebooks_without_a_number_alone(project):
    """README.md has a reader write a my_post.ipynb, which may lie in the same folder."""
    post = project / "notebooks" / "my_post.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), post)
    before = post.read_bytes()
    done = run(project, "stamp_colab.py", "reader/films")
    assert done.stdout == "2 notebooks now open from reader/films.\n"
    assert post.read_bytes() == before


@pytest.fixture
def setup_source():
    """The source of the set-up cell, which is the same in all notebooks."""
    notebook = nbformat.read(notebooks()[0], as_version=4)
    return next(cell.source for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_set_up_cell_fetches_the_project_where_there_is_none(tmp_path, setup_source):
    """With a local repository in place of GitHub."""
    origin = tmp_path / "github" / "reader" / "films"
    for name in ("utils", "requirements.txt", "data/lexicon", "data/sources.toml"):
        source, target = settings.ROOT / name, origin / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "fork"]):
        subprocess.run([*git, *command], cwd=origin, check=True)
    content = tmp_path / "a b (é) o'x"
    content.mkdir()
    source = setup_source.replace('REPOSITORY = ""', 'REPOSITORY = "reader/films"')
    source = re.sub(r"notebook\.start\(.*\)", "print(notebook.__file__)", source)
    program = (
        "import sys\n"
        "sys.prefix = '/usr'\n"  # the environment of `make` would tell where the project is
        f"exec({source!r})"
    )
    environment = os.environ | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/github/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=content, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(content / "companion" / "utils" / "notebook.py")


@pytest.fixture
def find_project(monkeypatch, tmp_path, setup_source):
    """Run the set-up cell up to its imports; return the project and the commands it ran.

    A command fails with the error of `fails`, if that is given.
    """
    finding, starting, _ = setup_source.partition("sys.path.insert")
    assert starting

    def run_cell(folder, repository="", prefix="/usr", fails=None):
        commands = []

        def run_command(command, check):
            assert check
            commands.append(Path(command[0]).name)
            if fails:
                raise fails

        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "prefix", str(prefix))
        monkeypatch.setattr(subprocess, "run", run_command)
        namespace = {}
        exec(finding.replace('REPOSITORY = ""', f'REPOSITORY = "{repository}"'), namespace)
        return namespace["project"], commands

    return run_cell


@pytest.fixture
def home(tmp_path):
    """A home folder with the project, the folders of its files, and one beside it."""
    home = tmp_path / "home of a reader"
    for name in ("films (é)/utils", "films (é)/notebooks/mine", "elsewhere/deep"):
        (home / name).mkdir(parents=True)
    (home / "films (é)" / "utils" / "notebook.py").touch()
    return home


@pytest.mark.parametrize("repository", ["", "reader/films"])
@pytest.mark.parametrize(
    "folder", [".", "films (é)", "films (é)/notebooks", "films (é)/notebooks/mine"]
)
def test_set_up_cell_finds_the_project_wherever_the_kernel_starts(
    home, find_project, folder, repository
):
    """As VS Code starts it in the folder that is open, and papermill in that of `--cwd`."""
    assert find_project(home / folder, repository) == (home / "films (é)", [])


def test_set_up_cell_finds_the_project_of_its_environment(home, find_project):
    found = find_project(home / "elsewhere", prefix=home / "films (é)" / ".venv")
    assert found == (home / "films (é)", [])


def test_set_up_cell_fetches_once_and_installs_in_every_kernel(home, find_project):
    python = Path(sys.executable).name
    alone = home / "elsewhere"
    fetched = alone / "companion"
    assert find_project(alone, "reader/films") == (fetched, ["git", python])
    (fetched / "utils").mkdir(parents=True)
    (fetched / "utils" / "notebook.py").touch()
    assert find_project(alone, "reader/films") == (fetched, [python])


@pytest.mark.parametrize(
    ("repository", "fails", "message"),
    [
        ("", None, 'No project here: set REPOSITORY = "owner/name" above, or open this file in'),
        ("a/b", FileNotFoundError("git"), "a/b or its packages cannot be fetched: is the name"),
        ("a/b", subprocess.CalledProcessError(128, "git"), "a/b or its packages cannot be fetched"),
    ],
)
def test_set_up_cell_without_a_project_says_what_to_do(
    home, find_project, repository, fails, message
):
    with pytest.raises(SystemExit, match=re.escape(message)):
        find_project(home / "elsewhere", repository, fails=fails)


def test_papermill_finds_the_seed_in_the_set_up_cell_and_complains_about_no_line(
    setup_source, caplog
):
    from papermill.translators import PythonTranslator

    parameters = PythonTranslator.inspect(nbformat.v4.new_code_cell(setup_source))
    assert {"name": "seed", "default": "0"}.items() <= parameters[-1]._asdict().items()
    assert caplog.records == []


def test_set_up_cell_names_a_package_that_the_kernel_lacks(setup_source):
    command = [sys.executable, "-S", "-c", setup_source]  # without any package
    done = subprocess.run(command, cwd=settings.ROOT / "notebooks", capture_output=True, text=True)
    assert done.returncode == 1
    remedy = f'choose another one, or run %pip install -r "{settings.ROOT}/requirements.txt"'
    assert done.stderr == f"This kernel lacks numpy: {remedy}, then restart it.\n"


def test_a_new_notebook_keeps_the_contract_as_it_is(project):
    for path in (project / "notebooks").iterdir():
        path.unlink()
    (project / "tests").mkdir()
    for name in ("conftest.py", "test_notebooks.py"):
        shutil.copy(settings.ROOT / "tests" / name, project / "tests")
    shutil.copy(notebooks()[0], project / "notebooks")
    refused = run(project, "new_notebook.py", "Big Name")
    assert refused.returncode == 1 and "make new name=" in refused.stdout
    written = run(project, "new_notebook.py", "diffusion")
    assert "notebooks/02_diffusion.ipynb" in written.stdout, written.stderr
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
    assert re.search(r"2\d passed", checked.stdout), checked.stdout
    for name in ("pyproject.toml", "notebooks/ruff.toml"):
        shutil.copy(settings.ROOT / name, project / name)
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        linted = subprocess.run(
            [*ruff, *command, "notebooks"], cwd=project, capture_output=True, text=True
        )
        assert linted.returncode == 0, linted.stdout


def test_a_summary_whose_notebook_is_gone_is_left_out(project):
    """As after `make new`, `make render` and the removal of that notebook."""
    results = project / "docs" / "results"
    results.mkdir(parents=True)
    gone = {"notebook": "11_gone", "profile": "live", "data": "real", "headline": "gone"}
    (results / "11_gone-live-real.json").write_text(json.dumps(gone | {"numbers": {"loss": 1.5}}))
    done = run(project, "run_notebooks.py", "--only", "02", "--profile", "live", "--store")
    assert done.returncode == 0, done.stderr
    page = (project / "docs" / "results.md").read_text()
    assert "02_good" in page and "11_gone" not in page


def test_every_make_target_is_documented():
    listed = subprocess.run(
        ["make", "help"], cwd=settings.ROOT, capture_output=True, text=True
    ).stdout
    makefile = (settings.ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    parts_of_test = {"lint", "unit", "nbval"}
    assert set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE)) == set(phony)
    documented = re.findall(r"^ *make (\w+) ", listed, re.MULTILINE)
    assert sorted(documented) == sorted(set(phony) - parts_of_test)
    assert len(documented) >= 12


@pytest.mark.parametrize(
    ("version", "fits"),
    [((3, 11, 3), False), ((3, 11, 4), True), ((3, 13, 9), True), ((3, 14, 0), False)],
)
def test_make_and_pyproject_need_the_same_python(version, fits):
    """Python 3.11.4 is the first 3.11 with the filter "data" of `tarfile`."""
    makefile = (settings.ROOT / "Makefile").read_text()
    (condition,) = re.findall(r"sys\.exit\((not .*)\)'", makefile)
    info = SimpleNamespace(version_info=(*version, "final", 0))
    assert (not eval(condition, {"sys": info})) == fits
    project = tomllib.loads((settings.ROOT / "pyproject.toml").read_text())["project"]
    assert (".".join(map(str, version)) in SpecifierSet(project["requires-python"])) == fits


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


@pytest.mark.parametrize("succeeds", [True, False])
def test_make_lock_replaces_the_lock_only_if_uv_succeeds(tmp_path, succeeds):
    shutil.copy(settings.ROOT / "Makefile", tmp_path)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==1.0\n")
    (tmp_path / ".venv" / "ready").touch()  # newer than the lock: make sets nothing up
    uv = "echo numpy==2.0" if succeeds else "echo 'numpy=='; exit 2"
    for name, script in (("uv", uv), ("python", "exit 0")):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(["make", "lock"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode == 0) == succeeds, done.stderr
    if succeeds:
        comment, pin = lock.read_text().splitlines()
        assert comment.startswith("# Made by `make lock`") and pin == "numpy==2.0"
    else:
        assert lock.read_text() == "numpy==1.0\n"
    assert [path.name for path in tmp_path.glob("requirements*")] == ["requirements.lock"]


def test_money_is_no_formula_and_code_stays_code():
    from tools.build_slides import to_html

    assert to_html("From $5 a day to $40 a week, or $5-$40.").strip() == (
        "<p>From $5 a day to $40 a week, or $5-$40.</p>"
    )
    assert "<strong>win</strong> $40" in to_html("Pay $5 to **win** $40.")
    mixed = to_html("At $5 each, $n$ of them cost \\$40 with $a + \\frac{b}{2}$.")
    assert mixed.count("<math") == 2 and "At $5 each" in mixed and "cost $40 with" in mixed
    assert "<mi>n</mi>" in mixed and "<mfrac>" in mixed
    assert 'display="block"' in to_html("$$x = 5$$")
    equations = r"$$\begin{aligned} a &= b \\ c &= d \end{aligned}$$"
    assert to_html(equations).count("<mtr>") == 2
    code = to_html("`$HOME and $PATH` and ``a ` $x$`` and $y$")
    assert "<code>$HOME and $PATH</code>" in code and "<code>a ` $x$</code>" in code
    assert code.count("<math") == 1


def test_the_site_is_staged_without_the_data_cache(tmp_path, monkeypatch):
    from tools import build_site

    names = ["README.md", "LICENSE", "docs/a/b.md", "docs/index.md", "data/README.md"]
    names += ["data/lexicon/nouns.tsv", "data/cache/big/part.csv"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    read = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(str(path)) or scan(path))
    monkeypatch.setattr(
        os, "listdir", lambda path, old=os.listdir: read.append(str(path)) or old(path)
    )
    found = {path.relative_to(tmp_path).as_posix() for path in build_site.source_files()}
    assert found == set(names) - {"docs/index.md", "data/cache/big/part.csv"}
    assert read and not [path for path in read if "cache" in path]


def test_a_stored_panel_is_shown_with_its_values_texts_and_images():
    from tools import build_site

    def widget(**traits):
        return {"state": traits}

    state = {
        "box": widget(
            children=[f"IPY_MODEL_{name}" for name in ("slider", "button", "screen", "line")]
        ),
        "button": widget(description="draw again", icon=""),
        "slider": widget(description="smile", value=0.5),
        "screen": widget(format="png", value=None)
        | {"buffers": [{"data": "QUJD", "path": ["value"]}]},
        "line": widget(value="3 < 5"),
    }
    shown = build_site.panel(state, "box")
    assert "<td>smile</td><td>0.5</td>" in shown and "3 &lt; 5" in shown
    assert 'src="data:image/png;base64,QUJD" alt="What the panel' in shown
    assert "draw again" not in shown and shown.count("<tr>") == 1


@pytest.mark.parametrize("number", ["01", "06"])
def test_slides_leave_out_set_up_imports_and_settings(tmp_path, monkeypatch, number):
    from tools import build_slides

    monkeypatch.setattr(build_slides, "SLIDES", tmp_path)
    (path,) = (settings.ROOT / "notebooks").glob(f"{number}*.ipynb")
    text = re.sub("<.*?>", "", build_slides.deck(path))
    for source in ("REPOSITORY", "import keras", "settings.choose"):
        assert source not in text
