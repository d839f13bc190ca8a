"""Images of every kind, folders of images, and cached images."""

import collections
import errno
import functools
import io
import os
import random
import re
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image

from utils import datasets, downloads, results, settings
from utils.datasets import _image_files
from utils.datasets import images as images_module
from utils.errors import CompanionError

# What an orientation of EXIF asks for, in NumPy.
TURNED = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: image[::-1, ::-1],
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.fixture
def colours():
    """An image whose left half is red and whose right half is white."""
    image = np.full((120, 200, 3), 255, "uint8")
    image[:, :100] = (200, 20, 30)
    return image


@pytest.fixture
def quick_painter(monkeypatch):
    """Drawn paintings take a second each, and most tests here are about files."""

    def paint(max_side):
        return {"glass": np.full((max_side * 4 // 5, max_side, 3), 7, "uint8")}

    monkeypatch.setattr(images_module, "_paint_sample", paint)


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


@pytest.mark.parametrize("orientation", TURNED)
def test_every_orientation_is_turned_upright(tmp_path, colours, orientation):
    colours[:30, 150:] = (10, 90, 40)  # so that no two of the eight are alike
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(colours).save(tmp_path / "some.png", exif=exif)
    loaded = datasets.load_image(tmp_path / "some.png")
    np.testing.assert_array_equal(loaded, TURNED[orientation](colours))


def odd_exif(rng: random.Random, orientation: int) -> bytes:
    """Write EXIF with an orientation and tags whose types, counts and values do not fit."""
    order = rng.choice("<>")
    tags = [(ExifTags.Base.Orientation, 3, 1, struct.pack(order + "HH", orientation, 0))]
    for _ in range(rng.randrange(1, 6)):
        tag = rng.choice([*ExifTags.Base]).value
        count = rng.choice([0, 1, 2, 5, 4096, 2**31])
        tags.append((tag, rng.randrange(14), count, rng.randbytes(4)))
    rng.shuffle(tags)
    body = b"".join(struct.pack(order + "HHI", *tag[:3]) + tag[3] for tag in tags)
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    exif = start + struct.pack(order + "H", len(tags)) + body + rng.randbytes(rng.randrange(40))
    if rng.random() < 0.3:
        damaged = bytearray(exif)
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        exif = bytes(damaged[: rng.randrange(1, len(damaged) + 1)])
    return b"Exif\0\0" + exif


def test_odd_exif_costs_no_image(tmp_path, colours):
    """Whatever EXIF holds, the image is shown, turned or as it is; if it can be, it is turned."""
    colours[:30, 150:] = (10, 90, 40)
    possible = {key: turn(colours).astype(int) for key, turn in TURNED.items()}
    turned = 0
    for seed in range(300):
        rng = random.Random(seed)
        orientation = rng.choice([3, 6, 8])
        path = tmp_path / f"{seed}.jpg"
        Image.fromarray(colours).save(path, exif=odd_exif(rng, orientation), quality=95)
        loaded = datasets.load_image(path).astype(int)
        shown = []
        for key, expected in possible.items():
            if loaded.shape == expected.shape and np.abs(loaded - expected).mean() < 6:
                shown.append(key)
        assert len(shown) == 1, seed
        turned += shown == [orientation]
    assert turned > 150


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F", "YCbCr", "LAB", "HSV")
FORMATS = ("png", "jpeg", "gif", "bmp", "tiff", "webp")


def encoded(rng: random.Random) -> tuple[str, bytes]:
    """Return a small image of a random kind as a file of a random format."""
    while True:
        mode = rng.choice(MODES)
        kind = rng.choice(FORMATS)
        size = (rng.choice([1, 2, 3, 64, 90]), rng.choice([1, 2, 3, 64, 90]))
        pixels = np.random.default_rng(rng.randrange(100)).integers(0, 256, (*size, 3), "uint8")
        image = Image.fromarray(pixels)
        options = {}
        if mode == "I;16":
            image = Image.fromarray(pixels[..., 0].astype("uint16") << 8)
        elif mode != "LAB":
            image = image.convert(mode)
        if mode == "P" and kind in ("png", "gif"):
            options["transparency"] = rng.choice([3, bytes([9, 0, 255])] if kind == "png" else [3])
        if kind in ("gif", "png", "webp", "tiff") and rng.random() < 0.3:
            options |= {"save_all": True, "append_images": [image] * 2}
        file = io.BytesIO()
        try:
            image.save(file, kind, **options)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # this format knows no such images
        return kind, file.getvalue()


def test_files_of_any_kind_whole_or_damaged_are_read_or_named(tmp_path):
    read = damaged_and_named = 0
    for seed in range(400):
        rng = random.Random(seed)
        kind, content = encoded(rng)
        whole = seed % 2 == 0
        if not whole:
            damaged = bytearray(content[: rng.randrange(1, len(content) + 1)])
            for _ in range(rng.randrange(12)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            content = bytes(damaged)
        path = tmp_path / f"{seed}.{kind}"
        path.write_bytes(content)
        try:
            image = datasets.load_image(path, 48)
        except CompanionError as error:
            assert not whole, (seed, error)
            line = str(error)
            assert line.count(path.name) == 1 and "\n" not in line, line
            damaged_and_named += 1
            continue
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert 1 <= max(image.shape[:2]) <= 48
        read += 1
    assert read > 200 and damaged_and_named > 50


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (struct.error("unpack requires a buffer"), "unpack requires a buffer"),
        (IndexError(), "IndexError"),
        (PermissionError(errno.EACCES, "Permission denied", "/home/x/y.png"), "Permission denied"),
        (AttributeError("no attribute\n'tell'"), "no attribute 'tell'"),
        (OverflowError("too large"), "too large"),
    ],
)
def test_whatever_a_decoder_raises_is_one_line(monkeypatch, error, reason):
    def raises(*_):
        raise error

    monkeypatch.setattr(Image, "open", raises)
    with pytest.raises(CompanionError) as caught:
        datasets.load_image(settings.ROOT / "y.png")
    assert str(caught.value) == f"y.png is not an image that can be read ({reason})."


@pytest.mark.parametrize(("mode", "white"), [("I;16", 65535), ("I", 65535), ("F", 1.0), ("F", 255)])
def test_deep_grey_images_keep_their_brightness(tmp_path, mode, white):
    ramp = np.linspace(0, 1, 64)[None].repeat(64, 0)
    kinds = {"I;16": "uint16", "I": "int32", "F": "float32"}
    Image.fromarray((ramp * white).astype(kinds[mode])).save(tmp_path / "deep.tif")
    loaded = datasets.load_image(tmp_path / "deep.tif").astype(int)
    assert np.abs(loaded - np.round(255 * ramp)[..., None]).max() <= 1


def test_images_are_shrunk_but_never_enlarged(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "some.png")
    assert datasets.load_image(tmp_path / "some.png", 100).shape == (60, 100, 3)
    assert datasets.load_image(tmp_path / "some.png", 999).shape == (120, 200, 3)


@pytest.mark.usefixtures("quick_painter")
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


def folder_content(rng: random.Random, folder) -> tuple[set, set]:
    """Fill a folder with images of every kind; return names of the usable and of the others."""
    noise = np.random.default_rng(rng.randrange(100)).integers(0, 256, (70, 90, 3), "uint8")
    images = {
        "large": (True, Image.fromarray(noise)),
        "grey": (True, Image.fromarray(noise[..., 0])),
        "flat": (True, Image.new("RGB", (64, 64), "black")),
        "4to1": (True, Image.new("RGB", (400, 100), "white")),
        "palette": (True, Image.fromarray(noise).convert("P")),
        "pixel": (False, Image.new("RGB", (1, 1))),
        "small": (False, Image.new("RGB", (63, 63))),
        "strip": (False, Image.new("RGB", (20_000, 20))),
        "tall": (False, Image.new("L", (20, 20_000))),
    }
    usable, others = set(), set()
    for number in range(rng.randrange(1, 14)):
        kind = rng.choice([*images, "broken", "empty", "hidden", "macos", "text", "folder"])
        ending = rng.choice([".png", ".PNG", ".tif", ".gif"])
        path = folder / f"{rng.choice('abcäé ')}{number} {kind}{ending}"
        if kind in images:
            good, image = images[kind]
            image.save(path, "tiff" if ending == ".tif" else ending[1:].lower())
            (usable if good else others).add(path.name)
        elif kind in ("broken", "empty"):
            path.write_bytes(rng.randbytes(50) if kind == "broken" else b"")
            others.add(path.name)
        elif kind == "folder":
            path.mkdir()
        else:
            prefix = {"hidden": ".", "macos": "._"}.get(kind, "")
            path.with_name(f"{prefix}{number}{ending if prefix else '.txt'}").write_bytes(b"any")
    return usable, others


@pytest.mark.usefixtures("quick_painter")
def test_folders_of_any_content_give_their_usable_images_and_name_the_others(tmp_path, capsys):
    for seed in range(60):
        folder = tmp_path / str(seed)
        folder.mkdir()
        usable, others = folder_content(random.Random(seed), folder)
        if not usable:
            with pytest.raises(CompanionError, match="no image in"):
                datasets.load_images(folder, 64)
            capsys.readouterr()
            continue
        photographs = datasets.load_images(folder, 64, max_images=4).photographs
        expected = sorted(usable)[:4]
        assert list(photographs) == [name[: name.rindex(".")] for name in expected], seed
        assert all(min(image.shape[:2]) >= 16 for image in photographs.values())
        output = capsys.readouterr().out
        # What comes by name after the last one that is used is not read.
        read = {name for name in others if len(usable) < 4 or name < expected[-1]}
        lines = [line for line in output.splitlines() if line.startswith("Left out: ")]
        assert len(lines) == min(6, len(read)), (seed, output)
        for line in lines[:5]:
            assert sum(name in line for name in read) == 1
            assert ("20000 by 20 pixels" in line) == (" strip." in line)
        left = len(usable) + len(others) - len(expected) - len(read)
        bound = f"{len(expected)} of {len(usable) + len(others)} images in "
        assert (bound in output) == (left > 0), (seed, output)


@pytest.mark.usefixtures("quick_painter")
def test_of_many_large_photographs_a_few_are_decoded_once_and_reduced(
    tmp_path, capsys, monkeypatch
):
    Image.new("RGB", (4000, 3000), (30, 90, 160)).save(tmp_path / "photograph 000.jpg")
    for number in range(1, 300):
        os.link(tmp_path / "photograph 000.jpg", tmp_path / f"photograph {number:03d}.jpg")
    decoded = []
    turn_upright = _image_files._turn_upright

    def remember(file):
        decoded.append(file.size)
        return turn_upright(file)

    monkeypatch.setattr(_image_files, "_turn_upright", remember)
    small = datasets.load_images(tmp_path, 64)
    assert decoded == [(2000, 1500)] * 8
    large = small.resized(512)
    assert len(decoded) == 8, "no file is read again for another size"
    assert list(small.photographs) == [f"photograph {number:03d}" for number in range(8)]
    assert small.photographs["photograph 007"].shape == (48, 64, 3)
    assert large.photographs["photograph 007"].shape == (384, 512, 3)
    line = capsys.readouterr().out
    assert line.startswith("8 of 300 images in ") and line.count("\n") == 1
    assert "the first by name" in line and "max_images" in line
    assert len(datasets.load_images(tmp_path, 64, max_images=2).photographs) == 2


@pytest.mark.usefixtures("quick_painter")
def test_resized_images_are_those_that_loading_at_that_size_gives(tmp_path, colours):
    painting = settings.cache_dir() / "pictures" / "starry_night.jpg"
    painting.parent.mkdir(parents=True)
    Image.fromarray(colours).save(painting)
    Image.fromarray(colours).save(tmp_path / "glass.png")  # as one of the paintings is called
    for folder in (None, tmp_path):
        loaded = datasets.load_images(folder, 128)
        resized = datasets.load_images(folder, 64).resized(128)
        assert resized.fingerprint == loaded.fingerprint
        assert (resized.source, resized.card) == (loaded.source, loaded.card)


@pytest.mark.usefixtures("quick_painter")
def test_a_single_image_may_be_named_instead_of_a_folder(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "mine.png")
    Image.fromarray(colours).save(tmp_path / "other.png")
    assert list(datasets.load_images(tmp_path / "mine.png").photographs) == ["mine"]


@pytest.mark.usefixtures("quick_painter")
def test_many_files_that_cannot_be_used_are_counted(tmp_path, capsys, colours):
    for number in range(40):
        (tmp_path / f"{number:02d}.png").write_bytes(b"broken")
    Image.fromarray(colours).save(tmp_path / "good.png")
    assert list(datasets.load_images(tmp_path).photographs) == ["good"]
    lines = capsys.readouterr().out.splitlines()
    for number, line in enumerate(lines[:5]):
        end = f"/{number:02d}.png is not an image that can be read (of no known format)."
        assert line.startswith("Left out: ") and line.endswith(end)
    assert lines[5:] == ["Left out: 35 more files for such reasons."]


@pytest.mark.usefixtures("quick_painter")
def test_a_name_that_is_no_utf8_can_be_printed(tmp_path, capsys, colours):
    try:
        Image.fromarray(colours).save(tmp_path / "caf\udce9.png", "png")
        (tmp_path / "bad\udce9.png").write_bytes(b"broken")
    except OSError:
        pytest.skip("this file system knows only UTF-8")
    assert list(datasets.load_images(tmp_path).photographs) == ["caf\\udce9"]
    assert "bad\\udce9.png" in capsys.readouterr().out


def test_a_size_at_which_no_image_can_be_used_is_refused(tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(CompanionError, match=r"max_side=1 requested: choose 32 pixels or more"):
            datasets.load_images(folder, 1)
    with pytest.raises(CompanionError, match=r"max_side=95 requested: choose 96 pixels or more"):
        datasets.load_images(None, 95, min_side=48)


@pytest.mark.usefixtures("quick_painter")
def test_images_of_the_readers_own_that_would_be_too_narrow_are_named(tmp_path, capsys, colours):
    Image.fromarray(colours[:60]).save(tmp_path / "narrow.png")
    Image.fromarray(colours).save(tmp_path / "other.png")
    assert len(datasets.load_images(tmp_path, 200, min_side=48).photographs) == 2
    photographs = datasets.load_images(tmp_path, 100, min_side=48).photographs
    assert list(photographs) == ["other"] and photographs["other"].shape == (60, 100, 3)
    line = capsys.readouterr().out
    assert (
        "narrow.png is too small or too narrow, 200 by 60 pixels: its sides need 64 and 48" in line
    )
    assert "2.1:1 at most" in line


@pytest.mark.usefixtures("quick_painter")
def test_images_that_differ_in_their_endings_are_both_loaded(tmp_path, colours):
    names = ["a.jpg", "a.jpg.png", "a.png", "b.png"]
    for number, name in enumerate(names):
        Image.fromarray(colours[:, 30 * number :]).save(tmp_path / name)
    photographs = datasets.load_images(tmp_path, 256).photographs
    assert list(photographs) == names
    assert [image.shape[1] for image in photographs.values()] == [200, 170, 140, 110]


@pytest.mark.usefixtures("quick_painter")
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
    calls = collections.deque()  # its content does not count, unlike a list's

    def make():
        calls.append(1)
        for value in values:
            yield np.full((4, 5 + len(calls), 3), value)

    return make, calls


def test_cached_images_are_computed_once_by_the_same_code_from_the_same_data(capsys):
    make, calls = counted(10.4, 300, -5)
    log = Log()
    first = results.cached_images("A dream", make, log)
    assert capsys.readouterr().out == ""
    assert [image[0, 0, 0] for image in first] == [10, 255, 0]
    assert log.lines == [("A dream", (4, 6, 3), f"step {number}") for number in range(3)]
    again = results.cached_images("A dream", make, log)
    assert len(calls) == 1 and len(log.lines) == 3
    assert re.fullmatch(
        r"A dream: generated before \(\d{4}-\d\d-\d\d at \d\d:\d\d\), loaded from .*\n",
        capsys.readouterr().out,
    )
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    results.cached_images("Another", make, log)
    assert len(calls) == 2


def test_a_changed_function_photograph_or_setting_makes_other_images():
    """As in a notebook: a dream calls a climb, which reads the settings."""
    photograph = np.zeros((4, 4, 3))
    code = (
        "def climb(image):\n    return image + cfg.rate\ndef dream(image):\n    yield climb(image)"
    )
    seen = []

    def dreamt(source, image=photograph, **settings_):
        names = {
            "__name__": "__main__",
            "cfg": SimpleNamespace(**{"rate": 1, "other": 0} | settings_),
        }
        exec(source, names)
        make = functools.partial(names["dream"], image)
        log = Log()
        (image,) = results.cached_images("dream", make, log)
        seen.append(int(image[0, 0, 0]))
        return len(log.lines)  # 1 if it is new

    assert dreamt(code) == 1
    assert dreamt(code) == dreamt(code, other=5) == dreamt(code + "  # a comment") == 0
    assert dreamt(code, rate=2) == 1
    assert dreamt(code.replace("image + cfg", "image + 3 * cfg")) == 1
    assert dreamt(code, photograph + 7) == 1
    assert seen == [1, 1, 1, 1, 2, 3, 8]


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
