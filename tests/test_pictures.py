"""Pictures of every kind, painted ones, and pictures that are kept."""

import errno

import numpy as np
import pytest
from PIL import Image

from utils import datasets, downloads, results, settings
from utils.errors import CompanionError
from utils.synthetic import paintings


@pytest.fixture
def colours():
    """A picture whose left half is red and whose right half is white."""
    picture = np.full((120, 200, 3), 255, "uint8")
    picture[:, :100] = (200, 20, 30)
    return picture


@pytest.mark.parametrize("kind", ["RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_pictures_of_every_kind_become_colours(tmp_path, colours, kind):
    path = tmp_path / f"some.{'tif' if kind == 'CMYK' else 'png'}"
    grey = Image.fromarray(colours).convert("L")
    picture = Image.fromarray(np.asarray(grey).astype("uint16") * 257) if kind == "I;16" else None
    knobs = {"palette": Image.Palette.ADAPTIVE} if kind == "P" else {}
    (picture or Image.fromarray(colours).convert(kind, **knobs)).save(path)
    found = datasets.load_image(path).astype(int)
    assert found.shape == (120, 200, 3)
    expected = colours if kind in {"RGB", "RGBA", "P", "CMYK"} else np.asarray(grey)[..., None]
    if kind == "1":
        assert found[:, 150:].min() == 255 and found[:, :50].mean() < 150
    else:
        assert np.abs(found - expected).max() <= (12 if kind == "CMYK" else 1)


def test_transparent_is_white_and_a_turned_photograph_stands_upright(tmp_path, colours):
    seen = np.dstack([colours, np.full(colours.shape[:2], 255, "uint8")])
    seen[:60, :, 3] = 0
    Image.fromarray(seen).save(tmp_path / "alpha.png")
    found = datasets.load_image(tmp_path / "alpha.png")
    assert (found[:60] == 255).all() and (found[60:] == colours[60:]).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    Image.fromarray(colours).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = datasets.load_image(tmp_path / "turned.jpg").astype(int)
    assert turned.shape == (200, 120, 3)
    assert np.abs(turned[20, 60] - (200, 20, 30)).max() < 12 and turned[180, 60].min() > 245


def test_pictures_are_shrunk_but_never_enlarged(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "some.png")
    assert datasets.load_image(tmp_path / "some.png", 100).shape == (60, 100, 3)
    assert datasets.load_image(tmp_path / "some.png", 999).shape == (120, 200, 3)


def test_a_folder_of_the_readers_own(tmp_path, capsys, colours):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.fromarray(colours).save(folder / "holiday.JPG", format="jpeg")
    (folder / "broken.png").write_bytes(b"\x89PNG half of it")
    Image.fromarray(colours).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:150])
    Image.fromarray(colours[:5]).save(folder / "sliver.png")
    (folder / "notes.txt").write_text("no picture")
    found = datasets.load_images(folder, 128)
    assert list(found.photographs) == ["holiday"] and found.source == "folder"
    assert max(found.photographs["holiday"].shape) == 128
    lines = capsys.readouterr().out.splitlines()
    assert [
        next(name for name in ("broken", "cut", "sliver") if name in line) for line in lines
    ] == [
        "broken",
        "cut",
        "sliver",
    ]


def test_an_empty_or_missing_folder_gets_a_clear_line(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CompanionError, match="no picture in"):
            datasets.load_images(folder)


def test_the_sessions_pictures_come_first_where_they_are(monkeypatch, colours):
    folder = settings.cache_dir() / "pictures"
    folder.mkdir(parents=True)
    for name in ("golden_gate", "starry_night"):
        Image.fromarray(colours).save(folder / f"{name}.jpg")
    found = datasets.load_images(max_side=128)
    assert found.source == "real" and next(iter(found.photographs)) == "golden gate"
    assert next(iter(found.paintings)) == "The Starry Night" and "glass" in found.paintings
    monkeypatch.setenv("COMPANION_DATA", "sample")
    assert datasets.load_images(max_side=128).source == "sample"


