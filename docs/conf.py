"""Settings of the site; `make site` stages its sources and executes nothing."""

import json
from pathlib import Path

from latex2mathml.converter import convert

site = json.loads((Path(__file__).parent / "site.json").read_text(encoding="utf-8"))

project = "Deep learning, chapters 11 and 12"
html_title = project
language = "en"
extensions = ["myst_nb", "sphinx_design"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
# As in Pandoc and in the slides: "$5 and $40" are amounts of money, no formula.
myst_dmath_allow_space = False
myst_dmath_allow_digits = False
myst_heading_anchors = 3
nb_execution_mode = "off"
# The staged notebooks have no widgets, so the scripts for them, from other servers, are not needed.
nb_ipywidgets_js = {}
suppress_warnings = ["mystnb.unknown_mime_type"]
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_favicon = "_static/favicon.svg"
# With these texts among the settings, a change of this file or of the style rebuilds every page.
texts = [
    path.read_text(encoding="utf-8")
    for path in (Path(__file__), Path(__file__).parent / "_static/site.css")
]
html_context = {"default_mode": "auto", "settings": "".join(texts)}
html_math_renderer = "mathml"
html_theme_options = {
    "home_page_in_toc": False,
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_content_items": [],
    "extra_footer": "Apache-2.0. Data sets and weights keep their own terms: see Data.",
}
if site["repository"]:
    html_theme_options |= {
        "repository_url": f"https://github.com/{site['repository']}",
        "repository_branch": "HEAD",
        "path_to_docs": "",
        "use_repository_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }


def inline(writer, node):
    """Write a formula as MathML, which browsers draw without a script."""
    writer.body.append(convert(node.astext()))


def block(writer, node):
    """Write a formula on a line of its own."""
    writer.body.append(
        f'<div class="formula" tabindex="0">{convert(node.astext(), display="block")}</div>'
    )


def setup(app):
    """Register the functions that write formulas."""
    from docutils import nodes

    def visitors(write):
        def visit(writer, node):
            write(writer, node)
            raise nodes.SkipNode

        def depart(writer, node):
            pass

        return visit, depart

    app.add_html_math_renderer("mathml", visitors(inline), visitors(block))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
