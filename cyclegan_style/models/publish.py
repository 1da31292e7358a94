"""Publish a model on the Hugging Face Hub, from where any command loads it by its id."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from cyclegan_style.models.configurations import beyond_the_reference
from cyclegan_style.models.convert import write_model_folder
from cyclegan_style.models.export import CARD_FILE
from cyclegan_style.models.hub import upload_model
from cyclegan_style.models.model_files import LoadedGenerator, load_generators
from cyclegan_style.models.noise_files import (
    LoadedNoiseGenerator,
    is_noise_model,
    load_noise_generator,
    write_noise_folder,
)

CARD = """\
---
pipeline_tag: image-to-image
tags:
- {tag}
- image-to-image
---

# {name}

{task} {directions}
The architecture is {architecture}, with {channels} filters in the first layer and {norm} as
normalisation; the weights are float32.

```bash
cyclegan-style translate --model {repository} --direction {direction} \
    --input pictures/ --output translated/
```

```python
from cyclegan_style import Predictor

predictor = Predictor.load("{repository}", direction="{direction}")
predictor.translate("picture.jpg").save("translated.png")
```

Pictures of any size come out at their own size.

What the model was trained on, how good it is and under which terms it may be used is not recorded
in its files: whoever published it can say so here.
"""

NOISE_CARD = """\
---
pipeline_tag: unconditional-image-generation
tags:
- gan
---

# {name}

Makes pictures out of noise: {kind} of {side} × {side}. The architecture is {architecture}, with
{channels} filters in its last layer and {norm} as normalisation; the weights are float32.

```bash
cyclegan-style generate --model {repository} --count 64 --seed 0 --output pictures/
```

What the model was trained on, how good it is and under which terms it may be used is not recorded
in its files: whoever published it can say so here.
"""

TAGS = {"cyclegan": "cyclegan", "one_style": "style-transfer"}
TASKS = {
    "cyclegan": "Unpaired image translation (CycleGAN).",
    "one_style": "Fast style transfer: photographs painted in one pass, in one style or several.",
}
KINDS = {1: "grey pictures", 2: "grey pictures with alpha", 3: "RGB pictures", 4: "RGBA pictures"}


def push(model: str, repository: str, *, private: bool) -> str:
    """Upload the generators, their configuration and a model card; return the address."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if is_noise_model(model):
            loaded = load_noise_generator(model)
            write_noise_folder(folder, loaded)
            card = noise_card(repository, loaded)
        else:
            generators = load_generators(model)
            write_model_folder(model, folder, generators, {})
            card = model_card(repository, generators)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        return upload_model(folder, repository, private=private)


def model_card(repository: str, generators: Mapping[str, LoadedGenerator]) -> str:
    """What can be said of a model by its files alone."""
    some = next(iter(generators.values()))
    config = some.config
    directions = [
        f"`{name}` maps {kind(loaded.in_channels)} of domain {name[0].upper()} to"
        f" {kind(loaded.out_channels)} of domain {name[1].upper()}."
        for name, loaded in generators.items()
    ]
    resnet = config.architecture == "resnet"
    depth = f"{config.blocks} blocks" if resnet else f"{config.levels} levels"
    layers = ", ".join([f"{config.architecture} with {depth}", *beyond_the_reference(config)])
    return CARD.format(
        tag=TAGS[some.task],
        task=TASKS[some.task],
        name=repository.rpartition("/")[2],
        repository=repository,
        direction=some.direction,
        directions=" ".join(directions),
        architecture=layers,
        channels=config.channels,
        norm=config.norm,
    )


def noise_card(repository: str, loaded: LoadedNoiseGenerator) -> str:
    """The same of a generator that makes pictures out of noise."""
    return NOISE_CARD.format(
        name=repository.rpartition("/")[2],
        repository=repository,
        kind=kind(loaded.channels),
        side=loaded.side,
        architecture=", ".join([loaded.config.architecture, *beyond_the_reference(loaded.config)]),
        channels=loaded.config.channels,
        norm=loaded.config.norm,
    )


def kind(channels: int) -> str:
    """Pictures of so many channels, in words."""
    return KINDS.get(channels, f"pictures of {channels} channels")
