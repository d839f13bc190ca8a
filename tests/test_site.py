"""The site and the slides as a reader meets them, in a headless Chromium; no notebook is executed.

It takes a minute, so it runs only if COMPANION_BROWSER is set, as by `make browser`.
"""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import nbformat
import pytest

from tools.execution import notebooks
from utils import settings

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# The rules of WCAG 2 at levels A and AA. `preload` would fetch style sheets again, for nothing.
RULES = (
    "resultTypes: ['violations'], preload: false, "
    "runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']"
)
SITE = settings.ROOT / "build" / "site"

pytestmark = [
    pytest.mark.skipif(not os.environ.get("COMPANION_BROWSER"), reason="run by `make browser`"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install chromium"),
]


def serve(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    """Build what has changed since the last time, and serve it."""
    command = [sys.executable, str(settings.ROOT / "tools" / "build_site.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    server = serve(SITE)
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def opened(browser, address, width=1280, height=900, **context):
    """Open a page; return it with a list of the errors while it loads."""
    page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
    errors = []

    def failed(request):
        # A request that the next page has cut off is no error.
        if "ERR_ABORTED" not in str(request.failure):
            errors.append(f"not loaded: {request.url}")

    page.on(
        "console",
        lambda m: (
            errors.append(f"console: {m.text} {m.location}")
            if m.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: errors.append(f"script: {error}"))
    page.on("requestfailed", failed)
    page.goto(address, wait_until="load")
    return page, errors


def pages():
    """List the pages of the site; what lies in `_static` is the theme's."""
    paths = (path.relative_to(SITE) for path in SITE.rglob("*.html"))
    return sorted(path.as_posix() for path in paths if not path.parts[0].startswith("_"))


@pytest.fixture(scope="module")
def visited(browser, address):
    """Each page, visited once: errors, images, links, anchors, and the report of axe-core."""
    import axe_playwright_python

    axe = next(Path(axe_playwright_python.__file__).parent.glob("axe*.js")).read_text(
        encoding="utf-8"
    )
    reports = {}
    page, errors = opened(browser, address)
    for name in pages():
        errors.clear()
        page.goto(address + name, wait_until="load")
        page.evaluate(axe)
        # Contrast takes longest, and is the same on every notebook's page: one of them will do.
        contrast = name.startswith("notebooks/08") or not name.startswith("notebooks/")
        rules = f"rules: {{'color-contrast': {{enabled: {str(contrast).lower()}}}}}"
        report = page.evaluate(f"axe.run({{{RULES}, {rules}}})")
        reports[name] = {
            "errors": list(errors),
            "axe": report["violations"],
            "images": page.eval_on_selector_all(
                "img",
                "all => all.map("
                "i => [i.getAttribute('src'), i.alt, i.complete && i.naturalWidth > 0])",
            ),
            "links": page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)"),
            "anchors": page.eval_on_selector_all("[id]", "all => all.map(e => e.id)"),
            "requests": page.evaluate("performance.getEntriesByType('resource').map(e => e.name)"),
        }
    page.context.close()
    return reports


def test_every_notebook_has_a_page_and_a_card(browser, address):
    page, _ = opened(browser, address)
    cards = page.eval_on_selector_all(".sd-card a", "all => all.map(a => a.getAttribute('href'))")
    names = [path.stem for path in notebooks()]
    assert cards == [f"notebooks/{name}.html" for name in names]
    page.context.close()


def test_pages_open_without_errors_and_load_nothing_from_elsewhere(visited, address):
    assert {name: page["errors"] for name, page in visited.items() if page["errors"]} == {}
    elsewhere = {
        url for page in visited.values() for url in page["requests"] if not url.startswith(address)
    }
    assert elsewhere == set()


def test_every_image_loads_and_has_an_alt_text(visited):
    images = [(name, *image) for name, page in visited.items() for image in page["images"]]
    assert len(images) > 60
    assert [image for image in images if len(image[2].split()) < 8 or not image[3]] == []


def test_internal_links_resolve(visited, address):
    broken = []
    for name, page in visited.items():
        for link in page["links"]:
            target, anchor = urldefrag(urljoin(address + name, link))
            if not target.startswith(address):
                continue
            inside = unquote(target.removeprefix(address).partition("?")[0]) or "index.html"
            known = visited.get(inside, {"anchors": [unquote(anchor)]})["anchors"]
            if not (SITE / inside).is_file() or (anchor and unquote(anchor) not in known):
                broken.append((name, link))
    assert broken == []


def test_axe_finds_nothing_serious(visited):
    serious = {
        (rule["id"], name): [node["html"][:200] for node in rule["nodes"]][:3]
        for name, page in visited.items()
        for rule in page["axe"]
        if rule["impact"] in ("serious", "critical")
    }
    assert serious == {}


def test_front_page_fits_a_telephone_and_a_search_finds_a_notebook(browser, address):
    page, errors = opened(browser, address, width=390, height=844, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('.sd-card').getBoundingClientRect().width") > 300
    page.goto(address + "search.html?q=perplexity")
    page.wait_for_selector("#search-results li a[href*='06_text_generation']")
    assert errors == []
    page.context.close()


def test_dark_mode_turns_the_page_dark(browser, address):
    shades = {}
    for scheme in ("light", "dark"):
        page, _ = opened(browser, address, color_scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(map(int, colour[4:-1].split(",")[:3])) / 3
        page.context.close()
    assert shades["dark"] < 60 < 200 < shades["light"]


WALK = """async () => {
  const shown = [];
  for (const slide of Reveal.getSlides()) {
    const at = Reveal.getIndices(slide);
    Reveal.slide(at.h, at.v);
    const images = [...slide.querySelectorAll("img")];
    await Promise.all(images.map(image => image.decode()));
    fit();
    const zoom = Number(slide.style.zoom);
    shown.push({
      at: [at.h, at.v], zoom, high: slide.scrollHeight * zoom, wide: slide.scrollWidth * zoom,
      text: slide.innerText.trim(), images: images.map(image => image.alt),
    });
  }
  return shown;
}"""


@pytest.fixture(scope="module")
def decks(browser):
    """Every slide of every deck once, as reveal.js shows it."""
    command = [sys.executable, str(settings.ROOT / "tools" / "build_slides.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    server = serve(settings.ROOT / "build" / "slides")
    address = f"http://127.0.0.1:{server.server_port}/"
    page, errors = opened(browser, address, height=720)
    slides = {}
    for path in notebooks():
        page.goto(f"{address}{path.stem}.html")
        slides[path.stem] = page.evaluate(WALK)
    page.context.close()
    server.shutdown()
    assert errors == []
    return slides


def test_no_slide_is_empty_or_too_full(decks):
    assert min(map(len, decks.values())) > 20
    for name, slides in decks.items():
        for slide in slides:
            assert slide["text"] or slide["images"], (name, slide["at"])
            # Half the size cannot be read from the back of a room; 4 pixels are rounding.
            assert slide["zoom"] > 0.6 and slide["high"] <= 724 and slide["wide"] <= 1284, (
                name,
                slide,
            )


def test_slides_show_the_figures_and_leave_the_set_up_and_the_solutions_out(decks):
    for name, slides in decks.items():
        notebook = nbformat.read(settings.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        stored = [
            output.metadata[kind]["alt"]
            for cell in notebook.cells
            if cell.cell_type == "code" and "solution" not in cell.metadata.get("tags", [])
            for output in cell.outputs
            for kind in output.get("data", {})
            if kind.startswith("image/")
        ]
        shown = [alt for slide in slides for alt in slide["images"]]
        # A panel's image is no output of its own.
        assert [alt for alt in shown if not alt.startswith("What the panel showed")] == stored, name
        text = "\n".join(slide["text"] for slide in slides)
        assert "REPOSITORY" not in text and "settings.choose" not in text and "@title" not in text
