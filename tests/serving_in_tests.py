"""Servers of tiny networks: in this loop, or in a thread on a port of their own."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
import yaml
from PIL import Image
from tiny import enlarge_weights, tiny_config

from cyclegan_style.models.export import export_model
from cyclegan_style.serving.api import build_app
from cyclegan_style.serving.limits import Limits
from cyclegan_style.serving.loaded_models import Computing, LoadedModels
from cyclegan_style.serving.metrics import Metrics
from cyclegan_style.serving.server import address_of, listening_socket, server_of
from cyclegan_style.serving.service import TranslationService
from cyclegan_style.training.cyclegan import build_generators

PROBLEM = "application/problem+json"
LEAKS = ("Traceback", "site-packages", "/tmp", ".py", 'File "')
"""What no answer may say."""


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that awaits."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def export_tiny(folder: Path, seed: int = 0, **fields: Any) -> Path:
    """A model of random weights, its configuration as short as it can be, which is read often."""
    config = tiny_config(**fields)
    generators = build_generators(config).eval()
    enlarge_weights(generators, seed)
    export_model(folder, generators, yaml.safe_dump({"generator": asdict(config.generator)}))
    return folder


def noise(height: int = 24, width: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file_of(pixels: np.ndarray, image_format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format, **options)
    return stream.getvalue()


def pixels_in(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def service_of(
    sources: Mapping[str, Path],
    memory_budget: int | None = None,
    workers: int = 1,
    **limits: Any,
) -> TranslationService:
    computing = Computing(torch.device("cpu"), "fp32", memory_budget)
    models = LoadedModels({name: str(path) for name, path in sources.items()}, computing)
    return TranslationService(models, Limits(**limits), Metrics(), 0.02, workers)


@asynccontextmanager
async def client_of(
    service: TranslationService, token: str | None = None, *, ready: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to an application in this loop, once its models are loaded."""
    settled = asyncio.Event()
    app = build_app(service, token, settled.set)
    async with app.router.lifespan_context(app):
        if ready:
            await settled.wait()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@contextmanager
def held(service: TranslationService) -> Iterator[None]:
    """Keep the networks' threads busy."""
    gate = threading.Event()
    for _ in range(service.workers):
        service.network.submit(gate.wait)
    try:
        yield
    finally:
        gate.set()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


@contextmanager
def listening(
    service: TranslationService, token: str | None = None, *, page: bool = False
) -> Iterator[str]:
    """The address of a server in a thread, once its models are loaded."""
    settled = threading.Event()
    with listening_socket("127.0.0.1", 0) as socket:
        server = server_of(build_app(service, token, settled.set, page=page), service)
        server.capture_signals = lambda: contextmanager(lambda: iter([None]))()  # type: ignore
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[socket])))
        thread.start()
        try:
            assert settled.wait(60)
            yield address_of(socket)
        finally:
            server.should_exit = True
            thread.join()
