"""The results of a notebook: claims, evidence of earlier runs, leaderboard rows, a summary."""

import contextlib
import errno
import json
import math
import os
import platform
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from utils import plots, settings
from utils.fingerprints import fingerprint

# `run` identifies the last start of a notebook in this kernel. `unsaved` holds the rows of
# leaderboards whose file could not be written, by path: they count in this kernel only. `claims`
# holds the claims of this run by their statements.
_session = SimpleNamespace(run="", unsaved={}, claims={})


def start_run() -> None:
    """Mark the start of a notebook: rows that it adds from now on replace those of past runs."""
    _session.run = uuid.uuid4().hex[:12]
    _session.unsaved.clear()
    _session.claims.clear()


def claim(statement: str, holds: bool, details: str, *, required: bool = False) -> None:
    """Print whether a finding holds in this run, and remember it for `show_claims` and the summary.

    A notebook in which a claim does not hold is not stored by `make render`. A cell that runs again
    replaces its own claim.

    Args:
        statement: the finding, as the text states it, without numbers.
        holds: whether it does, from a comparison with a baseline or an interval.
        details: the numbers, such as "by 1.2 points, 95% interval 0.9 to 1.4".
        required: the claim must hold in every profile, quick included.

    Raises:
        AssertionError: the claim is required and does not hold.
    """
    holds = bool(holds)
    _session.claims[statement] = {"statement": statement, "holds": holds, "details": details}
    line = _claim_line(_session.claims[statement])
    if required and not holds:
        raise AssertionError(line)
    print(line)


def _claim_line(claim: dict) -> str:
    """Write a claim in one line, beginning with "holds" or with "does not hold in this run"."""
    state = "holds" if claim["holds"] else "does not hold in this run"
    return f"{state}: {claim['statement']}, {claim['details']}"


def show_claims() -> None:
    """Print all claims of this run, each with the number of stored runs in which it held too."""
    stored = evidence()
    for item in _session.claims.values():
        line = _claim_line(item)
        if stored:
            held = stored.held(item["statement"])
            if held:
                line += f" ({sum(held)} of {len(held)} stored runs)"
        print(line)


