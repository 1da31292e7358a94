"""The pictures that a run trains on, shows in its samples and is scored on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from accelerate import Accelerator, PartialState
from torch import Tensor
from torch.utils.data import DataLoader

from cyclegan_style.config import Config, parse_bytes
from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.listing import open_pictures, reference_layout
from cyclegan_style.data.sampling import (
    Batch,
    UnpairedBatchSampler,
    UnpairedDataset,
    training_loader,
)
from cyclegan_style.networks.sizes import size_divisor
from cyclegan_style.system.cores import processes_here
from cyclegan_style.system.processes import main_process_first, wait_for_all

Item = TypeVar("Item")


def name_domains(config: Config) -> Config:
    """Spell out the folders that ``data.root`` stands for."""
    data = config.data
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
    """Find, check and, if they fit, load the pictures of all domains that steps are shown."""
    data = config.data
    specs = {name: spec for name, spec in data.specs.items() if name in config.trained_domains}
    for domain, spec in specs.items():  # who comes first renders the demo's pictures
        main_process_first(partial(open_pictures, spec, field=f"data.{domain}"))
    domains = {
        domain: ImageDomain.open(
            spec,
            split="train",
            field=f"data.{domain}",
            channels=data.channels[domain],
            resize=data.resize,
            size=data.load_size,
            min_readable=data.min_readable,
            memory_budget=parse_bytes(data.memory_budget) // len(specs) // processes_here(),
            progress=processes.is_main_process,
        )
        for domain, spec in specs.items()
    }
    wait_for_all()  # one may take hours longer than another, which no training step waits for
    return UnpairedDataset(domains, data.crop_size, data.flip, data.rotate, data.scale)


def open_batches(
    config: Config, accelerator: Accelerator, dataset: UnpairedDataset
) -> tuple[UnpairedBatchSampler, DataLoader[Batch]]:
    """What decides which samples are seen when, and what loads those of this process."""
    train, processes = config.train, accelerator.num_processes
    sampler = UnpairedBatchSampler(
        dataset.sizes,
        train.batch_size,
        train.seed,
        batches_per_global_step=processes * train.accumulation_steps,
    )
    on_gpu = accelerator.device.type == "cuda"
    loader = training_loader(dataset, sampler, config.data.num_workers, on_gpu)
    return sampler, accelerator.prepare_data_loader(loader)


def open_test_domains(config: Config) -> dict[str, ImageDomain]:
    """The test pictures of all domains, at the size of training."""
    data = config.data
    tests = {"a": data.test_a, "b": data.test_b}
    chosen = {
        name: (f"data.test_{name}", tests[name] or spec, data.channels[name])
        for name, spec in data.specs.items()
    }
    return {
        name: ImageDomain(
            spec, field, open_pictures(spec, "test", field), channels, data.resize, data.crop_size
        )
        for name, (field, spec, channels) in chosen.items()
    }


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
