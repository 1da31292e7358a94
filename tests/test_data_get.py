"""Data sets by name: whole, checked and inside their folder, or nothing of them."""

import hashlib
import io
import json
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cyclegan_style.commands.main import main
from cyclegan_style.data import archives, catalogue
from cyclegan_style.data.catalogue import FOLDERS, KNOWN_SETS, KnownSet
from cyclegan_style.data.fetching import fetch_set
from cyclegan_style.data.listing import reference_layout
from cyclegan_style.errors import UserError

COUNTS = {"trainA": 3, "trainB": 2, "testA": 1, "testB": 1}
PICTURES = {
    f"toy/{folder}/{number}.jpg": bytes([number]) * 2000
    for folder, count in COUNTS.items()
    for number in range(count)
}


def zipped(members: dict[str | zipfile.ZipInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


ARCHIVE = zipped({"toy/": b"", **PICTURES, "toy/notes.txt": b"x", "toy/trainA/.DS_Store": b"x"})
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content``; once ``sends`` is set, only that much of it, whatever it ``claims``."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.content = ARCHIVE
        self.sends: int | None = None
        self.claims: int | None = None
        self.tells_length = True
        self.tells_range: str | None = None
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/toy.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        if self.server.tells_length:
            rest = self.server.claims or len(self.server.content) - start
            self.send_header("Content-Length", str(rest))
        if self.server.tells_range:
            self.send_header("Content-Range", self.server.tells_range)
        self.end_headers()
        self.wfile.write(self.server.content[start:][: self.server.sends])

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def toy(server, monkeypatch) -> KnownSet:
    """A set whose publishers keep it at the server, as big as it is."""
    monkeypatch.setattr(catalogue, "ADDRESS", server.url)
    return KnownSet("toy", "a", "b", len(ARCHIVE), SHA256, COUNTS, "unknown")


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


WHOLE = sorted(PICTURES)


def test_a_set_becomes_a_folder_to_train_on(server, toy, tmp_path):
    fetched = fetch_set(toy, tmp_path / "data")

    assert (fetched.folder, fetched.counts) == (tmp_path / "data" / "toy", COUNTS)
    assert (fetched.sha256, fetched.checked_against) == (SHA256, "published")
    assert files_in(tmp_path / "data") == WHOLE
    assert (fetched.folder / "trainA" / "2.jpg").read_bytes() == PICTURES["toy/trainA/2.jpg"]
    assert set(reference_layout(fetched.folder)) == {"a", "b", "test_a", "test_b"}
    assert fetch_set(toy, tmp_path / "data").sha256 is None  # there already
    assert len(server.asked) == 1


def test_a_broken_download_goes_on(server, toy, tmp_path):
    server.sends = 5000
    with pytest.raises(UserError, match=r"broke off.*run the same command again"):
        fetch_set(toy, tmp_path)
    assert files_in(tmp_path) == ["toy.zip.part"]
    server.sends = None

    assert fetch_set(toy, tmp_path).counts == COUNTS

    assert server.asked == [None, "bytes=5000-"]
    assert files_in(tmp_path) == WHOLE


def test_what_was_killed_while_it_was_unpacked_is_done_anew(server, toy, tmp_path):
    (tmp_path / "toy.zip.part").write_bytes(ARCHIVE)
    (tmp_path / ".toy.unpacking" / "trainA").mkdir(parents=True)
    (tmp_path / ".toy.unpacking" / "trainA" / "half.jpg").touch()

    fetch_set(toy, tmp_path)

    assert files_in(tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"claims": len(ARCHIVE) + 999}, "offers .* bytes instead of"),
        ({"claims": len(ARCHIVE) - 999}, "offers .* bytes instead of"),
        ({"tells_length": False, "content": ARCHIVE + b"more"}, "sends more than"),
        ({"content": bytes(len(ARCHIVE))}, "SHA-256 is .* instead of"),
    ],
)
def test_a_server_that_sends_something_else_is_not_believed(server, toy, tmp_path, lie, reason):
    for name, value in lie.items():
        setattr(server, name, value)

    with pytest.raises(UserError, match=reason) as caught:
        fetch_set(toy, tmp_path)

    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_part_that_was_not_asked_for_is_not_taken(server, toy, tmp_path):
    (tmp_path / "toy.zip.part").write_bytes(ARCHIVE[:100])
    server.tells_range = f"bytes 0-{len(ARCHIVE) - 1}/{len(ARCHIVE)}"

    with pytest.raises(UserError, match="another part than was asked for"):
        fetch_set(toy, tmp_path)

    server.tells_range = None
    assert fetch_set(toy, tmp_path).counts == COUNTS


def test_another_length_at_another_address_breaks_off_or_is_no_archive(server, toy, tmp_path):
    server.claims = len(ARCHIVE) + 999
    with pytest.raises(UserError, match="broke off"):
        fetch_set(toy, tmp_path, server.url + "?mirror")
    server.claims = 500
    with pytest.raises(UserError, match="no sound ZIP archive"):
        fetch_set(toy, tmp_path / "other", server.url + "?mirror")
    assert not list((tmp_path / "other").iterdir())


