"""The process that listens: from its socket to its last answer."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from cyclegan_style.errors import UserError
from cyclegan_style.serving.access import refuse_open_door
from cyclegan_style.serving.api import build_app
from cyclegan_style.serving.limits import Limits
from cyclegan_style.serving.loaded_models import LoadedModels
from cyclegan_style.serving.metrics import Metrics
from cyclegan_style.serving.service import TranslationService

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SWITCH_SECONDS = 0.0005
"""For which one thread runs Python while others wait. A network asks for its turn at every layer:
with Python's own 5 milliseconds it waits for the codecs a fifth of the time."""


class GracefulServer(uvicorn.Server):
    """On SIGTERM and SIGINT, accepts nothing more, finishes what it has begun, and ends well.

    uvicorn's own raises the signal once more in the end, of which the process dies.
    """

    def __init__(self, config: uvicorn.Config, service: TranslationService) -> None:
        super().__init__(config)
        self.service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what has no end of its own end, and wait for the rest."""
        self.service.stopping.set()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals for as long as the server runs."""
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    models: LoadedModels,
    limits: Limits,
    host: str,
    port: int,
    token: str | None = None,
    *,
    public: bool = False,
    page: bool = True,
) -> int:
    """Answer requests until asked to stop, and return how many pictures were translated."""
    refuse_open_door(host, token, public=public)
    listening = listening_socket(host, port)
    sys.setswitchinterval(SWITCH_SECONDS)
    service = TranslationService(models, limits, Metrics())

    def tell() -> None:
        if not models.ready:
            server.should_exit = True
            return
        names = ", ".join(name for name, model in models.models.items() if model.current)
        print(f"serving {names} at {address_of(listening)}", file=sys.stderr, flush=True)

    server = server_of(build_app(service, token, tell, page=page), service)
    with listening:
        asyncio.run(server.serve(sockets=[listening]))
    if models.settled and not models.ready:
        complaints = [f"{model.name}: {model.complaint}" for model in models.models.values()]
        raise UserError(f"--model: none could be loaded: {'; '.join(complaints)}")
    return service.translated


def server_of(app: FastAPI, service: TranslationService) -> GracefulServer:
    """The server of an application, which says nothing but what goes wrong."""
    limits = service.limits
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",  # which bounds headers
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(limits.body_seconds + limits.seconds) + 1,
    )
    return GracefulServer(config, service)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"--host, --port: {host}:{port} cannot be listened at: {reason}") from None


def address_of(listening: socket.socket) -> str:
    """What to open in a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
