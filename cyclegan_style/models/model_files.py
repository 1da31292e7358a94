"""Whatever holds a trained model → one generator.

A model is a run folder, an exported model folder, a repository on the Hugging Face Hub, or a
generator file of the reference implementation or a folder of two, whose architecture is read off
their tensors.
"""

import hashlib
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from cyclegan_style.config import DataConfig, GeneratorConfig, RunConfig, TaskName, from_yaml
from cyclegan_style.data.levels import Range, is_range
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.configurations import depth_of
from cyclegan_style.models.export import CONFIG_FILE, MODEL_FOLDER, generator_file
from cyclegan_style.models.hub import download_model
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.layers import NormName
from cyclegan_style.networks.unfilled import unfilled

DirectionName = Literal["ab", "ba"]
State = dict[str, Tensor]

DIRECTION_NAMES: tuple[DirectionName, ...] = ("ab", "ba")
REFERENCE_GENERATORS = {"ab": "latest_net_G_A.pth", "ba": "latest_net_G_B.pth"}
"""Names of the reference's generator files; its ``G_A`` maps A to B."""
NOISE_FILE = generator_file("b")
"""Name of the file with a generator that makes pictures of domain B out of noise."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_BATCH_COUNT = "num_batches_tracked"
_INSTANCE_NORM_BUFFERS = ("running_mean", "running_var", _BATCH_COUNT)
_LISTED = 4


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator in float32 on the CPU, and what built it."""

    network: nn.Module
    config: GeneratorConfig
    in_channels: int
    out_channels: int
    direction: DirectionName
    task: TaskName = "cyclegan"
    """What trained it."""
    in_range: Range | None = None
    """Values that become -1 and 1; None for pictures of 8 bits."""
    out_range: Range | None = None

    @property
    def ranges(self) -> dict[str, Range | None]:
        """The range of values by domain."""
        return dict(zip(self.direction, (self.in_range, self.out_range), strict=True))

    def checksum(self) -> str:
        """SHA-256 of the weights, which tells models apart."""
        return checksum_of(self.network)


