"""Prove that all notebooks pass with the newest versions and with Colab's, and layers with JAX.

Each kind of version has an environment of its own below build/proofs/versions, made once (two
minutes). In the stand-in for Colab the set-up cell runs as on Colab: a `google.colab` module is
loaded, the project is not on the path, and its repository is a copy of this folder. About 13
minutes per kind: `python tests/proofs/versions.py colab 01 02` takes one of newest, colab and jax,
and some notebooks.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nbclient.exceptions import CellExecutionError

from tests.proofs import common
from tools.execution import notebooks

COLAB = {
    "tensorflow": "2.20.0",
    "keras": "3.13.2",
    "numpy": "2.1.3",
    "matplotlib": "3.10.0",
    "scikit-image": "0.25.2",
    "wandb": "0.28.1",
    "ipykernel": "6.17.1",
    "ipywidgets": "7.7.1",
}
TOOLS = ["ipykernel", "nbclient", "nbformat", "pytest", "scikit-learn", "psutil", "tabulate", "pip"]
JAX = ["transformer", "decoding", "seq2seq", "text", "notebook_code", "vae_notebook"]
FOLDER = common.WORK / "versions"


def interpreter(wanted: str) -> str:
    """Find a Python of a version such as "3.13": that of the variable `PYTHON`, or any other."""
    homes = sorted(Path.home().glob(f".pyenv/versions/{wanted}*/bin/python"))
    for path in (os.environ.get("PYTHON"), shutil.which(f"python{wanted}"), *map(str, homes)):
        if path:
            answer = subprocess.run([path, "--version"], capture_output=True, text=True)
            if answer.stdout.startswith(f"Python {wanted}."):
                return path
    sys.exit(f"Python {wanted} is needed: name it, PYTHON=/path/to/python{wanted}")


def environment(kind: str) -> Path:
    """Make an environment once; return its Python."""
    folder = FOLDER / kind
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([interpreter("3.13"), "-m", "venv", str(folder)], check=True)
        pins = [f"{name}=={version}" for name, version in COLAB.items()] if kind == "colab" else []
        extra = ["jax"] if kind == "newest" else []
        names = [tool for tool in TOOLS if kind != "colab" or tool not in COLAB]
        wanted = [*names, *pins, *extra, "-r", str(common.ROOT / "requirements.txt")]
        if uv := shutil.which("uv"):
            command = [uv, "pip", "install", "--quiet", "--python", str(python), *wanted]
        else:
            command = [str(python), "-m", "pip", "install", "--quiet", *wanted]
        subprocess.run(command, check=True)
        (folder / "ready").touch()
    return python


def make_colab(python: Path) -> dict[str, str]:
    """Make the stand-in for Colab; return the variables that the kernel needs for it.

    Its `google.colab` is loaded before any cell, as on Colab; an address on GitHub leads to a copy
    of the files of this folder that git tracks or would add.
    """
    (site,) = (python.parent.parent / "lib").glob("python*/site-packages")
    (site / "google" / "colab").mkdir(parents=True, exist_ok=True)
    (site / "google" / "colab" / "__init__.py").touch()
    (site / "on_colab.pth").write_text("import google.colab\n")
    origin = common.fresh("versions", "github", "reader", "films")
    common.copy_project(origin)
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "copy"]):
        subprocess.run([*git, *words], cwd=origin, check=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{origin.parent.parent}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }


def versions(python: Path) -> dict[str, str]:
    """Return the versions of what is installed, by name."""
    command = [str(python), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split("==", 1) for line in done.stdout.splitlines() if "==" in line)


def run_inside(kind: str, notebook: str) -> int:
    """Run a notebook with this Python; print what went wrong, and return 1 if anything did."""
    path = common.notebook(notebook)
    folder = path.parent
    if kind == "colab":  # not in this project, which the set-up cell would find above it
        folder = common.fresh(tempfile.gettempdir(), "companion-colab")
    more = {name: value for name, value in os.environ.items() if name.startswith("GIT_CONFIG")}
    env = common.environment(common.fresh("versions", "runs", kind, notebook), **more)
    stored = common.stored(notebook)
    with common.Kernel(path, env, folder=folder) as kernel:
        for number, cell in enumerate(kernel.cells, 1):
            if kind == "colab":
                cell.source = cell.source.replace('REPOSITORY = ""', 'REPOSITORY = "reader/films"')
            try:
                (text,) = kernel.run(cell)
            except CellExecutionError as error:
                print(f"cell {number}: {error.ename}: {error.evalue}"[:300])
                return 1
            if text != stored.get(cell.id, text):
                print(f"cell {number} prints something else: {text[:200]!r}")
                return 1
    print(common.summary(Path(env["COMPANION_RUNS"]), notebook)["headline"])
    return 0


def outside(kind: str, numbers: list[str]) -> list[dict]:
    """Run notebooks with the Python of one kind."""
    python, rows = environment(kind), []
    before = versions(python)
    env = (
        os.environ
        | (make_colab(python) if kind == "colab" else {})
        | {"PYTHONPATH": str(common.ROOT)}
    )
    about = ", ".join(
        f"{name} {before[name]}" for name in ("tensorflow", "keras", "numpy", "wandb")
    )
    for number in numbers:
        began = time.perf_counter()
        command = [str(python), "-m", "tests.proofs.versions", "inside", kind, number]
        done = subprocess.run(command, cwd=common.ROOT, env=env, capture_output=True, text=True)
        last_line = (done.stdout.strip() or done.stderr.strip()[-300:]).splitlines()[-1:]
        row = {
            "versions": kind,
            "what": f"notebook {number}",
            "seconds": f"{time.perf_counter() - began:.0f}",
        }
        rows.append(
            row
            | {
                "result": "".join(last_line),
                "lost": "the notebook" if done.returncode else "nothing",
            }
        )
        print(rows[-1], flush=True)
    changed = {name for name, version in versions(python).items() if before.get(name) != version}
    lost = f"changed {sorted(changed)}" if changed else "nothing"
    rows.append(
        {
            "versions": kind,
            "what": "what is installed",
            "seconds": "",
            "result": about,
            "lost": lost,
        }
    )
    return rows


def jax() -> list[dict]:
    """Run the unit tests of what needs no gradient tape with Keras on JAX."""
    rows, python = [], environment("newest")
    for name in JAX:
        began = time.perf_counter()
        plain = ["-p", "no:cacheprovider", "-W", "ignore"]
        command = [str(python), "-m", "pytest", *plain, f"tests/test_{name}.py"]
        env = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(common.ROOT)}
        done = subprocess.run(command, cwd=common.ROOT, env=env, capture_output=True, text=True)
        last_line = done.stdout.strip().splitlines()[-1:]
        row = {
            "versions": "jax",
            "what": f"tests/test_{name}.py",
            "seconds": f"{time.perf_counter() - began:.0f}",
        }
        rows.append(
            row | {"result": "".join(last_line), "lost": "tests" if done.returncode else "nothing"}
        )
        print(rows[-1], flush=True)
    return rows


def main() -> int:
    """Prove one kind or all."""
    words = sys.argv[1:]
    if words[:1] == ["inside"]:
        return run_inside(*words[1:])
    began, rows = time.perf_counter(), []
    numbers = [word for word in words if word.isdigit()] or [path.name[:2] for path in notebooks()]
    kinds = [word for word in words if not word.isdigit()] or ["newest", "colab", "jax"]
    for kind in kinds:
        rows += jax() if kind == "jax" else outside(kind, numbers)
    return common.report("Versions", rows, began)


if __name__ == "__main__":
    sys.exit(main())
