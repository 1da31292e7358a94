"""The cycle may be compared on SqueezeNet's features, which are part of nothing that is saved."""

import pytest
import torch
from accelerate import Accelerator
from tiny import enlarge_weights, equal_tensors, random_batch, tiny_config

from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.discriminators import build_discriminators

pytestmark = pytest.mark.numeric

ON_FEATURES = {"loss__cycle_features": ("fire3", "fire9"), "data__crop_size": 32}


def test_the_distance_is_the_mean_of_pixels_and_layers():
    config = tiny_config(loss__cycle_a=6.0, **ON_FEATURES)
    generators, discriminators = (
        build(config).double() for build in (build_generators, build_discriminators)
    )
    enlarge_weights(generators)
    real = random_batch(2, 32, 32)

    turn = generators(real, discriminators)

    reconstruction = generators["ba"](generators["ab"](real["a"]))
    network = SQUEEZENET.load(SQUEEZENET.find()).double()
    found, wanted = (network(SQUEEZENET.input.normalised(x)) for x in (reconstruction, real["a"]))
    distances = [(reconstruction - real["a"]).abs().mean()]
    distances += [
        (found[layer] - wanted[layer]).abs().mean() / scale
        for layer, scale in (("fire3", 43), ("fire9", 9))
    ]
    loss = turn.losses["cycle_a"]
    torch.testing.assert_close(loss, 6 * sum(distances) / 3, rtol=1e-10, atol=0)
    for network in (generators["ab"], generators["ba"]):
        slopes = torch.autograd.grad(loss, network.model[1].weight, retain_graph=True)
        assert slopes[0].any()


def test_the_frozen_network_is_trained_averaged_and_copied_by_nobody():
    step, plain = (
        CycleGanStep(tiny_config(train__ema_decay=0.9, **fields), Accelerator(cpu=True))
        for fields in (ON_FEATURES, {})
    )
    step.run([{name: images.float() for name, images in random_batch(1, 32, 32).items()}])

    assert step.generators.state_dict().keys() == plain.generators.state_dict().keys()
    assert step.average.state_dict().keys() == plain.average.state_dict().keys()
    assert step.average.module.features is step.generators.features
    assert not any(p.requires_grad for p in step.generators.features.network.parameters())
    shipped = SQUEEZENET.load(SQUEEZENET.find()).state_dict()
    assert equal_tensors(step.generators.features.network.state_dict(), shipped)
