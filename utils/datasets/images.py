"""Digits, and the photographs and paintings of deep dream and style transfer."""

import hashlib
import importlib.util
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from utils import _archives, downloads, settings
from utils.datasets._dataset import (
    Dataset,
    check_counts,
    real_or_sample,
    source_label,
)
from utils.datasets._image_files import image_files, open_image, print_left_out
from utils.errors import CompanionError
from utils.fingerprints import fingerprint
from utils.synthetic import paintings
from utils.synthetic.digits import DIGITS_CARD, draw_digits

DIGIT_COUNTS = {"train": 60_000, "test": 10_000}
# Of the images and the labels, in this order: of the training part, then of the test part.
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"
# What NumPy raises on a file that is cut off or of another kind.
UNREADABLE = (*_archives.UNREADABLE, OSError, LookupError, TypeError, AttributeError)
# Images that have been read stay in memory for `ImageCollection.resized`, larger ones at this size.
KEPT_SIDE = 1920
SESSION_PAINTING = "starry_night.jpg"
# Photographs that packages ship: name to package, file in it, author and licence. All may be shown.
SHIPPED_PHOTOGRAPHS = {
    "tower": (
        "sklearn",
        "datasets/images/china.jpg",
        "Daniel Büchele, CC BY 2.0, https://www.flickr.com/photos/danielbuechele/6061409035/",
    ),
    "cat": ("skimage", "data/chelsea.png", "Stefan van der Walt, CC0"),
    "coffee": ("skimage", "data/coffee.png", "Rachel Michetti, CC0"),
    "astronaut": ("skimage", "data/astronaut.png", "NASA, public domain"),
    "rocket": ("skimage", "data/rocket.jpg", "SpaceX, public domain"),
}
PAINTING_LICENCES = {
    "The Starry Night": "Vincent van Gogh (1889), public domain",
    "starry sky": "this project, Apache-2.0",
    "sunset in dots": "this project, Apache-2.0",
    "glass": "this project, Apache-2.0",
}


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images.

    Attributes:
        images: (n, 28, 28), uint8, white on black.
        labels: (n,), uint8, the digit in each image.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.images)


@dataclass(frozen=True, eq=False)
class ImageCollection:
    """Photographs and paintings by name.

    Attributes:
        photographs: each (height, width, 3), uint8.
        paintings: each (height, width, 3), uint8.
        source: "real" (with the session's painting), "sample" or "folder" (the reader's own).
        card: where they come from.
        originals: "photographs" and "paintings" to those that were read from files, by name, before
            they were shrunk.
    """

    photographs: dict[str, np.ndarray]
    paintings: dict[str, np.ndarray]
    source: str
    card: str
    originals: dict[str, dict[str, np.ndarray]] = field(default_factory=dict, repr=False)

    def resized(self, max_side: int) -> "ImageCollection":
        """Return the same images in another size; no file is read again.

        Args:
            max_side: images are shrunk until neither side is longer, in pixels; never enlarged.
        """
        shrunk = {}
        for kind, originals in self.originals.items():
            shrunk[kind] = {name: _shrink(image, max_side) for name, image in originals.items()}
        shrunk["paintings"] |= _paint_sample(max_side)
        return ImageCollection(
            **shrunk, source=self.source, card=self.card, originals=self.originals
        )

    @property
    def licences(self) -> dict[str, str]:
        """Author and licence of each image by name; images of the reader's folder have none."""
        known = {name: licence for name, (_, _, licence) in SHIPPED_PHOTOGRAPHS.items()}
        known |= PAINTING_LICENCES
        names = [*self.paintings, *(() if self.source == "folder" else self.photographs)]
        return {name: known[name] for name in names}

    @property
    def label(self) -> str:
        """Name the images in a few words, for banners and tables."""
        return source_label("images", self.source, "shipped photographs, The Starry Night")

    @property
    def fingerprint(self) -> str:
        """Hash the names and pixels, on every access, because arrays can be changed in place."""
        return fingerprint({"photographs": self.photographs, "paintings": self.paintings})


