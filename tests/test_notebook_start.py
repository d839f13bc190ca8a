"""What `notebook.start` and `banner` do about GPUs: none is needed, all are fakes."""

import importlib.metadata
import os
import subprocess
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

from tests.test_notebook_code import define
from utils import notebook, settings
from utils.errors import CompanionError
from utils.models import transformer

pytestmark = pytest.mark.tensorflow
INFORMATION = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 131\nGPU UUID: \t GPU-0a1b\n"


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A machine with one NVIDIA card, as the driver on Linux shows it."""
    information = tmp_path / "gpus" / "0000:18:00.0" / "information"
    information.parent.mkdir(parents=True)
    information.write_text(INFORMATION)
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(settings, "NVIDIA_CARDS", tmp_path / "gpus")
    monkeypatch.setattr(settings, "NVIDIA_DEVICE", tmp_path / "nvidiactl")
    monkeypatch.setattr(settings.shutil, "which", lambda command: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])


def install(monkeypatch, missing=()):
    """Pretend that TensorFlow's CUDA packages are installed, but for `missing`."""

    def version(name):
        if name in missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return "12.9"

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_the_banner_names_a_card_that_tensorflow_cannot_use(monkeypatch, card, capsys):
    install(monkeypatch, missing=("nvidia-cudnn-cu12",))
    notebook.start("99_test")
    notebook.banner()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "NVIDIA H200 is not used: TensorFlow lacks its CUDA libraries; run .venv/bin/python -m pip "
        "install -c requirements.lock -e '.[cuda]', then restart the kernel."
    ]


def test_where_the_libraries_are_installed_the_driver_is_too_old(monkeypatch, card):
    install(monkeypatch)
    assert "its driver is too old" in settings.unused_card_advice()


def test_a_card_that_is_used_hidden_or_kept_from_a_container_is_not_named(monkeypatch, card):
    install(monkeypatch)
    assert settings.unused_card_advice().startswith("NVIDIA H200 is not used")
    with monkeypatch.context() as patch:
        gpu = SimpleNamespace(device_type="GPU")
        patch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu])
        assert settings.unused_card_advice() == ""
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert settings.unused_card_advice() == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    settings.NVIDIA_DEVICE.unlink()
    assert settings.unused_card_advice() == ""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU 0: NVIDIA T4 (UUID: GPU-0a)'; echo 'GPU 1: NVIDIA A2 (UUID: GPU-1b)'", 2),
        ("echo 'NVIDIA-SMI has failed because it could not talk to the driver.'; exit 9", 0),
        ("exec sleep 60", 0),
    ],
)
def test_elsewhere_the_command_of_the_driver_names_the_cards(
    monkeypatch, card, tmp_path, script, expected
):
    settings.NVIDIA_DEVICE.unlink()
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setattr(settings.shutil, "which", lambda name: str(command))
    run = subprocess.run
    quickly = lambda *words, timeout, **more: run(*words, timeout=timeout / 5, **more)  # noqa: E731
    monkeypatch.setattr(settings.subprocess, "run", quickly)
    assert settings.nvidia_cards() == ["NVIDIA T4", "NVIDIA A2"][:expected]


def test_the_list_of_cuda_packages_is_tensorflows_own(monkeypatch):
    install(monkeypatch, missing=("nvidia-cudnn-cu12", "absl-py"))
    assert settings._missing_cuda_packages() == ["nvidia-cudnn-cu12"]


@pytest.mark.parametrize(
    ("capability", "version", "built_for", "named"),
    [
        ((12, 0), "3.13.2", ["sm_89", "compute_90"], ["Keras 3.13.2 fails", "newer than this"]),
        ((12, 0), "3.13.2", ["sm_90", "compute_120"], ["Keras 3.13.2 fails"]),
        ((12, 0), "3.14.0", ["sm_89", "compute_90"], ["newer than this TensorFlow"]),
        ((12, 0), "3.14.0", ["sm_120"], []),
        ((10, 0), "3.13.2", ["sm_100a"], []),
        ((9, 0), "3.13.2", ["sm_89", "compute_90"], []),
        ((9, 0), "3.13.2", [], []),
        (None, "3.13.2", ["compute_90"], []),
    ],
)
def test_a_card_that_is_newer_than_keras_or_tensorflow_is_named(
    monkeypatch, capsys, capability, version, built_for, named
):
    """Colab's G4 has compute capability 12.0; Keras 3.14 mended issue 22406."""
    gpu = SimpleNamespace(device_type="GPU")
    details = {"device_name": "NVIDIA RTX PRO 6000", "compute_capability": capability}
    if capability is None:
        details = {}
    build = {"cuda_compute_capabilities": built_for}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: build)
    monkeypatch.setattr(keras, "__version__", version)
    notebook.banner()
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == len(named)
    for line, words in zip(lines, named, strict=True):
        assert "NVIDIA RTX PRO 6000" in line and words in line
        assert "CUDA_ERROR_INVALID_HANDLE" in line


