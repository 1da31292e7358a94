"""Folders of tensors and facts from which training continues exactly, never half-written.

A checkpoint is a folder of safetensors files: what all processes share, one file for each process
whose state is its own, and ``state.json``, written last, with the checksum of every other file.
It is made under another name and renamed when it is whole. Nothing in it is ever unpickled.
"""

import json
import random
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.optim import Optimizer

from cyclegan_style.errors import UserError
from cyclegan_style.system.tensor_files import Tensors, read_tensors, write_all, write_tensors
from cyclegan_style.system.whole_files import checksum, flush_folder, write_durably

FORMAT = 2
STATE_FILE = "state.json"


class DamagedError(UserError):
    """A checkpoint that is not whole, and why."""


@dataclass(frozen=True)
class ProcessState:
    """What every process has of its own: tensors, and facts that JSON can hold."""

    tensors: Tensors
    facts: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    folder: Path
    facts: dict[str, Any]

    def shared(self, name: str) -> Tensors:
        """Tensors that were saved under this name for all processes."""
        return read_tensors(self.folder / f"{name}.safetensors")[0]

    def of_process(self, index: int) -> ProcessState | None:
        """The state of one process, None if there were fewer."""
        path = self.folder / process_file(index)
        return ProcessState(*read_tensors(path)) if path.exists() else None


def process_file(index: int) -> str:
    """Name of the file with one process's own state."""
    return f"process-{index:05d}.safetensors"


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def save_checkpoint(
    accelerator: Accelerator,
    run: Path,
    step: int,
    shared: Mapping[str, Tensors],
    own: ProcessState,
    facts: dict[str, Any],
    keep: int,
    keep_steps: Collection[int] = (),
) -> Path:
    """Write the checkpoint of a step with all processes taking part; then drop older ones.

    The newest are kept, and those of ``keep_steps``.
    """
    folder = checkpoint_folder(run, step)
    partial = folder.with_name(f".{folder.name}.partial")
    if accelerator.is_main_process:
        for unfinished in half_written(run):
            shutil.rmtree(unfinished, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    write_tensors(partial / process_file(accelerator.process_index), own.tensors, own.facts)
    if accelerator.is_main_process:
        write_all({partial / f"{name}.safetensors": tensors for name, tensors in shared.items()})
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        files = sorted(partial.iterdir())
        with ThreadPoolExecutor() as pool:
            checksums = {
                path.name: found
                for path, found in zip(files, pool.map(checksum, files), strict=True)
            }
        state = {"format": FORMAT, "step": step, **facts, "files": checksums}
        write_durably(partial / STATE_FILE, json.dumps(state, indent=1).encode())
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        flush_folder(folder.parent)
        # Later ones are damaged, or this run would have gone on from them.
        kept = [path for path in checkpoint_folders(run) if path.name <= folder.name][-keep:]
        kept += [checkpoint_folder(run, step) for step in keep_steps]
        for other in set(checkpoint_folders(run)) - set(kept):
            shutil.rmtree(other, ignore_errors=True)
    accelerator.wait_for_everyone()
    return folder


def newest_checkpoint(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of a run, and a line for each damaged one passed over."""
    complaints: list[str] = []
    for folder in reversed(checkpoint_folders(run)):
        try:
            return read_checkpoint(folder), complaints
        except DamagedError as error:
            complaints.append(str(error))
    return None, complaints


def read_checkpoint(folder: Path) -> Checkpoint:
    """Check that a checkpoint is whole and return it; a DamagedError if it is not.

    What may well be whole, but cannot be read now or by this version, is another UserError: a run
    must not pass it over and go on from an older one.
    """
    try:
        facts = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        damaged = [
            name for name, expected in facts["files"].items() if checksum(folder / name) != expected
        ]
        if facts["format"] != FORMAT:
            raise UserError(
                f"{folder}: a checkpoint of format {facts['format']}, and this version has"
                f" {FORMAT}; the run's generators, in its folder model/, can be used all the same"
            )
    except FileNotFoundError as error:
        raise DamagedError(f"{folder}: not whole: {Path(error.filename).name} is missing") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{folder}: not a whole checkpoint: {error!r}") from None
    if damaged:
        raise DamagedError(f"{folder}: damaged: {', '.join(damaged)}")
    return Checkpoint(folder, facts)


def half_written(run: Path) -> list[Path]:
    """What a run that was killed while saving has left."""
    return sorted((run / "checkpoints").glob(".step-*.partial"))


def checkpoint_folders(run: Path) -> list[Path]:
    """Folders of the run's checkpoints, oldest first, whole or not."""
    return sorted((run / "checkpoints").glob("step-*"))


def optimizer_tensors(optimizer: Optimizer) -> Tensors:
    """Adam's moments and step counts, named by the number of their parameter."""
    return {
        f"{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Tensors) -> None:
    """Put back what ``optimizer_tensors`` returned."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, Tensors] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # The fused update walks through memory: moments must lie in their parameter's order.
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def random_state() -> ProcessState:
    """Every random generator of this process: Python's, NumPy's, torch's on CPU and GPU."""
    version, python_state, python_gauss = random.getstate()
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    tensors = {
        "random.torch": torch.get_rng_state(),
        "random.numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
    }
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        tensors["random.mps"] = torch.mps.get_rng_state()
    facts = {
        "python": [version, list(python_state), python_gauss],
        "numpy": [kind, int(position), int(has_gauss), float(gauss)],
    }
    return ProcessState(tensors, {"random": facts})


def restore_random_state(state: ProcessState) -> None:
    """Put back what ``random_state`` returned."""
    facts, tensors = state.facts["random"], state.tensors
    version, python_state, python_gauss = facts["python"]
    random.setstate((version, tuple(python_state), python_gauss))
    kind, position, has_gauss, gauss = facts["numpy"]
    keys = tensors["random.numpy"].numpy().astype(np.uint32)
    np.random.set_state((kind, keys, position, has_gauss, gauss))
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    if "random.mps" in tensors and torch.backends.mps.is_available():
        torch.mps.set_rng_state(tensors["random.mps"])


@contextmanager
def chance_untouched() -> Iterator[None]:
    """Whatever happens inside, the random generators go on as though it had not."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)
