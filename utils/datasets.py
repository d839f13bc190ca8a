"""One loader a data set; each returns the same type for real data and for the built-in sample.

Fetching and checking files is the work of `downloads`, writing samples that of `samples`.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import downloads, paintings, samples, sentences, settings

SIZES = {"train": 20_000, "validation": 5_000, "test": 25_000}
PAIRS = {"train": 80_000, "validation": 10_000, "test": 10_000}


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


def wanted() -> str:
    """Which data a reader asks for: `COMPANION_DATA`, "auto" (real, else the sample), "real" or "sample"."""
    return settings.one_of("COMPANION_DATA", ("auto", "real", "sample"), "auto")


def reviews(train: int | None = None, validation: int | None = None, test: int | None = None) -> Reviews:
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
    if wanted() != "sample":
        try:
            folder = downloads.locate("imdb")
            parts = {part: _read(paths) for part, paths in _imdb_files(folder, counts).items()}
            return Reviews(**parts, source="real", card=downloads.sources()["imdb"].card)
        except downloads.Unavailable as reason:
            if wanted() == "real":
                raise
            print(f"Using the built-in sample of reviews: {reason}")
    parts = {part: _sample(part, count) for part, count in counts.items()}
    return Reviews(**parts, source="sample", card=samples.REVIEWS_CARD)


def sentence_pairs(
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
    asked = source or wanted()
    if asked != "sample":
        try:
            parts = _spa_eng(downloads.locate("spa_eng") / "spa.txt", counts)
            return SentencePairs(**parts, source="real", card=downloads.sources()["spa_eng"].card)
        except downloads.Unavailable as reason:
            if asked == "real":
                raise
            print(f"Using the built-in sample of sentence pairs: {reason}")
    parts = {
        part: Pairs(*map(list, zip(*sentences.pairs(part, n), strict=True))) for part, n in counts.items()
    }
    return SentencePairs(**parts, source="sample", card=sentences.PAIRS_CARD)


def pictures(folder: str | Path | None = None, longest: int = 512) -> Pictures:
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
    photographs, paintings_ = _sample_pictures(longest)
    if folder is not None:
        found = {}
        for path in sorted(Path(folder).expanduser().glob("*")):
            if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}:
                try:
                    found[path.stem] = _wide_enough(read_picture(path, longest), path, longest)
                except settings.Stop as reason:
                    print(f"Left out: {reason}")
        if not found:
            raise settings.Stop(f"no picture in {settings.shorten(folder)}: put .jpg or .png files there.")
        return Pictures(found, paintings_, "folder", f"pictures in {settings.shorten(folder)}")
    session = [
        settings.cache_folder() / "pictures" / f"{name}.jpg" for name in ("golden_gate", "starry_night")
    ]
    if wanted() != "sample" and all(path.is_file() for path in session):
        bridge, night = (read_picture(path, longest) for path in session)
        photographs, paintings_ = (
            {"golden gate": bridge} | photographs,
            {"The Starry Night": night} | paintings_,
        )
        return Pictures(photographs, paintings_, "real", "the session's photograph and painting")
    if wanted() == "real":
        raise downloads.Unavailable(
            f"the session's pictures are not there: put {' and '.join(path.name for path in session)} into "
            f"{settings.shorten(session[0].parent)}."
        )
    return Pictures(photographs, paintings_, "sample", paintings.PAINTINGS_CARD)


def _wide_enough(picture: np.ndarray, path: Path, longest: int) -> np.ndarray:
    # The networks halve a picture four times and more: of a sliver nothing would be left.
    height, width = picture.shape[:2]
    if max(height, width) < min(64, longest) or max(height, width) > 4 * min(height, width):
        raise settings.Stop(
            f"{settings.shorten(path)} is too small or too narrow, {width} by {height} pixels: crop it to "
            "4:1 at most, of 64 pixels at least."
        )
    return picture


def read_picture(path: str | Path, longest: int = 512) -> np.ndarray:
    """Read a picture of any kind as colours, upright, transparent parts on white.

    Args:
        path: of the file.
        longest: it is shrunk until neither side is longer.

    Returns:
        (height, width, 3), uint8.

    Raises:
        settings.Stop: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype("uint8"))
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise settings.Stop(
            f"{settings.shorten(path)} is not a picture that can be read ({error})."
        ) from error
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _sample_pictures(longest: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    names = {
        "cat": "chelsea.png",
        "coffee": "coffee.png",
        "astronaut": "astronaut.png",
        "rocket": "rocket.jpg",
    }
    photographs = {
        name: read_picture(folder / file, longest)
        for name, file in names.items()
        if (folder / file).is_file()
    }
    made = {
        "starry sky": paintings.starry_night,
        "sunset in dots": paintings.sunset,
        "glass": paintings.glass,
    }
    return photographs, {name: paint(longest * 4 // 5, longest) for name, paint in made.items()}


def _counts(what: str, sizes: dict[str, int], **asked: int | None) -> dict[str, int]:
    counts = {part: sizes[part] if count is None else count for part, count in asked.items()}
    for part, count in counts.items():
        if not 0 < count <= sizes[part]:
            raise settings.Stop(f"{part}={count:,} {what} asked for: there are 1 to {sizes[part]:,}.")
    return counts


def _spa_eng(path: Path, counts: dict[str, int]) -> dict[str, Pairs]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise downloads.Unavailable(
            f"{settings.shorten(path)} cannot be read ({error}): delete its folder and run `make data`."
        ) from error
    # Later copies of the file have a third column with the attribution.
    pairs = [line.split("\t")[:2] for line in lines if "\t" in line]
    random.Random("spa-eng").shuffle(pairs)
    found = {part: [] for part in counts}
    for pair in pairs:
        found[sentences.part_of(pair[0])].append(pair)
    for part, count in counts.items():
        if len(found[part]) < count:
            raise downloads.Unavailable(
                f"{settings.shorten(path)} holds {len(pairs):,} pairs, too few: delete its folder and run "
                "`make data`."
            )
    return {part: Pairs(*map(list, zip(*found[part][:n], strict=True))) for part, n in counts.items()}


def _imdb_files(folder: Path, counts: dict[str, int]) -> dict[str, list[Path]]:
    found = {}
    for part in ("train", "test"):
        for sentiment in ("neg", "pos"):
            paths = sorted((folder / part / sentiment).glob("*.txt"))
            if len(paths) != 12_500:
                raise downloads.Unavailable(
                    f"{settings.shorten(folder / part / sentiment)} holds {len(paths):,} of 12,500 reviews; "
                    f"delete {settings.shorten(folder)} and run `make data`."
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
    texts, labels = samples.reviews(part, count)
    return Split(texts, np.array(labels, dtype="uint8"))
