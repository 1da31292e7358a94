"""The models that a server has: loaded, made warm, and taken up anew when their files change."""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, get_ident
from typing import Any, Literal

import numpy as np
import torch

from cyclegan_style.applying.number_format import choose_dtype
from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.export import CONFIG_FILE, MODEL_FOLDER, generator_file
from cyclegan_style.models.model_files import (
    DIRECTION_NAMES,
    NOISE_FILE,
    REFERENCE_GENERATORS,
    DirectionName,
    LoadedGenerator,
    direction_of_name,
    directions_of,
    find_model_folder,
    load_generators,
    local_path,
    refuse_noise,
)
from cyclegan_style.models.styles import shares_of, with_strength, with_style
from cyclegan_style.system.hardware import PrecisionName

WARM_SIDE = 128
"""Of the picture that a model translates before it counts as ready."""
MOST_VARIANTS = 8
"""Styles and strengths of a model that are kept ready, over all threads."""
Signature = tuple[tuple[str, int, int, int], ...]
"""Name, time, size and number of a model's files: when they change, so has it."""
State = Literal["loading", "ready", "stale", "failed"]
"""Stale: its new files could not be loaded, and the old are served."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Computing:
    """Where and how models compute."""

    device: torch.device
    precision: PrecisionName = "auto"
    memory_budget: int | None = None


class ModelInMemory:
    """The generators of a model as its files were at one time."""

    def __init__(self, generators: Mapping[str, LoadedGenerator], computing: Computing) -> None:
        self.generators: dict[DirectionName, LoadedGenerator] = {
            generator.direction: generator for generator in generators.values()
        }
        self.computing = computing
        self.plain = {way: self._prepared(each) for way, each in self.generators.items()}
        self._own: dict[tuple[int, DirectionName], Predictor] = {}
        self._variants: OrderedDict[tuple[int, str, str, float], Predictor] = OrderedDict()
        self._choosing = Lock()
        for predictor in self.plain.values():
            predictor.require_picture_channels()
            predictor.require_eight_bits("the server takes and gives")
            grey = np.full((WARM_SIDE, WARM_SIDE, predictor.in_channels), 128, np.uint8)
            predictor.translate_pixels([grey])

    def descriptions(self) -> list[dict[str, Any]]:
        """What clients may know of its directions."""
        return [
            {
                "name": direction,
                "channels_in": generator.in_channels,
                "channels_out": generator.out_channels,
                "styles": generator.config.styles,
                "strength": generator.config.skip,
                "weights": self.plain[direction].checksum,
            }
            for direction, generator in self.generators.items()
        ]

    def refuse_variant(self, direction: DirectionName, style: str | None, strength: float) -> None:
        """Raise a UserError for a style or a strength that the model has not."""
        generator = self.generators[direction]
        shares_of(style or "1", generator.config.styles)
        if strength != 1 and not generator.config.skip:
            with_strength(generator, strength)

    def predictor(self, direction: DirectionName, style: str | None, strength: float) -> Predictor:
        """The calling thread's predictor of these: each computes one batch at a time."""
        generator, thread = self.generators[direction], get_ident()
        with self._choosing:
            if strength == 1 and (style is None or generator.config.styles == 1):
                if (thread, direction) not in self._own:
                    taken = any(each == direction for _, each in self._own)
                    own = self._prepared(generator) if taken else self.plain[direction]
                    self._own[thread, direction] = own
                return self._own[thread, direction]
            key = (thread, direction, style or "1", strength)
            if key not in self._variants:
                if len(self._variants) == MOST_VARIANTS:
                    self._variants.popitem(last=False)
                varied = with_strength(with_style(generator, style), strength)
                self._variants[key] = self._prepared(varied)
            self._variants.move_to_end(key)
            return self._variants[key]

    def _prepared(self, generator: LoadedGenerator) -> Predictor:
        device, precision = self.computing.device, self.computing.precision
        dtype = choose_dtype(precision, device, generator)
        return Predictor(generator, device, dtype, self.computing.memory_budget)


