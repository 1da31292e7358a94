"""The way of a picture through the server: decoded, grouped, translated, encoded."""

import asyncio
import math
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

import torch
from PIL import Image

from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.applying.prepared import OutputError
from cyclegan_style.data.images import Pixels, to_pillow
from cyclegan_style.errors import UserError
from cyclegan_style.models.model_files import DirectionName
from cyclegan_style.serving.batching import Batcher
from cyclegan_style.serving.limits import Limits
from cyclegan_style.serving.loaded_models import LoadedModels, ModelInMemory
from cyclegan_style.serving.metrics import Metrics
from cyclegan_style.serving.pictures import decoded, encoded, refuse_side, refuse_size
from cyclegan_style.serving.problems import ProblemError, busy
from cyclegan_style.system.hardware import fair_share_of_cores
from cyclegan_style.system.memory import trim_heap

Result = TypeVar("Result")

PICTURES_BETWEEN_TRIMS = 100
SECONDS_BETWEEN_LOOKS = 1.0
"""At a model's files."""
MOST_WORKERS = 4
"""Each has weights of its own."""
LARGE = 1_000_000
"""Pixels of a picture beside which no other such is computed: each takes what memory is free."""


@dataclass(frozen=True)
class Way:
    """What is to be done with a picture, by the model as it was when the request came."""

    name: str
    model: ModelInMemory
    direction: DirectionName
    style: str | None = None
    strength: float = 1.0

    @property
    def plain(self) -> Predictor:
        """What reads pictures for it."""
        return self.model.plain[self.direction]


@dataclass(frozen=True)
class Group:
    """What the pictures of a batch have in common."""

    way: Way
    fitting_size: tuple[int, int]


class TranslationService:
    """Translates pictures of many clients within its limits; what it refuses is a Problem."""

    def __init__(
        self,
        models: LoadedModels,
        limits: Limits,
        metrics: Metrics,
        seconds_between_looks: float = SECONDS_BETWEEN_LOOKS,
        workers: int | None = None,
    ) -> None:
        self.models = models
        self.limits = limits
        self.metrics = metrics
        self.seconds_between_looks = seconds_between_looks
        self.stopping = asyncio.Event()
        """Set when the server is to end: nothing new comes, and what is begun is finished."""
        self.inside = 0
        self.translated = 0
        self.cores = fair_share_of_cores()
        on_cpu = models.computing.device.type == "cpu"
        self.workers = workers or (min(self.cores, MOST_WORKERS) if on_cpu else 1)
        """Batches that are computed at the same time."""
        self.network = ThreadPoolExecutor(self.workers, "network")
        self._busy = 0
        self._counting, self._large = Lock(), Lock()
        self.codecs = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "codecs")
        self.batcher: Batcher[Group] = Batcher(
            self._computed, self.network, limits.batch_size, limits.batch_seconds
        )
        metrics.requests_inside.set_function(lambda: self.inside)
        metrics.pictures_waiting.set_function(lambda: self.batcher.waiting)

    @asynccontextmanager
    async def running(self, when_settled: Callable[[], None]) -> AsyncIterator[None]:
        """Load the models and compute for as long as the block lasts."""
        tasks = [
            *(asyncio.create_task(self.batcher.run()) for _ in range(self.workers)),
            asyncio.create_task(self._have_models(when_settled)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for threads in (self.network, self.codecs):
                threads.shutdown(cancel_futures=True)
            self.models.close()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Room for one request, before anything of it is read, or a Problem at once."""
        if self.inside >= self.limits.requests:
            raise busy(f"{self.inside} translations are under way, which is the limit")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def way(
        self,
        model: str | None = None,
        direction: DirectionName | None = None,
        style: str | None = None,
        strength: float = 1.0,
    ) -> Way:
        """What is asked for, if there is such a model and it does that."""
        name = model if model is not None else next(iter(self.models.models))
        if name not in self.models.models:
            raise ProblemError(404, f"no such model; there are {', '.join(self.models.models)}")
        current = self.models.models[name].current
        if current is None:
            raise busy(f"the model {name} is not loaded")
        held = list(current.generators)
        direction = direction or (held[0] if len(held) == 1 else "ab")
        if direction not in held:
            raise ProblemError(422, f"direction: the model {name} translates {held[0]} only")
        try:
            current.refuse_variant(direction, style, strength)
        except UserError as error:
            raise ProblemError(422, str(error).removeprefix("--")) from None
        return Way(name, current, direction, style, strength)

    async def translate_file(self, content: bytes, way: Way, ending: str, quality: int) -> bytes:
        """Translate an image file's content to that of a file of an ending, such as ``.png``."""
        async with self._deadline():
            pixels, metadata = await self._in_thread(
                lambda: decoded(content, way.plain, self.limits.pixels)
            )
            refuse_side(pixels, ending)
            output = await self._translated(way, pixels)
            return await self._in_thread(lambda: encoded(output, ending, quality, metadata))

    async def translate_image(
        self, model: str, direction: DirectionName, image: Image.Image
    ) -> Image.Image:
        """Translate a picture that somebody has decoded, such as a page; it takes a place too."""
        way = self.way(model, direction)
        refuse_size(image.width, image.height, way.plain, self.limits.pixels)
        with self.place():
            async with self._deadline():
                pixels = await self._in_thread(lambda: way.plain.read(image))
                return to_pillow(await self._translated(way, pixels))

    async def _have_models(self, when_settled: Callable[[], None]) -> None:
        await self.models.load()
        when_settled()
        await self.models.watch(self.seconds_between_looks)

    async def _translated(self, way: Way, pixels: Pixels) -> Pixels:
        group = Group(way, way.plain.fitting_size(*pixels.shape[:2]))
        try:
            output = await self.batcher.translated(group, pixels)
        except OutputError as error:
            raise ProblemError(500, str(error)) from None
        except UserError as error:  # too little memory, even in stripes
            raise ProblemError(413, str(error)) from None
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "out of memory" in str(error):
                raise busy("the memory that is free does not hold the picture now") from None
            raise
        self.translated += 1
        return output

    def _computed(self, group: Group, pictures: Sequence[Pixels]) -> list[Pixels]:
        """In one of the networks' threads."""
        way = group.way
        large = math.prod(group.fitting_size) > LARGE
        predictor = way.model.predictor(way.direction, way.style, way.strength)
        with self._large if large else nullcontext(), self._share_of_cores():
            outputs = predictor.translate_pixels(pictures)
        self.metrics.batch_sizes.labels(way.name, way.direction).observe(len(pictures))
        if self.translated % PICTURES_BETWEEN_TRIMS < len(pictures):
            trim_heap()
        return outputs

    @contextmanager
    def _share_of_cores(self) -> Iterator[None]:
        """Let a batch that is alone have all cores of a CPU, and each of several its share.

        Threads of one batch wait for each other at every layer, which takes long where others have
        the cores: under load two batches of a thread each are done sooner.
        """
        with self._counting:
            self._busy += 1
            alone = self._busy == 1 and not self.batcher.waiting
        if self.workers > 1:
            torch.set_num_threads(self.cores if alone else max(1, self.cores // self.workers))
        try:
            yield
        finally:
            with self._counting:
                self._busy -= 1

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Decoding and encoding take milliseconds, in which others must be heard."""
        return await asyncio.get_running_loop().run_in_executor(self.codecs, work)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.limits.seconds):
                yield
        except TimeoutError:
            raise ProblemError(
                504, f"not translated within {self.limits.seconds:g} seconds"
            ) from None
