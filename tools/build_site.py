"""Stage the site's sources from notebooks, README and docs/, and let Sphinx build them: `make site`.

Nothing is executed: what a page shows are the stored outputs.
"""

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.stamp_colab import BADGE, REPOSITORY  # noqa: E402

SOURCE, SITE = ROOT / "build" / "site-source", ROOT / "build" / "site"
WIDGET = "application/vnd.jupyter.widget-view+json"
SESSION = re.compile(r"^(##+ .+?) \(session ([\d:, -]+)\)$", re.MULTILINE)
ROW = re.compile(r"^\| (\d\d) \| \[(.+?)\]\((notebooks/.+?\.ipynb)\) \| (.+?) \|", re.MULTILINE)


def write(path: Path, content: bytes | str) -> None:
    """Write a file unless it holds the same already, so that Sphinx builds anew only what changed."""
    content = content.encode() if isinstance(content, str) else content
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def size(picture: bytes) -> tuple[int, int]:
    """Return width and height, with which a page keeps the place free until the picture is there."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        return opened.size


def panel(state: dict, model: str) -> str:
    """Write a stored ipywidgets panel as a table of its controls, with its texts and pictures below them.

    Args:
        state: the widgets of a notebook, by id.
        model: id of the box that holds the panel.
    """
    rows, below = [], []
    for child in state[model]["state"]["children"]:
        widget = state[child.removeprefix("IPY_MODEL_")]
        told = widget["state"]
        if told.get("description"):
            rows.append(
                f"<tr><td>{html.escape(told['description'])}</td><td>{told['value']}</td></tr>"
            )
        elif buffers := widget.get("buffers"):
            alt = "What the panel showed at these values when the notebook was run"
            below.append(
                f'<img src="data:image/{told["format"]};base64,{buffers[0]["data"]}" alt="{alt}">'
            )
        elif isinstance(told.get("value"), str):
            below.append(f"<p>{html.escape(told['value'])}</p>")
    note = "<p><em>The panel as it was in the stored run; in Jupyter its sliders move.</em></p>"
    return f"{note}<table><tbody>{''.join(rows)}</tbody></table>{''.join(below)}"


def plain_outputs(notebook, name: str, folder: Path, address: str) -> None:
    """Turn pictures and panels of a notebook into HTML that needs neither scripts nor a kernel.

    Each picture becomes a file in `folder`, shown with its stored text alternative.

    Args:
        notebook: changed in place.
        name: begins the file names.
        address: of the folder, as the page that shows it has to write it.
    """
    state = notebook.metadata.get("widgets", {}).get(
        "application/vnd.jupyter.widget-state+json", {}
    )
    for number, cell in enumerate(notebook.cells):
        for place, output in enumerate(cell.get("outputs", [])):
            data = output.get("data", {})
            for kind in [kind for kind in data if kind.startswith("image/")]:
                picture = base64.b64decode(data[kind])
                file = f"{name}-{number}-{place}.{kind.removeprefix('image/')}"
                write(folder / file, picture)
                width, height = size(picture)
                alt = html.escape(output.metadata[kind]["alt"])
                shown = (
                    f'<img src="{address}/{file}" alt="{alt}" width="{width}" height="{height}">'
                )
                output.data = {"text/html": shown}
            if WIDGET in data:
                output.data = {"text/html": panel(state["state"], data[WIDGET]["model_id"])}
    notebook.metadata.pop("widgets", None)


def repository() -> str:
    """Return the address that `make colab` stamped into the notebooks, or an empty string."""
    first = nbformat.read(min((ROOT / "notebooks").glob("*.ipynb")), as_version=4)
    setup = next(cell.source for cell in first.cells if cell.cell_type == "code")
    return REPOSITORY.search(setup).group().split('"')[1]


def first_picture(path: Path) -> tuple[bytes, str, str]:
    """Return the picture that stands for a notebook, its type and alt text: a tagged one, or the first."""
    found = [
        (any(tag.startswith("picture-") for tag in cell.metadata.get("tags", [])), output, kind)
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
        if kind in ("image/png", "image/jpeg")
    ]
    if not found:
        return b"", "", ""
    _, output, kind = next((item for item in found if item[0]), found[0])
    return base64.b64decode(output.data[kind]), kind, output.metadata[kind]["alt"]


def cards() -> str:
    """Write the front page's card of each notebook in the README's table: picture, title, question."""
    lines = ["::::{grid} 1 2 2 2", ":gutter: 3", ""]
    for number, title, target, question in ROW.findall(
        (ROOT / "README.md").read_text(encoding="utf-8")
    ):
        picture, kind, alt = first_picture(ROOT / target)
        lines += [
            f":::{{grid-item-card}} {number} {title}",
            f":link: {target.removesuffix('.ipynb')}",
        ]
        lines += [":link-type: doc"]
        if picture:
            file = f"_static/cards/{number}.{kind.removeprefix('image/')}"
            write(SOURCE / file, picture)
            lines += [f":img-top: {file}", f":img-alt: {alt}"]
        lines += ["", question, ":::", ""]
    return "\n".join([*lines, "::::"])


def stage() -> None:
    """Write everything that Sphinx reads, laid out as in the project, so that links hold in both."""
    kept = {SOURCE / "site.json"}
    for path in [
        *(ROOT / "docs").rglob("*"),
        *(ROOT / "data").glob("**/*.*"),
        ROOT / "README.md",
        ROOT / "LICENSE",
    ]:
        inside = path.relative_to(ROOT)
        if not path.is_file() or inside.parts[:2] == ("data", "cache") or path.name == "index.md":
            continue
        if inside.parts[0] == "docs" and path.suffix in (".py", ".css", ".svg"):
            inside = inside.relative_to("docs")
        write(SOURCE / inside, path.read_bytes())
        kept.add(SOURCE / inside)
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        plain_outputs(notebook, path.stem, SOURCE / "_static" / "outputs", "../_static/outputs")
        # The launch button of the page does what the badge does.
        notebook.cells[0].source = BADGE.sub("", notebook.cells[0].source)
        for cell in notebook.cells:
            cell.source = SESSION.sub(r'\1\n\n<p class="session">Session \2</p>', cell.source)
            cell.source = cell.source.removeprefix("# NBVAL_CHECK_OUTPUT\n")
            if "solution" in cell.metadata.get("tags", []):
                cell.metadata.tags = ["hide-cell"]
        write(SOURCE / "notebooks" / path.name, nbformat.writes(notebook))
        kept.add(SOURCE / "notebooks" / path.name)
    pages = sorted(
        path.stem for path in (ROOT / "docs").glob("*.md") if path.stem not in ("index", "results")
    )
    front = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    front = front.replace("<!-- cards -->", cards())
    front = front.replace("<!-- pages -->", "\n".join(f"docs/{page}" for page in pages))
    write(SOURCE / "index.md", front)
    write(SOURCE / "site.json", json.dumps({"repository": repository()}))
    kept.add(SOURCE / "index.md")
    for path in SOURCE.rglob("*"):
        if path.is_file() and path not in kept and "_static" not in path.parts:
            path.unlink()


def main() -> int:
    """Stage and build; warnings are errors, so that a broken link does not go out."""
    if "--fresh" in sys.argv:
        for folder in (SOURCE, SITE):
            shutil.rmtree(folder, ignore_errors=True)
    stage()
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--quiet",
        "--fail-on-warning",
        "--keep-going",
        "-j",
        "2",
    ]
    done = subprocess.run([*command, "-b", "html", str(SOURCE), str(SITE)], check=False)
    if done.returncode == 0:
        print(f"The site is in {SITE.relative_to(ROOT)}: open {SITE.relative_to(ROOT)}/index.html")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
