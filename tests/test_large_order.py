"""The order of very large sets: exact, resumable anywhere, and in constant memory."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclegan_style.data import sampling
from cyclegan_style.data.large_order import Shuffle, large_order
from cyclegan_style.data.sampling import SampleKey, UnpairedBatchSampler

LARGE = 10_000_000


def shuffle(size: int, seed: int = 0) -> Shuffle:
    return Shuffle(size, np.random.default_rng(seed))


def places(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.uint64)


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**32), repetition=st.integers(0, 2**40))
def test_every_number_comes_once_in_each_repetition(size, seed, repetition):
    numbers = shuffle(size, seed)(places(repetition * size, size))

    assert np.array_equal(np.sort(numbers), np.arange(size))


def test_every_number_of_a_large_set_comes_once():
    numbers = shuffle(1_000_003)(places(0, 1_000_003))

    assert np.bincount(numbers.astype(np.int64), minlength=1_000_003).max() == 1


@given(size=st.integers(1, 3000), first=st.integers(0, 9000))
def test_a_part_is_computed_without_the_rest(size, first):
    whole = shuffle(size)(places(0, 9100))

    assert np.array_equal(shuffle(size)(places(first, 100)), whole[first : first + 100])


def test_neighbours_land_anywhere():
    """Distances between what follows each other are those of independent draws."""
    size = 50_000
    numbers = shuffle(size)(places(0, 2 * size)).astype(np.int64)

    expected = np.random.default_rng(1).permutation(size)
    for lag in (1, 2, 223, 224, size):  # the digits are of base 224
        steps = np.abs(numbers[lag : lag + size // 2] - numbers[: size // 2]) / size
        counts = np.histogram(steps, 20, (0, 1))[0] / len(steps)
        triangular = (1 - (np.arange(20) + 0.5) / 20) / 10
        assert np.abs(counts - triangular).max() < 0.005, lag
    fixed = (numbers[:size] == np.arange(size)).sum()
    assert fixed < 10 > (expected == np.arange(size)).sum()


def keys_of(sampler: UnpairedBatchSampler, epoch: int, first: int, count: int) -> list[SampleKey]:
    sampler.set_position(epoch, first)
    return [key for batch in islice(sampler, count) for key in batch]


def test_seed_and_epoch_choose_the_order():
    orders = {
        tuple(keys_of(UnpairedBatchSampler((LARGE, 7), 2, seed, 1), epoch, 0, 50))
        for seed in (0, 1, 2**40)
        for epoch in (0, 1)
    }

    assert len(orders) == 6
    assert len({key.seed for order in orders for key in order}) == 600


@pytest.mark.parametrize("first", [0, 1, 8_191, 8_192, 16_385, 3_333_333, LARGE // 3 - 5])
def test_an_interrupted_epoch_goes_on_exactly(first):
    sampler = UnpairedBatchSampler((7, LARGE), 3, 5, 1)
    sampler.set_position(4, first)
    rest = list(islice(sampler, 9))

    for later in range(len(rest)):
        sampler.set_position(4, first + later)
        assert list(islice(sampler, 9 - later)) == rest[later:]
    assert [len(batch) for batch in rest] == [3] * min(9, LARGE // 3 - first)


def test_batches_are_of_one_order_whatever_their_size():
    single = keys_of(UnpairedBatchSampler((LARGE, LARGE), 1, 3, 8), 2, 16_000, 800)
    eight = keys_of(UnpairedBatchSampler((LARGE, LARGE), 8, 3, 1), 2, 2_000, 100)

    assert single == eight


def test_both_domains_and_both_orders_begin_above_the_bound(monkeypatch):
    """Sets of up to a million keep the order that they had before."""
    monkeypatch.setattr(sampling, "LARGEST_DRAWN_AT_ONCE", 50)
    small = keys_of(UnpairedBatchSampler((50, 20), 1, 0, 1), 0, 0, 50)
    large = keys_of(UnpairedBatchSampler((51, 20), 1, 0, 1), 0, 0, 51)
    monkeypatch.undo()

    assert small == keys_of(UnpairedBatchSampler((50, 20), 1, 0, 1), 0, 0, 50)
    assert [key[:3] for key in large] == list(islice(large_order((51, 20), 0, 0, 0), 51))
    assert sorted(key.first for key in large) == list(range(51))
    assert sampling.LARGEST_DRAWN_AT_ONCE == 1_000_000


def test_memory_does_not_grow_with_the_set():
    def most_memory(size: int) -> int:
        tracemalloc.start()
        keys_of(UnpairedBatchSampler((size, size), 1, 0, 1), 0, size // 2, 20_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert most_memory(10**12) < 1.2 * most_memory(2 * 10**6)
