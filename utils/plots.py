"""The few figures and tables that several notebooks share, and the style of all of them.

A figure that only one notebook draws is drawn there, in the open, and handed to `show`.
"""

import base64
import io
import textwrap

import numpy as np
from tabulate import tabulate

# From Okabe and Ito (2008): colours that stay apart for every common kind of colour blindness.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#7F7F7F"
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


def show_figure(figure, alt: str) -> None:
    """Put a figure into the notebook's output together with its text alternative, and close it.

    It is stored as PNG, and as JPEG where it holds photographs, which makes it five times smaller.

    Args:
        figure: a matplotlib figure.
        alt: what the figure shows, in a sentence, for those who cannot see it. It is stored as the
            image's `alt` metadata and as the output's plain text.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    if not alt.strip():
        raise ValueError("a figure needs an alt text: say in a sentence what it shows")
    photographs = any(image.get_array().ndim == 3 for axes in figure.axes for image in axes.images)
    kind, knobs = ("jpeg", {"pil_kwargs": {"quality": 85}}) if photographs else ("png", {})
    file = io.BytesIO()
    figure.savefig(file, format=kind, facecolor="white", **knobs)
    plt.close(figure)
    data = {
        f"image/{kind}": base64.b64encode(file.getvalue()).decode(),
        "text/plain": f"[Figure: {alt}]",
    }
    display(data, metadata={f"image/{kind}": {"alt": alt}}, raw=True)


def show_table(rows: list[dict]) -> None:
    """Show rows as a table, HTML where it can be drawn and plain text elsewhere. Put the baseline first."""
    from IPython.display import display

    cells = {key: [str(row[key]) for row in rows] for key in rows[0]}
    numeric = [all(cell[:1] in "0123456789+-" for cell in column) for column in cells.values()]
    layout = {
        "headers": "keys",
        "disable_numparse": True,  # numbers are shown as the caller wrote them
        "colalign": ["right" if right else "left" for right in numeric],
    }
    wrapped = {key: [textwrap.fill(cell, 60) for cell in column] for key, column in cells.items()}
    html = str(tabulate(cells, tablefmt="html", **layout))
    for cell in ("<td>", "<th>"):  # Jupyter's own style would push them to the right
        html = html.replace(cell, f'{cell[:-1]} style="text-align: left;">')
    data = {
        "text/html": html,
        "text/plain": tabulate(wrapped, tablefmt="simple", **layout),
    }
    display(data, raw=True)


def plot_history(histories: dict[str, dict], metric: str, title: str, alt: str) -> None:
    """Draw a metric by epoch for one or more models: a colour each, training dashed, validation solid.

    Args:
        histories: name of the model to `History.history`, a list of values an epoch.
        metric: for example "accuracy"; "val_accuracy" is drawn too where it is there.
        title, alt: what the figure claims, and its text alternative.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, axes = plt.subplots()
    for colour, (name, history) in zip(COLOURS, histories.items(), strict=False):
        epochs = np.arange(1, len(history[metric]) + 1)
        axes.plot(epochs, history[metric], "--", color=colour, alpha=0.6)
        axes.plot(
            epochs, history.get(f"val_{metric}", history[metric]), "o-", color=colour, label=name
        )
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
    """Draw one horizontal bar a name, its value written at the end, with error bars if they are known.

    Args:
        values: name to value; `errors` has the same names, each a standard error or half an interval.
        label: what the values are, with their unit.
        baseline: (name, value) of a dashed line to compare with.
        form: how a value is written.
    """
    import matplotlib.pyplot as plt

    names = list(values)
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.6 * len(names)))
    spread = [errors[name] for name in names] if errors else None
    axes.barh(names, list(values.values()), xerr=spread, color=BLUE, capsize=5)
    for row, name in enumerate(names):
        end = values[name] + (errors[name] if errors else 0)
        beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(fmt.format(values[name]), (end, row), **beside)
    if baseline:
        axes.axvline(baseline[1], color=RED, linestyle="--")
        top = {"xycoords": ("data", "axes fraction"), "va": "bottom", "ha": "center"}
        axes.annotate(baseline[0], (baseline[1], 1.0), color=RED, **top)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set(xlabel=label)
    axes.set_title(title, pad=24 if baseline else 8)
    show_figure(figure, alt)


