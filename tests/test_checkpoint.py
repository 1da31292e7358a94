"""Checkpoints hold all of the state, are whole or passed over, and never run code."""

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny import equal_tensors, random_batch, tiny_config

from cyclegan_style.errors import UserError
from cyclegan_style.runs.checkpoint import (
    ProcessState,
    newest_checkpoint,
    optimizer_tensors,
    random_state,
    read_checkpoint,
    restore_optimizer,
    restore_random_state,
    save_checkpoint,
)
from cyclegan_style.system.tensor_files import read_tensors, write_tensors
from cyclegan_style.system.whole_files import write_durably
from cyclegan_style.training.cyclegan_step import CycleGanStep


def save(run: Path, step: int, keep: int = 2) -> Path:
    """A small checkpoint whose numbers tell its step."""
    return save_checkpoint(
        Accelerator(cpu=True),
        run,
        step,
        {"weights": {"w": torch.full((4, 5), float(step))}},
        ProcessState({"own": torch.arange(step)}, {"note": [1, "two", None]}),
        {"processes": 1},
        keep,
    )


def steps_of(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*"))


def test_what_was_written_is_read_back(tmp_path):
    folder = save(tmp_path, 7)

    checkpoint = read_checkpoint(folder)

    assert folder == tmp_path / "checkpoints" / "step-00000007"
    assert (checkpoint.facts["step"], checkpoint.facts["processes"]) == (7, 1)
    assert equal_tensors(checkpoint.shared("weights"), {"w": torch.full((4, 5), 7.0)})
    own = checkpoint.of_process(0)
    assert equal_tensors(own.tensors, {"own": torch.arange(7)})
    assert own.facts == {"note": [1, "two", None]}
    assert checkpoint.of_process(1) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_of_any_layout_and_type_survive(tmp_path, dtype):
    whole = (torch.randn(4, 3, 5, 6) * 9).to(dtype)
    tensors = {
        "plain": whole,
        "last": whole.contiguous(memory_format=torch.channels_last),
        "transposed": whole.transpose(1, 3),
        "scalar": whole[0, 0, 0, 0].clone(),
        "none": whole[:0].clone(),
    }
    write_tensors(tmp_path / "x.safetensors", tensors, {"fact": "ü"})

    read, facts = read_tensors(tmp_path / "x.safetensors")

    assert equal_tensors(read, tensors)
    assert facts == {"fact": "ü"}


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_restored_optimiser_takes_the_same_steps(tmp_path, channels_last):
    config = tiny_config(train__channels_last=channels_last, generator__norm="batch")
    accelerator = Accelerator(cpu=True)
    first, second = (CycleGanStep(config, accelerator, torch.float64) for _ in range(2))
    for seed in range(2):
        first.run([random_batch(seed=seed)])
    pairs = [
        (first.generators, second.generators),
        (first.discriminators, second.discriminators),
    ]
    for trained, fresh in pairs:
        fresh.load_state_dict(trained.state_dict())
    for name in ("generator_optimizer", "discriminator_optimizer"):
        path = tmp_path / f"{name}.safetensors"
        write_tensors(path, optimizer_tensors(first.optimizers[name]))
        restore_optimizer(second.optimizers[name], read_tensors(path)[0])
        moments = [optimizer_tensors(step.optimizers[name]) for step in (first, second)]
        assert equal_tensors(*moments)

    for step in (first, second):
        step.run([random_batch(seed=5)])

    for trained, fresh in pairs:
        assert equal_tensors(trained.state_dict(), fresh.state_dict())


def flip_a_byte(folder: Path) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut_off(folder: Path) -> None:
    path = folder / "process-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


DAMAGES = {
    "flipped byte": flip_a_byte,
    "cut off": cut_off,
    "deleted file": lambda folder: (folder / "weights.safetensors").unlink(),
    "no state": lambda folder: (folder / "state.json").unlink(),
    "empty state": lambda folder: (folder / "state.json").write_text(""),
    "state of words": lambda folder: (folder / "state.json").write_text('"words"'),
    "state of a list": lambda folder: (folder / "state.json").write_text("[1]"),
    "state without files": lambda folder: (folder / "state.json").write_text('{"format": 1}'),
    "binary state": lambda folder: (folder / "state.json").write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_complaint(tmp_path, name):
    save(tmp_path, 3)
    DAMAGES[name](save(tmp_path, 6))

    checkpoint, complaints = newest_checkpoint(tmp_path)

    assert checkpoint.facts["step"] == 3
    (complaint,) = complaints
    assert "step-00000006" in complaint
    assert "\n" not in complaint


def test_another_format_is_no_damage_and_never_passed_over(tmp_path):
    save(tmp_path, 3)
    state = save(tmp_path, 6) / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"format": 99}))

    with pytest.raises(UserError, match="step-00000006: a checkpoint of format 99, and this"):
        newest_checkpoint(tmp_path)


