"""What all parts of one landscape share: the canvas, the light, the season and the dice."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cyclegan_style.synthetic.planes import Colour, Plane, Planes, Vector, blended, graded
from cyclegan_style.synthetic.randomness import Dice

Season = Literal["summer", "winter"]


@dataclass(frozen=True)
class Light:
    """A time of day: what colours the sky and what multiplies the colour of things."""

    zenith: Colour
    middle: Colour
    horizon: Colour
    sun: Colour
    haze: Colour
    lit: Colour
    shade: Colour
    cloud_lit: Colour
    cloud_shade: Colour
    sun_height: tuple[float, float]  # above the horizon, in heights of the sky; negative: hidden
    pane: Colour = (0.22, 0.25, 0.32)  # of a window

    @property
    def overcast(self) -> bool:
        """Whether clouds hide the sun, so that nothing casts a shadow."""
        return self.sun_height[0] < 0.0

    def in_winter(self) -> "Light":
        """The same time of day under a paler and cooler sky."""
        return replace(
            self,
            zenith=_paled(self.zenith, 0.45),
            middle=_paled(self.middle, 0.45),
            horizon=_paled(self.horizon, 0.35),
            sun=_paled(self.sun, 0.3),
            haze=_paled(self.haze, 0.5),
            lit=_paled(self.lit, 0.6),
            shade=_paled(self.shade, 0.3),
            cloud_lit=_paled(self.cloud_lit, 0.4),
            cloud_shade=_paled(self.cloud_shade, 0.4),
        )


def _paled(colour: Colour, share: float) -> Colour:
    """Mix a colour with a cold grey as bright as it is."""
    red, green, blue = colour
    grey = red * 0.299 + green * 0.587 + blue * 0.114
    cold = (grey * 0.93, grey * 0.99, grey * 1.07)
    return blended(colour, cold, share)


_DAWN = Light(
    zenith=(0.42, 0.55, 0.78),
    middle=(0.72, 0.74, 0.84),
    horizon=(0.98, 0.82, 0.68),
    sun=(1.0, 0.90, 0.70),
    haze=(0.80, 0.76, 0.80),
    lit=(1.05, 0.92, 0.78),
    shade=(0.48, 0.50, 0.62),
    cloud_lit=(1.0, 0.88, 0.80),
    cloud_shade=(0.66, 0.64, 0.76),
    sun_height=(0.05, 0.35),
)
_NOON = Light(
    zenith=(0.20, 0.42, 0.78),
    middle=(0.42, 0.64, 0.90),
    horizon=(0.76, 0.86, 0.94),
    sun=(1.0, 0.98, 0.90),
    haze=(0.66, 0.76, 0.88),
    lit=(1.10, 1.08, 1.0),
    shade=(0.56, 0.60, 0.68),
    cloud_lit=(1.0, 1.0, 1.0),
    cloud_shade=(0.70, 0.75, 0.83),
    sun_height=(0.55, 1.5),
)
_AFTERNOON = Light(
    zenith=(0.30, 0.50, 0.76),
    middle=(0.58, 0.72, 0.84),
    horizon=(0.95, 0.88, 0.74),
    sun=(1.0, 0.94, 0.76),
    haze=(0.76, 0.76, 0.76),
    lit=(1.14, 1.02, 0.80),
    shade=(0.50, 0.52, 0.60),
    cloud_lit=(1.0, 0.96, 0.88),
    cloud_shade=(0.68, 0.68, 0.76),
    sun_height=(0.25, 0.95),
)
_SUNSET = Light(
    zenith=(0.22, 0.28, 0.52),
    middle=(0.66, 0.46, 0.56),
    horizon=(1.0, 0.66, 0.34),
    sun=(1.0, 0.86, 0.55),
    haze=(0.74, 0.50, 0.46),
    lit=(1.0, 0.74, 0.54),
    shade=(0.36, 0.34, 0.46),
    cloud_lit=(1.0, 0.66, 0.46),
    cloud_shade=(0.46, 0.36, 0.50),
    sun_height=(0.04, 0.4),
)
_OVERCAST = Light(
    zenith=(0.58, 0.63, 0.70),
    middle=(0.70, 0.74, 0.79),
    horizon=(0.85, 0.87, 0.88),
    sun=(0.92, 0.93, 0.94),
    haze=(0.74, 0.78, 0.82),
    lit=(0.84, 0.86, 0.88),
    shade=(0.60, 0.63, 0.68),
    cloud_lit=(0.90, 0.91, 0.93),
    cloud_shade=(0.56, 0.60, 0.66),
    sun_height=(-1.0, -1.0),
)
_MOONRISE = Light(
    zenith=(0.09, 0.13, 0.30),
    middle=(0.20, 0.27, 0.48),
    horizon=(0.48, 0.48, 0.62),
    sun=(0.95, 0.96, 0.92),
    haze=(0.30, 0.34, 0.50),
    lit=(0.56, 0.60, 0.72),
    shade=(0.26, 0.29, 0.42),
    cloud_lit=(0.58, 0.60, 0.72),
    cloud_shade=(0.22, 0.26, 0.42),
    sun_height=(0.35, 0.8),
    pane=(0.95, 0.80, 0.45),
)
# Bright weather is more frequent, as in holiday photographs.
_LIGHTS = (_NOON, _NOON, _NOON, _AFTERNOON, _AFTERNOON, _DAWN, _SUNSET, _SUNSET, _OVERCAST)
_MOON_CHANCE = 0.05

_CROWNS: tuple[Colour, ...] = ((0.22, 0.38, 0.12), (0.30, 0.44, 0.14), (0.16, 0.30, 0.13))
SNOW: Colour = (0.87, 0.90, 0.94)
_AUTUMN_CROWNS: tuple[Colour, ...] = ((0.70, 0.38, 0.10), (0.62, 0.22, 0.10), (0.74, 0.56, 0.16))


@dataclass(frozen=True)
class Scene:
    """The picture being rendered, in floats at twice its size, and what all its parts share.

    Positions and lengths are in picture heights, x to the right and y downwards.
    """

    dice: Dice
    light: Light
    canvas: Planes
    horizon: float
    sun_x: float
    sun_y: float
    leaves: tuple[Colour, ...]  # of summer or autumn
    snowy: bool

    @classmethod
    def random(cls, dice: Dice, size: int, season: Season) -> "Scene":
        """Choose light, horizon, sun and leaves for an empty canvas, alike in both seasons."""
        light = _MOONRISE if dice.chance(_MOON_CHANCE) else dice.choice(_LIGHTS)
        horizon = dice.uniform(0.34, 0.66)
        return cls(
            dice=dice,
            light=light.in_winter() if season == "winter" else light,
            canvas=np.empty((3, 2 * size, 2 * size), dtype=np.float32),
            horizon=horizon,
            sun_x=dice.uniform(0.08, 0.92),
            sun_y=horizon * (1.0 - dice.uniform(*light.sun_height)),
            leaves=_AUTUMN_CROWNS if dice.chance(0.18) else _CROWNS,
            snowy=season == "winter",
        )

    @property
    def side(self) -> int:
        """Pixels of the canvas on each side."""
        return int(self.canvas.shape[1])

    @property
    def toward_sun(self) -> int:
        """-1 where light comes from the left, 1 where it comes from the right."""
        return 1 if self.sun_x > 0.5 else -1

    def row(self, y: float) -> int:
        """Number the pixel row at a height, kept inside the canvas."""
        return min(max(math.floor(y * self.side), 0), self.side)

    def axis(self, start: int = 0, stop: int | None = None) -> Vector:
        """Positions of the centres of pixel rows or columns."""
        return (np.arange(start, self.side if stop is None else stop) + 0.5) / self.side

    def tint(self, colour: Colour, brightness: Plane | float) -> Planes:
        """Colour a thing between its shaded (0) and its lit (1) look."""
        shaded, lit = np.multiply(colour, self.light.shade), np.multiply(colour, self.light.lit)
        return graded(shaded, lit, brightness)

    def snow(self, brightness: Plane | float) -> Planes:
        """Colour snow between its shaded (0) and its lit (1) look."""
        return self.tint(SNOW, brightness)
