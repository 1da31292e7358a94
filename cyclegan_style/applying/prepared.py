"""One generator where and how it computes: tensors in, tensors out, within a budget of memory."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from cyclegan_style.applying.cpu_layers import quicken, quicken_16_bits
from cyclegan_style.applying.tiling import StripedGenerator, default_stripe_height, peak_bytes
from cyclegan_style.config import GeneratorConfig
from cyclegan_style.data.images import Pixels, levels_with_fractions, normalised, quantised
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks.sizes import SMALLEST_SIDE, kernels_at_ends, size_divisor
from cyclegan_style.system.hardware import compiler_options, name_of_format
from cyclegan_style.system.memory import free_memory

WHOLE_MAPS = {
    ("resnet", "strided"): 2.5,
    ("resnet", "blurred"): 3.1,
    ("resnet", "unshuffled"): 3.0,
    ("unet", "strided"): 1.5,
    ("unet", "blurred"): 1.6,
    ("residual_unet", "strided"): 2.0,
    ("residual_unet", "blurred"): 2.2,
}
"""Maps of full resolution that one pass holds at its peak, measured on a CPU, with some room."""
ENLARGED_MAPS = {"resnet": 6.0, "unet": 3.5, "residual_unet": 3.5}
"""The same without transposed convolutions; a resnet has a map of twice the channels and its copy
with a border."""
MAPS_AT_FULL_SIZE = 2.0
"""The same for as many channels of a U-Net's maps at full size."""
MAPS_OF_ATTENTION = 4.0
"""The same at a resnet's attention; a U-Net's lies deeper, where maps are small."""
MORE_ON_GPUS = 1.6
"""Times as much for copies between layouts and for workspaces; not measured."""

NO_LIMIT = 2**62
"""Bytes that no machine has: a budget of memory that limits nothing."""

NORMS = (nn.InstanceNorm2d, nn.BatchNorm2d, nn.GroupNorm)

LARGEST_ERROR = 2.0
"""Errors of a compiled network, as multiples of those that its 16 bits make anyway."""

logger = logging.getLogger(__name__)

Network = Callable[[Tensor], Tensor]


class OutputError(UserError):
    """A network that gives no numbers."""


