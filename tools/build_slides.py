"""Make a deck of slides from each notebook, with reveal.js beside it: `make slides`. Nothing is executed.

A heading begins a slide, sections lie side by side, and what belongs to one lies below it. Each slide holds
one thing: a few sentences, a correction, a short piece of code with what it prints, a table, or a figure.
Code of more than 18 lines, code that draws, the set-up, the knobs and the solutions stay in the notebook,
and so does a cell tagged `slide-skip`.
"""

import html
import re
import shutil
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.build_site import plain_outputs  # noqa: E402
from tools.stamp_colab import BADGE  # noqa: E402

SLIDES = ROOT / "build" / "slides"
CODE_LINES, SHARED_LINES, WORDS, ROWS = 18, 17, 75, 12
HEADING = re.compile(r"^(#{1,3}) (.+?)(?: \((session|asked) ([\w\d:, -]+)\))?$")
FORMULA = re.compile(r"(?<!\\)\$\$?(.+?)\$\$?", re.DOTALL)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="reveal/reset.css">
<link rel="stylesheet" href="reveal/reveal.css">
<link rel="stylesheet" href="slides.css">
</head>
<body>
<div class="reveal"><div class="slides">
{body}
</div></div>
<script src="reveal/reveal.js"></script>
<script>
Reveal.initialize({{
  width: 1280, height: 720, margin: 0.03, center: false, hash: true, slideNumber: "c/t", transition: "none",
}});
// What is too high for a slide is shown smaller; that is rare, and never below two thirds.
function fit() {{
  const slide = Reveal.getCurrentSlide();
  slide.style.zoom = 1;
  if (slide.scrollHeight > 720) slide.style.zoom = Math.max(0.66, 720 / slide.scrollHeight);
}}
Reveal.on("ready", fit);
Reveal.on("slidechanged", fit);
</script>
</body>
</html>
"""


def prose(text: str) -> str:
    """Turn Markdown into HTML; formulas become MathML, and links to notebooks lead to their slides."""
    from latex2mathml.converter import convert
    from nbconvert.filters import markdown2html

    def formula(match):
        shown = "block" if match.group().startswith("$$") else "inline"
        return convert(match.group(1).strip(), display=shown)

    text = "".join(
        part if part.startswith("`") else FORMULA.sub(formula, part)
        for part in re.split(r"(`[^`]*`)", text)
    )
    # A number and a dot at the beginning would be a list.
    found = markdown2html(re.sub(r"^(\d+)\. ", r"\1\\. ", text)).replace(".ipynb", ".html")
    return re.sub(r'<a class="anchor-link".*?</a>', "", found)


def paragraphs(source: str) -> list[str]:
    """Split Markdown at blank lines, and after a heading, that stands on a line of its own."""
    source = re.sub(r"<details>.*?</details>", "", source, flags=re.DOTALL)
    source = re.sub(r"^(#{1,3} .+)$", r"\n\1\n", source, flags=re.MULTILINE)
    return [part.strip() for part in re.split(r"\n\s*\n", source) if part.strip()]


def listing(text: str, kind: str) -> str:
    """Show code or printed text as it stands, smaller where lines are long."""
    dense = " dense" if max(map(len, text.splitlines()), default=0) > 92 else ""
    return f'<pre class="{kind}{dense}">{html.escape(text)}</pre>'


def highlighted(source: str) -> str:
    """Show Python code in colours."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    coloured = highlight(source, PythonLexer(), HtmlFormatter(nowrap=True))
    dense = " dense" if max(map(len, source.splitlines())) > 92 else ""
    return f'<pre class="highlight{dense}">{coloured.rstrip()}</pre>'


def printed(text: str) -> str:
    """Keep what people want to see of printed text: no log of epochs, and not more than fits."""
    lines = [
        line
        for line in text.strip().splitlines()
        if not re.match(r"(Epoch )?\d+/\d+|W&B log", line)
    ]
    return "\n".join([*lines[:SHARED_LINES], "..."] if len(lines) > SHARED_LINES else lines)


