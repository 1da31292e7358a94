"""Find the weights of published networks: a file, the cache of other tools, or a download."""

import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError

import torch
from torch import Tensor
from tqdm import tqdm

from cyclegan_style.errors import UserError
from cyclegan_style.features.inception import Inception, build_inception
from cyclegan_style.system.whole_files import checksum

_BLOCK = 1 << 20
_TIMEOUT = 20.0  # seconds without a byte


@dataclass(frozen=True)
class Published:
    """A file of weights that others publish."""

    what: str
    names: tuple[str, ...]
    """Under which it lies in torch hub's cache, the usual one first."""
    url: str
    sha256: str
    """Its beginning is enough."""
    or_else: str
    """What else a user can do who has no network."""


WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION = Published(
    "Inception weights",
    (WEIGHTS_FILE, "weights-inception-2015-12-05-6726825d.pth"),  # pytorch-fid's, torch-fidelity's
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS_FILE}",
    "6726825d",
    "name it with --weights",
)

Network = TypeVar("Network")


class WeightsError(UserError):
    """Weights that are missing or are not what they should be."""


def find_weights(
    file: Path | None = None, published: Published = INCEPTION, option: str = "--weights"
) -> Path:
    """The given file, else the cached one, else one that is downloaded to the cache."""
    if file is not None:
        if not file.is_file():
            raise WeightsError(f"{option}: {file}: no such file")
        return file
    folder = hub_folder()
    for name in published.names:
        if (folder / name).is_file():
            return folder / name
    return download(published, folder)


def hub_folder() -> Path:
    """Where torch.hub, and with it most tools, keeps weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def load_inception(path: Path, fold: bool = True) -> Inception:
    """The FID Inception with the weights of a file."""
    return built_from(path, lambda state: build_inception(state, fold), "the FID Inception")


def built_from(path: Path, build: Callable[[dict[str, Tensor]], Network], what: str) -> Network:
    """What is built from the weights of a file, in which nothing but tensors is read."""
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        damaged = [name for name, tensor in state.items() if not tensor.isfinite().all()]
        if damaged:
            raise WeightsError(f"{damaged[0]} is not finite")
        return build(state)
    except Exception as error:  # a damaged file can fail in any part of the unpickler
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not the weights of {what} ({reason})") from error


def download(published: Published, folder: Path) -> Path:
    """Fetch a file, going on where an earlier attempt broke off; it appears whole or not at all."""
    name = published.names[0]
    target, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(published, part)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise WeightsError(
            f"no {published.what}: put {name} into {folder} or {published.or_else};"
            f" {published.url} cannot be downloaded ({reason})"
        ) from error
    found = checksum(part)
    if not found.startswith(published.sha256):
        part.unlink()
        raise WeightsError(
            f"{published.url}: the download is damaged: its SHA-256 begins with"
            f" {found[:8]}, not {published.sha256[:8]}; try again, or put {name} into {folder}"
        )
    part.replace(target)
    return target


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
