import base64
import io

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from utils import plots

ALT = "Two bars, the second twice as long as the first."


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would receive: (data, metadata) of every display."""
    import IPython.display

    collected = []

    def collect(data, metadata=None, raw=False):
        assert raw
        collected.append((data, metadata))

    monkeypatch.setattr(IPython.display, "display", collect)
    plots.use_style()
    return collected


def pixels(data):
    return plt.imread(io.BytesIO(base64.b64decode(data["image/png"])))


def test_show_carries_the_alt_text_and_closes_the_figure(shown):
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    plots.show_figure(figure, ALT)
    ((data, metadata),) = shown
    assert metadata == {"image/png": {"alt": ALT}} and ALT in data["text/plain"]
    assert pixels(data).shape[1] >= 800
    assert plt.get_fignums() == []


def test_a_figure_without_alt_text_is_refused(shown):
    with pytest.raises(ValueError, match="alt text"):
        plots.show_figure(plt.figure(), "  ")
    plt.close("all")


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figure that a function hands to `show`."""
    plots.use_style()
    kept = []
    monkeypatch.setattr(plots, "show_figure", lambda figure, alt: kept.append((figure, alt)))
    yield kept
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


def test_curves_draw_training_and_validation_by_epoch(drawn):
    plots.plot_history(
        {"m": {"loss": [3, 2, 1], "val_loss": [3, 3, 4]}}, "loss", "It overfits", ALT
    )
    training, validation = drawn[0][0].axes[0].lines[:2]
    assert training.get_xdata().tolist() == [1, 2, 3]
    assert (list(training.get_ydata()), list(validation.get_ydata())) == ([3, 2, 1], [3, 3, 4])
    assert training.get_linestyle() != validation.get_linestyle()


def test_heatmap_writes_its_numbers_readably(drawn):
    values = np.array([[-1.0, 0.0], [0.5, 1.0]])
    plots.heatmap(values, "Signs", ALT, rows=["r", "s"], columns=["c", "d"], diverging=True)
    axes = drawn[0][0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["-1.00", "0.00", "0.50", "1.00"]
    assert axes.images[0].get_clim() == (-1.0, 1.0)
    middle = axes.images[0].cmap(axes.images[0].norm(0.0))
    np.testing.assert_allclose(middle[:3], 1.0, atol=0.01)


def test_leaderboard_states_baseline_first_and_the_binomial_interval(shown, monkeypatch):
    row = {
        "model": "m",
        "notebook": "01_x",
        "accuracy": 0.9,
        "tested": 2_500,
        "parameters": 1234,
        "seconds": 3.2,
    }
    plots.leaderboard([row], 0.5, ALT)
    (table, _), (figure, _) = shown
    lines = table["text/plain"].splitlines()
    assert "most frequent class" in lines[2] and "50.0%" in lines[2]
    # 1.96 * sqrt(0.9 * 0.1 / 2500) = 0.01176
    assert all(part in lines[3] for part in ("90.0%", "1.2", "1,234", "3 s", "01"))
    assert "image/png" in figure


def test_table_escapes_text_and_aligns_numbers(shown):
    plots.show_table([{"text": "<br /> | a", "n": "9"}, {"text": "b", "n": "1,000"}])
    data, _ = shown[0]
    assert "&lt;br /&gt;" in data["text/html"] and "<br" not in data["text/html"]
    assert data["text/plain"].splitlines()[2].endswith("    9")
    assert [data["text/html"].count(f"text-align: {side}") for side in ("left", "right")] == [3, 3]


def test_pictures_of_a_sheet_stand_in_reading_order():
    made = np.arange(6)[:, None, None, None] * np.ones((1, 2, 3, 1))
    expected = np.kron([[0, 1, 2], [3, 4, 5]], np.ones((2, 3)))
    np.testing.assert_array_equal(plots.image_grid(made, 3)[..., 0], expected)
    colours = np.arange(4 * 2 * 3 * 3).reshape(4, 2, 3, 3)
    np.testing.assert_array_equal(plots.image_grid(colours, 2)[2:, 3:], colours[3])


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
