import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from utils import notebook, settings
from utils.errors import CompanionError

SETTINGS = {"quick": {"epochs": 1}, "live": {"epochs": 5}, "full": {"epochs": 50}}


@pytest.mark.parametrize(
    ("profile", "epochs"), [("quick", 1), ("live", 5), ("full", 50), (" Live ", 5), ("", 5)]
)
def test_the_profile_chooses_the_settings(monkeypatch, profile, epochs):
    monkeypatch.setenv("COMPANION_PROFILE", profile)
    assert settings.choose(**SETTINGS).epochs == epochs


def test_unknown_profile_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("COMPANION_PROFILE", "fast")
    with pytest.raises(CompanionError, match=r"fast is not known.*quick, live, full"):
        settings.choose(**SETTINGS)


def test_a_setting_that_a_profile_lacks_is_named():
    with pytest.raises(
        CompanionError, match="quick profile lacks units: all profiles need the same"
    ):
        settings.choose(quick={}, live={"units": 2}, full={"units": 3})


def test_a_setting_that_cannot_be_is_refused_with_its_sentence():
    settings.require(True, "never shown")
    with pytest.raises(CompanionError, match=r"^cfg.units = 7 is odd: choose an even number\.$"):
        settings.require(False, "cfg.units = 7 is odd: choose an even number.")


@pytest.mark.parametrize("value", [0, -3, 2.0, 1.5, "4", None, float("nan")])
def test_a_setting_below_its_minimum_or_no_integer_is_named(value):
    cfg = SimpleNamespace(steps=value, rate=0.5)
    with pytest.raises(CompanionError, match=r"^cfg.steps = .*: choose an integer of 1 or more\.$"):
        settings.require_at_least(cfg, rate=0.0, steps=1)


def test_settings_at_their_minimum_are_accepted():
    cfg = SimpleNamespace(steps=1, size=np.int64(32), rate=np.float32(0.5), weight=0)
    settings.require_at_least(cfg, steps=1, size=32, rate=0.5, weight=0.0)
    cfg.rate = float("nan")
    with pytest.raises(CompanionError, match=r"^cfg.rate = nan: choose a number of 0.0 or more\.$"):
        settings.require_at_least(cfg, rate=0.0)


def test_a_companion_error_is_its_message_in_a_notebook(monkeypatch, tmp_path, capsys):
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell()
    shell.run_cell("from utils.errors import CompanionError")
    shell.run_cell("def inner(): raise CompanionError('free 84 MB')\ninner()")
    assert capsys.readouterr().out == "CompanionError: free 84 MB\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", "auto"), ("real", "real"), (" Sample ", "sample"), ("auto", "auto")],
)
def test_data_mode(monkeypatch, value, expected):
    monkeypatch.setenv("COMPANION_DATA", value)
    assert settings.data_mode() == expected


def test_an_unknown_data_mode_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("COMPANION_DATA", "none")
    with pytest.raises(CompanionError, match=r"COMPANION_DATA=none .*: auto, real, sample\."):
        settings.data_mode()


def test_a_file_label_has_the_name_and_a_digest():
    # `printf x | sha256sum` begins with these digits.
    assert settings.file_label("GAN, 2 épocas!", "x") == "gan--2-épocas-2d711642b7"
    assert settings.file_label("GAN", "x") != settings.file_label("GAN", "y")


def test_start_repeats_random_numbers():
    import keras

    def draw():
        notebook.start("99_test", seed=3)
        return random.random(), np.random.rand(), float(keras.random.uniform(()))

    first = draw()
    assert first == draw()
    notebook.start("99_test", seed=4)
    assert random.random() != first[0]


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    notebook.start("99_test")
    assert settings.output_dir("models") == tmp_path / "runs" / "99_test" / "models"
    assert settings.output_dir("models").is_dir()
    monkeypatch.delenv("COMPANION_RUNS")
    monkeypatch.delenv("COMPANION_CACHE")
    assert settings.runs_dir() == settings.ROOT / "runs"
    assert settings.cache_dir() == settings.ROOT / "data" / "cache"


def test_paths_are_written_without_a_user_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.display_path(settings.ROOT / "runs" / "x") == "runs/x"
    assert settings.display_path(tmp_path / "films" / "x") == "~/films/x"


def test_a_home_that_is_a_link_is_written_without_a_user_name(monkeypatch, tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "name").symlink_to(tmp_path / "volume", target_is_directory=True)
    monkeypatch.setenv("HOME", str(tmp_path / "name"))
    assert settings.display_path(tmp_path / "name" / "films") == "~/films"
    assert settings.display_path(tmp_path / "volume" / "films") == "~/films"


@pytest.mark.parametrize(
    ("kind", "all_devices", "expected"),
    [
        ("GPU", ["gpu:0", "gpu:1", "gpu:2"], "2 GPU, models mirrored on 2 devices"),
        ("CPU", ["gpu:0"], "CPU cores, models mirrored on 2 devices"),
    ],
)
def test_the_banner_names_the_devices_that_train(monkeypatch, kind, all_devices, expected):
    import keras
    import tensorflow as tf

    paths = [f"/job:localhost/replica:0/task:0/device:{kind}:{number}" for number in range(2)]
    strategy = SimpleNamespace(
        num_replicas_in_sync=2, extended=SimpleNamespace(worker_devices=paths)
    )
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: all_devices)
    assert settings.device_summary().endswith(expected)


def test_the_banner_is_one_line_with_profile_devices_data_and_log(capsys):
    class Data:
        label = "reviews: built-in sample"

    notebook.start("99_test")
    notebook.banner(Data())
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    for part in ("live profile", "CPU cores", "reviews: built-in sample", "W&B offline", "99_test"):
        assert part in line


@pytest.mark.parametrize(
    "modules",
    [
        "notebook",
        # Not `callbacks`, which needs Keras: `notebook.start` comes first, to quiet TensorFlow.
        "settings, notebook, datasets, downloads, results, tracking, plots",
    ],
)
def test_importing_the_package_runs_nothing(modules):
    heavy = ("wandb", "matplotlib", "tensorflow", "keras", "IPython", "scipy.stats")
    program = (
        f"import sys; from utils import {modules}; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=settings.ROOT, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
