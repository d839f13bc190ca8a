"""One loader a data set; each returns the same type for real data and for the built-in sample.

Fetching and checking files is the work of `downloads`, writing samples that of `samples`.
"""

import hashlib
import random
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import downloads, settings
from utils.errors import CompanionError
from utils.synthetic import paintings
from utils.synthetic.digits import DIGITS_CARD, draw_digits
from utils.synthetic.faces import FACES_CARD, draw_faces
from utils.synthetic.reviews import REVIEWS_CARD, generate_reviews
from utils.synthetic.sentence_pairs import PAIRS_CARD, generate_pairs, part_of

SIZES = {"train": 20_000, "validation": 5_000, "test": 25_000}
PAIRS = {"train": 80_000, "validation": 10_000, "test": 10_000}
DIGITS = {"train": 60_000, "test": 10_000}
DRAWN_FACES = {"train": 50_000, "test": 10_000}
# Of the images and labels in this order: of the training part, then of the test part.
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"
UNREADABLE = (  # what NumPy raises on a file that is cut off, or something else
    OSError,
    LookupError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)
CELEBA_CARD = (
    "CelebA, aligned and cropped (Liu, Luo, Wang and Tang, ICCV 2015). Non-commercial research only; the "
    "people in it are celebrities who were not asked. https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
)
PICTURE_FILES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
# CelebA's aligned pictures have 178x218 pixels and the eyes in the same place: this square holds the face.
CELEBA_SIZE, CELEBA_BOX = (178, 218), (15, 45, 163, 193)


