import contextlib
import errno
import hashlib
import importlib.util
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
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from utils import downloads, settings

PROJECT = settings.ROOT
BODY = random.Random(0).randbytes(2_000_000)
PROXIES = [name + end for name in ("http", "https", "all", "no") for end in ("_proxy", "_PROXY")]


class Handler(BaseHTTPRequestHandler):
    """Serve `server.body` in one of the ways in which hosts fail: `server.modes`, one a request."""

    def do_GET(self):
        server = self.server
        byte_range = self.headers.get("Range")
        mode = server.modes.pop(0) if len(server.modes) > 1 else server.modes[0]
        server.requests.append(SimpleNamespace(path=self.path, range=byte_range))
        if mode == "silent":
            server.released.wait(20)
            return
        if isinstance(mode, int) or (mode == "range refused" and byte_range):
            self.send_response(416 if mode == "range refused" else mode)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if byte_range and mode != "no range":
            start = int(re.fullmatch(r"bytes=(\d+)-", byte_range)[1])
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
        for offset in range(0, len(sent), 100_000):
            block = sent[offset : offset + 100_000]
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
    server.daemon_threads = True
    server.block_on_close = False
    server.body = BODY
    server.modes = ["normal"]
    server.requests = []
    server.sent = 0
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
def example(cache, host):
    """A plain file of known content that the official host serves."""
    describe(f"{host.url}/some/example.bin", BODY)
    return cache / "example.bin"


def describe(url, body, **fields):
    """Write a `sources.toml` with one source, "example"; `fields` replace what `body` implies."""
    source = {
        "title": "An example",
        "licence": "none",
        "notebooks": ["01", "06"],
        "url": url,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in (source | fields).items()]
    path = settings.ROOT / "data" / "sources.toml"
    path.write_text("[example]\n" + "\n".join(lines), encoding="utf-8")


def fetch():
    return downloads.fetch("example")


def refusal(call):
    """Return the message of a call that must fail, which is one line that says what to do."""
    with pytest.raises(downloads.Unavailable) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and line.endswith(".")
    assert re.search(r"[Rr]un `make data`|set COMPANION_CACHE", line), line
    return line


def cached_files(cache):
    return sorted(path.name for path in cache.iterdir())


def all_sent(host, expected=2_000_000):
    """Return how many bytes the host has sent; it counts a block after the reader may have it."""
    for _ in range(100):
        if host.sent >= expected:
            break
        time.sleep(0.02)
    return host.sent


def test_a_file_is_downloaded_once(example, host):
    assert fetch() == example and example.read_bytes() == BODY
    assert fetch() == example
    assert [request.path for request in host.requests] == ["/some/example.bin"]
    assert cached_files(example.parent) == ["example.bin"]


def test_a_broken_connection_is_resumed_and_nothing_sent_twice(example, host):
    host.modes = ["cut", "normal"]
    assert fetch().read_bytes() == BODY
    assert [request.range for request in host.requests] == [None, "bytes=600000-"]
    assert all_sent(host) == len(BODY)


def test_a_connection_broken_twice_is_resumed_by_the_next_call(example, host):
    host.modes = ["cut"]
    # 30 % of 2.00 MB, then 30 % of the remaining 1.40 MB.
    assert "127.0.0.1 was cut off" in (line := refusal(fetch)) and "to resume at 1.0 MB" in line
    assert (example.parent / "example.bin.part").read_bytes() == BODY[
        :1_020_000
    ] and not example.exists()
    host.modes = ["normal"]
    assert fetch().read_bytes() == BODY
    assert host.requests[-1].range == "bytes=1020000-" and all_sent(host) == len(BODY)


def test_a_host_that_ignores_the_range_starts_over(example, host):
    host.modes = ["cut", "no range"]
    assert fetch().read_bytes() == BODY
    assert host.requests[-1].range == "bytes=600000-" and all_sent(
        host, 600_000 + len(BODY)
    ) == 600_000 + len(BODY)


