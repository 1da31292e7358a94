"""Stylizing for a page: one painting at a time, in a thread, told of as it grows."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch

from cyclegan_style.data.images import Pixels, resize, to_pixels
from cyclegan_style.stylizing.painting import Moment
from cyclegan_style.stylizing.recipe import Recipe
from cyclegan_style.stylizing.stylizer import StyleSource, Stylizer
from cyclegan_style.system.hardware import fair_share_of_cores

STEPS_PER_STAGE = 4


@dataclass(frozen=True)
class Stage:
    """How far a painting is."""

    step: int
    steps: int
    pixels: Pixels
    """H×W×3, smaller at the coarse scales that come first."""


class StoppedError(Exception):
    """Nobody waits for the painting any more."""


class Painter:
    """Paints one picture after the other, however many are asked for at once."""

    def __init__(self, device: str) -> None:
        self.device = device
        # Threads count the cores that they use by themselves, and begin with what others chose.
        cores = fair_share_of_cores()
        self.worker = ThreadPoolExecutor(
            1, "painter", initializer=partial(torch.set_num_threads, cores)
        )

    async def paint(self, content: Pixels, style: Pixels, recipe: Recipe) -> AsyncIterator[Stage]:
        """The stages of a painting; once they are no longer asked for, it ends."""
        loop = asyncio.get_running_loop()
        stages: asyncio.Queue[Stage | None] = asyncio.Queue()
        stopped = threading.Event()

        def tell(stage: Stage | None) -> None:
            loop.call_soon_threadsafe(stages.put_nowait, stage)

        def watch(moment: Moment) -> None:
            if stopped.is_set():
                raise StoppedError
            if moment.step % STEPS_PER_STAGE == 1:
                tell(Stage(moment.step, moment.steps, to_pixels(moment.picture[0])))

        def work() -> None:
            try:
                if not stopped.is_set():
                    sized = fitted(content, recipe.size)
                    painting = Stylizer(recipe, self.device).paint(
                        sized, [StyleSource(style)], watch
                    )
                    tell(Stage(recipe.steps, recipe.steps, painting.pixels))
            except StoppedError:
                pass
            finally:
                tell(None)

        working = loop.run_in_executor(self.worker, work)
        try:
            while (stage := await stages.get()) is not None:
                yield stage
            await working  # raises what went wrong
        finally:
            stopped.set()


def fitted(pixels: Pixels, longest: int | None) -> Pixels:
    """The picture, made smaller if a side is longer."""
    height, width = pixels.shape[:2]
    if longest is None or max(height, width) <= longest:
        return pixels
    factor = longest / max(height, width)
    return resize(pixels, (max(1, round(height * factor)), max(1, round(width * factor))))


def page_recipe(
    size: int, steps: int, strength: float, preserve_colors: Literal["no", "luminance"]
) -> Recipe:
    """What can be chosen on a page; the rest is as in the command."""
    recipe = replace(
        Recipe(), size=size, steps=steps, style_weight=strength, preserve_colors=preserve_colors
    )
    recipe.check()
    return recipe