def test_another_addresss_checksum_is_that_of_the_first_time(server, toy, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))
    mirror = server.url + "?mirror"
    first = fetch_set(toy, tmp_path / "1", mirror)
    second = fetch_set(toy, tmp_path / "2", mirror)
    assert (first.sha256, first.checked_against) == (SHA256, None)
    assert (second.sha256, second.checked_against) == (SHA256, "recorded")

    server.content = zipped({**PICTURES, "toy/new.txt": b"x"})
    with pytest.raises(UserError, match=f"instead of {SHA256}.* take it by --sha256"):
        fetch_set(toy, tmp_path / "3", mirror)
    new = hashlib.sha256(server.content).hexdigest()
    assert fetch_set(toy, tmp_path / "3", mirror, new.upper()).checked_against == "given"


def linked(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


HOSTILE: dict[str, tuple[dict[Any, bytes], str]] = {
    "up": ({"toy/trainA/../../../x.jpg": b"x"}, "points outside"),
    "absolute": ({"/tmp/x.jpg": b"x"}, "points outside"),
    "windows": ({"toy\\..\\x.jpg": b"x"}, "points outside"),
    "drive": ({"C:/x.jpg": b"x"}, "points outside"),
    "link": ({linked("toy/trainA/9.jpg"): b"/etc/passwd"}, "is a link"),
    "linked folder": ({linked("toy/trainA"): b"/tmp"}, "is a link"),
    "twice": ({"toy/trainA/A.jpg": b"x", "toy/trainA/a.jpg": b"x"}, "in it twice"),
    "flat": ({"trainA/0.jpg": b"x"}, "in it twice"),
    "more": ({"toy/trainA/9.jpg": b"x"}, "trainA has 4 pictures instead of 3"),
    "bomb": ({"toy/trainA/9.jpg": bytes(70_000)}, "would unpack to 8[0-9],[0-9]+ bytes, more"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_leave_nothing(server, toy, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "LEAST_ROOM", 60_000)
    monkeypatch.setattr(archives, "_LARGEST_RATIO", 0)
    members, reason = HOSTILE[kind]
    server.content = zipped({**PICTURES, **members})

    with pytest.raises(UserError, match=reason) as caught:
        fetch_set(toy, tmp_path / "data", server.url + "?hostile")

    assert "\n" not in str(caught.value)
    assert files_in(tmp_path) == []
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("damage", ["truncated", "flipped", "understated", "not a zip"])
def test_damaged_archives_leave_nothing(server, toy, tmp_path, damage):
    content = bytearray(ARCHIVE)
    if damage == "truncated":
        del content[-200:]
    elif damage == "flipped":
        content[ARCHIVE.index(PICTURES["toy/trainB/1.jpg"]) + 5] ^= 1
    elif damage == "understated":  # a picture that unpacks to more than its entry says
        entry = content.rindex(b"toy/trainA/2.jpg") - 46
        content[entry + 20 : entry + 28] = (100).to_bytes(4, "little") * 2
    else:
        content = bytearray(b"<html>moved</html>")
    server.content = bytes(content)

    with pytest.raises(UserError, match="no sound ZIP archive"):
        fetch_set(toy, tmp_path, server.url + "?damaged")

    assert not list(tmp_path.iterdir())


def test_unknown_counts_are_not_checked(server, toy, tmp_path):
    assert fetch_set(replace(toy, counts={}), tmp_path).counts == COUNTS


def test_a_folder_that_is_another_is_left_alone(server, toy, tmp_path):
    (tmp_path / "toy" / "trainA").mkdir(parents=True)
    (tmp_path / "toy" / "trainA" / "mine.jpg").touch()

    with pytest.raises(UserError, match=r"there already, but trainA has 1 pictures instead of 3"):
        fetch_set(toy, tmp_path)

    assert files_in(tmp_path) == ["toy/trainA/mine.jpg"]
    assert server.asked == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "toy.zip", "http://127.0.0.1:1/x", "http://["]
)
def test_addresses_that_give_nothing_are_told_in_one_line(toy, tmp_path, url):
    with pytest.raises(UserError, match=r"is no http|cannot be downloaded") as caught:
        fetch_set(toy, tmp_path, url)

    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_is_known_of_the_sets():
    for name, known in KNOWN_SETS.items():
        assert known.url == f"https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{name}.zip"
        assert tuple(known.counts) == FOLDERS
        assert len(bytes.fromhex(known.sha256)) == 32
    assert tuple(KNOWN_SETS["horse2zebra"].counts.values()) == (1067, 1334, 120, 140)
    assert tuple(KNOWN_SETS["monet2photo"].counts.values()) == (1072, 6287, 121, 751)
    assert tuple(KNOWN_SETS["vangogh2photo"].counts.values()) == (400, 6287, 400, 751)
    assert "paintings of trainA" in KNOWN_SETS["vangogh2photo"].note


def test_the_command(server, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(KNOWN_SETS, "toy", toy)

    assert main(["data", "list"]) == 0
    assert "horse2zebra" in capsys.readouterr().out
    assert main(["data", "list", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)["sets"]}
    assert listed["monet2photo"]["licence"].startswith("unknown")
    assert main(["data", "get", "toy", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["folder"], got["counts"], got["sha256"]) == ("data/toy", COUNTS, SHA256)
    assert got["next"].endswith("--data.root data/toy --run.dir runs/toy")
    assert main(["data", "get", "toy"]) == 0
    assert capsys.readouterr().out == f"next: {got['next']}\n"
    assert main(["data", "get", "zebra2horse"]) == 2
    assert "there are horse2zebra, " in capsys.readouterr().err