def test_windows_is_told_about_wsl(monkeypatch, card):
    monkeypatch.setattr(settings.sys, "platform", "win32")
    assert "WSL2" in settings.unused_card_advice()


def test_start_lets_memory_of_every_gpu_grow_before_it_is_used(monkeypatch):
    gpus = ["first", "busy", "last"]
    set_for = []

    def set_memory_growth(gpu, enable):
        set_for.append((gpu, enable))
        if gpu == "busy":
            raise RuntimeError("Physical devices cannot be modified after being initialized")

    devices = tf.config.list_physical_devices
    fakes = {"GPU": gpus, "CPU": devices("CPU"), None: devices()}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: fakes[kind])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_memory_growth)
    mirror = notebook._mirror_models
    monkeypatch.setattr(notebook, "_mirror_models", lambda: (set_for.append("used"), mirror()))
    notebook.start("99_test")
    assert set_for == [("first", True), ("busy", True), ("last", True), "used"]


def test_a_python_that_a_cell_starts_shares_the_card_and_rounds_alike(monkeypatch):
    """As in 01, which compares its own predictions with those of another process."""
    inherited = ("TF_FORCE_GPU_ALLOW_GROWTH", "NVIDIA_TF32_OVERRIDE")
    for asked_for, expected in (("1", ("true", None)), ("0", ("true", "0"))):
        for name in inherited:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COMPANION_TF32", asked_for)
        notebook.start("99_test")
        assert tuple(map(os.environ.get, inherited)) == expected
    tf.config.experimental.enable_tensor_float_32_execution(False)


def test_tensor_float_32_is_off_unless_asked_for(monkeypatch):
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    tf.config.experimental.enable_tensor_float_32_execution(True)  # TensorFlow's default
    notebook.start("99_test")
    assert not enabled()
    monkeypatch.setenv("COMPANION_TF32", "1")
    notebook.start("99_test")
    assert enabled()
    monkeypatch.setenv("COMPANION_TF32", "yes")
    with pytest.raises(CompanionError, match=r"COMPANION_TF32=yes .*: 0, 1\."):
        notebook.start("99_test")
    tf.config.experimental.enable_tensor_float_32_execution(False)


def on_a_gpu(monkeypatch):
    """Make Keras believe in a GPU, on which it would compile with XLA."""
    gpu = SimpleNamespace(device_type="GPU")
    for name in ("list_physical_devices", "list_logical_devices"):
        monkeypatch.setattr(tf.config, name, lambda kind=None: [gpu])


def model_of(*layers):
    ids = keras.Input((None,), dtype="int64")
    x = keras.layers.Embedding(20, 8)(ids)
    for layer in layers:
        x = layer(x)
    return keras.Model(ids, keras.layers.Dense(1)(x))


def attending_to_itself(decoder):
    return lambda x: decoder(x, x)


BLOCKS = {
    "utils, encoder": lambda: transformer.TransformerEncoder(8, 16, 2),
    "utils, decoder": lambda: transformer.TransformerDecoder(8, 16, 2),
    "03": lambda: define("03_transformer_encoder", "EncoderParts", "TransformerEncoder")[
        "TransformerEncoder"
    ](8, 16, 2),
    "05": lambda: attending_to_itself(
        define("05_transformer_translation", "DecoderParts", "TransformerDecoder")[
            "TransformerDecoder"
        ](8, 16, 2, 0.1)
    ),
    "GRU": lambda: keras.layers.GRU(8, return_sequences=True),
    "LSTM": lambda: keras.layers.Bidirectional(keras.layers.LSTM(8, return_sequences=True)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_models_of_sequences_are_not_compiled_by_xla_for_every_length(monkeypatch, name):
    """A dense network shows that Keras would: `jit_compile="auto"` is its default."""
    on_a_gpu(monkeypatch)
    dense = model_of(keras.layers.Dense(8))
    dense.compile("sgd", "mse")
    assert dense.jit_compile
    block = BLOCKS[name]()
    model = model_of(block)
    model.compile("sgd", "mse")
    part = keras.Model(model.input, model.layers[-1].input)  # never compiled, for `predict` alone
    assert not model.jit_compile and not part.jit_compile


def test_not_even_where_xla_is_asked_for():
    model = model_of(transformer.TransformerEncoder(8, 16, 2))
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        model.compile("sgd", "mse", jit_compile=True)
    assert not model.jit_compile
