"""Film reviews and sentence pairs."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import downloads, settings
from utils.datasets._dataset import Dataset, check_counts, name_hash, real_or_sample
from utils.errors import CompanionError
from utils.synthetic.reviews import REVIEWS_CARD, generate_reviews
from utils.synthetic.sentence_pairs import PAIRS_CARD, generate_pairs, part_of

REVIEW_COUNTS = {"train": 20_000, "validation": 5_000, "test": 25_000}
PAIR_COUNTS = {"train": 80_000, "validation": 10_000, "test": 10_000}
IMDB_FILES = 12_500  # of each class, in the training and in the test folder
MIN_FILE_PAIRS = 500  # of a reader's own file, so that a test part of a tenth is worth scoring


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts and their labels, in the same order.

    An empty cell of a table (None or NaN) becomes "", and a line break a space.

    Attributes:
        texts: n strings.
        labels: (n,), uint8; 1 is positive.

    Raises:
        CompanionError: a text is something else, or there are not as many labels as texts.
    """

    texts: list[str]
    labels: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "texts", _one_line_each(self.texts))
        object.__setattr__(self, "labels", np.asarray(self.labels))
        if len(self.labels) != len(self.texts):
            raise CompanionError(f"{len(self.texts):,} texts, but {len(self.labels):,} labels.")

    def __len__(self):
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sentences and their translations, in the same order.

    An empty cell of a table (None or NaN) becomes "", and a line break a space.

    Attributes:
        english: n sentences.
        spanish: their translations; in the language of the file, if it is a file of the reader's.
        alignments: for each pair the true links, each the position of an English token and of a
            Spanish one (`synthetic.sentence_pairs.tokenize`); None for real data, which have none.

    Raises:
        CompanionError: a sentence is something else, or a translation is missing.
    """

    english: list[str]
    spanish: list[str]
    alignments: list[tuple[tuple[int, int], ...]] | None = None

    def __post_init__(self):
        object.__setattr__(self, "english", _one_line_each(self.english))
        object.__setattr__(self, "spanish", _one_line_each(self.spanish))
        if len(self.english) != len(self.spanish):
            raise CompanionError(
                f"{len(self.english):,} sentences, but {len(self.spanish):,} translations."
            )

    def __len__(self):
        return len(self.english)


def _one_line_each(texts) -> list[str]:
    """Return texts that every vectorizer can take, whose vocabulary can be saved and loaded."""
    lines = []
    for row, text in enumerate(texts):
        if text is None or text != text:  # NaN is what a table has for an empty cell
            text = ""
        if not isinstance(text, str):
            raise CompanionError(f"row {row} is not a text but {text!r}.")
        # A few reviews hold control characters that count as line breaks. Keras saves a vocabulary
        # as one word a line and could not load one that contains them. NumPy drops a NUL at an end.
        line = " ".join(text.replace("\0", " ").splitlines())
        # Half of a surrogate pair is no character; TensorFlow refuses it.
        lines.append(line.encode("utf-8", "replace").decode("utf-8"))
    return lines


def load_reviews(
    train: int | None = None, validation: int | None = None, test: int | None = None
) -> Dataset:
    """Load film reviews: IMDB (Maas et al. 2011) if available, else the built-in sample.

    The session's split: a fixed fifth of IMDB's 25,000 training reviews is the validation part; its
    25,000 test reviews stay apart. Both classes are equally frequent in every part, and the first n
    reviews of a part are the same whatever n is.

    Args:
        train: number of training reviews; all 20,000 if not given.
        validation: number of validation reviews; all 5,000 if not given.
        test: number of test reviews; all 25,000 if not given.

    Returns:
        Data whose parts are `Texts`.

    Raises:
        CompanionError: a count is below 1 or above the size of its part.
        downloads.Unavailable: `COMPANION_DATA=real` and IMDB is not available.
    """
    requested = {"train": train, "validation": validation, "test": test}
    counts = check_counts("reviews", REVIEW_COUNTS, requested)

    def load_real():
        paths = _imdb_paths(downloads.locate("imdb"))
        parts = {part: _read_reviews(paths[part][:count]) for part, count in counts.items()}
        return Dataset("reviews", **parts, source="real", card=downloads.sources()["imdb"].card)

    def load_sample():
        parts = {part: _sample_reviews(part, count) for part, count in counts.items()}
        return Dataset("reviews", **parts, source="sample", card=REVIEWS_CARD)

    return real_or_sample("reviews", load_real, load_sample)


def load_sentence_pairs(
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    source: str | None = None,
    file: str | os.PathLike | None = None,
    language: str | None = None,
) -> Dataset:
    """Load English sentences with translations: spa-eng if available, else the sample; or a file.

    In spa-eng one English sentence has several translations, and some sentences differ only in
    punctuation. A hash of its words decides the part of a sentence, so that none is in two parts;
    the first n pairs of a part are the same whatever n is.

    Args:
        train: number of training pairs; 80,000 if not given.
        validation: number of validation pairs; 10,000 if not given.
        test: number of test pairs; 10,000 if not given.
        source: "auto", "real" or "sample", instead of what `COMPANION_DATA` says; `file` wins.
        file: pairs of your own or from manythings.org/anki, in another language if you like: a line
            for each, an English sentence, a tab and its translation; what follows another tab is
            ignored. About a tenth of the sentences is the validation part, another one the test
            part. A part that holds fewer pairs than requested has all of them, and a line says so.
        language: that of the translations in `file`; its name without `.txt` if not given.

    Returns:
        Data whose parts are `Pairs`.

    Raises:
        CompanionError: a count is below 1 or above the size of its part; `file` cannot be read or
            holds too few pairs.
        downloads.Unavailable: real data are requested and spa-eng is not available.
    """
    requested = {"train": train, "validation": validation, "test": test}
    counts = check_counts("pairs", PAIR_COUNTS, requested)
    if file is not None:
        return _load_pairs_file(Path(file).expanduser(), language, counts)

    def load_real():
        parts = _read_pairs(downloads.locate("spa_eng") / "spa.txt", counts)
        card = downloads.sources()["spa_eng"].card
        return Dataset("sentence pairs", **parts, source="real", card=card, language="Spanish")

    def load_sample():
        parts = {part: _columns(generate_pairs(part, count)) for part, count in counts.items()}
        return Dataset(
            "sentence pairs", **parts, source="sample", card=PAIRS_CARD, language="Spanish"
        )

    return real_or_sample("sentence pairs", load_real, load_sample, source)


def _imdb_paths(folder: Path) -> dict[str, list[Path]]:
    """List IMDB's files by part; the classes alternate, which keeps every prefix balanced."""
    paths = {}
    for split in ("train", "test"):
        for sentiment in ("neg", "pos"):
            class_folder = folder / split / sentiment
            class_paths = list(class_folder.glob("*.txt"))
            if len(class_paths) != IMDB_FILES:
                raise downloads.Unavailable(
                    f"{settings.display_path(class_folder)} holds {len(class_paths):,} of "
                    f"{IMDB_FILES:,} reviews; delete {settings.display_path(folder)} and "
                    "run `make data`."
                )
            class_paths.sort(key=lambda path: name_hash("/".join(path.parts[-3:])))
            paths[split, sentiment] = class_paths
    held_out = REVIEW_COUNTS["validation"] // 2
    train_neg, train_pos = paths["train", "neg"], paths["train", "pos"]
    return {
        "train": _alternate(train_neg[held_out:], train_pos[held_out:]),
        "validation": _alternate(train_neg[:held_out], train_pos[:held_out]),
        "test": _alternate(paths["test", "neg"], paths["test", "pos"]),
    }


