"""How much work a notebook does and where it stores things: profile, data mode, folders."""

import hashlib
import importlib.metadata
import numbers
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from utils.errors import CompanionError

PROFILES = ("quick", "live", "full")
DATA_MODES = ("auto", "real", "sample")
ROOT = Path(__file__).resolve().parent.parent

# The driver on Linux has a folder of each card there, and the device if this process may use them.
NVIDIA_CARDS = Path("/proc/driver/nvidia/gpus")
NVIDIA_DEVICE = Path("/dev/nvidiactl")

# On cards from this compute capability on, such as Colab's G4, a cast of ids that TextVectorization
# makes fails on the GPU; Keras does it on the CPU since this version (its issue 22406).
CAST_FAILS_FROM = (12, 0)
KERAS_CASTS_ON_CPU = (3, 14)

# What a notebook's models and logs may need. If less is free, they go to another disk that has it.
MIN_FREE_BYTES = 50_000_000

# `spare` maps a configured runs folder that cannot be used to the temporary one used instead.
_session = SimpleNamespace(notebook="scratch", spare={})


def read_environment(variable: str, allowed: tuple[str, ...], default: str) -> str:
    """Return the value of an environment variable that may hold only certain words.

    Raises:
        CompanionError: it holds another word.
    """
    value = os.environ.get(variable, "").strip().lower() or default
    if value not in allowed:
        raise CompanionError(
            f"{variable}={value} is not known. Set it to one of: {', '.join(allowed)}."
        )
    return value


def profile() -> str:
    """Return the current profile: `COMPANION_PROFILE`, or "live"."""
    return read_environment("COMPANION_PROFILE", PROFILES, "live")


def choose(*, quick: dict, live: dict, full: dict) -> SimpleNamespace:
    """Return the settings of the current profile, so that no cell has to ask which one it is.

    Args:
        quick: name to value, for the quick profile.
        live: the same names, for the live profile.
        full: the same names, for the full profile.

    Raises:
        CompanionError: a profile lacks a setting that another one has.
    """
    profiles = {"quick": quick, "live": live, "full": full}
    names = set().union(*profiles.values())
    for profile_name, values in profiles.items():
        missing = sorted(names - set(values))
        if missing:
            raise CompanionError(
                f"the {profile_name} profile lacks {', '.join(missing)}: "
                "all profiles need the same settings."
            )
    return SimpleNamespace(**profiles[profile()])


def require(condition: bool, sentence: str) -> None:
    """Refuse settings that cannot be, in the cell that holds them and not minutes later.

    Args:
        condition: what must hold.
        sentence: which setting is refused, and what is possible.

    Raises:
        CompanionError: it does not hold.
    """
    if not condition:
        raise CompanionError(sentence)


def require_at_least(cfg: SimpleNamespace, **minima: float) -> None:
    """Refuse settings that are below a minimum; where it is an integer, also those that are not.

    Args:
        cfg: the settings, as `choose` returns them.
        minima: name of a setting to the smallest value that it may have.

    Raises:
        CompanionError: a setting is smaller, or no integer where only an integer can be.
    """
    for name, minimum in minima.items():
        value = getattr(cfg, name)
        kind = "an integer" if isinstance(minimum, int) else "a number"
        allowed = numbers.Integral if isinstance(minimum, int) else numbers.Real
        possible = isinstance(value, allowed) and value >= minimum
        require(possible, f"cfg.{name} = {value!r}: choose {kind} of {minimum} or more.")


def data_mode() -> str:
    """Return which data to load: `COMPANION_DATA`, or "auto".

    "real" and "sample" are what they say; "auto" is the real data if they can be had, else the
    sample.
    """
    return read_environment("COMPANION_DATA", DATA_MODES, "auto")


def cache_dir() -> Path:
    """Return the folder of downloads: `COMPANION_CACHE`, or data/cache in the project."""
    return Path(os.environ.get("COMPANION_CACHE") or ROOT / "data" / "cache").expanduser()


def runs_dir() -> Path:
    """Return the folder of all that notebooks write: `COMPANION_RUNS`, or runs in the project.

    Once that has proved full or read-only, it is a temporary folder of this kernel.
    """
    folder = _configured_runs_dir()
    return _session.spare.get(folder, folder)


def _configured_runs_dir() -> Path:
    return Path(os.environ.get("COMPANION_RUNS") or ROOT / "runs").expanduser()


def output_dir(*parts: str) -> Path:
    """Create and return a folder of the current notebook, for example `output_dir("models")`.

    If it cannot be created, nothing is raised here: writing to it will fail.
    """
    check_disk()
    folder = runs_dir().joinpath(_session.notebook, *parts)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def output_path(name: str) -> Path:
    """Return the path of a file that one cell of the current notebook writes and another one reads.

    Raises:
        CompanionError: no disk has room for it.
    """
    folder = output_dir()
    reason = _why_unusable(runs_dir())
    if reason:
        raise CompanionError(
            f"{name} cannot be saved ({reason}, and no other disk has room): "
            "free some space, then run this cell again."
        )
    return folder / name


def check_disk() -> None:
    """If the runs folder is full or read-only, use a temporary one from now on, and say so."""
    runs = runs_dir()
    reason = _why_unusable(runs)
    if not reason:
        return
    for folder in _spare_places():
        if not _why_unusable(folder):
            spare = Path(tempfile.mkdtemp(prefix="companion-", dir=folder))
            _session.spare[_configured_runs_dir()] = spare
            print(
                f"{display_path(runs)} cannot be used ({reason}): this notebook writes to "
                f"{display_path(spare)}. Free some space, or set COMPANION_RUNS to another folder."
            )
            return