@dataclass(frozen=True)
class Evidence:
    """What runs of one notebook with several seeds found, as `make evidence` stored it.

    Attributes:
        profile: name of the profile that ran.
        data: "real" or "sample".
        runs: one dict for each seed with `seed`, `seconds`, `headline`, `numbers` and `claims`.
        versions: of Python and the packages.
        machine: for example "2 CPU cores".
    """

    profile: str
    data: str
    runs: list[dict]
    versions: dict[str, str]
    machine: str

    def values(self, name: str) -> np.ndarray:
        """Return a number of the summary, one value for each seed (seeds,).

        Raises:
            KeyError: a run has no such number.
        """
        return np.array([run["numbers"][name] for run in self.runs], dtype=float)

    def values_by_name(self, prefix: str) -> dict[str, np.ndarray]:
        """Return all numbers whose names begin with `prefix`, under the rest of their names."""
        names = [name for name in self.runs[0]["numbers"] if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.values(name) for name in names}

    def held(self, statement: str) -> list[bool]:
        """Return for each run that makes a claim whether it held; empty if none makes it."""
        return [
            item["holds"]
            for run in self.runs
            for item in run["claims"]
            if item["statement"] == statement
        ]

    def is_like_this_run(self, data: str) -> bool:
        """Say whether this run has the same profile and data, so that it may be compared."""
        return (self.profile, self.data) == (settings.profile(), data)

    def show(
        self,
        values: dict[str, np.ndarray],
        title: str,
        unit: str,
        alt: str,
        own: dict[str, float] | None = None,
    ) -> None:
        """Draw each run as a dot, with the mean and its 95% t-interval, and the reader's run.

        Args:
            values: name to one value for each seed (seeds,).
            title: a finding.
            unit: label of the axis.
            alt: text alternative.
            own: name to the value of this run, drawn as a diamond; only for a run that
                `is_like_this_run`. Not drawn if settings were changed so that names differ.
        """
        import matplotlib.pyplot as plt

        # Here, since it imports Keras, which `notebook.start` has to do first.
        from utils.metrics import intervals

        if own and set(own) != set(values):
            own = None
        figure, axes = plt.subplots(figsize=(10, 1.6 + 0.8 * len(values)))
        for row, (name, results_of_runs) in enumerate(values.items()):
            mean, low, high = intervals.over_seeds(results_of_runs)
            axes.plot([low, high], [row, row], color=plots.SKY, linewidth=12, solid_capstyle="butt")
            axes.plot(results_of_runs, np.full(len(self.runs), row), "o", color=plots.BLUE)
            axes.plot(mean, row, "|", color="black", markersize=28)
            if own:
                axes.plot(own[name], row - 0.3, "D", color=plots.ORANGE, markersize=10)
        handles = [
            plt.Line2D([], [], color=plots.BLUE, marker="o", linestyle="", label="one run"),
            plt.Line2D([], [], color=plots.SKY, linewidth=12, label="mean and 95% interval"),
        ]
        if own:
            handles.append(
                plt.Line2D(
                    [],
                    [],
                    color=plots.ORANGE,
                    marker="D",
                    linestyle="",
                    label="your run lands here",
                )
            )
        axes.set(title=title, xlabel=unit, yticks=range(len(values)), yticklabels=list(values))
        axes.set_ylim(len(values) - 0.4, -0.7)
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=13)
        plots.show_figure(figure, alt)
        print(self.source())

    def source(self) -> str:
        """Say where the evidence comes from, in one line."""
        seeds = ", ".join(str(run["seed"]) for run in self.runs)
        minutes = sum(run["seconds"] for run in self.runs) / 60
        packages = {"keras": "Keras", "tensorflow": "TensorFlow"}
        versions = ", ".join(
            f"{packages[name]} {version}"
            for name, version in self.versions.items()
            if name in packages
        )
        return (
            f"{len(self.runs)} stored runs: {self.profile} profile, {self.data} data, "
            f"seeds {seeds}, {versions}, {minutes:.0f} minutes on {self.machine}"
        )


def evidence(profile: str = "live", data: str = "real") -> Evidence | None:
    """Return the stored evidence of the current notebook; None, and one line, if there is none.

    A run that becomes evidence itself sees none: `make evidence` sets `COMPANION_EVIDENCE=none`.
    """
    if os.environ.get("COMPANION_EVIDENCE") == "none":
        return None
    path = evidence_path(settings.notebook_name(), profile, data)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Evidence(profile, data, stored["runs"], stored["versions"], stored["machine"])
    except (OSError, ValueError, KeyError):
        return None


def evidence_path(notebook: str, profile: str, data: str) -> Path:
    """Return the file in which the evidence of a notebook is stored."""
    return settings.ROOT / "docs" / "results" / "evidence" / f"{notebook}-{profile}-{data}.json"


def cached_images(name: str, make, run) -> list[np.ndarray]:
    """Return images that the same code generated before from the same data, or generate them.

    They lie in the notebook's run folder, each saved as soon as it is generated, where it can be
    viewed even if the kernel dies. The next call generates a series that was cut short anew. What
    counts is everything that `make` uses, as in `fingerprints`: its code, what it calls in the
    notebook, arguments, photographs, settings and the weights of a network.

    Args:
        name: of the images, as a reader knows it.
        make: takes nothing and yields images (height, width, 3) of values from 0 to 255, the result
            last; for example a `functools.partial` of a function of the notebook.
        run: of `tracking`; logs each new image.

    Returns:
        All of them, (height, width, 3) of uint8.
    """
    parent = settings.runs_dir() / settings.notebook_name() / "pictures"
    folder = parent / settings.file_label(name, fingerprint(make))
    images = _read_images(folder)
    if images is None:
        return _save_images(name, make, run, folder)
    when = settings.display_time(folder / "finished")
    print(f"{name}: generated before ({when}), loaded from {settings.display_path(folder)}")
    return images


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
    """Write the results and claims of the notebook to `summary.json` in its run folder.

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
        "claims": list(_session.claims.values()),
        "versions": versions,
        "machine": settings.device_summary(),
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
