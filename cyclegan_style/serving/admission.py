"""A place for each translation, from before its body is read until its answer has left."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyclegan_style.serving.problems import ProblemError
from cyclegan_style.serving.service import TranslationService

TRANSLATE = "/v1/translate"
PART_BYTES = 65536
"""Of an answer that are handed over at once, so that the rest is known to wait."""


class Admission:
    """Bounds what translations hold: requests, pictures, and answers that nobody fetches."""

    def __init__(self, app: ASGIApp, service: TranslationService) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if there is a place for it."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", TRANSLATE):
            await self.app(scope, receive, send)
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(self.service.place())
            except ProblemError as problem:
                await problem.response()(scope, receive, send)
                return
            answer = _Answer(send, self.service.limits.body_seconds)
            await self.app(scope, receive, answer.send)


class _Answer:
    """One answer, in parts; the rest is left unsent once it has taken too long."""

    def __init__(self, send: Send, most_seconds: float) -> None:
        self._send = send
        self.most_seconds = most_seconds
        self.until: float | None = None
        self.given_up = False

    async def send(self, message: Message) -> None:
        """Wait until the client has taken most of it."""
        if self.until is None:
            self.until = asyncio.get_running_loop().time() + self.most_seconds
        if self.given_up:
            return
        try:
            async with asyncio.timeout_at(self.until):
                for part in parts_of(message):
                    await self._send(part)
        except TimeoutError:
            self.given_up = True


def parts_of(message: Message) -> Iterator[Message]:
    """The message, a long body in several."""
    content = memoryview(message.get("body", b""))
    while len(content) > PART_BYTES:
        part, content = content[:PART_BYTES], content[PART_BYTES:]
        yield {"type": message["type"], "body": bytes(part), "more_body": True}
    yield {**message, "body": bytes(content)} if "body" in message else message
