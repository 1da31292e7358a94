"""Pictures of many requests that go through a network together."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from cyclegan_style.data.images import Pixels

Key = TypeVar("Key", bound=Hashable)


@dataclass(eq=False)
class _Waiting(Generic[Key]):
    """A picture whose translation somebody awaits."""

    key: Key
    picture: Pixels
    since: float
    translation: "asyncio.Future[Pixels]"


class Batcher(Generic[Key]):
    """Groups pictures of one key: what is to be done with them, and the size of it.

    Whoever awaits a translation may leave: a picture that nobody awaits is dropped. How many wait
    is for the callers to limit.
    """

    def __init__(
        self,
        compute: Callable[[Key, Sequence[Pixels]], list[Pixels]],
        executor: Executor,
        most: int,
        patience: float,
    ) -> None:
        self.compute = compute
        self.executor = executor
        self.most = most
        self.patience = patience
        """Seconds that the oldest waits for others to join it."""
        self._waiting: list[_Waiting[Key]] = []
        self._arrival = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Pictures that are not being computed yet."""
        return len(self._waiting)

    async def translated(self, key: Key, picture: Pixels) -> Pixels:
        """Wait for a picture's turn, and its translation."""
        loop = asyncio.get_running_loop()
        place = _Waiting(key, picture, loop.time(), loop.create_future())
        self._waiting.append(place)
        self._arrival.set()
        try:
            return await place.translation
        finally:
            with suppress(ValueError):  # it is being computed, or has been
                self._waiting.remove(place)

    async def run(self) -> None:
        """Compute batch after batch until cancelled; several of these share the work."""
        while True:
            batch = await self._next_batch()
            await self._compute(batch)

    async def _next_batch(self) -> list[_Waiting[Key]]:
        """The oldest and those that can go with it, at most a moment after it came."""
        while True:
            self._arrival.clear()
            left: float | None = None
            if self._waiting:
                oldest = self._waiting[0]
                batch = [each for each in self._waiting if each.key == oldest.key][: self.most]
                left = oldest.since + self.patience - asyncio.get_running_loop().time()
                if len(batch) == self.most or left <= 0:
                    self._waiting = [each for each in self._waiting if each not in batch]
                    return batch
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), left)

    async def _compute(self, batch: list[_Waiting[Key]]) -> None:
        """Hand each its translation; if a batch fails, each of it is tried alone."""
        loop = asyncio.get_running_loop()
        pictures = [each.picture for each in batch]
        try:
            outputs = await loop.run_in_executor(
                self.executor, self.compute, batch[0].key, pictures
            )
        except Exception as error:
            if len(batch) == 1:
                if not batch[0].translation.done():
                    batch[0].translation.set_exception(error)
                return
            for each in batch:
                if not each.translation.done():
                    await self._compute([each])
            return
        for each, output in zip(batch, outputs, strict=True):
            if not each.translation.done():  # nobody has left
                each.translation.set_result(output)
