"""The page in front of the service, which it asks like everybody else."""

import asyncio

import gradio as gr
from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse
from PIL import Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyclegan_style.errors import UserError
from cyclegan_style.serving.page import build_page, page_options
from cyclegan_style.serving.problems import ProblemError
from cyclegan_style.serving.service import TranslationService

PAGE = "/page"
HEARTBEAT = f"{PAGE}/gradio_api/heartbeat/"


def mount_page(app: FastAPI, service: TranslationService) -> None:
    """Serve the page of all models that have files; ``/`` leads there."""
    models = {name: model.directions() for name, model in service.models.models.items()}
    models = {name: directions for name, directions in models.items() if directions}
    if not models:
        return

    async def translate(name: str, direction: str, picture: Image.Image) -> Image.Image:
        try:
            return await service.translate_image(name, "ba" if direction == "ba" else "ab", picture)
        except ProblemError as problem:
            raise UserError(problem.detail) from None

    limits = service.limits
    device = str(service.models.computing.device)
    page = build_page(models, translate, most_pixels=limits.pixels, device=device)

    @app.get("/", include_in_schema=False)
    @app.get(PAGE, include_in_schema=False)
    async def front() -> Response:
        return RedirectResponse(f"{PAGE}/")

    gr.mount_gradio_app(app, page, PAGE, **page_options(limits.body_bytes))
    app.add_middleware(EndingHeartbeats, stopping=service.stopping)


class EndingHeartbeats:
    """Ends, when the server is to stop, the streams by which open pages stay known to Gradio.

    They would go on for as long as somebody looks, and a server that waits for them never ends.
    """

    def __init__(self, app: ASGIApp, stopping: asyncio.Event) -> None:
        self.app = app
        self.stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and end it with the server if it has no end of its own."""
        if scope["type"] != "http" or not scope["path"].startswith(HEARTBEAT):
            await self.app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        stream = asyncio.ensure_future(self.app(scope, receive, sending))
        stop = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({stream, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if stream.done():
            await stream
            return
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)
        if not begun:
            await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})
