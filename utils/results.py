"""The results of a notebook: leaderboard rows, a summary, images that outlive a kernel."""

import contextlib
import errno
import json
import math
import os
import platform
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from utils import settings

# `run` identifies the last start of a notebook in this kernel. `unsaved` holds the rows of
# leaderboards whose file could not be written, by path: they count in this kernel only.
_session = SimpleNamespace(run="", unsaved={})


def start_run() -> None:
    """Mark the start of a notebook: rows that it adds from now on replace those of past runs."""
    _session.run = uuid.uuid4().hex[:12]
    _session.unsaved.clear()


def cached_images(name: str, make, run, **facts) -> list[np.ndarray]:
    """Return images that were generated before from the same facts, or else generate and save them.

    They lie in the notebook's run folder, each saved as soon as it is generated, where it can be
    viewed even if the kernel dies. The next call generates a series that was cut short anew.

    Args:
        name: of the images, as a reader knows it.
        make: takes nothing and yields images (height, width, 3) of values from 0 to 255, the result
            last.
        run: of `tracking`; logs each new image.
        facts: everything else that the images depend on; the profile counts without being named.

    Returns:
        All of them, (height, width, 3) of uint8.
    """
    key = _to_json([facts, settings.profile()], sort_keys=True)
    parent = settings.runs_dir() / settings.notebook_name() / "pictures"
    folder = parent / settings.file_label(name, key)
    images = _read_images(folder)
    return _save_images(name, make, run, folder) if images is None else images


def _read_images(folder: Path) -> list[np.ndarray] | None:
    """Read a whole series of images; None if it was never saved, or cut short."""
    from PIL import Image

    images = []
    try:
        for step in range(int((folder / "finished").read_text())):
            with Image.open(folder / f"{step:03d}.png") as image:
                images.append(np.asarray(image.convert("RGB")))
    except (OSError, ValueError, SyntaxError):
        return None
    return images


def _save_images(name: str, make, run, folder: Path) -> list[np.ndarray]:
    """Generate a series of images, and save each one at once."""
    from PIL import Image

    finished = folder / "finished"  # holds the number of images
    images = []
    failure = None
    for step, values in enumerate(make()):
        image = np.clip(np.round(np.asarray(values)), 0, 255).astype("uint8")
        images.append(image)
        run.log_image(name, image, f"step {step}")
        try:
            finished.unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{step:03d}.png")
        except OSError as error:
            failure = error
    try:
        if failure is None:
            finished.write_text(str(len(images)))
    except OSError as error:
        failure = error
    if failure is not None:
        print(f"{name} is not saved ({failure.strerror or failure}); the notebook goes on.")
    return images


def add_score(model: str, *, data: str, board: str = "reviews", **numbers) -> None:
    """Add a model's results to the leaderboard file.

    If the file cannot be written, one line says so and the row counts in this kernel only.

    Args:
        model: name of the row.
        data: "real" or "sample"; the two are never shown together.
        board: which leaderboard.
        numbers: the columns, for example accuracy, tested (number of test samples), parameters and
            seconds; anything that is not finite is stored as null.
    """
    row = {
        "model": model,
        "notebook": settings.notebook_name(),
        "profile": settings.profile(),
        "data": data,
        "run": _session.run,
    }
    line = _to_json(row | numbers).encode() + b"\n"
    path = _board_path(board)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _append_line(path, line)
    except OSError as error:
        _session.unsaved.setdefault(path, []).append(line.decode())
        reason = error.strerror or error
        print(
            f"{model} is not saved to {settings.display_path(path)} ({reason}); "
            "the notebook goes on."
        )


def _append_line(path: Path, line: bytes) -> None:
    """Append a line in one unbuffered write.

    That way notebooks that run side by side lose no row, and a kill damages one row at most.
    """
    with path.open("ab+", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                # A kill cut the last row off, or another process is writing it.
                line = b"\n" + line
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def leaderboard(board: str = "reviews", *, data: str) -> list[dict]:
    """Return the newest row of each model for the current profile and these data.

    Of each notebook only one run counts, the one that added a row last: once a new run has added
    its first row, those of earlier runs are gone, and with them models that the notebook no longer
    has. Until then the earlier rows stay, so that a notebook which was restarted, or killed before
    it had results, empties no leaderboard.

    Args:
        board: which leaderboard.
        data: "real" or "sample".

    Returns:
        Dicts with model, notebook, profile, data and the numbers of `add_score`, in the order of
        the notebooks, and within one in the order in which its models were first added.
    """
    rows = [row for row in _read_rows(_board_path(board)) if _belongs(row, data)]
    newest_run = {row["notebook"]: row.get("run") for row in rows}
    by_model = {}
    for row in rows:
        if row.get("run") == newest_run[row["notebook"]]:
            by_model[row["model"]] = {key: row[key] for key in row if key != "run"}
    return sorted(by_model.values(), key=lambda row: row["notebook"])


def _read_rows(path: Path) -> list[dict]:
    """Read the rows of a leaderboard, oldest first, without those that are damaged."""
    text = ""
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
    rows = []
    for line in [*text.splitlines(), *_session.unsaved.get(path, ())]:
        with contextlib.suppress(ValueError):  # a kill cut it off
            rows.append(json.loads(line))
    return rows


def _belongs(row, data: str) -> bool:
    """Say whether a row is whole, and of the current profile and these data."""
    if not isinstance(row, dict):
        return False
    if not all(isinstance(row.get(key), str) for key in ("model", "notebook")):
        return False
    return (row.get("profile"), row.get("data")) == (settings.profile(), data)


def save_summary(headline: str, *, data: str, **numbers) -> None:
    """Write the results of the notebook to `summary.json` in its run folder.

    If the file cannot be written, one line says so.

    Args:
        headline: the result in a few words, with its baseline.
        data: "real" or "sample".
        numbers: every number that the notebook claims; anything that is not finite becomes null.
    """
    versions = {"python": platform.python_version()}
    for package in ("keras", "tensorflow"):
        if package in sys.modules:
            versions[package] = sys.modules[package].__version__
    summary = {
        "notebook": settings.notebook_name(),
        "profile": settings.profile(),
        "data": data,
        "headline": headline,
        "numbers": numbers,
        "versions": versions,
    }
    path = settings.output_dir() / "summary.json"
    partial = path.with_suffix(".part")
    try:
        partial.write_text(_to_json(summary, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        print(f"summary.json is not saved ({error.strerror or error}); the notebook goes on.")


def _board_path(board: str) -> Path:
    return settings.runs_dir() / f"leaderboard-{board}.jsonl"


def _to_json(value, **options) -> str:
    return json.dumps(_to_plain(value), allow_nan=False, **options)


def _to_plain(value):
    """Turn numbers and arrays of NumPy or TensorFlow into plain ones, or None if not finite."""
    if isinstance(value, dict):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "numpy"):  # a tensor
        value = value.numpy()
    if hasattr(value, "tolist"):  # an array, or a number of NumPy
        return _to_plain(value.tolist())
    number = float(value)
    return number if math.isfinite(number) else None
