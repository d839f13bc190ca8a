"""A cache of downloads in which every file has the sha256 that `data/sources.toml` names for it.

Where to get a file, how to check it and how to unpack it belongs here; what its content means belongs to
`datasets`.
"""

import errno
import fnmatch
import gzip
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse
from urllib.request import url2pathname

import requests
from tabulate import tabulate
from tqdm.auto import tqdm
from urllib3.exceptions import HTTPError

from utils import settings
from utils._timeouts import within
from utils.errors import CompanionError

# For all hosts together, up to the first headers: after this a machine without network goes on with samples.
ANSWER_SECONDS = 4
# Between two bytes: longer than a slow line pauses, shorter than an audience waits.
STALL_SECONDS = 20
BLOCK_BYTES = 1 << 16
BAR = {"unit": "B", "unit_scale": True, "leave": False}
# No archive takes as long to unpack: an unfinished folder of this age was left by a process that died.
ABANDONED_SECONDS = 3600
UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
)


class Unavailable(CompanionError):
    """Data cannot be had; the message is one line that says why and what to do."""


class _Refused(Exception):
    """Why one place did not give a file, as the end of a sentence that begins with its name."""


@dataclass(frozen=True)
class Source:
    """One table of `data/sources.toml`; `folder` is empty for a file that is no archive.

    Where a host packs its archive anew now and then, `member` names the file inside that `sha256` is of.
    """

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

    @property
    def file(self) -> Path:
        """Where the cache keeps the file, once it is complete and right."""
        return settings.cache_dir() / PurePosixPath(urlparse(self.url).path).name

    @property
    def part(self) -> Path:
        """Where the cache keeps what has come so far."""
        return self.file.with_name(f"{self.file.name}.part")

    @property
    def ready(self) -> Path:
        """What a loader reads: the unpacked folder, or the file itself."""
        return settings.cache_dir() / self.folder if self.folder else self.file

    @property
    def card(self) -> str:
        """Say in one line what the data are and on whose terms."""
        return f"{self.title}. Licence: {self.licence}. {self.url}"


def sources() -> dict[str, Source]:
    """Read `data/sources.toml`."""
    with (settings.ROOT / "data" / "sources.toml").open("rb") as file:
        return {name: Source(name, **entry) for name, entry in tomllib.load(file).items()}


def locate(name: str) -> Path:
    """Return what a loader reads, fetched and unpacked first unless the quick profile, always offline, runs.

    Raises:
        Unavailable: it is not in the cache and cannot be had.
    """
    return unpack(name, online=settings.profile() != "quick")


def fetch(name: str, *, progress: bool = True, online: bool = True) -> Path:
    """Return the path of a file in the cache after checking its sha256, downloaded first if need be.

    Places are asked in this order: the cache, `COMPANION_MIRROR` (a folder or the beginning of a URL), the
    official host. What a cut-off download has brought is kept, and the next call resumes there.

    Args:
        name: a table of `data/sources.toml`.
        progress: whether to show a progress bar.
        online: whether hosts may be asked; a mirror that is a folder always may.

    Raises:
        Unavailable: no place has the file, or the cache cannot be written.
    """
    source = sources()[name]
    reasons = []
    with _clear_disk_errors(source):
        source.file.parent.mkdir(parents=True, exist_ok=True)
        if source.file.is_file():
            if _right(source, source.file):
                return source.file
            source.file.unlink()
            reasons.append("what was there had a wrong sha256 and has been removed")
        places = _places(source, online)
        patience = ANSWER_SECONDS / max(1, sum(isinstance(place, str) for _, place in places))
        for giver, place in places:
            try:
                if isinstance(place, Path):
                    _copy(source, place)
                else:
                    _download(source, place, patience, progress)
                return source.file
            except _Refused as reason:
                reasons.append(f"{giver} {reason}")
        if not online:
            reasons.append("the quick profile never touches the network")
        resume = f" to resume at {_size(source.part) / 1e6:.1f} MB" if _size(source.part) else ""
    raise Unavailable(
        f"{source.file.name} is not in {settings.display_path(source.file.parent)}: {'; '.join(reasons)}. "
        f"Run `make data`{resume}, or put the right file at {settings.display_path(source.file)} yourself."
    )


