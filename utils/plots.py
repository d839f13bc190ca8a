"""The figures and tables that several notebooks share, and the style of all of them.

A figure that only one notebook draws is drawn there, in the open, and handed to `show_figure`.
"""

import base64
import io
import math
import textwrap
import warnings

import numpy as np
from tabulate import tabulate

from utils import _scores

# From Okabe and Ito (2008): colours that stay apart for every common kind of colour blindness.
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
RED = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
GREY = "#7F7F7F"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)


def use_style() -> None:
    """Make figures readable from the back of a room: large type, strong lines, no clutter."""
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "figure.figsize": (10, 4.8),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.size": 15,
            "axes.titlesize": 18,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.alpha": 0.3,
            "lines.linewidth": 2.5,
            "lines.markersize": 8,
            "legend.frameon": False,
            "axes.prop_cycle": plt.cycler(color=COLOURS),
        }
    )


def show_figure(figure, alt: str, data=None) -> None:
    """Put a figure into the notebook's output together with its text alternative, and close it.

    It is stored as PNG, or as JPEG if it holds photographs, which makes it five times smaller.

    Args:
        figure: a matplotlib figure.
        alt: what the figure shows, in a sentence, for those who cannot see it. It is stored as the
            image's `alt` metadata and as the output's plain text.
        data: the `Dataset` whose content it shows, if there may be terms: the figure is left out
            where `data.withheld` says so.

    Raises:
        ValueError: `alt` is empty.
    """
    import matplotlib.pyplot as plt

    if not alt.strip():
        raise ValueError("a figure needs an alt text: say in a sentence what it shows")
    if data is not None and data.withheld(alt):
        plt.close(figure)
        return
    in_colour = any(image.get_array().ndim == 3 for axes in figure.axes for image in axes.images)
    kind = "jpeg" if in_colour else "png"
    options = {"pil_kwargs": {"quality": 85}} if in_colour else {}
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        figure.savefig(file, format=kind, facecolor="white", **options)
    plt.close(figure)
    other = [warning for warning in caught if "missing from font" not in str(warning.message)]
    if len(other) < len(caught):  # a warning for each character
        print("No font of this computer has some characters of the next figure: boxes instead.")
    for warning in other:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    _display_image(f"image/{kind}", file, f"[Figure: {alt}]", alt)


def _display_image(mime: str, file: io.BytesIO, text: str, alt: str) -> None:
    from IPython.display import display

    data = {mime: base64.b64encode(file.getvalue()).decode(), "text/plain": text}
    display(data, metadata={mime: {"alt": alt}}, raw=True)


def show_table(rows: list[dict]) -> None:
    """Show rows as a table, as HTML where it can be drawn and else as text. Put the baseline first.

    Args:
        rows: dicts whose keys become the headings; the cell of a key that a row lacks stays empty.
            Numbers are shown as the caller formatted them, and a column is right-aligned if all its
            cells begin like numbers. Where there are no rows, a line says so.
    """
    from IPython.display import display

    if not rows:
        print("Nothing to show: the table has no rows.")
        return
    headings = dict.fromkeys(key for row in rows for key in row)  # each once, in order
    columns = {key: [str(row.get(key, "")) for row in rows] for key in headings}
    alignment = []
    for cells in columns.values():
        numeric = all(cell[:1] in "0123456789+-" for cell in cells)
        alignment.append("right" if numeric else "left")
    layout = {"headers": "keys", "disable_numparse": True, "colalign": alignment}
    html = str(tabulate(columns, tablefmt="html", **layout))
    for tag in ("<td>", "<th>"):  # Jupyter's own style would align them right
        html = html.replace(tag, f'{tag[:-1]} style="text-align: left;">')
    wrapped = {key: [textwrap.fill(cell, 60) for cell in cells] for key, cells in columns.items()}
    text = tabulate(wrapped, tablefmt="simple", **layout)
    display({"text/html": html, "text/plain": text}, raw=True)


