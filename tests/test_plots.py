import base64
import io
import warnings

import matplotlib
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from utils import plots

ALT = "Two bars, the second twice as long as the first."


@pytest.fixture
def outputs(monkeypatch):
    """What a notebook would receive: (data, metadata) of every display."""
    import IPython.display

    collected = []

    def collect(data, metadata=None, raw=False):
        assert raw
        collected.append((data, metadata))

    monkeypatch.setattr(IPython.display, "display", collect)
    plots.use_style()
    return collected


def opened(data, kind):
    return Image.open(io.BytesIO(base64.b64decode(data[kind])))


def test_a_figure_carries_its_alt_text_and_is_closed(outputs):
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    plots.show_figure(figure, ALT)
    ((data, metadata),) = outputs
    assert metadata == {"image/png": {"alt": ALT}} and ALT in data["text/plain"]
    assert opened(data, "image/png").width >= 800
    assert plt.get_fignums() == []


def test_characters_that_no_font_has_cost_one_line(outputs, capsys, recwarn):
    figure, axes = plt.subplots()
    axes.set_title("中文")
    plots.show_figure(figure, ALT)
    assert capsys.readouterr().out == (
        "No font of this computer has some characters of the next figure: boxes instead.\n"
    )
    assert len(recwarn) == 0 and len(outputs) == 1
    figure, axes = plt.subplots()
    figure.savefig = lambda *args, **kwargs: warnings.warn("something else", stacklevel=1)
    plots.show_figure(figure, ALT)
    assert [str(warning.message) for warning in recwarn] == ["something else"]
    assert capsys.readouterr().out == ""


def test_a_figure_without_alt_text_is_refused(outputs):
    with pytest.raises(ValueError, match="alt text"):
        plots.show_figure(plt.figure(), "  ")
    plt.close("all")


@pytest.fixture
def drawn(monkeypatch):
    """The figures, with alt texts, that functions hand to `show_figure`."""
    plots.use_style()
    figures = []
    monkeypatch.setattr(plots, "show_figure", lambda *arguments: figures.append(arguments[:2]))
    yield figures
    plt.close("all")


