"""Paintings made by code, with a known way of painting: the built-in stand-in for a painter's picture.

Each is an under-painting, a colour for every point, gone over with many strokes that follow a flow
field (the idea of Hertzmann 1998, *Painterly Rendering with Curved Brush Strokes of Multiple Sizes*).
Photographs, and reading or scaling pictures, belong in `datasets`.
"""

import numpy as np
from PIL import Image, ImageDraw

PAINTINGS_CARD = (
    "Paintings drawn by code of this project (utils/paintings.py; Apache-2.0, nothing to download): a "
    "starry night of curved brush strokes, a sunset of dots, a window of coloured glass. They stand in for "
    "a painter's picture in one respect: each has one unmistakable way of putting colour next to colour."
)
SCALE = 2  # drawn larger, then shrunk: soft edges


def starry_night(height: int = 384, width: int = 480, seed: int = 0) -> np.ndarray:
    """Paint a night sky of swirling strokes with stars, a moon, hills, a village and a cypress.

    Args:
        height, width: of the picture, at least 64.
        seed: two calls with the same one paint the same.

    Returns:
        (height, width, 3), uint8.
    """
    canvas = _Canvas(height, width, seed)
    random = canvas.random
    swirls = [(0.44, 0.36, 0.17, 1.0), (0.66, 0.48, 0.11, -1.0), (0.22, 0.52, 0.09, 1.0)]
    stars = [
        (0.10, 0.14),
        (0.27, 0.10),
        (0.33, 0.28),
        (0.55, 0.12),
        (0.70, 0.22),
        (0.16, 0.36),
        (0.80, 0.40),
    ]
    stars = [(x, y, 0.030 + 0.022 * random.random()) for x, y in stars]
    moon = (0.89, 0.14, 0.085)
    ridge = (
        0.70
        + 0.05 * np.sin(7.0 * canvas.x + 0.4)
        + 0.035 * np.sin(17.0 * canvas.x)
        - 0.07 * canvas.x
    )

    angle_x, angle_y = 1.0 + 0 * canvas.x, 0.35 * np.sin(9 * canvas.x + 2) + 0 * canvas.y
    sky = _mix((22, 44, 112), (84, 134, 190), np.clip(canvas.y / 0.75, 0, 1) ** 1.4)
    sky = _mix(
        sky, (16, 28, 84), 0.5 * (0.5 + 0.5 * np.sin(24 * canvas.y + 5 * np.sin(5 * canvas.x)))
    )
    for x, y, size, turn in swirls:
        dx, dy, distance = canvas.around(x, y)
        near = np.exp(-((distance / size) ** 2))
        angle_x, angle_y = (
            angle_x - 14 * turn * near * dy / size,
            angle_y + 14 * turn * near * dx / size,
        )
        bands = 0.5 + 0.5 * np.cos(24 * distance / size * 0.55 - 2 * turn * np.arctan2(dy, dx))
        sky = _mix(sky, (188, 214, 226), 0.75 * bands * np.exp(-((distance / size / 1.15) ** 4)))
    for x, y, size in (*stars, moon):
        dx, dy, distance = canvas.around(x, y)
        near = np.exp(-((distance / (2.1 * size)) ** 2))
        angle_x, angle_y = angle_x - 9 * near * dy / size, angle_y + 9 * near * dx / size
        halo = np.exp(-((distance / (1.7 * size)) ** 2)) * (
            0.66 + 0.34 * np.cos(6 * distance / size)
        )
        sky = _mix(sky, (246, 214, 92), np.clip(1.15 * halo, 0, 1))
        sky = _mix(sky, (255, 246, 196), np.exp(-((distance / (0.62 * size)) ** 4)))
    dx, _, distance = canvas.around(moon[0] + 0.035, moon[1] - 0.012)
    sky = _mix(sky, (226, 176, 60), 0.8 * np.exp(-((distance / 0.05) ** 4)))

    land = canvas.y > ridge
    hills = _mix(
        (28, 60, 96), (46, 92, 84), 0.5 + 0.5 * np.sin(30 * (canvas.y - ridge) + 9 * canvas.x)
    )
    colours = np.where(land[..., None], hills, sky)
    angle_y = np.where(land, 0.5 * np.cos(7 * canvas.x + 0.4), angle_y)
    angle_x = np.where(land, 1.0, angle_x)
    angles = np.arctan2(angle_y, angle_x)
    coarse_to_fine = (
        (0.075, 0.016, 2_600, 16),
        (0.055, 0.010, 7_000, 22),
        (0.034, 0.006, 9_000, 28),
    )
    for length, thick, count, noise in coarse_to_fine:
        canvas.strokes(colours, angles, count, length, thick, noise)
    canvas.village(ridge)
    canvas.cypress()
    return canvas.finished()


