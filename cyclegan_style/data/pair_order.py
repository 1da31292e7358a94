"""Which of the known pairs a training sample shows beside its unpaired pictures."""

from collections.abc import Iterator
from itertools import count

import numpy as np

from cyclegan_style.data.sampling import SampleKey, UnpairedBatchSampler

_STREAM = 4
"""Of an epoch's draws; those before are of the unpaired samples and of their shapes."""


class PairedBatchSampler(UnpairedBatchSampler):
    """The batches of another sampler, with pairs in shuffled order, again and again."""

    def __init__(self, unpaired: UnpairedBatchSampler, pair_count: int) -> None:
        drawn = unpaired.sizes, unpaired.batch_size, unpaired.seed
        super().__init__(*drawn, unpaired.batches_per_global_step)
        self.batches_per_epoch = unpaired.batches_per_epoch
        self.unpaired = unpaired
        self.pair_count = pair_count

    def set_position(self, epoch: int, first_batch: int) -> None:
        """Choose where iteration starts, of both."""
        super().set_position(epoch, first_batch)
        self.unpaired.set_position(epoch, first_batch)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield the batches that are left of the epoch."""
        first = self._first_batch * self.batch_size
        pairs = order_of_pairs(self.pair_count, self.seed, self._epoch, first)
        for batch in self.unpaired:
            yield [key._replace(pair=next(pairs)) for key in batch]


def order_of_pairs(pair_count: int, seed: int, epoch: int, first: int) -> Iterator[int]:
    """The pair of each sample of an epoch, from the ``first`` sample on, without an end."""
    for repetition in count(first // pair_count):
        chance = np.random.Generator(np.random.PCG64((seed, epoch, _STREAM, repetition)))
        shuffled = chance.permutation(pair_count)
        yield from shuffled[max(0, first - repetition * pair_count) :].tolist()