def test_bars_have_the_given_length_error_and_baseline(drawn):
    plots.bar_chart(
        {"a": 2.0, "b": 5.0},
        "b wins",
        "seconds",
        ALT,
        errors={"a": 0.5, "b": 1.0},
        baseline=("zero", 1.0),
    )
    axes = drawn[0][0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == [2.0, 5.0]
    ends = axes.collections[0].get_segments()
    np.testing.assert_allclose([(s[0][0], s[1][0]) for s in ends], [(1.5, 2.5), (4.0, 6.0)])
    assert [text.get_text() for text in axes.texts] == ["2.0", "5.0", "zero"]
    assert axes.get_title(loc="left") == "b wins" and axes.get_xlabel() == "seconds"


def test_a_history_draws_training_and_validation_by_epoch(drawn):
    plots.plot_history(
        {"m": {"loss": [3, 2, 1], "val_loss": [3, 3, 4]}}, "loss", "It overfits", ALT
    )
    training, validation = drawn[0][0].axes[0].lines[:2]
    assert training.get_xdata().tolist() == [1, 2, 3]
    assert (list(training.get_ydata()), list(validation.get_ydata())) == ([3, 2, 1], [3, 3, 4])
    assert training.get_linestyle() != validation.get_linestyle()


def test_a_history_without_validation_draws_no_validation(drawn):
    plots.plot_history({"m": {"loss": [3, 2]}}, "loss", "It learns", ALT)
    training, validation = drawn[0][0].axes[0].lines[:2]
    assert list(training.get_ydata()) == [3, 2] and len(validation.get_ydata()) == 0


def test_every_history_has_a_colour_of_its_own(drawn):
    histories = {str(number): {"loss": [3, 2], "val_loss": [3, 3]} for number in range(7)}
    with pytest.raises(ValueError, match="7 histories, but only 6 colours"):
        plots.plot_history(histories, "loss", "Seven", ALT)
    del histories["6"]
    plots.plot_history(histories, "loss", "Six", ALT)
    lines = drawn[0][0].axes[0].lines
    assert len({line.get_color() for line in lines[:12]} | {plots.GREY}) == 7


def test_heatmap_writes_its_numbers_readably(drawn):
    values = np.array([[-1.0, 0.0], [0.5, 1.0]])
    plots.heatmap(values, "Signs", ALT, rows=["r", "s"], columns=["c", "d"], diverging=True)
    axes = drawn[0][0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["-1.00", "0.00", "0.50", "1.00"]
    assert axes.images[0].get_clim() == (-1.0, 1.0)
    middle = axes.images[0].cmap(axes.images[0].norm(0.0))
    np.testing.assert_allclose(middle[:3], 1.0, atol=0.01)


def row(model="m", **numbers):
    usual = {"accuracy": 0.9, "tested": 2_500, "parameters": 1234, "seconds": 3.2}
    return {"model": model, "notebook": "01_x"} | usual | numbers


def test_the_leaderboard_begins_with_the_baseline_and_shows_the_interval(outputs):
    plots.leaderboard([row()], 0.5, ALT)
    (table, _), (figure, _) = outputs
    lines = table["text/plain"].splitlines()
    assert "most frequent class" in lines[2] and "50.0%" in lines[2]
    # Wilson's interval by hand, z = 1.96: (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)
    # = (0.9007683 ± 0.0117851) / 1.0015366 = 0.88762, 0.91115
    cells = ("90.0%", "88.8 to 91.1", "1,234", "3 s", "01")
    assert [lines[3].count(cell) for cell in cells] == [1, 1, 1, 1, 1]
    assert "image/png" in figure


def test_the_leaderboard_draws_the_interval_of_the_table(drawn, outputs):
    plots.leaderboard([row("all right", accuracy=1.0, tested=10)], 0.5, ALT)
    axes = drawn[0][0].axes[0]
    (segment,) = axes.collections[0].get_segments()
    # All of n right: from 1 / (1 + z²/n) to 1. The normal approximation would give a width of zero.
    np.testing.assert_allclose(segment[:, 0], [100 / (1 + 1.959964**2 / 10), 100])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all right"]


@pytest.mark.parametrize(
    ("tested", "title"),
    [
        ((25_000, 25_000), "The same 25,000 reviews for every model"),
        ((25_000, 200), "Not the same test set: 200 to 25,000 reviews"),
        ((25_000, None), "Test accuracy"),
    ],
)
def test_the_title_of_the_leaderboard_holds_for_all_rows(drawn, outputs, tested, title):
    rows = [row(f"m{index}", tested=number) for index, number in enumerate(tested)]
    plots.leaderboard(rows, 0.5, ALT)
    assert drawn[0][0].axes[0].get_title(loc="left") == title


def test_a_leaderboard_of_bare_rows_or_of_none_is_drawn(drawn, outputs):
    bare = {"model": "bare", "notebook": "01_x"}
    plots.leaderboard([bare], 0.5, ALT)
    plots.leaderboard([], 0.5, ALT)
    lines = outputs[0][0]["text/plain"].splitlines()
    assert lines[3].split() == ["bare", "01"] and len(drawn) == 2


def translators(**numbers):
    gru = {"model": "GRU", "notebook": "04_x", "bleu": 20.0, "chrf": 40.0, "accuracy": 0.5}
    copy = {"model": "copy", "notebook": "04_x", "bleu": 1.0, "chrf": 10.0, "tested": 400}
    return [gru | {"parameters": 1_000, "seconds": 60, "tested": 400} | numbers, copy]


def test_the_translation_leaderboard_is_sorted_and_leaves_empty_what_a_row_lacks(drawn, outputs):
    plots.translation_leaderboard(translators(throughput=1_234.5), ALT)
    plots.translation_leaderboard(translators(pace=1_234.5), ALT)  # rows of an older version
    lines = outputs[0][0]["text/plain"].splitlines()
    assert lines[0].split("  ")[0] == "translator"
    assert lines[2].split() == ["copy", "1.0", "10.0", "04"]
    assert lines[3].split() == ["GRU", "20.0", "40.0", "50.0%", "1,000", "60", "s", "1,234", "04"]
    assert "1,234" not in outputs[1][0]["text/plain"]
    assert [bar.get_width() for bar in drawn[0][0].axes[0].patches] == [1.0, 20.0]


@pytest.mark.parametrize(
    ("tested", "title"),
    [
        (400, "BLEU on the same 400 test sentences"),
        (6_000, "Not the same test set: 400 to 6,000 sentences"),
        (None, "BLEU by translator"),
    ],
)
def test_the_title_of_the_translation_leaderboard_holds_for_all_rows(drawn, outputs, tested, title):
    plots.translation_leaderboard(translators(tested=tested), ALT)
    assert drawn[0][0].axes[0].get_title(loc="left") == title


def test_table_escapes_text_and_aligns_numbers(outputs):
    plots.show_table([{"text": "<br /> | a", "n": "9"}, {"text": "b", "n": "1,000"}])
    data, _ = outputs[0]
    assert "&lt;br /&gt;" in data["text/html"] and "<br" not in data["text/html"]
    assert data["text/plain"].splitlines()[2].endswith("    9")
    assert [data["text/html"].count(f"text-align: {side}") for side in ("left", "right")] == [3, 3]


def test_a_table_shows_a_column_that_its_first_row_lacks(outputs):
    plots.show_table(
        [{"model": "baseline", "n": "9"}, {"model": "ours", "seconds": "12", "n": "8"}]
    )
    data, _ = outputs[0]
    heading, _, first, second = data["text/plain"].splitlines()
    assert heading.split() == ["model", "n", "seconds"]
    assert (first.split(), second.split()) == (["baseline", "9"], ["ours", "8", "12"])


def test_a_table_without_rows_says_so(outputs, capsys):
    plots.show_table([])
    assert capsys.readouterr().out == "Nothing to show: the table has no rows.\n"
    assert outputs == []


def test_images_of_a_grid_are_in_reading_order():
    images = np.arange(6)[:, None, None, None] * np.ones((1, 2, 3, 1))
    expected = np.kron([[0, 1, 2], [3, 4, 5]], np.ones((2, 3)))
    np.testing.assert_array_equal(plots.image_grid(images, 3)[..., 0], expected)
    colours = np.arange(4 * 2 * 3 * 3).reshape(4, 2, 3, 3)
    np.testing.assert_array_equal(plots.image_grid(colours, 2)[2:, 3:], colours[3])


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 13])
def test_a_grid_that_is_not_full_holds_every_image_once(count):
    images = np.arange(1, count + 1)[:, None, None, None] * np.ones((1, 2, 3, 1))
    grid = plots.image_grid(images, 6)[..., 0]
    numbers = grid[::2, ::3].ravel()
    np.testing.assert_array_equal(grid, np.kron(grid[::2, ::3], np.ones((2, 3))))
    np.testing.assert_array_equal(numbers[:count], np.arange(1, count + 1))
    assert not numbers[count:].any() and len(numbers) - count < 6


