"""Stage the site's sources from notebooks, README.md and docs/, and build them: `make site`.

Nothing is executed: what a page shows are the stored outputs.
"""

import base64
import html
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.execution import notebooks  # noqa: E402
from tools.stamp_colab import BADGE, REPOSITORY  # noqa: E402

SOURCE, SITE = ROOT / "build" / "site-source", ROOT / "build" / "site"
WIDGET = "application/vnd.jupyter.widget-view+json"
SESSION = re.compile(r"^(##+ .+?) \(session ([\d:, -]+)\)$", re.MULTILINE)
ROW = re.compile(r"^\| (\d\d) \| \[(.+?)\]\((notebooks/.+?\.ipynb)\) \| (.+?) \|", re.MULTILINE)


def write(path: Path, content: bytes | str) -> None:
    """Write a file unless it has this content already: Sphinx rebuilds only what changed."""
    content = content.encode() if isinstance(content, str) else content
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def image_size(image: bytes) -> tuple[int, int]:
    """Return width and height, so that a page does not move when the image has loaded."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(image)) as opened:
        return opened.size


def panel(state: dict, model: str) -> str:
    """Write a stored ipywidgets panel as a table of its controls; its texts and images follow.

    A widget without a value, such as a button, can do nothing on a page and is left out.

    Args:
        state: the widgets of a notebook, by id.
        model: id of the box that holds the panel.
    """
    rows = []
    below = []
    for child in state[model]["state"]["children"]:
        widget = state[child.removeprefix("IPY_MODEL_")]
        traits = widget["state"]
        description = traits.get("description")
        value = traits.get("value")
        if buffers := widget.get("buffers"):
            alt = "What the panel showed at these values when the notebook was run"
            source = f"data:image/{traits['format']};base64,{buffers[0]['data']}"
            below.append(f'<img src="{source}" alt="{alt}">')
        elif description and value is not None:
            cells = f"<td>{html.escape(description)}</td><td>{html.escape(str(value))}</td>"
            rows.append(f"<tr>{cells}</tr>")
        elif isinstance(value, str):
            below.append(f"<p>{html.escape(value)}</p>")
    note = "<p><em>The panel as it was in the stored run; in Jupyter its sliders move.</em></p>"
    return f"{note}<table><tbody>{''.join(rows)}</tbody></table>{''.join(below)}"


def plain_outputs(notebook, name: str, folder: Path, address: str) -> None:
    """Turn images and panels of a notebook into HTML that needs neither scripts nor a kernel.

    Each image becomes a file in `folder`, shown with its stored alt text.

    Args:
        notebook: changed in place.
        name: beginning of the file names.
        folder: for the files.
        address: of the folder, relative to the page that shows the notebook.
    """
    state = notebook.metadata.get("widgets", {}).get(
        "application/vnd.jupyter.widget-state+json", {}
    )
    for number, cell in enumerate(notebook.cells):
        for position, output in enumerate(cell.get("outputs", [])):
            data = output.get("data", {})
            for kind in [kind for kind in data if kind.startswith("image/")]:
                image = base64.b64decode(data[kind])
                file = f"{name}-{number}-{position}.{kind.removeprefix('image/')}"
                write(folder / file, image)
                width, height = image_size(image)
                alt = html.escape(output.metadata[kind]["alt"])
                tag = f'<img src="{address}/{file}" alt="{alt}" width="{width}" height="{height}">'
                output.data = {"text/html": tag}
            if WIDGET in data:
                output.data = {"text/html": panel(state["state"], data[WIDGET]["model_id"])}
    notebook.metadata.pop("widgets", None)


def repository() -> str:
    """Return the address that `make colab` stamped into the notebooks, or an empty string."""
    first = nbformat.read(notebooks()[0], as_version=4)
    setup = next(cell.source for cell in first.cells if cell.cell_type == "code")
    return REPOSITORY.search(setup).group().split('"')[1]


def card_image(path: Path) -> tuple[bytes, str, str]:
    """Return a notebook's first tagged image, else its first: content, type and alt text."""
    first = None
    for cell in nbformat.read(path, as_version=4).cells:
        tagged = any(tag.startswith("picture-") for tag in cell.metadata.get("tags", []))
        for output in cell.get("outputs", []):
            for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                image = base64.b64decode(output.data[kind]), kind, output.metadata[kind]["alt"]
                if tagged:
                    return image
                first = first or image
    return first or (b"", "", "")


def cards() -> str:
    """Write the front page's card of each notebook in README.md's table: image, title, question."""
    lines = ["::::{grid} 1 2 2 2", ":gutter: 3", ""]
    for number, title, target, question in ROW.findall(
        (ROOT / "README.md").read_text(encoding="utf-8")
    ):
        image, kind, alt = card_image(ROOT / target)
        lines += [
            f":::{{grid-item-card}} {number} {title}",
            f":link: {target.removesuffix('.ipynb')}",
        ]
        lines += [":link-type: doc"]
        if image:
            file = f"_static/cards/{number}.{kind.removeprefix('image/')}"
            write(SOURCE / file, image)
            lines += [f":img-top: {file}", f":img-alt: {alt}"]
        lines += ["", question, ":::", ""]
    return "\n".join([*lines, "::::"])


def source_files() -> list[Path]:
    """List the files that pages show or link to, without walking data/cache, which may be huge."""
    folders = [ROOT / "docs", *(ROOT / "data").iterdir()]
    paths = [ROOT / "README.md", ROOT / "LICENSE"]
    for folder in folders:
        if folder != ROOT / "data" / "cache":
            paths += folder.rglob("*") if folder.is_dir() else [folder]
    return [path for path in paths if path.is_file() and path.name != "index.md"]


def stage() -> None:
    """Write what Sphinx reads, laid out as in the project, so that links work in both."""
    staged = {SOURCE / "site.json"}
    for path in source_files():
        target = path.relative_to(ROOT)
        if target.parts[0] == "docs" and path.suffix in (".py", ".css", ".svg"):
            target = target.relative_to("docs")
        write(SOURCE / target, path.read_bytes())
        staged.add(SOURCE / target)
    for path in notebooks():
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
        staged.add(SOURCE / "notebooks" / path.name)
    pages = sorted(
        path.stem for path in (ROOT / "docs").glob("*.md") if path.stem not in ("index", "results")
    )
    front = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    front = front.replace("<!-- cards -->", cards())
    front = front.replace("<!-- pages -->", "\n".join(f"docs/{page}" for page in pages))
    write(SOURCE / "index.md", front)
    write(SOURCE / "site.json", json.dumps({"repository": repository()}))
    staged.add(SOURCE / "index.md")
    for path in SOURCE.rglob("*"):
        if path.is_file() and path not in staged and "_static" not in path.parts:
            path.unlink()


def main() -> int:
    """Stage and build; warnings are errors, so that a broken link does not go out."""
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
