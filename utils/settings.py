"""How much work a notebook does, how long it waits and where it keeps things: profile, seeds, logs, folders.

What a model computes does not belong here, nor does anything that only one notebook needs.
"""

import os
import queue
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

PROFILES = ("quick", "live", "full")
ROOT = Path(__file__).resolve().parent.parent

# What a notebook's models and logs may need. Where less is free, they go to another disk if one has more.
ROOM_BYTES = 50_000_000

_started = SimpleNamespace(notebook="scratch", spare={})


class Stop(RuntimeError):
    """An error whose message is all a reader needs: a notebook shows that one line and no traceback."""

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]


def one_of(variable: str, allowed: tuple[str, ...], default: str) -> str:
    """Read an environment variable that may hold only certain words; raise `Stop` for any other word."""
    value = os.environ.get(variable, "").strip().lower() or default
    if value not in allowed:
        raise Stop(f"{variable}={value} is not known. Set it to one of: {', '.join(allowed)}.")
    return value


def profile() -> str:
    """Name the profile in force: `COMPANION_PROFILE`, or "live"."""
    return one_of("COMPANION_PROFILE", PROFILES, "live")


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
            raise Stop(f"the {name} profile lacks {', '.join(missing)}: give every profile the same knobs.")
    return SimpleNamespace(**given[profile()])


def cache_folder() -> Path:
    """Where downloads are kept: `COMPANION_CACHE`, or data/cache in the project."""
    return Path(os.environ.get("COMPANION_CACHE") or ROOT / "data" / "cache").expanduser()


def runs_folder() -> Path:
    """Where every notebook leaves what it makes: `COMPANION_RUNS`, or runs in the project.

    Once that has proved full or read-only, a temporary folder of this kernel stands in for it.
    """
    asked = Path(os.environ.get("COMPANION_RUNS") or ROOT / "runs").expanduser()
    return _started.spare.get(asked, asked)


def run_folder(*parts: str) -> Path:
    """Make and return a folder of the notebook that is running, for example `run_folder("models")`.

    Nothing is raised where it cannot be made: what is written there says so when it fails.
    """
    _find_room()
    folder = runs_folder().joinpath(_started.notebook, *parts)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def file(name: str) -> Path:
    """Say where the notebook that is running keeps a file of its own, which a cell writes and reads again.

    Raises:
        Stop: no disk has room for it.
    """
    folder = run_folder()
    if reason := _why_unusable(runs_folder()):
        raise Stop(
            f"{name} cannot be kept ({reason}, no other disk has more): free some, run this cell again."
        )
    return folder / name


def _find_room() -> None:
    """Turn to a temporary folder, with one line that says so, where the runs folder takes nothing more."""
    runs = runs_folder()
    reason = _why_unusable(runs)
    if not reason:
        return
    for place in _spare_places():
        if not _why_unusable(place):
            _started.spare[runs] = Path(tempfile.mkdtemp(prefix="companion-", dir=place))
            print(
                f"{shorten(runs)} cannot be used ({reason}): what this notebook makes goes to "
                f"{shorten(_started.spare[runs])}. Free some, or set COMPANION_RUNS to another folder."
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


def notebook() -> str:
    """Name the notebook that called `start`, without its ending."""
    return _started.notebook


def shorten(path: Path | str) -> str:
    """Write a path as a reader would: from the project's folder if it lies inside, else from home."""
    path = Path(path).resolve()
    for base, prefix in ((ROOT, ""), (Path.home(), "~/")):
        if path.is_relative_to(base):
            return prefix + path.relative_to(base).as_posix()
    return path.as_posix()


def start(name: str, seed: int = 0) -> None:
    """Begin a notebook: quiet logs, seeds, plot style. Call it before anything imports TensorFlow.

    Args:
        name: the notebook's file name without its ending; its run folder carries the same name.
        seed: seeds Python, NumPy and Keras.
    """
    profile()
    _started.notebook = name
    _find_room()
    # C++ reads both when it is loaded: after the import they have no effect.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _no_stderr():
        import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        _mirror()

    from utils import plots

    keras.utils.set_random_seed(seed)
    plots.use_style()


def _mirror() -> None:
    """Make models train on as many devices at once as `COMPANION_DEVICES` says, each on a share of a batch.

    Every variable that is made from here on has a copy on each device, kept alike (TensorFlow's
    `MirroredStrategy`). Where there are fewer GPUs, parts of the CPU stand in for them, for tests.
    """
    asked = os.environ.get("COMPANION_DEVICES", "").strip() or "1"
    if not asked.isdecimal() or not 1 <= int(asked) <= 64:
        raise Stop(f"COMPANION_DEVICES={asked} is no number of devices: give 1 to 64.")
    if int(asked) == 1:
        return
    import tensorflow as tf

    if tf.distribute.has_strategy():
        return
    kind = "GPU" if len(tf.config.list_physical_devices("GPU")) >= int(asked) else "CPU"
    if kind == "CPU":
        parts = [tf.config.LogicalDeviceConfiguration()] * int(asked)
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    chosen = [device.name for device in tf.config.list_logical_devices(kind)[: int(asked)]]
    tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy(chosen))


@contextmanager
def _no_stderr():
    """Send the process's stderr nowhere: TensorFlow's C++ greets there before it reads any setting."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def within(seconds: float, action):
    """Return what `action` returns; raise what it raises, or TimeoutError when time is up.

    It runs in a thread, because no setting covers all: a name look-up that hangs, an answer that trickles in.
    """
    answers = queue.Queue()

    def act():
        try:
            answers.put((action(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=act, daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error:
        raise error
    return value


def devices() -> str:
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


def banner(*data) -> None:
    """Print the one line that says what a reader looks at: profile, devices, data source, log.

    Args:
        data: what the loaders of `utils.datasets` returned.
    """
    import keras

    from utils import tracking

    parts = [
        f"{profile()} profile",
        devices(),
        f"Keras {keras.__version__} on {keras.backend.backend()}",
        *(item.label for item in data),
        f"W&B {tracking.mode()}, log in {shorten(runs_folder() / _started.notebook)}",
    ]
    print(" | ".join(parts))