def sunset(height: int = 384, width: int = 480, seed: int = 0) -> np.ndarray:
    """Paint a sunset over water in dots of pure colour, as the pointillists did.

    Args:
        height, width, seed: as for `starry_night`.

    Returns:
        (height, width, 3), uint8.
    """
    canvas = _Canvas(height, width, seed)
    random, horizon = canvas.random, 0.56
    _, _, distance = canvas.around(0.62, horizon - 0.10)
    sky = _mix((64, 84, 168), (250, 150, 92), np.clip(canvas.y / horizon, 0, 1) ** 1.3)
    sky = _mix(sky, (255, 214, 110), np.exp(-((distance / 0.26) ** 2)))
    sky = _mix(sky, (255, 250, 214), np.exp(-((distance / 0.062) ** 6)))
    path = np.exp(
        -(
            ((canvas.x - 0.62 * canvas.aspect) / (0.05 + 0.30 * np.clip(canvas.y - horizon, 0, 1)))
            ** 2
        )
    )
    sea = _mix((232, 132, 104), (24, 62, 118), np.clip((canvas.y - horizon) / 0.34, 0, 1))
    sea = _mix(
        sea,
        (255, 216, 130),
        path * (0.5 + 0.5 * np.sin(130 * canvas.y + 3 * np.sin(13 * canvas.x))),
    )
    colours = np.where((canvas.y > horizon)[..., None], sea, sky)
    shore = 0.86 + 0.05 * np.sin(3.1 * canvas.x + 1) - 0.10 * canvas.x
    meadow = _mix((58, 104, 52), (196, 180, 66), 0.5 + 0.5 * np.sin(60 * canvas.x + 40 * canvas.y))
    colours = np.where((canvas.y > shore)[..., None], meadow, colours)
    for x, top, spread in ((0.13, 0.16, 0.15), (0.30, 0.34, 0.10)):
        dx = (canvas.x - x * canvas.aspect) / spread
        dy = (canvas.y - (top + spread)) / (1.15 * spread)
        crown = np.clip(2.2 * (1 - dx**2 - dy**2), 0, 1)
        leaves = _mix((22, 58, 44), (128, 132, 48), np.clip(0.5 + 0.6 * dx - 0.3 * dy, 0, 1))
        trunk = (np.abs(dx) < 0.10) & (dy > 0) & (canvas.y < shore + 0.03)
        colours = np.where(trunk[..., None], (58, 40, 52), _mix(colours, leaves, crown))
    for radius, count in ((0.010, 9_000), (0.0068, 22_000), (0.0050, 16_000)):
        rows, columns = canvas.places(count)
        # Next to each colour stands now and then its opposite, which makes both glow.
        found = colours[rows, columns] + random.normal(0, 20, (count, 3))
        opposite = random.random(count) < 0.10
        found[opposite] = 0.55 * found[opposite] + 0.45 * (255 - found[opposite])
        sizes = radius * (0.7 + 0.6 * random.random(count)) * canvas.height
        for row, column, colour, size in zip(rows, columns, found, sizes, strict=True):
            canvas.draw.ellipse(
                (column - size, row - size, column + size, row + size), fill=_ink(colour)
            )
    return canvas.finished()


