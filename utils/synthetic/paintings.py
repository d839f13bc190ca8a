"""Paintings rendered by code, each with an unmistakable technique: stand-ins for an artist's work.

Each begins as an underpainting, one colour per point. Many strokes or dots in its colours cover it
(the idea of Hertzmann 1998, *Painterly Rendering with Curved Brush Strokes of Multiple Sizes*).
Photographs, and loading or resizing images, belong in `datasets`.
"""

import numpy as np
from PIL import Image, ImageDraw

PAINTINGS_CARD = (
    "Paintings rendered by code of this project (utils/synthetic/paintings.py; Apache-2.0, nothing "
    "to download): a starry night of curved brush strokes, a sunset of dots, a window of coloured "
    "glass. They stand in for an artist's work in one respect: each has one unmistakable way of "
    "putting colour next to colour."
)
OVERSAMPLING = 2  # drawn larger, then shrunk: soft edges

# The starry night: x as a share of the width, y and radii as shares of the height.
SWIRLS = (  # x, y, radius, sense of rotation
    (0.44, 0.36, 0.17, 1.0),
    (0.66, 0.48, 0.11, -1.0),
    (0.22, 0.52, 0.09, 1.0),
)
STARS = (  # x, y
    (0.10, 0.14),
    (0.27, 0.10),
    (0.33, 0.28),
    (0.55, 0.12),
    (0.70, 0.22),
    (0.16, 0.36),
    (0.80, 0.40),
)
MOON = (0.89, 0.14, 0.085)  # x, y, radius


def starry_night(height: int = 384, width: int = 480, seed: int = 0) -> np.ndarray:
    """Paint a night sky of swirling strokes with stars, a moon, hills, a village and a cypress.

    Args:
        height, width: of the image in pixels, at least 64.
        seed: the same seed gives the same painting.

    Returns:
        (height, width, 3), uint8.
    """
    canvas = _Canvas(height, width, seed)
    x = canvas.x
    y = canvas.y
    lights = [(*star, 0.030 + 0.022 * canvas.rng.random()) for star in STARS]  # x, y, radius
    lights.append(MOON)

    # The flow starts out as waves and gains a vortex at each swirl, star and moon.
    flow_x = np.ones_like(x)
    flow_y = 0.35 * np.sin(9 * x + 2)
    sky = _mix((22, 44, 112), (84, 134, 190), np.clip(y / 0.75, 0, 1) ** 1.4)
    sky = _mix(sky, (16, 28, 84), 0.5 * (0.5 + 0.5 * np.sin(24 * y + 5 * np.sin(5 * x))))
    for centre_x, centre_y, radius, sense in SWIRLS:
        dx, dy, distance = canvas.offsets_from(centre_x, centre_y)
        strength = np.exp(-((distance / radius) ** 2))
        flow_x = flow_x - 14 * sense * strength * dy / radius
        flow_y = flow_y + 14 * sense * strength * dx / radius
        spiral = 24 * distance / radius * 0.55 - 2 * sense * np.arctan2(dy, dx)
        bands = 0.5 + 0.5 * np.cos(spiral)
        fading = np.exp(-((distance / radius / 1.15) ** 4))
        sky = _mix(sky, (188, 214, 226), 0.75 * bands * fading)
    for centre_x, centre_y, radius in lights:
        dx, dy, distance = canvas.offsets_from(centre_x, centre_y)
        strength = np.exp(-((distance / (2.1 * radius)) ** 2))
        flow_x = flow_x - 9 * strength * dy / radius
        flow_y = flow_y + 9 * strength * dx / radius
        rings = 0.66 + 0.34 * np.cos(6 * distance / radius)
        halo = np.exp(-((distance / (1.7 * radius)) ** 2)) * rings
        sky = _mix(sky, (246, 214, 92), np.clip(1.15 * halo, 0, 1))
        sky = _mix(sky, (255, 246, 196), np.exp(-((distance / (0.62 * radius)) ** 4)))
    # A darker disc beside the middle of the moon makes it a crescent.
    _, _, distance = canvas.offsets_from(MOON[0] + 0.035, MOON[1] - 0.012)
    sky = _mix(sky, (226, 176, 60), 0.8 * np.exp(-((distance / 0.05) ** 4)))

    ridge = 0.70 + 0.05 * np.sin(7.0 * x + 0.4) + 0.035 * np.sin(17.0 * x) - 0.07 * x
    land = y > ridge
    hills = _mix((28, 60, 96), (46, 92, 84), 0.5 + 0.5 * np.sin(30 * (y - ridge) + 9 * x))
    colours = np.where(land[..., None], hills, sky)
    flow_x = np.where(land, 1.0, flow_x)
    flow_y = np.where(land, 0.5 * np.cos(7 * x + 0.4), flow_y)
    angles = np.arctan2(flow_y, flow_x)
    canvas.paint_strokes(colours, angles, 2_600, length=0.075, thickness=0.016, noise=16)
    canvas.paint_strokes(colours, angles, 7_000, length=0.055, thickness=0.010, noise=22)
    canvas.paint_strokes(colours, angles, 9_000, length=0.034, thickness=0.006, noise=28)
    _paint_village(canvas, ridge[0])
    _paint_cypress(canvas)
    return canvas.to_array()


