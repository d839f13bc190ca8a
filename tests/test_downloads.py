import contextlib
import hashlib
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from utils import downloads, settings

PROJECT = settings.ROOT
BODY = random.Random(0).randbytes(2_000_000)
PROXIES = [name + end for name in ("http", "https", "all", "no") for end in ("_proxy", "_PROXY")]


class Handler(BaseHTTPRequestHandler):
    """Serve `server.body` in one of the ways in which hosts fail; `server.modes` names one a request."""

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        mode = server.modes.pop(0) if len(server.modes) > 1 else server.modes[0]
        server.asked.append(SimpleNamespace(path=self.path, range=asked))
        if mode == "silent":
            server.released.wait(20)
            return
        if isinstance(mode, int) or (mode == "range refused" and asked):
            self.send_response(416 if mode == "range refused" else mode)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and mode != "no range" else 0
        rest = server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}"
            )
        if mode == "labelled":
            self.send_header("Content-Encoding", "gzip")
        if mode != "no length":
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        sent = rest[: len(rest) * 3 // 10] if mode in ("cut", "stall") else rest
        for place in range(0, len(sent), 100_000):
            block = sent[place : place + 100_000]
            self.wfile.write(block)
            server.sent += len(block)
            if mode == "slow":
                time.sleep(0.05)
        if mode == "stall":
            self.wfile.flush()
            server.released.wait(20)

    def handle(self):
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *args):
        pass


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    server.body, server.modes, server.asked, server.sent = BODY, ["normal"], [], 0
    server.released = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    ).start()
    return server


def stop(server):
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def host():
    """The official host."""
    server = serve()
    yield server
    stop(server)


@pytest.fixture
def mirror():
    """A second host, which readers may name in COMPANION_MIRROR."""
    server = serve()
    yield server
    stop(server)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMPANION_PROFILE", "live")
    monkeypatch.setattr(settings, "ROOT", tmp_path / "project")
    (tmp_path / "project" / "data").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def thing(cache, host):
    """A plain file of known content that the official host serves."""
    describe(f"{host.url}/some/thing.bin", BODY)
    return cache / "thing.bin"


def describe(url, body, **fields):
    fields = {"title": "A thing", "licence": "none", "notebooks": ["01", "06"]} | fields
    fields |= {"url": url, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    path = settings.ROOT / "data" / "sources.toml"
    path.write_text("[thing]\n" + "\n".join(lines), encoding="utf-8")


def fetch():
    return downloads.fetch("thing", progress=False)


def refusal(call):
    """Return what a call that must fail says, which is one line that names something to do."""
    with pytest.raises(downloads.Unavailable) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and line.endswith(".")
    assert re.search(r"[Rr]un `make data`|set COMPANION_CACHE", line), line
    return line


def left(cache):
    return sorted(path.name for path in cache.iterdir())


def all_sent(host, expected=2_000_000):
    """What the host has sent; it counts a block after sending it, so the reader may be a little ahead."""
    for _ in range(100):
        if host.sent >= expected:
            break
        time.sleep(0.02)
    return host.sent


def test_a_file_is_downloaded_once(thing, host):
    assert fetch() == thing and thing.read_bytes() == BODY
    assert fetch() == thing
    assert [request.path for request in host.asked] == ["/some/thing.bin"]
    assert left(thing.parent) == ["thing.bin"]


def test_a_cut_off_line_is_resumed_and_nothing_sent_twice(thing, host):
    host.modes = ["cut", "normal"]
    assert fetch().read_bytes() == BODY
    assert [request.range for request in host.asked] == [None, "bytes=600000-"]
    assert all_sent(host) == len(BODY)


def test_a_line_cut_off_twice_is_resumed_by_the_next_call(thing, host):
    host.modes = ["cut"]
    # 30 % of 2.00 MB, then 30 % of the remaining 1.40 MB.
    assert "127.0.0.1 was cut off" in (line := refusal(fetch)) and "to resume at 1.0 MB" in line
    assert (thing.parent / "thing.bin.part").read_bytes() == BODY[:1_020_000] and not thing.exists()
    host.modes = ["normal"]
    assert fetch().read_bytes() == BODY
    assert host.asked[-1].range == "bytes=1020000-" and all_sent(host) == len(BODY)


def test_a_host_that_ignores_the_range_starts_over(thing, host):
    host.modes = ["cut", "no range"]
    assert fetch().read_bytes() == BODY
    assert host.asked[-1].range == "bytes=600000-" and all_sent(
        host, 600_000 + len(BODY)
    ) == 600_000 + len(BODY)


def test_a_host_that_names_no_length_is_believed_for_its_sha256(thing, host):
    host.modes = ["no length"]
    assert fetch().read_bytes() == BODY


def test_a_host_that_refuses_the_range_is_asked_for_everything(thing, host):
    thing.with_name("thing.bin.part").write_bytes(BODY[:1000])
    host.modes = ["range refused"]
    assert fetch().read_bytes() == BODY
    assert [request.range for request in host.asked] == ["bytes=1000-", None]


def test_an_archive_labelled_as_compressed_is_kept_as_it_is(thing, host):
    host.modes = ["labelled"]
    assert fetch().read_bytes() == BODY


def test_a_stall_counts_as_cut_off(thing, host, monkeypatch):
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.3)
    host.modes = ["stall", "normal"]
    began = time.perf_counter()
    assert fetch().read_bytes() == BODY
    assert 0.3 < time.perf_counter() - began < 3 and len(host.asked) == 2


