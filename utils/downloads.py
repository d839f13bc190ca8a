"""A cache of downloads in which every file has the sha256 that `data/sources.toml` names.

What a file means is not known here: reading it is the work of `datasets`.
"""

import errno
import fnmatch
import hashlib
import os
import queue
import shutil
import sys
import tarfile
import threading
import time
import tomllib
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse
from urllib.request import url2pathname

from utils import settings

# Until the first byte: a machine without network knows after this, even where the name look-up hangs.
ANSWER_SECONDS = 4
# Between two bytes: longer than a slow line takes, shorter than an audience waits.
STALL_SECONDS = 20


class Unavailable(settings.Stop):
    """Data cannot be had; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Source:
    """One table of `data/sources.toml`."""

    name: str
    title: str
    url: str
    sha256: str
    bytes: int
    folder: str
    licence: str
    notebooks: list[str]
    skip: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where the cache keeps the file."""
        return settings.cache_folder() / PurePosixPath(urlparse(self.url).path).name

    @property
    def unpacked(self) -> Path:
        """Where the cache keeps what was in it."""
        return settings.cache_folder() / self.folder

    @property
    def card(self) -> str:
        """Say in one line what the data are and on whose terms."""
        return f"{self.title}. Licence: {self.licence}. {self.url}"


def sources() -> dict[str, Source]:
    """Read `data/sources.toml`."""
    with (settings.ROOT / "data" / "sources.toml").open("rb") as file:
        return {name: Source(name, **entry) for name, entry in tomllib.load(file).items()}


def locate(name: str) -> Path:
    """Return the folder of a data set, fetched first if it is not in the cache.

    The quick profile never goes to the network; a mirror that is a folder is none.

    Raises:
        Unavailable: it is not in the cache and cannot be had.
    """
    source = sources()[name]
    if not source.unpacked.is_dir():
        if settings.profile() == "quick" and not source.path.is_file() and not _mirror_folder():
            where = settings.shorten(settings.cache_folder())
            raise Unavailable(f"{source.folder} is not in {where} and the quick profile stays offline.")
        unpack(source)
    return source.unpacked


def fetch(source: Source) -> Path:
    """Return the path of a source's file in the cache, downloaded and checked if need be.

    A cut-off download is resumed, by the next call too. `COMPANION_MIRROR`, a folder or an address, is
    asked before the official host.

    Raises:
        Unavailable: no host has it, or what they have is not the file wanted.
    """
    with _clear_disk_errors(source.bytes):
        source.path.parent.mkdir(parents=True, exist_ok=True)
        if source.path.is_file():
            if _sha256(source.path) == source.sha256:
                return source.path
            source.path.unlink()
            print(f"{settings.shorten(source.path)} was not the file it should be: removed, fetching it again.")
        if folder := _mirror_folder():
            if (folder / source.path.name).is_file():
                shutil.copyfile(folder / source.path.name, _part(source))
                return _accept(source, "the mirror")
        elif mirror := os.environ.get("COMPANION_MIRROR"):
            try:
                _download(source, f"{mirror.rstrip('/')}/{source.path.name}")
                return _accept(source, "the mirror")
            except Unavailable as reason:
                print(f"Mirror: {reason} Asking the official host.")
        _download(source, source.url)
        return _accept(source, urlparse(source.url).hostname)


