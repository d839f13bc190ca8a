"""Make a deck of slides from each notebook, with its own copy of reveal.js: `make slides`.

Nothing is executed. A heading begins a slide; sections lie side by side, with their slides below
each other. A slide holds one thing: a few sentences, a correction, a short piece of code with what
it prints, a table, or a figure. Long code, code that draws or that is hidden, the set-up, the
settings and the solutions stay in the notebook, and so does a cell tagged `slide-skip`.
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
from tools.execution import notebooks  # noqa: E402
from tools.stamp_colab import BADGE  # noqa: E402

SLIDES = ROOT / "build" / "slides"
CODE_LINES = 18  # a longer cell is not shown
SHARED_LINES = 17  # of code or printed text that fill a slide
WORDS = 75  # that fill a slide
ROWS = 12  # of a table; a longer one is set in smaller letters
HEADING = re.compile(r"^(#{1,3}) (.+?)(?: \((session|asked) ([\w\d:, -]+)\))?$")
# As in Pandoc: a `$` that opens a formula stands before a character other than a space, one that
# closes it behind one and not before a digit; so "$5 and $40" are amounts of money.
FORMULA = re.compile(
    r"""(?P<code>(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))
    | (?<!\\)\$\$(?P<block>.+?)(?<!\\)\$\$
    | (?<![\\\w$])\$(?P<inline>[^\s$](?:(?:\\\$|[^$])*?[^\s$\\])?)\$(?![\w$])
    | \\?(?P<dollar>\$)""",
    re.DOTALL | re.VERBOSE,
)

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
  width: 1280, height: 720, margin: 0.03, center: false, hash: true,
  slideNumber: "c/t", transition: "none",
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


def to_html(text: str) -> str:
    """Turn Markdown into HTML, with formulas as MathML and links to slides instead of notebooks."""
    from latex2mathml.converter import convert
    from nbconvert.filters import markdown2html

    formulas = []

    def set_aside(match):
        if match["code"]:
            return match["code"]
        if match["dollar"]:  # nbconvert would take what stands between two for a formula
            return "\ue000"
        display = "block" if match["block"] else "inline"
        formula = (match["block"] or match["inline"]).strip()
        # Of the environments that align equations latex2mathml knows only this one.
        formula = formula.replace("{aligned}", "{align*}")
        formulas.append(convert(formula, display=display))
        return f"\ue001{len(formulas) - 1}\ue002"

    text = FORMULA.sub(set_aside, text)
    # A number and a dot at the beginning would be a list.
    text = re.sub(r"^(\d+)\. ", r"\1\\. ", text)
    page = markdown2html(text).replace(".ipynb", ".html").replace("\ue000", "$")
    page = re.sub("\ue001(\\d+)\ue002", lambda match: formulas[int(match[1])], page)
    return re.sub(r'<a class="anchor-link".*?</a>', "", page)


def paragraphs(source: str) -> list[str]:
    """Split Markdown at blank lines, and before and after each heading."""
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
    """Shorten printed text to what fits on a slide, without the log of epochs."""
    lines = [
        line
        for line in text.strip().splitlines()
        if not re.match(r"(Epoch )?\d+/\d+|W&B log", line)
    ]
    return "\n".join([*lines[:SHARED_LINES], "..."] if len(lines) > SHARED_LINES else lines)


class Deck:
    """The slides of one notebook: `sections` holds sections, lists of slides, lists of HTML."""

    def __init__(self):
        self.sections = []
        self.title = ""
        self.words = 0  # on the current slide

    def begin(self, title: str, section: bool) -> None:
        """Begin a slide with this heading, in a new section or in the current one."""
        if section or not self.sections:
            self.sections.append([])
        self.sections[-1].append([title])
        self.title = re.sub(r"<.*?>", "", title.partition("</h")[0])
        self.words = 0

    def add(self, content: str, words: int = WORDS) -> None:
        """Add HTML to the current slide if it has room for `words`, else to a new one below."""
        if self.words and self.words + words > WORDS:
            self.sections[-1].append([f'<p class="where">{self.title}</p>'])
            self.words = 0
        self.sections[-1][-1].append(content)
        self.words += words

    def text(self, source: str) -> None:
        """Add Markdown; each heading begins a slide."""
        for part in paragraphs(source):
            if match := HEADING.match(part):
                level, title, _, time = match.groups()
                time = f'<p class="session">Session {time}</p>' if time else ""
                inner = to_html(title).strip().removeprefix("<p>").removesuffix("</p>")
                tag = f"h{len(level)}"
                self.begin(f"<{tag}>{inner}</{tag}>{time}", section=len(level) < 3)
            elif part.startswith(("- ", "* ", "|")):
                self.add(to_html(part), max(WORDS // 2, len(part.split())))
            elif part.startswith(">"):
                self.add(to_html(part), WORDS)
            else:
                self.add(to_html(part), len(part.split()))

    def code(self, cell) -> None:
        """Add a short cell's code, then its outputs; a figure or a table has a slide of its own."""
        source = cell.source.removeprefix("# NBVAL_CHECK_OUTPUT\n")
        lines = len(source.splitlines())
        hidden = "hide-input" in cell.metadata.get("tags", []) or any(
            "<img" in output.get("data", {}).get("text/html", "") for output in cell.outputs
        )
        if lines <= CODE_LINES and not hidden and "tracking." not in source:
            self.add(highlighted(source), lines * WORDS // SHARED_LINES)
        for output in cell.outputs:
            data = output.get("data", {})
            text = printed(output.get("text", "") or data.get("text/plain", ""))
            if shown := data.get("text/html", ""):
                if shown.startswith("<img"):
                    shown = shown.replace(" src=", " data-src=")
                elif shown.count("<tr") > ROWS or len(re.sub(r"<.*?>", "", shown)) > 900:
                    shown = shown.replace("<table", '<table class="dense"')
                self.add(shown)
            elif text:
                height = (len(text.splitlines()) + 1) * WORDS // SHARED_LINES
                self.add(listing(text, "prints"), height)

    def write(self) -> str:
        """Write all sections as reveal.js reads them: sections, with the slides inside."""
        lines = []
        for section in self.sections:
            lines.append("<section>")
            for slide in section:
                lines.append(f"<section>{''.join(slide)}</section>")
            lines.append("</section>")
        return "\n".join(lines)


def deck(path: Path) -> str:
    """Make the page of one notebook's slides."""
    notebook = nbformat.read(path, as_version=4)
    plain_outputs(notebook, path.stem, SLIDES / "pictures", "pictures")
    slides = Deck()
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    # Set-up, imports and settings come first: the cells up to the one that chooses the settings.
    last = next(i for i, source in enumerate(code, 1) if "cfg = settings.choose(" in source)
    code_cells = 0
    for cell in notebook.cells:
        code_cells += cell.cell_type == "code"
        if {"slide-skip", "solution"} & set(cell.metadata.get("tags", [])):
            continue
        # A sentence announces these cells; it stays out with them.
        if 1 <= code_cells <= last and not cell.source.startswith("#"):
            continue
        if cell.cell_type == "code" and code_cells > last:
            slides.code(cell)
        elif cell.cell_type == "markdown":
            # The table at a glance, in the first cell, is for readers.
            source = BADGE.sub("", cell.source)
            slides.text(source if code_cells else source.partition("| At a glance")[0])
    title = notebook.cells[0].source.partition("\n")[0].removeprefix("# ")
    return PAGE.format(title=html.escape(title), body=slides.write())


def main() -> int:
    """Write all decks, a page that lists them, and reveal.js."""
    import sphinx_revealjs

    shutil.rmtree(SLIDES, ignore_errors=True)
    (SLIDES / "reveal").mkdir(parents=True)
    # The package serves only for its copy of reveal.js.
    dist = Path(sphinx_revealjs.__file__).parent / "_static" / "revealjs" / "dist"
    for name in ("reset.css", "reveal.css", "reveal.js"):
        shutil.copy(dist / name, SLIDES / "reveal" / name)
    from pygments.formatters import HtmlFormatter

    colours = HtmlFormatter(style="a11y-high-contrast-light").get_style_defs(
        ".reveal pre.highlight"
    )
    style = (ROOT / "docs" / "slides.css").read_text(encoding="utf-8")
    (SLIDES / "slides.css").write_text(style + colours, encoding="utf-8")
    rows = []
    for path in notebooks():
        page = deck(path)
        (SLIDES / f"{path.stem}.html").write_text(page, encoding="utf-8")
        title = re.search("<title>(.*?)</title>", page).group(1)
        rows.append(f'<li><a href="{path.stem}.html">{title}</a></li>')
    body = f"<section><h1>Slides</h1><ul>{''.join(rows)}</ul></section>"
    (SLIDES / "index.html").write_text(PAGE.format(title="Slides", body=body), encoding="utf-8")
    folder = SLIDES.relative_to(ROOT)
    print(f"{len(rows)} decks in {folder}: open {folder}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
