"""Files of tensors that survive a power cut; nothing in them is ever unpickled."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cyclegan_style.errors import UserError
from cyclegan_style.system.whole_files import write_durably

Tensors = dict[str, Tensor]


def write_tensors(path: Path, tensors: Tensors, facts: dict[str, Any] | None = None) -> None:
    """Write tensors, and facts as JSON in the file's header, so that they survive a power cut."""
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_durably(path, save(dense, metadata={"facts": json.dumps(facts or {})}))


def write_all(files: Mapping[Path, Tensors]) -> None:
    """Write files of tensors at once, since disk and memory then wait for each other less."""
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write_tensors, files.keys(), files.values()):
            pass  # an error of a thread is raised here


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what ``write_tensors`` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get("facts", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not readable: {error}") from None
