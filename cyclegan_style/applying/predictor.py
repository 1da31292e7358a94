"""One trained generator, for pictures of any size.

``translate`` and ``translate_batch`` are for pictures, ``translate_tensor`` for tensors; one
predictor serves many threads.
"""

import itertools
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cyclegan_style.applying.cpu_layers import group_norms, quicken
from cyclegan_style.applying.tiling import StripedGenerator, default_stripe_height, peak_bytes
from cyclegan_style.config import parse_bytes
from cyclegan_style.data.images import (
    MAX_PIXELS,
    Pixels,
    from_pillow,
    opened_image,
    read_image,
    resize,
    to_pillow,
    to_pixels,
    to_tensor,
)
from cyclegan_style.data.metadata import Metadata, kept_metadata
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.model_files import DirectionName, LoadedGenerator, load_generator
from cyclegan_style.networks.sizes import SMALLEST_SIDE, size_divisor
from cyclegan_style.system.hardware import compiler_options, fastest_format, free_memory

Picture = str | Path | Image.Image | Pixels
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]

MOST_CHANNELS = 4
WHOLE_MAPS = {"resnet": 2.5, "unet": 1.5}
"""Maps of full resolution that one pass holds at its peak, measured on a CPU, with some room."""
MORE_ON_GPUS = 1.6
"""Times as much for copies between layouts and for workspaces; not measured."""

NORMS = (nn.InstanceNorm2d, nn.BatchNorm2d)

LARGEST_DIFFERENCE = 0.1
"""Between outputs in [-1, 1] of a compiled network and the plain one, in 16 bits."""