class Deck:
    """The slides of one notebook, in sections; `self.sections` holds lists of lists of HTML."""

    def __init__(self):
        self.sections, self.title, self.words = [], "", 0

    def begin(self, title: str, section: bool) -> None:
        """Begin a slide under a heading of its own, and a section with it if asked."""
        if section or not self.sections:
            self.sections.append([])
        self.sections[-1].append([title])
        self.title, self.words = re.sub(r"<.*?>", "", title.partition("</h")[0]), 0

    def add(self, content: str, words: int = WORDS) -> None:
        """Put content onto the current slide while it has room, else onto a new one below."""
        if self.words and self.words + words > WORDS:
            self.sections[-1].append([f'<p class="where">{self.title}</p>'])
            self.words = 0
        self.sections[-1][-1].append(content)
        self.words += words

    def text(self, source: str) -> None:
        """Add Markdown, a heading as the beginning of a slide."""
        for part in paragraphs(source):
            if match := HEADING.match(part):
                level, title, _, time = match.groups()
                # A heading alone on a slide would be an empty one: its section's title goes along.
                time = f'<p class="session">Session {time}</p>' if time else ""
                self.begin(
                    f"<h{len(level)}>{prose(title).strip()[3:-4]}</h{len(level)}>{time}",
                    len(level) < 3,
                )
            elif part.startswith(("- ", "* ", "|")):
                self.add(prose(part), max(WORDS // 2, len(part.split())))
            else:
                self.add(prose(part), WORDS if part.startswith(">") else len(part.split()))

    def code(self, cell) -> None:
        """Add a short cell's code, then what it shows; a figure or a table gets a slide of its own."""
        source = cell.source.removeprefix("# NBVAL_CHECK_OUTPUT\n")
        lines, words = len(source.splitlines()), 0
        drawn = any(
            "<img" in output.get("data", {}).get("text/html", "") for output in cell.outputs
        )
        if lines <= CODE_LINES and not drawn and "tracking." not in source:
            words = lines * WORDS // SHARED_LINES
            self.add(highlighted(source), words)
        for output in cell.outputs:
            if shown := output.get("data", {}).get("text/html", ""):
                if shown.startswith("<img"):
                    shown = shown.replace(" src=", " data-src=")
                elif shown.count("<tr") > ROWS or len(re.sub(r"<.*?>", "", shown)) > 900:
                    shown = shown.replace("<table", '<table class="dense"')
                self.add(shown)
            elif text := printed(
                output.get("text", "") or output.get("data", {}).get("text/plain", "")
            ):
                self.add(
                    listing(text, "prints"), (len(text.splitlines()) + 1) * WORDS // SHARED_LINES
                )

    def write(self) -> str:
        """Write all sections in reveal.js's way: side by side, and below each other inside."""
        lines = []
        for section in self.sections:
            lines += [
                "<section>",
                *(f"<section>{''.join(slide)}</section>" for slide in section),
                "</section>",
            ]
        return "\n".join(lines)


def deck(path: Path) -> str:
    """Make the page of one notebook's slides."""
    notebook = nbformat.read(path, as_version=4)
    plain_outputs(notebook, path.stem, SLIDES / "pictures", "pictures")
    made, seen = Deck(), 0
    for cell in notebook.cells:
        seen += cell.cell_type == "code"
        tags = cell.metadata.get("tags", [])
        # The first two code cells are set-up and knobs; the sentence that announces the knobs goes with them.
        if {"slide-skip", "solution"} & set(tags) or (
            seen in (1, 2) and not cell.source.startswith("#")
        ):
            continue
        if cell.cell_type == "code" and seen > 2:
            made.code(cell)
        elif cell.cell_type == "markdown":
            # Of the first cell, the table at a glance is for readers.
            source = BADGE.sub("", cell.source)
            made.text(source if seen else source.partition("| At a glance")[0])
    title = notebook.cells[0].source.partition("\n")[0].removeprefix("# ")
    return PAGE.format(title=html.escape(title), body=made.write())


def main() -> int:
    """Write all decks, a page that lists them, and reveal.js."""
    import sphinx_revealjs

    shutil.rmtree(SLIDES, ignore_errors=True)
    (SLIDES / "reveal").mkdir(parents=True)
    # The package is used for the files of reveal.js that it carries.
    carried = Path(sphinx_revealjs.__file__).parent / "_static" / "revealjs" / "dist"
    for name in ("reset.css", "reveal.css", "reveal.js"):
        shutil.copy(carried / name, SLIDES / "reveal" / name)
    from pygments.formatters import HtmlFormatter

    colours = HtmlFormatter(style="a11y-high-contrast-light").get_style_defs(
        ".reveal pre.highlight"
    )
    style = (ROOT / "docs" / "slides.css").read_text(encoding="utf-8")
    (SLIDES / "slides.css").write_text(style + colours, encoding="utf-8")
    rows = []
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        page = deck(path)
        (SLIDES / f"{path.stem}.html").write_text(page, encoding="utf-8")
        title = re.search("<title>(.*?)</title>", page).group(1)
        rows.append(f'<li><a href="{path.stem}.html">{title}</a></li>')
    body = f"<section><h1>Slides</h1><ul>{''.join(rows)}</ul></section>"
    (SLIDES / "index.html").write_text(PAGE.format(title="Slides", body=body), encoding="utf-8")
    print(
        f"{len(rows)} decks in {SLIDES.relative_to(ROOT)}: open {SLIDES.relative_to(ROOT)}/index.html"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
