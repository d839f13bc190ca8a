"""Film reviews and sentence pairs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import downloads, settings
from utils.datasets._dataset import Dataset, check_counts, name_hash, real_or_sample
from utils.synthetic.reviews import REVIEWS_CARD, generate_reviews
from utils.synthetic.sentence_pairs import PAIRS_CARD, generate_pairs, part_of

REVIEW_COUNTS = {"train": 20_000, "validation": 5_000, "test": 25_000}
PAIR_COUNTS = {"train": 80_000, "validation": 10_000, "test": 10_000}
IMDB_FILES = 12_500  # of each class, in the training and in the test folder


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts and their labels, in the same order.

    Attributes:
        texts: n strings.
        labels: (n,), uint8; 1 is positive.
    """

    texts: list[str]
    labels: np.ndarray

    def __len__(self):
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sentences and their translations, in the same order.

    Attributes:
        english: n sentences.
        spanish: their translations.
        alignments: for each pair the true links, each the position of an English token and of a
            Spanish one (`synthetic.sentence_pairs.tokenize`); None for real data, which have none.
    """

    english: list[str]
    spanish: list[str]
    alignments: list[tuple[tuple[int, int], ...]] | None = None

    def __len__(self):
        return len(self.english)


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
) -> Dataset:
    """Load English sentences with Spanish translations: spa-eng if available, else the sample.

    In spa-eng one English sentence has several translations, and some sentences differ only in
    punctuation. A hash of its words decides the part of a sentence, so that none is in two parts;
    the first n pairs of a part are the same whatever n is.

    Args:
        train: number of training pairs; 80,000 if not given.
        validation: number of validation pairs; 10,000 if not given.
        test: number of test pairs; 10,000 if not given.
        source: "auto", "real" or "sample", instead of what `COMPANION_DATA` says.

    Returns:
        Data whose parts are `Pairs`.

    Raises:
        CompanionError: a count is below 1 or above the size of its part.
        downloads.Unavailable: real data are requested and spa-eng is not available.
    """
    requested = {"train": train, "validation": validation, "test": test}
    counts = check_counts("pairs", PAIR_COUNTS, requested)

    def load_real():
        parts = _read_pairs(downloads.locate("spa_eng") / "spa.txt", counts)
        card = downloads.sources()["spa_eng"].card
        return Dataset("sentence pairs", **parts, source="real", card=card)

    def load_sample():
        parts = {part: _columns(generate_pairs(part, count)) for part, count in counts.items()}
        return Dataset("sentence pairs", **parts, source="sample", card=PAIRS_CARD)

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
        # A few reviews hold control characters that count as line breaks. Keras saves a vocabulary
        # as one word a line and could not load one that contains them.
        texts = [" ".join(path.read_text(encoding="utf-8").splitlines()) for path in paths]
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
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise downloads.Unavailable(
            f"{settings.display_path(path)} cannot be read ({error}): delete its folder and run "
            "`make data`."
        ) from error
    # Later copies of the file have a third column with the attribution.
    pairs = [line.split("\t")[:2] for line in lines if "\t" in line]
    pairs.sort(key=lambda pair: name_hash("\t".join(pair)))
    by_part = {part: [] for part in counts}
    for pair in pairs:
        by_part[part_of(pair[0])].append(pair)
    for part, count in counts.items():
        if len(by_part[part]) < count:
            raise downloads.Unavailable(
                f"{settings.display_path(path)} holds {len(pairs):,} pairs, too few: delete its "
                "folder and run `make data`."
            )
    return {part: _columns(by_part[part][:count]) for part, count in counts.items()}


def _columns(rows) -> Pairs:
    return Pairs(*map(list, zip(*rows, strict=True)))
