"""The folder of a run: who may train in it, and with which configuration."""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import yaml

from cyclegan_style.config import Config, GeneratorConfig, from_yaml, to_dict, to_yaml
from cyclegan_style.errors import UserError
from cyclegan_style.models.configurations import as_built
from cyclegan_style.models.export import CONFIG_FILE
from cyclegan_style.models.model_files import known_fields
from cyclegan_style.runs.origins import (
    DOMAIN_FIELDS,
    WEIGHTS_FIELD,
    difference,
    keep_origins,
    read_origins,
)
from cyclegan_style.runs.tracking import METRICS_FILE, flatten
from cyclegan_style.system.hardware import training_device
from cyclegan_style.system.whole_files import remove_leftovers, write_durably

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
FORMAT_FILE = ".number-format.json"
CONVOLUTIONS_FILE = ".convolutions.json"
COMPILING_FILE = ".compiling.json"
RANGES_FILE = ".ranges.json"
LOCK_SECONDS = 20.0
"""How long to wait for the lock: a killed run's loader processes notice after a few seconds."""

_locks: dict[Path, IO[str]] = {}
"""Folders that this process holds; closing a handle would give its lock up."""

FREE_TO_CHANGE = (
    "run.",
    "checkpoint.",
    "evaluation.",
    "tracking.",
    "train.max_steps",
    "train.epochs",
    "train.decay_epochs",
    "train.steps",
    "train.compile",
    "train.checkpoint_activations",
    "train.cpu_threads",
    "data.num_workers",
    "data.memory_budget",
    "data.min_readable",
    "data.test_",
)
"""Fields that do not change what was trained so far; a run may go on with others."""


def claim_run_folder(config: Config) -> Path:
    """Check that this configuration may train in its run folder, and write it there.

    The folder stays locked until this process ends, however it ends: processes that outlive their
    killed launcher would otherwise write into a run that has already gone on without them.
    """
    folder = Path(config.run.dir)
    saved = folder / CONFIG_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock(folder)
        for place in (folder, *folder.rglob("*/")):
            remove_leftovers(place)
        if saved.exists():
            if config.run.resume == "never" and has_begun(folder):
                raise UserError(
                    f"run.dir: {folder} already holds a run; choose another folder,"
                    " or set run.resume to auto to go on with it"
                )
            refuse_differences(folder, saved, config)
        write_durably(saved, to_yaml(config).encode())
        keep_origins(folder, config, read_origins(folder) if has_begun(folder) else {})
    except OSError as error:
        raise UserError(f"run.dir: {folder} cannot be used: {error.strerror}") from None
    return folder


def lock(folder: Path, option: str = "run.dir") -> None:
    """Hold a lock on the folder for as long as this process lives, or raise a UserError."""
    if fcntl is None or folder.resolve() in _locks:
        return
    handle = (folder / LOCK_FILE).open("w")
    deadline = time.monotonic() + LOCK_SECONDS
    while folder.resolve() not in _locks:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _locks[folder.resolve()] = handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                handle.close()
                raise UserError(
                    f"{option}: another process is training in {folder}; wait for it or stop it"
                ) from None
            time.sleep(0.2)
        except OSError:  # a file system without locks
            handle.close()
            return


def is_locked(folder: Path) -> bool | None:
    """Whether a process trains in the folder; None where there are no locks."""
    if fcntl is None or not (folder / LOCK_FILE).exists():
        return None
    try:
        with (folder / LOCK_FILE).open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def refuse_differences(folder: Path, saved: Path, config: Config) -> None:
    """Raise a UserError that lists what differs from the configuration the run began with."""
    try:
        before = flatten(from_yaml(saved.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError):
        raise UserError(f"{saved} is not a configuration; choose another run.dir") from None
    # Without a single measured or saved step there is nothing that the change could contradict.
    if not has_begun(folder):
        return
    # Fields that are newer than the run are at their defaults.
    before = with_generator_as_built(flatten(to_dict(Config())) | before)
    now = with_generator_as_built(flatten(to_dict(config)))
    origins = read_origins(folder)
    differences = []
    for name in sorted(before.keys() | now.keys()):
        was, value = before.get(name, "unset"), now.get(name, "unset")
        if name in (*DOMAIN_FIELDS, WEIGHTS_FIELD):
            differences.append(difference(name, str(was), value, origins.get(name, {})))
        elif was != value and not name.startswith(FREE_TO_CHANGE) and not was_open(name, was):
            differences.append(f"{name} was {was} and is now {value}")
    found = [each for each in differences if each is not None]
    if found:
        raise UserError(
            f"run.dir: {folder} holds a run of another configuration ({'; '.join(found)});"
            " choose another run.dir"
        )


def with_generator_as_built(values: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration in which the fields of generators that are built alike are equal."""
    fields = {
        name.removeprefix("generator."): None if value == "None" else value
        for name, value in values.items()
        if name.startswith("generator.")
    }
    generator = as_built(GeneratorConfig(**known_fields(GeneratorConfig, fields)))
    built = flatten({"generator": asdict(generator)})
    return dict(values) | {name: value for name, value in built.items() if name in values}


def was_open(name: str, was: object) -> bool:
    """Whether a field is a way to compute that a run may go on with under another name.

    One that was left to the machine may be chosen later. fp16 on a CPU is refused; earlier versions
    trained in float32 and called it that.
    """
    if name not in ("train.mixed_precision", "train.convolutions"):
        return False
    return was == "auto" or (was == "fp16" and training_device() == "cpu")


def kept_choice(run: Path, file: str, names: Collection[str]) -> str | None:
    """In which of several ways a run trains, None if it began without keeping it in the file."""
    try:
        kept = json.loads((run / file).read_text(encoding="utf-8"))["training"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if isinstance(kept, str) and kept in names else None


def keep_choice(run: Path, file: str, name: str) -> None:
    """Keep with a run in which way it trains."""
    try:
        write_durably(run / file, json.dumps({"training": name}).encode())
    except OSError as error:
        raise UserError(f"run.dir: {run} cannot be used: {error.strerror}") from None


def has_begun(folder: Path) -> bool:
    """Whether a run measured or saved a step in its folder."""
    return (folder / METRICS_FILE).exists() or any((folder / "checkpoints").glob("step-*"))
