"""Which of a network's styles is painted: one of them, or a blend; and how strongly."""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks.resampling import change_by
from cyclegan_style.networks.styles import settle_style


def with_style(generator: LoadedGenerator, style: str | None) -> LoadedGenerator:
    """The generator in one style, such as ``2`` or ``1:0.3,2:0.7``; without one, the first."""
    count = generator.config.styles
    shares = shares_of("1" if style is None else style, count)
    if count == 1:
        return generator
    network = deepcopy(generator.network)
    settle_style(network, shares)
    return replace(generator, network=network)


def with_strength(generator: LoadedGenerator, strength: float) -> LoadedGenerator:
    """The generator with its change of the input so many times as large: 0 is none, 1 as learned.

    A generator without a skip makes pictures anew and changes nothing: it is a UserError.
    """
    if strength == 1:
        return generator
    if not 0 <= strength < float("inf"):
        raise UserError(f"--strength: must be a number of at least 0, not {strength}")
    if not generator.config.skip:
        raise UserError(
            "--strength: is for models with generator.skip, which change their input; this one"
            " makes its pictures anew"
        )
    network = deepcopy(generator.network)
    change_by(network, strength)
    return replace(generator, network=network)


def shares_of(text: str, count: int) -> Tensor:
    """1×S shares, whose sum is 1, of the styles that a text names by numbers from 1 on."""
    shares = torch.zeros(1, count, dtype=torch.float64)
    for part in text.split(","):
        number, colon, weight = part.partition(":")
        try:
            place, share = int(number) - 1, float(weight if colon else 1)
        except ValueError:
            raise UserError(
                printable(f"--style: {text!r} is neither a number such as 2 nor 1:0.3,2:0.7")
            ) from None
        if not 0 <= place < count:
            known = f"{count} styles, from 1 to {count}" if count > 1 else "one style"
            raise UserError(printable(f"--style: {text!r}: the model has {known}"))
        if not 0 <= share < float("inf"):
            raise UserError(printable(f"--style: {text!r}: shares must be numbers of at least 0"))
        shares[0, place] += share
    if not shares.sum() > 0:
        raise UserError(printable(f"--style: {text!r}: one of the shares must be above 0"))
    shares /= shares.max()  # whose sum could otherwise be infinite
    return (shares / shares.sum()).float()