@dataclass(frozen=True, eq=False)
class Split:
    """Texts and their labels, in the same order; label 1 is positive."""

    texts: list[str]
    labels: np.ndarray

    def __len__(self):
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Reviews:
    """Film reviews in three parts, with where they come from.

    `source` is "real" or "sample"; `card` is a paragraph on origin, licence and what the data stand for.
    """

    train: Split
    validation: Split
    test: Split
    source: str
    card: str

    @property
    def label(self) -> str:
        """Name the data in a few words, for banners and tables."""
        return "reviews: IMDB (real data)" if self.source == "real" else "reviews: built-in sample"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sentences and their translations, in the same order.

    `alignments` has for each pair the true links (place in `sentences.tokens` of the English, place in those
    of the Spanish); it is None for real data, whose truth nobody wrote down.
    """

    english: list[str]
    spanish: list[str]
    alignments: list[tuple[tuple[int, int], ...]] | None = None

    def __len__(self):
        return len(self.english)


@dataclass(frozen=True, eq=False)
class SentencePairs:
    """English sentences with Spanish translations, in three parts that share no English sentence.

    `source` is "real" or "sample"; `card` is a paragraph on origin, licence and what the data stand for.
    """

    train: Pairs
    validation: Pairs
    test: Pairs
    source: str
    card: str

    @property
    def label(self) -> str:
        """Name the data in a few words, for banners and tables."""
        return (
            "sentence pairs: spa-eng (real data)"
            if self.source == "real"
            else "sentence pairs: built-in sample"
        )


@dataclass(frozen=True, eq=False)
class Pictures:
    """Photographs and paintings by name, each (height, width, 3) of uint8.

    `source` is "real" (the session's two pictures), "sample" or "folder"; `card` says where they are from.
    """

    photographs: dict[str, np.ndarray]
    paintings: dict[str, np.ndarray]
    source: str
    card: str

    @property
    def label(self) -> str:
        """Name the pictures in a few words, for banners and tables."""
        kinds = {"real": "the session's two", "sample": "built-in sample", "folder": "your folder"}
        return f"pictures: {kinds[self.source]}"


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images (n, 28, 28) of uint8, white on black, and the digit on each, (n,) of uint8."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Digits:
    """Digits in two parts; `source` is "real" or "sample", `card` says where they are from."""

    train: LabelledImages
    test: LabelledImages
    source: str
    card: str

    @property
    def label(self) -> str:
        """Name the data in a few words, for banners and tables."""
        return "digits: MNIST (real data)" if self.source == "real" else "digits: built-in sample"


@dataclass(frozen=True, eq=False)
class FaceImages:
    """Images (n, size, size, 3) of uint8.

    `attributes` has the truth about drawn faces by name, each (n,) of float32, as `drawings.attributes`
    describes; it is None for photographs, about which nobody wrote it down.
    """

    images: np.ndarray
    attributes: dict[str, np.ndarray] | None = None

    def __len__(self):
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces in two parts; `source` is "real" (CelebA), "sample" or "folder", `card` says more."""

    train: FaceImages
    test: FaceImages
    source: str
    card: str

    @property
    def label(self) -> str:
        """Name the data in a few words, for banners and tables."""
        kinds = {"real": "CelebA (real data)", "sample": "built-in sample", "folder": "your folder"}
        return f"faces: {kinds[self.source]}"


def load_reviews(
    train: int | None = None, validation: int | None = None, test: int | None = None
) -> Reviews:
    """Load film reviews: IMDB (Maas et al. 2011) where it can be had, else the built-in sample.

    The session's split: a fixed fifth of IMDB's 25,000 training reviews is the validation set; its
    25,000 test reviews stay apart. Both classes are equally frequent in every part, and the first n
    reviews of a part are the same whatever n is.

    Args:
        train, validation, test: how many reviews of each part; all (20,000, 5,000, 25,000) if not given.

    Raises:
        settings.Stop: more reviews are asked for than there are.
        downloads.Unavailable: `COMPANION_DATA=real` and IMDB cannot be had.
    """
    counts = _counts("reviews", SIZES, train=train, validation=validation, test=test)
    if settings.data_mode() != "sample":
        try:
            folder = downloads.locate("imdb")
            parts = {part: _read(paths) for part, paths in _imdb_files(folder, counts).items()}
            return Reviews(**parts, source="real", card=downloads.sources()["imdb"].card)
        except downloads.Unavailable as reason:
            if settings.data_mode() == "real":
                raise
            print(f"Using the built-in sample of reviews: {reason}")
    parts = {part: _sample(part, count) for part, count in counts.items()}
    return Reviews(**parts, source="sample", card=REVIEWS_CARD)


def load_sentence_pairs(
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    source: str | None = None,
) -> SentencePairs:
    """Load English sentences with Spanish translations: spa-eng where it can be had, else the sample.

    One English sentence has several translations in spa-eng, and some differ in punctuation alone. A hash of
    its words decides the part of a sentence, so that none stands in two; the first n pairs of a part are the
    same whatever n is.

    Args:
        train, validation, test: how many pairs of each part; all (80,000, 10,000, 10,000) if not given.
        source: "auto", "real" or "sample", instead of what `COMPANION_DATA` asks for.

    Raises:
        settings.Stop: more pairs are asked for than there are.
        downloads.Unavailable: `COMPANION_DATA=real` and spa-eng cannot be had.
    """
    counts = _counts("pairs", PAIRS, train=train, validation=validation, test=test)
    asked = source or settings.data_mode()
    if asked != "sample":
        try:
            parts = _spa_eng(downloads.locate("spa_eng") / "spa.txt", counts)
            return SentencePairs(**parts, source="real", card=downloads.sources()["spa_eng"].card)
        except downloads.Unavailable as reason:
            if asked == "real":
                raise
            print(f"Using the built-in sample of sentence pairs: {reason}")
    parts = {
        part: Pairs(*map(list, zip(*generate_pairs(part, n), strict=True)))
        for part, n in counts.items()
    }
    return SentencePairs(**parts, source="sample", card=PAIRS_CARD)


def load_digits(train: int | None = None, test: int | None = None) -> Digits:
    """Load digits: MNIST (LeCun et al. 1998) where it can be had, else digits drawn from fonts.

    The first n digits of a part are the same whatever n is.

    Args:
        train, test: how many digits of each part; all (60,000, 10,000) if not given.

    Raises:
        settings.Stop: more digits are asked for than there are.
        downloads.Unavailable: `COMPANION_DATA=real` and MNIST cannot be had.
    """
    counts = _counts("digits", DIGITS, train=train, test=test)
    if settings.data_mode() != "sample":
        try:
            found = _mnist()
            parts = {
                part: LabelledImages(found[f"x_{part}"][:n], found[f"y_{part}"][:n])
                for part, n in counts.items()
            }
            return Digits(**parts, source="real", card=downloads.sources()["mnist"].card)
        except downloads.Unavailable as reason:
            if settings.data_mode() == "real":
                raise
            print(f"Using the built-in sample of digits: {reason}")
    parts = {part: LabelledImages(*draw_digits(n, seed=part)) for part, n in counts.items()}
    return Digits(**parts, source="sample", card=DIGITS_CARD)


def load_faces(
    train: int | None = None,
    test: int | None = None,
    size: int = 64,
    folder: str | Path | None = None,
    source: str | None = None,
) -> Faces:
    """Load faces: CelebA (Liu et al. 2015) where it is in the cache, else faces drawn by code.

    CelebA is looked for as `celeba/img_align_celeba/*.jpg` in the cache, and never fetched. Photographs are
    shuffled once and for all, a tenth of them is the test part, and the first n of a part are the same
    whatever n is. Where there are fewer than asked for, both parts get smaller and a line says so.

    Args:
        train, test: how many faces of each part; all if not given (50,000 and 10,000 drawn ones).
        size: height and width in pixels, 16 to 256.
        folder: of your own pictures, looked for in its folders too; the square in the middle of each is
            taken, and one that cannot be read is named and left out.
        source: "auto", "real" or "sample", instead of what `COMPANION_DATA` asks for; `folder` wins.

    Raises:
        settings.Stop: an impossible size or number, or `folder` holds fewer than two pictures.
        downloads.Unavailable: real faces are asked for and CelebA is not there.
    """
    if not 16 <= size <= 256:
        raise CompanionError(f"faces of size={size} asked for: give 16 to 256 pixels.")
    if folder is not None:
        paths = [
            p for p in Path(folder).expanduser().rglob("*") if p.suffix.lower() in PICTURE_FILES
        ]
        parts = _photographed(paths, size, train=train, test=test)
        if parts is None:
            raise CompanionError(
                f"fewer than two pictures in {settings.display_path(folder)} can be read."
            )
        return Faces(**parts, source="folder", card=f"pictures in {settings.display_path(folder)}")
    asked = source or settings.data_mode()
    place = settings.cache_dir() / "celeba" / "img_align_celeba"
    if asked != "sample":
        parts = _photographed(list(place.glob("*.jpg")), size, train=train, test=test)
        if parts is not None:
            return Faces(**parts, source="real", card=CELEBA_CARD)
        if asked == "real":
            raise downloads.Unavailable(
                f"CelebA is not there: put its pictures into {settings.display_path(place)} (see data/README.md)."
            )
    counts = _counts("faces", DRAWN_FACES, train=train, test=test)
    parts = {part: FaceImages(*draw_faces(n, size, seed=part)) for part, n in counts.items()}
    return Faces(**parts, source="sample", card=FACES_CARD)


def load_images(folder: str | Path | None = None, max_side: int = 512) -> Pictures:
    """Load photographs and paintings: the session's where they are in the cache, else the built-in sample.

    The session's two are looked for in `pictures` of the cache, as golden_gate.jpg and starry_night.jpg; the
    sample's come along in either case. The sample has photographs that scikit-image ships, and paintings
    drawn by code.

    Args:
        folder: of your own pictures, which then are the photographs; grey, transparent, CMYK and turned ones
            work, and one that cannot be read is named and left out.
        longest: pictures are shrunk until neither side is longer.

    Raises:
        settings.Stop: `folder` holds no picture that can be read.
        downloads.Unavailable: `COMPANION_DATA=real` and the session's pictures are not there.
    """
    if folder is not None:
        found = {}
        for path in sorted(Path(folder).expanduser().glob("*")):
            if path.suffix.lower() in PICTURE_FILES:
                try:
                    found[path.stem] = _wide_enough(load_image(path, max_side), path, max_side)
                except CompanionError as reason:
                    print(f"Left out: {reason}")
        if not found:
            raise CompanionError(
                f"no picture in {settings.display_path(folder)}: put .jpg or .png files there."
            )
        return Pictures(
            found, _painted(max_side), "folder", f"pictures in {settings.display_path(folder)}"
        )
    session = [
        settings.cache_dir() / "pictures" / f"{name}.jpg"
        for name in ("golden_gate", "starry_night")
    ]
    there = all(path.is_file() for path in session)
    if settings.data_mode() == "real" and not there:
        raise downloads.Unavailable(
            f"the session's pictures are not there: put {' and '.join(path.name for path in session)} into "
            f"{settings.display_path(session[0].parent)}."
        )
    photographs, painted = _photographs(max_side), _painted(max_side)
    if settings.data_mode() == "sample" or not there:
        return Pictures(photographs, painted, "sample", paintings.PAINTINGS_CARD)
    bridge, night = (load_image(path, max_side) for path in session)
    photographs, painted = (
        {"golden gate": bridge} | photographs,
        {"The Starry Night": night} | painted,
    )
    return Pictures(photographs, painted, "real", "the session's photograph and painting")


def _wide_enough(picture: np.ndarray, path: Path, longest: int) -> np.ndarray:
    # The networks halve a picture four times and more: of a sliver nothing would be left.
    height, width = picture.shape[:2]
    if max(height, width) < min(64, longest) or max(height, width) > 4 * min(height, width):
        raise CompanionError(
            f"{settings.display_path(path)} is too small or too narrow, {width} by {height} pixels: crop it to "
            "4:1 at most, of 64 pixels at least."
        )
    return picture


def load_image(path: str | Path, max_side: int = 512) -> np.ndarray:
    """Read a picture of any kind as colours, upright, transparent parts on white.

    Args:
        path: of the file.
        longest: it is shrunk until neither side is longer.

    Returns:
        (height, width, 3), uint8.

    Raises:
        settings.Stop: it cannot be read.
    """
    from PIL import Image

    picture = _opened(path)
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _opened(path: str | Path, shortest: int | None = None):
    """Return a picture as colours, upright; JPEG may leave out detail beyond `shortest` pixels a side."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            if shortest and min(file.size) > shortest:
                scale = shortest / min(file.size)
                file.draft("RGB", tuple(int(side * scale) + 1 for side in file.size))
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype("uint8"))
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CompanionError(
            f"{settings.display_path(path)} is not a picture that can be read ({error})."
        ) from error


def _face(path: Path, size: int) -> np.ndarray | CompanionError:
    """Read the square that holds the face, (size, size, 3) of uint8, or say why it cannot be read."""
    from PIL import Image

    try:
        # Twice as large as it will be: what shrinks it then has enough to average.
        picture = _opened(path, 2 * size * CELEBA_SIZE[0] // (CELEBA_BOX[2] - CELEBA_BOX[0]))
    except CompanionError as reason:
        return reason
    width, height = picture.size
    shaped = abs(width * CELEBA_SIZE[1] - height * CELEBA_SIZE[0]) <= 2 * max(CELEBA_SIZE)
    if shaped and path.suffix == ".jpg":
        box = [value * width / CELEBA_SIZE[0] for value in CELEBA_BOX]
    else:
        side = min(width, height)
        box = [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2]
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=tuple(box)))


def _photographed(
    paths: list[Path], size: int, **asked: int | None
) -> dict[str, FaceImages] | None:
    """Read faces of both parts from files, or return None where too few can be read."""
    paths = sorted(paths)
    random.Random("faces").shuffle(paths)
    held_out = -(-len(paths) // 10)
    pools = {"train": paths[held_out:], "test": paths[:held_out]}
    parts = {}
    for part, count in asked.items():
        pool = pools[part]
        if count is not None and count < 1:
            raise CompanionError(f"{part}={count:,} faces asked for: give 1 or more.")
        count = len(pool) if count is None else count
        found, place = [], 0
        with ThreadPoolExecutor(4) as workers:
            while len(found) < count and place < len(pool):
                chunk = pool[place : place + count - len(found)]
                place += len(chunk)
                for face in workers.map(lambda path: _face(path, size), chunk):
                    if isinstance(face, CompanionError):
                        print(f"Left out: {face}")
                    else:
                        found.append(face)
        if not found:
            return None
        if len(found) < count:
            print(f"faces: {len(found):,} {part} pictures are there, not {count:,}.")
        parts[part] = FaceImages(np.stack(found))
    return parts


def _mnist() -> dict[str, np.ndarray]:
    """Return MNIST's four arrays from whatever packing of them lies in the cache, fetched if none does."""
    path = downloads.sources()["mnist"].file
    found = _mnist_arrays(path) if path.is_file() else None
    if found is None:
        path = downloads.locate("mnist")
        found = _mnist_arrays(path)
    if found is None:
        raise downloads.Unavailable(
            f"{settings.display_path(path)} does not hold MNIST: delete it, run `make data`."
        )
    return found


def _mnist_arrays(path: Path) -> dict[str, np.ndarray] | None:
    names, digest = ("x_train", "y_train", "x_test", "y_test"), hashlib.sha256()
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
    except UNREADABLE:
        return None
    for name in names:
        digest.update(np.ascontiguousarray(arrays[name]))
    shapes = [arrays[name].shape for name in names]
    right = shapes == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]
    return arrays if right and digest.hexdigest() == MNIST_SHA256 else None