def sunset(height: int = 384, width: int = 480, seed: int = 0) -> np.ndarray:
    """Paint a sunset over water in dots of pure colour, as the pointillists did.

    Args:
        height, width, seed: as for `starry_night`.

    Returns:
        (height, width, 3), uint8.
    """
    canvas = _Canvas(height, width, seed)
    x = canvas.x
    y = canvas.y
    horizon = 0.56
    sun_x = 0.62
    _, _, distance = canvas.offsets_from(sun_x, horizon - 0.10)
    sky = _mix((64, 84, 168), (250, 150, 92), np.clip(y / horizon, 0, 1) ** 1.3)
    sky = _mix(sky, (255, 214, 110), np.exp(-((distance / 0.26) ** 2)))
    sky = _mix(sky, (255, 250, 214), np.exp(-((distance / 0.062) ** 6)))
    # The sun's reflection widens towards the viewer, and waves break it up.
    reflection_width = 0.05 + 0.30 * np.clip(y - horizon, 0, 1)
    reflection = np.exp(-(((x - sun_x * canvas.aspect) / reflection_width) ** 2))
    waves = 0.5 + 0.5 * np.sin(130 * y + 3 * np.sin(13 * x))
    sea = _mix((232, 132, 104), (24, 62, 118), np.clip((y - horizon) / 0.34, 0, 1))
    sea = _mix(sea, (255, 216, 130), reflection * waves)
    colours = np.where((y > horizon)[..., None], sea, sky)
    shore = 0.86 + 0.05 * np.sin(3.1 * x + 1) - 0.10 * x
    meadow = _mix((58, 104, 52), (196, 180, 66), 0.5 + 0.5 * np.sin(60 * x + 40 * y))
    colours = np.where((y > shore)[..., None], meadow, colours)
    for tree_x, top, radius in ((0.13, 0.16, 0.15), (0.30, 0.34, 0.10)):
        dx = (x - tree_x * canvas.aspect) / radius
        dy = (y - (top + radius)) / (1.15 * radius)
        crown = np.clip(2.2 * (1 - dx**2 - dy**2), 0, 1)
        leaves = _mix((22, 58, 44), (128, 132, 48), np.clip(0.5 + 0.6 * dx - 0.3 * dy, 0, 1))
        trunk = (np.abs(dx) < 0.10) & (dy > 0) & (y < shore + 0.03)
        colours = np.where(trunk[..., None], (58, 40, 52), _mix(colours, leaves, crown))
    for radius, count in ((0.010, 9_000), (0.0068, 22_000), (0.0050, 16_000)):
        _paint_dots(canvas, colours, radius, count)
    return canvas.to_array()


