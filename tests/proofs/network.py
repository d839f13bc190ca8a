"""Prove that a network, a host or a disk that fails costs one line and never a notebook.

A server on this machine stands in for the hosts, with small files in place of theirs. Every loader runs end
to end against each way to fail, then again in the same cache with everything well; notebook 01 runs in the
worst of them. `python tests/proofs/network.py loaders` or `notebook` runs one half: about 5 and 10 minutes.
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

import numpy as np

from tests.proofs import common
from tests.test_downloads import serve, stop
from utils import datasets, downloads
from utils.synthetic.reviews import generate_reviews
from utils.synthetic.sentence_pairs import generate_pairs

SETS = {"reviews": "imdb", "sentence pairs": "spa_eng", "digits": "mnist"}
ORIGINAL = downloads.sources()
# In memory where that is possible: the reviews are 50,000 files.
CACHE = (
    Path("/dev/shm/companion-proof" if Path("/dev/shm").is_dir() else common.WORK / "network")
    / "cache"
)
TRUE = {}  # what each loader gives when all is well


def load(name):
    """Load a little of a data set, as a notebook does."""
    loaders = {
        "reviews": lambda: datasets.load_reviews(200, 50, 100),
        "sentence pairs": lambda: datasets.load_sentence_pairs(200, 50, 50),
        "digits": lambda: datasets.load_digits(200, 100),
    }
    return loaders[name]()


def content(data):
    """Hash what a loader returned."""
    if hasattr(data.train, "texts"):
        return common.digest([data.train.texts, data.test.labels.tolist()])
    if hasattr(data.train, "english"):
        return common.digest([data.train.english, data.test.spanish])
    return common.digest([data.train.images.tobytes(), data.test.labels.tobytes()])


def make_files():
    """Make the files that stand in for those of the hosts, and the evil ones; return them by data set."""
    texts, labels = generate_reviews("train", 8_000)
    by_label = {
        name: [t for t, is_ in zip(texts, labels, strict=True) if is_ == number]
        for name, number in (("neg", 0), ("pos", 1))
    }
    reviews = {
        f"aclImdb/{part}/{label}/{place}_7.txt": by_label[label][
            (place + 999 * (part == "test")) % len(by_label[label])
        ]
        for part in ("train", "test")
        for label in ("neg", "pos")
        for place in range(12_500)
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
        evil={
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
    """Let the loaders ask this proof's server instead of the hosts, in the quick profile too.

    Args:
        facts: JSON of what differs for each source, and the hash of the digits.
    """
    facts = json.loads(facts)
    told = downloads.sources()
    changed = {
        name: replace(told[name], member="", **fields) for name, fields in facts["sources"].items()
    }
    downloads.sources = lambda: changed
    downloads.locate = downloads.unpack
    datasets.MNIST_SHA256 = facts["digits"]


def facts_about(files: dict, url: str, digits: str) -> str:
    """Describe files that a server gives, for `redirect`."""
    sources = {}
    for name, body in files.items():
        file = ORIGINAL[name].file.name
        sha256 = hashlib.sha256(body).hexdigest()
        sources[name] = {"url": f"{url}/{file}", "sha256": sha256, "bytes": len(body)}
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
    """Load a data set once; return its source, what was printed, and the seconds that it took."""
    downloads.STALL_SECONDS = stall
    key = SETS[name]
    given = files.good | ({key: files.evil[key]} if kind == "evil" else {})
    said = io.StringIO()
    with hosts(body, mode) as server, cache(folder), contextlib.redirect_stdout(said):
        redirect(facts_about(given, server.url, files.digits))
        began = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            data = load(name)
    return data, said.getvalue(), time.perf_counter() - began


def judge(name, data, said, real=False):
    """Say what was lost in one attempt; "nothing" if it went as it must."""
    if real:
        return (
            "nothing"
            if content(data) == TRUE[name] and not said
            else f"not the real data: {said!r}"
        )
    if data.source != "sample" or content(data) != TRUE[name, "sample"]:
        return "the sample"
    clear = said.startswith(f"Using the built-in sample of {name}: ") and said.count("\n") == 1
    return "nothing" if clear else f"a clear line: {said!r}"


def believed(files, name, folder):
    """Load again with everything well; say what an earlier failure left that does harm."""
    data, said, _ = attempt(files, "good", name, files.good[SETS[name]], "normal", folder)
    wrong = judge(name, data, said, real=True)
    strays = [
        path.name
        for path in folder.iterdir()
        if path.name.endswith(".part") or "unpacking" in path.name
    ]
    return wrong if wrong != "nothing" else (f"files left: {strays}" if strays else "nothing")


def ways(body, evil):
    """List the ways in which hosts fail: what, the file, the mode of the server, seconds without a byte."""
    wrong = body[:-1] + bytes([body[-1] ^ 1])
    return {
        "refuses": (body, "refuses"),
        "hangs": (body, "silent"),
        "hangs after 30 %": (body, "stall"),
        "cuts off at 30 %, always": (body, "cut"),
        "a wrong file of the right size": (wrong, "normal"),
        "a login page": (b"<html>Log in to this network", "normal"),
        "answers 503": (body, 503),
        "a file that does harm": (evil, "normal"),
    }


def prove_hosts(files):
    """Try every way to fail on every loader."""
    rows = []
    for name, key in SETS.items():
        for way, (body, mode) in ways(files.good[key], files.evil[key]).items():
            folder = common.fresh(CACHE)
            kind = "evil" if body is files.evil[key] else "good"
            # 20 seconds without a byte count as cut off; waited for in full once, for one data set.
            stall = 20 if name == "digits" else 1
            data, said, seconds = attempt(files, kind, name, body, mode, folder, stall)
            lost = judge(name, data, said)
            if list(CACHE.parent.rglob("escaped.txt")):
                lost = "the folder's walls"
            if kind == "evil":  # its hash was named as right: only a person can take it away
                for path in folder.iterdir():
                    path.unlink()
            lost = lost if lost != "nothing" else believed(files, name, folder)
            reason = said.partition(": ")[2].partition(": ")[2].partition(". Run")[0].strip()
            rows.append(
                {
                    "loader": name,
                    "host": way,
                    "seconds": f"{seconds:.1f}",
                    "it says": reason[:120],
                    "lost": lost,
                }
            )
        folder = common.fresh(CACHE)
        data, said, seconds = attempt(files, "good", name, files.good[key], "slow", folder)
        lost = judge(name, data, said, real=True)
        rows.append(
            {
                "loader": name,
                "host": "slow, 2 MB/s",
                "seconds": f"{seconds:.1f}",
                "it says": "",
                "lost": lost,
            }
        )
    return rows


def prove_disks(files):
    """Fill the disk under a download and under an unpacking; make the cache read-only, empty and filled."""
    rows = []

    def row(name, what, said, lost, seconds=""):
        reason = said.partition(": ")[2].strip()
        rows.append(
            {
                "loader": name,
                "host": what,
                "seconds": seconds,
                "it says": reason[:120],
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
                data, said, seconds = attempt(files, "good", name, body, "normal", folder)
                left = [
                    path.name
                    for path in folder.iterdir()
                    if path.suffix == ".part" or path.is_dir()
                ]
                subprocess.run(["mount", "-o", "remount,size=2000m", str(folder)], check=True)
                lost = judge(name, data, said)
                lost = f"half files: {left}" if left else lost
                row(
                    name,
                    what,
                    said,
                    lost if lost != "nothing" else believed(files, name, folder),
                    f"{seconds:.1f}",
                )
        with common.disk(1, read_only=common.fresh("network", "empty")) as folder:
            data, said, seconds = attempt(files, "good", name, body, "normal", folder)
            row(name, "read-only cache, empty", said, judge(name, data, said), f"{seconds:.1f}")
        filled = common.fresh(CACHE)
        believed(files, name, filled)
        with common.disk(read_only=filled) as folder:
            data, said, seconds = attempt(files, "good", name, body, "refuses", folder)
            row(
                name,
                "read-only cache that has it",
                said,
                judge(name, data, said, real=True),
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
        folder, killed = common.fresh(CACHE), 0
        with hosts(files.good[key], "slow") as server, cache(folder):
            facts = facts_about(files.good, server.url, files.digits)
            for _ in range(kills):
                command = [sys.executable, "-c", CHILD, facts, name]
                child = subprocess.Popen(
                    command, cwd=common.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                try:
                    child.wait(0.4 + draw.expovariate(1.0))
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    killed += child.wait() == -signal.SIGKILL
        for path in folder.glob("*.unpacking-*"):
            os.utime(path, (0, 0))  # an hour later nobody can be at work there
        lost = believed(files, name, folder)
        rows.append(
            {
                "loader": name,
                "host": f"killed {killed} times",
                "seconds": "",
                "it says": "",
                "lost": lost,
            }
        )
    return rows


def prove_notebook(files, wanted=()):
    """Run notebook 01, quick, while hosts or disks fail; it must end with the same numbers."""
    rows, whole = [], None
    good = files.good["imdb"]
    wrong = good[:-1] + bytes([good[-1] ^ 1])
    cases = {
        "no network asked": None,
        "hangs": (good, "silent"),
        "cuts off at 30 %, always": (good, "cut"),
        "a wrong file of the right size": (wrong, "normal"),
        "an archive that climbs out": (files.evil["imdb"], "normal"),
        "cache on a full disk": (good, "normal"),
        "read-only cache": (good, "normal"),
        "runs on a full disk": None,
        "runs on a read-only disk": None,
        "disk with runs fills up before training": None,
        "every disk fills up before training": None,
    }
    for case, served in cases.items():
        if wanted and not case.startswith(tuple(wanted)):
            continue
        began = time.perf_counter()
        try:
            text, found = run_01(case, served, files)
        except common.NotPermitted as reason:
            rows.append(
                {"notebook 01": case, "seconds": "", "it says": "", "lost": f"skipped, {reason}"}
            )
            continue
        except Exception as error:
            text, found = "", f"the notebook: {str(error).strip().splitlines()[-1][:150]}"
        if whole is None:
            whole = found
        said = [line for line in text.splitlines() if any(word in line for word in MARKS)]
        lost = (
            "nothing"
            if found == whole
            else (found if isinstance(found, str) else "the numbers differ")
        )
        if (
            isinstance(found, dict)
            and served
            and not any("Using the built-in sample" in line for line in said)
        ):
            lost = "no line says that the sample is used"
        seconds = f"{time.perf_counter() - began:.0f}"
        rows.append(
            {
                "notebook 01": case,
                "seconds": seconds,
                "it says": "\n".join(said[:5])[:600],
                "lost": lost,
            }
        )
        print(rows[-1], flush=True)
    return rows


MARKS = (
    "Using the built-in",
    "cannot be used",
    "cannot be kept",
    "not saved",
    "not logged",
    "is lost",
    "W&B:",
)
NUMBERS = """
import json
from utils import results

