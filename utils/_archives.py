"""Reading archives that may be damaged or hostile."""

import fnmatch
import gzip
import hashlib
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

UNREADABLE = (  # what a damaged or hostile archive raises
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    ValueError,
    NotImplementedError,
)


def read_member(archive: Path, member: str, sha256: str, size: int) -> bytes:
    """Return the verified content of one member of a zip archive, whatever else is in there.

    Args:
        archive: the zip archive.
        member: name of the member.
        sha256: of its content.
        size: of its content in bytes; a zip bomb is expanded no further.

    Raises:
        OSError: the file cannot be read.
        One of `UNREADABLE`: the archive is damaged, or has no such member with that content.
    """
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(member)
        encrypted = info.flag_bits & 1
        if encrypted or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member} is encrypted or compressed in an unknown way")
        with opened.open(info) as file:
            content = file.read(size + 1)  # one byte more: a longer member gives another hash
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{member} has a wrong sha256")
    return content


def extract(archive: Path, target: Path, skip: tuple[str, ...] = ()) -> None:
    """Unpack a .tar.gz archive, but nothing outside its folder.

    Args:
        archive: the archive.
        target: an existing folder.
        skip: patterns of the members to leave out (`fnmatch`).

    Raises:
        OSError: a file cannot be read or written.
        One of `UNREADABLE`: the archive is damaged, or a member lies outside the folder.
    """

    def is_needed(name: str) -> bool:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise ValueError(f"{name} lies outside its folder")
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in skip)

    with tarfile.open(archive) as opened:
        members = (member for member in opened if is_needed(member.name))
        progress = tqdm(members, desc=f"unpacking {archive.name}", unit=" files", leave=False)
        # The filter refuses links that lead outside.
        opened.extractall(target, progress, filter="data")