def glass(height: int = 384, width: int = 480, seed: int = 0) -> np.ndarray:
    """Paint a window of coloured glass: flat panes between dark leads, around a sun.

    Args:
        height, width, seed: as for `starry_night`.

    Returns:
        (height, width, 3), uint8.
    """
    canvas = _Canvas(height, width, seed)
    random = canvas.random
    rings = [(0.5 * canvas.aspect, 0.45)]
    for ring, count in ((0.10, 8), (0.19, 12), (0.29, 16)):
        turns = np.arange(count) / count * 2 * np.pi + ring * 9
        rings += [(0.5 * canvas.aspect + ring * np.cos(t), 0.45 + ring * np.sin(t)) for t in turns]
    scattered = random.random((110, 2)) * (canvas.aspect, 1.0)
    away = np.hypot(scattered[:, 0] - 0.5 * canvas.aspect, scattered[:, 1] - 0.45) > 0.36
    points = np.array([*rings, *scattered[away]])
    distances = (canvas.x[..., None] - points[:, 0]) ** 2 + (
        canvas.y[..., None] - points[:, 1]
    ) ** 2
    two = np.sqrt(np.partition(distances, 1, axis=-1)[..., :2])
    pane = distances.argmin(axis=-1)
    warm = np.array([(214, 48, 38), (240, 150, 30), (250, 208, 70), (196, 28, 84)])
    cold = np.array([(24, 74, 160), (18, 122, 138), (40, 44, 110), (70, 150, 96), (110, 66, 150)])
    from_centre = np.hypot(points[:, 0] - 0.5 * canvas.aspect, points[:, 1] - 0.45)
    chosen = np.where(
        (from_centre < 0.32)[:, None],
        warm[random.integers(0, len(warm), len(points))],
        cold[random.integers(0, len(cold), len(points))],
    )
    chosen[0] = (255, 238, 170)
    light = 0.80 + 0.32 * np.exp(-8 * (two[..., 0] ** 2) * len(points) / 9)
    grain = 0.05 * np.sin(90 * canvas.x + 14 * np.sin(30 * canvas.y)) + random.normal(
        0, 0.03, pane.shape
    )
    colours = np.clip(chosen[pane] * (light + grain)[..., None], 0, 255)
    lead = np.clip((two[..., 1] - two[..., 0]) / 0.014, 0, 1)[..., None]
    canvas.image = Image.fromarray(
        (colours * lead + np.array((18, 16, 22)) * (1 - lead)).astype("uint8")
    )
    return canvas.finished()


