"""Which values become −1 and 1: as configured, or measured once and the same from then on."""

import json
import math
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

from cyclegan_style.config import Config
from cyclegan_style.data.deep_files import read_stored
from cyclegan_style.data.hub_pictures import SCHEME
from cyclegan_style.data.images import ImageError
from cyclegan_style.data.levels import Range, is_range
from cyclegan_style.data.listing import DomainError, list_images
from cyclegan_style.errors import UserError
from cyclegan_style.runs.run_folder import RANGES_FILE
from cyclegan_style.system.processes import on_main_process, say
from cyclegan_style.system.whole_files import write_durably

FIELDS = ("range", "range_a", "range_b")


def problems_of_value_ranges(config: Config) -> list[str]:
    """Ranges that are none, and channels that nobody could see."""
    data, problems = config.data, []
    for name in FIELDS:
        value = getattr(data, name)
        if isinstance(value, tuple) and not is_range(*value):
            problems.append(f"data.{name} must be two numbers, the least first, not {list(value)}")
    if config.task != "cyclegan" and any(data.ranges.values()):
        problems.append(f"data.range is for task cyclegan, not for {config.task}")
    problems += [
        f"data.channels_{name} must be at most 4, not {count}, without data.range: pictures of 8"
        " bits have no more"
        for name, count in data.channels.items()
        if count > 4 and data.ranges[name] is None
    ]
    chosen = config.tracking.sample_channels
    if chosen is None:
        return problems
    if len(chosen) not in (1, 3) or not all(number >= 1 for number in chosen):
        problems.append("tracking.sample_channels must be three numbers from 1 on, or one")
    counts = [count for name, count in data.channels.items() if data.ranges[name]]
    if not counts:
        problems.append("tracking.sample_channels is for domains with data.range")
    elif max(chosen, default=0) > max(counts):
        problems.append(
            f"tracking.sample_channels must be at most {max(counts)}, the channels of a domain with"
            " a range"
        )
    return problems


def with_ranges_of_run(config: Config, run: Path) -> Config:
    """The configuration with each domain's range in numbers; all processes agree."""
    return on_main_process(lambda: _with_ranges(config, run))


def _with_ranges(config: Config, run: Path) -> Config:
    kept = _kept(run)
    found: dict[str, Range | None] = {}
    for domain, chosen in config.data.ranges.items():
        if chosen != "measured":
            found[domain] = chosen
            continue
        field, spec = f"data.{domain}", config.data.specs[domain]
        values_range = kept.get(domain) or measured_range(spec, field)
        say(f"{field}: values from {values_range[0]:g} to {values_range[1]:g}")
        kept[domain] = found[domain] = values_range
    if kept:
        try:
            write_durably(run / RANGES_FILE, json.dumps(kept).encode())
        except OSError as error:
            raise UserError(f"run.dir: {run} cannot be used: {error.strerror}") from None
    data = replace(config.data, range=None, range_a=found["a"], range_b=found["b"])
    return replace(config, data=data)


def measured_range(spec: str, field: str) -> Range:
    """Least and greatest value of all files of a domain that can be read."""
    if spec.startswith(SCHEME):
        raise DomainError.about(field, spec, "data.range is for pictures in files")
    with ThreadPool() as pool:
        ends = pool.map(_ends_of_file, list_images(spec, field=field), chunksize=4)
    low = min((low for low, _ in ends), default=math.inf)
    high = max((high for _, high in ends), default=-math.inf)
    if low == math.inf:
        raise DomainError.about(field, spec, "none of its images can be read")
    if not is_range(low, high):
        raise DomainError.about(field, spec, f"all values are {low:g}; set data.range")
    return low, high


def _ends_of_file(path: Path) -> Range:
    """Least and greatest value of a file; of one that cannot be read, of no values."""
    try:
        stored = read_stored(path)
    except ImageError:
        return math.inf, -math.inf
    values = stored.values[:, :, :-1] if stored.alpha else stored.values
    return float(values.min()), float(values.max())


def _kept(run: Path) -> dict[str, Range]:
    """What the run measured when it began."""
    try:
        kept = json.loads((run / RANGES_FILE).read_text(encoding="utf-8"))
        ranges = {name: (float(low), float(high)) for name, (low, high) in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return {name: ends for name, ends in ranges.items() if is_range(*ends)}