def leaderboard(rows: list[dict], baseline: float, alt: str) -> None:
    """Show what each model reached on the same test set: a table, then points with their 95% interval.

    Points, because bars would have to begin at zero, and what differs is a hundredth.

    Args:
        rows: from `tracking.leaderboard`, each with model, notebook, accuracy (0 to 1), tested (number of
            test samples), parameters and seconds (training).
        baseline: accuracy of the most frequent class.
        alt: text alternative of the figure.
    """
    import matplotlib.pyplot as plt

    # The normal approximation of a binomial proportion; good for the thousands of samples tested here.
    errors = {
        r["model"]: 196 * (r["accuracy"] * (1 - r["accuracy"]) / r["tested"]) ** 0.5 for r in rows
    }
    head = ("model", "test accuracy", "± points", "parameters", "training", "notebook")
    lines = [("most frequent class", f"{baseline:.1%}", "", "0", "0 s", "")]
    for r in rows:
        interval, seconds = f"{errors[r['model']]:.1f}", f"{r['seconds']:.0f} s"
        size = f"{r['parameters']:,}"
        lines.append(
            (r["model"], f"{r['accuracy']:.1%}", interval, size, seconds, r["notebook"][:2])
        )
    show_table([dict(zip(head, line, strict=True)) for line in lines])
    figure, axes = plt.subplots(figsize=(10, 1.8 + 0.55 * len(rows)))
    for place, r in enumerate(rows):
        axes.errorbar(
            100 * r["accuracy"], place, xerr=errors[r["model"]], fmt="o", color=BLUE, capsize=6
        )
    axes.set_yticks(range(len(rows)), [r["model"] for r in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="test accuracy in %, with its 95% interval")
    axes.set_title(f"The same {rows[0]['tested']:,} reviews for every model")
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
    """Draw a matrix as colours, numbers written into the cells while they are few enough to be read.

    Args:
        values: (rows, columns) array.
        rows, columns: names along the sides.
        diverging: blue for positive and orange for negative values, white at zero; else light to dark.
        form: how a value is written into its cell.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    values = np.asarray(values)
    limit = float(np.abs(values).max()) or 1.0
    scale = {"cmap": "cividis"}
    if diverging:
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
        for (row, column), value in np.ndenumerate(values):
            red, green, blue, _ = image.cmap(image.norm(value))
            ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
            axes.text(
                column, row, fmt.format(value), ha="center", va="center", color=ink, fontsize=12
            )
    figure.colorbar(image, ax=axes, label=label)
    show_figure(figure, alt)


def image_grid(pictures, columns: int) -> np.ndarray:
    """Lay pictures out in rows, in reading order, as one picture of the same values.

    Args:
        pictures: (n, height, width, channels); n is a multiple of `columns`.
        columns: pictures in a row.

    Returns:
        (n / columns * height, columns * width, channels).
    """
    count, height, width, channels = pictures.shape
    rows = pictures.reshape(count // columns, columns, height, width, channels).swapaxes(1, 2)
    return rows.reshape(count // columns * height, columns * width, channels)


def show_images(shown: dict[str, np.ndarray], alt: str, title: str = "", columns: int = 3) -> None:
    """Show pictures side by side, each under its name.

    Args:
        shown: name to (height, width, 3), uint8.
        alt: text alternative of the figure.
        title: a claim above all of them.
        columns: pictures in a row, at most.
    """
    import matplotlib.pyplot as plt

    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    height, width = next(iter(shown.values())).shape[:2]
    wide = 14 / columns
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(14, rows * (wide * height / width + 0.5) + 0.5 * bool(title)),
        squeeze=False,
    )
    for axes in panels.flat:
        axes.axis("off")
    for axes, (name, picture) in zip(panels.flat, shown.items(), strict=False):
        axes.imshow(picture)
        axes.set_title(name, fontsize=15)
    if title:
        figure.suptitle(title, fontsize=19, weight="bold")
    show_figure(figure, alt)


def show_gif(frames: list[np.ndarray], alt: str, seconds: float = 4.0) -> None:
    """Put a short animation into the output, as a GIF that runs forever.

    Args:
        frames: (height, width, 3) each, uint8.
        alt: what it shows, for those who cannot see it.
        seconds: how long one round takes.
    """
    from IPython.display import display
    from PIL import Image

    if not alt.strip():
        raise ValueError("an animation needs an alt text: say in a sentence what it shows")
    first, *others = (Image.fromarray(frame).quantize(128) for frame in frames)
    gif = io.BytesIO()
    pause = int(1000 * seconds / len(frames))
    first.save(gif, format="gif", save_all=True, append_images=others, duration=pause, loop=0)
    data = {
        "image/gif": base64.b64encode(gif.getvalue()).decode(),
        "text/plain": f"[Animation: {alt}]",
    }
    display(data, metadata={"image/gif": {"alt": alt}}, raw=True)


def translation_leaderboard(rows: list[dict], alt: str) -> None:
    """Show what each translator reached: a table, then its BLEU as bars.

    Args:
        rows: from `tracking.leaderboard("translation", ...)`, baselines among them, which have no accuracy,
            parameters, seconds or speed.
        alt: text alternative of the figure.
    """
    rows = sorted(rows, key=lambda row: row["bleu"])

    def cell(row, key, form):
        return form.format(row[key]) if row.get(key) is not None else ""

    show_table(
        [
            {
                "translator": row["model"],
                "BLEU": cell(row, "bleu", "{:.1f}"),
                "chrF": cell(row, "chrf", "{:.1f}"),
                "next token": cell(row, "accuracy", "{:.1%}"),
                "parameters": cell(row, "parameters", "{:,}"),
                "training": cell(row, "seconds", "{:.0f} s"),
                "sentences/s": cell(row, "pace", "{:,.0f}"),
                "notebook": row["notebook"][:2],
            }
            for row in rows
        ]
    )
    bar_chart(
        {row["model"]: row["bleu"] for row in rows}, "BLEU on the same test sentences", "BLEU", alt
    )
