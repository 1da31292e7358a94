"""Pictures out of noise: by their numbers, and on the way from one to another."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from math import ceil, sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from cyclegan_style.applying.origin import ORIGIN_FILE, different, read_origin
from cyclegan_style.applying.translate import Failure, parts_of_all, reason_of_failure
from cyclegan_style.applying.video import write_animation
from cyclegan_style.data.images import ImageError, Pixels, quantised, write_image
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.model_files import checksum_of
from cyclegan_style.models.noise_files import load_noise_generator
from cyclegan_style.system.hardware import choose_device
from cyclegan_style.system.whole_files import remove_leftovers, write_durably

BLOCK = 16
"""Pictures that are always computed together, if need be with others that nobody asked for: what
else is in a batch changes how its sums are rounded."""
SHOWN = 64
"""Most pictures of a grid."""
GRID_FILE = "grid.png"
FRAMES_PER_SECOND = 20
GENERATED = re.compile(r"\d{5,}\.png|\d{5,}-\d{5,}\.(gif|mp4)|grid\.png")
"""Names of files that are written here."""

logger = logging.getLogger(__name__)


def latent(seed: int, number: int, size: int) -> Tensor:
    """What picture ``number`` of a seed is made of, the same on every machine."""
    chance = np.random.Generator(np.random.PCG64((seed, number)))
    return torch.from_numpy(chance.standard_normal(size, dtype=np.float32))


def between(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The latent at a share of the way from one to another, along the sphere (Shoemake, 1985).

    sin((1 − t) θ) / sin θ · first + sin(t θ) / sin θ · second; in the middle of a straight line
    latents would be shorter than any that the generator has seen.
    """
    angle = torch.acos(torch.cosine_similarity(first, second, dim=0).clamp(-1, 1))
    if torch.sin(angle) < 1e-4:
        return first + share * (second - first)
    weights = torch.stack([torch.sin((1 - share) * angle), torch.sin(share * angle)])
    mixed: Tensor = (weights[0] * first + weights[1] * second) / torch.sin(angle)
    return mixed


class NoisePainter:
    """A generator that makes pictures out of latents.

    With a ``truncation`` below 1 latents are shorter: pictures are more alike and more usual.
    """

    def __init__(
        self,
        network: nn.Module,
        latent_size: int,
        device: torch.device,
        seed: int = 0,
        truncation: float = 1.0,
    ) -> None:
        self.network = network
        self.latent_size = latent_size
        self.device = device
        self.seed = seed
        self.truncation = truncation

    @classmethod
    def load(
        cls,
        model: str | Path,
        device: str | torch.device = "auto",
        seed: int = 0,
        truncation: float = 1.0,
    ) -> "NoisePainter":
        """Load a run folder, an exported folder or a Hub repository of task noise."""
        chosen = choose_device(device)
        loaded = load_noise_generator(model)
        norm = loaded.config.norm
        if truncation != 1 and norm in ("instance", "group"):
            raise UserError(
                printable(f"{model}: generator.norm {norm} undoes truncation: leave it out")
            )
        network = loaded.network.to(chosen)
        return cls(network, loaded.config.latent, chosen, seed, truncation)

    def origin(self) -> dict[str, Any]:
        """What pictures depend on beside their numbers."""
        weights = checksum_of(self.network)
        return {"weights": weights, "seed": self.seed, "truncation": self.truncation}

    def latents(self, numbers: Iterable[int]) -> Iterator[Tensor]:
        """What the pictures of these numbers are made of."""
        for number in numbers:
            yield self.truncation * latent(self.seed, number, self.latent_size)

    def numbered(self, numbers: Iterable[int]) -> Iterator[Pixels]:
        """The pictures of these numbers."""
        return self.pictures(self.latents(numbers))

    def on_the_way(self, first: int, second: int, frames: int) -> Iterator[Pixels]:
        """At least two pictures from one number to another, both included."""
        start, end = self.latents([first, second])
        shares = (frame / (frames - 1) for frame in range(frames))
        return self.pictures(between(start, end, share) for share in shares)

    def pictures(self, latents: Iterator[Tensor]) -> Iterator[Pixels]:
        """The picture of each latent, whatever the others are."""
        while block := list(islice(latents, BLOCK)):
            filled = torch.zeros(BLOCK, self.latent_size)
            filled[: len(block)] = torch.stack(block)
            with torch.inference_mode():
                made = quantised(self.network(filled.to(self.device)))
            yield from made[: len(block)].permute(0, 2, 3, 1).contiguous().cpu().numpy()