def glass(height: int = 384, width: int = 480, seed: int = 0) -> np.ndarray:
    """Paint a window of coloured glass: flat panes between dark lead strips, around a sun.

    Args:
        height, width, seed: as for `starry_night`.

    Returns:
        (height, width, 3), uint8.
    """
    from scipy.spatial import cKDTree

    canvas = _Canvas(height, width, seed)
    rng = canvas.rng
    centre_x = 0.5 * canvas.aspect
    centre_y = 0.45
    # Each pane is the Voronoi cell of a point: the centre, three rings around it, scattered others.
    rings = [(centre_x, centre_y)]
    for radius, count in ((0.10, 8), (0.19, 12), (0.29, 16)):
        for angle in np.arange(count) / count * 2 * np.pi + radius * 9:
            rings.append((centre_x + radius * np.cos(angle), centre_y + radius * np.sin(angle)))
    scattered = rng.random((110, 2)) * (canvas.aspect, 1.0)
    outside = np.hypot(scattered[:, 0] - centre_x, scattered[:, 1] - centre_y) > 0.36
    points = np.concatenate([rings, scattered[outside]])  # (panes, 2)
    pixels = np.stack([canvas.x, canvas.y], axis=-1)  # (height, width, 2)
    distances, panes = cKDTree(points).query(pixels, k=2)  # (height, width, 2), nearest first
    nearest = distances[..., 0]
    second = distances[..., 1]
    pane = panes[..., 0]

    warm = np.array([(214, 48, 38), (240, 150, 30), (250, 208, 70), (196, 28, 84)])
    cold = np.array([(24, 74, 160), (18, 122, 138), (40, 44, 110), (70, 150, 96), (110, 66, 150)])
    warm_choice = warm[rng.integers(0, len(warm), len(points))]
    cold_choice = cold[rng.integers(0, len(cold), len(points))]
    in_sun = np.hypot(points[:, 0] - centre_x, points[:, 1] - centre_y) < 0.32
    pane_colours = np.where(in_sun[:, None], warm_choice, cold_choice)
    pane_colours[0] = (255, 238, 170)
    light = 0.80 + 0.32 * np.exp(-8 * nearest**2 * len(points) / 9)  # brightest mid-pane
    streaks = 0.05 * np.sin(90 * canvas.x + 14 * np.sin(30 * canvas.y))
    grain = streaks + rng.normal(0, 0.03, pane.shape)
    colours = np.clip(pane_colours[pane] * (light + grain)[..., None], 0, 255)
    # Pixels equally far from two points lie on the border of two panes, where the lead is.
    glass_share = np.clip((second - nearest) / 0.014, 0, 1)
    colours = _mix((18, 16, 22), colours, glass_share)
    canvas.image = Image.fromarray(colours.astype("uint8"))
    return canvas.to_array()


