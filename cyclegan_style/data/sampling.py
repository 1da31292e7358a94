"""Training samples of one or two domains that are a pure function of their key.

Nothing here keeps random state: the order of an epoch follows from (seed, epoch), the crop and
flip of a sample from its key. So neither workers, processes nor interruptions change what is seen.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, starmap
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from cyclegan_style.data.domains import ImageDomain, enlarged
from cyclegan_style.data.images import Pixels, to_pillow, to_tensor
from cyclegan_style.data.large_order import large_order
from cyclegan_style.system.preemption import leave_signals_to_the_trainer

Batch = dict[str, torch.Tensor]

LARGEST_DRAWN_AT_ONCE = 1_000_000
"""The order of an epoch of more samples is computed piece by piece, and is another one."""


class SampleKey(NamedTuple):
    """All that a training sample depends on."""

    first: int
    """Which picture of the first domain, of which an epoch shows all in turn."""
    second: int
    """Which of the second domain, if there is one."""
    seed: int


class UnpairedDataset(Dataset[Batch]):
    """Training samples of one or two domains by key: random crops, mirrored with probability ½.

    A picture smaller than the crop is enlarged until its shorter side fits. Crops are rotated by up
    to ``rotate`` degrees either way and enlarged by up to the share ``scale``.
    """

    def __init__(
        self,
        domains: Mapping[str, ImageDomain],
        crop_size: int,
        flip: bool,
        rotate: float = 0.0,
        scale: float = 0.0,
    ) -> None:
        self.domains = dict(domains)
        self.crop_size = crop_size
        self.flip = flip
        self.rotate = rotate
        self.scale = scale

    def __len__(self) -> int:
        """Images of an epoch, as the reference counts them."""
        return max(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many pictures each domain has."""
        return tuple(len(domain) for domain in self.domains.values())

    def __getitem__(self, key: SampleKey) -> Batch:
        """Sample of each domain as a channels × crop × crop tensor in [-1, 1]."""
        return {
            name: self._augmented(domain.pixels(index), _generator(key.seed, number))
            for number, ((name, domain), index) in enumerate(
                zip(self.domains.items(), key[:2], strict=False)
            )
        }

    def _augmented(self, pixels: Pixels, generator: np.random.Generator) -> torch.Tensor:
        turned = self.rotate or self.scale
        crop = self._turned_crop(pixels, generator) if turned else self._crop(pixels, generator)
        if self.flip and generator.random() < 0.5:
            crop = crop[:, ::-1]
        return to_tensor(crop)

    def _crop(self, pixels: Pixels, generator: np.random.Generator) -> Pixels:
        pixels = enlarged(pixels, self.crop_size)
        height, width = pixels.shape[:2]
        top = int(generator.integers(height - self.crop_size + 1))
        left = int(generator.integers(width - self.crop_size + 1))
        return pixels[top : top + self.crop_size, left : left + self.crop_size]

    def _turned_crop(self, pixels: Pixels, generator: np.random.Generator) -> Pixels:
        angle = math.radians(generator.uniform(-self.rotate, self.rotate))
        zoom = generator.uniform(1, 1 + self.scale)
        return turned_crop(pixels, self.crop_size, angle, zoom, *generator.random(2))