def test_the_sample_comes_without_them_unless_real_is_asked_for(monkeypatch):
    found = datasets.load_images(max_side=96)
    assert found.source == "sample" and {"cat", "coffee"} <= set(found.photographs)
    assert all(
        max(picture.shape) == 96 for picture in (found.photographs | found.paintings).values()
    )
    monkeypatch.setenv("COMPANION_DATA", "real")
    with pytest.raises(downloads.Unavailable, match=r"golden_gate.jpg and starry_night.jpg"):
        datasets.load_images()


@pytest.mark.parametrize("paint", [paintings.starry_night, paintings.sunset, paintings.glass])
def test_a_painting_is_the_same_for_the_same_seed(paint):
    first, again, other = paint(96, 128), paint(96, 128), paint(96, 128, seed=1)
    assert first.shape == (96, 128, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5


def along(picture, angle):
    """Return how much brightness changes along a direction, for every point."""
    down, right = np.gradient(picture.mean(axis=-1))
    return np.abs(np.cos(angle) * right + np.sin(angle) * down)


def test_strokes_follow_the_flow():
    canvas = paintings._Canvas(96, 128, 0)
    colours = np.random.default_rng(0).integers(0, 256, (canvas.height, canvas.width, 3))
    for angle in (0.0, np.pi / 2, np.pi / 4):
        canvas.strokes(colours, np.full(canvas.x.shape, angle), 6_000, 0.1, 0.02, 5)
        picture = canvas.finished().astype(float)
        assert along(picture, angle).mean() < 0.6 * along(picture, angle + np.pi / 2).mean()


class Log:
    """A run that remembers what was logged."""

    def __init__(self):
        self.lines = []

    def log_image(self, key, picture, caption=None):
        self.lines.append((key, picture.shape, caption))


def made(*values):
    calls = []

    def make():
        calls.append(1)
        for value in values:
            yield np.full((4, 5 + len(calls), 3), value)

    return make, calls


def test_kept_pictures_are_made_once_for_the_same_facts(monkeypatch):
    make, calls = made(10.4, 300, -5)
    log = Log()
    first = results.cached_images("A dream", make, log, weights={"a": 1.0})
    assert [picture[0, 0, 0] for picture in first] == [10, 255, 0]
    assert log.lines == [("A dream", (4, 6, 3), f"step {number}") for number in range(3)]
    again = results.cached_images("A dream", make, log, weights={"a": 1.0})
    assert len(calls) == 1 and len(log.lines) == 3
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    results.cached_images("A dream", make, log, weights={"a": 2.0})
    results.cached_images("Another", make, log, weights={"a": 1.0})
    monkeypatch.setenv("COMPANION_PROFILE", "full")
    results.cached_images("A dream", make, log, weights={"a": 1.0})
    assert len(calls) == 4


def test_pictures_cut_short_are_made_anew_and_those_made_stay_on_disk():
    def dies():
        yield np.zeros((4, 4, 3))
        yield np.ones((4, 4, 3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.cached_images("cut", dies, Log())
    assert len(list(settings.runs_dir().rglob("cut-*/*.png"))) == 2
    make, calls = made(7, 8, 9)
    assert [p[0, 0, 0] for p in results.cached_images("cut", make, Log())] == [7, 8, 9] and len(
        calls
    ) == 1
    for path in settings.runs_dir().rglob("cut-*/001.png"):
        path.write_bytes(path.read_bytes()[:20])
    assert [p[0, 0, 0] for p in results.cached_images("cut", make, Log())] == [7, 8, 9] and len(
        calls
    ) == 2


def test_a_full_disk_costs_a_line_and_no_picture(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    make, calls = made(1, 2)
    assert [p[0, 0, 0] for p in results.cached_images("some", make, Log())] == [1, 2]
    assert (
        capsys.readouterr().out
        == "some is not saved (No space left on device), the notebook goes on.\n"
    )
    results.cached_images("some", make, Log())
    assert len(calls) == 2
