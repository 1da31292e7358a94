"""Find the weights of the FID Inception: a file, the cache of other tools, or a download."""

import hashlib
import sys
import urllib.request
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

import torch
from torch import Tensor
from tqdm import tqdm

from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.inception import Inception, build_inception

WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"
"""The file's name at pytorch-fid, whose end is the beginning of its SHA-256."""
ALSO_KNOWN_AS = "weights-inception-2015-12-05-6726825d.pth"
"""The same file's name at torch-fidelity."""
WEIGHTS_URL = (
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS_FILE}"
)
SHA256_PREFIX = "6726825d"

_BLOCK = 1 << 20
_TIMEOUT = 20.0  # seconds without a byte


class WeightsError(UserError):
    """Weights that are missing or are not what they should be."""


def find_weights(file: Path | None = None, url: str = WEIGHTS_URL) -> Path:
    """The given file, else the cached one, else one that is downloaded to the cache."""
    if file is not None:
        if not file.is_file():
            raise WeightsError(f"--weights: {file}: no such file")
        return file
    folder = hub_folder()
    for name in (WEIGHTS_FILE, ALSO_KNOWN_AS):
        if (folder / name).is_file():
            return folder / name
    download(url, folder / WEIGHTS_FILE, SHA256_PREFIX)
    return folder / WEIGHTS_FILE


def hub_folder() -> Path:
    """Where torch.hub, and with it pytorch-fid and torch-fidelity, keeps weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def load_inception(path: Path, fold: bool = True) -> Inception:
    """The network with the weights of a file, in which nothing but tensors is read."""
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return build_inception(state, fold)
    except Exception as error:  # a damaged file can fail in any part of the unpickler
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not the weights of the FID Inception ({reason})") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(url: str, target: Path, sha256_prefix: str) -> None:
    """Fetch a file, going on where an earlier attempt broke off; it appears whole or not at all."""
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise WeightsError(
            f"no Inception weights: put {WEIGHTS_FILE} into {target.parent} or name it with"
            f" --weights; {url} cannot be downloaded ({reason})"
        ) from error
    found = file_hash(part)
    if not found.startswith(sha256_prefix):
        part.unlink()
        raise WeightsError(
            f"{url}: the download is damaged: its SHA-256 begins with"
            f" {found[: len(sha256_prefix)]}, not {sha256_prefix}; try again, or put"
            f" {WEIGHTS_FILE} into {target.parent}"
        )
    part.replace(target)


def _fetch(url: str, part: Path) -> None:
    present = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={present}-"} if present else {})
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # nothing is missing; the checksum tells whether it is the file
    with response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            present = 0  # this server sends everything again
        _write(response, part, present)


def _write(response: HTTPResponse, part: Path, present: int) -> None:
    length = response.headers.get("Content-Length")
    total = None if length is None else present + int(length)
    bar = tqdm(
        desc="Inception weights",
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
