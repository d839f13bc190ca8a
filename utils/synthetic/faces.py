"""Cartoon faces with known attributes: the built-in stand-in for CelebA."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from utils.synthetic._chunks import CHUNK_SIZE, draw_in_chunks

FACES_CARD = (
    "Faces rendered by code of this project (utils/synthetic/faces.py; Apache-2.0). Every "
    "attribute is a number drawn at random and independently of the others, among them the smile, "
    "from frown to grin. They stand in for photographs in one respect: many things vary at once, "
    "each in its own way. Nobody is portrayed."
)

# The interval of each attribute, from which it is drawn uniformly.
ATTRIBUTE_RANGES = {
    "smile": (-1, 1),  # from frown over neutral to grin
    "skin": (0, 1),  # from dark to light
    "hair": (0, 1),  # colour, from black over brown and red to blond
    "hair_length": (0, 1),  # from cropped to below the chin
    "turn": (-1, 1),  # of the head, from the image's left to its right, by up to 0.4 radians
    "light": (-1, 1),  # from the left to the right
    "background": (0, 1),  # hue, once round the colour wheel
    "width": (-1, 1),  # of the face
    "height": (-1, 1),  # of the face
    "eyes": (-1, 1),  # size
    "iris": (0, 1),  # colour, from brown over green to blue
    "brows": (-1, 1),  # thickness
    "nose": (-1, 1),  # length
    "lips": (-1, 1),  # thickness
    "shirt": (0, 1),  # hue
    "tilt": (-1, 1),  # of the head, by up to 0.12 radians
    "x": (-1, 1),  # position of the head: up to 0.06 of half the image's side
    "y": (-1, 1),
}
# The probability of each attribute that is 0 or 1.
ATTRIBUTE_PROBABILITIES = {"glasses": 0.35, "beard": 0.3}

# Colours (red, green, blue) that an attribute from 0 to 1 runs through.
SKIN = ((78, 47, 34), (140, 91, 62), (201, 150, 114), (250, 218, 192))
HAIR = ((24, 19, 20), (74, 45, 28), (142, 70, 36), (233, 199, 128))
IRIS = ((72, 42, 20), (70, 110, 60), (60, 120, 190))


def sample_attributes(count: int, seed: str = "train") -> dict[str, np.ndarray]:
    """Draw the attributes of faces at random, each independently of the others.

    Args:
        count: number of faces, at least 1.
        seed: the same seed gives the same attributes; the first n are the same whatever `count` is.

    Returns:
        For each name in `ATTRIBUTE_RANGES` and `ATTRIBUTE_PROBABILITIES`, (count,) of float32.

    Raises:
        ValueError: `count` is less than 1.
    """
    chunks = list(draw_in_chunks(count, seed, _sample_chunk, CHUNK_SIZE))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def render_faces(attributes: dict[str, np.ndarray], size: int = 64) -> np.ndarray:
    """Draw the faces that `attributes` describes.

    Args:
        attributes: by name, (n,) each, as `sample_attributes` returns them. Change one to draw the
            same faces with, say, another smile.
        size: height and width in pixels.

    Returns:
        (n, size, size, 3), uint8.
    """
    count = len(attributes["smile"])
    chunks = []
    for start in range(0, count, CHUNK_SIZE):
        part = slice(start, start + CHUNK_SIZE)
        chunks.append({name: values[part] for name, values in attributes.items()})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda chunk: _render_chunk(chunk, size), chunks))
    return np.concatenate(images)


def draw_faces(
    count: int, size: int = 64, seed: str = "train"
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw faces with random attributes. The first n are the same whatever `count` is.

    Returns:
        Images (count, size, size, 3) of uint8, and their attributes.
    """
    attributes = sample_attributes(count, seed)
    return render_faces(attributes, size), attributes


def _sample_chunk(rng: np.random.Generator, chunk_size: int, count: int) -> dict[str, np.ndarray]:
    """Draw the attributes of the first `count` faces of a chunk, (count,) each."""
    attributes = {}
    for name, (low, high) in ATTRIBUTE_RANGES.items():
        attributes[name] = rng.uniform(low, high, chunk_size)
    for name, probability in ATTRIBUTE_PROBABILITIES.items():
        attributes[name] = rng.random(chunk_size) < probability
    return {name: values[:count].astype("float32") for name, values in attributes.items()}