def load_digits(train: int | None = None, test: int | None = None) -> Dataset:
    """Load digits: MNIST (LeCun et al. 1998) if available, else digits drawn from fonts.

    The first n digits of a part are the same whatever n is.

    Args:
        train: number of training digits; all 60,000 if not given.
        test: number of test digits; all 10,000 if not given.

    Returns:
        Data whose parts are `Images`; there is no validation part.

    Raises:
        CompanionError: a count is below 1 or above the size of its part.
        downloads.Unavailable: `COMPANION_DATA=real` and MNIST is not available.
    """
    counts = check_counts("digits", DIGIT_COUNTS, {"train": train, "test": test})

    def load_real():
        arrays = _load_mnist()
        parts = {}
        for part, count in counts.items():
            parts[part] = Images(arrays[f"x_{part}"][:count], arrays[f"y_{part}"][:count])
        return Dataset("digits", **parts, source="real", card=downloads.sources()["mnist"].card)

    def load_sample():
        parts = {part: Images(*draw_digits(count, seed=part)) for part, count in counts.items()}
        return Dataset("digits", **parts, source="sample", card=DIGITS_CARD)

    return real_or_sample("digits", load_real, load_sample)


def load_images(
    folder: str | Path | None = None,
    max_side: int = 512,
    *,
    min_side: int = 16,
    max_images: int = 8,
) -> ImageCollection:
    """Load photographs and paintings, all of which may be shown.

    The photographs are those that scikit-learn and scikit-image ship. The first painting is the
    session's, van Gogh's, if it is in `pictures` of the cache as starry_night.jpg; paintings drawn
    by code follow it.

    Args:
        folder: with images of your own, which then are the photographs, or a single image. Grey,
            transparent, CMYK and rotated ones work; one that cannot be read is named and left out.
        max_side: images are shrunk until neither side is longer, in pixels.
        min_side: images of your own whose shorter side then has fewer pixels are left out.
        max_images: how many of your own are read, the first by name.

    Raises:
        CompanionError: `folder` holds no image that can be used, or `max_side` is too small.
        downloads.Unavailable: `COMPANION_DATA=real` and the session's painting is not in the cache,
            or cannot be read.
    """
    if max_side < 2 * min_side:
        raise CompanionError(
            f"images of max_side={max_side} requested: choose {2 * min_side} pixels or more."
        )
    if folder is not None:
        folder = Path(folder).expanduser()
        originals = {
            "photographs": _read_folder(folder, max_side, min_side, max_images),
            "paintings": {},
        }
        card = f"images in {settings.display_path(folder)}"
        return ImageCollection({}, {}, "folder", card, originals).resized(max_side)

    path = settings.cache_dir() / "pictures" / SESSION_PAINTING
    originals = {"photographs": _load_shipped_photographs(max_side), "paintings": {}}

    def load_real():
        if not path.is_file():
            raise downloads.Unavailable(
                f"the session's painting is missing: put {SESSION_PAINTING} into "
                f"{settings.display_path(path.parent)}."
            )
        try:
            painting = _read_original(path, max_side)
        except CompanionError as reason:
            raise downloads.Unavailable(str(reason)) from reason
        card = "photographs that packages ship, and the session's painting"
        with_painting = originals | {"paintings": {"The Starry Night": painting}}
        return ImageCollection({}, {}, "real", card, with_painting).resized(max_side)

    def load_sample():
        card = paintings.PAINTINGS_CARD
        return ImageCollection({}, {}, "sample", card, originals).resized(max_side)

    # Nearly nobody has the painting, so only trouble with it is worth a line.
    return real_or_sample("images", load_real, load_sample, announce=path.is_file())


def load_image(path: str | Path, max_side: int = 512) -> np.ndarray:
    """Read an image of any kind in colour, upright, transparent parts on white.

    Args:
        path: of the file.
        max_side: the image is shrunk until neither side is longer, in pixels.

    Returns:
        (height, width, 3), uint8.

    Raises:
        CompanionError: it cannot be read.
    """
    return _shrink(_read_original(path, max_side), max_side)