def test_a_slow_but_steady_line_is_waited_for(thing, host, monkeypatch):
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.6)
    monkeypatch.setattr(downloads, "ANSWER_SECONDS", 0.6)
    host.modes = ["slow"]
    began = time.perf_counter()
    assert fetch().read_bytes() == BODY
    assert time.perf_counter() - began > 0.9 and len(host.asked) == 1


def test_a_silent_host_is_given_up(thing, host, monkeypatch):
    assert downloads.ANSWER_SECONDS <= 4
    monkeypatch.setattr(downloads, "ANSWER_SECONDS", 1)
    host.modes = ["silent"]
    began = time.perf_counter()
    assert "127.0.0.1 did not answer in 1 s" in refusal(fetch)
    assert 0.9 < time.perf_counter() - began < 2


def test_hanging_name_look_ups_are_known_within_five_seconds(cache, monkeypatch):
    describe("http://data.example/thing.bin", BODY)
    monkeypatch.setenv("COMPANION_MIRROR", "http://mirror.example/files/")
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: over.wait(30))
    began = time.perf_counter()
    line = refusal(fetch)
    over.set()
    assert time.perf_counter() - began < 5
    assert "the mirror did not answer" in line and "data.example did not answer" in line


def test_a_closed_port_is_known_at_once(cache, host):
    describe(f"{host.url}/thing.bin", BODY)
    host.server_close()
    began = time.perf_counter()
    assert "127.0.0.1 cannot be reached" in refusal(fetch)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_status_is_named(thing, host, status):
    host.modes = [status]
    assert f"127.0.0.1 answered {status}" in refusal(fetch)
    assert left(thing.parent) == []


def test_a_proxy_is_used(cache, host, monkeypatch):
    describe("http://data.example/thing.bin", BODY)
    monkeypatch.setenv("http_proxy", host.url)
    assert fetch().read_bytes() == BODY
    assert host.asked[0].path == "http://data.example/thing.bin"


def test_a_wrong_file_is_removed_after_one_download(thing, host):
    host.body = BODY[:-1] + bytes([BODY[-1] ^ 1])
    line = refusal(fetch)
    assert "wrong sha256" in line and "removed" in line and "put the right file at" in line
    assert left(thing.parent) == [] and len(host.asked) == 1


def test_a_wrong_file_that_came_in_two_pieces_is_removed(thing, host):
    host.body, host.modes = bytes(len(BODY)), ["cut", "normal"]
    assert "wrong sha256" in refusal(fetch)
    assert left(thing.parent) == []


def test_a_page_instead_of_the_file_is_refused_before_it_is_read(thing, host):
    host.body = b"<html>Log in to this network"
    assert "28 bytes, not 2,000,000" in refusal(fetch)
    assert left(thing.parent) == []


