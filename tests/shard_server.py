"""A web server of files on this machine, which answers for parts as it is told to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` by their paths."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.files: dict[str, bytes] = {}
        self.knows_range = True
        self.breaks_off: list[int] = []
        """Bytes after which the next answers break off, one each."""
        self.statuses: list[int] = []
        """What the next requests are refused with, one each."""
        self.asked: list[tuple[str, int, int]] = []
        """Path, first byte and number of bytes of each request for a part."""

    def handle_error(self, *arguments: object) -> None:
        """Those who ask may go away."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        content = self.server.files.get(path)
        if self.server.statuses or content is None:
            self.send_response(self.server.statuses.pop(0) if self.server.statuses else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, last = 0, len(content) - 1
        if self.server.knows_range and (asked := self.headers["Range"]):
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
            self.server.asked.append((path, first, last + 1 - first))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("ETag", f'"{hash(content)}"')
        self.end_headers()
        part = content[first : last + 1]
        if self.server.breaks_off:
            part = part[: self.server.breaks_off.pop(0)]
            self.close_connection = True
        self.wfile.write(part)

    def log_message(self, *arguments: object) -> None:
        """Tests are quiet."""


@contextmanager
def serving_files() -> Iterator[FileServer]:
    with FileServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