def _interpolate_colour(position, table) -> np.ndarray:
    """Look up colours between those of a table, (n, 3) of 0 to 1, at positions (n,) of 0 to 1."""
    table = np.array(table, "float32") / 255  # (colours, 3)
    knots = np.linspace(0, 1, len(table))
    channels = [np.interp(position, knots, table[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1)


def _hsv_colour(hue, saturation: float, value: float) -> np.ndarray:
    """Turn hues (n,) of 0 to 1 into colours, (n, 3) of 0 to 1."""
    ramps = np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return value * (1 - saturation * (1 - np.clip(ramps, 0, 1)))


class _Canvas:
    """Images of n faces, with coordinates that move with each head.

    Coordinates run from -1 to 1 over the image, y downwards. A shape is given by the signed
    distance to its edge in these units, negative inside. The minimum of two distances is the union
    of two shapes, the maximum their intersection.

    Attributes:
        side: height and width of the images in pixels.
        image: (n, 3, side, side), float32 of 0 to 1.
        image_x, image_y: coordinates of the image, (1, 1, side) and (1, side, 1).
        x, y: coordinates of each head, (n, side, side).
        attributes: (n, 1, 1) each, to broadcast over the pixels.
        skin, hair: colours, (n, 3).
        half_width, half_height: of each face, (n, 1, 1).
        hair_distance: to the edge of all the hair, (n, side, side).
    """

    def __init__(self, attributes: dict[str, np.ndarray], side: int):
        self.side = side
        self.attributes = {name: values[:, None, None] for name, values in attributes.items()}
        self.skin = _interpolate_colour(attributes["skin"], SKIN)
        self.hair = _interpolate_colour(attributes["hair"], HAIR)
        self.half_width = 0.49 + 0.05 * self.attributes["width"]
        self.half_height = 0.66 + 0.05 * self.attributes["height"]
        grid = ((np.arange(side) + 0.5) / side * 2 - 1).astype("float32")  # middles of the pixels
        self.image_x = grid[None, None, :]
        self.image_y = grid[None, :, None]
        shifted_x = self.image_x - 0.06 * self.attributes["x"]  # (n, 1, side)
        shifted_y = self.image_y - 0.06 * self.attributes["y"]  # (n, side, 1)
        angle = 0.12 * self.attributes["tilt"]
        self.x = shifted_x * np.cos(angle) + shifted_y * np.sin(angle)
        self.y = shifted_y * np.cos(angle) - shifted_x * np.sin(angle)
        self.hair_distance = _hair_distance(self)
        self.image = np.zeros((len(self.skin), 3, side, side), "float32")

    def window(self, left: float, right: float, top: float, bottom: float):
        """Return the part of the images that holds this rectangle of every head, with its x and y.

        Painting a small part is what makes this fast.
        """
        rows = self._pixels(top, bottom)
        columns = self._pixels(left, right)
        return self.image[:, :, rows, columns], self.x[:, rows, columns], self.y[:, rows, columns]

    def _pixels(self, low: float, high: float) -> slice:
        margin = 0.14  # heads tilt and shift by less
        first = int((low - margin + 1) / 2 * self.side) - 1
        last = int((high + margin + 1) / 2 * self.side) + 2
        return slice(max(0, first), min(self.side, last))

    def paint(self, part, distance, colour, alpha=1.0, softness=None):
        """Paint a shape.

        Args:
            part: images to paint on, (n, 3, height, width), changed in place.
            distance: to the shape's edge, (n, height, width), negative inside.
            colour: a shade of grey, colours (n, 3), or one per pixel, (n, 3, height, width).
            alpha: opacity, a number or (n, 1, 1).
            softness: width of the edge; None means a pixel.
        """
        sharpness = self.side / 2 if softness is None else 1 / softness
        mask = np.clip(0.5 - distance * sharpness, 0, 1) * alpha  # (n, height, width)
        colour = np.asarray(colour, "float32")
        if colour.ndim == 2:
            colour = colour[:, :, None, None]
        part += mask[:, None] * (colour - part)


def _ellipse(x, y, half_width, half_height):
    """Distance to the edge of an ellipse, approximately."""
    radius = np.sqrt((x / half_width) ** 2 + (y / half_height) ** 2)  # 1 on the edge
    return (radius - 1) * np.minimum(half_width, half_height)


def _render_chunk(attributes: dict[str, np.ndarray], size: int) -> np.ndarray:
    """Draw n faces from back to front: (n, size, size, 3), uint8."""
    # Small faces are drawn larger and shrunk, for their lines would be thinner than a pixel.
    oversampling = max(1, -(-64 // size))  # 64 / size, rounded up
    canvas = _Canvas(attributes, oversampling * size)
    _paint_background(canvas, attributes)
    _paint_shoulders(canvas, attributes)
    _paint_head(canvas)
    for side in (-1, 1):
        _paint_eye(canvas, attributes, side)
    _paint_nose(canvas)
    _paint_mouth(canvas)
    _paint_front_hair(canvas)
    _paint_glasses(canvas)
    # Light from one side: that side is brighter, the other darker.
    light = canvas.attributes["light"] * canvas.image_x  # (n, 1, side)
    canvas.image *= 0.97 + 0.3 * light[:, None]
    blocks = np.clip(canvas.image, 0, 1).reshape(-1, 3, size, oversampling, size, oversampling)
    image = blocks.mean(axis=(3, 5))  # (n, 3, size, size)
    return (255 * image).round().astype("uint8").transpose(0, 2, 3, 1)


def _hair_distance(canvas) -> np.ndarray:
    """Distance to the edge of all the hair: a cap above the eyes, hanging strands below them."""
    hair_length = canvas.attributes["hair_length"]
    across = np.abs(canvas.x)
    outer = canvas.half_width + 0.07 + 0.07 * hair_length
    end = -0.15 + 1.05 * hair_length - 0.12 * (across / outer) ** 4
    strands = np.maximum(across - outer - 0.05 * np.clip(canvas.y, 0, 1), canvas.y - end)
    cap = _ellipse(canvas.x, canvas.y, outer, canvas.half_height + 0.12)
    return np.where(canvas.y < 0, cap, strands)


def _paint_background(canvas, attributes):
    """Fill the images with a wall that darkens towards the corners, and paint the hair behind."""
    wall = _hsv_colour(attributes["background"], 0.4, 0.78)[:, :, None, None]
    radius = np.hypot(canvas.image_x, canvas.image_y)  # (1, side, side)
    canvas.image += wall * (1.1 - 0.28 * radius[:, None])
    canvas.paint(canvas.image, canvas.hair_distance, 0.72 * canvas.hair)


def _paint_shoulders(canvas, attributes):
    """Paint neck and shirt."""
    part, x, y = canvas.window(-1, 1, 0.4, 1)
    # The chin throws a soft shadow on the neck.
    below_chin = np.maximum(y - canvas.half_height, 0)
    shadow = 1 - 0.35 * np.clip(1.6 - 4 * below_chin, 0, 1)
    neck = np.maximum(np.abs(x) - 0.23, 0.3 - y)
    canvas.paint(part, neck, 0.9 * canvas.skin[:, :, None, None] * shadow[:, None])
    shoulders = _ellipse(x, y - 1.25, 0.95, 0.42)
    outside_collar = 0.16 - np.hypot(x, y - 0.8)
    shirt = _hsv_colour(attributes["shirt"], 0.55, 0.62)
    canvas.paint(part, np.maximum(shoulders, outside_collar), shirt)


def _paint_head(canvas):
    """Paint ears, head, cheeks and beard."""
    skin = canvas.skin
    part, x, y = canvas.window(-0.7, 0.7, -0.85, 0.85)
    for side in (-1, 1):
        ear = _ellipse(x - side * canvas.half_width, y - 0.02, 0.09, 0.13)
        canvas.paint(part, ear, 0.86 * skin)
    # The jaw is narrower than the brow, and the head darkens towards its edge.
    jaw = 1 - 0.2 * np.clip(y / canvas.half_height, 0, 1) ** 2
    half_width = canvas.half_width * jaw
    radius = np.sqrt((x / half_width) ** 2 + (y / canvas.half_height) ** 2)  # 1 on the edge
    shade = 1.06 - 0.2 * radius**3
    canvas.paint(part, (radius - 1) * 0.5, skin[:, :, None, None] * shade[:, None])
    turn = 0.13 * canvas.attributes["turn"]
    for side in (-1, 1):
        cheek = np.hypot(x - side * 0.27 - turn, y - 0.16) - 0.1
        canvas.paint(part, cheek, skin * (1.0, 0.8, 0.78), 0.55, softness=0.2)
    # The beard covers the lower face below a line that is lowest at the sides.
    beard_line = 0.25 + 0.13 * np.cos(np.clip((x - turn) / canvas.half_width, -1, 1) * np.pi)
    beard = np.maximum((radius - 1.02) * 0.5, beard_line - y)
    alpha = 0.75 * canvas.attributes["beard"]
    canvas.paint(part, beard, 0.7 * canvas.hair, alpha, softness=0.06)


def _eye_centre(canvas, side: int):
    """Return the x of an eye (side -1 or 1), and the cosine by which the head's turn narrows it."""
    angle = side * 0.43 + 0.4 * canvas.attributes["turn"]
    return 0.5 * np.sin(angle), np.cos(angle)


def _paint_eye(canvas, attributes, side: int):
    """Paint an eye and its brow."""
    skin = canvas.skin
    smile = canvas.attributes["smile"]
    size = canvas.attributes["eyes"]
    inner, outer = sorted((side * -0.02, side * 0.45))
    part, x, y = canvas.window(inner, outer, -0.42, 0.05)
    centre, narrowing = _eye_centre(canvas, side)
    squint = 1 - 0.3 * np.clip(smile, 0, 1)
    half_width = (0.115 + 0.015 * size) * narrowing / 0.91
    half_height = (0.066 + 0.012 * size) * squint
    # From the eye's centre: u in half widths, v in units of the image.
    u = (x - centre) / half_width
    v = y + 0.1
    lid = np.clip(1 - u**2, 0, 1)  # height of the lid, 1 in the middle
    socket = _ellipse(x - centre, v, 1.35 * half_width, 1.7 * half_height)
    canvas.paint(part, socket, 0.84 * skin, 0.6, softness=0.07)
    eyeball = np.maximum(np.abs(v) - half_height * lid, (np.abs(u) - 1) * half_width)
    canvas.paint(part, eyeball, 0.95)
    iris_x = (u - 0.25 * canvas.attributes["turn"]) * half_width
    iris_radius = np.hypot(iris_x, v)
    iris = _interpolate_colour(attributes["iris"], IRIS)
    canvas.paint(part, np.maximum(iris_radius - 0.056, eyeball), iris)
    canvas.paint(part, np.maximum(iris_radius - 0.03, eyeball), 0.04)  # pupil
    glint = np.hypot(iris_x + 0.02, v + 0.02) - 0.014
    canvas.paint(part, np.maximum(glint, eyeball), 1.0)
    lashes = np.maximum(np.abs(v + half_height * lid) - 0.014, (np.abs(u) - 1.1) * half_width)
    canvas.paint(part, lashes, 0.25 * skin)
    # A smile lifts the brows, a frown draws their inner ends down.
    frown = np.minimum(smile, 0)
    arch = 0.03 * lid - 0.04 * frown * side * u + 0.025 * smile
    thickness = (0.024 + 0.008 * canvas.attributes["brows"]) * (1 - 0.4 * side * u)
    brow = np.maximum(np.abs(v + 0.135 + arch) - thickness, (np.abs(u) - 1.15) * half_width)
    canvas.paint(part, brow, 0.55 * canvas.hair, 0.9)


def _paint_nose(canvas):
    """Paint the nose: its ridge with a shaded side, its tip and nostrils."""
    skin = canvas.skin
    turn = canvas.attributes["turn"]
    part, x, y = canvas.window(-0.35, 0.35, -0.2, 0.35)
    tip_y = 0.17 + 0.03 * canvas.attributes["nose"]
    top_x = 0.09 * turn
    tip_x = 0.18 * turn
    ridge_x = top_x + (tip_x - top_x) * np.clip((y + 0.15) / (tip_y + 0.15), 0, 1)
    beyond_ridge = np.maximum(np.abs(y - tip_y / 2 + 0.05) - tip_y / 2 - 0.08, 0)  # along y
    # The side away from the light is in shade.
    light = canvas.attributes["light"]
    dark_side = np.where(light > 0, np.float32(-1), np.float32(1))
    shade = np.hypot(x - ridge_x - 0.035 * dark_side, beyond_ridge) - 0.03
    canvas.paint(part, shade, 0.74 * skin, 0.6, softness=0.06)
    highlight = np.hypot(x - ridge_x, beyond_ridge) - 0.014
    canvas.paint(part, highlight, np.minimum(1.16 * skin, 1), 0.7, softness=0.05)
    tip = _ellipse(x - tip_x, y - tip_y - 0.02, 0.09, 0.035)
    canvas.paint(part, tip, 0.7 * skin, 0.7, softness=0.05)
    for side in (-1, 1):
        nostril = _ellipse(x - tip_x - side * 0.05, y - tip_y - 0.015, 0.024, 0.017)
        canvas.paint(part, nostril, 0.3 * skin)


def _paint_mouth(canvas):
    """Paint lips, mouth and teeth; a smile lifts the corners, a grin opens the mouth."""
    smile = canvas.attributes["smile"]
    lips = canvas.attributes["lips"]
    part, x, y = canvas.window(-0.52, 0.52, 0.14, 0.7)
    grin = np.clip(smile - 0.15, 0, 1)
    half_width = 0.23 + 0.06 * np.clip(smile, -0.5, 1)
    u = (x - 0.14 * canvas.attributes["turn"]) / half_width  # 1 at the corners
    level = 0.37 + 0.19 * smile * (0.42 - u**2)  # the y where the lips meet
    bow = np.clip(1 - u**2, 0, 1)  # 1 in the middle, 0 at the corners
    opening = 0.16 * grin
    upper = 0.04 + 0.012 * lips
    lower = 0.05 + 0.014 * lips
    ends = (np.abs(u) - 1) * half_width

    def between(top, bottom):
        """Distance to the area between two curves."""
        return np.maximum(np.abs(y - (top + bottom) / 2) - (bottom - top) / 2, ends)

    colour = canvas.skin * (0.86, 0.52, 0.52) + np.array([0.06, 0.0, 0.01])
    canvas.paint(part, between(level - upper * bow, level + (opening + lower) * bow), colour)
    # Without a grin, mouth and teeth are pushed out of sight.
    mouth = between(level, level + opening * bow) + 0.012 * (grin == 0)
    canvas.paint(part, mouth, 0.3 * colour)
    teeth = between(level, level + 0.62 * opening * bow) + 0.02 * (grin < 0.05)
    canvas.paint(part, teeth, 0.96)
    line = np.maximum(np.abs(y - level) - 0.011, (np.abs(u) - 1.08) * half_width)
    canvas.paint(part, line, 0.35 * colour, 0.9)


def _paint_front_hair(canvas):
    """Cover the part of the head above the hairline, which falls down both cheeks."""
    x = canvas.x
    y = canvas.y
    hair_length = canvas.attributes["hair_length"]
    across = np.abs(x) / canvas.half_width
    cheeks = (0.15 + 0.25 * hair_length) * np.clip(8 * (across - 0.8), 0, 3)
    hairline = -0.42 + 0.5 * np.clip(np.abs(x + 0.12) / 0.49 - 0.35, 0, 2) ** 2 + cheeks
    strands = 1 + 0.08 * np.sin(60 * np.arctan2(x + 0.12, 1.3 - y) + 3 * hair_length)
    shine = 1 + 0.22 * np.exp(-(((y + 0.5 - 0.4 * x**2) / 0.1) ** 2))
    colour = canvas.hair[:, :, None, None] * (strands * shine)[:, None]
    canvas.paint(canvas.image, np.maximum(canvas.hair_distance, y - hairline), colour)


def _paint_glasses(canvas):
    """Paint the frame of the glasses, on faces that have them."""
    part, x, y = canvas.window(-0.62, 0.62, -0.35, 0.2)
    centre = 0.5 * np.sin(0.4 * canvas.attributes["turn"])
    frame = np.maximum(np.abs(y + 0.11) - 0.016, np.abs(x - centre) - 0.06)  # the bridge
    # Each temple reaches from the outer edge of a lens, x = 0.36, to the side of the head.
    end = 0.97 * canvas.half_width
    along_temple = np.abs(np.abs(x) - (0.36 + end) / 2) - (end - 0.36) / 2
    temples = np.maximum(np.abs(y + 0.12) - 0.016, along_temple)
    frame = np.minimum(frame, temples)
    for side in (-1, 1):
        eye_x, narrowing = _eye_centre(canvas, side)
        lens = _ellipse(x - eye_x, y + 0.09, 0.175 * narrowing / 0.91, 0.155)
        frame = np.minimum(frame, np.abs(lens) - 0.02)
    canvas.paint(part, frame, 0.08, canvas.attributes["glasses"])