class _Canvas:
    """An image to draw on.

    Attributes:
        height, width: in pixels, `OVERSAMPLING` times those of the painting.
        aspect: width divided by height.
        x, y: coordinates of every pixel, (height, width); both are shares of the height.
        rng: the painting's random generator.
    """

    def __init__(self, height: int, width: int, seed: int):
        self.rng = np.random.default_rng(seed)
        self.height = OVERSAMPLING * height
        self.width = OVERSAMPLING * width
        self.aspect = width / height
        rows, columns = np.mgrid[0 : self.height, 0 : self.width]
        self.x = columns / self.height
        self.y = rows / self.height
        self.image = Image.new("RGB", (self.width, self.height), (30, 44, 90))
        self.draw = ImageDraw.Draw(self.image)

    def offsets_from(self, x: float, y: float):
        """Return offset x, offset y and distance of every pixel from a point.

        The point's x is a share of the width; all that is returned is in heights.
        """
        dx = self.x - x * self.aspect
        dy = self.y - y
        return dx, dy, np.hypot(dx, dy) + 1e-6

    def random_pixels(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows and columns of random pixels, (count,) each."""
        rows = self.rng.integers(0, self.height, count)
        columns = self.rng.integers(0, self.width, count)
        return rows, columns

    def paint_strokes(self, colours, angles, count: int, length: float, thickness: float, noise):
        """Paint strokes that follow the flow, each with a light and a dark edge, as by bristles.

        Args:
            colours: of the underpainting, (height, width, 3) of 0 to 255.
            angles: of the flow, (height, width), in radians.
            count: number of strokes.
            length, thickness: shares of the height.
            noise: standard deviation of a stroke's colour.
        """
        num_steps = 6
        step = length * self.height / num_steps
        start_rows, start_columns = self.random_pixels(count)
        rows = start_rows.astype(float)
        columns = start_columns.astype(float)
        points = [np.stack([columns, rows], axis=1)]
        for _ in range(num_steps):
            nearest_rows = np.clip(rows.astype(int), 0, self.height - 1)
            nearest_columns = np.clip(columns.astype(int), 0, self.width - 1)
            angle = angles[nearest_rows, nearest_columns]
            columns = columns + step * np.cos(angle)
            rows = rows + step * np.sin(angle)
            points.append(np.stack([columns, rows], axis=1))
        paths = np.stack(points, axis=1)  # (strokes, points, 2), x before y
        inks = colours[start_rows, start_columns] + self.rng.normal(0, noise, (count, 3))
        ahead = paths[:, -1] - paths[:, 0]
        across = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
        across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-6  # unit normals, (strokes, 2)
        thickness = thickness * self.height
        for path, ink, normal in zip(paths, inks, across, strict=True):
            # The whole stroke, then a light edge on one side and a dark one on the other.
            for offset, brightness, share in ((0.0, 0, 1.0), (0.30, 20, 0.35), (-0.30, -20, 0.35)):
                line = [tuple(point) for point in path + normal * offset * thickness]
                line_width = max(1, round(share * thickness))
                colour = _to_rgb(ink + brightness)
                self.draw.line(line, fill=colour, width=line_width, joint="curve")

    def to_array(self) -> np.ndarray:
        """Return the painting at its final size, (height, width, 3) of uint8."""
        size = (self.width // OVERSAMPLING, self.height // OVERSAMPLING)
        return np.asarray(self.image.resize(size, Image.Resampling.LANCZOS))


def _paint_dots(canvas: _Canvas, colours: np.ndarray, radius: float, count: int) -> None:
    """Paint dots in the colours of the underpainting; one in ten leans to the complementary colour.

    Complementary colours side by side make each other glow.
    """
    rng = canvas.rng
    rows, columns = canvas.random_pixels(count)
    inks = colours[rows, columns] + rng.normal(0, 20, (count, 3))
    complementary = rng.random(count) < 0.10
    inks[complementary] = 0.55 * inks[complementary] + 0.45 * (255 - inks[complementary])
    radii = radius * (0.7 + 0.6 * rng.random(count)) * canvas.height
    for row, column, ink, r in zip(rows, columns, inks, radii, strict=True):
        canvas.draw.ellipse((column - r, row - r, column + r, row + r), fill=_to_rgb(ink))


def _paint_village(canvas: _Canvas, ridge: np.ndarray) -> None:
    """Paint houses with lit windows and a church below the ridge, whose y is given by column."""
    rng = canvas.rng
    draw = canvas.draw
    unit = canvas.height
    for house in range(11):
        x = (0.28 + 0.062 * house + 0.02 * rng.random()) * canvas.width
        ridge_y = ridge[min(canvas.width - 1, int(x))]
        top = (ridge_y + 0.115 + 0.03 * rng.random()) * unit
        half_width = (0.030 + 0.012 * rng.random()) * unit
        bottom = top + 0.035 * unit
        wall = _to_rgb(np.array((44, 62, 92)) + rng.normal(0, 10, 3))
        box = (x - half_width, top, x + half_width, bottom)
        draw.rectangle(box, fill=wall, outline=(12, 18, 34), width=2)
        eaves = 1.2 * half_width
        roof = [(x - eaves, top), (x, top - 0.028 * unit), (x + eaves, top)]
        draw.polygon(roof, fill=_to_rgb(np.array((92, 60, 58)) + rng.normal(0, 12, 3)))
        if house % 3 != 1:
            pane = 0.006 * unit
            window = (x - pane, top + pane, x + pane, top + 3 * pane)
            draw.rectangle(window, fill=(248, 206, 84))
        if house == 5:
            tower = 0.008 * unit
            spire = [(x - tower, top), (x, top - 0.15 * unit), (x + tower, top)]
            draw.polygon(spire, fill=(24, 32, 58))


def _paint_cypress(canvas: _Canvas) -> None:
    """Paint a dark tree that rises like a flame."""
    rng = canvas.rng
    trunk_x = 0.115 * canvas.width
    unit = canvas.height
    for _ in range(900):
        up = rng.random() ** 1.3  # 0 at the root, 1 at the tip
        reach = 0.085 * unit * (1 - up) ** 0.8 * (0.75 + 0.25 * np.sin(21 * up)) + 2
        x = trunk_x + 0.018 * unit * np.sin(6 * up) + rng.uniform(-1, 1) * reach
        y = unit * (1.0 - 0.80 * up)
        lean = 0.5 * (trunk_x - x) / (reach + 1)
        line = []
        for step in range(5):
            wave = 3 * np.sin(step + 9 * up)
            line.append((x + lean * step * 9 + wave, y - step * 0.012 * unit))
        ink = np.array((20, 42, 34)) + rng.normal(0, 9, 3)
        if rng.random() > 0.75:
            ink = ink + 18
        canvas.draw.line(line, fill=_to_rgb(ink), width=round(0.006 * unit), joint="curve")


def _mix(first, second, share):
    """Blend two colours, or two for each pixel, by the share of the second at each pixel."""
    share = np.asarray(share)[..., None]
    return np.asarray(first) * (1 - share) + np.asarray(second) * share


def _to_rgb(colour) -> tuple[int, int, int]:
    red, green, blue = np.clip(colour, 0, 255)
    return int(red), int(green), int(blue)
