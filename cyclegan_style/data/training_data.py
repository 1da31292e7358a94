"""The pictures that a run trains on, shows in its samples and is scored on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from accelerate import Accelerator, PartialState
from torch import Tensor
from torch.utils.data import DataLoader

from cyclegan_style.config import Config, DataConfig, Size, ValueRange, parse_bytes
from cyclegan_style.config.directions import DOMAINS
from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.levels import Range
from cyclegan_style.data.listing import open_pictures, reference_layout
from cyclegan_style.data.pair_order import PairedBatchSampler
from cyclegan_style.data.pairs import FIELD as PAIRS_FIELD
from cyclegan_style.data.pairs import KnownPairs, open_pair_files
from cyclegan_style.data.pictures import Pictures
from cyclegan_style.data.sampling import (
    Batch,
    BucketBatchSampler,
    UnpairedBatchSampler,
    UnpairedDataset,
    training_loader,
)
from cyclegan_style.data.shapes import crop_sizes, load_sizes
from cyclegan_style.errors import UserError
from cyclegan_style.networks.sizes import size_divisor
from cyclegan_style.system.cores import processes_here
from cyclegan_style.system.processes import main_process_first, say, wait_for_all

Item = TypeVar("Item")


def name_domains(config: Config) -> Config:
    """Spell out the folders that ``data.root``, or known pairs by themselves, stand for."""
    data = config.data
    if data.root is None and data.pairs is not None and config.task == "cyclegan":
        named = replace(data, a=data.a or data.pairs[0], b=data.b or data.pairs[1])
        return replace(config, data=named)
    if data.root is None or data.a is not None or data.b is not None:
        return config
    found = {name: str(path) for name, path in reference_layout(data.root).items()}
    only_b = config.task == "noise"
    named = replace(
        data,
        root=None,
        a=None if only_b else found["a"],
        b=found["b"],
        test_a=data.test_a or (None if only_b else found.get("test_a")),
        test_b=data.test_b or found.get("test_b"),
    )
    return replace(config, data=named)


def open_dataset(config: Config, processes: Accelerator | PartialState) -> UnpairedDataset:
    """Find and check the pictures of all domains that steps are shown, and load what fits."""
    data = config.data
    specs = {name: spec for name, spec in data.specs.items() if name in config.trained_domains}
    budget = parse_bytes(data.memory_budget) // (len(specs) + len(data.pairs or ()))
    for domain, spec in specs.items():  # who comes first renders the demo's pictures
        main_process_first(partial(open_pictures, spec, field=f"data.{domain}"))
    if data.pairs is not None:
        main_process_first(partial(open_pair_files, data.pairs))
    crops = load_sizes(data, size_divisor(config.generator))
    sizes = list(crops)
    opened = partial(_opened, data, budget // processes_here(), processes.is_main_process)
    domains: dict[str, ImageDomain] = {}
    for domain, spec in specs.items():
        field, values_range = f"data.{domain}", in_numbers(data.ranges[domain])
        found = open_pictures(spec, "train", field, processes.is_main_process, values_range)
        domains[domain] = opened(domain, spec, field, found, sizes)
        if data.buckets:  # a batch has the shape of its pictures of the first domain
            sizes = sorted(set(domains[domain].shapes))
    pairs = None
    if data.pairs is not None:
        ranges = [in_numbers(data.ranges[name]) for name in DOMAINS]
        files = zip(DOMAINS, data.pairs, open_pair_files(data.pairs, ranges), strict=True)
        pairs = KnownPairs(
            {name: opened(name, spec, PAIRS_FIELD, each, sizes) for name, spec, each in files}
        )
    wait_for_all()  # one may take hours longer than another, which no training step waits for
    for each in (*domains.values(), *(pairs.domains.values() if pairs else ())):
        if processes.is_main_process and each.held_count < len(each):
            say(f"{each.field}: {each.held_count} of {len(each)} pictures are kept in memory")
    dataset = UnpairedDataset(
        domains,
        data.crop,
        data.mirrored,
        data.rotate,
        data.scale,
        data.upside_down,
        crops if data.buckets else None,
        pairs,
    )
    if data.buckets:
        say_shapes(dataset, crops)
    return dataset


def _opened(
    data: DataConfig,
    budget: int,
    progress: bool,
    domain: str,
    spec: str,
    field: str,
    found: Pictures,
    sizes: Sequence[Size],
) -> ImageDomain:
    """Pictures of a domain, checked and loaded."""
    values_range = in_numbers(data.ranges[domain])
    channels = data.channels[domain]
    images = ImageDomain(spec, field, found, channels, data.resize, sizes, data.fast_jpeg)
    return images.checked(data.min_readable, budget, progress, values_range)


def say_shapes(dataset: UnpairedDataset, crops: Mapping[Size, Size]) -> None:
    """One line of how many pictures are trained on in each shape."""
    told = []
    for bucket in dataset.buckets:
        counts = [
            f"{len(each)} of {name}"
            for name, each in zip(dataset.domains, bucket.members, strict=True)
        ]
        height, width = crops[bucket.size]
        told.append(f"{height}x{width}: {' and '.join(counts)}")
    say(f"pictures by shape: {'; '.join(told)}")


def open_batches(
    config: Config, accelerator: Accelerator, dataset: UnpairedDataset
) -> tuple[UnpairedBatchSampler, DataLoader[Batch]]:
    """What decides which samples are seen when, and what loads those of this process."""
    train, processes = config.train, accelerator.num_processes
    batches_per_step = processes * train.accumulation_steps
    sampler: UnpairedBatchSampler = (
        BucketBatchSampler(
            dataset.buckets, dataset.sizes, train.batch_size, train.seed, batches_per_step
        )
        if config.data.buckets
        else UnpairedBatchSampler(dataset.sizes, train.batch_size, train.seed, batches_per_step)
    )
    if dataset.pairs is not None:
        sampler = PairedBatchSampler(sampler, len(dataset.pairs))
    on_gpu = accelerator.device.type == "cuda"
    loader = training_loader(dataset, sampler, config.data.num_workers, on_gpu)
    return sampler, accelerator.prepare_data_loader(loader)


def open_test_domains(config: Config) -> dict[str, ImageDomain]:
    """The test pictures of all domains, at the size of training."""
    data, sizes = config.data, crop_sizes(config.data, size_divisor(config.generator))
    tests = {"a": data.test_a, "b": data.test_b}
    domains = {}
    for name, trained in data.specs.items():
        field, spec = f"data.test_{name}", tests[name] or trained
        values_range = in_numbers(data.ranges[name])
        pictures = open_pictures(spec, "test", field, values_range=values_range)
        channels = data.channels[name]
        domains[name] = ImageDomain(spec, field, pictures, channels, data.resize, sizes)
    return domains


def in_numbers(values_range: ValueRange) -> Range | None:
    """A domain's range once what was to be measured is."""
    if values_range == "measured":
        raise UserError("data.range: measured is for train, which measures when a run begins")
    return values_range


def open_test_images(config: Config, domains: dict[str, ImageDomain]) -> dict[str, list[Tensor]]:
    """A few pictures of each domain, the same throughout a run, spread over its test set."""
    divisor = size_divisor(config.generator)
    return {
        name: [
            domain.test_tensor(place, divisor)
            for place in spread(range(len(domain)), config.tracking.sample_count)
        ]
        for name, domain in domains.items()
    }


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many of the items, spread over all of them."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]
