"""What a server answers: translations, its models, its health."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from cyclegan_style.serving.access import TokenGuard
from cyclegan_style.serving.admission import TRANSLATE, Admission
from cyclegan_style.serving.bodies import FIELD, content_of, unless_gone
from cyclegan_style.serving.limits import BodyLimits
from cyclegan_style.serving.metrics import MeasuredRequests
from cyclegan_style.serving.problems import MEDIA_TYPE, ProblemError, answer_with_problems, title_of
from cyclegan_style.serving.service import TranslationService

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
Responses = dict[int | str, dict[str, Any]]
"""What the schema says of answers, by status."""
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
MOST_STRENGTH = 100.0


class TranslateParameters(BaseModel):
    """What is asked for, as the options of ``cyclegan-style translate`` have it."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None, max_length=200, description="one of /v1/models; by default the first"
    )
    direction: Literal["ab", "ba"] | None = Field(
        None, description="by default ab, or the only one that the model has", examples=["ab"]
    )
    format: Literal["png", "jpg", "webp"] = Field("png", description="of the answer")
    quality: int = Field(95, ge=1, le=100, description="of jpg and webp")
    style: str | None = Field(
        None,
        max_length=200,
        description="of a model with several styles: its number, such as 2, or a blend, such as"
        " 1:0.3,2:0.7; by default the first",
    )
    strength: float = Field(
        1.0,
        ge=0,
        le=MOST_STRENGTH,
        allow_inf_nan=False,
        description="of a model with a skip: how much of what it has learned is done; 0: nothing",
    )


def build_app(
    service: TranslationService,
    token: str | None = None,
    when_settled: Callable[[], None] = lambda: None,
    *,
    page: bool = False,
) -> FastAPI:
    """The whole application; ``when_settled`` is called once all models are loaded or failed."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        async with service.running(when_settled):
            yield

    app = FastAPI(
        title="cyclegan-style",
        version="1",
        summary="Pictures translated by trained models.",
        lifespan=running,
        docs_url=None,  # they would load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    answer_with_problems(app)
    add_translation(app, service)
    add_health(app, service)
    refuse_the_rest(app)
    if page:
        from cyclegan_style.serving.mounting import mount_page  # Gradio takes seconds to load

        mount_page(app, service)
    # What is added later lies further out.
    limits = service.limits
    app.add_middleware(Admission, service=service)
    app.add_middleware(BodyLimits, most_bytes=limits.body_bytes, most_seconds=limits.body_seconds)
    if token is not None:
        app.add_middleware(TokenGuard, token=token)
    app.add_middleware(MeasuredRequests, metrics=service.metrics)
    return app


def add_translation(app: FastAPI, service: TranslationService) -> None:
    """``/v1``: what the server is there for."""
    picture = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "schema": {
            "type": "object",
            "required": [FIELD],
            "properties": {FIELD: {"type": "string", "format": "binary"}},
        }
    }
    body = {
        "required": True,
        "content": {
            "multipart/form-data": form,
            **dict.fromkeys([*MEDIA_TYPES.values(), "application/octet-stream"], picture),
        },
    }

    pictures = dict.fromkeys(MEDIA_TYPES.values(), picture)
    answer: Responses = {200: {"description": "The picture", "content": pictures}}

    @app.post(
        TRANSLATE,
        summary="Translate a picture to one of the same size",
        response_class=Response,
        responses=answer | problems(400, 404, 408, 413, 415, 422, 503, 504),
        openapi_extra={"requestBody": body},
    )
    async def translate(
        request: Request, wanted: Annotated[TranslateParameters, Query()]
    ) -> Response:
        way = service.way(wanted.model, wanted.direction, wanted.style, wanted.strength)
        sent = await content_of(request)
        work = service.translate_file(sent, way, f".{wanted.format}", wanted.quality)
        content = await unless_gone(request, work)
        return Response(content, media_type=MEDIA_TYPES[wanted.format])

    example = {
        "models": [
            {
                "name": "monet",
                "state": "ready",
                "directions": [
                    {
                        "name": "ab",
                        "channels_in": 3,
                        "channels_out": 3,
                        "styles": 1,
                        "strength": False,
                        "weights": "9f86d081" * 8,
                    }
                ],
            }
        ]
    }

    @app.get("/v1/models", summary="Models by name", responses=answers(example))
    async def models() -> dict[str, Any]:
        return {"models": [model.description() for model in service.models.models.values()]}


def add_health(app: FastAPI, service: TranslationService) -> None:
    """Probes, which know no token and wait for nothing, and metrics."""

    @app.get("/healthz", summary="Whether the process lives", responses=answers({"status": "ok"}))
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    states = {"status": "ready", "models": {"monet": "ready", "ukiyoe": "failed"}}
    responses = answers(states) | problems(503)

    @app.get("/readyz", summary="Whether any model is loaded and warm", responses=responses)
    async def readyz() -> dict[str, Any]:
        states = {model.name: model.state for model in service.models.models.values()}
        if not service.models.ready:
            detail = ", ".join(f"{name}: {state}" for name, state in states.items())
            raise ProblemError(503, detail, {"Retry-After": "1"})
        return {"status": "ready", "models": states}

    @app.get(
        "/metrics",
        summary="For Prometheus",
        response_class=Response,
        responses={200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        text = await asyncio.to_thread(service.metrics.text)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def refuse_the_rest(app: FastAPI) -> None:
    """Answer for other methods and all of ``/v1``, so that a page behind it does not."""
    methods = {
        path: ", ".join(name.upper() for name in operations)
        for path, operations in app.openapi()["paths"].items()
    }
    app.openapi_schema = None

    async def nothing(request: Request) -> Response:
        allowed = methods.get(request.url.path)
        if allowed:
            raise ProblemError(405, f"{request.url.path} takes {allowed}", {"Allow": allowed})
        raise ProblemError(404, "there is nothing here")

    for path in (*methods, "/v1/{rest:path}"):
        app.add_api_route(path, nothing, methods=METHODS, include_in_schema=False)


def problems(*statuses: int) -> Responses:
    """What the schema says of refusals."""
    return {
        status: {"description": title_of(status), "content": {MEDIA_TYPE: problem_schema(status)}}
        for status in statuses
    }


def problem_schema(status: int) -> dict[str, Any]:
    """A problem, with an example."""
    text, number = {"type": "string"}, {"type": "integer"}
    example = {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": "what is wrong, in one line",
    }
    return {
        "schema": {
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": {"type": text, "title": text, "status": number, "detail": text},
        },
        "example": example,
    }


def answers(example: dict[str, Any]) -> Responses:
    """What the schema says of a JSON answer."""
    return {200: {"content": {"application/json": {"example": example}}}}