def _alternate(negative: list[Path], positive: list[Path]) -> list[Path]:
    return [path for pair in zip(negative, positive, strict=True) for path in pair]


def _read_reviews(paths: list[Path]) -> Texts:
    try:
        texts = [path.read_text(encoding="utf-8") for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise downloads.Unavailable(
            f"a review cannot be read: {error}. Delete the folder aclImdb and run `make data`."
        ) from error
    return Texts(texts, np.array([path.parent.name == "pos" for path in paths], dtype="uint8"))


def _sample_reviews(part: str, count: int) -> Texts:
    texts, labels = generate_reviews(part, count)
    return Texts(texts, np.array(labels, dtype="uint8"))


def _read_pairs(path: Path, counts: dict[str, int]) -> dict[str, Pairs]:
    try:
        pairs, _ = _parse_pairs(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise downloads.Unavailable(
            f"{settings.display_path(path)} cannot be read ({error}): delete its folder and run "
            "`make data`."
        ) from error
    by_part = _split_pairs(pairs)
    for part, count in counts.items():
        if len(by_part[part]) < count:
            raise downloads.Unavailable(
                f"{settings.display_path(path)} holds {len(pairs):,} pairs, too few: delete its "
                "folder and run `make data`; a file of your own is loaded with "
                "load_sentence_pairs(file=...)."
            )
    return {part: _columns(by_part[part][:count]) for part, count in counts.items()}


def _load_pairs_file(path: Path, language: str | None, counts: dict[str, int]) -> Dataset:
    """Load a reader's own file of pairs; sizes follow what it holds."""
    name = settings.display_path(path)
    if path.is_dir() or path.suffix.lower() in (".zip", ".apkg", ".gz"):
        raise CompanionError(f"{name} is a folder or an archive: name the text file in it.")
    try:
        text = path.read_bytes().decode(_encoding_of(path))
    except OSError as error:
        raise CompanionError(f"{name} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise CompanionError(f"{name} is not UTF-8 ({error.reason}): save it as UTF-8.") from error
    pairs, odd_lines = _parse_pairs(text)
    if odd_lines:
        print(
            f"{name}: {len(odd_lines):,} lines without two columns and a tab between them are left "
            f"out, the first of them line {odd_lines[0]:,}."
        )
    by_part = _split_pairs(pairs)
    if len(pairs) < MIN_FILE_PAIRS:
        raise CompanionError(
            f"{name} holds {len(pairs):,} pairs of sentences with a tab between them; at least "
            f"{MIN_FILE_PAIRS} are needed."
        )
    if not all(by_part.values()):
        empty = " and no ".join(part for part, rows in by_part.items() if not rows)
        raise CompanionError(
            f"{name} holds {len(pairs):,} pairs, but too few different sentences: no {empty} pair."
        )
    smaller = []
    for part, count in counts.items():
        if len(by_part[part]) < count:
            smaller.append(f"{len(by_part[part]):,} {part} pairs instead of {count:,}")
    if smaller:
        print(f"{name} holds {len(pairs):,} pairs: {', '.join(smaller)}.")
    language = language or path.stem
    return Dataset(
        "sentence pairs",
        **{part: _columns(by_part[part][:count]) for part, count in counts.items()},
        source=path.name,
        card=f"English sentences and their translations ({language}) in {name}",
        language=language,
    )


def _encoding_of(path: Path) -> str:
    """Return the encoding that a byte-order mark names; UTF-8 without one."""
    with path.open("rb") as file:
        start = file.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _parse_pairs(text: str) -> tuple[list[list[str]], list[int]]:
    """Return the first two columns of each line, and the numbers of lines that have no two."""
    pairs = []
    odd_lines = []
    # Not `splitlines`: a sentence may hold what Python counts as a line break.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        # Later copies of spa-eng have a third column with the attribution.
        pair = [column.strip() for column in line.split("\t")[:2]]
        if len(pair) == 2 and all(pair):
            pairs.append(pair)
        elif line.strip():
            odd_lines.append(number)
    return pairs, odd_lines


def _split_pairs(pairs: list[list[str]]) -> dict[str, list[list[str]]]:
    """Sort pairs into the three parts, each in an order that does not depend on the file's."""
    by_part = {part: [] for part in PAIR_COUNTS}
    for pair in sorted(pairs, key=lambda pair: name_hash("\t".join(pair))):
        by_part[part_of(pair[0])].append(pair)
    return by_part


def _columns(rows) -> Pairs:
    return Pairs(*map(list, zip(*rows, strict=True)))
