"""How much work a notebook does and where it keeps things: profile, data mode, folders."""

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from utils.errors import CompanionError

PROFILES = ("quick", "live", "full")
ROOT = Path(__file__).resolve().parent.parent

# What a notebook's models and logs may need. Where less is free, they go to another disk if one has more.
ROOM_BYTES = 50_000_000

_session = SimpleNamespace(notebook="scratch", spare={})


def read_environment(variable: str, allowed: tuple[str, ...], default: str) -> str:
    """Read an environment variable that may hold only certain words; raise `Stop` for any other word."""
    value = os.environ.get(variable, "").strip().lower() or default
    if value not in allowed:
        raise CompanionError(
            f"{variable}={value} is not known. Set it to one of: {', '.join(allowed)}."
        )
    return value


def profile() -> str:
    """Name the profile in force: `COMPANION_PROFILE`, or "live"."""
    return read_environment("COMPANION_PROFILE", PROFILES, "live")


def choose(*, quick: dict, live: dict, full: dict) -> SimpleNamespace:
    """Pick the numbers of the profile in force.

    Args:
        quick, live, full: the same knobs for each profile, so that no cell below has to ask which one runs.

    Raises:
        Stop: a knob is missing from one of the profiles.
    """
    given = dict(zip(PROFILES, (quick, live, full), strict=True))
    every = {key for knobs in given.values() for key in knobs}
    for name, knobs in given.items():
        if missing := sorted(every - set(knobs)):
            raise CompanionError(
                f"the {name} profile lacks {', '.join(missing)}: give every profile the same knobs."
            )
    return SimpleNamespace(**given[profile()])


def data_mode() -> str:
    """Which data a reader asks for: `COMPANION_DATA`, "auto" (real, else the sample), "real" or "sample"."""
    return read_environment("COMPANION_DATA", ("auto", "real", "sample"), "auto")


def cache_dir() -> Path:
    """Where downloads are kept: `COMPANION_CACHE`, or data/cache in the project."""
    return Path(os.environ.get("COMPANION_CACHE") or ROOT / "data" / "cache").expanduser()


def runs_dir() -> Path:
    """Where every notebook leaves what it makes: `COMPANION_RUNS`, or runs in the project.

    Once that has proved full or read-only, a temporary folder of this kernel stands in for it.
    """
    asked = Path(os.environ.get("COMPANION_RUNS") or ROOT / "runs").expanduser()
    return _session.spare.get(asked, asked)


def output_dir(*parts: str) -> Path:
    """Make and return a folder of the notebook that is running, for example `run_folder("models")`.

    Nothing is raised where it cannot be made: what is written there says so when it fails.
    """
    _find_room()
    folder = runs_dir().joinpath(_session.notebook, *parts)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def output_path(name: str) -> Path:
    """Say where the notebook that is running keeps a file of its own, which a cell writes and reads again.

    Raises:
        Stop: no disk has room for it.
    """
    folder = output_dir()
    if reason := _why_unusable(runs_dir()):
        raise CompanionError(
            f"{name} cannot be kept ({reason}, no other disk has more): free some, run this cell again."
        )
    return folder / name


def _find_room() -> None:
    """Turn to a temporary folder, with one line that says so, where the runs folder takes nothing more."""
    runs = runs_dir()
    reason = _why_unusable(runs)
    if not reason:
        return
    for place in _spare_places():
        if not _why_unusable(place):
            _session.spare[runs] = Path(tempfile.mkdtemp(prefix="companion-", dir=place))
            print(
                f"{display_path(runs)} cannot be used ({reason}): what this notebook makes goes to "
                f"{display_path(_session.spare[runs])}. Free some, or set COMPANION_RUNS to another folder."
            )
            return


def _spare_places() -> list[Path]:
    places = [Path("/dev/shm")]  # Linux keeps it in memory
    with suppress(OSError):
        places.insert(0, Path(tempfile.gettempdir()))
    return [place for place in places if place.is_dir()]


def _why_unusable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < ROOM_BYTES:
            return f"disk full, {free / 1e6:.0f} MB free"
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def set_notebook(name: str) -> None:
    """Say which notebook is running: its file name without the ending."""
    _session.notebook = name


def notebook_name() -> str:
    """Name the notebook that called `start`, without its ending."""
    return _session.notebook


def display_path(path: Path | str) -> str:
    """Write a path as a reader would: from the project's folder if it lies inside, else from home."""
    path = Path(path).resolve()
    for base, prefix in ((ROOT, ""), (Path.home(), "~/")):
        if path.is_relative_to(base):
            return prefix + path.relative_to(base).as_posix()
    return path.as_posix()


def device_summary() -> str:
    """Name what the active Keras backend computes on, for example "2 CPU cores" or "1 GPU"."""
    import keras

    mirrored = ""
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        parts = tf.distribute.get_strategy().num_replicas_in_sync
        mirrored = f", models mirrored on {parts} devices" if parts > 1 else ""
    gpus = [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]
    if gpus:
        return f"{len(gpus)} {gpus[0].split(':')[0].upper()}{mirrored}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores{mirrored}"
