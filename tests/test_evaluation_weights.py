"""Weights: found in order, fetched whole or not at all, and nothing but tensors."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch
from inception_weights import random_state

from cyclegan_style.errors import UserError
from cyclegan_style.features.inception import (
    INCEPTION,
    WEIGHTS_FILE,
    HalfPrecision,
    build_inception,
)
from cyclegan_style.features.weights import Published, download, find_weights

CONTENT = bytes(range(256)) * 4000
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:8]


class Server(ThreadingHTTPServer):
    """Serves CONTENT, the first time no more than ``breaks_after`` bytes if set."""

    breaks_after: int | None = None
    knows_ranges = True
    ranges: list[str | None]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ranges = []
        self.is_asked, self.is_asked_again = threading.Event(), threading.Event()
        self.waits = 0.0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.is_asked.is_set():
            self.server.is_asked_again.set()
        self.server.is_asked.set()
        self.server.is_asked_again.wait(self.server.waits)
        start = 0
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][: self.server.breaks_after])
        self.server.breaks_after = None

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def served_by(server: Server, sha256: str = PREFIX) -> Published:
    url = f"http://127.0.0.1:{server.server_port}/weights.pth"
    return Published("weights", ("weights.pth",), url, sha256, "none", "stay at home")


def test_download(server, tmp_path):
    target = download(served_by(server), tmp_path / "hub")

    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_download_goes_on_where_it_broke_off(server, tmp_path, knows_ranges):
    target = tmp_path / "weights.pth"
    server.breaks_after, server.knows_ranges = 300_000, knows_ranges
    with pytest.raises(UserError, match="broke off"):
        download(served_by(server), tmp_path)
    assert not target.exists()

    download(served_by(server), tmp_path)

    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


@pytest.mark.skipif(sys.platform == "win32", reason="without locks")
@pytest.mark.parametrize("breaks_after", [None, 300_000])
def test_of_two_downloads_one_waits_and_then_does_what_is_left(server, tmp_path, breaks_after):
    server.breaks_after, server.waits = breaks_after, 0.3
    with ThreadPoolExecutor() as pool:
        first = pool.submit(download, served_by(server), tmp_path)
        server.is_asked.wait()
        second = pool.submit(download, served_by(server), tmp_path)
        if breaks_after is not None:
            with pytest.raises(UserError, match="broke off"):
                first.result()

        target = second.result()

    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None] if breaks_after is None else [None, "bytes=300000-"]


def test_download_that_is_complete_but_was_not_checked(server, tmp_path):
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    download(served_by(server), tmp_path)

    assert (tmp_path / "weights.pth").read_bytes() == CONTENT


def test_damaged_download_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(UserError, match="SHA-256"):
        download(served_by(server, "00000000"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_network_one_line_says_where_the_file_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as caught:
        find_weights(replace(INCEPTION.weights, url="http://127.0.0.1:1/weights.pth"))

    message = str(caught.value)
    assert "\n" not in message
    assert f"put {WEIGHTS_FILE} into {tmp_path / 'hub' / 'checkpoints'}" in message
    assert "--weights" in message


def test_order(tmp_path, monkeypatch, server):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    own = tmp_path / "own.pth"
    own.touch()
    with pytest.raises(UserError, match="SHA-256"):  # CONTENT is not the real file
        find_weights(replace(INCEPTION.weights, url=served_by(server).url))

    for name in reversed(INCEPTION.weights.names):
        (folder / name).touch()
        assert INCEPTION.find() == folder / name
    assert INCEPTION.find(own) == own
    with pytest.raises(UserError, match="no such file"):
        INCEPTION.find(tmp_path / "none.pth")


def test_other_files_are_refused(tmp_path):
    class Surprise:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("run",))

    for number, content in enumerate(({"a": torch.zeros(1)}, Surprise(), [1])):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(UserError, match="not the weights") as caught:
            INCEPTION.load(path)
        assert "weights_only" not in str(caught.value)  # no advice to run what is in it
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="not the weights"):
        INCEPTION.load(tmp_path / "text.pth")


@pytest.mark.numeric
def test_folded_batch_norms_leave_the_features():
    state = random_state(2015)
    exact = {name: tensor.double() for name, tensor in state.items()}
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1

    with torch.no_grad():
        plain, folded = (
            build_inception(exact, fold)(images.double()).double() for fold in (False, True)
        )
        halved = HalfPrecision(build_inception(state))(images)

    assert plain.shape == (1, 2048)
    assert plain.std() > 0.01
    assert (plain - folded).abs().max() < 1e-6  # features are averaged in float32
    assert halved.dtype == torch.float32
    assert 1e-5 < (plain - halved).abs().mean() < 0.05 * plain.std()
