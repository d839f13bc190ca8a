"""Digits rendered from fonts, with their labels: the built-in stand-in for MNIST."""

from functools import cache
from pathlib import Path

import numpy as np

from utils.synthetic._chunks import CHUNK_SIZE, draw_in_chunks

DIGITS_CARD = (
    "Digits rendered by code of this project (utils/synthetic/digits.py; Apache-2.0) from fonts "
    "that matplotlib ships, each one randomly bent, rotated, sheared, scaled, shifted and "
    "thickened. They stand in for MNIST in one respect: ten classes, each drawn in many ways. "
    "Nothing follows for handwriting."
)
# Fonts that differ: upright, slanted, with and without serifs, thin and heavy.
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
SIDE = 28  # height and width of an image, in pixels
GLYPH_SIDE = 56  # height and width of a glyph's grid: two points per pixel of the image
GLYPH_HEIGHT = 40  # of a zero: 20 pixels of 28, as in MNIST
OVERSAMPLING = 4  # glyphs are rendered this much larger, to measure distances more finely


def draw_digits(count: int, seed: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Draw digits, white on black. The first n are the same whatever `count` is.

    Args:
        count: number of digits, at least 1.
        seed: the same seed gives the same digits.

    Returns:
        Images (count, 28, 28) and labels (count,), both uint8.

    Raises:
        ValueError: `count` is less than 1.
    """
    images = []
    labels = []
    for chunk_images, chunk_labels in draw_in_chunks(count, seed, _draw_chunk, 8 * CHUNK_SIZE):
        images.append(chunk_images)
        labels.append(chunk_labels)
    return np.concatenate(images), np.concatenate(labels)


@cache
def _glyph_distances() -> np.ndarray:
    """Compute the signed distance to the outline of each digit in each font, negative inside.

    Thickening a digit is then a matter of moving the threshold.

    Returns:
        (fonts, 10, GLYPH_SIDE, GLYPH_SIDE), float32, in units of the glyph's grid. Each digit is
        centred.
    """
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont
    from scipy.ndimage import distance_transform_edt

    fonts_dir = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    canvas_side = GLYPH_SIDE * OVERSAMPLING
    distances = np.empty((len(FONTS), 10, GLYPH_SIDE, GLYPH_SIDE), "float32")
    for font_index, name in enumerate(FONTS):
        path = str(fonts_dir / f"{name}.ttf")
        # A font's nominal size says little about the height of its digits: measure it at size 200.
        _, top, _, bottom = ImageFont.truetype(path, 200).getbbox("0")
        font = ImageFont.truetype(path, round(200 * GLYPH_HEIGHT * OVERSAMPLING / (bottom - top)))
        for digit in range(10):
            canvas = Image.new("L", (canvas_side, canvas_side))
            left, top, right, bottom = font.getbbox(str(digit))
            corner = (canvas_side - left - right) / 2, (canvas_side - top - bottom) / 2
            ImageDraw.Draw(canvas).text(corner, str(digit), fill=255, font=font)
            inside = np.asarray(canvas) > 127
            distance = distance_transform_edt(~inside) - distance_transform_edt(inside)
            # One point from the middle of each block of OVERSAMPLING x OVERSAMPLING.
            first = OVERSAMPLING // 2
            sampled = distance[first::OVERSAMPLING, first::OVERSAMPLING]
            distances[font_index, digit] = sampled / OVERSAMPLING
    return distances


def _draw_chunk(
    rng: np.random.Generator, chunk_size: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the first `count` digits of a chunk: images (count, 28, 28) and labels (count,)."""
    # The order of these calls decides what is drawn: a change of it changes every image.
    labels = rng.integers(0, 10, chunk_size)
    fonts = rng.integers(0, len(FONTS), chunk_size)
    rotation = rng.normal(0, 0.12, chunk_size)  # radians
    shear = rng.normal(0.05, 0.2, chunk_size)
    width = rng.uniform(0.8, 1.25, chunk_size)  # relative to the font's
    height = rng.uniform(0.88, 1.12, chunk_size)
    shift_x, shift_y = rng.uniform(-1.5, 1.5, (2, chunk_size))  # pixels
    thickening = rng.uniform(-0.6, 3.0, chunk_size)  # units of the glyph's grid, as the bends are
    bend_x, bend_y = rng.uniform(0, 2.0, (2, chunk_size))
    phase_x, phase_y = rng.uniform(0, 2 * np.pi, (2, chunk_size))

    def per_image(values):
        """Shape values (chunk_size,) as (count, 1, 1), to broadcast over the pixels."""
        return values[:count, None, None]

    # Go from each pixel of the image back to the point of the glyph that it shows, and undo each
    # change on the way. All of these are (count, 28, 28), in units of the glyph's grid.
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centre = (SIDE - 1) / 2
    shifted_x = 2 * (columns - centre - per_image(shift_x))
    shifted_y = 2 * (rows - centre - per_image(shift_y))
    cosine = np.cos(per_image(rotation))
    sine = np.sin(per_image(rotation))
    rotated_x = shifted_x * cosine + shifted_y * sine
    rotated_y = shifted_y * cosine - shifted_x * sine
    scaled_x = (rotated_x + per_image(shear) * rotated_y) / per_image(width)
    scaled_y = rotated_y / per_image(height)
    x = scaled_x + per_image(bend_x) * np.sin(scaled_y / 9 + per_image(phase_x))
    y = scaled_y + per_image(bend_y) * np.sin(scaled_x / 9 + per_image(phase_y))
    distance = _interpolate(per_image(fonts), per_image(labels), x, y)
    # The edge is two glyph units wide: one pixel.
    ink = np.clip(0.5 - (distance - per_image(thickening)) / 2, 0, 1)
    return (255 * ink).round().astype("uint8"), labels[:count].astype("uint8")


def _interpolate(fonts, labels, x, y) -> np.ndarray:
    """Look up glyph distances at points between those of the grid, bilinearly.

    Args:
        fonts, labels: (count, 1, 1), which glyph each image shows.
        x, y: (count, 28, 28), from the middle of the glyph.
    """
    glyphs = _glyph_distances()
    last = GLYPH_SIDE - 1
    x = np.clip(x + last / 2, 0, last - 0.001)
    y = np.clip(y + last / 2, 0, last - 0.001)
    left = x.astype(int)
    top = y.astype(int)
    right_share = x - left
    bottom_share = y - top
    upper = (1 - bottom_share) * (1 - right_share) * glyphs[fonts, labels, top, left]
    upper += (1 - bottom_share) * right_share * glyphs[fonts, labels, top, left + 1]
    lower_left = bottom_share * (1 - right_share) * glyphs[fonts, labels, top + 1, left]
    lower_right = bottom_share * right_share * glyphs[fonts, labels, top + 1, left + 1]
    return upper + lower_left + lower_right
