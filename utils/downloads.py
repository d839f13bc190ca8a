"""A cache of downloads in which every file has the sha256 that `data/sources.toml` names for it.

How to download, check and unpack a file belongs here; what its content means belongs in `datasets`.
"""

import errno
import hashlib
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse
from urllib.request import url2pathname

import requests
from tabulate import tabulate
from tqdm.auto import tqdm
from urllib3.exceptions import HTTPError

from utils import _archives, settings
from utils._timeouts import within
from utils.errors import CompanionError

# For all hosts together, up to the headers: then a machine without a network goes on with samples.
ANSWER_SECONDS = 4
# Between two bytes: longer than a slow connection pauses, shorter than an audience waits.
STALL_SECONDS = 20
BLOCK_BYTES = 1 << 16
# No archive takes this long to unpack: older temporary files were left by a process that died.
ABANDONED_SECONDS = 3600
# An archive that was packed again may be this much larger, as it is without compression.
REPACKED_FACTOR = 8


class Unavailable(CompanionError):
    """Data are not available; the message is one line that says why and what to do."""


class _Refused(Exception):
    """Why a host did not deliver a file; it completes a sentence that begins with the host."""


@dataclass(frozen=True)
class Source:
    """One table of `data/sources.toml`, where each field is described."""

    name: str
    title: str
    url: str
    sha256: str
    bytes: int
    licence: str
    notebooks: list[str]
    folder: str = ""
    skip: tuple[str, ...] = ()
    member: str = ""
    member_bytes: int = 0

    @property
    def file(self) -> Path:
        """Path of the complete and verified file in the cache."""
        return settings.cache_dir() / PurePosixPath(urlparse(self.url).path).name

    @property
    def part(self) -> Path:
        """Path of an unfinished download."""
        return self.file.with_name(f"{self.file.name}.part")

    @property
    def ready(self) -> Path:
        """Path that a loader reads: the unpacked folder, or the file itself."""
        return settings.cache_dir() / self.folder if self.folder else self.file

    @property
    def max_bytes(self) -> int:
        """The most that a host may send."""
        return self.bytes * (REPACKED_FACTOR if self.member else 1)

    @property
    def card(self) -> str:
        """Name the data, their licence and their address in one line."""
        return f"{self.title}. Licence: {self.licence}. {self.url}"


def sources() -> dict[str, Source]:
    """Read `data/sources.toml`."""
    with (settings.ROOT / "data" / "sources.toml").open("rb") as file:
        return {name: Source(name, **entry) for name, entry in tomllib.load(file).items()}


def locate(name: str) -> Path:
    """Return the path that a loader reads, downloaded and unpacked if need be.

    The quick profile is always offline: it uses the cache and a mirror that is a folder.

    Raises:
        Unavailable: it is not in the cache and no host delivers it.
    """
    return unpack(name, online=settings.profile() != "quick")


def fetch(name: str, *, online: bool = True) -> Path:
    """Return the path of a file in the cache after checking its sha256, downloaded if need be.

    The order is: the cache, `COMPANION_MIRROR` (a folder or the beginning of a URL), the official
    host. An interrupted download is kept, and the next call resumes it.

    Two kernels that download at once write the same bytes to the same positions of one unfinished
    file. Once the faster one has checked and renamed it, the slower one still writes to it, which
    harms only if their bytes differ, as from a bad mirror; the next call notices. On Windows, where
    no open file can be renamed, the faster one raises and the next call completes the download.

    Args:
        name: a table of `data/sources.toml`.
        online: whether to use the network; a mirror that is a folder is always used.

    Raises:
        Unavailable: no host delivers the file, or the cache cannot be written.
    """
    source = sources()[name]
    folder = settings.display_path(source.file.parent)
    problem = f"{source.file.name} is not in {folder}"
    reasons = []
    with _clear_disk_errors(source):
        source.file.parent.mkdir(parents=True, exist_ok=True)
        if source.file.is_file():
            if _verify(source, source.file):
                return source.file
            problem = f"{source.file.name} in {folder} has a wrong sha256"
        hosts = _hosts(source, online)
        num_urls = sum(isinstance(address, str) for _, address in hosts)
        for host, address in hosts:
            try:
                if isinstance(address, Path):
                    _copy(source, address)
                else:
                    _download(source, address, ANSWER_SECONDS / num_urls)
                return source.file
            except _Refused as reason:
                reasons.append(f"{host} {reason}")
        if not online:
            reasons.append("the quick profile never touches the network")
        part_bytes = _size(source.part)
    resume = f" to resume at {part_bytes / 1e6:.1f} MB" if part_bytes else ""
    raise Unavailable(
        f"{problem}: {'; '.join(reasons)}. Run `make data`{resume}, or put the right file at "
        f"{settings.display_path(source.file)} yourself."
    )


