"""Samples follow from their keys alone, whatever the workers, processes and interruptions."""

import math

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from pictures import make_images, open_domain
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import functional

from cyclegan_style.data.images import read_image, write_image
from cyclegan_style.data.sampling import (
    SampleKey,
    UnpairedBatchSampler,
    UnpairedDataset,
    training_loader,
    turned_crop,
)


@pytest.fixture
def dataset(tmp_path):
    make_images(tmp_path / "a", 7)
    make_images(tmp_path / "other b", 5)
    a, b = open_domain(tmp_path / "a"), open_domain(tmp_path / "other b")
    return UnpairedDataset({"a": a, "b": b}, crop_size=(32, 32), flip=True)


# Samples


def test_samples_equal_the_references_transform(dataset):
    """Each is one of the 5 × 5 crops, mirrored or not, that torchvision makes of the file."""
    crops_seen, mirrored = set(), 0
    path = dataset.domains["a"].paths[2]
    whole = functional.resize(
        Image.fromarray(read_image(path)), (36, 36), transforms.InterpolationMode.BICUBIC
    )
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    candidates = {}
    for top in range(5):
        for left in range(5):
            crop = functional.crop(whole, top, left, 32, 32)
            for mirror, image in ((False, crop), (True, functional.hflip(crop))):
                candidates[to_tensor(image).numpy().tobytes()] = (top, left, mirror)
    for seed in range(400):
        sample = dataset[SampleKey(2, 0, seed)]["a"]
        top, left, mirror = candidates[sample.numpy().tobytes()]
        crops_seen.add((top, left))
        mirrored += mirror
    assert len(crops_seen) == 25
    assert 140 < mirrored < 260


def test_samples_follow_from_their_key_alone(dataset):
    key = SampleKey(1, 3, 2**62)
    first = dataset[key]
    dataset[SampleKey(1, 3, 8)]
    torch.manual_seed(1)
    again = dataset[key]
    assert torch.equal(first["a"], again["a"])
    assert torch.equal(first["b"], again["b"])
    others = [dataset[SampleKey(1, 3, seed)]["a"] for seed in range(8)]
    assert not all(torch.equal(first["a"], other) for other in others)


def test_the_two_domains_are_augmented_independently(dataset):
    same = UnpairedDataset(dict.fromkeys("ab", dataset.domains["a"]), (32, 32), True)
    samples = [same[SampleKey(0, 0, seed)] for seed in range(20)]
    assert sum(torch.equal(sample["a"], sample["b"]) for sample in samples) < 5


def test_without_flip_nothing_is_mirrored(dataset):
    upright = UnpairedDataset(dataset.domains, (36, 36), flip=False)
    expected = dataset.domains["a"].test_tensor(0, 4)
    for seed in range(20):
        assert torch.equal(upright[SampleKey(0, 0, seed)]["a"], expected)


def test_pictures_smaller_than_the_crop_are_enlarged(tmp_path):
    write_image(tmp_path / "a.png", np.full((3, 9, 3), 77, dtype=np.uint8))
    domain = open_domain(tmp_path, resize="none")
    sample = UnpairedDataset(dict.fromkeys("ab", domain), (32, 32), True)[SampleKey(0, 0, 5)]
    assert sample["a"].shape == (3, 32, 32)
    assert torch.equal(sample["b"], torch.full((3, 32, 32), 77.0).div(255).sub(0.5).div(0.5))


# Turned and enlarged crops