def test_a_host_that_sends_no_length_is_checked_by_sha256(example, host):
    host.modes = ["no length"]
    assert fetch().read_bytes() == BODY


def test_a_host_that_refuses_the_range_sends_everything(example, host):
    example.with_name("example.bin.part").write_bytes(BODY[:1000])
    host.modes = ["range refused"]
    assert fetch().read_bytes() == BODY
    assert [request.range for request in host.requests] == ["bytes=1000-", None]


def test_an_archive_labelled_as_compressed_is_not_decompressed(example, host):
    host.modes = ["labelled"]
    assert fetch().read_bytes() == BODY


def test_a_stalled_connection_counts_as_broken(example, host, monkeypatch):
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.3)
    host.modes = ["stall", "normal"]
    start_time = time.perf_counter()
    assert fetch().read_bytes() == BODY
    assert 0.3 < time.perf_counter() - start_time < 3 and len(host.requests) == 2


def test_a_slow_but_steady_connection_is_not_given_up(example, host, monkeypatch):
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.6)
    monkeypatch.setattr(downloads, "ANSWER_SECONDS", 0.6)
    host.modes = ["slow"]
    start_time = time.perf_counter()
    assert fetch().read_bytes() == BODY
    assert time.perf_counter() - start_time > 0.9 and len(host.requests) == 1


def test_a_silent_host_is_given_up(example, host, monkeypatch):
    assert downloads.ANSWER_SECONDS <= 4
    monkeypatch.setattr(downloads, "ANSWER_SECONDS", 1)
    host.modes = ["silent"]
    start_time = time.perf_counter()
    assert "127.0.0.1 did not answer in 1 s" in refusal(fetch)
    assert 0.9 < time.perf_counter() - start_time < 2


def test_hanging_name_look_ups_end_within_five_seconds(cache, monkeypatch):
    describe("http://data.example/example.bin", BODY)
    monkeypatch.setenv("COMPANION_MIRROR", "http://mirror.example/files/")
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: over.wait(30))
    start_time = time.perf_counter()
    line = refusal(fetch)
    over.set()
    assert time.perf_counter() - start_time < 5
    assert "the mirror did not answer" in line and "data.example did not answer" in line


def test_a_closed_port_fails_at_once(cache, host):
    describe(f"{host.url}/example.bin", BODY)
    host.server_close()
    start_time = time.perf_counter()
    assert "127.0.0.1 cannot be reached" in refusal(fetch)
    assert time.perf_counter() - start_time < 1


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_status_is_named(example, host, status):
    host.modes = [status]
    assert f"127.0.0.1 answered {status}" in refusal(fetch)
    assert cached_files(example.parent) == []


CERTIFICATE = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CERTIFICATE, "has a certificate that this machine does not trust"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not open a secure connection"),
        (None, "does not open a secure connection"),
    ],
)
def test_only_a_certificate_is_called_one(cache, host, monkeypatch, error, reason):
    describe(f"https{host.url.removeprefix('http')}/example.bin", BODY)
    if error:  # without one, requests meets a server that does not speak TLS

        def refuse(*args, **kwargs):
            raise requests.exceptions.SSLError(error)

        monkeypatch.setattr(requests, "get", refuse)
    assert f"127.0.0.1 {reason}." in refusal(fetch)


def test_a_proxy_is_used(cache, host, monkeypatch):
    describe("http://data.example/example.bin", BODY)
    monkeypatch.setenv("http_proxy", host.url)
    assert fetch().read_bytes() == BODY
    assert host.requests[0].path == "http://data.example/example.bin"


def test_a_wrong_file_is_removed_after_one_download(example, host):
    host.body = BODY[:-1] + bytes([BODY[-1] ^ 1])
    line = refusal(fetch)
    assert "wrong sha256" in line and "removed" in line and "put the right file at" in line
    assert cached_files(example.parent) == [] and len(host.requests) == 1


