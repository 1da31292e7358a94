"""The grid that a network's strides leave in its pictures, seen in their spectra."""

import torch
from torch import Tensor

FEWEST_PERIODS = 16
"""Below it there is too little of a spectrum between two harmonics."""
ROUNDING = (2 / 255) ** 2 / 12
"""Variance of rounding to 8 bits, for values between -1 and 1."""


def grid_strength(images: Tensor, period: int) -> Tensor:
    """How far N×C×H×W pictures in [-1, 1] have a pattern that repeats every ``period`` pixels.

    With P(f) the power of a picture's rows at f cycles per row, under a Hann window and averaged
    over rows and channels, and Q the same of its columns, it is

        mean over k = 1 … period / 2, and over P and Q, of P(k n / period) / median of P nearby

    for rows of n pixels. Nearby is 2 to n / (4 period) cycles away, on both sides; one cycle away
    the window shows the same pattern. To both powers comes that of rounding to 8 bits, below which
    nothing is seen. Noise and flat pictures have about 1, and a pattern of amplitude a in one
    direction, beside noise of deviation s, adds about n a² / 6 s² to a quotient.
    """
    pictures = images.double()
    along_rows, along_columns = (
        _quotients(each, period) for each in (pictures, pictures.transpose(2, 3))
    )
    return torch.cat([along_rows, along_columns], dim=1).mean(1)


def _quotients(pictures: Tensor, period: int) -> Tensor:
    """N × harmonics: the power at each over the median of what is nearby, along the last axis."""
    length = pictures.shape[3] // period * period
    if length < FEWEST_PERIODS * period:
        raise ValueError(f"a side of {pictures.shape[3]} has too few periods of {period} pixels")
    window = torch.hann_window(length, dtype=pictures.dtype, device=pictures.device)
    rows = pictures[..., :length]
    rows = (rows - rows.mean(3, keepdim=True)) * window
    power = torch.fft.fft(rows).abs().square().mean((1, 2)) + ROUNDING * window.square().sum()
    harmonics = torch.arange(1, period // 2 + 1, device=power.device) * (length // period)
    distances = torch.arange(2, length // (4 * period) + 1, device=power.device)
    nearby = torch.cat([-distances, distances]) + harmonics[:, None]
    surroundings = power[:, nearby % length].median(2).values
    quotients: Tensor = power[:, harmonics] / surroundings
    return quotients
