"""What goes wrong, as RFC 9457 says it: ``application/problem+json``."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
CLIENT_GONE = 499
"""What nginx calls a request whose client has left; nobody reads the answer."""

logger = logging.getLogger(__name__)


class ProblemError(Exception):
    """A refusal or failure with its status; what it says is for strangers and names no path."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors

    def response(self) -> Response:
        """The answer that tells of it; its type is the status alone, about:blank."""
        members: dict[str, Any] = {
            "type": "about:blank",
            "title": title_of(self.status),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            members["errors"] = self.errors
        content = json.dumps(members, ensure_ascii=False).encode("utf-8", "replace")
        return Response(content, self.status, self.headers, MEDIA_TYPE)


def busy(detail: str) -> ProblemError:
    """Come again in a moment."""
    return ProblemError(503, detail, {"Retry-After": "1"})


def title_of(status: int) -> str:
    """The phrase of a status."""
    return "Client Closed Request" if status == CLIENT_GONE else HTTPStatus(status).phrase


def answer_with_problems(app: FastAPI) -> None:
    """Let an application answer with problems whatever goes wrong, also what its framework refuses.

    Nothing of an unforeseen error is shown; the server that runs the application logs it.
    """

    @app.exception_handler(ProblemError)
    async def own(request: Request, problem: ProblemError) -> Response:
        return problem.response()

    @app.exception_handler(HTTPException)
    async def of_framework(request: Request, error: HTTPException) -> Response:
        return ProblemError(error.status_code, str(error.detail), error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def of_parameters(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"parameter": ".".join(map(str, each["loc"][1:])), "detail": each["msg"]}
            for each in error.errors()
        ]
        detail = "; ".join(f"{each['parameter']}: {each['detail']}" for each in errors)
        return ProblemError(422, detail, errors=errors).response()

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        return ProblemError(500, "something went wrong; the server's log says what").response()
