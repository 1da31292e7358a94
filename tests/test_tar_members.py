"""Where the files in a tar lie: as the standard library finds them, and hostile tars refused."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclegan_style.data.tar_members import Member, TarError, name_before, regular_files

NAMES = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name.strip(".") == name)
PATHS = st.lists(NAMES, min_size=1, max_size=6).map("/".join)
KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 5
    + [tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]
    + [tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


def members_of(content: bytes) -> list[Member]:
    return list(
        regular_files(lambda offset, length: content[offset : offset + length], len(content))
    )


def tar_of(
    members: list[tuple[str, bytes, bytes]], tar_format: int = tarfile.PAX_FORMAT, **pax: str
) -> bytes:
    """A tar of names, kinds and contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tar_format) as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.pax_headers = dict(pax)
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member.linkname = name[::-1] * 4
            if kind in REGULAR:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@given(
    members=st.lists(st.tuples(PATHS, KINDS, st.binary(max_size=1100)), max_size=8),
    tar_format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    mtime=st.sampled_from([{}, {"mtime": "1700000000.5"}, {"comment": "ä" * 300}]),
)
def test_files_lie_where_the_standard_library_finds_them(members, tar_format, mtime):
    content = tar_of(members, tar_format, **mtime)

    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        expected = [Member(each.name, each.offset_data, each.size) for each in tar if each.isreg()]
    assert members_of(content) == expected
    for name, offset, size in members_of(content):
        begun = name_before(lambda start, length: content[start : start + length], offset)
        assert begun == name or not name.isascii() or len(name) > 100
        assert (name, content[offset : offset + size]) in [(n, c) for n, _, c in members]


@pytest.mark.parametrize("name", ["a" * 99, "a" * 100, "d" * 60 + "/" + "a" * 80, "ü" * 40])
def test_names_of_ustar(name):
    content = tar_of([(name, tarfile.REGTYPE, b"x" * 513)] * 2, tarfile.USTAR_FORMAT)

    assert members_of(content) == [Member(name, 512, 513), Member(name, 2048, 513)]


def test_files_with_holes_are_passed_over(tmp_path):
    """As GNU tar writes them in each of its formats; the standard library reads them, too."""
    plain = tar_of([("b.jpg", tarfile.REGTYPE, b"after")])
    sparse = tarfile.TarInfo("a.jpg")
    sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # goes on in another block, and that one in a third
    more = bytearray(512)
    more[504] = 1
    header = with_checksum(header)
    content = bytes(header + more) + bytes(512) + b"s" * 512 + plain
    assert [member.name for member in members_of(content)] == ["b.jpg"]

    told = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x.jpg"}
    assert members_of(tar_of([("x.jpg", tarfile.REGTYPE, b"1\n0\n5\n")], **told)) == []


def with_checksum(header: bytearray) -> bytearray:
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return header


def with_size(field: bytes, name: str = "a.jpg", kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar whose first file tells another size than its 3 bytes."""
    content = bytearray(tar_of([(name, kind, b"abc"), ("b.jpg", tarfile.REGTYPE, b"x")]))
    content[124:136] = field.rjust(12, b"\0") if field[0] & 0x80 else field.ljust(12, b"\0")
    content[:512] = with_checksum(content[:512])
    return bytes(content)


def base_256(size: int) -> bytes:
    return bytes([0x80]) + size.to_bytes(11, "big")


def test_a_size_in_base_256():
    assert members_of(with_size(base_256(3)))[0] == Member("a.jpg", 512, 3)


def test_a_checksum_of_signed_bytes():
    content = bytearray(tar_of([("ä.jpg", tarfile.REGTYPE, b"")], tarfile.USTAR_FORMAT))
    unsigned, signed = tarfile.calc_chksums(bytes(content[:512]))
    assert unsigned != signed
    content[148:156] = f"{signed:06o}\0 ".encode()

    assert members_of(bytes(content)) == [Member("ä.jpg", 512, 0)]


PLAIN = tar_of([("a.jpg", tarfile.REGTYPE, b"x" * 600), ("b.jpg", tarfile.REGTYPE, b"y")])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (with_size(b"77777777777"), "is cut off or damaged: what begins at byte 0 ends beyond"),
        (with_size(base_256(2**63)), "ends beyond its end"),
        (with_size(bytes([0x80]) + b"\xff" * 11), "ends beyond its end"),
        (with_size(b"\xff" * 12), "damaged at byte 0: a negative size"),
        (with_size(b"-1"), "damaged at byte 0: no number"),
        (with_size(b"1e9"), "damaged at byte 0: no number"),
        (with_size(b"77777777777", kind=tarfile.GNUTYPE_LONGNAME), "ends beyond its end"),
        (
            with_size(b"10000000", kind=tarfile.GNUTYPE_LONGNAME) + bytes(1 << 22),
            "a header of 2,097,152 bytes at byte 0",
        ),
        (tar_of([("a", tarfile.REGTYPE, b"")], size="-5"), "no size"),
        (tar_of([("a", tarfile.REGTYPE, b"")], size="9" * 19), "ends beyond its end"),
        (tar_of([("a", tarfile.REGTYPE, b"")], size="9" * 5000), "no size"),
        (PLAIN[:700], "cut off"),
        (PLAIN[: 512 + 1024 + 100], "cut off"),
        (PLAIN[:1536] + b"?" + PLAIN[1537:], "damaged at byte 1,536: no header there"),
        (b"just a text" * 100, "is not a tar"),
        (b"\x1f\x8b\x08" + bytes(600), r"compressed \(gzip\): unpack it"),
    ],
)
def test_hostile_and_damaged_tars_are_refused(content, reason):
    with pytest.raises(TarError, match=reason):
        members_of(content)


@pytest.mark.parametrize(
    "records",
    [
        b"99 path=x\n",
        b"0 path=x\n",
        b"-9 path=x\n",
        b"9 path=x!",
        b"path=x\n",
        b"\xd9\xa3 a=b\n",
        b"8 path\n",
    ],
)
def test_damaged_pax_records_are_refused(records):
    content = bytearray(tar_of([("a", tarfile.REGTYPE, b"abc")], comment="c" * len(records)))
    content[512:1024] = records.ljust(512, b"\0")

    with pytest.raises(TarError, match="no PAX record"):
        members_of(bytes(content))


@given(st.binary(max_size=40), st.integers(0, 2100))
def test_whatever_is_damaged_nothing_else_is_raised(noise, place):
    content = bytearray(tar_of([("ä" * 60, tarfile.REGTYPE, b"x" * 600)], comment="x"))
    content[place : place + len(noise)] = noise

    try:
        found = members_of(bytes(content))
    except TarError:
        return
    assert all(0 <= offset <= offset + size <= len(content) for _, offset, size in found)


def test_a_tar_without_an_end_is_whole():
    assert members_of(PLAIN[: 512 + 1024 + 1024]) == members_of(PLAIN)
    assert len(members_of(PLAIN)) == 2
    assert members_of(b"") == []