def unpack(name: str, *, online: bool = True) -> Path:
    """Return the folder of an unpacked archive, fetched and unpacked first if need be.

    Args:
        name: a table of `data/sources.toml`; a file that is no archive is returned as `fetch` does.
        online: as for `fetch`.

    Raises:
        Unavailable: the archive cannot be had, cannot be read, or would write outside its folder.
    """
    source = sources()[name]
    if not source.folder:
        return fetch(name, online=online)
    with _clear_disk_errors(source):
        if source.ready.is_dir():
            return source.ready
        archive = fetch(name, online=online)
        for old in archive.parent.glob(f"{source.folder}.unpacking-*"):
            if time.time() - old.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        # Unpacked aside and renamed when complete: half an archive is never taken for a whole one.
        aside = Path(tempfile.mkdtemp(prefix=f"{source.folder}.unpacking-", dir=archive.parent))
        try:
            _extract(archive, aside, source)
            (aside / source.folder).rename(source.ready)
        except UNREADABLE as error:
            raise Unavailable(
                f"{archive.name} cannot be unpacked ({' '.join(str(error).split())}): "
                f"remove {settings.display_path(archive)} and run `make data`."
            ) from error
        except OSError:
            # Another process may have been faster; its folder is as complete as this one.
            if not source.ready.is_dir():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return source.ready


def _places(source: Source, online: bool) -> list[tuple[str, Path | str]]:
    """Name who may have a file, each with a path or a URL, in the order in which to ask."""
    places = [(urlparse(source.url).hostname, source.url)]
    if mirror := os.environ.get("COMPANION_MIRROR", "").strip():
        if mirror.startswith("file:"):
            mirror = url2pathname(urlparse(mirror).path)
        if "://" in mirror:
            place = f"{mirror.rstrip('/')}/{source.file.name}"
        else:
            place = Path(mirror).expanduser() / source.file.name
        places.insert(0, ("the mirror", place))
    return [(giver, place) for giver, place in places if online or isinstance(place, Path)]


def _copy(source: Source, theirs: Path) -> None:
    if not theirs.is_file():
        raise _Refused("does not have it")
    shutil.copyfile(theirs, source.part)
    if not _accept(source):
        raise _Refused("has a different file (wrong sha256)")


def _download(source: Source, url: str, patience: float, progress: bool) -> None:
    # A second time to resume where the line was cut off, or to start over where an old part proves wrong.
    for _ in range(2):
        start = _size(source.part)
        if start < source.bytes and not _transfer(source, url, start, patience, progress):
            reason = "was cut off"
            continue
        if _accept(source):
            return
        reason = "sent a different file (wrong sha256), which was removed"
        if not start:
            break
    raise _Refused(reason)


def _transfer(source: Source, url: str, start: int, patience: float, progress: bool) -> bool:
    """Add to the part what a host has from byte `start` on; tell whether all of it came."""
    with _answer(url, start, patience) as response:
        if response.status_code == 416 and start:
            source.part.unlink(missing_ok=True)
            return False
        if response.status_code not in (200, 206):
            raise _Refused(f"answered {response.status_code}")
        if response.status_code == 200:
            start = 0
        length = response.headers.get("Content-Length")
        if length and int(length) != source.bytes - start:
            raise _Refused(
                f"has a different file ({start + int(length):,} bytes, not {source.bytes:,})"
            )
        # Never truncated: two processes that download at once then write the same bytes to the same places,
        # and neither harms the other. Where they differ after all, the sha256 tells.
        source.part.touch()
        with (
            source.part.open("r+b") as file,
            tqdm(
                desc=source.file.name,
                total=source.bytes,
                initial=start,
                disable=not progress,
                **BAR,
            ) as bar,
        ):
            file.seek(start)
            try:
                # Some hosts label a .tar.gz as compressed for transport: unpacked, its sha256 would be wrong.
                for block in response.raw.stream(BLOCK_BYTES, decode_content=False):
                    file.write(block)
                    bar.update(len(block))
            except HTTPError:
                return False
            return not length or file.tell() == source.bytes


