"""What of Gradio's server a page needs, and nothing more."""

import asyncio
import json
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyclegan_style.serving.files import is_full

PREFIX = "/gradio_api/"
NEEDED = (
    "app_id",
    "cancel",
    "file=",
    "heartbeat/",
    "info",
    "login_check",
    "queue/",
    "startup-events",
    "upload",
    "user",
)
"""What a browser asks for below PREFIX; the rest fetches, edits or records on others' behalf."""
MOST_BYTES = 1_000_000
"""Of a request that is no upload: it names files, it does not hold them."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""The browser, too, loads nothing from elsewhere."""


class Guard:
    """Refuses requests that would have Gradio's server fetch an address or do what no page asks."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 403, 413 or 507, or hand the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _, inside, route = scope["path"].partition(PREFIX)
        if inside and not is_needed(route):
            await PlainTextResponse("Not part of this page.", 403)(scope, receive, send)
            return
        if inside and route == "upload" and await asyncio.to_thread(is_full):
            await PlainTextResponse("No room for files now; try later.", 507)(scope, receive, send)
            return
        if inside and scope["method"] == "POST" and not route.startswith("upload"):
            body = await body_of(receive)
            if body is None:
                await PlainTextResponse("Too large.", 413)(scope, receive, send)
                return
            if names_an_address(parsed(body)):
                await PlainTextResponse("Upload the file.", 403)(scope, receive, send)
                return
            receive = again(body, receive)
        await self.app(scope, receive, with_policy(send))


def is_needed(route: str) -> bool:
    """Whether a page asks for this; files by their place alone, since others would be fetched."""
    return route.startswith(NEEDED) and not (route.startswith("file=") and "://" in route)


async def body_of(receive: Receive) -> bytes | None:
    """The whole of a request, unless it is longer than MOST_BYTES."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return body


def again(body: bytes, receive: Receive) -> Receive:
    """What hands out a body that has been read, and then what follows it."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return parts.pop() if parts else await receive()

    return replay


def parsed(body: bytes) -> Any:
    """The values of a request; None if they are not JSON, which Gradio refuses."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def names_an_address(value: Any) -> bool:
    """Whether a file somewhere in the values is one of the network."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            if "://" in str(each.get("path", "")):
                return True
            waiting += each.values()
    return False


def with_policy(send: Send) -> Send:
    """Answers that tell the browser to load nothing from elsewhere."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", [])]
            headers += [
                (b"content-security-policy", POLICY.encode()),
                (b"referrer-policy", b"same-origin"),
            ]
            message = {**message, "headers": headers}
        await send(message)

    return sending
