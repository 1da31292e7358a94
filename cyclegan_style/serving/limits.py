"""What a server bears: how much is sent, held and waited for."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyclegan_style.errors import UserError
from cyclegan_style.serving.problems import ProblemError

LINGER_SECONDS = 2.0
"""How long to throw away what a client goes on sending after its refusal, so that it reads that."""


@dataclass(frozen=True)
class Limits:
    """Of one server."""

    body_bytes: int = 32_000_000
    """Of one request."""
    body_seconds: float = 60.0
    """For all of a body to arrive."""
    pixels: int = 16_000_000
    """Of one picture."""
    requests: int = 32
    """Translations that are read, wait or are computed at once; more are sent away."""
    seconds: float = 60.0
    """From a body's end to its answer."""
    batch_size: int = 1
    """Pictures that go through a network together."""
    batch_seconds: float = 0.005
    """How long a picture waits for others of its size."""

    def __post_init__(self) -> None:
        """Refuse what no server could keep to."""
        options = {
            "--max-body": self.body_bytes,
            "--body-timeout": self.body_seconds,
            "--max-pixels": self.pixels,
            "--queue": self.requests,
            "--timeout": self.seconds,
            "--batch-size": self.batch_size,
        }
        for option, value in options.items():
            if not 0 < value < float("inf"):
                raise UserError(f"{option} must be more than 0, not {value}")
        if not 0 <= self.batch_seconds < float("inf"):
            raise UserError(f"--batch-wait must be at least 0, not {1000 * self.batch_seconds}")
        if self.requests < self.batch_size:
            raise UserError(
                f"--queue must be at least --batch-size, {self.batch_size}, not {self.requests}"
            )


class BodyLimits:
    """Counts and times every request's body as it arrives, before anything of it is kept.

    Whatever the application makes of a body that was cut off, the answer says why it was.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, most_seconds: float) -> None:
        self.app = app
        self.most_bytes = most_bytes
        self.most_seconds = most_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, send, self.most_bytes, self.most_seconds)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self.most_bytes:
            body.refusal = body.too_large()
        else:
            try:
                await self.app(scope, body.receive, body.send)
            except Exception:
                if body.refusal is None:
                    raise
        if body.refusal is not None and not body.answered:
            await body.refuse(body.refusal)


class _Body:
    """One request's."""

    def __init__(self, receive: Receive, send: Send, most_bytes: int, most_seconds: float) -> None:
        self._receive = receive
        self._send = send
        self.most_bytes = most_bytes
        self.most_seconds = most_seconds
        self.count = 0
        self.until: float | None = None
        self.whole = False
        self.answered = False
        self.refusal: ProblemError | None = None

    async def receive(self) -> Message:
        """The next part, unless it is one too many or too late."""
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self.whole:
            return await self._receive()
        if self.until is None:
            self.until = asyncio.get_running_loop().time() + self.most_seconds
        try:
            async with asyncio.timeout_at(self.until):
                message = await self._counted()
        except TimeoutError:
            self.refusal = ProblemError(
                408,
                f"the body has not arrived within {self.most_seconds:g} seconds",
                {"Connection": "close"},
            )
        else:
            if self.count <= self.most_bytes:
                return message
            self.refusal = self.too_large()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass an answer on, but not one to a body that was cut off."""
        if self.answered or self.refusal is None:
            self.answered = True
            await self._send(message)

    def too_large(self) -> ProblemError:
        """The refusal of a body of too many bytes."""
        detail = f"the body is larger than the limit of {self.most_bytes:,} bytes"
        return ProblemError(413, detail, {"Connection": "close"})

    async def refuse(self, problem: ProblemError) -> None:
        """Answer, and take what still comes for a moment: a reset would hide the answer."""
        response = problem.response()
        await self._send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            }
        )
        await self._send({"type": "http.response.body", "body": response.body, "more_body": True})
        if problem.status == 413:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while not self.whole and self.count < 4 * self.most_bytes:
                        await self._counted()
        await self._send({"type": "http.response.body", "body": b""})

    async def _counted(self) -> Message:
        message = await self._receive()
        self.count += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        return message