class PreparedGenerator:
    """A copy of a generator with the fastest layers of their kind, for many threads."""

    def __init__(
        self,
        generator: LoadedGenerator,
        device: torch.device,
        dtype: torch.dtype,
        memory_budget: int | None = None,
    ) -> None:
        self.in_channels = generator.in_channels
        self.out_channels = generator.out_channels
        self.config = generator.config
        self.device = device
        self.dtype = dtype
        self.memory_budget = memory_budget
        self.divisor = size_divisor(generator.config)
        self.smallest_side = max(self.divisor, SMALLEST_SIDE)
        self.network = prepared_network(deepcopy(generator.network), device, dtype)
        self.compiled: dict[torch.Size, Network] = {}
        """By the shape of the batches that they are faster for."""
        # One pass at a time: the budget is for all threads, and a pass uses all cores anyway.
        self._turn = threading.Lock()
        self._free = free_memory(device)

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
        # A copy, since tensors of the inference mode cannot take part in training.
        return self._computed(batch).clone(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def translate_pixels(self, pictures: Pixels) -> Pixels:
        """Translate N×H×W×C pixels, which travel to the device and back as they are."""
        batch = torch.from_numpy(pictures)
        # Stripes fetch their rows from where the picture is.
        if self.whole_bytes(*pictures.shape[1:3]) <= self._budget():
            pinned = batch.pin_memory() if self.device.type == "cuda" else batch
            batch = pinned.to(self.device, non_blocking=True)
        output = self._computed(normalised(batch.permute(0, 3, 1, 2)))
        if output.isnan().any():
            raise OutputError(
                "the model's output is no number; its weights are damaged, or too large for"
                f" {name_of_format(self.dtype)}"
            )
        levels = quantised(output) if batch.dtype == torch.uint8 else levels_with_fractions(output)
        translations: Pixels = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return translations

    def translate_together(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """Translate H×W×C pixels of one fitting size, each reflected to it, in one batch."""
        padded = [self._padded_pixels(picture) for picture in pictures]
        translations = self.translate_pixels(np.stack([pixels for pixels, _, _ in padded]))
        return [
            translation[top : top + picture.shape[0], left : left + picture.shape[1]]
            for translation, picture, (_, top, left) in zip(
                translations, pictures, padded, strict=True
            )
        ]

    def compile_if_faster(self, batch: int, height: int, width: int) -> bool:
        """Compile the network for batches of one shape; keep that if it is faster and as exact.

        It takes from some seconds to a minute, which pays for hundreds of pictures. In float32 the
        convolutions take nearly all the time, and compiling gained nothing.
        """
        # One picture at a time is also computed in float32, which takes twice the memory.
        needed = max(batch, 2) * self.whole_bytes(height, width)
        if self.dtype == torch.float32 or needed > self._budget():
            return False
        example = torch.rand(batch, self.in_channels, height, width) * 2 - 1
        inputs = self._placed(self._padded(example)[0])
        if inputs.shape in self.compiled:
            return True
        options = compiler_options(self.device)
        compiled = torch.compile(self.network, dynamic=False, options=options)
        with self._turn, torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            try:
                as_exact = self._is_as_exact(compiled, inputs)
                before = self._seconds(self.network, inputs)
                after = self._seconds(compiled, inputs)
            except Exception as error:  # no compiler for C++ on this machine, or too little memory
                logger.warning("not compiled: %s", printable(str(error).partition("\n")[0]))
                return False
            if as_exact and after < before:
                self.compiled[inputs.shape] = compiled
        logger.info("compiled: %.3f s instead of %.3f s a batch", after, before)
        return inputs.shape in self.compiled

    def _is_as_exact(self, compiled: Network, inputs: Tensor) -> bool:
        """Whether a network is about as near to float32 as the plain one of 16 bits is."""
        exact = deepcopy(self.network).float()
        expected = torch.cat([exact(picture) for picture in inputs.float().split(1)])
        plain, other = ((network(inputs) - expected).abs() for network in (self.network, compiled))
        mean, largest = other.mean() / plain.mean(), other.max() / plain.max()
        return bool(torch.max(mean, largest) <= LARGEST_ERROR)

    def _seconds(self, network: Network, inputs: Tensor) -> float:
        """The shortest of a few passes."""
        times = []
        for _ in range(3):
            started = time.perf_counter()
            network(inputs).float().mean().item()  # waits for the device
            times.append(time.perf_counter() - started)
        return min(times)

    def at_once(self, height: int, width: int) -> int:
        """How many pictures of a size can be computed at once; a UserError if not even one."""
        height, width = self.fitting_size(height, width)
        budget, needed = self._budget(), self.whole_bytes(height, width)
        if needed > budget:
            self._stripe_height(height, width, budget)
        return max(1, budget // needed)

    def whole_bytes(self, height: int, width: int) -> int:
        """Estimate of the memory that one pass over a picture takes, beside the weights."""
        pixels = height * width
        maps = _whole_maps(self.config) * self.config.channels * self.dtype.itemsize
        if self.device.type != "cpu":
            maps *= MORE_ON_GPUS
        pictures = (self.in_channels + self.out_channels) * torch.float32.itemsize
        if self.config.architecture == "resnet":  # its last layer's rows of kernels
            maps += kernels_at_ends(self.config)[1] * self.out_channels * self.dtype.itemsize
        return round(pixels * (maps + pictures))

    def _computed(self, batch: Tensor) -> Tensor:
        """The translations, in float32 and where the batch is."""
        height, width = batch.shape[2:]
        padded, top, left = self._padded(batch)
        with self._turn, torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            self._free = free_memory(self.device)
            output = self._within_budget(padded)
        return output[:, :, top : top + height, left : left + width]

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

    def _padded_pixels(self, pixels: Pixels) -> tuple[Pixels, int, int]:
        """The same of pixels."""
        # A copy: torch.from_numpy takes no mirrored views.
        picture = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        padded, top, left = self._padded(picture[None])
        return padded[0].permute(1, 2, 0).numpy(), top, left

    def fitting_size(self, height: int, width: int) -> tuple[int, int]:
        """The least height and width from these up that the network maps to themselves."""
        return self._fitting_side(height), self._fitting_side(width)

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
        if self.config.attention:
            needed = gigabytes(self.whole_bytes(height, width))
            raise UserError(
                f"{width}×{height} pixels need about {needed} of memory, more than the budget of"
                f" {gigabytes(budget)}, and a model with generator.attention takes no stripes:"
                " translate smaller pictures"
            )
        channels = self.config.channels
        kernel = max(kernels_at_ends(self.config))
        needed_by = partial(peak_bytes, height, width, channels, self.dtype, kernel=kernel)
        stripe = default_stripe_height(width, channels, self.dtype)
        while stripe > 8 and needed_by(stripe_height=stripe) > budget:
            stripe //= 2
        least = needed_by(stripe_height=stripe)
        if least > budget:
            raise UserError(
                f"{width}×{height} pixels need about {gigabytes(least)} of memory even in stripes,"
                f" more than the budget of {gigabytes(budget)}"
            )
        return stripe


def _whole_maps(config: GeneratorConfig) -> float:
    """Maps of full resolution and ``config.channels`` channels that one pass holds at its peak."""
    beside = MAPS_AT_FULL_SIZE * config.full_size_channels / config.channels
    if config.upsampling != "transposed":
        return ENLARGED_MAPS[config.architecture] + beside
    maps = WHOLE_MAPS[config.architecture, config.downsampling] + beside
    attends = config.attention and config.architecture == "resnet"
    return max(maps, MAPS_OF_ATTENTION) if attends else maps


def gigabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 10**9:.2g} GB" if count >= 10**8 else f"{count / 10**6:.2g} MB"


def prepared_network(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
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
        quicken_16_bits(network)
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
