"""One trained generator, for pictures of any size.

``translate`` and ``translate_batch`` are for pictures, ``translate_tensor`` for tensors; one
predictor serves many threads.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cyclegan_style.applying.number_format import choose_dtype
from cyclegan_style.applying.prepared import PreparedGenerator
from cyclegan_style.config import parse_bytes
from cyclegan_style.data.deep_files import (
    Stored,
    is_deep,
    picture_size,
    read_picture,
    read_stored,
)
from cyclegan_style.data.images import (
    MAX_PIXELS,
    Picture,
    Pixels,
    from_pillow,
    opened_image,
    pixels_of,
    resize,
    to_pillow,
)
from cyclegan_style.data.levels import Range, Values, with_channels, written_values
from cyclegan_style.data.metadata import Metadata, kept_metadata
from cyclegan_style.errors import UserError
from cyclegan_style.models.model_files import DirectionName, LoadedGenerator, load_generator
from cyclegan_style.models.styles import with_strength, with_style
from cyclegan_style.system.hardware import PrecisionName, choose_device

MOST_CHANNELS = 4


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
        self.in_range = generator.in_range
        """Values that become -1 and 1 for the network; None where it takes pictures of 8 bits."""
        self.out_range = generator.out_range
        self.working_size = working_size
        self.keep_alpha = keep_alpha and generator.in_channels in (1, 3)
        self.checksum = generator.checksum()
        self.core = PreparedGenerator(generator, device, dtype, memory_budget)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.core.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format in which the network computes."""
        return self.core.dtype

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
        style: str | None = None,
        strength: float = 1.0,
    ) -> "Predictor":
        """Load a run folder, an exported folder, a Hub repository or a reference generator file.

        Without a direction it is ``ab``, or the one that the name of a reference file tells.
        Pictures that would take more than ``memory_budget`` (such as ``"2GB"``; by default what is
        free) are computed in stripes, with the same result. With a ``working_size``, pictures are
        resized so that this is their shorter side, and their translation back to their own size:
        for models that know only one scale. ``keep_alpha`` hands transparency on; otherwise it is
        laid on white. ``style`` is one of a model with several, such as ``"2"``, or a blend, such
        as ``"1:0.3,2:0.7"``; by default the first. A model with a skip changes its input by
        ``strength``: not at all at 0, as it has learned at 1.
        """
        if working_size is not None and working_size < 1:
            raise UserError(f"working size must be at least 1, not {working_size}")
        chosen = choose_device(device)
        generator = with_style(load_generator(model, direction), style)
        generator = with_strength(generator, strength)
        return cls(
            generator,
            chosen,
            choose_dtype(precision, chosen, generator),
            bytes_of_budget(memory_budget),
            working_size=working_size,
            keep_alpha=keep_alpha,
        )

    def translate(self, picture: Picture) -> Image.Image:
        """Translate a path, a Pillow image or H×W×C uint8 pixels to an image of the same size.

        The image has 8 bits; ``translate_values`` is for arrays of more, and of other channels.
        Its ``info`` holds what ``save`` can be given of the input's metadata: ``exif`` and, if the
        input had a colour profile, ``icc_profile`` of sRGB.
        """
        return self.translate_batch([picture])[0]

    def translate_batch(self, pictures: Sequence[Picture]) -> list[Image.Image]:
        """Translate pictures of any sizes; those that fit go through the network together."""
        if isinstance(pictures, str | Path | Image.Image):
            raise UserError("translate_batch takes a list of pictures; translate takes one")
        if self.out_channels > MOST_CHANNELS:
            raise UserError(
                f"an image has at most {MOST_CHANNELS} channels, and the model makes"
                f" {self.out_channels}: translate_values takes and gives arrays"
            )
        inputs = [self.read_with_metadata(picture) for picture in pictures]
        outputs = self.translate_pixels([pixels for pixels, _ in inputs])
        return [
            to_pillow(output, metadata)
            for output, (_, metadata) in zip(outputs, inputs, strict=True)
        ]

    def translate_pixels(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """Translate pixels as ``read`` gives them, with the network's channels or alpha beside."""
        places: dict[tuple[int, int, str], list[int]] = defaultdict(list)
        for place, picture in enumerate(pictures):
            kind = (*self.fitting_size(*picture.shape[:2]), picture.dtype.kind)
            places[kind].append(place)
        outputs: dict[int, Pixels] = {}
        for group in places.values():
            at_once = min(self.require_memory(*pictures[place].shape[:2]) for place in group)
            for part in (group[i : i + at_once] for i in range(0, len(group), at_once)):
                inputs = [self._input(pictures[place]) for place in part]
                translations = self.core.translate_together(inputs)
                for place, translation in zip(part, translations, strict=True):
                    outputs[place] = self._output(translation, pictures[place])
        return [outputs[place] for place in range(len(pictures))]

    def translate_tensor(self, batch: Tensor) -> Tensor:
        """Translate N×C×H×W in [-1, 1] to the same size, in float32 and on the batch's device."""
        return self.core.translate_tensor(batch)

    def read(self, picture: Picture) -> Pixels:
        """Pixels of a picture, upright and with the channels that the network takes.

        If alpha is to be kept and not all of the picture is opaque, it is one channel more.
        """
        self.require_picture_channels()
        if self.in_range is not None:
            return self._levels(picture, self.in_range)
        if not self.keep_alpha:
            return pixels_of(picture, self.in_channels)
        return _without_opaque_alpha(pixels_of(picture, self.in_channels + 1))

    def read_file(self, path: Path) -> tuple[Pixels, Metadata, np.dtype[Any]]:
        """Pixels of a file with all bits that it has, what is kept of it, and its type.

        If alpha is to be kept and not all of the picture is opaque, it is one channel more.
        """
        if self.in_range is None and self.out_range is None and not is_deep(path):
            return *self.read_with_metadata(path), np.dtype(np.uint8)
        self.require_memory(*picture_size(path))
        stored = read_stored(path)
        with_alpha = self.keep_alpha and stored.alpha
        levels = stored.levels(self.in_channels + with_alpha, self.in_range)
        pixels = _without_opaque_alpha(levels) if with_alpha else levels
        return pixels, stored.metadata, stored.values.dtype

    def translate_values(self, values: Values) -> Values:
        """Translate an array of H×W×C, or H×W of one channel, of any type, as a ``.npy`` file.

        The result has the same type unless it cannot hold the values.
        """
        if values.ndim not in (2, 3) or 0 in values.shape or values.dtype.kind not in "uif":
            shape = "×".join(map(str, values.shape))
            raise UserError(f"values must be H×W or H×W×C numbers, not {shape} of {values.dtype}")
        if not np.isfinite(values).all():
            raise UserError("some of the values are no numbers (NaN or infinite)")
        stored = Stored(values[:, :, None] if values.ndim == 2 else values, {})
        levels = stored.levels(self.in_channels, self.in_range)
        output = self.translate_pixels([levels])[0]
        written = written_values(output, values.dtype, self.out_range, self.in_range)
        return written[:, :, 0] if values.ndim == 2 and self.out_channels == 1 else written

    def _levels(self, picture: Picture, values_range: Range) -> Pixels:
        """Levels of a picture, of which a Pillow image has 8 bits, and an array any values."""
        if isinstance(picture, str | Path):
            return read_picture(Path(picture), self.in_channels, values_range)
        if isinstance(picture, Image.Image):
            picture = from_pillow(picture, 3 if self.in_channels > 4 else self.in_channels)
        return Stored(picture, {}).levels(self.in_channels, values_range)

    def read_with_metadata(self, picture: Picture) -> tuple[Pixels, Metadata]:
        """Pixels as ``read`` gives them, and what a translation keeps of the file's metadata."""
        if isinstance(picture, str | Path) and self.in_range is not None:
            pixels, kept, _ = self.read_file(Path(picture))
            return pixels, kept
        if isinstance(picture, str | Path):
            with opened_image(Path(picture)) as image:
                self.require_memory(image.height, image.width)
                return self.read(image), kept_metadata(image)
        metadata = kept_metadata(picture) if isinstance(picture, Image.Image) else {}
        return self.read(picture), metadata

    def require_picture_channels(self) -> None:
        """Raise a UserError for a model that does not translate pictures to pictures."""
        domains = ((self.in_channels, self.in_range), (self.out_channels, self.out_range))
        for channels, values_range in domains:
            if channels > MOST_CHANNELS and values_range is None:
                raise UserError(
                    f"the model has {channels} channels, and pictures up to {MOST_CHANNELS};"
                    " translate_tensor takes any number"
                )

    def require_eight_bits(self, what: str) -> None:
        """Raise a UserError for a model of values of a range, where only 8 bits come and go."""
        if self.in_range is not None or self.out_range is not None:
            raise UserError(f"{what} pictures of 8 bits, and the model was trained with data.range")

    def require_memory(self, height: int, width: int) -> int:
        """How many pictures of a size can be computed at once; a UserError if not even one."""
        height, width = self._working_sides(height, width)
        if height * width > MAX_PIXELS:
            raise UserError(f"{width}×{height} pixels are more than the limit of {MAX_PIXELS:,}")
        return self.core.at_once(height, width)

    def fitting_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which the network sees a picture: equal ones go through together."""
        return self.core.fitting_size(*self._working_sides(height, width))

    def _input(self, pixels: Pixels) -> Pixels:
        """What the network gets to see of a picture."""
        if pixels.shape[2] != self.in_channels and pixels.dtype == np.uint8:
            pixels = from_pillow(to_pillow(pixels), self.in_channels)
        elif pixels.shape[2] != self.in_channels:
            pixels = with_channels(pixels, self.in_channels, alpha=True)
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


def _without_opaque_alpha(pixels: Pixels) -> Pixels:
    return pixels if (pixels[:, :, -1] < 255).any() else pixels[:, :, :-1]


def bytes_of_budget(budget: str | float | None) -> int | None:
    """A budget of memory such as ``2GB`` as a number; a UserError if it is none."""
    if budget is None:
        return None
    try:
        size = parse_bytes(budget) if isinstance(budget, str) else int(budget)
    except (ValueError, OverflowError) as error:
        raise UserError(f"memory budget: {error}") from None
    if size < 1:
        raise UserError(f"memory budget must be more than 0, not {budget}")
    return size
