"""What all tests share; no test touches a reader's cache, runs or keys."""

import os
import random
import shutil

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# On a GPU, as `notebook.start` does: workers share its memory, and products keep their digits.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def pytest_runtest_setup(item):
    """Skip on other backends what only TensorFlow has: ragged tensors and gradient tapes."""
    if item.get_closest_marker("tensorflow") and os.environ["KERAS_BACKEND"] != "tensorflow":
        pytest.skip("needs TensorFlow's ragged tensors or gradient tape")


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Use temporary folders, no settings of the caller's environment, and no notebook."""
    from utils import results, settings

    monkeypatch.setattr(settings._session, "notebook", "scratch")
    monkeypatch.setattr(settings._session, "spare", {})
    monkeypatch.setattr(results._session, "run", "")
    monkeypatch.setattr(results._session, "unsaved", {})
    monkeypatch.setattr(results._session, "claims", {})
    for name in [name for name in os.environ if name.startswith(("COMPANION_", "WANDB_"))]:
        monkeypatch.delenv(name)
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of `make test`; tests call make too
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture(scope="session")
def odd_texts() -> list[str]:
    """Return texts that a reader may have: empty, long, in other scripts, of odd characters."""
    alphabets = {
        "letters": "abcdefgh ÀÉñßøŁ'",
        "right to left": "אבגדה ابتثج\u200f؟،",
        "marks": "हिन्दी की e\u0301o\u0308 ",
        "unspaced": "我们学习中文。かなカナสวัสดี，",
        "emoji": "🙂🚀❤\ufe0f👩\u200d🚀 🇩🇪",
        "punctuation": '!?.,;:()[]{}<>"#$%&*+-/=@^_`|~…«»¿¡ ',
        "spaces": " \t\u00a0\u3000\u2003",
        "control": "\x00\x01\x07\x0b\x1b\x1c\x1f\x7f\x85\u2028\u200b\r\n ab",
    }
    rng = random.Random(0)
    texts = [
        "",
        " ",
        "a",
        "A",
        "?",
        "...",
        "🙂",
        "[start] [end] [UNK]",
        "<br /><br />",
        "\ufeffabc",
    ]
    for alphabet in [*alphabets.values(), "".join(alphabets.values())]:
        for length in (1, 2, 5, 17, 60):
            texts.append("".join(rng.choices(alphabet, k=length)))
    return [*texts, " ".join(f"word{number % 997}" for number in range(100_000))]


@pytest.fixture
def bare(tmp_path):
    """Copy tools and utils to a project without notebooks, whose path is an awkward one."""
    from utils import settings

    project = tmp_path / "a b (é) o'x #1 50%"
    for folder in ("tools", "utils"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(settings.ROOT / folder, project / folder, ignore=ignored)
    (project / "notebooks").mkdir()
    return project
