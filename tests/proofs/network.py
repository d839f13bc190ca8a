"""Prove that a network, host or disk that fails costs one line and never a notebook.

A server on this machine stands in for the hosts, with small files instead of theirs. Every loader
runs against each failure, then again in the same cache without one; notebook 01 runs against the
worst of them. `python tests/proofs/network.py loaders` or `notebook` runs one half: about 5 and 10
minutes.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np

from tests.proofs import common
from tests.test_downloads import serve, stop
from utils import datasets, downloads
from utils.datasets import images
from utils.synthetic.reviews import generate_reviews
from utils.synthetic.sentence_pairs import generate_pairs

SETS = {"reviews": "imdb", "sentence pairs": "spa_eng", "digits": "mnist"}
ORIGINAL = downloads.sources()
# In memory if possible: the reviews are 50,000 files.
CACHE = (
    Path("/dev/shm/companion-proof" if Path("/dev/shm").is_dir() else common.WORK / "network")
    / "cache"
)
EXPECTED = {}  # the fingerprint of what each loader returns when nothing fails


def load(name):
    """Load a little of a data set, as a notebook does."""
    loaders = {
        "reviews": lambda: datasets.load_reviews(200, 50, 100),
        "sentence pairs": lambda: datasets.load_sentence_pairs(200, 50, 50),
        "digits": lambda: datasets.load_digits(200, 100),
    }
    return loaders[name]()


def make_files():
    """Make the files that stand in for those of the hosts, good and hostile, by data set."""
    texts, labels = generate_reviews("train", 8_000)
    by_label = {
        name: [t for t, is_ in zip(texts, labels, strict=True) if is_ == number]
        for name, number in (("neg", 0), ("pos", 1))
    }
    reviews = {
        f"aclImdb/{part}/{label}/{number}_7.txt": by_label[label][
            (number + 999 * (part == "test")) % len(by_label[label])
        ]
        for part in ("train", "test")
        for label in ("neg", "pos")
        for number in range(12_500)
    }
    pairs = [
        pair[:2] for part in ("train", "validation", "test") for pair in generate_pairs(part, 5_000)
    ]
    lines = "\n".join("\t".join(pair) for pair in pairs)
    rng = np.random.default_rng(0)
    shapes = {
        "x_train": (60_000, 28, 28),
        "y_train": (60_000,),
        "x_test": (10_000, 28, 28),
        "y_test": (10_000,),
    }
    digits = {key: rng.integers(0, 10, shape, dtype="uint8") for key, shape in shapes.items()}
    saved = io.BytesIO()
    np.savez_compressed(saved, **digits)
    total = hashlib.sha256()
    for key in ("x_train", "y_train", "x_test", "y_test"):
        total.update(digits[key])
    objects = io.BytesIO()
    np.savez(objects, **{key: np.array([os.system, key], dtype=object) for key in shapes})
    return SimpleNamespace(
        good={
            "imdb": tar(reviews),
            "spa_eng": packed_zip({"spa-eng/spa.txt": lines}),
            "mnist": saved.getvalue(),
        },
        hostile={
            "imdb": tar({"aclImdb/../../escaped.txt": "out", "aclImdb/README": "in"}),
            "spa_eng": packed_zip({"spa-eng/spa.txt": lines, "../escaped.txt": "out"}),
            "mnist": objects.getvalue(),
        },
        digits=total.hexdigest(),
    )


def tar(members):
    """Pack texts as .tar.gz."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for name, text in members.items():
            body, info = text.encode(), tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return file.getvalue()


