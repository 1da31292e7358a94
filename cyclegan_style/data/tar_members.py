"""Where the files in a tar lie, by its headers alone.

Takes ustar, GNU and PAX; trusts nothing that a header tells. Nothing is unpacked.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from cyclegan_style.errors import UserError

BLOCK = 512

_LONGEST_HEADER = 1 << 20
"""Bytes of a long name or of a PAX header; real ones take a few hundred."""
_REGULAR = b"\0" + b"07"
_WITHOUT_CONTENT = b"123456"
"""Links, devices, folders and pipes, whatever size they tell."""
_PAX, _PAX_OF_ALL, _LONG_NAME, _LONG_LINK, _SPARSE = b"xX", b"g", b"L", b"K", b"S"

Read = Callable[[int, int], bytes]
"""Bytes from an offset on, so many."""


class TarError(UserError):
    """What is wrong with a tar."""


class Member(NamedTuple):
    """A file in a tar."""

    name: str
    offset: int
    """Of its first byte."""
    size: int


def regular_files(read: Read, size: int) -> Iterator[Member]:
    """All files of a tar of so many bytes, without links, folders and files with holes."""
    offset = 0
    known: dict[str, str] = {}  # what the headers before a member's own tell of it
    while offset < size:
        if offset + BLOCK > size:
            raise _cut_off(offset)
        header = read(offset, BLOCK)
        if not any(header):
            return
        if not offset:
            _refuse_compressed(header)
        _refuse_damage(header, offset)
        kind = header[156:157]
        content, length = offset + BLOCK, _number(header[124:136], offset)
        if kind in _PAX + _PAX_OF_ALL + _LONG_NAME + _LONG_LINK:
            offset = _end(content, length, size)
            if length > _LONGEST_HEADER:
                raise TarError(f"a header of {length:,} bytes at byte {content - BLOCK:,}")
            if kind in _PAX:
                known |= _pax_records(read(content, length), content)
            elif kind in _LONG_NAME:
                known["path"] = _text(read(content, length))
            continue
        while kind == _SPARSE and header[482 if content == offset + BLOCK else 504]:
            if content + BLOCK > size:
                raise _cut_off(content)
            header = read(content, BLOCK)
            content += BLOCK
        if "size" in known:
            length = _decimal(known["size"], offset)
        offset = _end(content, 0 if kind in _WITHOUT_CONTENT else length, size)
        name = known.get("path") or _name(header)
        holes = any(key.startswith("GNU.sparse.") for key in known)
        known = {}
        if kind in _REGULAR and not holes and not name.endswith("/"):
            yield Member(name, content, length)


def name_before(read: Read, content: int) -> str:
    """The name in the header right before a file's first byte; of a long one its beginning."""
    return _name(read(content - BLOCK, BLOCK))


def _end(content: int, length: int, size: int) -> int:
    """Where the next header begins."""
    if content + length > size:
        raise _cut_off(content - BLOCK)
    return content + -(-length // BLOCK) * BLOCK


def _cut_off(offset: int) -> TarError:
    return TarError(f"is cut off or damaged: what begins at byte {offset:,} ends beyond its end")


def _refuse_damage(header: bytes, offset: int) -> None:
    with suppress(TarError):
        told = _number(header[148:156], offset)
        # Of all bytes, with blanks for the sum itself; some old programs took them as signed.
        total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        if told == total:
            return
        if told == total - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
            return
    what = f"is damaged at byte {offset:,}" if offset else "is not a tar"
    raise TarError(f"{what}: no header there")


def _number(field: bytes, offset: int) -> int:
    """A size or checksum, octal or in base 256."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.partition(b"\0")[0].strip()
    if field[0] & 0x80 or not set(text) <= set(b"01234567"):
        what = "a negative size" if field[0] & 0x80 else "no number"
        raise TarError(f"is damaged at byte {offset:,}: {what}")
    return int(text or b"0", 8)


def _decimal(text: str, offset: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise TarError(f"is damaged at byte {offset:,}: no size")
    return int(text)


def _pax_records(content: bytes, offset: int) -> dict[str, str]:
    """Records such as ``30 mtime=1700000000.123456789``, whose number counts their bytes."""
    records = {}
    place = 0
    while place < len(content) and content[place]:
        digits, blank, _ = content[place : place + 20].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        record = content[place : place + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) < length or record[-1:] != b"\n":
            raise TarError(f"is damaged at byte {offset + place:,}: no PAX record")
        records[key.decode(errors="replace")] = _text(value)
        place += length
    return records


def _name(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:  # GNU's own tells times there
        return f"{_text(header[345:500])}/{name}"
    return name


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _refuse_compressed(header: bytes) -> None:
    marks = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    for mark, name in marks.items():
        if header.startswith(mark):
            raise TarError(f"is compressed ({name}): unpack it, since pictures are read singly")
