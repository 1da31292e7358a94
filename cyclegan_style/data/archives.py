"""Pictures out of a ZIP archive that nobody needs to trust."""

import errno
import stat
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from cyclegan_style.data.images import IMAGE_ENDINGS
from cyclegan_style.errors import UserError, printable

LEAST_ROOM = 1 << 26
"""Bytes that even the smallest archive may unpack to."""
_LARGEST_RATIO = 4  # pictures are compressed already
_BLOCK = 1 << 20


class ArchiveError(UserError):
    """An archive that is damaged, or holds what no data set needs."""


def unpack_pictures(archive: Path, target: Path, folders: Collection[str]) -> None:
    """Write the pictures in these folders, at the top of the archive or in its only folder.

    An archive with anything that points elsewhere is refused as a whole.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            chosen = _chosen(opened.infolist(), folders)
            _refuse_bombs(chosen.values(), archive.stat().st_size)
            for folder in folders:
                (target / folder).mkdir(parents=True)
            for (folder, name), entry in chosen.items():
                _write(opened, entry, target / folder / name)
    except ArchiveError:
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # the disk's fault
            raise
        raise ArchiveError(_damaged(error)) from error
    except Exception as error:  # a damaged archive can fail in any of the decompressors
        raise ArchiveError(_damaged(error)) from error


def _damaged(error: Exception) -> str:
    return printable(f"it is no sound ZIP archive ({error or type(error).__name__})")


def _chosen(
    entries: Collection[zipfile.ZipInfo], folders: Collection[str]
) -> dict[tuple[str, str], zipfile.ZipInfo]:
    """Pictures by folder and name."""
    chosen: dict[tuple[str, str], zipfile.ZipInfo] = {}
    known: set[tuple[str, str]] = set()
    for entry in entries:
        _refuse_hostile(entry)
        path = PurePosixPath(entry.filename)
        if entry.is_dir() or not _is_picture(path) or path.parent.name not in folders:
            continue
        key = (path.parent.name, path.name)
        folded = (key[0], path.name.casefold())  # on some disks one file
        if folded in known:
            raise ArchiveError(printable(f"{entry.filename} is in it twice"))
        known.add(folded)
        chosen[key] = entry
    return chosen


def _is_picture(path: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return len(path.parts) in (2, 3) and not hidden and path.suffix.lower() in IMAGE_ENDINGS


def _refuse_hostile(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or any(sign in name for sign in "\\:\0"):
        raise ArchiveError(printable(f"{name} in it points outside of its folder"))
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(printable(f"{name} in it is a link or a device"))
    if entry.flag_bits & 1:
        raise ArchiveError(printable(f"{name} in it is encrypted"))


def _refuse_bombs(entries: Collection[zipfile.ZipInfo], size: int) -> None:
    """Archives that unpack to much more than they are; no entry yields more than it declares."""
    unpacked = sum(entry.file_size for entry in entries)
    most = max(LEAST_ROOM, _LARGEST_RATIO * size)
    if unpacked > most:
        raise ArchiveError(f"it would unpack to {unpacked:,} bytes, more than {most:,}")


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    with opened.open(entry) as source, path.open("xb") as file:
        while block := source.read(_BLOCK):
            file.write(block)