def plot_history(histories: dict[str, dict], metric: str, title: str, alt: str) -> None:
    """Draw a metric by epoch, a colour for each model, training dashed and validation solid.

    Args:
        histories: name of the model to `History.history`, lists of one value per epoch; at most
            six, as many as there are colours beside the grey of the legend.
        metric: for example "accuracy"; "val_accuracy" is drawn too if the history has it.
        title: what the figure shows, as a claim.
        alt: its text alternative.

    Raises:
        ValueError: there are more than six histories.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    if len(histories) > len(COLOURS) - 1:
        raise ValueError(f"{len(histories)} histories, but only {len(COLOURS) - 1} colours")
    figure, axes = plt.subplots()
    for colour, (name, history) in zip(COLOURS, histories.items(), strict=False):
        training = history[metric]
        validation = history.get(f"val_{metric}", [])
        axes.plot(range(1, len(training) + 1), training, "--", color=colour, alpha=0.6)
        axes.plot(range(1, len(validation) + 1), validation, "o-", color=colour, label=name)
    axes.plot([], [], "--", color=GREY, label="on training data")
    axes.plot([], [], "o-", color=GREY, label="on validation data")
    axes.set(title=title, xlabel="epoch", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    show_figure(figure, alt)


def bar_chart(
    values: dict[str, float],
    title: str,
    label: str,
    alt: str,
    *,
    errors=None,
    baseline=None,
    fmt="{:.1f}",
) -> None:
    """Draw one horizontal bar per name, with its value at the end and, if known, its error.

    Args:
        values: name to value.
        title: what the figure shows, as a claim.
        label: what the values are, with their unit.
        alt: text alternative of the figure.
        errors: name to standard error, or to half the width of an interval.
        baseline: (name, value) of a dashed line to compare with.
        fmt: how a value is written, as for `str.format`.
    """
    import matplotlib.pyplot as plt

    names = list(values)
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.6 * len(names)))
    half_widths = [errors[name] for name in names] if errors else None
    axes.barh(names, list(values.values()), xerr=half_widths, color=BLUE, capsize=5)
    for row, name in enumerate(names):
        end = values[name] + (errors[name] if errors else 0)
        beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(fmt.format(values[name]), (end, row), **beside)
    if baseline:
        axes.axvline(baseline[1], color=RED, linestyle="--")
        above = {"xycoords": ("data", "axes fraction"), "va": "bottom", "ha": "center"}
        axes.annotate(baseline[0], (baseline[1], 1.0), color=RED, **above)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set(xlabel=label)
    axes.set_title(title, pad=24 if baseline else 8)
    show_figure(figure, alt)


def leaderboard(rows: list[dict], baseline: float, alt: str) -> None:
    """Show the test accuracy of each model: a table, then points with their 95% interval.

    Points, because bars would have to begin at zero, and the differences are hundredths. The
    interval is the one of Wilson (1927) for a binomial proportion. What a row lacks stays empty.

    Args:
        rows: from `results.leaderboard`, each with model, notebook, accuracy (0 to 1), tested
            (number of test samples), parameters and seconds (of training).
        baseline: accuracy of the most frequent class.
        alt: text alternative of the figure.
    """
    import matplotlib.pyplot as plt

    table = [{"model": "most frequent class", "accuracy": baseline, "parameters": 0, "seconds": 0}]
    points = []  # (model, accuracy, lower and upper end of the interval), in percent
    for row in rows:
        interval = None
        if row.get("accuracy") is not None and row.get("tested"):
            low, high = _scores.accuracy_interval(row["accuracy"], row["tested"])
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            points.append((row["model"], 100 * row["accuracy"], 100 * low, 100 * high))
        table.append(row | {"interval": interval})
    headings = ["model", "test accuracy", "95% interval", "parameters", "training", "notebook"]
    show_table(_scores.table(table, headings))
    count = max(1, len(points))
    figure, axes = plt.subplots(figsize=(10, 1.8 + 0.55 * count))
    for height, (_, accuracy, low, high) in enumerate(points):
        ends = [[accuracy - low], [high - accuracy]]
        axes.errorbar(accuracy, height, xerr=ends, fmt="o", color=BLUE, capsize=6)
    axes.set_yticks(range(len(points)), [model for model, *_ in points])
    axes.set(ylim=(count - 0.5, -0.5), xlabel="test accuracy in %, with its 95% interval")
    same = "The same {:,} reviews for every model"
    axes.set_title(_scores.title(rows, same, "reviews", "Test accuracy"))
    show_figure(figure, alt)


def translation_leaderboard(rows: list[dict], alt: str) -> None:
    """Show the scores of each translator: a table, then its BLEU as bars.

    Args:
        rows: from `results.leaderboard("translation", ...)`, each with model, notebook, bleu, chrf
            and tested (number of test sentences), and unless it is a baseline with accuracy (of the
            next token, 0 to 1), parameters, seconds (of training) and throughput (sentences per
            second). What a row lacks stays empty.
        alt: text alternative of the figure.
    """
    scored = [row for row in rows if row.get("bleu") is not None]
    scored.sort(key=lambda row: row["bleu"])
    headings = ["translator", "BLEU", "chrF", "next token", "parameters", "training"]
    show_table(_scores.table(scored, [*headings, "sentences/s", "notebook"]))
    same = "BLEU on the same {:,} test sentences"
    title = _scores.title(scored, same, "sentences", "BLEU by translator")
    bar_chart({row["model"]: row["bleu"] for row in scored}, title, "BLEU", alt)


def show_diagram(
    boxes: dict[str, tuple],
    arrows: list[tuple[str, str, str]],
    alt: str,
    size: tuple[float, float] = (14, 3),
) -> None:
    """Draw boxes and the arrows between them: the parts of a model, with shapes on the arrows.

    Args:
        boxes: a key to x and y of the centre, the text, and the colour of a box.
        arrows: keys of the box where an arrow begins and where it ends, and the text above a
            horizontal arrow or on the middle of another, which may be "".
        alt: text alternative of the diagram.
        size: width and height in inches.

    Raises:
        KeyError: an arrow names a box that is not there.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=size)
    centred = {"ha": "center", "fontsize": 12}
    on_white = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    patches = {}
    for key, (x, y, text, colour) in boxes.items():
        style = {"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": "black"}
        label = axes.text(x, y, text, ha="center", va="center", fontsize=14, bbox=style)
        patches[key] = label.get_bbox_patch()
    for start, end, text in arrows:
        from_x, from_y = boxes[start][:2]
        to_x, to_y = boxes[end][:2]
        ends = {"patchA": patches[start], "patchB": patches[end], "shrinkA": 0, "shrinkB": 0}
        arrow = {"arrowstyle": "->", "lw": 1.8, **ends}
        axes.annotate("", (to_x, to_y), (from_x, from_y), arrowprops=arrow)
        middle = ((from_x + to_x) / 2, (from_y + to_y) / 2)
        if text and from_y == to_y:
            axes.annotate(text, middle, (0, 4), va="bottom", textcoords="offset points", **centred)
        elif text:
            axes.text(*middle, text, va="center", bbox=on_white, **centred)
    columns = [box[0] for box in boxes.values()]
    rows = [box[1] for box in boxes.values()]
    axes.set(xlim=(min(columns) - 1, max(columns) + 1), ylim=(min(rows) - 0.6, max(rows) + 0.6))
    axes.axis("off")
    show_figure(figure, alt)


