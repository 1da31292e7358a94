"""Objectives as pure functions of verdicts and images.

Verdicts are a discriminator's raw outputs, of any shape; every function returns a scalar.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AdversarialName = Literal["least_squares", "cross_entropy", "hinge", "wgan_gp", "relativistic"]
PenaltyName = Literal["none", "r1", "r1_r2", "zero_centred"]


def generator_adversarial(
    objective: AdversarialName, fake: Tensor, real: Tensor | None = None
) -> Tensor:
    """Loss of a generator whose translations received the verdicts ``fake``.

    The relativistic one needs the verdicts on as many real images as well.
    """
    if objective == "relativistic":
        if real is None:
            raise ValueError("the relativistic objective compares with verdicts on real images")
        return relativistic(fake, real)
    if objective == "least_squares":  # Mao et al. 2017, equation 9 with c = 1
        return F.mse_loss(fake, torch.ones_like(fake))
    if objective == "cross_entropy":  # Goodfellow et al. 2014, the non-saturating form
        return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    return -fake.mean()  # hinge (Lim & Ye 2017) and Wasserstein (Arjovsky et al. 2017)


def discriminator_adversarial(objective: AdversarialName, real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a discriminator that gave the verdicts ``real`` and ``fake``, not yet halved."""
    if objective == "relativistic":
        return relativistic(real, fake)
    if objective == "least_squares":  # Mao et al. 2017, equation 9 with a = 0, b = 1
        return F.mse_loss(real, torch.ones_like(real)) + F.mse_loss(fake, torch.zeros_like(fake))
    if objective == "cross_entropy":  # Goodfellow et al. 2014, equation 1
        return F.binary_cross_entropy_with_logits(
            real, torch.ones_like(real)
        ) + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    if objective == "hinge":  # Lim & Ye 2017; Miyato et al. 2018, equation 16
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return fake.mean() - real.mean()  # Arjovsky et al. 2017, equation 2


def relativistic(preferred: Tensor, other: Tensor) -> Tensor:
    """−log σ(preferred − other) at each place; Huang et al. 2024, equation 2.

    R3GAN has one verdict per image and pairs images at random; here places are paired as well.
    """
    return -F.logsigmoid(preferred - other).mean()


def gradient_penalty(
    objective: AdversarialName,
    penalty: PenaltyName,
    judge: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
) -> Tensor:
    """Penalty on the gradient of ``judge`` with respect to its images, 0 if there is none.

    It is meant to be weighted, added to the adversarial loss and halved with it. The papers'
    D(x) is here the mean of an image's verdicts, of which the adversarial loss is an expectation
    as well; ‖·‖ is over all values of the image.
    """
    if objective == "wgan_gp":  # Gulrajani et al. 2017, equation 3: E[(‖∇D(x̂)‖ − 1)²]
        gradients = image_gradients(judge, interpolate(real, fake))
        norms = (gradients.square().sum(dim=1) + 1e-12).sqrt()  # differentiable at 0 as well
        return (norms - 1).square().mean()
    if penalty == "r1":  # Mescheder et al. 2018, equation 9: E[‖∇D(x)‖²], x real
        return image_gradients(judge, real).square().sum(dim=1).mean()
    if penalty == "r1_r2":  # Huang et al. 2024, section 2.2: R1, and the same of fakes, R2
        on_real, on_fake = (image_gradients(judge, images).square() for images in (real, fake))
        return on_real.sum(dim=1).mean() + on_fake.sum(dim=1).mean()
    if penalty == "zero_centred":  # Thanh-Tung et al. 2019, equation 8: E[‖∇D(x̂)‖²]
        return image_gradients(judge, interpolate(real, fake)).square().sum(dim=1).mean()
    return real.new_zeros(())


def interpolate(real: Tensor, fake: Tensor) -> Tensor:
    """Images at a random place on the line between each real and each translated image."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    return share * real + (1 - share) * fake


def image_gradients(judge: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Gradient of each image's mean verdict, one row per image, itself differentiable."""
    images = images.detach().requires_grad_(True)
    verdicts = judge(images).reshape(len(images), -1).mean(dim=1)
    (gradients,) = torch.autograd.grad(verdicts.sum(), images, create_graph=True)
    return gradients.flatten(start_dim=1)


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """‖E f(x) − E f(G_ab(a))‖₁ per channel; Salimans et al. 2016, section 3.1, with another norm.

    f are a discriminator's activations, N×C×h×w of each layer, and E is over images and places: the
    images are no pairs, so that there is nothing to match place by place.
    """
    differences = [
        F.l1_loss(of_fake.mean(dim=(0, 2, 3)), of_real.mean(dim=(0, 2, 3)))
        for of_real, of_fake in zip(real, fake, strict=True)
    ]
    return torch.stack(differences).mean()


def patch_nce(queries: Tensor, keys: Tensor, temperature: float = 0.07) -> Tensor:
    """Cross-entropy of each query's own key among all of its image; Park et al. 2020, equation 3.

    Both are N×P×D vectors of length 1. Their products are kept out of autocast: divided by the
    temperature, an error of 16 bits would count.
    """
    with torch.autocast(queries.device.type, enabled=False):
        exact = torch.promote_types(queries.dtype, torch.float32)
        logits = queries.to(exact) @ keys.to(exact).transpose(1, 2) / temperature
        own = torch.arange(logits.shape[1], device=logits.device).repeat(len(logits))
        return F.cross_entropy(logits.flatten(0, 1), own)


def cycle(reconstruction: Tensor, original: Tensor) -> Tensor:
    """‖G_ba(G_ab(a)) − a‖₁ per value; Zhu et al. 2017, equation 2."""
    return F.l1_loss(reconstruction, original)


def distance_to_truth(translation: Tensor, truth: Tensor) -> Tensor:
    """‖G_ab(a) − b‖₁ per value, of a pair; Isola et al. 2017, equation 3."""
    return F.l1_loss(translation, truth)


def identity(translation: Tensor, original: Tensor) -> Tensor:
    """‖G_ab(b) − b‖₁ per value; Zhu et al. 2017, section 5.2."""
    return F.l1_loss(translation, original)


def mean(losses: Sequence[Tensor]) -> Tensor:
    """The mean of numbers, bit for bit the number if there is one."""
    return torch.stack(list(losses)).mean()