def test_all_damaged_means_none(tmp_path):
    for step in (3, 6):
        flip_a_byte(save(tmp_path, step))

    checkpoint, complaints = newest_checkpoint(tmp_path)

    assert checkpoint is None
    assert len(complaints) == 2
    assert newest_checkpoint(tmp_path / "nowhere") == (None, [])


def test_the_newest_are_kept(tmp_path):
    for step in (9, 10, 11, 100):
        save(tmp_path, step, keep=2)

    assert steps_of(tmp_path) == [11, 100]
    assert newest_checkpoint(tmp_path)[0].facts["step"] == 100


def test_a_new_checkpoint_is_kept_though_damaged_ones_have_higher_numbers(tmp_path):
    for step in (2, 8, 9):
        folder = save(tmp_path, step, keep=3)
        if step > 2:
            flip_a_byte(folder)

    save(tmp_path, 4, keep=1)

    assert newest_checkpoint(tmp_path)[0].facts["step"] == 4


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    flip_a_byte(save(tmp_path, 3))
    save(tmp_path, 3)

    assert newest_checkpoint(tmp_path)[0].facts["step"] == 3


def test_half_written_folders_are_ignored_and_replaced(tmp_path):
    save(tmp_path, 3)
    partial = tmp_path / "checkpoints" / ".step-00000006.partial"
    partial.mkdir()
    (partial / "old.safetensors").write_bytes(b"rubbish")

    checkpoint, complaints = newest_checkpoint(tmp_path)
    assert (checkpoint.facts["step"], complaints) == (3, [])

    folder = save(tmp_path, 6)
    assert not (folder / "old.safetensors").exists()
    assert not partial.exists()


def draws() -> list[Any]:
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        torch.rand(3).tolist(),
    ]


def test_all_streams_of_chance_go_on_alike(tmp_path):
    random.gauss(0, 1)  # Python and NumPy keep a second normal number in store
    np.random.randn()
    state = random_state()
    path = tmp_path / "chance.safetensors"
    write_tensors(path, state.tensors, state.facts)
    expected = [draws() for _ in range(3)]

    restore_random_state(ProcessState(*read_tensors(path)))

    assert [draws() for _ in range(3)] == expected


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "executed")


@pytest.mark.parametrize("name", ["weights.safetensors", "process-00000.safetensors", "state.json"])
def test_a_pickle_in_a_checkpoint_is_never_run(tmp_path, name):
    crater = tmp_path / "crater"
    folder = save(tmp_path, 3)
    content = pickle.dumps(Bomb(crater))
    pickle.loads(content)
    assert crater.exists()  # the bomb works
    crater.unlink()
    (folder / name).write_bytes(content)

    checkpoint, complaints = newest_checkpoint(tmp_path)
    assert checkpoint is None
    assert len(complaints) == 1
    if name != "state.json":
        with pytest.raises(UserError, match="not readable"):
            read_tensors(folder / name)
    assert not crater.exists()


def test_a_file_is_replaced_in_one_move(tmp_path):
    path = tmp_path / "file"
    write_durably(path, b"old")
    with path.open("rb") as reader:
        write_durably(path, b"new")
        assert reader.read() == b"old"

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