def _read_folder(
    folder: Path, max_side: int, min_side: int, max_images: int
) -> dict[str, np.ndarray]:
    """Read images of a folder, by name; print which are left out, and why."""
    paths = image_files(folder)
    images = {}
    left_out = []
    for path in paths:
        if len(images) == max_images:
            break
        try:
            image = _read_original(path, max_side)
            _check_proportions(image, path, max_side, min_side)
            images[path] = image
        except CompanionError as reason:
            left_out.append(reason)
    print_left_out(left_out)
    name = settings.display_path(folder)
    if not images:
        usable = " that can be used" if paths else ""
        raise CompanionError(f"no image in {name}{usable}: put .jpg or .png files there.")
    if len(images) + len(left_out) < len(paths):
        print(
            f"{len(images)} of {len(paths):,} images in {name} are used, the first by name. For "
            "others, put them into a folder of their own, or set max_images of load_images."
        )
    # Both a.jpg and a.png may be there: with their endings they have different names.
    stems = {path.stem for path in images}
    short = len(stems) == len(images)
    named = {path.stem if short else path.name: image for path, image in images.items()}
    return {settings.printable(name): image for name, image in named.items()}


def _read_original(path: str | Path, max_side: int) -> np.ndarray:
    """Read an image, (height, width, 3), uint8, its longer side at most `KEPT_SIDE` or max_side."""
    longest = max(KEPT_SIDE, max_side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, of odd EXIF and of large images
        return _shrink(open_image(path, max_side=longest), longest)


def _shrink(image, max_side: int) -> np.ndarray:
    """Shrink an array (height, width, 3) or a Pillow image until neither side is longer."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _check_proportions(image: np.ndarray, path: Path, max_side: int, min_side: int) -> None:
    # The networks halve an image four times and more: of a thin strip nothing would remain.
    longer = max(image.shape[:2])
    shorter = min(image.shape[:2])
    needed = max(min(64, max_side), min_side)
    ratio = min(4.0, max_side / min_side)
    if longer < needed or shorter < min_side or longer > ratio * shorter:
        with Image.open(path) as file:  # the image may have been shrunk
            width, height = file.size
        raise CompanionError(
            f"{settings.display_path(path)} is too small or too narrow, {width} by {height} "
            f"pixels: its sides need {needed} and {min_side} pixels, and {ratio:.2g}:1 at most."
        )


def _load_mnist() -> dict[str, np.ndarray]:
    """Return MNIST's four arrays from any cached archive of them, downloaded if there is none."""
    path = downloads.sources()["mnist"].file
    arrays = _read_mnist(path) if path.is_file() else None
    if arrays is None:
        path = downloads.locate("mnist")
        arrays = _read_mnist(path)
    if arrays is None:
        raise downloads.Unavailable(
            f"{settings.display_path(path)} does not hold MNIST: delete it and run `make data`."
        )
    return arrays


def _read_mnist(path: Path) -> dict[str, np.ndarray] | None:
    shapes = {
        "x_train": (60_000, 28, 28),
        "y_train": (60_000,),
        "x_test": (10_000, 28, 28),
        "y_test": (10_000,),
    }
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in shapes}
    except UNREADABLE:
        return None
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array))
    if {name: array.shape for name, array in arrays.items()} != shapes:
        return None
    return arrays if digest.hexdigest() == MNIST_SHA256 else None


def _load_shipped_photographs(max_side: int) -> dict[str, np.ndarray]:
    photographs = {}
    for name, (package, file, _) in SHIPPED_PHOTOGRAPHS.items():
        # Found without importing it: scikit-learn takes seconds.
        path = Path(importlib.util.find_spec(package).origin).parent / file
        if path.is_file():
            photographs[name] = _read_original(path, max_side)
    return photographs


def _paint_sample(max_side: int) -> dict[str, np.ndarray]:
    painters = {
        "starry sky": paintings.starry_night,
        "sunset in dots": paintings.sunset,
        "glass": paintings.glass,
    }
    return {name: paint(max_side * 4 // 5, max_side) for name, paint in painters.items()}