def test_a_wrong_file_that_came_in_two_pieces_is_removed(example, host):
    host.body, host.modes = bytes(len(BODY)), ["cut", "normal"]
    assert "wrong sha256" in refusal(fetch)
    assert cached_files(example.parent) == []


def test_a_page_instead_of_the_file_is_refused_before_it_is_read(example, host):
    host.body = b"<html>Log in to this network"
    assert "28 bytes instead of 2,000,000" in refusal(fetch)
    assert cached_files(example.parent) == []


@pytest.mark.parametrize("old", [bytes(1000), bytes(len(BODY)), bytes(len(BODY) + 1)])
def test_a_wrong_old_part_is_started_over(example, host, old):
    example.with_name("example.bin.part").write_bytes(old)
    assert fetch().read_bytes() == BODY
    assert host.requests[-1].range is None and cached_files(example.parent) == ["example.bin"]


def test_a_complete_part_needs_no_host(example, host):
    example.with_name("example.bin.part").write_bytes(BODY)
    assert fetch().read_bytes() == BODY
    assert host.requests == []


def test_a_damaged_file_in_the_cache_is_replaced_once_the_right_one_has_come(example, host):
    example.write_bytes(BODY[:-1] + b"?")
    assert fetch().read_bytes() == BODY
    example.write_bytes(BODY[:-1])
    host.modes = ["cut"]
    line = refusal(fetch)
    folder = settings.display_path(example.parent)
    assert line.startswith(f"example.bin in {folder} has a wrong sha256: 127.0.0.1 was cut off")
    assert "to resume at 1.0 MB" in line and example.read_bytes() == BODY[:-1]
    host.modes = ["normal"]
    assert fetch().read_bytes() == BODY
    assert cached_files(example.parent) == ["example.bin"]


def test_two_downloads_at_once_do_not_harm_each_other(example, host):
    host.modes = ["slow"]
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch().read_bytes() == BODY))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert results == [True, True, True] and cached_files(example.parent) == ["example.bin"]


@pytest.mark.parametrize("as_url", [False, True])
def test_a_mirror_folder_is_used_first(example, host, monkeypatch, tmp_path, as_url):
    usb_folder = tmp_path / "a USB stick"
    usb_folder.mkdir()
    (usb_folder / "example.bin").write_bytes(BODY)
    monkeypatch.setenv("COMPANION_MIRROR", usb_folder.as_uri() if as_url else str(usb_folder))
    assert fetch().read_bytes() == BODY
    assert host.requests == []


def test_a_mirror_folder_with_a_wrong_file_is_skipped(example, host, monkeypatch, tmp_path):
    (tmp_path / "example.bin").write_bytes(bytes(len(BODY)))
    monkeypatch.setenv("COMPANION_MIRROR", str(tmp_path))
    assert fetch().read_bytes() == BODY
    example.unlink()
    host.modes = [404]
    # The unfinished download stays: a bad mirror must not cost what has already arrived.
    example.with_name("example.bin.part").write_bytes(BODY[:1_000_000])
    line = refusal(fetch)
    assert "the mirror has a different file (wrong sha256); 127.0.0.1 answered 404" in line
    assert "to resume at 1.0 MB" in line
    assert cached_files(example.parent) == ["example.bin.part"]
    (tmp_path / "example.bin").write_bytes(BODY)
    assert fetch().read_bytes() == BODY
    assert cached_files(example.parent) == ["example.bin"]


