"""JupyterLab as a reader uses it: open notebook 06, Run All, move a slider and see the text change.

It takes a minute or two, so it runs only if COMPANION_BROWSER is set, as by `make browser`.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.test_site import CHROMIUM, browser, opened  # noqa: F401
from utils import settings

pytestmark = [
    pytest.mark.skipif(not os.environ.get("COMPANION_BROWSER"), reason="run by `make browser`"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install chromium"),
]
NOTEBOOK = "06_text_generation"
# By the name of the command: the text of the menu depends on version and language.
RUN_ALL = """() => {
  const done = window.jupyterapp.commands.execute("notebook:run-all-cells");
  done.then(succeeded => { window.ran = succeeded; }, error => { window.ran = String(error); });
}"""


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab on a copy of the project, so that the stored notebook does not change."""
    for folder in ("utils", "data/lexicon", "notebooks"):
        shutil.copytree(settings.ROOT / folder, tmp_path / "project" / folder)
    shutil.copy(settings.ROOT / "data" / "sources.toml", tmp_path / "project" / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
    ]
    command += [
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--LabApp.news_url=",
    ]
    command += [f"--notebook-dir={tmp_path / 'project' / 'notebooks'}"]
    quick = {
        "COMPANION_PROFILE": "quick",
        "COMPANION_DATA": "sample",
        "COMPANION_RUNS": str(tmp_path / "runs"),
    }
    log = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen(command, env=os.environ | quick, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}api", timeout=1)
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "lab.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)
        log.close()


def test_run_all_then_a_slider_changes_the_text(lab, browser):  # noqa: F811
    page, _ = opened(browser, f"{lab}lab/tree/{NOTEBOOK}.ipynb?reset", height=1000)
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    # Before the kernel answers, Run All would ask which one to take.
    page.wait_for_selector("#jp-main-statusbar >> text=/\\| Idle/", timeout=60_000)
    page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.evaluate(RUN_ALL)
    page.wait_for_function("window.ran !== undefined", timeout=300_000)
    assert page.evaluate("window.ran") is True, "a cell failed"

    page.set_default_timeout(20_000)
    text = page.locator(".widget-textarea textarea")
    text.scroll_into_view_if_needed()
    before = text.input_value()
    assert before.startswith("This movie") and len(before.split()) > 5
    temperature = page.locator(".widget-slider", has_text="temperature")
    handle = temperature.locator(".noUi-handle")
    handle.focus()
    for _ in range(15):
        handle.press("ArrowRight")
    reading = temperature.locator(".widget-readout").inner_text()
    assert float(reading) > 1.2
    page.wait_for_function(
        "old => document.querySelector('.widget-textarea textarea').value !== old", arg=before
    )
    assert re.match("This movie", text.input_value())
    page.context.close()