def unpack(name: str, *, online: bool = True) -> Path:
    """Return the folder of an unpacked archive, downloaded and unpacked if need be.

    Args:
        name: a table of `data/sources.toml`; for a file that is not an archive, `fetch` is called.
        online: as for `fetch`.

    Raises:
        Unavailable: the archive is not available, cannot be read, or writes outside its folder.
    """
    source = sources()[name]
    if not source.folder:
        return fetch(name, online=online)
    with _clear_disk_errors(source):
        if source.ready.is_dir():
            return source.ready
        archive = fetch(name, online=online)
        # Renamed when it is complete: no loader sees half an archive.
        with _temporary_folder(f"{source.folder}.unpacking-") as folder:
            try:
                _extract(archive, folder, source)
                (folder / source.folder).rename(source.ready)
            except _archives.UNREADABLE as error:
                raise Unavailable(
                    f"{archive.name} cannot be unpacked ({' '.join(str(error).split())}): "
                    f"remove {settings.display_path(archive)} and run `make data`."
                ) from error
            except OSError:
                # Another process may have been faster; its folder is as complete as this one.
                if not source.ready.is_dir():
                    raise
        return source.ready


def _hosts(source: Source, online: bool) -> list[tuple[str, Path | str]]:
    """List the mirror and the official host, each with its name and a path or URL of the file."""
    hosts = [(urlparse(source.url).hostname, source.url)]
    if mirror := os.environ.get("COMPANION_MIRROR", "").strip():
        if mirror.startswith("file:"):
            mirror = url2pathname(urlparse(mirror).path)
        if "://" in mirror:
            address = f"{mirror.rstrip('/')}/{source.file.name}"
        else:
            address = Path(mirror).expanduser() / source.file.name
        hosts.insert(0, ("the mirror", address))
    return [(host, address) for host, address in hosts if online or isinstance(address, Path)]


def _copy(source: Source, path: Path) -> None:
    """Copy a file from a mirror that is a folder; an unfinished download stays as it is."""
    with _temporary_folder(f"{source.file.name}.copying-") as folder:
        copy = folder / source.file.name
        with copy.open("wb") as file:
            file.writelines(_read_mirror(path))
        if not _verify(source, copy):
            raise _Refused("has a different file (wrong sha256)")
        copy.replace(source.file)
    source.part.unlink(missing_ok=True)


def _read_mirror(path: Path) -> Iterator[bytes]:
    """Yield the blocks of a file; an error of reading it is no error of the cache."""
    try:
        if not path.is_file():
            raise _Refused("does not have it")
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise _Refused(f"cannot be read ({error.strerror or error})") from error


def _download(source: Source, url: str, answer_seconds: float) -> None:
    # The second attempt resumes a broken connection, or starts over after an old part proved wrong.
    for _ in range(2):
        start = _size(source.part)
        if not _is_complete(source) and not _transfer(source, url, start, answer_seconds):
            reason = "was cut off"
            continue
        if _accept(source):
            return
        reason = "sent a different file (wrong sha256), which was removed"
        if not start:
            break
    raise _Refused(reason)


def _is_complete(source: Source) -> bool:
    """Tell whether an unfinished download needs no more bytes, right or wrong."""
    if source.member:
        # The size of a repacked archive is unknown, but without its end it cannot be read.
        return source.part.is_file() and _verify(source, source.part)
    return _size(source.part) >= source.bytes


def _transfer(source: Source, url: str, start: int, answer_seconds: float) -> bool:
    """Append a host's bytes from `start` on to the unfinished file; return whether all arrived."""
    with _request(url, start, answer_seconds) as response:
        if response.status_code == 416 and start:
            source.part.unlink(missing_ok=True)
            return False
        if response.status_code not in (200, 206):
            raise _Refused(f"answered {response.status_code}")
        if response.status_code == 200:
            start = 0
        length = response.headers.get("Content-Length", "")
        end = start + int(length) if length.isdecimal() else None
        min_bytes = 0 if source.member else source.bytes
        if end is not None and not min_bytes <= end <= source.max_bytes:
            expected = f"{'at most ' if source.member else ''}{source.max_bytes:,}"
            raise _Refused(f"has a different file ({end:,} bytes instead of {expected})")
        # Never truncated, for another process may be writing the same bytes to the same positions.
        source.part.touch()
        progress = {"desc": source.file.name, "total": end or source.bytes, "initial": start}
        units = {"unit": "B", "unit_scale": True, "leave": False}
        with source.part.open("r+b") as file, tqdm(**progress, **units) as progress_bar:
            file.seek(start)
            try:
                # Not decoded: some hosts label a .tar.gz as compressed for transport.
                for block in response.raw.stream(BLOCK_BYTES, decode_content=False):
                    if file.tell() + len(block) > source.max_bytes:
                        source.part.unlink(missing_ok=True)
                        raise _Refused(f"sent more than {source.max_bytes:,} bytes")
                    file.write(block)
                    progress_bar.update(len(block))
            except HTTPError:
                return False
            return end is None or file.tell() == end


