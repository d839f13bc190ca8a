"""Faces drawn by code, many at once, with known attributes: the stand-in for CelebA."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from utils.synthetic._chunks import CHUNK, draw_in_chunks

FACES_CARD = (
    "Faces drawn by code of this project (utils/drawings.py; Apache-2.0). Every attribute is a number drawn "
    "at random and independently of the others, smile among them, from frown to grin. They stand in for "
    "photographs in one respect: many things vary at once, each in a way of its own. Nobody is pictured."
)

# What is drawn of a face: the interval of each number, or for what is there or not, how often it is.
ATTRIBUTE_RANGES = {
    "smile": (-1, 1),  # from frown over neutral to grin
    "skin": (0, 1),  # from dark to light
    "hair": (0, 1),  # its colour, from black over brown and red to blond
    "hair_length": (0, 1),  # from cropped to below the chin
    "turn": (-1, 1),  # of the head, from the picture's left to its right, by 0.4 radians at most
    "light": (-1, 1),  # from the left to the right
    "background": (0, 1),  # its hue, once round the circle of colours
    "width": (-1, 1),  # of the face
    "height": (-1, 1),
    "eyes": (-1, 1),  # their size
    "iris": (0, 1),  # its colour, from brown over green to blue
    "brows": (-1, 1),  # their thickness
    "nose": (-1, 1),  # its length
    "lips": (-1, 1),  # their thickness
    "shirt": (0, 1),  # its hue
    "tilt": (-1, 1),  # of the head, by 0.12 radians at most
    "x": (-1, 1),  # where the head is: 0.06 of half a picture at most
    "y": (-1, 1),
}
ATTRIBUTE_PROBABILITIES = {"glasses": 0.35, "beard": 0.3}

SKIN = ((78, 47, 34), (140, 91, 62), (201, 150, 114), (250, 218, 192))
HAIR = ((24, 19, 20), (74, 45, 28), (142, 70, 36), (233, 199, 128))
IRIS = ((72, 42, 20), (70, 110, 60), (60, 120, 190))


def sample_attributes(count: int, seed: str = "train") -> dict[str, np.ndarray]:
    """Draw at random what faces look like: for each name in `RANGES` and `CHANCES`, (count,) of float32.

    Every attribute is independent of the others; those of `CHANCES` are 0 or 1, the rest uniform.
    """
    chunks = list(draw_in_chunks(count, seed, _attributes, CHUNK))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def render_faces(attributes: dict[str, np.ndarray], size: int = 64) -> np.ndarray:
    """Draw the faces that `attributes` describes, as the function of that name returns it.

    Args:
        attributes: by name, (n,) each; change one to draw the same people with another smile.
        size: height and width in pixels.

    Returns:
        (n, size, size, 3), uint8.
    """
    count = len(attributes["smile"])
    parts = [
        {name: values[start : start + CHUNK] for name, values in attributes.items()}
        for start in range(0, count, CHUNK)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        return np.concatenate(list(workers.map(lambda part: _draw(part, size), parts)))


def draw_faces(
    count: int, size: int = 64, seed: str = "train"
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw faces of random people. The first n are the same whatever `count` is.

    Returns:
        Images (count, size, size, 3) of uint8, and their `attributes`.
    """
    people = sample_attributes(count, seed)
    return render_faces(people, size), people


# Faces


def _attributes(random: np.random.Generator, size: int, count: int) -> dict[str, np.ndarray]:
    found = {name: random.uniform(*ends, size) for name, ends in ATTRIBUTE_RANGES.items()}
    found |= {
        name: random.random(size) < chance for name, chance in ATTRIBUTE_PROBABILITIES.items()
    }
    return {name: values[:count].astype("float32") for name, values in found.items()}


def _colour(share, table) -> np.ndarray:
    """Look a colour up between those of a table, (n, 3) of 0 to 1."""
    table = np.array(table, "float32") / 255
    place = np.linspace(0, 1, len(table))
    return np.stack([np.interp(share, place, table[:, channel]) for channel in range(3)], axis=1)


