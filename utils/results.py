"""What a notebook found: leaderboard rows, a summary, images that outlive a kernel."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import sys
from pathlib import Path

import numpy as np

from utils import settings

# Rows of leaderboards whose file could not be written, by path: they count in this kernel alone.
_unsaved = {}


def cached_images(name: str, make, run, **facts) -> list[np.ndarray]:
    """Return pictures that were made before from the same facts, else make them, keeping each at once.

    They stand in the notebook's run folder, so that a dead kernel loses none that was made. A row of pictures
    that was cut short is made anew, over the old ones.

    Args:
        name: of the pictures, as a reader knows it.
        make: takes nothing and yields pictures (height, width, 3) of values from 0 to 255, the result last.
        run: gets each new picture, by step.
        facts: everything else that the pictures depend on; the profile counts without being named.

    Returns:
        All of them, (height, width, 3) of uint8.
    """
    from PIL import Image

    told = json.dumps([facts, settings.profile()], sort_keys=True, default=_plain)
    label = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
    number = hashlib.sha256(told.encode()).hexdigest()[:10]
    folder = settings.runs_dir() / settings.notebook_name() / "pictures" / f"{label}-{number}"
    finished = folder / "finished"
    try:
        count = int(finished.read_text())
        return [_read_picture(folder / f"{number:03d}.png") for number in range(count)]
    except (OSError, ValueError, SyntaxError):
        pass  # not made yet, or cut short
    found, full = [], None
    for number, picture in enumerate(make()):
        found.append(np.clip(np.round(np.asarray(picture)), 0, 255).astype("uint8"))
        run.log_image(name, found[-1], f"step {number}")
        try:
            finished.unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(found[-1]).save(folder / f"{number:03d}.png")
        except OSError as error:
            full = error
    try:
        if full is None:
            finished.write_text(str(len(found)))
    except OSError as error:
        full = error
    if full is not None:
        print(f"{name} is not saved ({full.strerror}), the notebook goes on.")
    return found


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def add_score(model: str, *, data: str, board: str = "reviews", **numbers) -> None:
    """Add a model's results to the leaderboard file; the newest row of a model counts.

    Args:
        model: name of the row.
        data: "real" or "sample"; the two are never shown together.
        board: which leaderboard.
        numbers: the columns, for example accuracy, parameters and seconds.

    Where the file cannot be written, a line says so and the row counts in this kernel alone.
    """
    about = {
        "model": model,
        "notebook": settings.notebook_name(),
        "profile": settings.profile(),
        "data": data,
    }
    line = json.dumps(about | numbers, default=_plain).encode() + b"\n"
    path = _board(board)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One unbuffered append: notebooks that run side by side lose no row, a kill spoils its own at most.
        with path.open("ab+", buffering=0) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = (
                        b"\n" + line
                    )  # behind a row that a kill cut off, or one being written: a blank line at most
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        _unsaved.setdefault(path, []).append(line.decode())
        print(
            f"{model} is not saved to {settings.display_path(path)} ({error.strerror}), the notebook goes on."
        )


def leaderboard(board: str = "reviews", *, data: str) -> list[dict]:
    """Return the newest row of each model for the profile in force and these data.

    Args:
        board: which leaderboard.
        data: "real" or "sample".

    Returns:
        Dicts with model, notebook, profile, data and the numbers that were recorded, in the order of the
        notebooks, and within one in the order in which the models first appeared.
    """
    rows = {}
    path = _board(board)
    lines = (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    )
    for line in [*lines, *_unsaved.get(path, ())]:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off by a kill
        if (row["profile"], row["data"]) == (settings.profile(), data):
            rows[row["model"]] = row
    return sorted(rows.values(), key=lambda row: row["notebook"])


def save_summary(headline: str, *, data: str, **numbers) -> None:
    """Write what the notebook found to `summary.json` in its run folder.

    Args:
        headline: the result in a few words, with its baseline.
        data: "real" or "sample".
        numbers: every number that the notebook claims.

    Where the file cannot be written, a line says so.
    """
    loaded = {
        name: sys.modules[name].__version__
        for name in ("keras", "tensorflow")
        if name in sys.modules
    }
    found = {
        "notebook": settings.notebook_name(),
        "profile": settings.profile(),
        "data": data,
        "headline": headline,
        "numbers": numbers,
        "versions": {"python": platform.python_version()} | loaded,
    }
    path = settings.output_dir() / "summary.json"
    partial = path.with_suffix(".part")
    try:
        partial.write_text(json.dumps(found, indent=1, default=_plain) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        print(f"summary.json is not saved ({error.strerror}), the notebook goes on.")


def _board(board: str) -> Path:
    return settings.runs_dir() / f"leaderboard-{board}.jsonl"


def _plain(value):
    """Turn a number or an array of NumPy or TensorFlow into one that JSON knows."""
    return value.tolist() if hasattr(value, "tolist") else float(value)