@pytest.mark.parametrize("moment", ["open", "read"])
def test_a_mirror_folder_that_cannot_be_read_is_skipped(
    example, host, monkeypatch, tmp_path, moment
):
    usb_folder = tmp_path / "a USB stick"
    usb_folder.mkdir()
    (usb_folder / "example.bin").write_bytes(BODY)
    monkeypatch.setenv("COMPANION_MIRROR", str(usb_folder))
    original = Path.open

    class Unplugged(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    def unplugged(path, *args, **kwargs):
        if path.parent != usb_folder:
            return original(path, *args, **kwargs)
        if moment == "open":
            raise PermissionError(errno.EACCES, "Permission denied")
        return Unplugged(BODY)

    monkeypatch.setattr(Path, "open", unplugged)
    assert fetch().read_bytes() == BODY
    assert len(host.requests) == 1 and cached_files(example.parent) == ["example.bin"]
    example.unlink()
    host.modes = [404]
    reason = {"open": "Permission denied", "read": "Input/output error"}[moment]
    assert f"the mirror cannot be read ({reason}); 127.0.0.1 answered 404" in refusal(fetch)


def test_a_mirror_url_is_used_first(example, host, mirror, monkeypatch):
    monkeypatch.setenv("COMPANION_MIRROR", f"{mirror.url}/files/")
    assert fetch().read_bytes() == BODY
    assert [request.path for request in mirror.requests] == [
        "/files/example.bin"
    ] and host.requests == []


def test_a_mirror_url_that_fails_is_skipped(example, host, mirror, monkeypatch):
    monkeypatch.setenv("COMPANION_MIRROR", mirror.url)
    mirror.body = bytes(len(BODY))
    assert fetch().read_bytes() == BODY
    assert len(mirror.requests) == len(host.requests) == 1


def test_a_mirror_that_is_not_an_address_is_skipped(example, monkeypatch):
    monkeypatch.setenv("COMPANION_MIRROR", "http://[")
    assert fetch().read_bytes() == BODY


def test_the_quick_profile_uses_no_network(example, host, mirror, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    monkeypatch.setenv("COMPANION_MIRROR", mirror.url)
    assert "quick profile never touches the network" in refusal(lambda: downloads.locate("example"))
    monkeypatch.setenv("COMPANION_MIRROR", str(tmp_path))
    (tmp_path / "example.bin").write_bytes(BODY)
    assert downloads.locate("example").read_bytes() == BODY
    monkeypatch.delenv("COMPANION_MIRROR")
    assert downloads.locate("example") == example
    assert host.requests == mirror.requests == []


def test_other_profiles_download(example):
    assert downloads.locate("example") == example and example.read_bytes() == BODY


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_the_part_removed(example):
    part = example.with_name("example.bin.part")
    part.symlink_to("/dev/full")
    line = refusal(fetch)
    assert line.startswith("disk full") and "needs 2 MB" in line
    assert line.endswith("; free some space or set COMPANION_CACHE to another folder.")
    assert not part.is_symlink() and cached_files(example.parent) == []


def test_a_cache_that_cannot_be_written_is_named(example, host, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "file" / "cache"))
    assert "Not a directory" in refusal(fetch)
    assert host.requests == []


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

    def make(body):
        host.body = body
        describe(f"{host.url}/box.tar.gz", body, folder="box", skip=["*/unsup/*"])
        return lambda: downloads.unpack("example")

    return make


def test_an_archive_is_unpacked_once_and_without_skipped_members(cache, host, archived):
    unpack = archived(packed("tar.gz", MEMBERS))
    assert unpack() == cache / "box"
    files = {
        p.relative_to(cache).as_posix(): p.read_bytes() for p in (cache / "box").rglob("*.txt")
    }
    assert files == {"box/a.txt": b"alpha", "box/more/b.txt": b"beta"}
    assert cached_files(cache) == ["box", "box.tar.gz"]
    (cache / "box.tar.gz").unlink()
    assert unpack() == downloads.locate("example") == cache / "box" and len(host.requests) == 1


@pytest.mark.parametrize(
    "name", ["../escaped.txt", "box/../../../escaped.txt", "{tmp}/escaped.txt"]
)
def test_an_archive_that_writes_outside_is_refused(cache, archived, tmp_path, name):
    members = MEMBERS | {name.format(tmp=tmp_path): b"escaped"}
    assert "outside" in refusal(archived(packed("tar.gz", members)))
    assert list(tmp_path.parent.rglob("escaped.txt")) == []
    assert cached_files(cache) == ["box.tar.gz"]


def test_a_link_that_leads_outside_is_refused(cache, archived, tmp_path):
    body = packed("tar.gz", {"box/out/escaped.txt": b"escaped"}, links=[("box/out", str(tmp_path))])
    assert "cannot be unpacked" in refusal(archived(body))
    assert list(tmp_path.parent.rglob("escaped.txt")) == []
    assert cached_files(cache) == ["box.tar.gz"]


@pytest.mark.parametrize(
    "body",
    [
        b"nothing of the kind",
        packed("tar.gz", {"box/a.bin": BODY[:50_000]})[:30_000],
        packed("tar.gz", {"bag/a.txt": b"alpha"}),
    ],
    ids=["nonsense", "cut", "other folder"],
)
def test_an_archive_that_cannot_be_read_is_refused(cache, archived, body):
    assert "box.tar.gz cannot be unpacked" in refusal(archived(body))
    assert cached_files(cache) == ["box.tar.gz"]


CONTENT = b"Go.\tVe.\n" * 2_000


@pytest.fixture
def repacked(cache, host):
    """Return a function that makes the host serve a zip archive other than the one described."""
    original = packed("zip", {"box/pairs.txt": CONTENT})

    def make(body):
        host.body = body
        describe(
            f"{host.url}/box.zip",
            original,
            folder="box",
            member="box/pairs.txt",
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            member_bytes=len(CONTENT),
        )
        assert body != original
        return lambda: downloads.unpack("example")

    return make


def unpacked_files(cache):
    return [p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.parent != cache]


def test_an_archive_packed_again_gives_the_verified_member_and_no_other(cache, host, repacked):
    others = {"run_me.py": b"print()", "box/run_me.py": b"print()", "BOX/PAIRS.TXT": b"other"}
    for members in (
        {"box/pairs.txt": CONTENT} | others,
        others | {"box/pairs.txt": CONTENT, "../outside.txt": b"out"},
    ):
        unpack = repacked(packed("zip", members))
        assert (unpack() / "pairs.txt").read_bytes() == CONTENT
        assert unpacked_files(cache) == ["box/pairs.txt"]
        assert list(cache.parent.rglob("outside.txt")) == []
        (cache / "box" / "pairs.txt").unlink()
        (cache / "box").rmdir()
        (cache / "box.zip").unlink()
    assert len(host.requests) == 2


@pytest.mark.parametrize("mode", ["cut", "range refused", "no length", "no range"])
def test_the_download_of_an_archive_packed_again_is_resumed(cache, host, repacked, mode):
    body = packed("zip", {"box/pairs.txt": CONTENT, "box/more.bin": BODY[:300]})
    unpack = repacked(body)
    (cache / "box.zip.part").write_bytes(body[:200])
    host.modes = [mode, "normal"]
    assert (unpack() / "pairs.txt").read_bytes() == CONTENT
    assert host.requests[0].range == "bytes=200-"
    assert cached_files(cache) == ["box", "box.zip"]


def test_a_longer_part_of_an_older_archive_is_started_over(cache, repacked):
    unpack = repacked(packed("zip", {"box/pairs.txt": CONTENT, "box/a.txt": b"a"}))
    (cache / "box.zip.part").write_bytes(BODY[:1_000])
    assert (unpack() / "pairs.txt").read_bytes() == CONTENT


def test_a_complete_part_of_an_archive_packed_again_needs_no_host(cache, host, repacked):
    unpack = repacked(b"")
    body = packed("zip", {"box/pairs.txt": CONTENT, "box/a.txt": b"a"})
    (cache / "box.zip.part").write_bytes(body)
    assert (unpack() / "pairs.txt").read_bytes() == CONTENT
    assert host.requests == []


def stored_as(method):
    """Return an archive whose member has the right content, but an unusual compression."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("box/pairs.txt", CONTENT)
    return file.getvalue()


def encrypted():
    """Return an archive that calls its member encrypted, in the directory at its end."""
    body = bytearray(packed("zip", {"box/pairs.txt": CONTENT}))
    body[body.index(b"PK\x01\x02") + 8] |= 1
    return bytes(body)


@pytest.mark.parametrize(
    "body",
    [
        packed("zip", {"box/pairs.txt": CONTENT[:-1] + b"?"}),
        packed("zip", {"box/pairs.txt": CONTENT + b"?"}),
        packed("zip", {"box/other.txt": CONTENT}),
        packed("zip", {"BOX/PAIRS.TXT": CONTENT}),
        encrypted(),
        packed("zip", {"box/pairs.txt": CONTENT, "box/b.txt": b""})[:-30],
        stored_as(zipfile.ZIP_BZIP2),
        stored_as(zipfile.ZIP_LZMA),
        b"not an archive",
    ],
    ids=["changed", "longer", "missing", "capital", "encrypted", "cut", "bzip2", "lzma", "text"],
)
def test_an_archive_without_the_right_member_is_refused(cache, repacked, body):
    assert "wrong sha256" in refusal(repacked(body))
    assert cached_files(cache) == []


def test_a_zip_bomb_is_not_expanded(cache, repacked):
    content = bytes(300_000_000)
    bomb = packed("zip", {"box/pairs.txt": content})
    unpack = repacked(bomb)
    del content
    # The cap on the archive alone would refuse it; here the limit on its member has to.
    path = settings.ROOT / "data" / "sources.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"(?m)^bytes = .*", f"bytes = {len(bomb)}", text), encoding="utf-8")
    tracemalloc.start()
    assert "wrong sha256" in refusal(unpack)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
    assert cached_files(cache) == []


@pytest.mark.parametrize("mode", ["normal", "no length"])
def test_an_archive_far_larger_than_expected_is_refused(cache, host, repacked, mode):
    unpack = repacked(packed("zip", {"box/pairs.txt": CONTENT, "box/large.bin": BODY}))
    host.modes = [mode]
    line = refusal(unpack)
    if mode == "normal":
        limit = 8 * len(packed("zip", {"box/pairs.txt": CONTENT}))
        assert f"bytes instead of at most {limit:,})" in line
    else:
        assert "sent more than" in line
    assert cached_files(cache) == []


def test_a_host_that_never_stops_sending_does_not_fill_the_disk(example, host):
    host.body = BODY * 3
    host.modes = ["no length"]
    assert "sent more than 2,000,000 bytes" in refusal(fetch)
    assert cached_files(example.parent) == []


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


def test_a_killed_extraction_is_not_used(cache, archived):
    unpack = archived(packed("tar.gz", MEMBERS))
    killed = program("Path.rename = lambda *args: os._exit(9)\ndownloads.unpack('example')")
    assert killed.wait(20) == 9
    temporary = next(cache.glob("box.unpacking-*"))
    assert (temporary / "box" / "a.txt").read_bytes() == b"alpha" and not (cache / "box").exists()
    assert unpack() == cache / "box" and (cache / "box" / "more" / "b.txt").read_bytes() == b"beta"
    # Another process might still be at work there; after two hours none is.
    assert temporary.exists()
    os.utime(temporary, (time.time() - 7200,) * 2)
    (cache / "box").rename(cache / "old")
    unpack()
    assert cached_files(cache) == ["box", "box.tar.gz", "old"]


def test_two_extractions_at_once_do_not_harm_each_other(cache, archived, monkeypatch):
    unpack = archived(packed("tar.gz", MEMBERS))
    extract = downloads._extract

    def overtaken(*args):
        monkeypatch.setattr(downloads, "_extract", extract)
        extract(*args)
        assert unpack() == cache / "box"

    monkeypatch.setattr(downloads, "_extract", overtaken)
    assert unpack() == cache / "box" and cached_files(cache) == ["box", "box.tar.gz"]


def test_make_data_says_what_was_downloaded_and_what_is_cached(archived, capsys):
    archived(packed("tar.gz", MEMBERS))
    assert downloads.main() == 0
    output = " ".join(capsys.readouterr().out.split())
    assert re.search(r"An example 01 06 .* MB/s\), unpacked in 0 s", output)
    assert downloads.main() == 0
    output = capsys.readouterr().out
    assert re.search(r"01 06 +cached", output) and "MB/s" not in output


def test_make_data_calls_a_file_cached_if_it_is_the_right_one(example, host, capsys):
    assert downloads.main() == 0
    output = capsys.readouterr().out
    assert "2.0 MB in" in output and "unpacked" not in output
    assert downloads.main() == 0
    assert re.search(r"01 06 +cached", capsys.readouterr().out) and len(host.requests) == 1
    example.write_bytes(BODY[:-1] + b"?")
    assert downloads.main() == 0
    assert "2.0 MB in" in capsys.readouterr().out and example.read_bytes() == BODY
    example.write_bytes(BODY[:-1] + b"?")
    host.modes = [404]
    assert downloads.main() == 1
    assert "MISSING" in capsys.readouterr().out


def test_control_c_while_an_archive_is_unpacked_names_no_megabytes(archived, monkeypatch, capsys):
    archived(packed("tar.gz", MEMBERS))

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "_extract", interrupt)
    assert downloads.main() == 130
    assert capsys.readouterr().out == "\nStopped: run `make data` to resume.\n"


def test_make_data_says_what_is_missing_and_why(example, host, capsys):
    host.modes = [404]
    assert downloads.main() == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "MISSING, samples are used instead" in output and "answered 404" in output


def test_control_c_keeps_the_part_and_says_how_to_resume(example, host):
    host.modes = ["stall"]
    stopped = program("sys.exit(downloads.main())")
    part = example.with_name("example.bin.part")
    deadline = time.monotonic() + 10
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=10)
    assert stopped.returncode == 130 and "Traceback" not in err
    assert out.strip().count("\n") == 0 and "run `make data` to resume" in out
    assert BODY.startswith(part.read_bytes()) and part.stat().st_size > 0


def test_the_projects_sources_are_complete():
    for source in downloads.sources().values():
        assert re.fullmatch("[0-9a-f]{64}", source.sha256) and source.bytes > 0
        assert source.url.startswith("https://") and source.file.suffix in (".gz", ".zip", ".npz")
        assert (
            source.licence
            and source.title in source.card
            and set(source.notebooks) <= set(NOTEBOOKS)
        )
        assert bool(source.member) == bool(source.member_bytes)
        # Of a zip archive only a member is read.
        assert bool(source.member) == (source.file.suffix == ".zip")
        assert source.folder or not source.member


def test_the_hash_of_mnist_is_the_one_that_keras_has():
    folder = Path(importlib.util.find_spec("keras").origin).parent
    loader = (folder / "src" / "datasets" / "mnist.py").read_text(encoding="utf-8")
    assert downloads.sources()["mnist"].sha256 in loader


NOTEBOOKS = [f"{number:02}" for number in range(1, 11)]


@pytest.mark.parametrize(
    ("name", "unpacked"),
    [
        ("aclImdb/train/pos/0_9.txt", True),
        ("aclImdb/test/neg/9_1.txt", True),
        ("aclImdb/train/unsup/0_0.txt", False),
        ("aclImdb/train/unsupBow.feat", False),
    ],
)
def test_the_unlabelled_reviews_are_skipped(tmp_path, name, unpacked):
    source = downloads.sources()["imdb"]
    archive = tmp_path / "aclImdb_v1.tar.gz"
    archive.write_bytes(packed("tar.gz", {name: b"text", "aclImdb/README": b"read"}))
    downloads._extract(archive, tmp_path, source)
    assert (tmp_path / name).exists() == unpacked