def _hue(share, saturation, value) -> np.ndarray:
    """A colour of the circle, (n, 3) of 0 to 1."""
    ramps = np.abs((share[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return value * (1 - saturation * (1 - np.clip(ramps, 0, 1)))


class _Canvas:
    """Pictures (n, 3, side, side) of 0 to 1, with coordinates that move with each head.

    Both coordinates run from -1 to 1 over the picture, y downwards. What is painted is given by the distance
    to its edge, negative inside, in these units.
    """

    def __init__(self, people: dict[str, np.ndarray], side: int):
        self.side, self.people = side, {k: v[:, None, None] for k, v in people.items()}
        grid = ((np.arange(side) + 0.5) / side * 2 - 1).astype("float32")
        self.plain_x, self.plain_y = grid[None, None, :], grid[None, :, None]
        angle = 0.12 * self.people["tilt"]
        x, y = self.plain_x - 0.06 * self.people["x"], self.plain_y - 0.06 * self.people["y"]
        self.x, self.y = (
            x * np.cos(angle) + y * np.sin(angle),
            y * np.cos(angle) - x * np.sin(angle),
        )
        self.image = np.zeros((len(x), 3, side, side), "float32")

    def window(self, left, right, top, bottom):
        """Return a part of the pictures that holds this rectangle of every head, and its coordinates."""
        rows, columns = (
            slice(
                max(0, int((low + 1) / 2 * self.side) - 1),
                min(self.side, int((high + 1) / 2 * self.side) + 2),
            )
            for low, high in ((top - 0.14, bottom + 0.14), (left - 0.14, right + 0.14))
        )
        return self.image[:, :, rows, columns], self.x[:, rows, columns], self.y[:, rows, columns]

    def paint(self, part, distance, colour, alpha=1.0, soft=None):
        """Cover with a colour (n, 3), or one a pixel; `soft` is the edge's width, else it is a pixel."""
        mask = np.clip(0.5 - distance * (self.side / 2 if soft is None else 1 / soft), 0, 1) * alpha
        colour = np.asarray(colour, "float32")
        colour = colour[:, :, None, None] if colour.ndim == 2 else colour
        part += mask[:, None] * (colour - part)


def _ellipse(x, y, wide, high):
    """Distance to an ellipse, nearly."""
    return (np.sqrt((x / wide) ** 2 + (y / high) ** 2) - 1) * np.minimum(wide, high)


def _draw(people: dict[str, np.ndarray], size: int) -> np.ndarray:
    """Draw a chunk of faces from back to front, larger and then shrunk where lines would be too thin."""
    times = max(1, -(-64 // size))
    canvas = _Canvas(people, times * size)
    skin = _colour(people["skin"], SKIN)
    hair = _colour(people["hair"], HAIR)
    hairy = _hair(canvas)
    _behind(canvas, people, skin, hair, hairy)
    _head(canvas, skin, hair)
    for side in (-1, 1):
        _eye(canvas, people, side, skin, hair)
    _nose(canvas, skin)
    _mouth(canvas, skin)
    _front_hair(canvas, hair, hairy)
    _glasses(canvas)
    # Light from one side: brighter there, darker on the other.
    canvas.image *= (
        0.97 + 0.3 * (canvas.people["light"] * (canvas.plain_x + 0 * canvas.plain_y))[:, None]
    )
    image = (
        np.clip(canvas.image, 0, 1)
        .reshape(len(skin), 3, size, times, size, times)
        .mean(axis=(3, 5))
    )
    return (255 * image).round().astype("uint8").transpose(0, 2, 3, 1)


def _outline(canvas):
    """Half the width and height of each face."""
    return 0.49 + 0.05 * canvas.people["width"], 0.66 + 0.05 * canvas.people["height"]


def _hair(canvas):
    """Distance to all hair: a cap above the eyes, and below them what falls, as long as it is."""
    p, x, y, (wide, high) = canvas.people, canvas.x, canvas.y, _outline(canvas)
    outer = wide + 0.07 + 0.07 * p["hair_length"]
    end = -0.15 + 1.05 * p["hair_length"] - 0.12 * (np.abs(x) / outer) ** 4
    fall = np.maximum(np.abs(x) - outer - 0.05 * np.clip(y, 0, 1), y - end)
    return np.where(y < 0, _ellipse(x, y, outer, high + 0.12), fall)


def _behind(canvas, people, skin, hair, hairy):
    high = _outline(canvas)[1]
    wall = _hue(people["background"], 0.4, 0.78)[:, :, None, None]
    canvas.image += wall * (1.1 - 0.28 * np.hypot(canvas.plain_x, canvas.plain_y)[:, None])
    canvas.paint(canvas.image, hairy, 0.72 * hair)
    part, x, y = canvas.window(-1, 1, 0.4, 1)
    # The neck, and on it a soft shadow of the chin.
    neck = np.maximum(np.abs(x) - 0.23, 0.3 - y)
    shadow = 1 - 0.35 * np.clip(1.6 - 4 * np.maximum(y - high, 0), 0, 1)
    canvas.paint(part, neck, 0.9 * skin[:, :, None, None] * shadow[:, None])
    shirt = _hue(people["shirt"], 0.55, 0.62)
    canvas.paint(
        part, np.maximum(_ellipse(x, y - 1.25, 0.95, 0.42), 0.16 - np.hypot(x, y - 0.8)), shirt
    )


def _head(canvas, skin, hair):
    p, (wide, high) = canvas.people, _outline(canvas)
    part, x, y = canvas.window(-0.7, 0.7, -0.85, 0.85)
    for side in (-1, 1):
        canvas.paint(part, _ellipse(x - side * wide, y - 0.02, 0.09, 0.13), 0.86 * skin)
    # The jaw is narrower than the brow, and the side that is turned away curves off into shade.
    narrow = wide * (1 - 0.2 * np.clip(y / high, 0, 1) ** 2)
    reach = np.sqrt((x / narrow) ** 2 + (y / high) ** 2)
    shade = 1.06 - 0.2 * reach**3
    canvas.paint(part, (reach - 1) * 0.5, skin[:, :, None, None] * shade[:, None])
    turn = 0.13 * p["turn"]
    for side in (-1, 1):
        spot = np.hypot(x - side * 0.27 - turn, y - 0.16) - 0.1
        canvas.paint(part, spot, skin * (1.0, 0.8, 0.78), 0.55, soft=0.2)
    # A beard: the lower face but for the mouth's surroundings, and a moustache.
    edge = 0.25 + 0.13 * np.cos(np.clip((x - turn) / wide, -1, 1) * np.pi)
    chin = np.maximum((reach - 1.02) * 0.5, edge - y)
    canvas.paint(part, chin, 0.7 * hair, 0.75 * p["beard"], soft=0.06)


def _eye_place(canvas, side):
    """Where the middle of an eye is across the head, and the cosine by which turning narrows it."""
    angle = side * 0.43 + 0.4 * canvas.people["turn"]
    return 0.5 * np.sin(angle), np.cos(angle)


def _eye(canvas, people, side, skin, hair):
    p = canvas.people
    part, x, y = canvas.window(*sorted((side * -0.02, side * 0.45)), -0.42, 0.05)
    middle, near = _eye_place(canvas, side)
    squint = 1 - 0.3 * np.clip(p["smile"], 0, 1)
    wide = (0.115 + 0.015 * p["eyes"]) * near / 0.91
    high = (0.066 + 0.012 * p["eyes"]) * squint
    u, v = (x - middle) / wide, y + 0.1
    lid = np.clip(1 - u**2, 0, 1)
    inside = np.maximum(np.abs(v) - high * lid, (np.abs(u) - 1) * wide)
    canvas.paint(
        part, _ellipse(x - middle, v, 1.35 * wide, 1.7 * high), 0.84 * skin, 0.6, soft=0.07
    )
    canvas.paint(part, inside, np.full_like(skin, 0.95))
    from_iris = np.hypot((u - 0.25 * p["turn"]) * wide, v)
    canvas.paint(part, np.maximum(from_iris - 0.056, inside), _colour(people["iris"], IRIS))
    canvas.paint(part, np.maximum(from_iris - 0.03, inside), np.full_like(skin, 0.04))
    glint = np.hypot((u - 0.25 * p["turn"]) * wide + 0.02, v + 0.02) - 0.014
    canvas.paint(part, np.maximum(glint, inside), np.full_like(skin, 1.0))
    lash = np.maximum(np.abs(v + high * lid) - 0.014, (np.abs(u) - 1.1) * wide)
    canvas.paint(part, lash, 0.25 * skin)
    # Brows: who frowns draws their inner ends down.
    arch = 0.03 * lid - 0.04 * p["smile"] * side * u * (p["smile"] < 0) + 0.025 * p["smile"]
    brow = np.maximum(
        np.abs(v + 0.135 + arch) - (0.024 + 0.008 * p["brows"]) * (1 - 0.4 * side * u),
        (np.abs(u) - 1.15) * wide,
    )
    canvas.paint(part, brow, 0.55 * hair, 0.9)


def _nose(canvas, skin):
    p = canvas.people
    part, x, y = canvas.window(-0.35, 0.35, -0.2, 0.35)
    tip = 0.17 + 0.03 * p["nose"]
    middle = 0.18 * p["turn"]
    # The ridge leans towards the tip; the side away from the light is in shade.
    ridge = 0.09 * p["turn"] + (middle - 0.09 * p["turn"]) * np.clip(
        (y + 0.15) / (tip + 0.15), 0, 1
    )
    away = -np.sign(p["light"]) + (p["light"] == 0)
    long = np.maximum(np.abs(y - tip / 2 + 0.05) - tip / 2 - 0.08, 0)
    canvas.paint(part, np.hypot(x - ridge - 0.035 * away, long) - 0.03, 0.74 * skin, 0.6, soft=0.06)
    canvas.paint(
        part, np.hypot(x - ridge, long) - 0.014, np.minimum(1.16 * skin, 1), 0.7, soft=0.05
    )
    canvas.paint(
        part, _ellipse(x - middle, y - tip - 0.02, 0.09, 0.035), 0.7 * skin, 0.7, soft=0.05
    )
    for side in (-1, 1):
        canvas.paint(
            part, _ellipse(x - middle - side * 0.05, y - tip - 0.015, 0.024, 0.017), 0.3 * skin
        )


def _mouth(canvas, skin):
    p = canvas.people
    part, x, y = canvas.window(-0.52, 0.52, 0.14, 0.7)
    smile, wide_smile = p["smile"], np.clip(p["smile"] - 0.15, 0, 1)
    wide = 0.23 + 0.06 * np.clip(smile, -0.5, 1)
    u = (x - 0.14 * p["turn"]) / wide
    # The corners rise as the middle sinks; a grin opens and shows teeth.
    level = 0.37 + 0.19 * smile * (0.42 - u**2)
    bow, open_ = np.clip(1 - u**2, 0, 1), 0.16 * wide_smile
    upper, lower = 0.04 + 0.012 * p["lips"], 0.05 + 0.014 * p["lips"]
    ends = (np.abs(u) - 1) * wide

    def between(top, bottom):
        return np.maximum(np.abs(y - (top + bottom) / 2) - (bottom - top) / 2, ends)

    lips = skin * (0.86, 0.52, 0.52) + np.array([0.06, 0.0, 0.01])
    canvas.paint(part, between(level - upper * bow, level + (open_ + lower) * bow), lips)
    canvas.paint(part, between(level, level + open_ * bow) + 0.012 * (wide_smile == 0), 0.3 * lips)
    teeth = between(level, level + 0.62 * open_ * bow) + 0.02 * (wide_smile < 0.05)
    canvas.paint(part, teeth, np.full_like(skin, 0.96))
    line = np.maximum(np.abs(y - level) - 0.011, (np.abs(u) - 1.08) * wide)
    canvas.paint(part, line, 0.35 * lips, 0.9)


def _front_hair(canvas, hair, hairy):
    """Cover the part of the head above the hairline, which falls down both cheeks."""
    p, x, y = canvas.people, canvas.x, canvas.y
    across = np.abs(x) / _outline(canvas)[0]
    cheeks = (0.15 + 0.25 * p["hair_length"]) * np.clip(8 * (across - 0.8), 0, 3)
    hairline = -0.42 + 0.5 * np.clip(np.abs(x + 0.12) / 0.49 - 0.35, 0, 2) ** 2 + cheeks
    strands = 1 + 0.08 * np.sin(60 * np.arctan2(x + 0.12, 1.3 - y) + 3 * p["hair_length"])
    shine = 1 + 0.22 * np.exp(-(((y + 0.5 - 0.4 * x**2) / 0.1) ** 2))
    canvas.paint(
        canvas.image,
        np.maximum(hairy, y - hairline),
        hair[:, :, None, None] * (strands * shine)[:, None],
    )


def _glasses(canvas):
    p = canvas.people
    part, x, y = canvas.window(-0.62, 0.62, -0.35, 0.2)
    distance = np.full(np.broadcast_shapes(x.shape, p["smile"].shape), 9.0, "float32")
    for side in (-1, 1):
        centre, near = _eye_place(canvas, side)
        lens = _ellipse(x - centre, y + 0.09, 0.175 * near / 0.91, 0.155)
        distance = np.minimum(distance, np.abs(lens) - 0.02)
    middle = 0.5 * np.sin(0.4 * p["turn"])
    bridge = np.maximum(np.abs(y + 0.11) - 0.016, np.abs(x - middle) - 0.06)
    wide = 0.97 * _outline(canvas)[0]
    temples = np.maximum(
        np.abs(y + 0.12) - 0.016, np.abs(np.abs(x) - (0.36 + wide) / 2) - (wide - 0.36) / 2
    )
    distance = np.minimum(distance, np.minimum(bridge, temples))
    canvas.paint(part, distance, np.full((len(x), 3), 0.08), p["glasses"])