def plain_images(count, height=20, width=30):
    """Images of one colour each, by name."""
    shape = (height, width, 3)
    return {f"image {n}": np.full(shape, 40 * n, "uint8") for n in range(count)}


@pytest.mark.parametrize(
    ("count", "columns", "panels"),
    [(1, 3, 1), (2, 3, 2), (5, 3, 6), (7, 4, 8), (3, 1, 3), (4, 2, 4)],
)
def test_images_are_shown_in_order_also_where_the_last_row_is_not_full(
    drawn, count, columns, panels
):
    images = plain_images(count)
    plots.show_images(images, ALT, title="All grey", columns=columns)
    ((figure, alt),) = drawn
    assert alt == ALT and figure.get_suptitle() == "All grey"
    assert len(figure.axes) == panels and not any(axes.axison for axes in figure.axes)
    used = [axes for axes in figure.axes if axes.images]
    assert used == figure.axes[:count]
    assert [axes.get_title(loc="left") for axes in used] == list(images)
    for axes, image in zip(used, images.values(), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)


def test_names_of_images_are_drawn_as_they_are(outputs):
    """Between two dollar signs matplotlib reads mathematics, and raises if it is none."""
    plots.show_images({"cost $5_{ and $6": np.zeros((20, 30, 3), "uint8")}, ALT)
    assert len(outputs) == 1


