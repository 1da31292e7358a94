"""Known pairs: who belongs to whom, one crop for both, and what generators learn of them."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from runs_in_tests import assert_equal_state, killed_in_step, metrics_of, run_training
from tiny import (
    configure,
    enlarge_weights,
    equal_tensors,
    make_pictures,
    random_batch,
    tiny_config,
)

from cyclegan_style.commands.train import parse_training_options
from cyclegan_style.config import Config
from cyclegan_style.data.images import read_image, write_image
from cyclegan_style.data.listing import DomainError
from cyclegan_style.data.pair_order import PairedBatchSampler, order_of_pairs
from cyclegan_style.data.pairs import KnownPairs, open_pair_files
from cyclegan_style.data.sampling import SampleKey, UnpairedBatchSampler
from cyclegan_style.data.training_data import name_domains, open_batches, open_dataset
from cyclegan_style.errors import UserError
from cyclegan_style.synthetic import DEMO_COUNTS, demo_folder
from cyclegan_style.training.config_checks import ConfigError, validate
from cyclegan_style.training.cyclegan_step import CycleGanStep

PAIRS_ALONE = {
    "loss__paired": 3.0,
    "loss__adversarial_weight": 0.0,
    "loss__cycle_a": 0.0,
    "loss__cycle_b": 0.0,
    "loss__identity_a": 0.0,
    "loss__identity_b": 0.0,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    """Eight pictures, and the same with their colours in another order, under other endings."""
    root = tmp_path_factory.mktemp("pairs")
    make_pictures(root / "a" / "inner", 8, 40, 48)
    for path in (root / "a").rglob("*.png"):
        copy = root / "b" / path.relative_to(root / "a").with_suffix(".bmp")
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_image(copy, read_image(path)[:, :, ::-1])
    return str(root / "a"), str(root / "b")


@pytest.fixture
def paired(configured, folders):
    """A tiny configuration with pairs."""

    def build(name: str = "run", **fields) -> Config:
        return configured(name, **({"data__pairs": folders, "loss__paired": 2.0} | fields))

    return build


def open_pairs(config: Config) -> KnownPairs:
    pairs = open_dataset(config, Accelerator(cpu=True)).pairs
    assert pairs is not None
    return pairs


# Who belongs to whom


def test_names_are_equal_up_to_the_ending_and_every_picture_has_a_partner(folders, tmp_path):
    a, b = open_pair_files(folders)
    assert [path.stem for path in a.paths] == [path.stem for path in b.paths] and len(a) == 8

    make_pictures(tmp_path / "more" / "inner", 12)
    missing = ", ".join(str(tmp_path / "more" / "inner" / f"{n:03}.png") for n in (8, 9, 10))
    message = f"data.pairs: {folders[1]}: no picture there has the name of {missing} and 1 more"
    for specs in ((str(tmp_path / "more"), folders[1]), (folders[1], str(tmp_path / "more"))):
        with pytest.raises(DomainError) as error:
            open_pair_files(specs)
        assert str(error.value) == message
    (tmp_path / "more" / "inner" / "000.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"^data\.pairs: .*000\.jpg and .*000\.png have the same"):
        open_pair_files((str(tmp_path / "more"), folders[1]))


def test_a_demos_pairs_are_true_and_none_of_its_tests(monkeypatch):
    monkeypatch.setitem(DEMO_COUNTS, "train", 1)
    monkeypatch.setitem(DEMO_COUNTS, "test", 1)
    photos, paintings = open_pair_files(("demo:photo", "demo:painting"))
    assert (len(photos), len(paintings)) == (1, 1)
    assert photos.paths[0].name == paintings.paths[0].name
    (test,) = demo_folder("photo", "test").iterdir()
    photo, painting = read_image(photos.paths[0]), read_image(paintings.paths[0])
    assert (photo != read_image(test)).any()
    brushed = np.abs(photo.astype(int) - painting).mean()
    assert 0 < brushed < np.abs(read_image(test).astype(int) - painting).mean()
    with pytest.raises(DomainError, match=r"data\.pairs: demo:photo, demo:summer: true pairs of a"):
        open_pair_files(("demo:photo", "demo:summer"))


def test_a_pair_of_which_one_cannot_be_read_is_left_out(paired, folders, tmp_path):
    copies = [tmp_path / name for name in "ab"]
    for folder, copy in zip(folders, copies, strict=True):
        for path in Path(folder).rglob("*.*"):
            copy.mkdir(exist_ok=True)
            (copy / path.name).write_bytes(path.read_bytes())
    (copies[0] / "002.png").write_bytes(b"")
    (copies[1] / "005.bmp").write_bytes(b"")
    specs = tuple(map(str, copies))
    config = paired(data__pairs=specs, data__min_readable=0.5, data__memory_budget="0")

    pairs = open_pairs(config)

    stems = [path.stem for path in pairs.domains["a"].paths]
    assert stems == ["000", "001", "003", "004", "006", "007"]
    for index in range(6):
        pair = pairs.pixels(index)
        assert (pair["a"] == pair["b"][:, :, ::-1]).all()
    (copies[1] / "003.bmp").unlink()
    third = pairs.pixels(2)
    assert all((third[name] == pairs.pixels(3)[name]).all() for name in "ab")
    for path in copies[0].iterdir():
        path.unlink()
    with pytest.raises(DomainError, match="of none of the pairs can both pictures be read"):
        pairs.pixels(0)


# Samples


def test_both_pictures_of_a_pair_are_cut_turned_and_mirrored_alike(paired):
    for fields in ({}, {"data__rotate": 20.0, "data__scale": 0.3}, {"data__resize": "none"}):
        dataset = open_dataset(paired(**fields), Accelerator(cpu=True))
        without = open_dataset(paired(data__pairs=None, **fields), Accelerator(cpu=True))
        crops = []
        for seed in range(6):
            key = SampleKey(0, 0, seed, pair=3)
            sample = dataset[key]
            assert sample.keys() == {"a", "b", "paired_a", "paired_b"}
            assert torch.equal(sample["paired_a"], sample["paired_b"].flip(0))
            assert sample["paired_a"].shape == (3, 24, 24)
            for name, crop in without[key].items():
                assert torch.equal(sample[name], crop)
            crops.append(sample["paired_a"])
        assert len({crop.sum().item() for crop in crops}) == 6  # chance has its part


def test_a_second_picture_of_another_size_is_brought_to_that_of_the_first(paired, tmp_path):
    make_pictures(tmp_path / "a", 2, 40, 48)
    make_pictures(tmp_path / "b", 2, 80, 96)
    specs = str(tmp_path / "a"), str(tmp_path / "b")
    pair = open_pairs(paired(data__pairs=specs, data__resize="none")).pixels(0)
    assert pair["a"].shape == pair["b"].shape == (40, 48, 3)


@given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 5), st.integers(0, 99))
def test_pairs_come_in_shuffled_order_that_can_be_entered_anywhere(count, first, epoch, seed):
    order = list(islice(order_of_pairs(count, seed, epoch, 0), 130))
    assert order[first:] == list(islice(order_of_pairs(count, seed, epoch, first), 130 - first))
    for start in range(0, 130 - count, count):
        assert sorted(order[start : start + count]) == list(range(count))


def test_pairs_change_nothing_of_the_order_of_unpaired_pictures():
    paired = PairedBatchSampler(UnpairedBatchSampler((7, 5), 2, 3, 1), pair_count=4)
    unpaired = UnpairedBatchSampler((7, 5), 2, 3, 1)
    epochs = []
    for epoch, first in ((0, 0), (0, 2), (1, 0)):
        for sampler in (paired, unpaired):
            sampler.set_position(epoch, first)
        keys = [key for batch in paired for key in batch]
        assert [key[:3] for key in keys] == [key[:3] for batch in unpaired for key in batch]
        epochs.append([key.pair for key in keys])
    whole, rest, second = epochs
    assert rest == whole[4:]
    assert second != whole


def test_pairs_have_the_shape_of_the_batch_that_they_are_in(paired, tmp_path):
    for seed, (name, size) in enumerate((("wide", (30, 60)), ("tall", (60, 30)))):
        for domain in "ab":
            make_pictures(tmp_path / domain / name, 3, *size, seed=seed)
    config = paired(
        data__a=str(tmp_path / "a"),
        data__b=str(tmp_path / "b"),
        data__buckets=True,
        data__resize="shortest",
    )
    accelerator = Accelerator(cpu=True)
    sampler, loader = open_batches(config, accelerator, open_dataset(config, accelerator))
    batches = list(loader)
    assert len(batches) == sampler.batches_per_epoch == 6
    assert len({batch["a"].shape for batch in batches}) == 2
    for batch in batches:
        assert len({images.shape for images in batch.values()}) == 1
        assert torch.equal(batch["paired_a"], batch["paired_b"].flip(1))
    sampler.set_position(0, 4)
    for resumed, batch in zip(loader, batches[4:], strict=True):
        assert equal_tensors(resumed, batch)


# Losses


def paired_batch(count: int = 2) -> dict[str, torch.Tensor]:
    known = random_batch(count, seed=9)
    return random_batch(count) | {f"paired_{name}": images for name, images in known.items()}


@pytest.mark.numeric
@pytest.mark.parametrize("norm", ["instance", "batch"])  # in one pass, and each by itself
def test_pairs_add_their_distance_to_the_losses_and_to_nothing_else(norm):
    config = tiny_config(loss__paired=3.0, loss__adversarial_weight=0.5, generator__norm=norm)
    plain = tiny_config(generator__norm=norm)
    steps = [CycleGanStep(each, Accelerator(cpu=True), torch.float64) for each in (config, plain)]
    for step in steps:
        enlarge_weights(step.generators, 1)
        enlarge_weights(step.discriminators, 2)
    batch = paired_batch()

    losses, without = (step.generators(batch, step.discriminators).losses for step in steps)

    generators = steps[1].generators
    for name, source, target in (("ab", "a", "b"), ("ba", "b", "a")):
        made = generators[name](batch[f"paired_{source}"])
        expected = 3 * (made - batch[f"paired_{target}"]).abs().mean()
        torch.testing.assert_close(losses.pop(f"paired_{name}"), expected, rtol=1e-10, atol=0)
    assert losses.keys() == without.keys()
    for name, loss in losses.items():
        expected = without[name] * (0.5 if name.startswith("adversarial") else 1)
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


@pytest.mark.numeric
@pytest.mark.parametrize("one_sided", [False, True])
def test_by_pairs_alone_generators_follow_their_gradient_and_nobody_judges(one_sided):
    config = tiny_config(**PAIRS_ALONE, train__one_sided=one_sided)
    step = CycleGanStep(config, Accelerator(cpu=True), torch.float64)
    enlarge_weights(step.generators, 1)
    batch = paired_batch()
    made = step.generators["ab"](batch["paired_a"])
    parameters = list(step.generators["ab"].parameters())
    expected = torch.autograd.grad(3 * (made - batch["paired_b"]).abs().mean(), parameters)
    judges = {name: value.clone() for name, value in step.discriminators.state_dict().items()}

    losses = step.run([batch])

    moments = step.optimizers["generator_optimizer"].optimizer.state
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(moments[parameter]["exp_avg"], gradient / 2)
    assert equal_tensors(judges, step.discriminators.state_dict())
    assert all((loss > 0) == name.startswith("paired") for name, loss in losses.items())
    step.set_progress(0.0, 0)
    step.generators.give_back = True
    assert step.run([batch]).keys() == losses.keys()  # or means over steps would mix them up


@pytest.mark.numeric
def test_both_directions_at_once_learn_the_same_of_pairs():
    threads = torch.get_num_threads()
    weights = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            step = CycleGanStep(tiny_config(loss__paired=2.0), Accelerator(cpu=True))
            assert (step.side_by_side is not None) == (count == 2)
            step.run([{name: images.float() for name, images in paired_batch().items()}])
            weights.append(step.generators.state_dict())
    finally:
        torch.set_num_threads(threads)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5)


# Runs


def test_a_killed_run_with_pairs_goes_on_bit_for_bit(paired, monkeypatch):
    whole, parts = paired("whole"), paired("parts", data__memory_budget="20KB")
    run_training(whole)
    with killed_in_step(5, monkeypatch):
        run_training(parts)
    run_training(parts)
    assert_equal_state(Path(whole.run.dir), Path(parts.run.dir), 6)
    lines = metrics_of(Path(whole.run.dir))
    assert all(line["paired_ab"] > 0 and line["paired_ba"] > 0 for line in lines)
    a, b = whole.data.pairs
    with pytest.raises(UserError, match=r"data\.pairs was .* and is now"):
        run_training(replace(whole, data=replace(whole.data, pairs=(b, a))))


def test_fully_paired_training_needs_no_other_pictures(paired, folders):
    config = paired(data__a=None, data__b=None, **PAIRS_ALONE)
    named = name_domains(config)
    assert (named.data.a, named.data.b) == folders
    sampler, loader = open_batches(
        named, Accelerator(cpu=True), open_dataset(named, Accelerator(cpu=True))
    )
    assert len(list(loader)) == 8
    assert sorted(key.pair for batch in sampler for key in batch) == list(range(8))

    run_training(config)

    last = metrics_of(Path(config.run.dir))[-1]
    assert last["paired_ab"] > 0
    assert last["adversarial_ab"] == last["cycle_a"] == last["discriminator_b"] == 0
    assert not [name for name in last if name.startswith(("health_separation", "health_spread"))]


def test_pairs_are_named_by_a_list_and_take_the_demos_place():
    _, config = parse_training_options(["--data.pairs", "[x/, y/]", "--loss.paired", "10"])
    assert config.data.pairs == ("x/", "y/")
    assert (config.data.a, config.data.b) == (None, None)
    validate(name_domains(config))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss__paired": 1.0}, "data.pairs is missing: loss.paired needs two folders"),
        ({"data__pairs": ("x", "y")}, "loss.paired must be above 0 with data.pairs"),
        ({"data__pairs": ("x", ""), "loss__paired": 1.0}, "data.pairs must name two folders"),
        ({"loss__paired": -1.0, "data__pairs": ("x", "y")}, "loss.paired must be at least 0"),
        ({"loss__adversarial_weight": 0.0}, "loss.adversarial_weight must be above 0 without"),
        (
            {
                "data__pairs": ("x", "y"),
                "loss__paired": 1.0,
                "loss__adversarial_weight": 0.0,
                "loss__feature_matching": 1.0,
            },
            "loss.feature_matching must be 0 with loss.adversarial_weight 0",
        ),
        (
            {"task": "one_style", "data__pairs": ("x", "y"), "loss__paired": 1.0},
            "data.pairs is for task cyclegan, not for one_style; loss.paired is for task cyclegan",
        ),
        ({"task": "noise", "loss__adversarial_weight": 0.5}, "loss.adversarial_weight is for task"),
    ],
)
def test_what_would_do_nothing_is_refused_by_name(fields, message):
    with pytest.raises(ConfigError) as error:
        validate(configure(data__a="a", data__b="b", **fields))
    assert message in str(error.value)
