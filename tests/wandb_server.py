"""Enough of a wandb server for runs to be sent to, on 127.0.0.1."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer(ThreadingHTTPServer):
    """Accepts runs and keeps the rows of their history, by run and in order of arrival."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.started: list[str] = []
        self.received_history = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, path: str, content: bytes) -> dict[str, Any]:
        """What the server says to a request."""
        if path.endswith("/file_stream"):
            rows = json.loads(content).get("files", {}).get("wandb-history.jsonl", {})
            name = path.split("/")[-2]
            for line in rows.get("content", []):
                self.history.setdefault(name, []).append(json.loads(line))
                self.received_history.set()
            return {"exitcode": None, "limits": {}}
        if path != "/graphql":
            return {}
        question = json.loads(content)
        return {"data": self.data(question["query"], question.get("variables", {}))}

    def data(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Data of a GraphQL query."""
        if "upsertBucket" in query:
            self.started.append(variables["name"])
            return {"upsertBucket": {"bucket": bucket(variables["name"]), "inserted": True}}
        if "createRunFiles" in query:
            files = [
                {"name": name, "uploadUrl": f"{self.address}/{name}"} for name in variables["files"]
            ]
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        if "bucket(" in query:
            known = bucket(variables["name"]) if variables["name"] in self.started else None
            return {"model": {"id": "project", "name": "project", "bucket": known}}
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}


def bucket(name: str) -> dict[str, Any]:
    """A run as the server describes it."""
    project = {"id": "project", "name": "project", "entity": {"id": "me", "name": "me"}}
    counts = {"historyLineCount": 0, "logLineCount": 0, "eventsLineCount": 0}
    tails = {"historyTail": "[]", "eventsTail": "[]", "summaryMetrics": "{}", "config": "{}"}
    return {"id": name, "name": name, "displayName": name, "project": project, **counts, **tails}


class Handler(BaseHTTPRequestHandler):
    """Hands every request to the server."""

    protocol_version = "HTTP/1.1"
    server: WandbServer

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        answer = json.dumps(self.server.answer(self.path, content)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST  # noqa: N815
    do_GET = do_POST  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass
