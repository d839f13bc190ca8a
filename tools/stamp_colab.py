"""Write a fork's address into badges and set-up cells: `make colab REPO=owner/name`.

An empty address removes the stamp.
"""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.execution import notebooks  # noqa: E402

BADGE = re.compile(r"<!-- badge -->.*?<!-- /badge -->", re.DOTALL)
REPOSITORY = re.compile(r'^REPOSITORY = ".*?"', re.MULTILINE)
UNSTAMPED = (
    "*To open this notebook on Colab from your own fork, "
    "run `make colab REPO=owner/name` there and push.*"
)


def badge(repository: str, name: str) -> str:
    """Write the line below a notebook's title: a Colab badge, or how to get one."""
    line = UNSTAMPED
    if repository:
        site = "https://colab.research.google.com"
        target = f"{site}/github/{repository}/blob/HEAD/notebooks/{name}"
        line = f"[![Open in Colab]({site}/assets/colab-badge.svg)]({target})"
    # On lines of their own: within the line of a comment, Markdown would not be read.
    return f"<!-- badge -->\n\n{line}\n\n<!-- /badge -->"


def stamped(path: Path, repository: str) -> nbformat.NotebookNode | None:
    """Read a notebook and stamp it, outputs as they are; return None if it has nothing to stamp.

    That is a badge in its first cell and a line `REPOSITORY = "..."` in its first code cell.
    """
    notebook = nbformat.read(path, as_version=4)
    title = notebook.cells[0]
    setup = next((cell for cell in notebook.cells if cell.cell_type == "code"), title)
    if not BADGE.search(title.source) or not REPOSITORY.search(setup.source):
        return None
    title.source = BADGE.sub(lambda _: badge(repository, path.name), title.source)
    setup.source = REPOSITORY.sub(lambda _: f'REPOSITORY = "{repository}"', setup.source)
    return notebook


def main() -> int:
    """Stamp all numbered notebooks with the address on the command line, or none of them."""
    repository = sys.argv[1].strip() if len(sys.argv) > 1 else ""
    if repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        print(f"REPO={repository} is not an address: give owner/name, as in REPO=reader/films")
        return 1
    # All are checked before the first is written.
    stamped_notebooks = {path: stamped(path, repository) for path in notebooks()}
    if unfit := [path.name for path, notebook in stamped_notebooks.items() if notebook is None]:
        print(f"Nothing stamped: no badge or no REPOSITORY line in {', '.join(unfit)}.")
        return 1
    for path, notebook in stamped_notebooks.items():
        nbformat.write(notebook, path)
    state = f"open from {repository}" if repository else "carry no address"
    print(f"{len(stamped_notebooks)} notebooks now {state}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