@pytest.mark.parametrize("old", [bytes(1000), bytes(len(BODY)), bytes(len(BODY) + 1)])
def test_an_old_part_that_proves_wrong_is_started_over(thing, host, old):
    thing.with_name("thing.bin.part").write_bytes(old)
    assert fetch().read_bytes() == BODY
    assert host.asked[-1].range is None and left(thing.parent) == ["thing.bin"]


def test_a_complete_part_needs_no_host(thing, host):
    thing.with_name("thing.bin.part").write_bytes(BODY)
    assert fetch().read_bytes() == BODY
    assert host.asked == []


def test_a_damaged_file_in_the_cache_is_replaced(thing, host):
    thing.write_bytes(BODY[:-1] + b"?")
    assert fetch().read_bytes() == BODY
    thing.write_bytes(BODY[:-1])
    host.modes = [404]
    line = refusal(fetch)
    assert "wrong sha256" in line and "removed" in line and left(thing.parent) == []


def test_two_downloads_at_once_do_not_harm_each_other(thing, host):
    host.modes = ["slow"]
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(fetch().read_bytes() == BODY)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert got == [True, True, True] and left(thing.parent) == ["thing.bin"]


@pytest.mark.parametrize("as_url", [False, True])
def test_a_mirror_folder_is_asked_first(thing, host, monkeypatch, tmp_path, as_url):
    stick = tmp_path / "a stick"
    stick.mkdir()
    (stick / "thing.bin").write_bytes(BODY)
    monkeypatch.setenv("COMPANION_MIRROR", stick.as_uri() if as_url else str(stick))
    assert fetch().read_bytes() == BODY
    assert host.asked == []


def test_a_mirror_folder_with_a_wrong_file_is_passed_over(thing, host, monkeypatch, tmp_path):
    (tmp_path / "thing.bin").write_bytes(bytes(len(BODY)))
    monkeypatch.setenv("COMPANION_MIRROR", str(tmp_path))
    assert fetch().read_bytes() == BODY
    thing.unlink()
    host.modes = [404]
    assert "the mirror has a different file (wrong sha256); 127.0.0.1 answered 404" in refusal(
        fetch
    )
    assert left(thing.parent) == []


def test_a_mirror_url_is_asked_first(thing, host, mirror, monkeypatch):
    monkeypatch.setenv("COMPANION_MIRROR", f"{mirror.url}/files/")
    assert fetch().read_bytes() == BODY
    assert [request.path for request in mirror.asked] == ["/files/thing.bin"] and host.asked == []


def test_a_mirror_url_that_fails_is_passed_over(thing, host, mirror, monkeypatch):
    monkeypatch.setenv("COMPANION_MIRROR", mirror.url)
    mirror.body = bytes(len(BODY))
    assert fetch().read_bytes() == BODY
    assert len(mirror.asked) == len(host.asked) == 1


def test_a_mirror_that_is_no_address_is_passed_over(thing, monkeypatch):
    monkeypatch.setenv("COMPANION_MIRROR", "http://[")
    assert fetch().read_bytes() == BODY


def test_the_quick_profile_asks_no_host(thing, host, mirror, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    monkeypatch.setenv("COMPANION_MIRROR", mirror.url)
    assert "quick profile never touches the network" in refusal(lambda: downloads.locate("thing"))
    monkeypatch.setenv("COMPANION_MIRROR", str(tmp_path))
    (tmp_path / "thing.bin").write_bytes(BODY)
    assert downloads.locate("thing").read_bytes() == BODY
    monkeypatch.delenv("COMPANION_MIRROR")
    assert downloads.locate("thing") == thing
    assert host.asked == mirror.asked == []


def test_other_profiles_download(thing):
    assert downloads.locate("thing") == thing and thing.read_bytes() == BODY


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_the_part_removed(thing):
    part = thing.with_name("thing.bin.part")
    part.symlink_to("/dev/full")
    line = refusal(fetch)
    assert line.startswith("disk full") and "needs 2 MB" in line
    assert not part.is_symlink() and left(thing.parent) == []


def test_a_cache_that_cannot_be_written_is_named(thing, host, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "file" / "cache"))
    assert "Not a directory" in refusal(fetch)
    assert host.asked == []


