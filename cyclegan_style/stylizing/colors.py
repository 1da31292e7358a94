"""Ways to keep the content's colours (Gatys et al. 2016, Preserving color in style transfer)."""

import torch
from torch import Tensor

from cyclegan_style.data.images import luminance


def with_luminance(picture: Tensor, brightness: Tensor) -> Tensor:
    """The picture's colours at another brightness."""
    return (picture + brightness - luminance(picture)).clamp(-1, 1)


def matched_luminance(style: Tensor, content: Tensor) -> Tensor:
    """The style's brightness with the content's mean and deviation (eq. 10), as a grey picture."""
    of_style, of_content = luminance(style), luminance(content)
    scale = of_content.std() / of_style.std().clamp_min(1e-6)
    matched = (of_style - of_style.mean()) * scale + of_content.mean()
    return matched.clamp(-1, 1).expand_as(style)


def matched_colors(style: Tensor, content: Tensor) -> Tensor:
    """The style with the content's mean and covariance of colours (eq. 1 to 7).

    By the symmetric root of the covariances, which moves colours the least.
    """
    of_style, of_content = (picture[0].flatten(1).double() for picture in (style, content))
    mean_style, mean_content = (each.mean(1, keepdim=True) for each in (of_style, of_content))
    to_white = root(torch.cov(of_style), -0.5)
    to_content = root(torch.cov(of_content), 0.5)
    matched = to_content @ to_white @ (of_style - mean_style) + mean_content
    return matched.to(style.dtype).view_as(style).clamp(-1, 1)


def root(covariance: Tensor, power: float) -> Tensor:
    """A power of a symmetric matrix whose smallest eigenvalues are kept from 0."""
    values, vectors = torch.linalg.eigh(covariance)
    powers: Tensor = values.clamp_min(1e-6) ** power
    result: Tensor = (vectors * powers) @ vectors.T
    return result
