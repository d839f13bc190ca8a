"""The short form of what `tests/proofs` tries at length: see docs/durability.md."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb

from tests.proofs import common, devices, kills
from utils import notebook, results, settings
from utils.errors import CompanionError


@pytest.fixture
def runs(tmp_path):
    """The folder that `isolated` sets for runs."""
    return tmp_path / "runs"


def fill(monkeypatch, folders):
    """Make some folders, and what lies in them, look as if they were on full disks."""
    disk_usage = shutil.disk_usage

    def fake_usage(path):
        full = any(path.is_relative_to(folder) for folder in folders)
        return SimpleNamespace(free=4_000_000) if full else disk_usage(path)

    monkeypatch.setattr(settings.shutil, "disk_usage", fake_usage)


def test_runs_on_a_full_disk_go_elsewhere_and_one_line_says_so(monkeypatch, runs, capsys):
    fill(monkeypatch, [runs])
    notebook.start("99_test")
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and "disk full, 4 MB free" in line and "COMPANION_RUNS" in line
    folder = settings.output_dir("models")
    assert folder.is_dir() and not folder.is_relative_to(runs)
    assert settings.output_dir("models") == folder, "one spare folder a kernel"
    results.add_score("model", data="sample", accuracy=0.5)
    results.save_summary("half", data="sample", accuracy=0.5)
    assert [row["accuracy"] for row in results.leaderboard(data="sample")] == [0.5]
    assert (folder.parent / "summary.json").is_file()
    assert capsys.readouterr().out == ""
    shutil.rmtree(folder.parent.parent)


def test_a_spare_folder_that_fills_up_is_left_for_the_next_one(monkeypatch, tmp_path, runs, capsys):
    disks = [tmp_path / "first", tmp_path / "second"]
    for disk in disks:
        disk.mkdir()
    monkeypatch.setattr(settings, "_spare_places", lambda: disks)
    full = [runs]
    fill(monkeypatch, full)
    for disk in disks:
        folder = settings.output_dir()
        assert folder.is_dir() and folder.is_relative_to(disk)
        assert settings.output_dir() == folder
        assert capsys.readouterr().out.count("\n") == 1
        full.append(disk)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "elsewhere"))
    assert settings.output_dir().is_relative_to(tmp_path / "elsewhere")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["a file", "read-only"])
def test_runs_that_cannot_be_written_go_elsewhere(monkeypatch, runs, capsys, kind):
    if kind == "a file":
        runs.write_text("")
    else:
        runs.mkdir()

        def refuse(dir):
            if dir == runs:
                raise OSError(30, "Read-only file system")
            return Path(os.devnull).open()

        monkeypatch.setattr(settings.tempfile, "TemporaryFile", refuse)
    folder = settings.output_dir()
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert line.startswith(f"{settings.display_path(runs)} cannot be used (")
    assert folder.is_dir() and not folder.is_relative_to(runs)
    shutil.rmtree(folder.parent)


def test_where_no_disk_takes_anything_lines_say_so_and_the_leaderboard_stays(
    monkeypatch, runs, capsys
):
    runs.write_text("no folder")
    monkeypatch.setattr(settings, "_spare_places", list)
    notebook.start("99_test")
    settings.output_dir("models")
    results.add_score("model", data="sample", accuracy=0.5)
    results.save_summary("half", data="sample", accuracy=0.5)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" is not saved")[0] for line in lines] == ["model", "summary.json"]
    assert all(line.endswith("the notebook goes on.") for line in lines)
    assert [row["accuracy"] for row in results.leaderboard(data="sample")] == [0.5]
    with pytest.raises(
        CompanionError, match=r"model.keras cannot be saved \(.*run this cell again"
    ):
        settings.output_path("model.keras")
    runs.unlink()
    assert settings.output_path("model.keras") == runs / "99_test" / "model.keras"


def test_a_roomy_runs_folder_is_used_silently(runs, capsys):
    notebook.start("99_test")
    assert settings.output_dir("models") == runs / "99_test" / "models"
    assert list(runs.iterdir()) == [runs / "99_test"] and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trained in 12.5 s, 3 epochs", ["trained in <time>, 3 epochs"]),
        ("89.5% of 1,600 right", ["89.5% of 1,600 right"]),
        ("38/38 - 1s - 28ms/step - loss: 0.69", ["38/38 - <time> - <time> - loss: 0.69"]),
        ("which is 7.5 times as fast", ["which is <time>"]),
        (
            "way      reviews per second    right\n"
            "-----  --------------------  -------\n"
            "slow                  1,200    89.5%",
            ["way  reviews per second  right", "", "slow  <time>  89.5%"],
        ),
    ],
)
def test_only_what_a_clock_decides_is_left_out(text, expected):
    lines = common.timeless(text)
    assert [line.split() for line in lines] == [line.split() for line in expected]


def test_numbers_of_two_summaries_must_agree_unless_they_are_times():
    one = {"accuracy": 0.5, "seconds": 3.0, "sentences/s": 9, "baseline": 0.1}
    assert common.differences(one, one | {"seconds": 4.0, "sentences/s": 8}) == []
    assert common.differences(one, one | {"accuracy": 0.50001}) == ["accuracy"]
    assert common.differences(one, {"accuracy": 0.5}) == ["baseline"]


def test_two_devices_train_a_translator_as_one_does(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    notebook.start("99_devices")
    (two,) = devices.elsewhere(2, [["translator", True]], tmp_path)
    one = devices.train("translator", True)
    assert two["devices"].endswith("mirrored on 2 devices") and "mirrored" not in one["devices"]
    assert devices.apart(one, two) < 1e-4
    assert one["losses"][-1] < one["losses"][0]


KILLED = """
import os, signal, time
from utils import tracking
run = tracking.start("cut", {})
for epoch in range(4):
    run.log({"epoch/epoch": epoch})
