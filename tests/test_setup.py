"""Set-up by `make`: what it installs, and that an environment that works keeps working."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from utils import settings

UV = settings.ROOT / ".venv" / "bin" / "uv"
# With what make and shells split or expand, apart from the colon, which no list of paths can hold.
ODD_NAME = 'a b (é) o\'x $HOME "y" #1 50%'
UV_FAILS = "#!/bin/sh\necho 'error: too old'\nexit 2\n"
UV_IS_CALLED = '#!/bin/sh\ntouch "$(dirname "$0")/called"\n'

# In place of pip: notes its arguments, and fails if they contain a word of FAKE_PIP_FAILS.
PIP = """
import os, sys
from pathlib import Path
with (Path(sys.prefix) / "pip.log").open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
for package in Path(__file__).parent.parent.glob(os.environ.get("FAKE_PIP_REMOVES", "none")):
    package.rename(package.with_suffix(".gone"))
if os.environ.get("FAKE_PIP_FAILS", "none") in sys.argv:
    sys.exit("ERROR: no index")
"""


def write_wheel(folder, version):
    """Write a package `toy` that is its version."""
    folder.mkdir(exist_ok=True)
    info = f"toy-{version}.dist-info"
    files = {
        "toy.py": f'VERSION = "{version}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"toy-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


@pytest.fixture
def project(tmp_path):
    """A project with the Makefile and an environment of its own, which has no package yet.

    `make` sets it up with uv, which finds packages in the folder `wheels` alone; pip is a fake.
    """
    folder = tmp_path / ODD_NAME
    (folder / "tools").mkdir(parents=True)
    shutil.copy(settings.ROOT / "Makefile", folder)
    shutil.copy(settings.ROOT / "tools" / "environment.py", folder / "tools")
    lock = folder / "requirements.lock"
    lock.write_text("toy==1.0\n")
    wheels = tmp_path / "wheels"
    write_wheel(wheels, "1.0")
    environment = folder / ".venv"
    venv = [sys.executable, "-m", "venv", "--without-pip", environment]
    subprocess.run(venv, check=True)
    (site,) = environment.glob("lib/python3*/site-packages")
    (site / "pip").mkdir()
    (site / "pip" / "__main__.py").write_text(PIP)
    programs = tmp_path / "programs"  # first on the path
    programs.mkdir()
    if UV.is_file():
        (programs / "uv").symlink_to(UV)

    python = tmp_path / "python (3)"
    python.symlink_to(sys.executable)

    def make(target=".venv/ready", at=folder, **variables):
        own = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "UV_CACHE_DIR": str(tmp_path / "uv"),
            "UV_FIND_LINKS": str(wheels),
            "UV_OFFLINE": "1",
        }
        command = ["make", f"PYTHON={python}", target]
        return subprocess.run(
            command, cwd=at, env=os.environ | own | variables, capture_output=True, text=True
        )

    def version(at=folder):
        command = [at / ".venv" / "bin" / "python", "-Bc", "import toy; print(toy.VERSION)"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def pip_calls():
        log = environment / "pip.log"
        calls = log.read_text() if log.is_file() else ""
        return calls.replace("--disable-pip-version-check install ", "").replace(str(lock), "LOCK")

    return SimpleNamespace(
        folder=folder,
        environment=environment,
        site=site,
        lock=lock,
        ready=environment / "ready",
        wheels=wheels,
        uv=programs / "uv",
        make=make,
        version=version,
        pip_calls=pip_calls,
    )


def replace_uv(project, script):
    project.uv.unlink(missing_ok=True)
    project.uv.write_text(script)
    project.uv.chmod(0o755)


def pretend_installed(project):
    """Make an environment as after a set-up from the present lock."""
    (project.site / "toy.py").write_text('VERSION = "1.0"\n')
    (project.site / "toy-1.0.dist-info").mkdir()
    project.ready.write_text(hashlib.sha256(project.lock.read_bytes()).hexdigest())


def test_a_new_lock_updates_and_without_an_index_leaves_the_old_packages(project):
    assert project.make().returncode == 0 and project.version() == "1.0"
    assert project.pip_calls() == ""
    project.lock.write_text("toy==2.0\n")
    for _ in range(2):  # and it is tried again every time
        done = project.make(FAKE_PIP_FAILS="-r")
        assert done.returncode == 0 and project.version() == "1.0"
        line = "requirements.lock has changed, but its packages cannot be had (ERROR: no index)."
        assert line in done.stdout
    write_wheel(project.wheels, "2.0")
    done = project.make()
    assert project.version() == "2.0" and "cannot" not in done.stdout
    assert "up to date" in project.make().stdout
    # A folder that was moved keeps its environment.
    moved = project.folder.rename(project.folder.parent / "moved")
    assert "up to date" in project.make(at=moved).stdout and project.version(moved) == "2.0"


def test_the_same_lock_with_a_newer_date_installs_nothing(project):
    pretend_installed(project)
    replace_uv(project, UV_IS_CALLED)
    os.utime(project.ready, (0, 0))
    done = project.make()
    assert (done.returncode, done.stdout) == (0, "")
    assert not project.uv.with_name("called").exists() and project.pip_calls() == ""
    assert "up to date" in project.make().stdout


def test_where_uv_fails_pip_installs(project):
    replace_uv(project, UV_FAILS)
    assert project.make().returncode == 0
    assert project.pip_calls() == "-r LOCK\n"
    assert project.ready.read_text() == hashlib.sha256(b"toy==1.0\n").hexdigest()


@pytest.mark.parametrize("can_have_uv", [True, False])
def test_pip_installs_uv_where_there_is_none(project, can_have_uv):
    project.uv.unlink(missing_ok=True)
    done = project.make(FAKE_PIP_FAILS="none" if can_have_uv else "uv")
    assert done.returncode == 0
    # The fake installs nothing: uv cannot be started, as on a system for which it is not made.
    assert project.pip_calls() == "--retries 1 -c LOCK uv\n-r LOCK\n"


def test_a_first_set_up_without_an_index_says_what_it_needs(project):
    replace_uv(project, UV_FAILS)
    done = project.make(FAKE_PIP_FAILS="-r")
    assert done.returncode == 2 and not project.ready.exists()
    assert "cannot be installed (ERROR: no index). This one step needs a package" in done.stdout


def test_an_update_that_broke_off_between_packages_is_no_environment(project):
    pretend_installed(project)
    project.lock.write_text("toy==2.0\n")
    replace_uv(project, UV_FAILS)
    os.utime(project.ready, (0, 0))
    done = project.make(FAKE_PIP_FAILS="-r", FAKE_PIP_REMOVES="toy-*.dist-info")
    assert done.returncode == 2 and not project.ready.exists()
    assert "cannot be installed" in done.stdout


def test_a_linked_environment_is_used_and_never_changed(project):
    pretend_installed(project)
    shared = project.environment.rename(project.folder.parent / "shared")
    project.environment.symlink_to(shared)
    project.lock.write_text("toy==2.0\n")
    before = sorted((path, path.lstat().st_mtime) for path in shared.rglob("*"))
    done = project.make()
    assert done.returncode == 0 and project.version() == "1.0"
    assert "used as it is" in done.stdout and str(shared) in done.stdout
    (shared / "bin" / "python").rename(shared / "bin" / "gone")
    done = project.make()
    assert done.returncode == 2 and "holds no Python that starts" in done.stdout
    (shared / "bin" / "gone").rename(shared / "bin" / "python")
    after = sorted((path, path.lstat().st_mtime) for path in shared.rglob("*"))
    assert [path for path, _ in after] == [path for path, _ in before]
    changed = {now for now, old in zip(after, before, strict=True) if now != old}
    assert {path.name for path, _ in changed} == {"bin"}  # by this test


@pytest.fixture
def folder(tmp_path):
    """A folder with the Makefile, whose Python and uv only note how they are called."""
    folder = tmp_path / ODD_NAME
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(settings.ROOT / "Makefile", folder)
    for name in ("requirements.lock", "notebooks/01_first.ipynb", "tests/benchmarks/speed.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("python", "uv"):
        (programs / name).write_text(f'#!/bin/sh\necho "$COMPANION_RUNS|$*" >> {name}.log\n')
        (programs / name).chmod(0o755)
    (folder / ".venv" / "ready").touch()
    return folder


def test_every_target_runs_in_a_folder_with_an_odd_name(folder):
    """What the targets call runs in such a folder too: the fixture `bare` copies it to one."""
    makefile = (folder / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    targets.remove("clean")
    done = subprocess.run(
        ["make", "--keep-going", *targets], cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    calls = [line.split("|") for line in (folder / "python.log").read_text().splitlines()]
    assert len(calls) >= len(targets) - 1  # `help` calls none, `test` three
    runs = [runs for runs, arguments in calls if "-m pytest" in arguments]
    assert len(runs) >= 3 and set(runs) == {str(folder / "build" / "test")}
    cleaned = subprocess.run(["make", "clean"], cwd=folder, capture_output=True, text=True)
    assert cleaned.returncode == 0 and not (folder / ".venv").exists()


@pytest.mark.parametrize(("user", "allowed"), [("0", " --allow-root"), ("1000", "")])
def test_make_lab_takes_options_and_starts_as_root_too(folder, user, allowed):
    """In a container everyone is root, and only with options can a browser outside reach it."""
    programs = folder.parent / "programs"
    programs.mkdir()
    (programs / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (programs / "id").chmod(0o755)
    options = "--no-browser --ip=0.0.0.0"
    environment = os.environ | {"PATH": f"{programs}:/usr/bin:/bin"}
    subprocess.run(["make", "lab", f"ARGS={options}"], cwd=folder, env=environment, check=True)
    (call,) = (folder / "python.log").read_text().splitlines()
    assert call.split("|")[1] == f"-m jupyterlab --notebook-dir=notebooks{allowed} {options}"


@pytest.mark.parametrize("name", ["Makefile", "README.md", ".ci/run", ".github/workflows/test.yml"])
def test_no_command_needs_the_folder_in_which_it_was_installed(name):
    """A script of an environment holds the path of its Python, which a moved folder has no more."""
    text = (settings.ROOT / name).read_text()
    programs = set(re.findall(r"(?:\$\(BIN\)|\.venv/bin)/([\w-]+)", text))
    assert programs <= {"python", "uv"}  # uv is a program of its own, not a script


def test_make_lint_reads_nothing_that_was_built_where_there_is_no_git(tmp_path):
    """In a repository .gitignore says what ruff leaves out; an archive from GitHub is none."""
    ignored = (settings.ROOT / ".gitignore").read_text().split()
    folders = {line.strip("/") for line in ignored if line.endswith("/") and "*" not in line} - {
        "__pycache__"
    }
    assert {"build", "runs", "data/cache"} <= folders
    for folder in [*folders, "tools", "data/lexicon", "notebooks"]:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "code.py").touch()
    for name in ("pyproject.toml", "notebooks/ruff.toml"):
        shutil.copy(settings.ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    linted = {
        os.path.relpath(line, tmp_path) for line in done.stdout.split("\n") if "code.py" in line
    }
    assert linted == {"tools/code.py", "data/lexicon/code.py", "notebooks/code.py"}