def _photographs(longest: int) -> dict[str, np.ndarray]:
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    names = {
        "cat": "chelsea.png",
        "coffee": "coffee.png",
        "astronaut": "astronaut.png",
        "rocket": "rocket.jpg",
    }
    return {
        name: load_image(folder / file, longest)
        for name, file in names.items()
        if (folder / file).is_file()
    }


def _painted(longest: int) -> dict[str, np.ndarray]:
    made = {
        "starry sky": paintings.starry_night,
        "sunset in dots": paintings.sunset,
        "glass": paintings.glass,
    }
    return {name: paint(longest * 4 // 5, longest) for name, paint in made.items()}


def _counts(what: str, sizes: dict[str, int], **asked: int | None) -> dict[str, int]:
    counts = {part: sizes[part] if count is None else count for part, count in asked.items()}
    for part, count in counts.items():
        if not 0 < count <= sizes[part]:
            raise CompanionError(
                f"{part}={count:,} {what} asked for: there are 1 to {sizes[part]:,}."
            )
    return counts


def _spa_eng(path: Path, counts: dict[str, int]) -> dict[str, Pairs]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise downloads.Unavailable(
            f"{settings.display_path(path)} cannot be read ({error}): delete its folder and run `make data`."
        ) from error
    # Later copies of the file have a third column with the attribution.
    pairs = [line.split("\t")[:2] for line in lines if "\t" in line]
    random.Random("spa-eng").shuffle(pairs)
    found = {part: [] for part in counts}
    for pair in pairs:
        found[part_of(pair[0])].append(pair)
    for part, count in counts.items():
        if len(found[part]) < count:
            raise downloads.Unavailable(
                f"{settings.display_path(path)} holds {len(pairs):,} pairs, too few: delete its folder and run "
                "`make data`."
            )
    return {
        part: Pairs(*map(list, zip(*found[part][:n], strict=True))) for part, n in counts.items()
    }


def _imdb_files(folder: Path, counts: dict[str, int]) -> dict[str, list[Path]]:
    found = {}
    for part in ("train", "test"):
        for sentiment in ("neg", "pos"):
            paths = sorted((folder / part / sentiment).glob("*.txt"))
            if len(paths) != 12_500:
                raise downloads.Unavailable(
                    f"{settings.display_path(folder / part / sentiment)} holds {len(paths):,} of 12,500 reviews; "
                    f"delete {settings.display_path(folder)} and run `make data`."
                )
            # Sorted first: folders list their files in a different order on every machine.
            random.Random(f"{part} {sentiment}").shuffle(paths)
            found[part, sentiment] = paths
    held_out = SIZES["validation"] // 2
    pools = {
        "train": [found["train", s][held_out:] for s in ("neg", "pos")],
        "validation": [found["train", s][:held_out] for s in ("neg", "pos")],
        "test": [found["test", s] for s in ("neg", "pos")],
    }
    # Taking turns between the classes keeps every prefix balanced.
    return {
        part: [path for pair in zip(*pools[part], strict=True) for path in pair][:count]
        for part, count in counts.items()
    }


def _read(paths: list[Path]) -> Split:
    try:
        # A few reviews hold control characters that count as line breaks. Keras saves a vocabulary one word a
        # line and could not load one that contains them.
        texts = [" ".join(path.read_text(encoding="utf-8").splitlines()) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise downloads.Unavailable(
            f"a review cannot be read: {error}. Delete its data set's folder and run `make data`."
        ) from error
    return Split(texts, np.array([path.parent.name == "pos" for path in paths], dtype="uint8"))


def _sample(part: str, count: int) -> Split:
    texts, labels = generate_reviews(part, count)
    return Split(texts, np.array(labels, dtype="uint8"))
