"""Pictures of mixed shapes: each batch has one shape, and nothing is shown less often for it."""

import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from runs_in_tests import assert_equal_state, killed_in_step, run_training
from tiny import configure, make_pictures

from cyclegan_style.config import DataConfig
from cyclegan_style.data.sampling import BucketBatchSampler, SampleKey, UnpairedBatchSampler
from cyclegan_style.data.shapes import Bucket, buckets_of, crop_sizes, load_sizes, nearest_shape
from cyclegan_style.data.training_data import open_dataset
from cyclegan_style.training.config_checks import ConfigError, validate
from cyclegan_style.training.pool import ImagePool

BUCKETS = {"data__buckets": True, "data__resize": "shortest"}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Low, square and tall pictures of A; of B low and square ones, and a very tall one."""
    root = tmp_path_factory.mktemp("mixed")
    for name, count, height, width in (
        *(("A/low", 5, 30, 42), ("A/square", 4, 36, 36), ("A/tall", 3, 44, 30)),
        *(("B/low", 3, 33, 44), ("B/square", 4, 40, 41), ("B/tower", 1, 80, 30)),
    ):
        make_pictures(root / name, count, height, width, seed=count)
    return root


# Shapes


def test_shapes_have_the_area_of_the_square_and_sides_that_the_generator_takes():
    data = DataConfig(buckets=True)
    assert crop_sizes(data, 4) == (
        *((396, 168), (340, 192), (296, 224), (256, 256)),
        *((224, 296), (192, 340), (168, 396)),
    )
    assert crop_sizes(data, 256) == ((512, 256), (256, 256), (256, 512))
    for (load_height, load_width), (height, width) in load_sizes(data, 32).items():
        assert (height % 32, width % 32) == (0, 0)
        assert load_height == math.ceil(height * 286 / 256)
        assert load_width == math.ceil(width * 286 / 256)


@given(size=st.tuples(st.integers(50, 120), st.integers(50, 120)))
def test_the_nearest_shape_loses_a_seventh_of_a_side_at_most(size):
    height, width = nearest_shape(size, crop_sizes(DataConfig(buckets=True), 1))
    factor = max(height / size[0], width / size[1])
    assert max(factor * size[0] / height, factor * size[1] / width) < 7 / 6


def test_a_shape_that_a_domain_has_not_is_lent_the_nearest_that_it_has():
    low, square, tall = (20, 30), (24, 24), (30, 20)
    buckets = buckets_of([[tall, low, low, square], [low, square, low]])
    found = [(each.size, *(members.tolist() for members in each.members)) for each in buckets]
    assert found == [(low, [1, 2], [0, 2]), (square, [3], [1]), (tall, [0], [1])]


# The order


def buckets_with(counts: list[int], others: list[int]) -> list[Bucket]:
    """Buckets whose pictures are numbered through, of so many of both domains."""

    def numbered(of_each: list[int]) -> list[np.ndarray]:
        return np.split(np.random.default_rng(0).permutation(sum(of_each)), np.cumsum(of_each)[:-1])

    pairs = zip(numbered(counts), numbered(others), strict=True)
    return [Bucket((24, 24 + number), pair) for number, pair in enumerate(pairs)]


COUNTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(counts=COUNTS, batch_size=st.integers(1, 3), per_step=st.integers(1, 3), epoch=st.integers())
def test_a_global_step_has_one_shape_and_pictures_come_as_often_as_in_one_shape(
    counts, batch_size, per_step, epoch
):
    counts, others = (list(each) for each in zip(*counts, strict=True))
    buckets, sizes = buckets_with(counts, others), (sum(counts), sum(others))
    sampler = BucketBatchSampler(buckets, sizes, batch_size, 3, per_step)
    sampler.set_position(abs(epoch), 0)
    batches = list(sampler)

    assert len(batches) == len(sampler) == sampler.batches_per_epoch
    steps = [[*chain(*batches[i : i + per_step])] for i in range(0, len(batches), per_step)]
    bucket_of = [{key.first for key in step} for step in steps]
    for step, firsts in zip(steps, bucket_of, strict=True):
        (own,) = (each for each in buckets if firsts & set(each.members[0].tolist()))
        assert firsts <= set(own.members[0].tolist())
        assert {key.second for key in step} <= set(own.members[1].tolist())
        assert len(step) == batch_size * per_step
    shown = np.bincount([key.first for step in steps for key in step], minlength=sizes[0])
    for bucket in buckets:
        of_bucket = shown[bucket.members[0]]
        assert of_bucket.max() - of_bucket.min() <= 1
    if batch_size == per_step == 1:  # nothing is cut or filled up
        least, most = max(sizes) // sizes[0], -(-max(sizes) // sizes[0])
        assert set(shown.tolist()) <= {least, most}


def test_the_order_is_resumed_shared_and_another_in_each_epoch():
    buckets, sizes = buckets_with([7, 4, 2], [3, 9, 1]), (13, 13)
    alone = BucketBatchSampler(buckets, sizes, 2, 5, 1)
    shared = BucketBatchSampler(buckets, sizes, 1, 5, 2)
    orders = set()
    for epoch in range(4):
        alone.set_position(epoch, 0)
        whole = list(alone)
        shared.set_position(epoch, 0)
        assert [key for batch in shared for key in batch] == [key for b in whole for key in b]
        shared.set_position(epoch, 6)
        assert [key for batch in shared for key in batch] == [key for b in whole[3:] for key in b]
        alone.set_position(epoch, 3)
        assert list(alone) == whole[3:]
        orders.add(tuple(key.first for batch in whole for key in batch))
    assert len(orders) == 4
    assert len({key.seed for batch in whole for key in batch}) == 2 * len(whole)


def test_one_shape_alone_is_shown_in_the_order_of_ever():
    every = np.arange(7), np.arange(4)
    bucketed = BucketBatchSampler([Bucket((24, 24), every)], (7, 4), 2, 9, 1)
    plain = UnpairedBatchSampler((7, 4), 2, 9, 1)
    for sampler in (bucketed, plain):
        sampler.set_position(2, 0)
    assert list(plain) == list(bucketed)[:3]


# Samples


def test_samples_have_the_shape_of_the_first_picture(mixed, configured):
    config = configured(data__a=str(mixed / "A"), data__b=str(mixed / "B"), **BUCKETS)
    dataset = open_dataset(config, Accelerator(cpu=True))

    shapes = {"low": (20, 28), "square": (24, 24), "tall": (28, 20)}
    a, b = dataset.domains.values()
    for number, path in enumerate(a.paths):
        height, width = shapes[path.parent.name]
        sample = dataset[SampleKey(number, number % len(b), 3)]
        assert sample["a"].shape == sample["b"].shape == (3, height, width)
        resized = a.pixels(number).shape
        assert resized[0] >= math.ceil(height * 32 / 24)
        assert resized[1] >= math.ceil(width * 32 / 24)
    counts = [[len(members) for members in bucket.members] for bucket in dataset.buckets]
    # The tower counts as tall, the nearest shape that A has.
    assert sorted(counts) == [[3, 1], [4, 4], [5, 3]]


# Pools


def test_a_pool_swaps_only_images_of_one_shape_and_remembers_each():
    pool, other = ImagePool(3, seed=1), ImagePool(3, seed=2)
    shapes = [(1, 2, 3), (1, 3, 2)]
    for number in range(60):
        shape = shapes[number % 3 == 0]
        if number == 30:
            other.restore({k: v.clone() for k, v in pool.state().items()}, torch.device("cpu"))
        image = torch.full((1, *shape), float(number))
        shown = pool.exchange(image)
        assert shown.shape == image.shape
        if number >= 30:
            assert torch.equal(other.exchange(image), shown)
    assert [len(images) for images in pool.by_shape.values()] == [3, 3]
    assert {int(image.flatten()[0]) % 3 == 0 for image in pool.by_shape[torch.Size((1, 3, 2))]} == {
        True
    }
    assert sorted(pool.state()) == ["images", "images_1", "random"]


# Runs


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data__resize": "square"}, "data.buckets needs data.resize shortest, not square"),
        ({"data__crop_size": "128x256"}, r"data.crop_size must be one number with data\.buckets"),
        ({"data__load_size": "286x256"}, r"data.load_size must be one number with data\.buckets"),
        ({"train__compile": True}, "train.compile must not be true with data.buckets"),
        (
            {"discriminator__architecture": "whole", "discriminator__layers": 6},
            "data.buckets is not for task noise or discriminator.architecture whole",
        ),
        ({"data__crop_size": 32}, r"\(32\), which makes sides of 20 with data.buckets, must be at"),
    ],
)
def test_what_buckets_cannot_go_with_is_refused(fields, reason):
    with pytest.raises(ConfigError, match=reason):
        validate(configure(data__a="a", data__b="b", **(BUCKETS | fields)))


def test_training_on_mixed_shapes_goes_on_bit_for_bit(mixed, configured, monkeypatch, capsys):
    fields = BUCKETS | {
        "data__a": str(mixed / "A"),
        "data__b": str(mixed / "B"),
        "data__rotate": 5.0,
        "train__batch_size": 2,
        "train__pool_size": 2,
        "train__max_steps": 7,
        "checkpoint__every_steps": 3,
        "tracking__sample_every_steps": 7,
        "tracking__sample_count": 4,
    }
    scored = {"evaluation__every_steps": 7, "evaluation__metrics": ("swd",)}  # of no consequence
    whole, killed = configured("whole", **fields, **scored), configured("killed", **fields)
    run_training(whole)
    told = capsys.readouterr().err
    assert "pictures by shape: 20x28: 5 of a and 3 of b; 24x24: 4 of a and 4 of b; 28x20:" in told
    with killed_in_step(6, monkeypatch):
        run_training(killed)
    run_training(killed)

    run = Path(whole.run.dir)
    assert_equal_state(run, Path(killed.run.dir), step=7)
    with Image.open(run / "samples" / "step-00000007.png") as sheet:
        # Of A two low ones, a square and a tall one.
        assert (sheet.height, sheet.width) == (20 + 20 + 20 + 24 + 28 + 5 * 4, 8 * 28 + 9 * 4)
    assert "swd_ab" in (run / "metrics.jsonl").read_text()