MEMBERS = {"box/a.txt": b"alpha", "box/more/b.txt": b"beta", "box/unsup/c.txt": b"gamma"}


def packed(kind, members, links=()):
    """Return the bytes of an archive; `links` are pairs of a member and what it leads to."""
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, target in links:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, target
                archive.addfile(info)
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def archived(cache, host):
    """Make the official host serve an archive and return what unpacks it."""

    def make(kind, body):
        host.body = body
        describe(f"{host.url}/box.{kind}", body, folder="box", skip=["*/unsup/*"])
        return lambda: downloads.unpack("thing")

    return make


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_is_unpacked_once_and_without_what_is_skipped(cache, host, archived, kind):
    unpack = archived(kind, packed(kind, MEMBERS))
    assert unpack() == cache / "box"
    files = {
        p.relative_to(cache).as_posix(): p.read_bytes() for p in (cache / "box").rglob("*.txt")
    }
    assert files == {"box/a.txt": b"alpha", "box/more/b.txt": b"beta"}
    assert left(cache) == ["box", f"box.{kind}"]
    (cache / f"box.{kind}").unlink()
    assert unpack() == downloads.locate("thing") == cache / "box" and len(host.asked) == 1


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize(
    "name", ["../escaped.txt", "box/../../../escaped.txt", "{tmp}/escaped.txt"]
)
def test_an_archive_that_climbs_out_is_refused(cache, archived, tmp_path, kind, name):
    members = MEMBERS | {name.format(tmp=tmp_path): b"escaped"}
    assert "outside" in refusal(archived(kind, packed(kind, members)))
    assert list(tmp_path.parent.rglob("escaped.txt")) == []
    assert left(cache) == [f"box.{kind}"]


def test_a_link_that_leads_outside_is_refused(cache, archived, tmp_path):
    body = packed("tar.gz", {"box/out/escaped.txt": b"escaped"}, links=[("box/out", str(tmp_path))])
    assert "cannot be unpacked" in refusal(archived("tar.gz", body))
    assert list(tmp_path.parent.rglob("escaped.txt")) == [] and left(cache) == ["box.tar.gz"]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [(kind, damage) for kind in ("tar.gz", "zip") for damage in ("nonsense", "cut", "other folder")]
    + [("zip", "flipped")],
)
def test_an_archive_that_cannot_be_read_is_refused(cache, archived, kind, damage):
    good = packed(kind, {"box/a.bin": BODY[:50_000]})
    body = {
        "nonsense": b"nothing of the kind",
        "cut": good[:30_000],
        "flipped": good[:30_000] + bytes(99) + good[30_099:],
        "other folder": packed(kind, {"bag/a.txt": b"alpha"}),
    }[damage]
    assert f"box.{kind} cannot be unpacked" in refusal(archived(kind, body))
    assert left(cache) == [f"box.{kind}"]


@pytest.mark.parametrize("level", [0, 9])
def test_an_archive_packed_anew_is_right_if_the_member_that_counts_is(cache, host, level):
    content = b"Go.\tVe.\n" * 2_000
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.writestr("box/pairs.txt", content)
    host.body = file.getvalue()
    describe(f"{host.url}/box.zip", host.body, folder="box", member="box/pairs.txt")
    path = settings.ROOT / "data" / "sources.toml"
    told = path.read_text(encoding="utf-8")
    path.write_text(
        told.replace(hashlib.sha256(host.body).hexdigest(), hashlib.sha256(content).hexdigest()),
        encoding="utf-8",
    )
    assert (downloads.unpack("thing") / "pairs.txt").read_bytes() == content


@pytest.mark.parametrize(
    "members", [{"box/pairs.txt": b"changed"}, {"box/other.txt": b"right"}, None]
)
def test_an_archive_without_the_right_member_is_refused(cache, host, members):
    host.body = packed("zip", members) if members else b"no archive at all"
    describe(f"{host.url}/box.zip", host.body, folder="box", member="box/pairs.txt")
    path = settings.ROOT / "data" / "sources.toml"
    told = path.read_text(encoding="utf-8")
    path.write_text(
        told.replace(hashlib.sha256(host.body).hexdigest(), hashlib.sha256(b"right").hexdigest()),
        encoding="utf-8",
    )
    assert "sha256" in refusal(fetch)
    assert left(cache) == []