def heatmap(
    values,
    title: str,
    alt: str,
    *,
    rows=None,
    columns=None,
    label="",
    diverging=False,
    fmt="{:.2f}",
) -> None:
    """Draw a matrix as colours, with the numbers in the cells if they are few enough to be read.

    Args:
        values: (rows, columns) array.
        title: what the figure shows, as a claim.
        alt: text alternative of the figure.
        rows: names along the left side.
        columns: names along the lower side.
        label: what the values are, with their unit.
        diverging: blue for positive and orange for negative values, white at zero; else dark to
            light.
        fmt: how a value is written into its cell, as for `str.format`.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    values = np.asarray(values)
    scale = {"cmap": "cividis"}
    if diverging:
        limit = float(np.abs(values).max()) or 1.0
        colours = LinearSegmentedColormap.from_list("signed", [ORANGE, "white", BLUE])
        scale = {"cmap": colours, "vmin": -limit, "vmax": limit}
    figure, axes = plt.subplots(figsize=(10, 1.8 + 0.5 * len(values)))
    image = axes.imshow(values, aspect="auto", **scale)
    axes.grid(visible=False)
    axes.set_title(title)
    if rows is not None:
        axes.set_yticks(range(len(rows)), rows)
    if columns is not None:
        axes.set_xticks(range(len(columns)), columns, rotation=45 if len(columns) > 10 else 0)
    if values.size <= 150:
        centred = {"ha": "center", "va": "center", "fontsize": 12}
        for (row, column), value in np.ndenumerate(values):
            red, green, blue, _ = image.cmap(image.norm(value))
            brightness = 0.3 * red + 0.59 * green + 0.11 * blue
            ink = "black" if brightness > 0.5 else "white"
            axes.text(column, row, fmt.format(value), color=ink, **centred)
    figure.colorbar(image, ax=axes, label=label)
    show_figure(figure, alt)


def image_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lay images out in rows, in reading order, as one image of the same values.

    Args:
        images: (n, height, width, channels), at least one.
        columns: images in a row; fewer if there are fewer images. What the last row lacks is 0.

    Returns:
        (rows * height, columns * width, channels).
    """
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    missing = rows * columns - count
    full = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    grid = full.reshape(rows, columns, height, width, channels)
    grid = grid.swapaxes(1, 2)  # (rows, height, columns, width, channels)
    return grid.reshape(rows * height, columns * width, channels)