def _answer(url: str, start: int, patience: float) -> requests.Response:
    """Ask for a file from byte `start` on; return the response once its headers are there."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    # Less, so that a host's second address gets its chance where the first one is a dead end.
    timeout = (0.75 * patience, STALL_SECONDS)
    try:
        return within(
            patience, lambda: requests.get(url, headers=headers, stream=True, timeout=timeout)
        )
    except (TimeoutError, requests.Timeout) as error:
        raise _Refused(f"did not answer in {patience:.0f} s") from error
    except requests.exceptions.SSLError as error:
        raise _Refused("has a certificate that this machine does not trust") from error
    except Exception as error:
        raise _Refused("cannot be reached") from error


def _accept(source: Source) -> bool:
    """Give a complete part its final name if it is the right file, else remove it; tell which."""
    try:
        if _right(source, source.part):
            source.part.replace(source.file)
            return True
        source.part.unlink()
        return False
    except FileNotFoundError:
        # Another process may have been faster.
        return source.file.is_file() and _right(source, source.file)


def _extract(archive: Path, target: Path, source: Source) -> None:
    def wanted(name: str) -> bool:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise ValueError(f"{name} lies outside its folder")
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in source.skip)

    def shown(members: Iterator) -> Iterator:
        return tqdm(members, desc=f"unpacking {archive.name}", unit=" files", leave=False)

    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(target, shown(filter(wanted, opened.namelist())))
    else:
        with tarfile.open(archive) as opened:
            # The filter refuses links that lead outside.
            opened.extractall(target, shown(m for m in opened if wanted(m.name)), filter="data")
    if not (target / source.folder).is_dir():
        raise ValueError(f"it holds no folder {source.folder}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _right(source: Source, path: Path) -> bool:
    """Tell whether a file, or the member of an archive that counts, has the sha256 that is asked for."""
    with path.open("rb") as file:
        if not source.member:
            return hashlib.file_digest(file, "sha256").hexdigest() == source.sha256
        try:
            with zipfile.ZipFile(file) as archive:
                return hashlib.sha256(archive.read(source.member)).hexdigest() == source.sha256
        except (*UNREADABLE, KeyError):
            return False


@contextmanager
def _clear_disk_errors(source: Source) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = settings.display_path(settings.cache_dir())
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            source.part.unlink(missing_ok=True)
            raise Unavailable(
                f"disk full: {source.file.name} needs {source.bytes / 1e6:.0f} MB in {where}, and several "
                "times as much once unpacked; free some or set COMPANION_CACHE to another folder."
            ) from error
        raise Unavailable(
            f"{where} cannot be used ({error.strerror or error}): set COMPANION_CACHE to another folder."
        ) from error


def main() -> int:
    """Fetch and unpack everything, then print what is there and what is missing; return 1 if anything is."""
    rows, missing = [], False
    for name, source in sources().items():
        try:
            state = "there" if source.ready.exists() else _obtain(name, source)
        except Unavailable as reason:
            missing, state = True, f"MISSING, samples are used instead: {reason}"
        except KeyboardInterrupt:
            came = f"{_size(source.part) / 1e6:.1f} MB of {source.file.name}"
            print(f"\nStopped with {came}: run `make data` to resume there.")
            return 130
        rows.append({"data": source.title, "notebooks": " ".join(source.notebooks), "state": state})
    print(tabulate(rows, headers="keys", maxcolwidths=[36, None, 60], disable_numparse=True))
    print(f"\nThe data are kept in {settings.display_path(settings.cache_dir())}.")
    return int(missing)


def _obtain(name: str, source: Source) -> str:
    cached, had, began = source.file.is_file(), _size(source.part), time.perf_counter()
    fetch(name)
    fetched = time.perf_counter()
    unpack(name)
    unpacked = f"unpacked in {time.perf_counter() - fetched:.0f} s"
    if cached:
        return unpacked
    megabytes, seconds = (source.bytes - had) / 1e6, fetched - began
    return f"{megabytes:.1f} MB in {seconds:.1f} s ({megabytes / seconds:.1f} MB/s), {unpacked}"


if __name__ == "__main__":
    sys.exit(main())
