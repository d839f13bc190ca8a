"""Image files of every kind: listed, decoded in colour and upright, or named and left out."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from utils import settings
from utils.errors import CompanionError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
# What a camera writes into EXIF, and how such an image is turned upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Of the files that are left out so many are named, and the others are counted.
MAX_NAMED = 5


def image_files(folder: Path, subfolders: bool = False) -> list[Path]:
    """List the images of a folder by name, without hidden files, which macOS and cameras leave.

    Args:
        folder: which may also be a single image.
        subfolders: whether those in subfolders count.
    """
    if folder.is_file():
        return [folder]
    paths = []
    for path in sorted(folder.rglob("*") if subfolders else folder.glob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        with suppress(OSError):  # a folder that may not be entered
            if path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file():
                paths.append(path)
    return paths


def print_left_out(reasons: list[CompanionError]) -> None:
    """Print a line for each of the first files that are left out, and one for all others."""
    for reason in reasons[:MAX_NAMED]:
        print(f"Left out: {reason}")
    if len(reasons) > MAX_NAMED:
        print(f"Left out: {len(reasons) - MAX_NAMED:,} more files for such reasons.")


def open_image(path: str | Path, min_side: int = 0, max_side: int = 0):
    """Return a Pillow image, RGB and upright.

    Args:
        path: of the file.
        min_side: if not 0, a JPEG may be decoded at a lower resolution, as long as its shorter side
            has so many pixels.
        max_side: the same for its longer side; `min_side` is then 0.

    Raises:
        CompanionError: it cannot be read.
    """
    try:
        with Image.open(path) as file:
            scale = max(min_side / min(file.size), max_side / max(file.size))
            if 0 < scale < 1:
                file.draft("RGB", tuple(int(side * scale) + 1 for side in file.size))
            image = _turn_upright(file)
            if image.mode[0] in "IF":
                image = _reduce_to_8_bits(image)
            if "A" in image.getbands() or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise CompanionError(
            f"{settings.display_path(path)} is not an image that can be read ({_reason(error)})."
        ) from error


def _reason(error: Exception) -> str:
    """Say in one line, without the path of the file, why an image cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        return "of no known format"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.split())


def _turn_upright(image):
    """Turn an image as its EXIF says; one whose EXIF cannot be read stays as it is.

    `ImageOps.exif_transpose` also writes the EXIF anew, which fails on much that can be read.
    """
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # EXIF may hold anything, and raises nearly anything
        turn = None
    return image.copy() if turn is None else image.transpose(turn)


def _reduce_to_8_bits(image):
    """Return a grey image of 16 or 32 bits or of floats, from black at 0, with 8 bits."""
    values = np.nan_to_num(np.asarray(image).astype("float64"))
    white = 255.0
    if image.mode.startswith("I;16"):
        white = 65535.0
    elif values.max() > 255:
        white = max(65535.0, values.max())
    elif image.mode == "F" and values.max() <= 1:
        white = 1.0
    return Image.fromarray((values * (255 / white)).clip(0, 255).astype("uint8"))