def packed_zip(members):
    """Pack texts as .zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file.getvalue()


def redirect(facts: str):
    """Make the loaders download from this proof's server, in the quick profile too.

    Args:
        facts: JSON of what differs for each source, and the hash of the digits.
    """
    facts = json.loads(facts)
    original = downloads.sources()
    changed = {name: replace(original[name], **fields) for name, fields in facts["sources"].items()}
    downloads.sources = lambda: changed
    downloads.locate = downloads.unpack
    images.MNIST_SHA256 = facts["digits"]


def facts_about(files: dict, url: str, digits: str) -> str:
    """Describe files that a server gives, for `redirect`."""
    sources = {}
    for name, body in files.items():
        source = ORIGINAL[name]
        fields = {"url": f"{url}/{source.file.name}", "bytes": len(body)}
        content = body
        if source.member:  # the hash is of this member alone
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                content = archive.read(source.member)
            fields["member_bytes"] = len(content)
        fields["sha256"] = hashlib.sha256(content).hexdigest()
        sources[name] = fields
    return json.dumps({"sources": sources, "digits": digits})


@contextlib.contextmanager
def hosts(body, *modes):
    """Serve a file in one of the ways of `tests/test_downloads.py`, or refuse every connection."""
    server = serve()
    server.body, server.modes = body, list(modes)
    if modes == ("refuses",):
        stop(server)
    try:
        yield server
    finally:
        stop(server)


@contextlib.contextmanager
def cache(folder):
    """Point the loaders to a cache."""
    before = os.environ.get("COMPANION_CACHE")
    os.environ["COMPANION_CACHE"] = str(folder)
    try:
        yield folder
    finally:
        os.environ.pop("COMPANION_CACHE")
        if before:
            os.environ["COMPANION_CACHE"] = before


def attempt(files, kind, name, body, mode, folder, stall=20.0):
    """Load a data set once; return it, what was printed, and the seconds that it took."""
    downloads.STALL_SECONDS = stall
    key = SETS[name]
    served_files = files.good | ({key: files.hostile[key]} if kind == "hostile" else {})
    output = io.StringIO()
    with hosts(body, mode) as server, cache(folder), contextlib.redirect_stdout(output):
        redirect(facts_about(served_files, server.url, files.digits))
        start_time = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            data = load(name)
    return data, output.getvalue(), time.perf_counter() - start_time


def check_result(name, data, output, real=False):
    """Say what is wrong after one attempt, or "nothing"."""
    if real:
        return (
            "nothing"
            if data.fingerprint == EXPECTED[name] and not output
            else f"not the real data: {output!r}"
        )
    if data.source != "sample" or data.fingerprint != EXPECTED[name, "sample"]:
        return "the sample"
    clear = output.startswith(f"Using the built-in sample of {name}: ") and output.count("\n") == 1
    return "nothing" if clear else f"a clear line: {output!r}"


def check_leftovers(files, name, folder):
    """Load again without a failure; say which harm an earlier one left behind, or "nothing"."""
    data, output, _ = attempt(files, "good", name, files.good[SETS[name]], "normal", folder)
    wrong = check_result(name, data, output, real=True)
    strays = [
        path.name
        for path in folder.iterdir()
        if path.name.endswith(".part") or "unpacking" in path.name
    ]
    return wrong if wrong != "nothing" else (f"files left: {strays}" if strays else "nothing")


def spoiled(body):
    """Change one bit in the middle of a file."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def failures(body, hostile):
    """Return for each way in which hosts fail the file and the mode of the server."""
    wrong = spoiled(body)
    return {
        "refuses": (body, "refuses"),
        "hangs": (body, "silent"),
        "hangs after 30 %": (body, "stall"),
        "cuts off at 30 %, always": (body, "cut"),
        "a wrong file of the right size": (wrong, "normal"),
        "a login page": (b"<html>Log in to this network", "normal"),
        "answers 503": (body, 503),
        "a file that does harm": (hostile, "normal"),
    }


def prove_hosts(files):
    """Try every failure with every loader."""
    rows = []
    for name, key in SETS.items():
        for failure, (body, mode) in failures(files.good[key], files.hostile[key]).items():
            folder = common.fresh(CACHE)
            kind = "hostile" if body is files.hostile[key] else "good"
            # 20 seconds without a byte count as cut off; tested in full with one data set.
            stall = 20 if name == "digits" else 1
            data, output, seconds = attempt(files, kind, name, body, mode, folder, stall)
            # Of an archive with a `member`, nothing else is read: the real data come.
            real = kind == "hostile" and bool(ORIGINAL[key].member)
            lost = check_result(name, data, output, real)
            if list(CACHE.parent.rglob("escaped.txt")):
                lost = "a file outside the folder"
            if kind == "hostile" and not real:
                # Its hash is in sources.toml, so only a person can remove it.
                for path in folder.iterdir():
                    path.unlink()
            lost = lost if lost != "nothing" else check_leftovers(files, name, folder)
            reason = output.partition(": ")[2].partition(": ")[2].partition(". Run")[0].strip()
            rows.append(
                {
                    "loader": name,
                    "host": failure,
                    "seconds": f"{seconds:.1f}",
                    "message": reason[:120],
                    "lost": lost,
                }
            )
        folder = common.fresh(CACHE)
        data, output, seconds = attempt(files, "good", name, files.good[key], "slow", folder)
        lost = check_result(name, data, output, real=True)
        rows.append(
            {
                "loader": name,
                "host": "slow, 2 MB/s",
                "seconds": f"{seconds:.1f}",
                "message": "",
                "lost": lost,
            }
        )
    return rows


