"""Images of every kind, folders of images, and cached images."""

import errno

import numpy as np
import pytest
from PIL import Image

from utils import datasets, downloads, results, settings
from utils.errors import CompanionError


@pytest.fixture
def colours():
    """An image whose left half is red and whose right half is white."""
    image = np.full((120, 200, 3), 255, "uint8")
    image[:, :100] = (200, 20, 30)
    return image


@pytest.mark.parametrize("kind", ["RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_images_of_every_kind_become_rgb(tmp_path, colours, kind):
    path = tmp_path / f"some.{'tif' if kind == 'CMYK' else 'png'}"
    grey = Image.fromarray(colours).convert("L")
    if kind == "I;16":
        image = Image.fromarray(np.asarray(grey).astype("uint16") * 257)
    elif kind == "P":
        image = Image.fromarray(colours).convert(kind, palette=Image.Palette.ADAPTIVE)
    else:
        image = Image.fromarray(colours).convert(kind)
    image.save(path)
    loaded = datasets.load_image(path).astype(int)
    assert loaded.shape == (120, 200, 3)
    expected = colours if kind in {"RGB", "RGBA", "P", "CMYK"} else np.asarray(grey)[..., None]
    if kind == "1":
        assert loaded[:, 150:].min() == 255 and loaded[:, :50].mean() < 150
    else:
        assert np.abs(loaded - expected).max() <= (12 if kind == "CMYK" else 1)


def test_transparent_is_white_and_a_rotated_photograph_is_upright(tmp_path, colours):
    opaque = np.dstack([colours, np.full(colours.shape[:2], 255, "uint8")])
    opaque[:60, :, 3] = 0
    Image.fromarray(opaque).save(tmp_path / "alpha.png")
    loaded = datasets.load_image(tmp_path / "alpha.png")
    assert (loaded[:60] == 255).all() and (loaded[60:] == colours[60:]).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was rotated by 90 degrees
    Image.fromarray(colours).save(tmp_path / "rotated.jpg", exif=exif, quality=95)
    rotated = datasets.load_image(tmp_path / "rotated.jpg").astype(int)
    assert rotated.shape == (200, 120, 3)
    assert np.abs(rotated[20, 60] - (200, 20, 30)).max() < 12 and rotated[180, 60].min() > 245


def test_images_are_shrunk_but_never_enlarged(tmp_path, colours):
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
    Image.fromarray(colours[:5]).save(folder / "strip.png")
    (folder / "notes.txt").write_text("not an image")
    images = datasets.load_images(folder, 128)
    assert list(images.photographs) == ["holiday"] and images.source == "folder"
    assert images.label == "images: your folder"
    assert max(images.photographs["holiday"].shape) == 128
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("broken", "cut", "strip"), strict=True):
        assert line.startswith("Left out: ") and name in line


def test_images_that_differ_in_their_endings_are_both_loaded(tmp_path, colours):
    names = ["a.jpg", "a.jpg.png", "a.png", "b.png"]
    for number, name in enumerate(names):
        Image.fromarray(colours[:, 30 * number :]).save(tmp_path / name)
    photographs = datasets.load_images(tmp_path, 256).photographs
    assert list(photographs) == names
    assert [image.shape[1] for image in photographs.values()] == [200, 170, 140, 110]


def test_an_empty_or_missing_folder_gets_a_clear_line(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CompanionError, match="no image in"):
            datasets.load_images(folder)


def test_the_sessions_painting_comes_first_if_available(monkeypatch, colours):
    folder = settings.cache_dir() / "pictures"
    folder.mkdir(parents=True)
    Image.fromarray(colours).save(folder / "starry_night.jpg", quality=95)
    images = datasets.load_images(max_side=128)
    assert images.source == "real" and next(iter(images.photographs)) == "tower"
    assert next(iter(images.paintings)) == "The Starry Night" and "glass" in images.paintings
    painting = images.paintings["The Starry Night"].astype(int)
    assert np.abs(painting[40, 20] - (200, 20, 30)).max() < 12 and painting[40, 100].min() > 245
    assert images.label == "images: shipped photographs, The Starry Night"
    monkeypatch.setenv("COMPANION_DATA", "sample")
    sample = datasets.load_images(max_side=128)
    assert sample.source == "sample" and sample.label == "images: built-in sample"
    # The fingerprint follows pixels and names; both are the same in another call.
    assert sample.fingerprint == datasets.load_images(max_side=128).fingerprint
    assert len({sample.fingerprint, images.fingerprint}) == 2
    before = sample.fingerprint
    sample.photographs["cat"] = 255 - sample.photographs["cat"]
    assert sample.fingerprint != before


def test_the_sample_replaces_them_unless_real_is_requested(monkeypatch):
    images = datasets.load_images(max_side=96)
    assert images.source == "sample"
    assert list(images.photographs) == ["tower", "cat", "coffee", "astronaut", "rocket"]
    assert all(max(image.shape) == 96 for image in (images.photographs | images.paintings).values())
    monkeypatch.setenv("COMPANION_DATA", "real")
    with pytest.raises(downloads.Unavailable, match=r"put starry_night.jpg into"):
        datasets.load_images()


def test_a_damaged_painting_gives_the_sample_and_one_line(monkeypatch, capsys, colours):
    path = settings.cache_dir() / "pictures" / "starry_night.jpg"
    path.parent.mkdir(parents=True)
    Image.fromarray(colours).save(path)
    path.write_bytes(path.read_bytes()[:200])
    assert datasets.load_images(max_side=96).source == "sample"
    output = capsys.readouterr().out
    assert output.count("\n") == 1 and "starry_night.jpg is not an image that can be read" in output
    assert output.startswith("Using the built-in sample of images: ")
    monkeypatch.setenv("COMPANION_DATA", "real")
    with pytest.raises(downloads.Unavailable, match=r"starry_night.jpg is not an image"):
        datasets.load_images(max_side=96)


class Log:
    """A run that remembers what was logged."""

    def __init__(self):
        self.lines = []

    def log_image(self, key, image, caption=None):
        self.lines.append((key, image.shape, caption))


def counted(*values):
    calls = []

    def make():
        calls.append(1)
        for value in values:
            yield np.full((4, 5 + len(calls), 3), value)

    return make, calls


def test_cached_images_are_computed_once_for_the_same_facts(monkeypatch):
    make, calls = counted(10.4, 300, -5)
    log = Log()
    first = results.cached_images("A dream", make, log, weights={"a": 1.0})
    assert [image[0, 0, 0] for image in first] == [10, 255, 0]
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


def test_interrupted_images_are_computed_again_and_finished_ones_stay_on_disk():
    def dies():
        yield np.zeros((4, 4, 3))
        yield np.ones((4, 4, 3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.cached_images("cut", dies, Log())
    assert len(list(settings.runs_dir().rglob("cut-*/*.png"))) == 2
    make, calls = counted(7, 8, 9)
    assert [p[0, 0, 0] for p in results.cached_images("cut", make, Log())] == [7, 8, 9] and len(
        calls
    ) == 1
    for path in settings.runs_dir().rglob("cut-*/001.png"):
        path.write_bytes(path.read_bytes()[:20])
    assert [p[0, 0, 0] for p in results.cached_images("cut", make, Log())] == [7, 8, 9] and len(
        calls
    ) == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("cannot write"), "cannot write"),
    ],
)
def test_a_full_disk_costs_a_line_and_no_image(monkeypatch, capsys, error, reason):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(Image.Image, "save", full)
    make, calls = counted(1, 2)
    assert [p[0, 0, 0] for p in results.cached_images("some", make, Log())] == [1, 2]
    assert capsys.readouterr().out == f"some is not saved ({reason}); the notebook goes on.\n"
    results.cached_images("some", make, Log())
    assert len(calls) == 2