def grid(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures of one size in about as many rows as columns; black where none is left."""
    columns = ceil(sqrt(len(pictures)))
    rows = ceil(len(pictures) / columns)
    height, width, channels = pictures[0].shape
    sheet = np.zeros((rows * height, columns * width, channels), np.uint8)
    for place, pixels in enumerate(pictures):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height, left : left + width] = pixels
    return sheet


@dataclass(frozen=True)
class Wanted:
    """What is to be written."""

    count: int
    """Pictures, which are those numbered from 0."""
    ends: tuple[int, int] | None = None
    """Numbers of the pictures with which an animation begins and ends."""
    frames: int = 0
    format: Literal["gif", "mp4"] = "gif"

    def animation(self, ends: tuple[int, int]) -> str:
        """Name of the file with the way between two pictures."""
        return f"{ends[0]:05}-{ends[1]:05}.{self.format}"

    def names(self) -> set[str]:
        """Names of all files."""
        names = {picture_name(number) for number in range(self.count)}
        if self.count:
            names.add(GRID_FILE)
        if self.ends is not None:
            names.add(self.animation(self.ends))
        return names


@dataclass
class Generated:
    """What became of the pictures that were wanted."""

    generated: int = 0
    """Pictures and frames."""
    outputs: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Values by name, the speed among them."""
        speed = self.generated / self.seconds if self.seconds else 0.0
        return asdict(self) | {"images_per_second": speed}

    def write(self, path: Path, pictures: int, write: Callable[[Path], None]) -> None:
        """Write a file of so many new pictures, or note why it cannot be."""
        try:
            write(path)
        except (ImageError, OSError, MemoryError) as error:
            reason = reason_of_failure(error)
            logger.error("error: %s", printable(f"{path}: {reason}"))
            self.failed.append(Failure(str(path), reason))
        else:
            self.outputs.append(str(path))
            self.generated += pictures


def picture_name(number: int) -> str:
    """Name of a picture's file."""
    return f"{number:05}.png"


def note_generated(
    folder: Path, wanted: Wanted, origin: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Remember what is about to make files; a UserError where others would lie among them.

    With ``overwrite`` a warning tells what stays there, and the folder is taken for mixed.
    """
    try:
        there = {path.name for path in folder.iterdir() if path.is_file()}
        older = sorted(name for name in there if GENERATED.fullmatch(name))
        before = read_origin(folder)
        foreign = older if before != origin else []
        if foreign and not overwrite:
            differences = ", ".join(different(before, origin))
            made = f"made with {differences}" if differences else "made in a way it does not tell"
            raise UserError(
                printable(
                    f"--output: {folder} holds {_listed(foreign)} {made}; choose another folder,"
                    " or --overwrite"
                )
            )
        staying = [name for name in foreign if name not in wanted.names()]
        if staying:
            logger.warning("%s", printable(f"{folder} still holds {_listed(staying)} from before"))
        noted = {} if staying else origin
        write_durably(folder / ORIGIN_FILE, json.dumps(noted, indent=1).encode())
    except OSError as error:
        raise UserError(printable(f"--output: {folder}: {error.strerror}")) from None


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} to {names[-1]},"


def generate_files(painter: NoisePainter, wanted: Wanted, folder: Path) -> Generated:
    """Write all that is wanted, of which each process has its share; what they did together."""
    began, result, processes = time.perf_counter(), Generated(), PartialState()
    remove_leftovers(folder)
    own = range(wanted.count)[processes.process_index :: processes.num_processes]
    for number, pixels in zip(own, painter.numbered(own), strict=True):
        result.write(folder / picture_name(number), 1, partial(write_image, pixels=pixels))
    if processes.is_main_process:
        if wanted.count:
            shown = list(painter.numbered(range(min(wanted.count, SHOWN))))
            result.write(folder / GRID_FILE, 0, partial(write_image, pixels=grid(shown)))
        if wanted.ends is not None:
            path = folder / wanted.animation(wanted.ends)
            frames = painter.on_the_way(*wanted.ends, wanted.frames)
            write = partial(write_animation, frames=frames, frames_per_second=FRAMES_PER_SECOND)
            result.write(path, wanted.frames, write)
    result.seconds = time.perf_counter() - began
    return gathered(result)


def gathered(own: Generated) -> Generated:
    """What all processes did together."""
    parts = parts_of_all(own)
    return Generated(
        sum(part.generated for part in parts),
        sorted(path for part in parts for path in part.outputs),
        sorted((failure for part in parts for failure in part.failed), key=lambda f: f.path),
        max(part.seconds for part in parts),
    )
