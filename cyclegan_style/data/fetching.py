"""Data sets by name: downloaded, checked and unpacked, or nothing of them."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cyclegan_style.data.archives import ArchiveError, unpack_pictures
from cyclegan_style.data.catalogue import FOLDERS, KnownSet
from cyclegan_style.data.images import IMAGE_ENDINGS
from cyclegan_style.errors import UserError, printable
from cyclegan_style.system.download import DownloadErrors, fetch, held_alone, reason_of_download
from cyclegan_style.system.user_cache import cache_folder
from cyclegan_style.system.whole_files import checksum, write_durably

RECORD_FILE = "downloads.json"
"""Holds in the user's cache the SHA-256 of what came from each address the first time."""


@dataclass(frozen=True)
class FetchedSet:
    """A data set that lies in its folder."""

    folder: Path
    counts: dict[str, int]
    url: str
    sha256: str | None
    """Of the archive; None of a set that was there already."""
    checked_against: str | None
    """Whose checksum it has: given, published, recorded; None where nobody knew one."""


def fetch_set(
    known: KnownSet, output: Path, url: str | None = None, sha256: str | None = None
) -> FetchedSet:
    """Make the folder ``output/name`` with trainA, trainB, testA and testB.

    A download that broke off goes on. Without ``sha256`` an archive from the publishers must be the
    one that is known of, and one from another ``url`` the one that came from there the first time.
    """
    folder, address = output / known.name, url or known.url
    url = None if address == known.url else address
    if not address.startswith(("http://", "https://")):
        raise UserError(printable(f"--url: {address} is no http:// or https:// address"))
    part = output / f"{known.name}.zip.part"
    try:
        output.mkdir(parents=True, exist_ok=True)
        with held_alone(part, known.name):
            if folder.exists():  # also if another process has finished meanwhile
                counts = _counts_of_present(known, folder)
                part.unlink()
                return FetchedSet(folder, counts, address, None, None)
            _download(address, part, known, size=None if url or sha256 else known.size)
            found = checksum(part)
            expected, whose = _expected(known, url, sha256)
            counts = _unpacked(part, folder, known, address, found, expected)
            part.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(printable(f"--output: {output} cannot be used: {reason}")) from error
    if expected is None:
        _record(address, found)
    return FetchedSet(folder, counts, address, found, whose)


def _download(address: str, part: Path, known: KnownSet, size: int | None) -> None:
    try:
        fetch(address, part, known.name, size=size)
    except (*DownloadErrors, ValueError) as error:  # the last for addresses that are none
        raise UserError(
            printable(
                f"{known.name}: {address} cannot be downloaded ({reason_of_download(error)});"
                " run the same command again, or name another address with --url"
            )
        ) from error


def _expected(
    known: KnownSet, url: str | None, sha256: str | None
) -> tuple[str | None, str | None]:
    """The checksum that the archive must have, and who knows it."""
    if sha256 is not None:
        return sha256.lower(), "given"
    if url is None:
        return known.sha256, "published"
    recorded = _records().get(url)
    return recorded, None if recorded is None else "recorded"


def _unpacked(
    part: Path, folder: Path, known: KnownSet, address: str, found: str, expected: str | None
) -> dict[str, int]:
    """Move a sound archive's pictures to their folder and count them; remove another archive."""
    unpacking = folder.with_name(f".{known.name}.unpacking")
    try:
        if expected not in (None, found):
            raise ArchiveError(
                f"its SHA-256 is {found} instead of {expected}; try again, or if it was published"
                " anew, take it by --sha256"
            )
        shutil.rmtree(unpacking, ignore_errors=True)  # what a killed process left
        unpack_pictures(part, unpacking, FOLDERS)
        counts = _refuse_miscounted(known, unpacking)
        unpacking.replace(folder)
        return counts
    except ArchiveError as error:
        part.unlink()
        raise UserError(printable(f"{known.name}: {address} is not kept: {error}")) from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)


def _counts_of_present(known: KnownSet, folder: Path) -> dict[str, int]:
    try:
        return _refuse_miscounted(known, folder)
    except ArchiveError as error:
        raise UserError(
            printable(f"{folder} is there already, but {error}; remove it, or choose --output")
        ) from None


def _refuse_miscounted(known: KnownSet, folder: Path) -> dict[str, int]:
    """The pictures by folder, which must be as many as are known of."""
    counts = {name: _count(folder / name) for name in FOLDERS}
    for name, count in counts.items():
        wanted = known.counts.get(name)
        if wanted is not None and count != wanted:
            raise ArchiveError(f"{name} has {count} pictures instead of {wanted}")
        if not count and name in FOLDERS[:2]:
            raise ArchiveError(f"{name} has no pictures")
    return counts


def _count(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(path.suffix.lower() in IMAGE_ENDINGS for path in folder.iterdir())


def _records() -> Mapping[str, str]:
    try:
        records = json.loads((cache_folder() / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _record(address: str, sha256: str) -> None:
    """Remember what came from an address; a cache that cannot be written forgets it."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        records = {**_records(), address: sha256}
        write_durably(cache_folder() / RECORD_FILE, json.dumps(records, indent=1).encode())
    except OSError:
        pass