@dataclass
class ServedModel:
    """A model by its name: where it lies, and what of it is in memory."""

    name: str
    source: str
    state: State = "loading"
    current: ModelInMemory | None = None
    place: Path | None = None
    """Its folder or file, once found."""
    tried: Signature | None = None
    """Of the files that were loaded last, or could not be."""
    seen: Signature | None = None
    """Of the files as they were at the last look."""
    complaint: str = ""
    """Why it could not be loaded, for whoever runs the server."""

    def description(self) -> dict[str, Any]:
        """What clients may know of it."""
        current = self.current
        directions = current.descriptions() if current else []
        return {"name": self.name, "state": self.state, "directions": directions}

    def directions(self) -> list[DirectionName]:
        """Directions that its files translate, before they are loaded; none if there are none."""
        if not self.signature() or self.place is None:
            return []
        if self.place.is_file():
            return [direction_of_name(self.place) or "ab"]
        return directions_of(self.place)

    def signature(self) -> Signature | None:
        """Of its files as they are now; None if there are none."""
        try:
            if self.place is None:
                path = local_path(self.source)
                self.place = path if path.is_file() else find_model_folder(self.source)
            return signature_of(self.place)
        except (UserError, OSError) as error:
            self.fail(error)
            return None

    def load(self, computing: Computing, signature: Signature) -> None:
        """Load what lies there; what is in memory stays if that cannot be."""
        self.tried = signature
        try:
            assert self.place is not None  # it has a signature
            self.current = ModelInMemory(load_generators(self.place), computing)
            self.state, self.complaint = "ready", ""
        except Exception as error:  # files may be anybody's, and half of a copy
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Remember that the model could not be loaded, and tell whoever runs the server once."""
        self.state = "stale" if self.current else "failed"
        reason = printable(str(error) if isinstance(error, UserError) else repr(error))
        if reason != self.complaint:
            logger.error("model %s: not loaded: %s", self.name, reason)
        self.complaint = reason


class LoadedModels:
    """All models of a server, by name; the first is the default."""

    def __init__(self, sources: Mapping[str, str], computing: Computing) -> None:
        self.models = {name: ServedModel(name, source) for name, source in sources.items()}
        self.computing = computing
        self.settled = False
        """Whether each was loaded, or could not be."""
        # One thread of its own: a new model takes seconds, in which the old one serves.
        self._loader = ThreadPoolExecutor(1, "models")

    @property
    def ready(self) -> bool:
        """Whether all that can be served is."""
        return self.settled and any(model.current for model in self.models.values())

    async def load(self) -> None:
        """Load every model that can be."""
        await asyncio.get_running_loop().run_in_executor(self._loader, self._load_all)
        self.settled = True

    async def watch(self, seconds: float) -> None:
        """Take up changed files, once they have stopped changing, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.get_running_loop().run_in_executor(self._loader, self.refresh)

    def refresh(self) -> None:
        """Load those whose files have changed since they were loaded, but not since last time."""
        for model in self.models.values():
            if model.place is None and not lies_here(model.source):
                continue  # the Hub is asked once
            signature = model.signature()
            if signature and signature != model.tried and signature == model.seen:
                model.load(self.computing, signature)
            model.seen = signature

    def close(self) -> None:
        """Load nothing any more."""
        self._loader.shutdown(cancel_futures=True)

    def _load_all(self) -> None:
        for model in self.models.values():
            if signature := model.signature():
                model.load(self.computing, signature)


def lies_here(source: str) -> bool:
    """Whether a model is a file or folder of this machine that may be looked at."""
    try:
        return Path(source).expanduser().exists()
    except (OSError, RuntimeError):
        return False


def signature_of(place: Path) -> Signature:
    """What tells whether the files of a model are the same."""
    names = [CONFIG_FILE, *map(generator_file, DIRECTION_NAMES), *REFERENCE_GENERATORS.values()]
    paths = [place] if place.is_file() else [place / name for name in names]
    stats = [(path.name, path.stat()) for path in paths if path.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats)


def named(models: Sequence[str]) -> dict[str, str]:
    """Models by the names that clients call them by: NAME=MODEL, or a name of its path.

    A model of task noise is a UserError.
    """
    sources: dict[str, str] = {}
    for model in models:
        given = re.fullmatch(r"([A-Za-z0-9][\w.-]*)=(.+)", model)
        name, source = given.groups() if given and not Path(model).exists() else ("", model)
        name = name or name_of(source)
        if name in sources:
            raise UserError(
                printable(f"--model: two are named {name}; name them yourself: NAME={source}")
            )
        sources[name] = source
        refuse_noise_of(source)
    return sources


def refuse_noise_of(source: str) -> None:
    """Raise a UserError for a folder or file on this machine whose model takes no pictures."""
    path = local_path(source)
    folders = [path.parent] if path.name == NOISE_FILE else [path / MODEL_FOLDER, path]
    for folder in folders:
        refuse_noise(folder)


def name_of(source: str) -> str:
    """A short name by which a path can be told from others."""
    path = Path(source).expanduser().absolute()
    if path.name == MODEL_FOLDER:
        path = path.parent
    return re.sub(r"[^\w.-]", "-", path.stem if path.is_file() else path.name) or "model"