def show_images(
    images: dict[str, np.ndarray], alt: str, title: str = "", columns: int = 3, data=None
) -> None:
    """Show images side by side, each under its name.

    Args:
        images: name to (height, width, 3), uint8. The last row need not be full.
        alt: text alternative of the figure.
        title: a claim above all of them.
        columns: images in a row, at most.
        data: as for `show_figure`.
    """
    import matplotlib.pyplot as plt

    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    height, width = next(iter(images.values())).shape[:2]
    panel_width = 14 / columns  # inches, as are all sizes of figures
    panel_height = panel_width * height / width + 0.5
    size = (14, rows * panel_height + (0.5 if title else 0))
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for axes, (name, image) in zip(panels.flat, images.items(), strict=False):
        axes.imshow(image)
        axes.set_title(name, fontsize=15, parse_math=False)  # a file's name may hold dollar signs
    if title:
        figure.suptitle(title, fontsize=19, weight="bold")
    show_figure(figure, alt, data)


def show_gif(frames: list[np.ndarray], alt: str, seconds: float = 4.0, data=None) -> None:
    """Put a short animation into the output, as a GIF that repeats forever.

    Args:
        frames: (height, width, 3) each, uint8.
        alt: what it shows, in a sentence, for those who cannot see it.
        seconds: how long all frames take.
        data: as for `show_figure`.

    Raises:
        ValueError: `alt` is empty.
    """
    from PIL import Image

    if not alt.strip():
        raise ValueError("an animation needs an alt text: say in a sentence what it shows")
    if data is not None and data.withheld(alt):
        return
    first, *others = (Image.fromarray(frame).quantize(128) for frame in frames)
    milliseconds = int(1000 * seconds / len(frames))
    file = io.BytesIO()
    first.save(
        file, format="gif", save_all=True, append_images=others, duration=milliseconds, loop=0
    )
    _display_image("image/gif", file, f"[Animation: {alt}]", alt)
