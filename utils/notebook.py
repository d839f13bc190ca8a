"""What every notebook calls first: `start`, then `banner`."""

import os
import sys
from contextlib import contextmanager

from utils import plots, settings, tracking
from utils.errors import CompanionError


def start(name: str, seed: int = 0) -> None:
    """Begin a notebook: quiet logs, seeds, plot style. Call it before anything imports TensorFlow.

    Args:
        name: the notebook's file name without its ending; its run folder carries the same name.
        seed: seeds Python, NumPy and Keras.
    """
    settings.profile()
    settings.set_notebook(name)
    settings._find_room()
    # C++ reads both when it is loaded: after the import they have no effect.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _no_stderr():
        import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        _mirror()

    keras.utils.set_random_seed(seed)
    plots.use_style()


def _mirror() -> None:
    """Make models train on as many devices at once as `COMPANION_DEVICES` says, each on a share of a batch.

    Every variable that is made from here on has a copy on each device, kept alike (TensorFlow's
    `MirroredStrategy`). Where there are fewer GPUs, parts of the CPU stand in for them, for tests.
    """
    asked = os.environ.get("COMPANION_DEVICES", "").strip() or "1"
    if not asked.isdecimal() or not 1 <= int(asked) <= 64:
        raise CompanionError(f"COMPANION_DEVICES={asked} is no number of devices: give 1 to 64.")
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


def banner(*data) -> None:
    """Print the one line that says what a reader looks at: profile, devices, data source, log.

    Args:
        data: what the loaders of `utils.datasets` returned.
    """
    import keras

    parts = [
        f"{settings.profile()} profile",
        settings.device_summary(),
        f"Keras {keras.__version__} on {keras.backend.backend()}",
        *(item.label for item in data),
        f"W&B {tracking.mode()}, log in {settings.display_path(settings.runs_dir() / settings.notebook_name())}",
    ]
    print(" | ".join(parts))
