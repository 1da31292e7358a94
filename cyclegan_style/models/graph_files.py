"""A generator as one file that runs without this package: by ONNX, or by ``torch.export``.

Batch, height and width stay free; height and width are multiples of the generator's divisor. The
file is compared with the generator at several sizes before it appears under its name.
"""

import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.export import Dim
from torch.fx.experimental import _config as symbolic_shapes

from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks.sizes import SMALLEST_SIDE, size_divisor
from cyclegan_style.system.whole_files import write_durably

TOLERANCE = 1e-3
"""Largest difference of an output, between -1 and 1, with which a file is still written."""
METADATA_FILE = "cyclegan_style.json"
"""Name under which ``torch.export.load`` finds the metadata in a ``.pt2`` file."""
INPUT, OUTPUT = "image", "translation"

Translate = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GraphCheck:
    """A written file, and how far it is from the generator."""

    path: str
    largest_error: float
    sizes: list[tuple[int, ...]]
    """Inputs that were compared: batch, channels, height, width."""


def write_onnx(generator: LoadedGenerator, path: Path) -> GraphCheck:
    """Write an ONNX file whose output onnxruntime finds equal to the generator's."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401, which torch.onnx needs
    except ImportError as error:
        raise UserError(
            f"--onnx: {error.name} is not installed; pip install 'cyclegan-style[onnx]'"
        ) from None
    with _sides_of_one_pixel():
        program = torch.onnx.export(
            generator.network,
            (_example(generator),),
            dynamo=True,
            dynamic_shapes=_free_sizes(generator),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,  # it would print to stdout
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, _metadata(generator))
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def translate(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: image.numpy()})[0])

    return _write_checked(generator, path, content, translate)


def write_torch_export(generator: LoadedGenerator, path: Path) -> GraphCheck:
    """Write a ``.pt2`` file that, loaded again, gives the generator's output."""
    with _sides_of_one_pixel():
        program = torch.export.export(
            generator.network, (_example(generator),), dynamic_shapes=_free_sizes(generator)
        )
    content = io.BytesIO()
    metadata = {METADATA_FILE: json.dumps(_metadata(generator))}
    torch.export.save(program, content, extra_files=metadata)
    content.seek(0)
    loaded = torch.export.load(content).module()
    return _write_checked(generator, path, content.getvalue(), loaded)


def _sides_of_one_pixel() -> AbstractContextManager[object]:
    """Let a U-Net's smallest picture through, whose innermost map has one pixel.

    Tracing takes it for certain that a free side is not 1 wherever only the memory layout depends
    on that; this setting of torch keeps it from doing so.
    """
    setting = symbolic_shapes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    return cast(AbstractContextManager[object], setting)


def _example(generator: LoadedGenerator) -> Tensor:
    """What the generator is traced with; of no size that is compared, and no side alike."""
    divisor = size_divisor(generator.config)
    return torch.zeros(2, generator.in_channels, 5 * divisor, 7 * divisor)


def _free_sizes(generator: LoadedGenerator) -> tuple[dict[int, object]]:
    divisor = size_divisor(generator.config)
    least = max(1, SMALLEST_SIDE // divisor)
    height, width = (divisor * Dim(name, min=least) for name in ("height", "width"))
    return ({0: Dim("batch"), 2: height, 3: width},)


def _metadata(generator: LoadedGenerator) -> dict[str, str]:
    divisor = size_divisor(generator.config)
    return {
        "direction": generator.direction,
        "architecture": generator.config.architecture,
        "size_divisor": str(divisor),
        "smallest_side": str(max(divisor, SMALLEST_SIDE)),
        "layout": "batch, channels, height, width",
        "value_range": "-1 to 1",
    }


def _write_checked(
    generator: LoadedGenerator, path: Path, content: bytes, translate: Translate
) -> GraphCheck:
    """Write the content if ``translate``, which computes with it, does as the generator does."""
    draws = torch.Generator().manual_seed(0)
    errors = []
    for shape in _compared_shapes(generator):
        image = torch.rand(shape, generator=draws) * 2 - 1
        with torch.no_grad():
            errors.append((translate(image) - generator.network(image)).abs().max())
    largest = torch.stack(errors).max().item()
    if not largest <= TOLERANCE:
        raise UserError(
            printable(f"{path}: not written, since its output differs from the model's: {largest}")
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)
    except OSError as error:
        raise UserError(printable(f"{path}: cannot be written: {error.strerror}")) from None
    return GraphCheck(str(path), largest, _compared_shapes(generator))


def _compared_shapes(generator: LoadedGenerator) -> list[tuple[int, ...]]:
    """The smallest picture, two pictures at once, and one that is wide."""
    divisor, channels = size_divisor(generator.config), generator.in_channels
    smallest = max(divisor, SMALLEST_SIDE)
    side = -(-64 // divisor) * divisor
    return [
        (1, channels, smallest, smallest),
        (2, channels, side + divisor, side + 2 * divisor),
        (1, channels, side, side + 3 * divisor),
    ]
