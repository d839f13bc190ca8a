"""The package is what the README's map says, and imports point down it."""

import pytest

from tools import import_map
from utils import settings

README = """
<!-- map -->

    top.py              imports the others
    middle/             a package
        first.py        with two modules
        second.py
    bottom.py  other.py

<!-- /map -->
"""
ORDER = ["top.py", "middle/", "middle/first.py", "middle/second.py", "bottom.py"]


@pytest.fixture
def package(tmp_path):
    """A package of the shape that `README` describes, in which every import points down."""
    folder = tmp_path / "ours"
    (folder / "middle").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "top.py").write_text("import os\nfrom ours import middle\nimport ours.bottom\n")
    (folder / "middle" / "__init__.py").write_text("from ours.middle.first import name\n")
    (folder / "middle" / "first.py").write_text("from ours.middle import second\nname = 1\n")
    (folder / "middle" / "second.py").write_text("from ours.bottom import thing\n")
    (folder / "bottom.py").write_text("thing = 1\n")
    return folder


def test_the_package_is_the_map_in_the_readme():
    order = import_map.planned((settings.ROOT / "README.md").read_text(encoding="utf-8"))
    assert import_map.faults(order, import_map.arrows(settings.ROOT / "utils")) == []


def test_no_module_needs_a_map_of_its_own():
    folder = settings.ROOT / "utils"
    long = {path.name for path in folder.rglob("*.py") if path.read_text().count("\n") > 430}
    assert long == set()


def test_the_map_is_read_from_the_readme():
    assert import_map.planned(README) == ORDER
    with pytest.raises(ValueError, match="no map"):
        import_map.planned("a README without one")


def test_imports_are_seen_wherever_they_stand(package):
    assert import_map.arrows(package) == {
        "top.py": {"middle/", "bottom.py"},
        "middle/": {"middle/first.py"},
        "middle/first.py": {"middle/second.py"},
        "middle/second.py": {"bottom.py"},
        "bottom.py": set(),
    }
    assert import_map.faults(ORDER, import_map.arrows(package)) == []


def test_an_import_inside_a_function_that_points_up_is_found(package):
    (package / "bottom.py").write_text("def late():\n    from ours.middle import second\n")
    (line,) = import_map.faults(ORDER, import_map.arrows(package))
    assert line == "bottom.py imports middle/second.py, which stands above it on the map"


def test_a_module_may_not_import_its_own_package(package):
    (package / "middle" / "second.py").write_text("from ours import middle\n")
    (line,) = import_map.faults(ORDER, import_map.arrows(package))
    assert line.startswith("middle/second.py imports middle/,")


def test_modules_that_are_not_on_the_map_are_named_and_those_that_are_gone(package):
    (package / "extra.py").touch()
    (package / "middle" / "second.py").unlink()
    (package / "middle" / "first.py").write_text("")
    lines = import_map.faults(ORDER, import_map.arrows(package))
    assert lines == ["extra.py is not on the map", "middle/second.py is on the map only"]


def test_relative_imports_are_refused(package):
    (package / "bottom.py").write_text("from . import top\n")
    with pytest.raises(ValueError, match="relative import"):
        import_map.arrows(package)
