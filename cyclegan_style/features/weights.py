"""Find the weights of published networks: a file, the cache of other tools, or a download.

A small network's weights lie beside this file, and need neither.
"""

import os
import pickle
import sys
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.error import HTTPError

import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from cyclegan_style.errors import UserError
from cyclegan_style.system.processes import say
from cyclegan_style.system.whole_files import checksum

if sys.platform != "win32":
    import fcntl

_BLOCK = 1 << 20
_TIMEOUT = 20.0  # seconds without a byte


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
    or_else: str
    """What else a user can do who has no network."""


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
    return download(published, hub_folder())


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


def download(published: Published, folder: Path) -> Path:
    """Fetch a file, going on where an earlier attempt broke off; it appears whole or not at all."""
    name = published.names[0]
    target, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _held_alone(part, published.what):
            if not target.is_file():  # another process may have finished meanwhile
                _fetch(published, part)
                _take(published, part, target)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise WeightsError(
            f"no {published.what}: put {name} into {folder} or {published.or_else};"
            f" {published.url} cannot be downloaded ({reason})"
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


@contextmanager
def _held_alone(part: Path, what: str) -> Iterator[None]:
    """Let one process at a time append to the file, where there are locks."""
    if sys.platform == "win32":  # which renames no open file
        yield
        return
    while True:
        with part.open("ab") as stream:
            _wait_for(stream, what)
            if not _is_there(stream, part):  # whoever had it has finished or removed it
                continue
            try:
                yield
            finally:
                if _is_there(stream, part) and not part.stat().st_size:
                    part.unlink()
            return


def _wait_for(stream: BinaryIO, what: str) -> None:
    """Lock the file for as long as it is open."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for another process that downloads the {what}")
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        pass


def _is_there(stream: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False


def _fetch(published: Published, part: Path) -> None:
    present = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={present}-"} if present else {}
    request = urllib.request.Request(published.url, headers=headers)
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # nothing is missing; the checksum tells whether it is the file
    with response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            present = 0  # this server sends everything again
        _write(response, part, present, published.what)


def _write(response: HTTPResponse, part: Path, present: int, what: str) -> None:
    length = response.headers.get("Content-Length")
    total = None if length is None else present + int(length)
    bar = tqdm(
        desc=what,
        total=total,
        initial=present,
        unit="B",
        unit_scale=True,
        file=sys.stderr,
    )
    with part.open("ab" if present else "wb") as stream, bar:
        while block := response.read1(_BLOCK):
            stream.write(block)
            bar.update(len(block))
    if total is not None and part.stat().st_size < total:
        raise OSError("the connection broke off; the next attempt goes on from there")