def program(code):
    """Start Python on some code, with the test's project folder and cache."""
    head = "import os, sys; from pathlib import Path; from utils import downloads, settings\n"
    head += f"settings.ROOT = Path({str(settings.ROOT)!r})\n"
    # A test run started in the background ignores Ctrl-C, and so would its children.
    head += "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_extraction_is_not_believed(cache, archived):
    unpack = archived("tar.gz", packed("tar.gz", MEMBERS))
    killed = program("Path.rename = lambda *args: os._exit(9)\ndownloads.unpack('thing')")
    assert killed.wait(20) == 9
    aside = next(cache.glob("box.unpacking-*"))
    assert (aside / "box" / "a.txt").read_bytes() == b"alpha" and not (cache / "box").exists()
    assert unpack() == cache / "box" and (cache / "box" / "more" / "b.txt").read_bytes() == b"beta"
    # Another process might still be at work there; after two hours none is.
    assert aside.exists()
    os.utime(aside, (time.time() - 7200,) * 2)
    (cache / "box").rename(cache / "old")
    unpack()
    assert left(cache) == ["box", "box.tar.gz", "old"]


def test_two_extractions_at_once_do_not_harm_each_other(cache, archived, monkeypatch):
    unpack = archived("tar.gz", packed("tar.gz", MEMBERS))
    extract = downloads._extract

    def overtaken(*args):
        monkeypatch.setattr(downloads, "_extract", extract)
        extract(*args)
        assert unpack() == cache / "box"

    monkeypatch.setattr(downloads, "_extract", overtaken)
    assert unpack() == cache / "box" and left(cache) == ["box", "box.tar.gz"]


def test_make_data_says_what_came_and_what_is_there(archived, capsys):
    archived("tar.gz", packed("tar.gz", MEMBERS))
    assert downloads.main() == 0
    said = capsys.readouterr().out
    assert "A thing" in said and "01 06" in said and "MB/s" in said and "unpacked in" in said
    assert downloads.main() == 0
    said = capsys.readouterr().out
    assert re.search(r"01 06 +there", said) and "MB/s" not in said


def test_make_data_says_what_is_missing_and_why(thing, host, capsys):
    host.modes = [404]
    assert downloads.main() == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "MISSING, samples are used instead" in said and "answered 404" in said


def test_control_c_keeps_the_part_and_says_how_to_go_on(thing, host):
    host.modes = ["stall"]
    stopped = program("sys.exit(downloads.main())")
    part = thing.with_name("thing.bin.part")
    deadline = time.monotonic() + 10
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=10)
    assert stopped.returncode == 130 and "Traceback" not in err
    assert out.strip().count("\n") == 0 and "run `make data` to resume" in out
    assert BODY.startswith(part.read_bytes()) and part.stat().st_size > 0


def test_the_projects_sources_are_complete():
    entries = tomllib.loads((PROJECT / "data" / "sources.toml").read_text(encoding="utf-8"))
    for name, source in downloads.sources().items():
        assert re.fullmatch("[0-9a-f]{64}", source.sha256) and source.bytes > 0
        assert source.url.startswith("https://") and source.file.suffix in (".gz", ".zip", ".npz")
        assert (
            source.licence
            and source.title in source.card
            and set(source.notebooks) <= set(NOTEBOOKS)
        )
        assert entries[name]["sha256"] == source.sha256


NOTEBOOKS = [f"{number:02}" for number in range(1, 11)]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("aclImdb/train/pos/0_9.txt", True),
        ("aclImdb/test/neg/9_1.txt", True),
        ("aclImdb/train/unsup/0_0.txt", False),
        ("aclImdb/train/unsupBow.feat", False),
    ],
)
def test_the_unlabelled_reviews_are_skipped(monkeypatch, tmp_path, name, kept):
    source = downloads.sources()["imdb"]
    archive = tmp_path / "aclImdb_v1.tar.gz"
    archive.write_bytes(packed("tar.gz", {name: b"text", "aclImdb/README": b"read"}))
    downloads._extract(archive, tmp_path, source)
    assert (tmp_path / name).exists() == kept