def prove_disks(files):
    """Fill the disk during a download and an unpacking; make two caches read-only."""
    rows = []

    def row(name, what, output, lost, seconds=""):
        reason = output.partition(": ")[2].strip()
        rows.append(
            {
                "loader": name,
                "host": what,
                "seconds": seconds,
                "message": reason[:120],
                "lost": lost,
            }
        )

    for name, key in SETS.items():
        body = files.good[key]
        full = {"disk full while it comes": 0.5 * len(body) / 2**20}
        if key != "mnist":
            full["disk full while it is unpacked"] = 1.2 * len(body) / 2**20
        for what, size in full.items():
            with common.disk(size) as folder:
                data, output, seconds = attempt(files, "good", name, body, "normal", folder)
                left = [
                    path.name
                    for path in folder.iterdir()
                    if path.suffix == ".part" or path.is_dir()
                ]
                subprocess.run(["mount", "-o", "remount,size=2000m", str(folder)], check=True)
                lost = check_result(name, data, output)
                lost = f"half files: {left}" if left else lost
                row(
                    name,
                    what,
                    output,
                    lost if lost != "nothing" else check_leftovers(files, name, folder),
                    f"{seconds:.1f}",
                )
        with common.disk(1, read_only=common.fresh("network", "empty")) as folder:
            data, output, seconds = attempt(files, "good", name, body, "normal", folder)
            row(
                name,
                "read-only cache, empty",
                output,
                check_result(name, data, output),
                f"{seconds:.1f}",
            )
        filled = common.fresh(CACHE)
        check_leftovers(files, name, filled)
        with common.disk(read_only=filled) as folder:
            data, output, seconds = attempt(files, "good", name, body, "refuses", folder)
            row(
                name,
                "read-only cache that has it",
                output,
                check_result(name, data, output, real=True),
                f"{seconds:.1f}",
            )
    return rows


CHILD = """
import sys
from tests.proofs import network
network.redirect(sys.argv[1])
network.load(sys.argv[2])
"""


