"""Find the weights of published networks: a file, the cache of other tools, or a download.

A small network's weights lie beside this file, and need neither.
"""

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor

from cyclegan_style.errors import UserError
from cyclegan_style.system.download import DownloadErrors, fetch, held_alone, reason_of_download
from cyclegan_style.system.whole_files import checksum

SHIPPED_FOLDER = Path(__file__).parent
"""Holds the weights that come with this package."""


@dataclass(frozen=True)
class Published:
    """A file of weights that others publish."""

    what: str
    names: tuple[str, ...]
    """Under which it lies in torch hub's cache, or in this package, the usual one first."""
    url: str
    sha256: str
    """Its beginning is enough; empty where its publisher tells none."""
    licence: str
    or_else: str = ""
    """What else a user can do who has no network, where no option names the file."""


Network = TypeVar("Network")


class WeightsError(UserError):
    """Weights that are missing or are not what they should be."""


def find_weights(published: Published, file: Path | None = None, option: str = "--weights") -> Path:
    """The given file, else that of the package or the cache, else one that is downloaded to it."""
    if file is not None:
        if not file.is_file():
            raise WeightsError(f"{option}: {file}: no such file")
        return file
    if present := weights_at_hand(published):
        return present
    if not published.url:
        raise WeightsError(
            f"no {published.what}: {published.names[0]} is missing from {SHIPPED_FOLDER};"
            f" {published.or_else}"
        )
    return download(published, hub_folder(), option)


def weights_at_hand(published: Published) -> Path | None:
    """The file of the package or the cache, if there is one."""
    places = (place / name for place in (SHIPPED_FOLDER, hub_folder()) for name in published.names)
    return next((file for file in places if file.is_file()), None)


def hub_folder() -> Path:
    """Where torch.hub, and with it most tools, keeps weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def built_from(path: Path, build: Callable[[dict[str, Tensor]], Network], what: str) -> Network:
    """What is built from the weights of a file, in which nothing but tensors is read."""
    try:
        state = read_state(path)
        damaged = [name for name, tensor in state.items() if not tensor.isfinite().all()]
        if damaged:
            raise WeightsError(f"{damaged[0]} is not finite")
        return build(state)
    except Exception as error:  # a damaged file can fail in any part of the unpickler
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not the weights of {what} ({reason})") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from safetensors or from what torch.save wrote."""
    if path.suffix == ".safetensors":
        return load_file(path)
    only_tensors = "nothing but tensors by name is read, and it holds something else"
    try:
        with warnings.catch_warnings():  # of protocols, about files that are refused anyway
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # which advises to run whatever is in the file
        raise WeightsError(only_tensors) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise WeightsError(only_tensors)
    return state


def download(published: Published, folder: Path, option: str = "--weights") -> Path:
    """Fetch a file, going on where an earlier attempt broke off; it appears whole or not at all."""
    name = published.names[0]
    target, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held_alone(part, published.what):
            if not target.is_file():  # another process may have finished meanwhile
                fetch(published.url, part, published.what)
                _take(published, part, target)
    except DownloadErrors as error:
        or_else = published.or_else or f"name it with {option}"
        raise WeightsError(
            f"no {published.what}: put {name} into {folder} or {or_else};"
            f" {published.url} cannot be downloaded ({reason_of_download(error)})"
        ) from error
    return target


def _take(published: Published, part: Path, target: Path) -> None:
    """Give a whole download its name, or remove it if it is not the file."""
    found = checksum(part)
    if not found.startswith(published.sha256):
        part.unlink()
        raise WeightsError(
            f"{published.url}: the download is damaged: its SHA-256 begins with {found[:8]}, not"
            f" {published.sha256[:8]}; try again, or put {target.name} into {target.parent}"
        )
    part.replace(target)
