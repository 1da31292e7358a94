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

from cyclegan_style.config import Size
from cyclegan_style.config.directions import paired
from cyclegan_style.data.domains import ImageDomain, enlarged
from cyclegan_style.data.images import Pixels, by_pillow, to_tensor
from cyclegan_style.data.large_order import large_order
from cyclegan_style.data.pairs import KnownPairs
from cyclegan_style.data.shapes import Bucket, buckets_of
from cyclegan_style.system.preemption import leave_signals_to_the_trainer

Batch = dict[str, torch.Tensor]

LARGEST_DRAWN_AT_ONCE = 1_000_000
"""The order of an epoch of more samples is computed piece by piece, and is another one."""

PAIRED = 2
"""The stream of a sample's draws that its pair has; those before are the domains'."""


class SampleKey(NamedTuple):
    """All that a training sample depends on."""

    first: int
    """Which picture of the first domain, of which an epoch shows all in turn."""
    second: int
    """Which of the second domain, if there is one."""
    seed: int
    pair: int = 0
    """Which of the known pairs, if there are some."""


class UnpairedDataset(Dataset[Batch]):
    """Training samples of one or two domains by key: random crops, mirrored with probability ½.

    A picture smaller than the crop is enlarged until it covers it. Crops are rotated by up
    to ``rotate`` degrees either way and enlarged by up to the share ``scale``; with ``upside_down``
    half of them are mirrored top to bottom as well. ``crop_sizes`` are the crops of pictures whose
    first one was brought to one of several sizes, by these. Beside them stands one and the same
    crop of both pictures of a pair, if ``pairs`` are known.
    """

    def __init__(
        self,
        domains: Mapping[str, ImageDomain],
        crop_size: Size,
        flip: bool,
        rotate: float = 0.0,
        scale: float = 0.0,
        upside_down: bool = False,
        crop_sizes: Mapping[Size, Size] | None = None,
        pairs: KnownPairs | None = None,
    ) -> None:
        self.domains = dict(domains)
        self.crop_size = crop_size
        self.flip = flip
        self.rotate = rotate
        self.scale = scale
        self.upside_down = upside_down
        self.crop_sizes = (
            [crop_sizes[size] for size in next(iter(self.domains.values())).shapes]
            if crop_sizes
            else None
        )
        """Of each picture of the first domain, where they differ."""
        self.pairs = pairs

    def __len__(self) -> int:
        """Images of an epoch, as the reference counts them."""
        return max(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many pictures each domain has."""
        return tuple(len(domain) for domain in self.domains.values())

    @property
    def buckets(self) -> list[Bucket]:
        """The pictures by shape."""
        return buckets_of([domain.shapes for domain in self.domains.values()])

    def __getitem__(self, key: SampleKey) -> Batch:
        """Sample of each domain, and of a pair, as channels × height × width tensors in [-1, 1]."""
        size = self.crop_sizes[key.first] if self.crop_sizes else self.crop_size
        sample = {
            name: self._augmented(domain.pixels(index), size, _generator(key.seed, number))
            for number, ((name, domain), index) in enumerate(
                zip(self.domains.items(), key[:2], strict=False)
            )
        }
        if self.pairs is not None:
            for name, pixels in self.pairs.pixels(key.pair).items():
                # The same draws for both.
                chance = _generator(key.seed, PAIRED)
                sample[paired(name)] = self._augmented(pixels, size, chance)
        return sample

    def _augmented(
        self, pixels: Pixels, size: Size, generator: np.random.Generator
    ) -> torch.Tensor:
        crop_of = self._turned_crop if self.rotate or self.scale else random_crop
        crop = crop_of(pixels, size, generator)
        if self.flip and generator.random() < 0.5:
            crop = crop[:, ::-1]
        if self.upside_down and generator.random() < 0.5:  # the last to be drawn
            crop = crop[::-1]
        return to_tensor(crop)

    def _turned_crop(self, pixels: Pixels, size: Size, generator: np.random.Generator) -> Pixels:
        angle = math.radians(generator.uniform(-self.rotate, self.rotate))
        zoom = generator.uniform(1, 1 + self.scale)
        return turned_crop(pixels, size, angle, zoom, *generator.random(2))


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


class BucketBatchSampler(UnpairedBatchSampler):
    """The same of pictures of several shapes, where those of a global step have one shape.

    Each bucket is shown as a pair of domains by itself would be: its share of an epoch's images, in
    whole global steps and at least one. The buckets' steps come in shuffled order.
    """

    def __init__(
        self,
        buckets: Sequence[Bucket],
        sizes: Sequence[int],
        batch_size: int,
        seed: int,
        batches_per_global_step: int,
    ) -> None:
        super().__init__(sizes, batch_size, seed, batches_per_global_step)
        self.buckets = buckets
        per_step = batch_size * batches_per_global_step
        counts = [len(bucket.members[0]) for bucket in buckets]
        shares = [-(-count * max(sizes) // sizes[0]) for count in counts]
        self.global_steps = [max(1, round(share / per_step)) for share in shares]
        """Of each bucket in an epoch."""
        self.batches_per_epoch = sum(self.global_steps) * batches_per_global_step

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield the batches that are left of the epoch."""
        turns = np.repeat(np.arange(len(self.buckets)), self.global_steps)
        _generator(self.seed, self._epoch, 3).shuffle(turns)
        keys = [iter(self._keys_of(number)) for number in range(len(self.buckets))]
        for turn, number in enumerate(turns.tolist()):
            for batch in range(self.batches_per_global_step):
                chosen = list(islice(keys[number], self.batch_size))
                if turn * self.batches_per_global_step + batch >= self._first_batch:
                    yield chosen

    def _keys_of(self, number: int) -> list[SampleKey]:
        """Of one bucket and the whole epoch."""
        first, second = (self.buckets[number].members[place] for place in (0, -1))
        per_step = self.batch_size * self.batches_per_global_step
        count = self.global_steps[number] * per_step
        chance = [_generator(self.seed, self._epoch, which, number) for which in range(3)]
        columns = (
            first[_repeated_shuffle(len(first), count, chance[0])].tolist(),
            second[chance[1].integers(len(second), size=count)].tolist(),
            chance[2].integers(2**63, size=count).tolist(),
        )
        return [SampleKey(*key) for key in zip(*columns, strict=True)]


def training_loader(
    dataset: UnpairedDataset, sampler: UnpairedBatchSampler, num_workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """Loader of the sampler's batches: ``{"a": N × C × height × width, "b": …}``."""
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


def random_crop(pixels: Pixels, size: Size, generator: np.random.Generator) -> Pixels:
    """A window of this size anywhere in the picture, enlarged if it does not cover it."""
    pixels = enlarged(pixels, size)
    height, width = size
    top = int(generator.integers(pixels.shape[0] - height + 1))
    left = int(generator.integers(pixels.shape[1] - width + 1))
    return pixels[top : top + height, left : left + width]


def turned_crop(
    pixels: Pixels, size: Size, angle: float, zoom: float, down: float, across: float
) -> Pixels:
    """A window of the picture, turned by ``angle`` in radians and enlarged to ``size``.

    Its corners lie inside the picture: where it is too small for that, the window is smaller.
    ``down`` and ``across`` choose its place, from 0 to 1. As nothing is reduced, bicubic
    interpolation without a filter against aliasing is enough.
    """
    height, width = pixels.shape[:2]
    cosine, sine = math.cos(angle), math.sin(angle)
    aspect = size[1] / size[0]
    # The upright rectangle around a window of height 1.
    upright_height = abs(cosine) + abs(sine) * aspect
    upright_width = abs(sine) + abs(cosine) * aspect
    side = min(size[0] / zoom, height / upright_height, width / upright_width)  # its height
    y_margin, x_margin = side * upright_height / 2, side * upright_width / 2
    y = y_margin + down * (height - 2 * y_margin)
    x = x_margin + across * (width - 2 * x_margin)
    # Pixel (i, j) of the crop has its centre at (i + ½, j + ½), as Pillow counts, too.
    a, b, half = cosine * side / size[0], sine * side / size[0], size[0] / 2
    to_source = (a, -b, x - (a * aspect - b) * half, b, a, y - (a + b * aspect) * half)
    return by_pillow(
        pixels,
        lambda image: image.transform(
            (size[1], size[0]), Image.Transform.AFFINE, to_source, Image.Resampling.BICUBIC
        ),
    )


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(key))


def _repeated_shuffle(size: int, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    shuffles = [generator.permutation(size) for _ in range(-(-count // size))]
    return np.concatenate(shuffles)[:count]