def test_panels_have_the_shape_of_the_images(drawn):
    plots.show_images(plain_images(4, height=10, width=40), ALT, columns=2)
    # Two panels of 7 inches by 7 / 4, each with half an inch for its name, above each other.
    np.testing.assert_allclose(drawn[0][0].get_size_inches(), [14, 2 * (7 / 4 + 0.5)])


def test_images_in_colour_are_stored_as_jpeg(outputs):
    plots.show_images(plain_images(3), ALT)
    ((data, metadata),) = outputs
    assert metadata == {"image/jpeg": {"alt": ALT}} and "image/png" not in data
    assert opened(data, "image/jpeg").format == "JPEG"


def test_a_gif_holds_every_frame_for_its_time_and_repeats_forever(outputs):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    frames = [np.full((12, 16, 3), colour, "uint8") for colour in colours]
    plots.show_gif(frames, ALT, seconds=2.0)
    ((data, metadata),) = outputs
    assert metadata == {"image/gif": {"alt": ALT}} and ALT in data["text/plain"]
    gif = opened(data, "image/gif")
    assert (gif.format, gif.size, gif.n_frames, gif.info["loop"]) == ("GIF", (16, 12), 4, 0)
    for number, colour in enumerate(colours):
        gif.seek(number)
        assert gif.info["duration"] == 500
        np.testing.assert_allclose(gif.convert("RGB").getpixel((3, 4)), colour, atol=3)


def test_a_gif_without_alt_text_is_refused(outputs):
    with pytest.raises(ValueError, match="alt text"):
        plots.show_gif([np.zeros((2, 2, 3), "uint8")], " ")
    assert outputs == []


def test_colours_stay_apart_for_colour_blind_readers():
    # Machado et al. (2009), severity 1.0: how a protanope and a deuteranope see linear RGB.
    simulations = {
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    }
    colours = np.array([matplotlib.colors.to_rgb(colour) for colour in plots.COLOURS[:4]]) ** 2.2
    for matrix in simulations.values():
        seen = np.clip(colours @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(len(seen))
        assert distance.min() > 0.15


def test_leaderboard_leaves_out_what_a_baseline_does_not_have(capsys):
    rows = [
        {"model": "copy", "bleu": 1.0, "chrf": 10.0, "notebook": "04_x"},
        {
            "model": "GRU",
            "bleu": 20.0,
            "chrf": 40.0,
            "accuracy": 0.5,
            "parameters": 1_000,
            "seconds": 60,
            "throughput": 900,
            "notebook": "04_x",
        },
    ]
    plots.translation_leaderboard(rows, "Bars of BLEU, two of them, one longer than the other.")
    output = capsys.readouterr().out
    assert "50.0%" in output and "1,000" in output and "900" in output and "None" not in output


def test_a_diagram_draws_every_box_and_an_arrow_from_edge_to_edge(drawn):
    boxes = {"a": (0, 0, "ids", plots.SKY), "b": (4, 0, "Dense", plots.ORANGE)}
    plots.show_diagram(boxes, [("a", "b", "(batch, 8)")], ALT, size=(8, 2))
    axes = drawn[0][0].axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert {"ids", "Dense", "(batch, 8)"} <= set(texts)
    axes.figure.canvas.draw()
    (arrow,) = [text.arrow_patch for text in axes.texts if getattr(text, "arrow_patch", None)]
    path = arrow.get_path().vertices
    left, right = (axes.texts[i].get_bbox_patch().get_window_extent() for i in (0, 1))
    start, end = arrow.get_transform().transform(path)[[0, -1]]
    assert start[0] >= left.x1 - 3 and end[0] <= right.x0 + 3
    with pytest.raises(KeyError):
        plots.show_diagram(boxes, [("a", "c", "")], ALT)
