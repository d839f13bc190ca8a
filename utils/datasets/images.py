"""Digits, and the photographs and paintings of deep dream and style transfer."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import _archives, downloads, settings
from utils.datasets._dataset import (
    Dataset,
    check_counts,
    content_hash,
    real_or_sample,
    source_label,
)
from utils.errors import CompanionError
from utils.synthetic import paintings
from utils.synthetic.digits import DIGITS_CARD, draw_digits

DIGIT_COUNTS = {"train": 60_000, "test": 10_000}
# Of the images and the labels, in this order: of the training part, then of the test part.
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"
# What NumPy raises on a file that is cut off or of another kind.
UNREADABLE = (*_archives.UNREADABLE, OSError, LookupError, TypeError, AttributeError)
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
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
    """

    photographs: dict[str, np.ndarray]
    paintings: dict[str, np.ndarray]
    source: str
    card: str

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
        return content_hash({"photographs": self.photographs, "paintings": self.paintings})


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


def load_images(folder: str | Path | None = None, max_side: int = 512) -> ImageCollection:
    """Load photographs and paintings, all of which may be shown.

    The photographs are those that scikit-learn and scikit-image ship. The first painting is the
    session's, van Gogh's, if it is in `pictures` of the cache as starry_night.jpg; paintings drawn
    by code follow it.

    Args:
        folder: with images of your own, which then are the photographs; grey, transparent, CMYK and
            rotated ones work, and one that cannot be read is named and left out.
        max_side: images are shrunk until neither side is longer, in pixels.

    Raises:
        CompanionError: `folder` holds no image that can be read.
        downloads.Unavailable: `COMPANION_DATA=real` and the session's painting is not in the cache,
            or cannot be read.
    """
    if folder is not None:
        folder = Path(folder).expanduser()
        photographs = _read_folder(folder, max_side)
        card = f"images in {settings.display_path(folder)}"
        return ImageCollection(photographs, _paint_sample(max_side), "folder", card)

    path = settings.cache_dir() / "pictures" / SESSION_PAINTING
    photographs = _load_shipped_photographs(max_side)
    drawn = _paint_sample(max_side)

    def load_real():
        if not path.is_file():
            raise downloads.Unavailable(
                f"the session's painting is missing: put {SESSION_PAINTING} into "
                f"{settings.display_path(path.parent)}."
            )
        try:
            painting = load_image(path, max_side)
        except CompanionError as reason:
            raise downloads.Unavailable(str(reason)) from reason
        card = "photographs that packages ship, and the session's painting"
        return ImageCollection(photographs, {"The Starry Night": painting} | drawn, "real", card)

    def load_sample():
        return ImageCollection(photographs, drawn, "sample", paintings.PAINTINGS_CARD)

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
    from PIL import Image

    image = open_image(path)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def open_image(path: str | Path, min_side: int | None = None):
    """Return a Pillow image, RGB and upright.

    A JPEG may be decoded at a lower resolution, as long as its shorter side has `min_side` pixels.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            if min_side and min(file.size) > min_side:
                scale = min_side / min(file.size)
                file.draft("RGB", tuple(int(side * scale) + 1 for side in file.size))
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
            if "A" in image.getbands() or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CompanionError(
            f"{settings.display_path(path)} is not an image that can be read ({error})."
        ) from error


def _read_folder(folder: Path, max_side: int) -> dict[str, np.ndarray]:
    """Read the images of a folder, by name; print which are left out, and why."""
    images = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        try:
            image = load_image(path, max_side)
            _check_proportions(image, path, max_side)
            images[path] = image
        except CompanionError as reason:
            print(f"Left out: {reason}")
    if not images:
        raise CompanionError(
            f"no image in {settings.display_path(folder)}: put .jpg or .png files there."
        )
    # Both a.jpg and a.png may be there: with their endings they have different names.
    stems = {path.stem for path in images}
    short = len(stems) == len(images)
    return {path.stem if short else path.name: image for path, image in images.items()}


def _check_proportions(image: np.ndarray, path: Path, max_side: int) -> None:
    # The networks halve an image four times and more: of a thin strip nothing would remain.
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer < min(64, max_side) or longer > 4 * min(height, width):
        raise CompanionError(
            f"{settings.display_path(path)} is too small or too narrow, {width} by {height} "
            "pixels: crop it to 4:1 at most, with 64 pixels at least."
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
            photographs[name] = load_image(path, max_side)
    return photographs


def _paint_sample(max_side: int) -> dict[str, np.ndarray]:
    painters = {
        "starry sky": paintings.starry_night,
        "sunset in dots": paintings.sunset,
        "glass": paintings.glass,
    }
    return {name: paint(max_side * 4 // 5, max_side) for name, paint in painters.items()}
