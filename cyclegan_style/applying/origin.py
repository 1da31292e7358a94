"""By which weights and options a folder's files were made: a hidden file among them tells."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclegan_style.applying.jobs import Job, is_finished
from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.applying.translate import Output
from cyclegan_style.errors import UserError, printable
from cyclegan_style.system.hardware import name_of_format
from cyclegan_style.system.whole_files import write_durably

ORIGIN_FILE = ".cyclegan-style.json"
CHECKSUM = re.compile("[0-9a-f]{64}")
SHOWN = 8
"""Digits of a checksum that people are shown."""

logger = logging.getLogger(__name__)


def origin_of_translations(predictor: Predictor, output: Output) -> dict[str, Any]:
    """What translations depend on beside their inputs."""
    return {
        "direction": predictor.direction,
        "weights": predictor.checksum,
        "working_size": predictor.working_size,
        "keep_alpha": predictor.keep_alpha,
        "side_by_side": output.side_by_side,
        "quality": output.quality,
        "metadata": output.metadata,
        "precision": name_of_format(predictor.dtype),
    }


def note_origin(
    folder: Path, jobs: Sequence[Job], origin: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Remember what is about to make files, and warn if it is not what made those to be skipped.

    Of a folder to which several have written, the last is known.
    """
    skipped = 0 if overwrite else sum(map(is_finished, jobs))
    if skipped and (differences := different(read_origin(folder), origin)):
        logger.warning(
            "%s",
            printable(
                f"{folder}: finished files there are skipped, though they were made with"
                f" {', '.join(differences)}; use --overwrite or another folder to make them anew"
            ),
        )
    if skipped < len(jobs):
        try:
            write_durably(folder / ORIGIN_FILE, json.dumps(origin, indent=1).encode())
        except OSError as error:
            raise UserError(printable(f"--output: {folder}: {error.strerror}")) from None


def read_origin(folder: Path) -> dict[str, Any]:
    """What is remembered of a folder; nothing of one that was written before this was done."""
    try:
        origin = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def different(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What is remembered and not the same now, for people."""
    return [
        f"{name} {shown(there[name])} instead of {shown(value)}"
        for name, value in here.items()
        if name in there and there[name] != value
    ]


def shown(value: object) -> str:
    """A value of the record, a checksum in a few letters."""
    if not isinstance(value, str):
        return json.dumps(value)
    return value[:SHOWN] if CHECKSUM.fullmatch(value) else value