def stripes(height: int, width: int) -> np.ndarray:
    """A picture of slanting lines, without black, in which blank corners would show."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.rint(150 + 90 * np.sin(0.3 * x + 0.1 * y))[:, :, None].astype(np.uint8)


@pytest.mark.parametrize("degrees", [-20, 0, 7, 45])
@pytest.mark.parametrize("place", [(0, 0), (1, 0), (0, 1), (0.4, 0.7)])
def test_a_turned_crop_is_the_pattern_turned(degrees, place):
    angle, zoom, size = math.radians(degrees), 1.3, 24
    crop = turned_crop(stripes(60, 80), (size, size), angle, zoom, *place)[:, :, 0] / 1.0

    bounds = abs(math.cos(angle)) + abs(math.sin(angle))
    margin = size / zoom * bounds / 2
    cy, cx = margin + place[0] * (60 - 2 * margin), margin + place[1] * (80 - 2 * margin)
    v, u = (np.mgrid[:size, :size] + 0.5 - size / 2) / zoom
    x = cx + math.cos(angle) * u - math.sin(angle) * v
    y = cy + math.sin(angle) * u + math.cos(angle) * v
    expected = 150 + 90 * np.sin(0.3 * x + 0.1 * y)
    # At the border of the picture the filter sees its last pixels more than once.
    assert np.abs(crop - expected)[3:-3, 3:-3].max() < 8
    assert crop.min() > 55


def test_an_unturned_crop_of_the_same_size_is_cut_out():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    crop = turned_crop(pixels, (30, 30), 0.0, 1.0, 0.5, 0.25)
    np.testing.assert_array_equal(crop, pixels[5:35, 5:35])


@pytest.mark.parametrize("size", [(32, 32), (20, 90), (300, 200)])
def test_corners_are_never_blank(size):
    white = np.full((*size, 3), 255, dtype=np.uint8)
    draws = np.random.default_rng(1)
    for _ in range(50):
        crop = turned_crop(
            white, (32, 32), draws.uniform(-0.8, 0.8), draws.uniform(1, 2), *draws.random(2)
        )
        assert crop.shape == (32, 32, 3)
        assert crop.min() == 255


def test_turned_samples_follow_from_their_key_alone(dataset):
    turned = UnpairedDataset(dataset.domains, (32, 32), True, 10, 0.1)
    keys = [SampleKey(1, 3, seed) for seed in range(20)]
    first = [turned[key]["a"] for key in keys]
    again = [turned[key]["a"] for key in reversed(keys)][::-1]
    plain = [dataset[key]["a"] for key in keys]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(first, plain, strict=True))
    assert {tuple(sample.shape) for sample in first} == {(3, 32, 32)}


# The order


def keys_of(sampler: UnpairedBatchSampler, epoch: int, first_batch: int = 0) -> list[SampleKey]:
    sampler.set_position(epoch, first_batch)
    return [key for batch in sampler for key in batch]


def test_an_epoch_shows_every_a_once_and_draws_b_at_random():
    sampler = UnpairedBatchSampler((60, 20), 1, seed=0, batches_per_global_step=1)
    counts = np.zeros(20)
    pairs, orders = set(), set()
    epochs = [keys_of(sampler, epoch) for epoch in range(200)]
    for keys in epochs:
        assert sorted(key.first for key in keys) == list(range(60))
        orders.add(tuple(key.first for key in keys))
        counts += np.bincount([key.second for key in keys], minlength=20)
        pairs |= {(key.first, key.second) for key in keys}
    assert len(orders) == 200
    # 12,000 draws: 600 of each, give or take 24; 60 × 20 pairs, each missed with e^-10.
    assert counts.min() > 450
    assert counts.max() < 750
    assert len(pairs) > 1150
    drawn = np.array([[key.first, key.second] for keys in epochs for key in keys])
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06
    seeds = [key.seed for keys in epochs for key in keys]
    assert len(set(seeds)) == len(seeds)
    # B is drawn with replacement, as in the reference: a third of its pictures sit an epoch out.
    assert any(len({key.second for key in keys}) < 20 for keys in epochs)


def test_a_smaller_a_is_repeated_evenly():
    sampler = UnpairedBatchSampler((7, 25), 1, seed=3, batches_per_global_step=1)
    indices = [key.first for key in keys_of(sampler, 0)]
    assert len(indices) == 25
    assert set(np.bincount(indices, minlength=7)) == {3, 4}
    assert sorted(indices[:7]) == sorted(indices[7:14]) == list(range(7))
    assert indices[:7] != indices[7:14]


def test_seed_and_epoch_choose_the_order():
    def keys(seed: int, epoch: int) -> list[SampleKey]:
        return keys_of(UnpairedBatchSampler((50, 50), 1, seed, 1), epoch)

    assert keys(1, 4) == keys(1, 4)
    different = [keys(0, 0), keys(0, 1), keys(1, 0), keys(1, 1), keys(2**40, 0)]
    assert len({tuple(order) for order in different}) == 5


@pytest.mark.parametrize(
    ("images", "batch_size", "per_step", "batches"),
    [(10, 1, 1, 10), (10, 3, 1, 3), (10, 1, 4, 8), (10, 2, 2, 4), (3, 1, 8, 8), (3, 2, 4, 4)],
)
def test_epochs_have_whole_global_steps(images, batch_size, per_step, batches):
    sampler = UnpairedBatchSampler((images, 2), batch_size, 0, per_step)
    listed = list(sampler)
    assert len(listed) == len(sampler) == sampler.batches_per_epoch == batches
    assert {len(batch) for batch in listed} == {batch_size}
    counts = np.bincount([key.first for batch in listed for key in batch], minlength=images)
    assert counts.max() - counts.min() <= 1


def test_resuming_gives_exactly_the_batches_that_were_left():
    sampler = UnpairedBatchSampler((40, 30), 2, seed=5, batches_per_global_step=4)
    sampler.set_position(3, 0)
    whole = list(sampler)
    fresh = UnpairedBatchSampler((40, 30), 2, seed=5, batches_per_global_step=4)
    for first in (0, 4, 16, 20):
        fresh.set_position(3, first)
        assert len(fresh) == 20 - first
        assert list(fresh) == whole[first:]
    for first in (3, 24, -4):
        with pytest.raises(ValueError, match="batch"):
            fresh.set_position(3, first)


def test_two_processes_see_what_one_with_twice_the_batch_sees():
    two = UnpairedBatchSampler((41, 30), 1, seed=5, batches_per_global_step=2)
    one = UnpairedBatchSampler((41, 30), 2, seed=5, batches_per_global_step=1)
    assert keys_of(two, 1) == keys_of(one, 1)


# The loader


class KeyDataset(UnpairedDataset):
    """Hands out the key instead of its pictures."""

    def __getitem__(self, key):
        return torch.tensor(key)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_accelerate_deals_the_batches_out_in_turn(dataset, batch_size, num_workers):
    keys = KeyDataset(dataset.domains, (32, 32), True)

    def process(index: int) -> tuple[UnpairedBatchSampler, DataLoader]:
        sampler = UnpairedBatchSampler((23, 9), batch_size, seed=7, batches_per_global_step=4)
        loader = training_loader(keys, sampler, num_workers, pin_memory=False)
        return sampler, prepare_data_loader(
            loader,
            num_processes=2,
            process_index=index,
            put_on_device=False,
            rng_types=["generator"],
        )

    processes = [process(0), process(1)]
    single = UnpairedBatchSampler((23, 9), batch_size, seed=7, batches_per_global_step=4)
    for epoch, first_batch in ((0, 0), (1, 4), (2, 0)):
        single.set_position(epoch, first_batch)
        expected = list(single)
        dealt = []
        for sampler, loader in processes:
            sampler.set_position(epoch, first_batch)
            assert len(loader) == len(expected) // 2
            dealt.append([[SampleKey(*key) for key in batch.tolist()] for batch in loader])
        assert [batch for turn in zip(*dealt, strict=True) for batch in turn] == expected


def loaded(dataset: UnpairedDataset, num_workers: int, **options) -> list[torch.Tensor]:
    sampler = UnpairedBatchSampler((7, 5), 2, seed=1, batches_per_global_step=1)
    loader = training_loader(dataset, sampler, num_workers, pin_memory=False)
    for name, value in options.items():
        setattr(loader, name, value)
    tensors = []
    for epoch in range(2):
        sampler.set_position(epoch, 0)
        tensors += [batch[domain] for batch in loader for domain in ("a", "b")]
    return tensors


def test_workers_change_nothing(dataset):
    alone = loaded(dataset, 0)
    assert alone[0].shape == (2, 3, 32, 32)
    for left, right in zip(alone, loaded(dataset, 2), strict=True):
        assert torch.equal(left, right)


def test_spawned_workers_share_the_pictures(dataset):
    alone = loaded(dataset, 0)
    for left, right in zip(alone, loaded(dataset, 1, multiprocessing_context="spawn"), strict=True):
        assert torch.equal(left, right)
    assert dataset.domains["a"]._cache._store.is_shared()


def test_files_that_workers_find_bad_are_counted(dataset):
    sources = dataset.domains["a"]
    dataset.domains["a"] = open_domain(sources.paths[0].parent, memory_budget=0)
    sources.paths[4].unlink()
    sampler = UnpairedBatchSampler((7, 5), 1, 0, 1)
    assert len(list(training_loader(dataset, sampler, num_workers=2, pin_memory=False))) == 7
    assert dataset.domains["a"].unreadable_count == 1


def test_the_global_random_state_is_left_alone(dataset):
    np_before, torch_before = np.random.get_state()[1].tolist(), torch.get_rng_state()
    loaded(dataset, 0)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.random.get_state()[1].tolist() == np_before