class UnpairedBatchSampler(Sampler[list[SampleKey]]):
    """Batches of keys of one epoch, in the order of all processes together.

    As in the reference, an epoch has max(|A|, |B|) images: A in shuffled order, repeated with a new
    shuffle if it is the smaller, and B, if there is one, drawn at random each time. The epoch is
    cut, or an epoch of less than one step filled up, to whole multiples of
    ``batches_per_global_step``: processes × accumulated batches. accelerate deals the batches out
    in turn, so 2 processes with batches of 1 see what 1 process with batches of 2 sees.
    """

    # Asked for by accelerate, which otherwise looks for incomplete batches to fill up.
    drop_last = True

    def __init__(
        self, sizes: Sequence[int], batch_size: int, seed: int, batches_per_global_step: int
    ) -> None:
        self.sizes = sizes
        self.batch_size = batch_size
        self.seed = seed
        global_steps = max(sizes) // (batch_size * batches_per_global_step)
        self.batches_per_epoch = max(1, global_steps) * batches_per_global_step
        self.batches_per_global_step = batches_per_global_step
        self._epoch = 0
        self._first_batch = 0

    def set_position(self, epoch: int, first_batch: int) -> None:
        """Choose the epoch, and the batch of it, at which iteration starts from now on.

        Batches are counted over all processes, and only whole global steps can be skipped.
        """
        if first_batch % self.batches_per_global_step:
            raise ValueError(f"batch {first_batch} lies inside a global step")
        if not 0 <= first_batch <= self.batches_per_epoch:
            raise ValueError(f"batch {first_batch} of {self.batches_per_epoch}")
        self._epoch = epoch
        self._first_batch = first_batch

    def __len__(self) -> int:
        """Batches that are left of the epoch."""
        return self.batches_per_epoch - self._first_batch

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield the batches that are left of the epoch."""
        if max(self.sizes) > LARGEST_DRAWN_AT_ONCE:
            yield from self._computed_batches()
            return
        count = self.batches_per_epoch * self.batch_size
        # A generator for each of the three, so that none depends on how many the others draw.
        order_a = _repeated_shuffle(self.sizes[0], count, _generator(self.seed, self._epoch, 0))
        order_b = _generator(self.seed, self._epoch, 1).integers(self.sizes[-1], size=count)
        seeds = _generator(self.seed, self._epoch, 2).integers(2**63, size=count)
        for first in range(self._first_batch * self.batch_size, count, self.batch_size):
            batch = slice(first, first + self.batch_size)
            columns = (order_a[batch].tolist(), order_b[batch].tolist(), seeds[batch].tolist())
            yield [SampleKey(*key) for key in zip(*columns, strict=True)]

    def _computed_batches(self) -> Iterator[list[SampleKey]]:
        first = self._first_batch * self.batch_size
        keys = starmap(SampleKey, large_order(self.sizes, self.seed, self._epoch, first))
        for _ in range(len(self)):
            yield list(islice(keys, self.batch_size))


def training_loader(
    dataset: UnpairedDataset, sampler: UnpairedBatchSampler, num_workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """Loader of the sampler's batches: ``{"a": N × C × crop × crop, "b": …}``."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=leave_signals_to_the_trainer,
        # Every iteration draws a seed for the workers. Without a generator it would come from
        # torch's global one, and its state would depend on how often a run was resumed.
        generator=torch.Generator(),
    )


def turned_crop(
    pixels: Pixels, size: int, angle: float, zoom: float, down: float, across: float
) -> Pixels:
    """A square window of the picture, turned by ``angle`` in radians and enlarged to ``size``.

    Its corners lie inside the picture: where it is too small for that, the window is smaller.
    ``down`` and ``across`` choose its place, from 0 to 1. As nothing is reduced, bicubic
    interpolation without a filter against aliasing is enough.
    """
    height, width = pixels.shape[:2]
    cosine, sine = math.cos(angle), math.sin(angle)
    bounds = abs(cosine) + abs(sine)  # side of the upright square around one of side 1
    side = min(size / zoom, min(height, width) / bounds)
    margin = side * bounds / 2
    y = margin + down * (height - 2 * margin)
    x = margin + across * (width - 2 * margin)
    # Pixel (i, j) of the crop has its centre at (i + ½, j + ½), as Pillow counts, too.
    a, b, half = cosine * side / size, sine * side / size, size / 2
    to_source = (a, -b, x - (a - b) * half, b, a, y - (a + b) * half)
    image = to_pillow(pixels).transform(
        (size, size), Image.Transform.AFFINE, to_source, Image.Resampling.BICUBIC
    )
    return np.array(image).reshape(size, size, pixels.shape[2])


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(key))


def _repeated_shuffle(size: int, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    shuffles = [generator.permutation(size) for _ in range(-(-count // size))]
    return np.concatenate(shuffles)[:count]
