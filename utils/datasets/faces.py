"""Faces: CelebA's, drawn ones, or those of a folder."""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import downloads, settings
from utils.datasets._dataset import Dataset, check_counts, name_hash, real_or_sample
from utils.datasets._image_files import image_files, open_image, print_left_out
from utils.errors import CompanionError
from utils.synthetic.faces import FACES_CARD, draw_faces

DRAWN_FACE_COUNTS = {"train": 50_000, "test": 10_000}
CELEBA_CARD = (
    "CelebA, aligned and cropped (Liu, Luo, Wang and Tang, ICCV 2015). Non-commercial research "
    "only, no redistribution; the people in it are celebrities who were not asked. "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
)
# CelebA's aligned images have the eyes at the same position: this square (left, top, right, bottom)
# holds the face.
CELEBA_SIZE = (178, 218)  # width, height
CELEBA_BOX = (15, 45, 163, 193)


@dataclass(frozen=True, eq=False)
class FaceImages:
    """Images of faces, with their attributes if they are drawn.

    Attributes:
        images: (n, size, size, 3), uint8.
        attributes: the true attributes of drawn faces by name, each (n,), float32
            (`synthetic.faces.sample_attributes`); None for photographs, which have none.
    """

    images: np.ndarray
    attributes: dict[str, np.ndarray] | None = None

    def __len__(self):
        return len(self.images)


def load_faces(
    train: int | None = None,
    test: int | None = None,
    size: int = 64,
    folder: str | Path | None = None,
    source: str | None = None,
) -> Dataset:
    """Load faces: CelebA (Liu et al. 2015) if it is in the cache, else faces drawn by code.

    CelebA is expected as `celeba/img_align_celeba/*.jpg` in the cache and never downloaded. The
    photographs are sorted by a hash of their names; the first tenth is the test part, and the first
    n of a part are the same whatever n is. If there are fewer than requested, the part is smaller
    and a line says so.

    Args:
        train: number of training faces; all if not given (50,000 drawn ones).
        test: number of test faces; all if not given (10,000 drawn ones).
        size: height and width in pixels, 16 to 256.
        folder: with images of your own, also in its subfolders; of each the square in the middle is
            used, and one that cannot be read is named and left out.
        source: "auto", "real" or "sample", instead of what `COMPANION_DATA` says; `folder` wins.

    Returns:
        Data whose parts are `FaceImages`; there is no validation part. CelebA's may not be stored.

    Raises:
        CompanionError: an impossible size or count, or `folder` holds fewer than two images.
        downloads.Unavailable: real faces are requested and CelebA is not in the cache.
    """
    if not 16 <= size <= 256:
        raise CompanionError(f"faces of size={size} requested: choose 16 to 256 pixels.")
    requested = {"train": train, "test": test}
    if folder is not None:
        folder = Path(folder).expanduser()
        paths = image_files(folder, subfolders=True)
        parts = _read_face_parts(folder, paths, size, requested)
        name = settings.display_path(folder)
        if parts is None:
            raise CompanionError(
                f"fewer than two images in {name} can be read, one to train on and one to test: "
                "put .jpg or .png files there, or name another folder. A few hundred are needed to "
                "learn from."
            )
        return Dataset("faces", **parts, source="folder", card=f"images in {name}")

    def load_real():
        celeba = settings.cache_dir() / "celeba" / "img_align_celeba"
        parts = _read_face_parts(celeba, list(celeba.glob("*.jpg")), size, requested)
        if parts is None:
            raise downloads.Unavailable(
                f"CelebA is missing: put its images into {settings.display_path(celeba)} "
                "(see data/README.md)."
            )
        return Dataset("faces", **parts, source="real", card=CELEBA_CARD)

    def load_sample():
        available = {}
        for part, count in requested.items():
            available[part] = _available(part, DRAWN_FACE_COUNTS[part], count)
        counts = check_counts("faces", DRAWN_FACE_COUNTS, available)
        parts = {part: FaceImages(*draw_faces(n, size, seed=part)) for part, n in counts.items()}
        return Dataset("faces", **parts, source="sample", card=FACES_CARD)

    # Nearly nobody has CelebA, so its absence is not worth a line; the label names the sample.
    return real_or_sample("faces", load_real, load_sample, source, announce=False)


def _read_face_parts(
    folder: Path, paths: list[Path], size: int, requested: dict[str, int | None]
) -> dict[str, FaceImages] | None:
    """Read faces of both parts, or return None if fewer than two images can be read."""
    for part, count in requested.items():
        if count is not None and count < 1:
            raise CompanionError(f"{part}={count:,} requested: choose 1 face or more.")
    paths = sorted(paths, key=lambda path: name_hash(path.relative_to(folder).as_posix()))
    num_test = math.ceil(len(paths) / 10)
    pools = {"test": paths[:num_test], "train": paths[num_test:]}
    parts = {}
    for part, pool in pools.items():
        count = len(pool) if requested[part] is None else requested[part]
        images = _read_faces(pool, count, size)
        if not images:
            if part == "test" and pool:
                # Among few images, the tenth may hold only images that cannot be read.
                return _read_face_parts(folder, pools["train"], size, requested)
            return None
        _available(part, len(images), count)
        parts[part] = FaceImages(np.stack(images))
    return parts


def _available(part: str, most: int, count: int | None) -> int | None:
    """Return how many of the requested images there are, and say so if there are fewer."""
    if count is None or count <= most:
        return count
    print(f"faces: the {part} part has {most:,} images, not {count:,}.")
    return most


def _read_faces(paths: list[Path], count: int, size: int) -> list[np.ndarray]:
    """Read the first `count` faces, each (size, size, 3); print which are left out, and why."""
    images = []
    left_out = []
    start = 0
    with warnings.catch_warnings(), ThreadPoolExecutor(4) as workers:
        warnings.simplefilter("ignore")  # of Pillow, of odd EXIF and of large images
        # A second pass reads replacements for images that could not be read.
        while len(images) < count and start < len(paths):
            chunk = paths[start : start + count - len(images)]
            start += len(chunk)
            for face in workers.map(lambda path: _read_face(path, size), chunk):
                if isinstance(face, CompanionError):
                    left_out.append(face)
                else:
                    images.append(face)
    print_left_out(left_out)
    return images


def _read_face(path: Path, size: int) -> np.ndarray | CompanionError:
    """Return the square that holds the face, (size, size, 3), uint8, or why it cannot be read."""
    from PIL import Image

    celeba_width, celeba_height = CELEBA_SIZE
    left, _, right, _ = CELEBA_BOX
    try:
        # The crop is read at twice its size or more, so that resizing has pixels to average.
        image = open_image(path, 2 * size * celeba_width // (right - left))
    except CompanionError as reason:
        return reason
    width, height = image.size
    # The proportions of CelebA, up to the rounding of a reduced decoding.
    if (
        path.suffix == ".jpg"
        and abs(width * celeba_height - height * celeba_width) <= 2 * celeba_height
    ):
        box = [edge * width / celeba_width for edge in CELEBA_BOX]
    else:
        side = min(width, height)
        box = [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2]
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=tuple(box)))
