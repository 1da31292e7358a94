"""Where the pictures and weights that a run began with lie, and how its pictures are known again.

``config.yaml`` has the words of the user, which mean another place in another working directory,
and goes with every exported model; so the absolute paths are kept beside it, in the run folder
alone.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from cyclegan_style.config import Config
from cyclegan_style.data.listing import open_pictures
from cyclegan_style.data.shard_pictures import names_shards
from cyclegan_style.data.storage import is_remote
from cyclegan_style.system.processes import say
from cyclegan_style.system.whole_files import write_durably

ORIGINS_FILE = ".origins.json"
DOMAIN_FIELDS = ("data.a", "data.b")
WEIGHTS_FIELD = "train.start_from"

Origin = dict[str, Any]
"""Where a field points: its ``path``, and of a domain its number of ``pictures`` and ``sha256``."""


def read_origins(run: Path) -> dict[str, Origin]:
    """What ``keep_origins`` wrote, by field; nothing for a run that began without."""
    try:
        origins = json.loads((run / ORIGINS_FILE).read_text(encoding="utf-8"))
        return {name: {"path": place(origin["path"]), **origin} for name, origin in origins.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def keep_origins(run: Path, config: Config, before: dict[str, Origin]) -> None:
    """Write where pictures and weights lie now, and what is not known yet of the pictures."""
    specs = {
        "data.a": config.data.a,
        "data.b": config.data.b,
        WEIGHTS_FIELD: config.train.start_from,
    }
    origins = {}
    for name, spec in specs.items():
        if spec is not None:
            known = before.get(name, {})
            if name in DOMAIN_FIELDS and "sha256" not in known:
                known = fingerprint(spec, name)
            origins[name] = {**known, "path": place(spec)}
    if origins != before:
        write_durably(run / ORIGINS_FILE, json.dumps(origins, indent=1).encode())


def difference(name: str, was: str, spec: str, before: Origin) -> str | None:
    """How a field means something else than when the run began, if it does.

    It may be spelled in another way, and pictures may lie elsewhere if they are the same.
    """
    old, new = before.get("path", place(was)), place(spec)
    may_change = "sha256" in before and (is_remote(new) or names_shards(new))
    if (old == new and not may_change) or (name == WEIGHTS_FIELD and was == spec):
        return None
    change = f"{name} was {was} and is now {spec}"
    if old != place(was):  # the words mean another place by now
        change = f"{name} was {old} and is now {new}"
    if "sha256" not in before:
        return change
    pictures = fingerprint(spec, name)
    if pictures.get("sha256") != before["sha256"]:
        return f"{change}, which has other pictures"
    if old != new:
        say(f"{name}: going on with {spec}, which has the same {pictures['pictures']} pictures")
    return None


def place(spec: str) -> str:
    """The absolute path of a folder, file or glob pattern; demos and data sets have none."""
    if spec.startswith("demo:") or is_remote(spec):
        return spec
    try:
        return str(Path(spec).expanduser().resolve())
    except (OSError, ValueError, RuntimeError):  # as whoever searches there will tell
        return spec


def fingerprint(spec: str, field: str) -> Origin:
    """The number of a domain's pictures, and a checksum of their order, names and sizes.

    Names count from the deepest folder that holds all of them, so that they stay when it moves. A
    demo is known by its own name.
    """
    if spec.startswith("demo:"):
        return {}
    pictures = open_pictures(spec, "train", field)
    digest = hashlib.sha256()
    for label, size in pictures.contents():
        digest.update(f"{label}\0{size}\n".encode("utf-8", "surrogatepass"))
    return {"pictures": len(pictures), "sha256": digest.hexdigest()}
