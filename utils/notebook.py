"""What every notebook calls first: `start`, then `banner`."""

import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from utils import plots, results, settings, tracking
from utils.errors import CompanionError

MAX_DEVICES = 64


def start(name: str, seed: int = 0) -> None:
    """Start a notebook: quiet logs, seeds, plot style. Call it before anything imports TensorFlow.

    Args:
        name: the notebook's file name without its ending; its run folder has the same name.
        seed: seeds Python, NumPy and Keras.

    Raises:
        CompanionError: `COMPANION_PROFILE`, `COMPANION_DEVICES` or `COMPANION_TF32` has an unknown
            value, or there are fewer GPUs than devices.
    """
    settings.profile()
    settings.set_notebook(name)
    results.start_run()
    settings.check_disk()
    # TensorFlow and Keras read them at import; later they have no effect.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _no_stderr():
        import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        _configure_gpus()
        _mirror_models()

    keras.utils.set_random_seed(seed)
    plots.use_style()


def _configure_gpus() -> None:
    """Take the memory of GPUs as it is needed, and multiply with all digits of float32.

    By default TensorFlow takes all the memory at once, and the kernel of a second notebook finds
    none. `COMPANION_TF32=1` allows TensorFloat-32: newer GPUs then multiply faster and round to
    about three digits, more coarsely than the checks of the notebooks allow.
    """
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        # Raised if the GPU is in use: a set-up cell may run twice.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    allowed = settings.read_environment("COMPANION_TF32", ("0", "1"), "0") == "1"
    # A Python that a cell starts shares the card, and rounds, as this one does.
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    if not allowed:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    tf.config.experimental.enable_tensor_float_32_execution(allowed)


def _mirror_models() -> None:
    """Train models on `COMPANION_DEVICES` devices at once, each of them on a part of every batch.

    Every variable that is created from now on has a copy on each device (TensorFlow's
    `MirroredStrategy`). On a machine without a GPU, parts of the CPU replace them, for tests.
    """
    text = os.environ.get("COMPANION_DEVICES", "").strip() or "1"
    if not text.isdecimal() or not 1 <= int(text) <= MAX_DEVICES:
        raise CompanionError(
            f"COMPANION_DEVICES={text} is not a number of devices: use 1 to {MAX_DEVICES}."
        )
    count = int(text)
    if count == 1:
        return
    import tensorflow as tf

    if tf.distribute.has_strategy():
        return
    num_gpus = len(tf.config.list_physical_devices("GPU"))
    if 0 < num_gpus < count:
        raise CompanionError(
            f"COMPANION_DEVICES={text} is more than the number of GPUs, which is {num_gpus}."
        )
    if not num_gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, parts)
    logical_devices = tf.config.list_logical_devices("GPU" if num_gpus else "CPU")
    names = [device.name for device in logical_devices[:count]]
    tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy(names))


@contextmanager
def full_precision():
    """Let layers that are made in this `with` block compute in float32, whatever Keras's policy is.

    For a comparison with NumPy to five digits, which `mixed_float16` would not allow.
    """
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def tolerance(float32_tolerance: float) -> float:
    """Return how closely two computations of a model of order 1 agree under Keras's policy.

    Args:
        float32_tolerance: how closely they agree in float32.

    Returns:
        The same in float32; under `mixed_float16` and `mixed_bfloat16` ten times the distance of
        two neighbouring numbers at 1, if that is more.
    """
    import keras
    import ml_dtypes

    dtype = keras.config.dtype_policy().compute_dtype
    if dtype == "float32":
        return float32_tolerance
    return max(float32_tolerance, 10 * float(ml_dtypes.finfo(dtype).eps))


@contextmanager
def _no_stderr():
    """Discard the process's stderr: TensorFlow's C++ writes to it before it reads any setting."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def banner(*data) -> None:
    """Print one line: profile, devices, Keras version, data, where the log is.

    Further lines say what to do about an NVIDIA card that TensorFlow cannot use as yet, or that is
    newer than TensorFlow or Keras.

    Args:
        data: what the loaders of `utils.datasets` returned.
    """
    import keras

    folder = settings.display_path(settings.runs_dir() / settings.notebook_name())
    parts = [
        f"{settings.profile()} profile",
        settings.device_summary(),
        f"Keras {keras.__version__} on {keras.backend.backend()}",
        *(item.label for item in data),
        f"W&B {tracking.mode()}, log in {folder}",
    ]
    print(" | ".join(parts))
    if keras.backend.backend() == "tensorflow":
        advice = [settings.unused_card_advice(), *settings.new_card_advice()]
        for line in filter(None, advice):
            print(line)