def checksum_of(network: nn.Module) -> str:
    """SHA-256 of a network's tensors."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Shape:
    """What the constructor of a generator has to be told."""

    config: GeneratorConfig
    in_channels: int
    out_channels: int


def load_generator(model: str | Path, direction: DirectionName | None = None) -> LoadedGenerator:
    """Load the generator of a direction.

    Without a direction it is ``ab``, or the only one that there is.
    """
    if direction not in (None, *DIRECTION_NAMES):
        raise UserError(f"direction {direction!r} is neither ab nor ba")
    path = local_path(model)
    if path.is_file():
        return _load_file(path, direction)
    folder = find_model_folder(model)
    held = directions_of(folder)
    return _load_folder(folder, direction or (held[0] if len(held) == 1 else "ab"))


def load_generators(model: str | Path) -> dict[str, LoadedGenerator]:
    """Load every generator that a model has: one of a file, commonly two of anything else."""
    path = local_path(model)
    if path.is_file():
        loaded = _load_file(path, None)
        return {loaded.direction: loaded}
    folder = find_model_folder(model)
    return {direction: _load_folder(folder, direction) for direction in directions_of(folder)}


def directions_of(folder: Path) -> list[DirectionName]:
    """Directions that the generators in a folder translate."""
    return [name for name in DIRECTION_NAMES if _file_of(folder, name).is_file()]


def local_path(model: str | Path) -> Path:
    """Where a model lies if it is on this machine; a UserError if it may not be looked at."""
    try:
        path = Path(model).expanduser()
        if path.is_dir():
            (path / MODEL_FOLDER).is_dir()
            next(path.iterdir(), None)
    except OSError as error:
        raise UserError(printable(f"{model}: cannot be read: {error.strerror}")) from None
    except RuntimeError as error:  # a home of nobody
        raise UserError(printable(f"{model}: {error}")) from None
    return path


def find_model_folder(model: str | Path) -> Path:
    """The folder with the generators that translate of a run, a folder or a Hub id."""
    folder = find_folder(model)
    refuse_noise(folder)
    return folder


def find_folder(model: str | Path) -> Path:
    """The folder with the generators, of any task, that a run, a folder or a Hub id means."""
    path = local_path(model)
    for folder in (path / MODEL_FOLDER, path):
        if is_ours(folder) or _is_of_reference(folder) or makes_from_noise(folder):
            return folder
    if path.is_dir():
        raise UserError(
            printable(
                f"{path}: no model there; a run folder has one in {MODEL_FOLDER}/, and that holds"
                f" {CONFIG_FILE}, {generator_file('ab')} and {generator_file('ba')}, or"
                f" {' and '.join(REFERENCE_GENERATORS.values())}"
            )
        )
    if not _HUB_ID.fullmatch(str(model)):
        reason = "and no repository id of the Hub (user/name) either"
    elif path.parent.is_dir() or path.parent == Path(RunConfig().dir).parent:
        reason = f"and not looked for on the Hub, since {path.parent} is a folder of this machine"
    else:
        return find_folder(download_model(str(model)))
    raise UserError(printable(f"{model}: no such file or folder, {reason}"))


def read_generator_file(path: Path) -> tuple[State, GeneratorConfig, int, int]:
    """Tensors of a generator file, with the configuration, in and out channels they tell."""
    state = read_reference_state(path)
    shape = _infer_shape(path, state)
    if shape.config.norm == "instance":
        state = without_norm_buffers(state)
    return state, shape.config, shape.in_channels, shape.out_channels


def direction_of_name(path: Path) -> DirectionName | None:
    """Direction that the name of a generator file tells: ``_A`` maps A to B, ``_B`` B to A."""
    match = re.search(r"(?:G_(A|B)|generator_(ab|ba))$", path.stem)
    if match is None:
        return None
    return "ab" if match[1] == "A" or match[2] == "ab" else "ba"


def _load_file(path: Path, asked: DirectionName | None) -> LoadedGenerator:
    if path.name == NOISE_FILE:
        refuse_noise(path.parent)
    held = direction_of_name(path) or "ab"
    if asked not in (None, held):
        raise UserError(
            printable(f"{path}: by its name it translates {held}, but {asked} was asked for")
        )
    if path.name == generator_file(held) and is_ours(path.parent):
        return _load_folder(path.parent, held)  # its tensors do not tell all of its layers
    state, config, in_channels, out_channels = read_generator_file(path)
    network = _build(path, state, _Shape(config, in_channels, out_channels))
    return LoadedGenerator(network, config, in_channels, out_channels, held)


def is_ours(folder: Path) -> bool:
    """Whether a folder holds generators as they are written here."""
    files = (folder / generator_file(name) for name in DIRECTION_NAMES)
    return (folder / CONFIG_FILE).is_file() and any(path.is_file() for path in files)


def makes_from_noise(folder: Path) -> bool:
    """Whether a folder holds a generator of task noise."""
    return (folder / CONFIG_FILE).is_file() and (folder / NOISE_FILE).is_file()


def refuse_noise(folder: Path) -> None:
    """Raise a UserError if what a folder holds makes pictures out of noise and translates none."""
    if makes_from_noise(folder):
        raise UserError(
            printable(
                f"{folder}: this model makes pictures out of noise (task noise) and takes none: use"
                " cyclegan-style generate"
            )
        )


def _is_of_reference(folder: Path) -> bool:
    return any((folder / name).is_file() for name in REFERENCE_GENERATORS.values())


def _file_of(folder: Path, direction: DirectionName) -> Path:
    """Where the generator of a direction lies, if the model has it."""
    name = generator_file(direction) if is_ours(folder) else REFERENCE_GENERATORS[direction]
    return folder / name


def _load_folder(folder: Path, direction: DirectionName) -> LoadedGenerator:
    path = _file_of(folder, direction)
    if not path.is_file():
        only = " to ".join(directions_of(folder)[0].upper())
        raise UserError(printable(f"{path}: no such file; this model translates {only} only"))
    if not is_ours(folder):
        return _load_file(path, direction)
    sections = read_sections(folder / CONFIG_FILE)
    config = GeneratorConfig(**known_fields(GeneratorConfig, sections.get("generator")))
    data = DataConfig(**known_fields(DataConfig, sections.get("data")))
    channels = (data.channels_a, data.channels_b)
    in_channels, out_channels = channels if direction == "ab" else channels[::-1]
    network = _build(path, read_state(path), _Shape(config, in_channels, out_channels))
    task: TaskName = "one_style" if sections.get("task") == "one_style" else "cyclegan"
    ranges = [_range_of(folder / CONFIG_FILE, data.ranges[domain]) for domain in direction]
    return LoadedGenerator(network, config, in_channels, out_channels, direction, task, *ranges)


def _range_of(path: Path, values: object) -> Range | None:
    """A domain's range by a configuration that anybody may have written."""
    match values:
        case None:
            return None
        case [int() | float() as low, int() | float() as high] if is_range(low, high):
            return float(low), float(high)
    raise UserError(printable(f"{path}: {values!r} are no values from low to high"))


