"""Draw the map of `utils` from its imports and compare it with README.md: `make map`."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def planned(readme: str) -> list[str]:
    """Read the map in README.md.

    Args:
        readme: its text, with the map in a code block between `<!-- map -->` and `<!-- /map -->`.

    Returns:
        Paths below utils, top to bottom; the modules of a package follow the package itself, whose
        path ends in "/".

    Raises:
        ValueError: there is no map.
    """
    block = re.search(r"<!-- map -->(.*?)<!-- /map -->", readme, re.DOTALL)
    if block is None:
        raise ValueError("README.md has no map between <!-- map --> and <!-- /map -->")
    paths = []
    package = ""
    for line in block.group(1).splitlines():
        entry = re.match(r"( *)([\w/]+(?:\.py)?)( {2,}|$)", line)
        if entry is None or not entry.group(2).endswith((".py", "/")):
            continue
        indent, name = len(entry.group(1)), entry.group(2)
        if indent == 4:
            package = name if name.endswith("/") else ""
            paths.append(name)
        else:
            paths.append(package + name)
    return paths


def modules(folder: Path) -> dict[str, Path]:
    """List the modules below a package's folder by the name that stands in the map.

    Returns:
        "settings.py" or "metrics/text.py" to its file; "metrics/" to a package's `__init__.py`.
    """
    named = {}
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        if path.name != "__init__.py":
            named[inside.as_posix()] = path
        elif inside.parent != Path():
            named[f"{inside.parent.as_posix()}/"] = path
    return named


def imports(path: Path, package: str, known: set[str]) -> set[str]:
    """Name the modules of `package` that a file imports, at its top or inside a function.

    Args:
        path: of the file.
        package: name of the whole package, such as "utils".
        known: names of its modules, as from `modules`.
    """
    imported = set()

    def note(dotted: str) -> bool:
        inside = dotted.removeprefix(f"{package}.").replace(".", "/")
        for name in (f"{inside}.py", f"{inside}/"):
            if name in known:
                imported.add(name)
                return True
        return False

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(f"{package}."):
                    note(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(
                f"{path.name}, line {node.lineno}: a relative import; write {package}.…"
            )
        elif isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == package:
            for alias in node.names:
                # What is no module of its own is a name in the module that it comes from.
                if not note(f"{node.module}.{alias.name}"):
                    note(node.module)
    return imported


def arrows(folder: Path) -> dict[str, set[str]]:
    """Return what each module of a package imports of the same package."""
    named = modules(folder)
    return {name: imports(path, folder.name, set(named)) for name, path in named.items()}


def faults(planned_order: list[str], arrows_by_module: dict[str, set[str]]) -> list[str]:
    """List the differences between the code and the map.

    Args:
        planned_order: as from `planned`.
        arrows_by_module: as from `arrows`.
    """
    position = {name: number for number, name in enumerate(planned_order)}
    lines = [f"{name} is not on the map" for name in arrows_by_module if name not in position]
    lines += [f"{name} is on the map only" for name in position if name not in arrows_by_module]
    for name, targets in arrows_by_module.items():
        for target in sorted(targets):
            if name in position and target in position and position[target] <= position[name]:
                lines.append(f"{name} imports {target}, which stands above it on the map")
    return lines


def main() -> int:
    """Print each module with its lines and imports; 1 if the code departs from the map."""
    folder = ROOT / "utils"
    planned_order = planned((ROOT / "README.md").read_text(encoding="utf-8"))
    files = modules(folder)
    arrows_by_module = arrows(folder)
    drawn = [*planned_order, *(name for name in arrows_by_module if name not in planned_order)]
    for name in drawn:
        lines = len(files[name].read_text(encoding="utf-8").splitlines()) if name in files else 0
        targets = sorted(arrows_by_module.get(name, ()), key=drawn.index)
        print(f"{name:32}{lines:5}  {', '.join(target.removesuffix('.py') for target in targets)}")
    wrong = faults(planned_order, arrows_by_module)
    print("\n".join(wrong) if wrong else "Every import points down the map.")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