# What is younger than `tracking.FLUSH_SECONDS` may be lost; by default wandb would lose all of it.
time.sleep(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(
    "x_transaction_log_flush_interval" not in wandb.Settings.model_fields,
    reason="wandb 0.31 flushes its log",
)
def test_what_was_logged_outlives_a_kill(runs):
    env = common.environment(runs, PYTHONPATH=str(common.ROOT))
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=common.ROOT, env=env)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10  # wandb has a process of its own, which is still writing
    while len(kills.logged(runs)) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sorted((name, epoch) for name, epoch, _ in kills.logged(runs)) == [
        ("cut", n) for n in range(4)
    ]


class FakeDevices:
    """Stands in for TensorFlow's devices; it records the parts of the CPU and the strategy's."""

    def __init__(self, monkeypatch, num_gpus):
        import tensorflow as tf

        self.parts = []
        self.mirrored = []
        self.counts = {"GPU": num_gpus, "CPU": 1}
        monkeypatch.setattr(tf.config, "list_physical_devices", self.named)
        monkeypatch.setattr(tf.config, "list_logical_devices", self.named)
        monkeypatch.setattr(tf.config, "set_logical_device_configuration", self.divide)
        monkeypatch.setattr(tf.distribute, "has_strategy", lambda: False)
        monkeypatch.setattr(tf.distribute, "MirroredStrategy", self.mirrored.extend)
        monkeypatch.setattr(tf.distribute, "experimental_set_strategy", lambda strategy: None)

    def named(self, kind):
        return [SimpleNamespace(name=f"{kind}:{n}") for n in range(self.counts[kind])]

    def divide(self, device, parts):
        self.parts.append(device.name)
        self.counts["CPU"] = len(parts)


@pytest.mark.parametrize(
    ("num_gpus", "parts", "mirrored"),
    [(0, ["CPU:0"], ["CPU:0", "CPU:1"]), (2, [], ["GPU:0", "GPU:1"]), (4, [], ["GPU:0", "GPU:1"])],
)
def test_models_are_mirrored_on_gpus_or_without_any_on_parts_of_the_cpu(
    monkeypatch, num_gpus, parts, mirrored
):
    monkeypatch.setenv("COMPANION_DEVICES", "2")
    fake = FakeDevices(monkeypatch, num_gpus)
    notebook._mirror_models()
    assert (fake.parts, fake.mirrored) == (parts, mirrored)


def test_more_devices_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("COMPANION_DEVICES", "2")
    fake = FakeDevices(monkeypatch, 1)
    message = r"COMPANION_DEVICES=2 is more than the number of GPUs, which is 1\."
    with pytest.raises(CompanionError, match=message):
        notebook._mirror_models()
    assert fake.parts == fake.mirrored == []


def test_a_number_of_devices_that_cannot_be_is_refused(monkeypatch):
    for text in ("0", "two", "65", "-1"):
        monkeypatch.setenv("COMPANION_DEVICES", text)
        with pytest.raises(
            CompanionError,
            match=f"COMPANION_DEVICES={text} is not a number of devices: use 1 to 64",
        ):
            notebook.start("99_test")
