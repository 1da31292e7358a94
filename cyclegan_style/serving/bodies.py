"""The picture in a request: its body, or the file of a form; all in memory, counted on its way."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from cyclegan_style.serving.problems import CLIENT_GONE, ProblemError

Result = TypeVar("Result")

MOST_FIELDS = 16
FIELD = "file"


class ParserInMemory(MultiPartParser):
    """One that writes no temporary files: a server's disk may be read-only."""

    spool_max_size = 2**62


async def content_of(request: Request) -> bytes:
    """The picture's file; a Problem if there is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            return await _file_of_form(request)
        if kind in ("", "application/octet-stream") or kind.startswith("image/"):
            return b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect:
        raise ProblemError(CLIENT_GONE, "the client has left") from None
    raise ProblemError(
        415,
        "the body must be a picture, with a content type such as image/jpeg, or a form"
        f" (multipart/form-data) with the picture as its {FIELD}",
    )


async def _file_of_form(request: Request) -> bytes:
    parser = ParserInMemory(request.headers, request.stream(), max_files=1, max_fields=MOST_FIELDS)
    try:
        form = await parser.parse()
    except ClientDisconnect:
        raise
    except MultiPartException as error:
        raise ProblemError(400, f"the form cannot be read: {error.message}") from None
    except Exception:  # names and encodings of parts are a client's, too
        raise ProblemError(400, "the form cannot be read") from None
    try:
        upload = form.get(FIELD)
        if not isinstance(upload, UploadFile):
            raise ProblemError(422, f"{FIELD}: the form has no such file")
        return await upload.read()
    finally:
        await form.close()


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work gives; it is dropped once the client, whose request is whole, has left."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ProblemError(CLIENT_GONE, "the client has left")
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