logger = logging.getLogger(__name__)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Predictor:
    """Translates pictures in one direction."""

    def __init__(
        self,
        generator: LoadedGenerator,
        device: torch.device,
        dtype: torch.dtype,
        memory_budget: int | None = None,
        *,
        working_size: int | None = None,
        keep_alpha: bool = False,
    ) -> None:
        self.direction = generator.direction
        self.in_channels = generator.in_channels
        self.out_channels = generator.out_channels
        self.config = generator.config
        self.device = device
        self.dtype = dtype
        self.memory_budget = memory_budget
        self.working_size = working_size
        self.keep_alpha = keep_alpha and generator.in_channels in (1, 3)
        self.divisor = size_divisor(generator.config)
        self.smallest_side = max(self.divisor, SMALLEST_SIDE)
        self.network = _prepared(deepcopy(generator.network), device, dtype)
        self.compiled: dict[torch.Size, Callable[[Tensor], Tensor]] = {}
        """By the shape of the batches that they are faster for."""
        # One pass at a time: the budget is for the predictor, and a pass uses all cores anyway.
        self._turn = threading.Lock()
        self._free = free_memory(device)

    @classmethod
    def load(
        cls,
        model: str | Path,
        direction: DirectionName | None = None,
        device: str | torch.device = "auto",
        precision: PrecisionName = "auto",
        memory_budget: str | float | None = None,
        *,
        working_size: int | None = None,
        keep_alpha: bool = False,
    ) -> "Predictor":
        """Load a run folder, an exported folder, a Hub repository or a reference generator file.

        Without a direction it is ``ab``, or the one that the name of a reference file tells.
        Pictures that would take more than ``memory_budget`` (such as ``"2GB"``; by default what is
        free) are computed in stripes, with the same result. With a ``working_size``, pictures are
        resized so that this is their shorter side, and their translation back to their own size:
        for models that know only one scale. ``keep_alpha`` hands transparency on; otherwise it is
        laid on white.
        """
        if working_size is not None and working_size < 1:
            raise UserError(f"working size must be at least 1, not {working_size}")
        chosen = choose_device(device)
        return cls(
            load_generator(model, direction),
            chosen,
            choose_dtype(precision, chosen),
            _bytes(memory_budget),
            working_size=working_size,
            keep_alpha=keep_alpha,
        )

    def translate(self, picture: Picture) -> Image.Image:
        """Translate a path, a Pillow image or H×W×C uint8 pixels to an image of the same size.

        Its ``info`` holds what ``save`` can be given of the input's metadata: ``exif`` and, if the
        input had a colour profile, ``icc_profile`` of sRGB.
        """
        return self.translate_batch([picture])[0]

    def translate_batch(self, pictures: Sequence[Picture]) -> list[Image.Image]:
        """Translate pictures of any sizes; those of one size go through the network together."""
        if isinstance(pictures, str | Path | Image.Image):
            raise UserError("translate_batch takes a list of pictures; translate takes one")
        inputs = [self.read_with_metadata(picture) for picture in pictures]
        outputs = self.translate_pixels([pixels for pixels, _ in inputs])
        return [
            to_pillow(output, metadata)
            for output, (_, metadata) in zip(outputs, inputs, strict=True)
        ]

    def translate_pixels(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """Translate pixels as ``read`` gives them, with the network's channels or alpha beside."""
        places: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, picture in enumerate(pictures):
            places[picture.shape].append(place)
        outputs: dict[int, Pixels] = {}
        for shape, group in places.items():
            at_once = self.require_memory(*shape[:2])
            for part in (group[i : i + at_once] for i in range(0, len(group), at_once)):
                inputs = [to_tensor(self._input(pictures[place])) for place in part]
                batch = inputs[0][None] if len(part) == 1 else torch.stack(inputs)
                translations = self.translate_tensor(batch)
                if translations.isnan().any():
                    raise UserError(
                        "the model's output is no number; its weights are damaged, or too large for"
                        f" {str(self.dtype).removeprefix('torch.')}"
                    )
                for place, image in zip(part, translations, strict=True):
                    outputs[place] = self._output(to_pixels(image), pictures[place])
        return [outputs[place] for place in range(len(pictures))]

    def translate_tensor(self, batch: Tensor) -> Tensor:
        """Translate N×C×H×W in [-1, 1] to the same size, in float32 and on the batch's device."""
        if not (isinstance(batch, Tensor) and batch.is_floating_point()):
            kind = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
            raise UserError(f"translate_tensor takes a tensor of floats in [-1, 1], not {kind}")
        if batch.ndim != 4 or batch.shape[1] != self.in_channels or 0 in batch.shape[2:]:
            raise UserError(
                f"the model takes tensors of N×{self.in_channels}×H×W, not"
                f" {'×'.join(map(str, batch.shape))}"
            )
        count, _, height, width = batch.shape
        if count == 0:
            return batch.new_empty((0, self.out_channels, height, width), dtype=torch.float32)
        padded, top, left = self._padded(batch)
        with self._turn, torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            self._free = free_memory(self.device)
            output = self._within_budget(padded)
        # A copy, since tensors of the inference mode cannot take part in training.
        cropped = output[:, :, top : top + height, left : left + width]
        return cropped.clone(memory_format=torch.contiguous_format)

    def compile_if_faster(self, batch: int, height: int, width: int) -> bool:
        """Compile the network for batches of one shape; keep that if it is faster and as exact.

        It takes from some seconds to a minute, which pays for hundreds of pictures.
        """
        if batch * self.whole_bytes(height, width) > self._budget():
            return False
        example = torch.rand(batch, self.in_channels, height, width) * 2 - 1
        inputs = self._placed(self._padded(example)[0])
        if inputs.shape in self.compiled:
            return True
        options = compiler_options(self.device)
        compiled = torch.compile(self.network, dynamic=False, options=options)
        with self._turn, torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            try:
                difference = (compiled(inputs) - self.network(inputs)).abs().max().item()
                before = self._seconds(self.network, inputs)
                after = self._seconds(compiled, inputs)
            except Exception as error:  # no compiler for C++ on this machine, or too little memory
                logger.warning("not compiled: %s", printable(str(error).partition("\n")[0]))
                return False
            if difference <= LARGEST_DIFFERENCE and after < before:
                self.compiled[inputs.shape] = compiled
        logger.info("compiled: %.3f s instead of %.3f s a batch", after, before)
        return inputs.shape in self.compiled

    def _seconds(self, network: Callable[[Tensor], Tensor], inputs: Tensor) -> float:
        """The shortest of a few passes."""
        times = []
        for _ in range(3):
            started = time.perf_counter()
            network(inputs).float().mean().item()  # waits for the device
            times.append(time.perf_counter() - started)
        return min(times)

    def read(self, picture: Picture) -> Pixels:
        """Pixels of a picture, upright and with the channels that the network takes.

        If alpha is to be kept and not all of the picture is opaque, it is one channel more.
        """
        self.require_picture_channels()
        if not self.keep_alpha:
            return self._read(picture, self.in_channels)
        pixels = self._read(picture, self.in_channels + 1)
        return pixels if (pixels[:, :, -1] < 255).any() else pixels[:, :, :-1]

    def read_with_metadata(self, picture: Picture) -> tuple[Pixels, Metadata]:
        """Pixels as ``read`` gives them, and what a translation keeps of the file's metadata."""
        if isinstance(picture, str | Path):
            with opened_image(Path(picture)) as image:
                self.require_memory(image.height, image.width)
                return self.read(image), kept_metadata(image)
        metadata = kept_metadata(picture) if isinstance(picture, Image.Image) else {}
        return self.read(picture), metadata

    def require_picture_channels(self) -> None:
        """Raise a UserError for a model that does not translate pictures to pictures."""
        for channels in (self.in_channels, self.out_channels):
            if channels > MOST_CHANNELS:
                raise UserError(
                    f"the model has {channels} channels, and pictures up to {MOST_CHANNELS};"
                    " translate_tensor takes any number"
                )

    def require_memory(self, height: int, width: int) -> int:
        """How many pictures of a size can be computed at once; a UserError if not even one."""
        height, width = self._working_sides(height, width)
        if height * width > MAX_PIXELS:
            raise UserError(f"{width}×{height} pixels are more than the limit of {MAX_PIXELS:,}")
        height, width = (self._fitting_side(side) for side in (height, width))
        budget, needed = self._budget(), self.whole_bytes(height, width)
        if needed > budget:
            self._stripe_height(height, width, budget)
        return max(1, budget // needed)

    def _read(self, picture: Picture, channels: int) -> Pixels:
        if isinstance(picture, str | Path):
            return read_image(picture, channels)
        if isinstance(picture, Image.Image):
            return from_pillow(picture, channels)
        if not isinstance(picture, np.ndarray):
            raise UserError(
                "a picture must be a path, a Pillow image or an array of pixels, not"
                f" {type(picture).__name__}"
            )
        if picture.dtype != "uint8" or picture.ndim != 3 or picture.shape[2] not in (1, 2, 3, 4):
            raise UserError(
                "pixels must be H×W×C of uint8 with 1 to 4 channels, not"
                f" {'×'.join(map(str, picture.shape))} of {picture.dtype}"
            )
        if 0 in picture.shape:
            raise UserError("pixels must be at least 1×1")
        return from_pillow(to_pillow(picture), channels)

    def _input(self, pixels: Pixels) -> Pixels:
        """What the network gets to see of a picture."""
        if pixels.shape[2] != self.in_channels:
            pixels = from_pillow(to_pillow(pixels), self.in_channels)
        if self.working_size is None:
            return pixels
        return resize(pixels, self._working_sides(*pixels.shape[:2]))

    def _working_sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a picture is translated."""
        if self.working_size is None:
            return height, width
        scale = self.working_size / min(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _output(self, translation: Pixels, picture: Pixels) -> Pixels:
        """The translation at the picture's size and with its alpha."""
        if translation.shape[:2] != picture.shape[:2]:
            height, width = picture.shape[:2]
            translation = resize(translation, (height, width))
        if picture.shape[2] == self.in_channels or self.out_channels not in (1, 3):
            return translation
        return np.concatenate([translation, picture[:, :, -1:]], axis=2)

    def _padded(self, batch: Tensor) -> tuple[Tensor, int, int]:
        """Reflect the picture beyond its borders to a size that the network maps to itself."""
        offsets: list[int] = []
        for axis in (2, 3):
            side = batch.shape[axis]
            target = self._fitting_side(side)
            offset = (target - side) // 2
            if target > side:
                indices = _reflected(target, side, offset).to(batch.device)
                batch = batch.index_select(axis, indices)
            offsets.append(offset)
        return batch, offsets[0], offsets[1]

    def _fitting_side(self, side: int) -> int:
        """The least side from this one up that the network maps to itself."""
        return max(self.smallest_side, -(-side // self.divisor) * self.divisor)

    def _within_budget(self, batch: Tensor) -> Tensor:
        """As many pictures at once as the budget allows, or one in stripes."""
        height, width = batch.shape[2:]
        budget = self._budget()
        needed = self.whole_bytes(height, width)
        if needed > budget:
            return torch.cat([self._in_stripes(picture[None], budget) for picture in batch])
        at_once = max(1, budget // needed)
        # Batch norm at rest mixes no pictures, so batches can be cut anywhere.
        parts = [self._in_one_pass(part) for part in batch.split(at_once)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _budget(self) -> int:
        """Bytes that a pass may take: what is given, or free between passes, which hold much."""
        if self.memory_budget is not None:
            return self.memory_budget
        if self._turn.acquire(blocking=False):
            try:
                self._free = free_memory(self.device)
            finally:
                self._turn.release()
        return self._free

    def _in_one_pass(self, batch: Tensor) -> Tensor:
        inputs = self._placed(batch)
        output = self.compiled.get(inputs.shape, self.network)(inputs)
        return output.to(batch.device, torch.float32)

    def _placed(self, batch: Tensor) -> Tensor:
        """The batch where and how the network computes."""
        layout = _memory_format(self.device, self.dtype)
        return batch.to(self.device, self.dtype).contiguous(memory_format=layout)

    def _in_stripes(self, picture: Tensor, budget: int) -> Tensor:
        stripe = self._stripe_height(picture.shape[2], picture.shape[3], budget)
        return StripedGenerator(self.network, stripe)(picture)

    def _stripe_height(self, height: int, width: int, budget: int) -> int:
        """Rows of stripes that keep to the budget; a UserError if none do."""
        channels = self.config.channels
        stripe = default_stripe_height(width, channels, self.dtype)
        while stripe > 8 and peak_bytes(height, width, channels, self.dtype, stripe) > budget:
            stripe //= 2
        least = peak_bytes(height, width, channels, self.dtype, stripe)
        if least > budget:
            raise UserError(
                f"{width}×{height} pixels need about {gigabytes(least)} of memory even in stripes,"
                f" more than the budget of {gigabytes(budget)}"
            )
        return stripe

    def whole_bytes(self, height: int, width: int) -> int:
        """Estimate of the memory that one pass over a picture takes, beside the weights."""
        pixels = height * width
        maps = WHOLE_MAPS[self.config.architecture] * self.config.channels * self.dtype.itemsize
        if self.device.type != "cpu":
            maps *= MORE_ON_GPUS
        pictures = (self.in_channels + self.out_channels) * torch.float32.itemsize
        if self.config.architecture == "resnet":  # its last layer's rows of kernels
            maps += 7 * self.out_channels * self.dtype.itemsize
        return round(pixels * (maps + pictures))


def gigabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 10**9:.2g} GB" if count >= 10**8 else f"{count / 10**6:.2g} MB"


def _prepared(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The network where and how it computes, with the fastest layers of their kind."""
    layout = _memory_format(device, dtype)
    network = network.to(device, dtype, memory_format=layout).eval()  # type: ignore[call-overload]
    for module in list(network.modules()):
        layers = list(module.named_children())
        for (_, norm), (_, activation) in itertools.pairwise(layers):
            if isinstance(norm, NORMS) and isinstance(activation, nn.ReLU):
                activation.inplace = True  # nothing else sees what a norm returns
    if device.type == "cpu" and dtype == torch.float32:
        quicken(network)
    else:
        group_norms(network)
    return network


def _memory_format(device: torch.device, dtype: torch.dtype) -> torch.memory_format:
    """Channels-last is what the kernels of CPUs and those of 16 bits on GPUs want."""
    fast = device.type == "cpu" or (device.type == "cuda" and dtype != torch.float32)
    return torch.channels_last if fast else torch.contiguous_format


def _reflected(length: int, side: int, offset: int) -> Tensor:
    """Index of the source pixel for each of ``length`` places, back and forth as in a mirror."""
    if side == 1:
        return torch.zeros(length, dtype=torch.long)
    period = 2 * (side - 1)
    places = (torch.arange(length) - offset) % period
    return torch.where(places < side, places, period - places)


def choose_device(name: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` takes the fastest there is."""
    if name != "auto":
        try:
            device = torch.device(name)
            torch.ones(1, device=device).item()
        except (RuntimeError, AssertionError, ImportError, TypeError) as error:
            reason = str(error).strip().splitlines()[0].partition(". ")[0]
            raise UserError(f"device {name!r} cannot be used: {reason}") from None
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The number format; ``auto`` takes 16 bits only where the hardware is fast at them."""
    if precision != "auto":
        if precision not in _DTYPES:
            raise UserError(f"precision {precision!r} is none of auto, {', '.join(_DTYPES)}")
        return _DTYPES[precision]
    return fastest_format(device.type)


def _bytes(budget: str | float | None) -> int | None:
    if budget is None:
        return None
    try:
        size = parse_bytes(budget) if isinstance(budget, str) else int(budget)
    except (ValueError, OverflowError) as error:
        raise UserError(f"memory budget: {error}") from None
    if size < 1:
        raise UserError(f"memory budget must be more than 0, not {budget}")
    return size