def _request(url: str, start: int, answer_seconds: float) -> requests.Response:
    """Request a file from byte `start` on; return the response once its headers have arrived."""
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    # A shorter limit for connecting leaves time for a host's second address.
    timeout = (0.75 * answer_seconds, STALL_SECONDS)
    try:
        return within(
            answer_seconds, lambda: requests.get(url, headers=headers, stream=True, timeout=timeout)
        )
    except (TimeoutError, requests.Timeout) as error:
        raise _Refused(f"did not answer in {answer_seconds:.0f} s") from error
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise _Refused("has a certificate that this machine does not trust") from error
        raise _Refused("does not open a secure connection") from error
    except Exception as error:
        raise _Refused("cannot be reached") from error


def _accept(source: Source) -> bool:
    """Rename a complete download if it is the right file, else remove it; return which."""
    try:
        if _verify(source, source.part):
            source.part.replace(source.file)
            return True
        source.part.unlink()
        return False
    except FileNotFoundError:
        # Another process may have been faster.
        return source.file.is_file() and _verify(source, source.file)


def _verify(source: Source, path: Path) -> bool:
    """Tell whether a file, or the member that counts, has the sha256 of `data/sources.toml`."""
    if source.member:
        try:
            _read_member(source, path)
            return True
        except _archives.UNREADABLE:
            return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == source.sha256


def _read_member(source: Source, path: Path) -> bytes:
    return _archives.read_member(path, source.member, source.sha256, source.member_bytes)


def _extract(archive: Path, target: Path, source: Source) -> None:
    if source.member:
        # That member alone: nothing vouches for its neighbours.
        path = target / source.member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_read_member(source, archive))
    else:
        _archives.extract(archive, target, source.skip)
    if not (target / source.folder).is_dir():
        raise ValueError(f"it holds no folder {source.folder}")


@contextmanager
def _temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder in the cache; remove it, and those that processes left when they died."""
    cache = settings.cache_dir()
    for path in cache.glob(f"{prefix}*"):
        with suppress(FileNotFoundError):  # another process may have been faster
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
    options = {"prefix": prefix, "dir": cache, "ignore_cleanup_errors": True}
    with tempfile.TemporaryDirectory(**options) as folder:
        yield Path(folder)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@contextmanager
def _clear_disk_errors(source: Source) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = settings.display_path(settings.cache_dir())
        problem = f"{folder} cannot be used ({error.strerror or error}):"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            source.part.unlink(missing_ok=True)
            problem = (
                f"disk full: {source.file.name} needs {source.bytes / 1e6:.0f} MB in {folder}, and "
                "several times as much once unpacked; free some space or"
            )
        raise Unavailable(f"{problem} set COMPANION_CACHE to another folder.") from error


def main() -> int:
    """Download and unpack everything, then print a table; return 1 if anything is missing."""
    rows = []
    missing = False
    for name, source in sources().items():
        try:
            state = _obtain(name, source)
        except Unavailable as reason:
            missing = True
            state = f"MISSING, samples are used instead: {reason}"
        except KeyboardInterrupt:
            part_bytes = _size(source.part)
            part = f" at {part_bytes / 1e6:.1f} MB of {source.file.name}" if part_bytes else ""
            print(f"\nStopped{part}: run `make data` to resume.")
            return 130
        rows.append({"data": source.title, "notebooks": " ".join(source.notebooks), "state": state})
    print(tabulate(rows, headers="keys", maxcolwidths=[36, None, 60], disable_numparse=True))
    print(f"\nThe data are in {settings.display_path(settings.cache_dir())}.")
    return int(missing)


def _obtain(name: str, source: Source) -> str:
    """Download and unpack a file if need be; return its size, time and throughput, or "cached"."""
    if source.folder and source.ready.is_dir():
        return "cached"
    with _clear_disk_errors(source):
        is_cached = source.file.is_file() and _verify(source, source.file)
    steps = []
    if not is_cached:
        resumed_bytes = _size(source.part)
        start = time.perf_counter()
        fetch(name)
        seconds = time.perf_counter() - start
        megabytes = (_size(source.file) - resumed_bytes) / 1e6
        steps.append(f"{megabytes:.1f} MB in {seconds:.1f} s ({megabytes / seconds:.1f} MB/s)")
    if source.folder:
        start = time.perf_counter()
        unpack(name)
        steps.append(f"unpacked in {time.perf_counter() - start:.0f} s")
    return ", ".join(steps) or "cached"


if __name__ == "__main__":
    sys.exit(main())