def unpack(source: Source) -> Path:
    """Return the folder of a source's unpacked archive, fetched and unpacked if need be.

    Raises:
        Unavailable: the archive cannot be had, cannot be read, or would write outside its folder.
    """
    if source.unpacked.is_dir():
        return source.unpacked
    archive = fetch(source)
    # Unpacked aside and renamed when complete: half an archive is never taken for a whole one.
    aside = settings.cache_folder() / f"{source.folder}.unpacking-{os.getpid()}"
    try:
        with _clear_disk_errors(3 * source.bytes):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            _extract(archive, aside, source.skip)
            (aside / source.folder).rename(source.unpacked)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())
        raise Unavailable(
            f"{archive.name} cannot be unpacked ({reason}): remove {settings.shorten(archive)}, run `make data`."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return source.unpacked


def _extract(archive: Path, target: Path, skip) -> None:
    def wanted(name):
        return not any(fnmatch.fnmatch(name, pattern) for pattern in skip)

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for name in filter(wanted, opened.namelist()):
                # zipfile would quietly rewrite such a name; an archive that holds one is not to be trusted.
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
                    raise ValueError(f"{name} lies outside its folder")
                opened.extract(name, target)
    else:
        with tarfile.open(archive) as opened:
            for member in opened:
                if wanted(member.name):
                    opened.extract(member, target, filter="data")


def _mirror_folder() -> Path | None:
    mirror = os.environ.get("COMPANION_MIRROR", "")
    if mirror.startswith("file:"):
        mirror = url2pathname(urlparse(mirror).path)
    return Path(mirror).expanduser() if mirror and "://" not in mirror else None


def _part(source: Source) -> Path:
    return source.path.with_name(source.path.name + ".part")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _accept(source: Source, giver: str) -> Path:
    """Give a complete download its name if it is the right file, else remove it."""
    part = _part(source)
    if _sha256(part) != source.sha256:
        part.unlink()
        raise Unavailable(
            f"{giver} sent a {source.path.name} with a wrong sha256; it was removed. "
            f"Try `make data` later, or put the right file into {settings.shorten(source.path.parent)}."
        )
    part.replace(source.path)
    return source.path


def _download(source: Source, url: str) -> None:
    """Bring the `.part` of a source to its full length, resuming what is there."""
    import requests
    from tqdm.auto import tqdm

    part, host = _part(source), urlparse(url).hostname
    for attempt in (1, 2):
        have = part.stat().st_size if part.is_file() else 0
        if have >= source.bytes:
            # Complete, or more than complete: the hash tells which.
            return
        response = _answer(url, have, host)
        resumed = response.status_code == 206
        if response.status_code not in (200, 206):
            raise Unavailable(f"{host} answered {response.status_code} for {source.path.name}: try `make data` later.")
        with response, part.open("ab" if resumed else "wb") as file:
            bar = tqdm(
                desc=source.path.name, total=source.bytes, initial=have if resumed else 0, unit="B", unit_scale=True
            )
            with bar:
                try:
                    for block in response.iter_content(1 << 18):
                        file.write(block)
                        bar.update(len(block))
                except requests.RequestException:
                    pass  # a cut-off line: what came is kept, its length tells how much is missing
        if part.stat().st_size >= source.bytes or (attempt == 2 and part.stat().st_size == 0):
            return
    done = part.stat().st_size
    raise Unavailable(
        f"{host} was cut off at {done / 1e6:.0f} of {source.bytes / 1e6:.0f} MB of {source.path.name}: "
        "run `make data` to resume there."
    )


def _answer(url: str, have: int, host: str):
    """Ask for a file from byte `have` on and return the response once its headers are there."""
    import requests

    answers = queue.Queue()

    def ask():
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            timeout = (ANSWER_SECONDS, STALL_SECONDS)
            answers.put(requests.get(url, headers=headers, stream=True, timeout=timeout))
        except requests.RequestException as error:
            answers.put(error)

    # In a thread because no timeout of requests covers a name look-up that hangs.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        answer = requests.Timeout()
    if isinstance(answer, Exception):
        why = f"did not answer in {ANSWER_SECONDS} s" if isinstance(answer, requests.Timeout) else "cannot be reached"
        raise Unavailable(f"{host} {why}: check the network, then run `make data`.") from answer
    return answer


@contextmanager
def _clear_disk_errors(needed: int):
    try:
        yield
    except OSError as error:
        if isinstance(error, settings.Stop | FileNotFoundError):
            raise
        where = settings.shorten(settings.cache_folder())
        why = f"cannot be written ({error.strerror or error})"
        if error.errno == errno.ENOSPC:
            why = f"is on a full disk, {needed / 1e6:.0f} MB are needed"
            for part in settings.cache_folder().glob("*.part"):
                part.unlink()
        raise Unavailable(f"{where} {why}: free it, or set COMPANION_CACHE to another folder.") from error


def main() -> int:
    """Fetch and unpack everything, then say what is there and what is missing and why; 1 if anything is."""
    from tabulate import tabulate

    rows, missing = [], False
    for source in sources().values():
        there, began = source.unpacked.is_dir(), time.perf_counter()
        try:
            unpack(source)
            seconds = time.perf_counter() - began
            status = "was there" if there else f"{source.bytes / 1e6:.0f} MB in {seconds:.0f} s"
        except Unavailable as reason:
            missing, status = True, f"MISSING, the sample is used instead: {reason}"
        except KeyboardInterrupt:
            print(f"\nStopped; what came of {source.path.name} is kept, `make data` resumes there.")
            return 130
        rows.append({"data": source.title, "notebooks": " ".join(source.notebooks), "": status})
    print(tabulate(rows, headers="keys", maxcolwidths=[40, None, 60]))
    print(f"\nEverything is kept in {settings.shorten(settings.cache_folder())}.")
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