def read_sections(path: Path) -> dict[str, Any]:
    """A configuration file as nested dictionaries."""
    try:
        values = from_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        values = None
    if not isinstance(values, dict):
        raise UserError(printable(f"{path}: not a readable configuration"))
    return values


def known_fields(section: type, values: object) -> dict[str, Any]:
    """Values of the fields that this version knows; what a model of another lacks is default."""
    names = {field.name for field in fields(section)}
    given = values if isinstance(values, dict) else {}
    return {name: value for name, value in given.items() if name in names}


def read_state(path: Path) -> State:
    """Tensors of a safetensors file or of one by ``torch.save``; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            values = load_file(path)
        else:
            values = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            printable(f"{path}: refused, since it is damaged or holds more than tensors")
        ) from None
    except Exception as error:  # a damaged file can fail in any part of its reader
        reason = getattr(error, "strerror", None) or "damaged, or no file of tensors"
        raise UserError(printable(f"{path}: cannot be read: {reason}")) from None
    if not isinstance(values, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in values.items()
    ):
        raise UserError(printable(f"{path}: refused, since it is no plain dictionary of tensors"))
    odd = next((key for key, tensor in values.items() if not _is_of_network(key, tensor)), None)
    if odd is not None:
        raise UserError(printable(f"{path}: refused, since {odd} is no dense tensor of floats"))
    return dict(values)


def _is_of_network(key: str, tensor: Tensor) -> bool:
    stored = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return stored and (tensor.is_floating_point() or key.endswith(_BATCH_COUNT))


def read_reference_state(path: Path) -> State:
    """Tensors of a file, without the ``module.`` that DataParallel puts before their keys."""
    return {key.removeprefix("module."): tensor for key, tensor in read_state(path).items()}


def without_norm_buffers(state: State) -> State:
    """Without the running statistics that instance norm kept in old versions and never used."""
    return {
        key: tensor
        for key, tensor in state.items()
        if key.rpartition(".")[2] not in _INSTANCE_NORM_BUFFERS
    }


def _infer_shape(path: Path, state: State) -> _Shape:
    try:
        if "model.model.0.weight" in state:
            return _infer_unet(state)
        return _infer_resnet(state)
    except (LookupError, ValueError):
        raise unknown_network(
            path,
            state,
            "generator",
            "model.1.weight and model.10.conv_block.1.weight (resnet) or model.model.0.weight and"
            " model.model.1.model.1.weight (unet)",
        ) from None


def unknown_network(path: Path, state: State, kind: str, expected: str) -> UserError:
    """What to say of a file whose tensors are those of no network of a kind."""
    found = ", ".join(sorted(state)[:_LISTED]) or "none"
    return UserError(
        printable(
            f"{path}: fits no known {kind}; expected were tensors such as {expected};"
            f" found {len(state)}: {found}"
        )
    )


def _infer_resnet(state: State) -> _Shape:
    blocks = {
        int(match[1]) for key in state if (match := re.match(r"model\.(\d+)\.conv_block\.", key))
    }
    channels, in_channels, _, _ = state["model.1.weight"].shape
    _, _, _, _ = state["model.4.weight"].shape
    out_channels = state[f"model.{len(blocks) + 17}.weight"].shape[0]
    # Dropout before it moves the second convolution of a block from place 5 to place 6.
    second = state.get("model.10.conv_block.6.weight")
    config = GeneratorConfig(
        "resnet",
        channels=channels,
        blocks=len(blocks),
        norm=norm_between(state, "model.1", "model.2"),
        dropout=second is not None and second.ndim == 4,
    )
    return _Shape(config, in_channels, out_channels)


def _infer_unet(state: State) -> _Shape:
    channels, in_channels, _, _ = state["model.model.0.weight"].shape
    _, out_channels, _, _ = state["model.model.3.weight"].shape
    config = GeneratorConfig(
        "unet",
        channels=channels,
        # Each level lies inside the one above it and adds a "model." to the keys.
        levels=max(key.split(".").count("model") for key in state) - 1,
        norm=norm_between(state, "model.model.1.model.1", "model.model.1.model.2"),
    )
    if config.levels < 5:
        raise ValueError("a U-Net has at least five levels")
    return _Shape(config, in_channels, out_channels)


def norm_between(state: State, convolution: str, norm: str) -> NormName:
    """Only instance norm leaves the convolution its bias, only batch norm has weights."""
    if f"{norm}.weight" in state:
        return "batch"
    return "instance" if f"{convolution}.bias" in state else "none"


def _build(path: Path, state: State, shape: _Shape) -> nn.Module:
    return network_of(
        path,
        state,
        lambda: build_generator(shape.config, shape.in_channels, shape.out_channels),
        f"{shape.config.architecture} generator",
        depth_of(shape.config),
    )


def network_of(
    path: Path, state: State, build: Callable[[], nn.Module], description: str, depth: int
) -> nn.Module:
    """The network with these tensors, if they are exactly the ones it has.

    Each of its ``depth`` repeated parts has some of them, so that no file asks for a network that
    takes for ever to build.
    """
    try:
        if depth > len(state):
            raise ValueError(f"its depth is {depth:,}, and there are {len(state)} tensors")
        with unfilled():
            network = build()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(
            printable(f"{path}: no {description} can be built for it: {error}")
        ) from None
    # Batch norm counts only since PyTorch 0.4.1, and nothing here asks for it.
    counts = (key for key in network.state_dict() if key.endswith(_BATCH_COUNT))
    state = dict.fromkeys(counts, torch.tensor(0)) | state
    differences = _differences(network.state_dict(), state)
    if differences:
        raise UserError(
            printable(
                f"{path}: does not fit the {description} it seems to be: "
                + "; ".join(differences[:_LISTED])
                + (f"; and {len(differences) - _LISTED} more" * (len(differences) > _LISTED))
            )
        )
    # Copies, since tensors of a file may share their memory.
    copies = {key: t.clone(memory_format=torch.contiguous_format) for key, t in state.items()}
    network.load_state_dict(copies, assign=True)
    return network.float().eval().requires_grad_(False)


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    def described(tensors: Mapping[str, Tensor], key: str) -> str:
        if key not in tensors:
            return "nothing"
        return "×".join(map(str, tensors[key].shape)) or "a number"

    return [
        f"{key}: expected {described(expected, key)}, found {described(found, key)}"
        for key in sorted(expected.keys() | found.keys())
        if described(expected, key) != described(found, key)
    ]