def prove_kills(files, kills=8):
    """Kill the process that downloads and unpacks, at random moments; then load what it left."""
    rows, draw = [], random.Random(0)
    for name, key in SETS.items():
        folder = common.fresh(CACHE)
        killed = 0
        with hosts(files.good[key], "slow") as server, cache(folder):
            facts = facts_about(files.good, server.url, files.digits)
            for _ in range(2 * kills):
                if killed == kills:
                    break
                command = [sys.executable, "-c", CHILD, facts, name]
                child = subprocess.Popen(
                    command, cwd=common.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                try:
                    child.wait(0.4 + draw.expovariate(1.0))
                    print(f"{name}: loaded before the kill; tried again", flush=True)
                    folder = common.fresh(CACHE)
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    killed += child.wait() == -signal.SIGKILL
        for path in folder.glob("*.unpacking-*"):
            os.utime(path, (0, 0))  # an hour later nobody can be at work there
        lost = check_leftovers(files, name, folder)
        if not killed and lost == "nothing":
            lost = "no kill landed"
        rows.append(
            {
                "loader": name,
                "host": f"killed {killed} times",
                "seconds": "",
                "message": "",
                "lost": lost,
            }
        )
    return rows


def prove_notebook(files, prefixes=()):
    """Run notebook 01, quick, while hosts or disks fail; it must end with the same numbers."""
    rows = []
    expected = None
    good = files.good["imdb"]
    wrong = spoiled(good)
    cases = {
        "no network asked": None,
        "hangs": (good, "silent"),
        "cuts off at 30 %, always": (good, "cut"),
        "a wrong file of the right size": (wrong, "normal"),
        "an archive that climbs out": (files.hostile["imdb"], "normal"),
        "cache on a full disk": (good, "normal"),
        "read-only cache": (good, "normal"),
        "runs on a full disk": None,
        "runs on a read-only disk": None,
        "disk with runs fills up before training": None,
        "every disk fills up before training": None,
    }
    for case, served in cases.items():
        if prefixes and not case.startswith(tuple(prefixes)):
            continue
        start_time = time.perf_counter()
        try:
            text, numbers = run_01(case, served, files)
        except common.NotPermitted as reason:
            rows.append(
                {"notebook 01": case, "seconds": "", "message": "", "lost": f"skipped, {reason}"}
            )
            continue
        except Exception as error:
            text, numbers = "", f"the notebook: {str(error).strip().splitlines()[-1][:150]}"
        if expected is None and isinstance(numbers, dict):
            expected = numbers
        output = [line for line in text.splitlines() if any(word in line for word in MARKS)]
        lost = compare_numbers(numbers, expected)
        names_sample = any("Using the built-in sample" in line for line in output)
        if isinstance(numbers, dict) and served and not names_sample:
            lost = "no line says that the sample is used"
        seconds = f"{time.perf_counter() - start_time:.0f}"
        rows.append(
            {
                "notebook 01": case,
                "seconds": seconds,
                "message": "\n".join(output[:5])[:600],
                "lost": lost,
            }
        )
        print(rows[-1], flush=True)
    return rows


def compare_numbers(numbers: dict | str, expected: dict | None) -> str:
    """Say what a run of notebook 01 lost, or "nothing".

    Args:
        numbers: of its summary, or a text that says how the notebook failed.
        expected: the numbers of the first run that did not fail, or None.
    """
    if isinstance(numbers, str):
        return numbers
    return "nothing" if numbers == expected else "the numbers differ"


MARKS = (
    "Using the built-in",
    "cannot be used",
    "cannot be saved",
    "not saved",
    "not logged",
    "is lost",
    "W&B:",
)
NUMBERS = """
import json
from utils import results

write = results.save_summary


def save_summary(*args, **numbers):
    print("NUMBERS", json.dumps(numbers))
    write(*args, **numbers)


results.save_summary = save_summary
"""


def run_01(case, served, files):
    """Run notebook 01 in one case; return what it output and the numbers of its summary."""
    runs, folder = common.fresh("network", "runs"), common.fresh(CACHE)
    with contextlib.ExitStack() as stack:
        more, before, relief = {}, {1: NUMBERS}, None
        if served:
            server = stack.enter_context(hosts(*served))
            served_files = files.good | (
                {"imdb": served[0]} if served[0] is files.hostile["imdb"] else {}
            )
            facts = facts_about(served_files, server.url, files.digits)
            before[1] += f"from tests.proofs import network\nnetwork.redirect({facts!r})"
            more |= {"COMPANION_DATA": "auto"}
        if case == "cache on a full disk":
            folder = stack.enter_context(common.disk(1))
        if case == "read-only cache":
            folder = stack.enter_context(common.disk(1, read_only=folder))
        if case == "runs on a full disk":
            runs = stack.enter_context(common.disk(1))
            common.fill(runs)
        if case == "runs on a read-only disk":
            runs = stack.enter_context(common.disk(100, read_only=runs))
        if "fills up" in case:
            runs = stack.enter_context(common.disk(100))
            training = first_training()
            before[training] = (
                f"from tests.proofs import common\ncommon.fill(common.Path({str(runs)!r}))"
            )
        if case.startswith("every disk"):
            before[training] += "\nfrom utils import settings\nsettings._spare_places = lambda: []"
            relief = f"common.Path({str(runs / 'filler')!r}).unlink()"
        env = common.environment(runs, COMPANION_CACHE=str(folder), **more)
        text = common.run_notebook("01", env, before, relief)
    numbers = next(line for line in text.splitlines() if line.startswith("NUMBERS"))
    return text, json.loads(numbers.removeprefix("NUMBERS"))


def first_training() -> int:
    """Return the number of the code cell of notebook 01 that trains the first model."""
    cells = nbformat.read(common.notebook("01"), as_version=4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    return next(n for n, source in enumerate(sources) if source.startswith("unigrams = "))


def main():
    """Prove one half, or both."""
    start_time, words = time.perf_counter(), [word for word in sys.argv[1:] if not word.isdigit()]
    what = [word for word in words if word in ("loaders", "notebook")] or ["loaders", "notebook"]
    os.environ |= {"COMPANION_PROFILE": "live", "COMPANION_DATA": "auto"} | common.NO_NETWORK
    files, rows, code = make_files(), [], 0
    for name, key in SETS.items() if "loaders" in what else ():
        folder = common.fresh(CACHE)
        data, _, _ = attempt(files, "good", name, files.good[key], "normal", folder)
        EXPECTED[name] = data.fingerprint
        os.environ["COMPANION_DATA"] = "sample"
        EXPECTED[name, "sample"] = load(name).fingerprint
        os.environ["COMPANION_DATA"] = "auto"
    if "loaders" in what:
        rows = prove_hosts(files) + prove_kills(files)
        try:
            rows += prove_disks(files)
        except common.NotPermitted as reason:
            rows.append(
                {
                    "loader": "all",
                    "host": "small disks",
                    "seconds": "",
                    "message": "",
                    "lost": f"skipped, {reason}",
                }
            )
        shutil.rmtree(CACHE.parent, ignore_errors=True)
        code |= common.report("Loaders against hosts, kills and disks that fail", rows, start_time)
    if "notebook" in what:
        start_time = time.perf_counter()
        code |= common.report(
            "Notebook 01, quick profile, while something fails",
            prove_notebook(files, [word for word in words if word not in what]),
            start_time,
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
