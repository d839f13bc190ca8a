import random
import subprocess
import sys

import numpy as np
import pytest

from utils import notebook, settings
from utils.errors import CompanionError

KNOBS = {"quick": {"epochs": 1}, "live": {"epochs": 5}, "full": {"epochs": 50}}


@pytest.mark.parametrize(
    ("profile", "epochs"), [("quick", 1), ("live", 5), ("full", 50), (" Live ", 5), ("", 5)]
)
def test_profile_chooses_the_knobs(monkeypatch, profile, epochs):
    monkeypatch.setenv("COMPANION_PROFILE", profile)
    assert settings.choose(**KNOBS).epochs == epochs


def test_unknown_profile_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("COMPANION_PROFILE", "fast")
    with pytest.raises(CompanionError, match=r"fast is not known.*quick, live, full"):
        settings.choose(**KNOBS)


def test_a_knob_missing_from_a_profile_is_named():
    with pytest.raises(CompanionError, match="quick profile lacks units"):
        settings.choose(quick={}, live={"units": 2}, full={"units": 3})


def test_stop_shows_one_line_in_a_notebook():
    stop = CompanionError("the disk is full: free 84 MB")
    assert stop._render_traceback_() == ["CompanionError: the disk is full: free 84 MB"]


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


def test_banner_is_one_line_that_names_what_a_reader_sees(capsys):
    class Data:
        label = "reviews: built-in sample"

    notebook.start("99_test")
    notebook.banner(Data())
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    for part in ("live profile", "CPU cores", "reviews: built-in sample", "W&B offline", "99_test"):
        assert part in line


def test_importing_the_package_runs_nothing():
    # Not `training`: its callbacks are Keras's; it is imported once `notebook.start` has quieted TensorFlow.
    modules = "settings, notebook, datasets, downloads, results, tracking, plots"
    heavy = "[m for m in ('wandb', 'matplotlib', 'tensorflow') if m in sys.modules]"
    program = f"import sys; from utils import {modules}; print({heavy})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=settings.ROOT, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