class _Canvas:
    """A picture to draw on; x and y of its points are measured in heights."""

    def __init__(self, height: int, width: int, seed: int):
        self.random = np.random.default_rng(seed)
        self.height, self.width, self.aspect = SCALE * height, SCALE * width, width / height
        y, x = np.mgrid[0 : self.height, 0 : self.width]
        self.x, self.y = x / self.height, y / self.height
        self.image = Image.new("RGB", (self.width, self.height), (30, 44, 90))
        self.draw = ImageDraw.Draw(self.image)

    def around(self, x: float, y: float):
        """Return offsets and distance of every point from one, whose x is a share of the width."""
        dx, dy = self.x - x * self.aspect, self.y - y
        return dx, dy, np.hypot(dx, dy) + 1e-6

    def places(self, count: int):
        return self.random.integers(0, self.height, count), self.random.integers(
            0, self.width, count
        )

    def strokes(self, colours, angles, count: int, length: float, thick: float, noise: float):
        """Draw strokes that follow the angles, each with a light and a dark edge, as bristles leave them."""
        steps = 6
        jump = length * self.height / steps
        rows, columns = (places.astype(float) for places in self.places(count))
        paths = [(columns.copy(), rows.copy())]
        for _ in range(steps):
            turn = angles[
                np.clip(rows.astype(int), 0, self.height - 1),
                np.clip(columns.astype(int), 0, self.width - 1),
            ]
            columns, rows = columns + jump * np.cos(turn), rows + jump * np.sin(turn)
            paths.append((columns.copy(), rows.copy()))
        paths = np.array(paths).transpose(2, 0, 1)  # (strokes, points, 2)
        starts = paths[:, 0].astype(int)
        inks = colours[starts[:, 1], starts[:, 0]] + self.random.normal(0, noise, (count, 3))
        wide = thick * self.height
        ahead = paths[:, -1] - paths[:, 0]
        across = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
        across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-6
        for path, ink, side in zip(paths, inks, across, strict=True):
            for place, shade, share in ((0.0, 0, 1.0), (0.30, 20, 0.35), (-0.30, -20, 0.35)):
                line = [tuple(point) for point in path + side * place * wide]
                self.draw.line(
                    line, fill=_ink(ink + shade), width=max(1, round(share * wide)), joint="curve"
                )

    def village(self, ridge):
        """Draw houses with lit windows and a church below the ridge."""
        unit = self.height
        for house in range(11):
            x = (0.28 + 0.062 * house + 0.02 * self.random.random()) * self.width
            top = (
                ridge[0, min(self.width - 1, int(x))] + 0.115 + 0.03 * self.random.random()
            ) * unit
            wide, tall = (0.030 + 0.012 * self.random.random()) * unit, 0.035 * unit
            wall = _ink(np.array((44, 62, 92)) + self.random.normal(0, 10, 3))
            self.draw.rectangle(
                (x - wide, top, x + wide, top + tall), fill=wall, outline=(12, 18, 34), width=2
            )
            roof = [(x - 1.2 * wide, top), (x, top - 0.028 * unit), (x + 1.2 * wide, top)]
            self.draw.polygon(
                roof, fill=_ink(np.array((92, 60, 58)) + self.random.normal(0, 12, 3))
            )
            if house % 3 != 1:
                lit = 0.006 * unit
                self.draw.rectangle(
                    (x - lit, top + lit, x + lit, top + 3 * lit), fill=(248, 206, 84)
                )
            if house == 5:
                tower = 0.008 * unit
                self.draw.polygon(
                    [(x - tower, top), (x, top - 0.15 * unit), (x + tower, top)], fill=(24, 32, 58)
                )

    def cypress(self):
        """Draw a dark tree that licks upwards like a flame."""
        middle, unit = 0.115 * self.width, self.height
        for _ in range(900):
            up = self.random.random() ** 1.3
            reach = 0.085 * unit * (1 - up) ** 0.8 * (0.75 + 0.25 * np.sin(21 * up)) + 2
            x = middle + 0.018 * unit * np.sin(6 * up) + self.random.uniform(-1, 1) * reach
            y = unit * (1.0 - 0.80 * up)
            lean = 0.5 * (middle - x) / (reach + 1)
            line = [
                (x + lean * t * 9 + 3 * np.sin(t + 9 * up), y - t * 0.012 * unit) for t in range(5)
            ]
            ink = (
                np.array((20, 42, 34))
                + self.random.normal(0, 9, 3)
                + (18 * (self.random.random() > 0.75))
            )
            self.draw.line(line, fill=_ink(ink), width=round(0.006 * unit), joint="curve")

    def finished(self) -> np.ndarray:
        small = self.image.resize(
            (self.width // SCALE, self.height // SCALE), Image.Resampling.LANCZOS
        )
        return np.asarray(small)


def _mix(first, second, share):
    """Blend colours, single ones or one for each point, by a share for each point."""
    share = np.asarray(share)[..., None]
    return np.asarray(first) * (1 - share) + np.asarray(second) * share


def _ink(colour) -> tuple[int, int, int]:
    return tuple(int(value) for value in np.clip(colour, 0, 255))
