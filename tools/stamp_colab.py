"""Write a fork's address into the badge and the set-up cell of every notebook: `make colab REPO=owner/name`.

An empty address takes the stamp away again.
"""

import re
import sys
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
BADGE = re.compile(r"<!-- badge -->.*?<!-- /badge -->", re.DOTALL)
REPOSITORY = re.compile(r'^REPOSITORY = ".*?"', re.MULTILINE)
UNSTAMPED = "*To open this notebook on Colab from your own fork, run `make colab REPO=owner/name` there and push.*"


def badge(repository: str, name: str) -> str:
    """Write the line below a notebook's title: a Colab badge, or how to get one."""
    line = UNSTAMPED
    if repository:
        site = "https://colab.research.google.com"
        target = f"{site}/github/{repository}/blob/HEAD/notebooks/{name}"
        line = f"[![Open in Colab]({site}/assets/colab-badge.svg)]({target})"
    # On lines of their own: within the line of a comment, Markdown would not be read.
    return f"<!-- badge -->\n\n{line}\n\n<!-- /badge -->"


def stamp(path: Path, repository: str) -> None:
    """Stamp one notebook in place; outputs stay as they are.

    Raises:
        ValueError: the notebook has no badge in its first cell or no set-up cell after it.
    """
    notebook = nbformat.read(path, as_version=4)
    title, setup = (
        notebook.cells[0],
        next(cell for cell in notebook.cells if cell.cell_type == "code"),
    )
    if not BADGE.search(title.source) or not REPOSITORY.search(setup.source):
        raise ValueError(f"{path.name} has no badge or no REPOSITORY line to stamp")
    title.source = BADGE.sub(lambda _: badge(repository, path.name), title.source)
    setup.source = REPOSITORY.sub(lambda _: f'REPOSITORY = "{repository}"', setup.source)
    nbformat.write(notebook, path)


def main() -> int:
    """Stamp all notebooks with the address given on the command line."""
    repository = sys.argv[1].strip() if len(sys.argv) > 1 else ""
    if repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        print(
            f"REPO={repository} is not an address: give owner/name, as in make colab REPO=owner/name"
        )
        return 1
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in paths:
        stamp(path, repository)
    print(
        f"{len(paths)} notebooks now {'open from ' + repository if repository else 'carry no address'}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