def _spare_places() -> list[Path]:
    """List the folders in which a temporary one may lie, the best first."""
    folders = []
    with suppress(OSError):
        folders.append(Path(tempfile.gettempdir()))
    folders.append(Path("/dev/shm"))  # Linux keeps it in memory
    return [folder for folder in folders if folder.is_dir()]


def _why_unusable(folder: Path) -> str:
    """Say why nothing can be written to a folder; return "" if it can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < MIN_FREE_BYTES:
            return f"disk full, {free / 1e6:.0f} MB free"
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def set_notebook(name: str) -> None:
    """Set the name of the current notebook, which is its file name without the ending."""
    _session.notebook = name


def notebook_name() -> str:
    """Return the name of the current notebook, which is its file name without the ending."""
    return _session.notebook


def file_label(name: str, digest_of: str) -> str:
    """Return a file name: letters and digits of a name, and a digest of what the file depends on.

    For example "small-lstm-0a1b2c3d4e".
    """
    label = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
    return f"{label}-{hashlib.sha256(digest_of.encode()).hexdigest()[:10]}"


def display_path(path: Path | str) -> str:
    """Write a path relative to the project if it lies inside, else to home, without a user name."""
    path = Path(path).resolve()
    for base, prefix in ((ROOT, ""), (Path.home().resolve(), "~/")):
        if path.is_relative_to(base):
            return printable(prefix + path.relative_to(base).as_posix())
    return printable(path.as_posix())


def display_time(path: Path) -> str:
    """Write when a file was changed last, as "2026-11-29 at 23:54"."""
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d at %H:%M")


def printable(name: str) -> str:
    """Write bytes of a file name that are no UTF-8 as escapes: a notebook cannot print them."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def num_cores() -> int:
    """Count the cores that this process may use; a container's quota is unknown."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_summary() -> str:
    """Return what the Keras backend computes on, for example "2 CPU cores" or "1 GPU"."""
    import keras

    devices = keras.distribution.list_devices()  # such as "gpu:0"
    mirrored = ""
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        strategy = tf.distribute.get_strategy()
        if strategy.num_replicas_in_sync > 1:
            paths = strategy.extended.worker_devices  # such as "/job:localhost/.../device:GPU:0"
            devices = [path.rpartition("device:")[2].lower() for path in paths]
            mirrored = f", models mirrored on {len(devices)} devices"
    accelerators = [device for device in devices if not device.startswith("cpu")]
    if accelerators:
        kind = accelerators[0].split(":")[0].upper()
        return f"{len(accelerators)} {kind}{mirrored}"
    return f"{num_cores()} CPU cores{mirrored}"


def nvidia_cards() -> list[str]:
    """List the NVIDIA cards that this process may use, such as "NVIDIA H200"; imports no backend.

    Linux tells at once; elsewhere the driver's command is asked for up to five seconds.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return []  # hidden on purpose
    cards = []
    if NVIDIA_DEVICE.exists():
        for path in sorted(NVIDIA_CARDS.glob("*/information")):
            with suppress(OSError):
                cards += re.findall(r"^Model:\s*(.+?)\s*$", path.read_text(), re.MULTILINE)
    command = shutil.which("nvidia-smi")
    if command and not cards:
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=5)
            # Such as "GPU 0: NVIDIA H200 (UUID: GPU-0a1b)"
            cards = re.findall(r"^GPU \d+: (.+?) \(UUID", done.stdout, re.MULTILINE)
    return cards


def unused_card_advice() -> str:
    """Say in one line which NVIDIA card TensorFlow cannot use and what to install, or return ""."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return ""
    cards = nvidia_cards()
    if not cards:
        return ""
    if sys.platform == "win32":
        advice = "TensorFlow for Windows computes on CPUs only; install this project in WSL2"
    elif _missing_cuda_packages():
        install = ".venv/bin/python -m pip install -c requirements.lock -e '.[cuda]'"
        advice = f"TensorFlow lacks its CUDA libraries; run {install}, then restart the kernel"
    else:
        advice = "its driver is too old for TensorFlow's CUDA libraries; install a newer one"
    return f"{cards[0]} is not used: {advice}."


def new_card_advice() -> list[str]:
    """Say what fails on a GPU that is newer than Keras or TensorFlow, a line for each."""
    import keras
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return []
    details = tf.config.experimental.get_device_details(gpus[0])
    name = details.get("device_name", "This GPU")
    capability = details.get("compute_capability", (0, 0))
    lines = []
    version = tuple(int(part) for part in keras.__version__.split(".")[:2])
    if capability >= CAST_FAILS_FROM and version < KERAS_CASTS_ON_CPU:
        lines.append(
            f"On {name}, Keras {keras.__version__} fails in TextVectorization "
            "(CUDA_ERROR_INVALID_HANDLE): run %pip install -U keras, then restart the kernel."
        )
    built_for = []  # such as "sm_89" and "compute_90", for compute capability 8.9 and 9.0
    for target in tf.sysconfig.get_build_info().get("cuda_compute_capabilities", []):
        digits = re.sub(r"\D", "", target)
        built_for.append((int(digits[:-1]), int(digits[-1])))
    if capability > max(built_for, default=capability):
        lines.append(
            f"{name} is newer than this TensorFlow: if a cell fails with "
            "CUDA_ERROR_INVALID_HANDLE, use another GPU, or none (CUDA_VISIBLE_DEVICES=-1)."
        )
    return lines


def _missing_cuda_packages() -> list[str]:
    """List the packages of TensorFlow's extra `and-cuda` that are not installed."""
    missing = []
    for requirement in importlib.metadata.requires("tensorflow") or []:
        name = re.match(r"[\w.-]+", requirement)[0]
        if "and-cuda" in requirement:
            try:
                importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                missing.append(name)
    return missing
