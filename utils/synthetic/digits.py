"""Digits drawn by code from fonts, many at once, with their labels: the stand-in for MNIST."""

from functools import cache
from pathlib import Path

import numpy as np

from utils.synthetic._chunks import CHUNK, draw_in_chunks

DIGITS_CARD = (
    "Digits drawn by code of this project (utils/drawings.py; Apache-2.0) from fonts that matplotlib ships, "
    "each one bent, turned, sheared, scaled, shifted and thickened by chance. They stand in for MNIST in one "
    "respect: ten classes, each written in many ways. Nothing follows for handwriting."
)
# Digits, in fonts that differ: upright, slanted, with and without serifs, thin and heavy.
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Oblique",
    "DejaVuSans-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "DejaVuSansMono-Oblique",
    "STIXGeneral",
    "STIXGeneralItalic",
    "cmr10",
    "cmss10",
    "cmtt10",
)


def draw_digits(count: int, seed: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Draw digits, white on black. The first n are the same whatever `count` is.

    Args:
        count: how many, 1 or more.
        seed: two calls with the same one draw the same.

    Returns:
        Images (count, 28, 28) and labels (count,), both uint8.
    """
    chunks = list(draw_in_chunks(count, seed, _digits, 8 * CHUNK))
    images, labels = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return images, labels


# Digits


@cache
def _glyphs(side: int = 56) -> np.ndarray:
    """Distances to the edge of each digit in each font, (fonts, 10, side, side), negative inside.

    A digit is 40 units high, as MNIST's are 20 pixels high, and its middle is the picture's.
    """
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont
    from scipy.ndimage import distance_transform_edt

    folder, times = Path(matplotlib.get_data_path()) / "fonts" / "ttf", 4
    distances = np.empty((len(FONTS), 10, side, side), "float32")
    for row, name in enumerate(FONTS):
        trial = ImageFont.truetype(str(folder / f"{name}.ttf"), 200)
        left, top, right, bottom = trial.getbbox("0")
        font = ImageFont.truetype(
            str(folder / f"{name}.ttf"), round(200 * 40 * times / (bottom - top))
        )
        for digit in range(10):
            canvas = Image.new("L", (side * times, side * times))
            left, top, right, bottom = font.getbbox(str(digit))
            middle = (side * times - left - right) / 2, (side * times - top - bottom) / 2
            ImageDraw.Draw(canvas).text(middle, str(digit), fill=255, font=font)
            inside = np.asarray(canvas) > 127
            distance = distance_transform_edt(~inside) - distance_transform_edt(inside)
            distances[row, digit] = distance[times // 2 :: times, times // 2 :: times] / times
    return distances


def _digits(random: np.random.Generator, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = random.integers(0, 10, size)
    fonts = random.integers(0, len(FONTS), size)
    turn, shear = random.normal(0, 0.12, size), random.normal(0.05, 0.2, size)
    wide, high = random.uniform(0.8, 1.25, size), random.uniform(0.88, 1.12, size)
    shift = random.uniform(-1.5, 1.5, (2, size))
    thicker = random.uniform(-0.6, 3.0, size)
    bend, phase = random.uniform(0, 2.0, (2, size)), random.uniform(0, 2 * np.pi, (2, size))
    labels, fonts, turn, shear, wide, high, thicker = (
        values[:count, None, None] for values in (labels, fonts, turn, shear, wide, high, thicker)
    )
    shift, bend, phase = (values[:, :count, None, None] for values in (shift, bend, phase))
    # From each pixel of the picture back to the place of the glyph that it shows.
    y, x = 2 * (np.mgrid[:28, :28][:, None] - 13.5 - shift[::-1])
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    x, y = (x + shear * y) / wide, y / high
    x, y = x + bend[0] * np.sin(y / 9 + phase[0]), y + bend[1] * np.sin(x / 9 + phase[1])
    glyphs = _glyphs()
    side = glyphs.shape[-1]
    x, y = (np.clip(v + (side - 1) / 2, 0, side - 1.001) for v in (x, y))
    left, top = x.astype(int), y.astype(int)
    right, low = x - left, y - top
    distance = sum(
        weight * glyphs[fonts, labels, top + down, left + across]
        for down, across, weight in (
            (0, 0, (1 - low) * (1 - right)),
            (0, 1, (1 - low) * right),
            (1, 0, low * (1 - right)),
            (1, 1, low * right),
        )
    )
    ink = np.clip(0.5 - (distance - thicker) / 2, 0, 1)
    return (255 * ink).round().astype("uint8"), labels[:, 0, 0].astype("uint8")