write = results.save_summary
results.save_summary = lambda *told, **numbers: (print("NUMBERS", json.dumps(numbers)), write(*told, **numbers))
"""


def run_01(case, served, files):
    """Run notebook 01 in one case; return what it said and the numbers of its summary."""
    runs, folder = common.fresh("network", "runs"), common.fresh(CACHE)
    with contextlib.ExitStack() as stack:
        more, before, relief = {}, {1: NUMBERS}, None
        if served:
            server = stack.enter_context(hosts(*served))
            given = files.good | ({"imdb": served[0]} if served[0] is files.evil["imdb"] else {})
            facts = facts_about(given, server.url, files.digits)
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
            # In front of the cell that trains the first model.
            before[TRAINS] = (
                f"from tests.proofs import common\ncommon.fill(common.Path({str(runs)!r}))"
            )
        if case.startswith("every disk"):
            before[TRAINS] += "\nfrom utils import settings\nsettings._spare_places = lambda: []"
            relief = f"common.Path({str(runs / 'filler')!r}).unlink()"
        env = common.environment(runs, COMPANION_CACHE=str(folder), **more)
        text = common.run_notebook("01", env, before, relief)
    numbers = next(line for line in text.splitlines() if line.startswith("NUMBERS"))
    return text, json.loads(numbers.removeprefix("NUMBERS"))


TRAINS = 19


def main():
    """Prove one half, or both."""
    began, words = time.perf_counter(), [word for word in sys.argv[1:] if not word.isdigit()]
    what = [word for word in words if word in ("loaders", "notebook")] or ["loaders", "notebook"]
    os.environ |= {"COMPANION_PROFILE": "live", "COMPANION_DATA": "auto"} | common.NO_NETWORK
    files, rows, code = make_files(), [], 0
    for name, key in SETS.items() if "loaders" in what else ():
        folder = common.fresh(CACHE)
        data, _, _ = attempt(files, "good", name, files.good[key], "normal", folder)
        TRUE[name] = content(data)
        os.environ["COMPANION_DATA"] = "sample"
        TRUE[name, "sample"] = content(load(name))
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
                    "it says": "",
                    "lost": f"skipped, {reason}",
                }
            )
        shutil.rmtree(CACHE.parent, ignore_errors=True)
        code |= common.report("Loaders against hosts, kills and disks that fail", rows, began)
    if "notebook" in what:
        began = time.perf_counter()
        code |= common.report(
            "Notebook 01, quick profile, while something fails",
            prove_notebook(files, [word for word in words if word not in what]),
            began,
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
