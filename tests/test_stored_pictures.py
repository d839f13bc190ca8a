"""What is stored shows only data whose terms allow it; the loaders say which those are."""

import ast
import functools
import inspect
import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from tools.execution import notebooks
from utils import datasets, plots, settings

DRAWING = {"show_figure", "show_images", "show_gif"}
# Computed from images of people, but numbers and a shape, not pictures.
NUMBERS = {"photo_history", "photo_error", "photo_mean", "face_history", "shape"}
LICENCES = r"CC0|CC BY|public domain|Apache-2\.0"


def dataset(name, source):
    return datasets.Dataset(name, None, None, source, "")


@functools.cache
def restricted_loaders() -> dict[str, str]:
    """Ask each loader of labelled data what it loads; return those whose real data have terms.

    Returns:
        Name of the loader to the label of its real data.
    """
    found = {}
    for name in datasets.__all__:
        loader = getattr(datasets, name)
        parameters = inspect.signature(loader).parameters if name.startswith("load_") else ()
        if "train" not in parameters:
            continue
        counts = dict.fromkeys({"train", "validation", "test"} & set(parameters), 1)
        real = dataset(loader(**counts).name, "real")
        if not real.may_be_stored:
            found[name] = real.label
    return found


def names_in(node) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def called(node) -> str:
    """Return the last part of the name that a node calls, or nothing."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def drawings(sources: list[str], loaders) -> list[tuple[int, str, bool]]:
    """Find the drawings of restricted data in the code cells of a notebook.

    Args:
        sources: of the code cells.
        loaders: names of the functions that load such data.

    Returns:
        For each drawing in a cell that uses such data, or what was computed from them: number of
        the cell, line of code, and whether the drawing is handed the data (`data=`).
    """
    data_names = set()
    derived = set()  # variables that may hold pictures
    drawing = set(DRAWING)
    found = []
    for number, source in enumerate(sources):
        used = False
        calls = []
        for statement in ast.parse(source).body:
            used = used or bool(names_in(statement) & derived)
            nodes = list(ast.walk(statement))
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                if any(called(node) in drawing for node in nodes):
                    drawing.add(statement.name)
                continue
            calls += [node for node in nodes if called(node) in drawing]
            for node in nodes:
                if not isinstance(node, ast.Assign):
                    continue
                targets = set().union(*map(names_in, node.targets))
                if any(called(part) in loaders for part in ast.walk(node.value)):
                    data_names |= targets
                    derived |= targets
                elif names_in(node.value) & derived:
                    derived |= targets - NUMBERS
                else:
                    derived -= targets
        for call in calls if used else ():
            handed = [keyword.value for keyword in call.keywords if keyword.arg == "data"]
            allowed = any(names_in(value) & data_names for value in handed)
            found.append((number, ast.unparse(call), allowed))
    return found


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def stored_text(cells) -> str:
    """Join what stored code cells printed."""
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def test_the_loaders_know_that_celebas_photographs_may_not_be_stored():
    assert restricted_loaders() == {"load_faces": "faces: CelebA (real data)"}
    assert dataset("faces", "sample").may_be_stored and dataset("faces", "folder").may_be_stored
    assert not dataset("a new one", "real").may_be_stored


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = datasets.load_faces()\ny = x.test\nplots.show_images({'': y}, ALT)", [False]),
        ("x = datasets.load_faces()\nplots.show_images({'': x.test}, ALT, data=x)", [True]),
        ("x = datasets.load_faces()\nplots.show_images({'': x.test}, ALT, data=None)", [False]),
        ("x = datasets.load_faces()\ny = 1\nplots.show_images({'': x.test}, ALT, data=y)", [False]),
        ("x = datasets.load_faces()\nx = 1\nplots.show_images({'': x}, ALT)", []),
        ("x = datasets.load_digits()\nplots.show_images({'': x.test}, ALT)", []),
        ("def f(a):\n    plots.show_gif(a, ALT)\nx = datasets.load_faces()\nf(x)", [False]),
        ("x = datasets.load_faces()\nshape = x.shape\nplots.show_images({}, ALT)", []),
    ],
)
def test_a_drawing_of_restricted_data_is_found(source, expected):
    cells = source.splitlines()
    if source.startswith("def"):
        cells = ["\n".join(cells[:2]), *cells[2:]]
    assert [allowed for *_, allowed in drawings(cells, ["load_faces"])] == expected


def test_every_drawing_of_restricted_data_is_handed_the_data():
    loaders = restricted_loaders()
    found = {}
    for path in notebooks():
        sources = [cell.source for cell in code_cells(path)]
        for _, line, handed in drawings(sources, loaders):
            found[path.stem, line] = handed
    assert [where for where, handed in found.items() if not handed] == []
    assert {stem for stem, _ in found} == {"09_vae", "10_gan"}


def test_no_stored_output_shows_restricted_data():
    loaders = restricted_loaders()
    checked = 0
    for path in notebooks():
        cells = code_cells(path)
        if not any(label in stored_text(cells) for label in loaders.values()):
            continue  # they were not at hand
        for number, line, _ in drawings([cell.source for cell in cells], loaders):
            for output in cells[number].outputs:
                kinds = "".join(output.get("data", {}))
                assert "image" not in kinds and "html" not in kinds, f"{path.stem}: {line}"
            checked += 1
    assert checked


@pytest.mark.parametrize("storing", [True, False])
@pytest.mark.parametrize("source", ["real", "sample"])
def test_a_figure_is_left_out_only_where_outputs_are_stored(monkeypatch, capsys, storing, source):
    shown = []
    monkeypatch.setattr(plots, "_display_image", lambda *arguments: shown.append(arguments[-1]))
    monkeypatch.setenv("COMPANION_STORE", "1" if storing else "0")
    faces = dataset("faces", source)
    image = np.zeros((8, 8, 3), "uint8")
    plots.show_images({"somebody": image}, "One face.", data=faces)
    plots.show_figure(plt.figure(), "A figure.", data=faces)
    plots.show_gif([image, image], "A morph.", data=faces)
    plots.show_images({"a shape": image}, "No data.")
    output = capsys.readouterr().out
    assert plt.get_fignums() == []
    if storing and source == "real":
        assert shown == ["No data."]
        assert output.count("Not stored, for the terms of faces: CelebA (real data) forbid it") == 3
        assert "One face." in output and "A morph." in output
    else:
        assert shown == ["One face.", "A figure.", "A morph.", "No data."] and output == ""


def test_every_image_of_notebooks_07_and_08_has_a_licence_that_allows_it():
    images = datasets.load_images(max_side=64)
    assert next(iter(images.photographs)) == "tower"
    assert set(images.licences) == set(images.photographs) | set(images.paintings)
    for name, licence in images.licences.items():
        assert re.search(LICENCES, licence), name
    labels = [datasets.ImageCollection({}, {}, kind, "").label for kind in ("real", "sample")]
    for path in notebooks():
        if path.stem in ("07_deepdream", "08_style_transfer"):
            assert any(label in stored_text(code_cells(path)) for label in labels), path.stem
    for page in ("README.md", "data/README.md"):
        text = (settings.ROOT / page).read_text(encoding="utf-8")
        for licence in images.licences.values():
            if "CC BY" in licence:  # needs author, licence and address
                author, terms, address = licence.split(", ")
                assert author in text and terms in text and address in text, page
