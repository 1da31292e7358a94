"""Demo domains that need no download: procedural landscapes, and others turned into oil paintings.

Every pixel is the same on every machine and with every NumPy version, so that a published figure
can be reproduced and the tests can pin a hash. Therefore this module uses only operations that
IEEE 754 rounds exactly (+ - * / sqrt, comparison, floor, rint) and integer arithmetic. There is no
sin, exp or power, no sum over an axis (its order depends on the vector unit), no resampling or
drawing by Pillow, and random numbers come from a hash of a counter instead of `numpy.random`.
Scalars that meet an array are Python floats, which leave float32 arrays float32 in NumPy 1 and 2.
"""

from __future__ import annotations

import math
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

DEMO_VERSION = 1
"""Part of the cache folder's name: raise it whenever a pixel of any demo picture changes."""

DEMO_SIZE = 128
"""Width and height of the demo pictures in pixels."""

DEMO_COUNTS = {"train": 400, "test": 32}
"""Pictures per domain; the folder `truth` has as many as `test`."""

Domain = Literal["photo", "painting"]
Split = Literal["train", "test", "truth"]

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.floating]  # one value per pixel, (height, width); float32 throughout
Planes = npt.NDArray[np.floating]  # colours, (3, height, width), 0 to 1
Vector = npt.NDArray[np.float64]
Colour = tuple[float, float, float]
Point = tuple[float, float]  # x to the right and y downwards, in picture heights

_DEMO_SEED = 2017
_SOURCE_BLOCK = 1_000_000  # more than any count: the sources of two sets never meet


# ---------------------------------------------------------------------------- random numbers

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_ROW_STEP = 0xD6E8FEB86659FD93


def _mix(word: int) -> int:
    """Scramble a 64-bit word: the output function of splitmix64."""
    word = ((word ^ (word >> 30)) * _MIX_1) & _WORD
    word = ((word ^ (word >> 27)) * _MIX_2) & _WORD
    return word ^ (word >> 31)


def _hash_grid(key: int, rows: npt.NDArray[np.uint64], columns: npt.NDArray[np.uint64]) -> Plane:
    """Hash every pair of a row and a column number to a float in [0, 1]."""
    word = rows[:, None] * np.uint64(_ROW_STEP) + columns[None, :] * np.uint64(_GOLDEN)
    word = word + np.uint64(key)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(_MIX_1)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(_MIX_2)
    word = word ^ (word >> np.uint64(31))
    values: Plane = ((word >> np.uint64(11)).astype(np.float64) * 2.0**-53).astype(np.float32)
    return values


class _Dice:
    """A stream of random numbers: the hash of a key and a counter (splitmix64)."""

    def __init__(self, seed: int, index: int) -> None:
        self._state = _mix(_mix(seed & _WORD) + index & _WORD)

    def key(self) -> int:
        """Draw a 64-bit word, to seed a noise pattern with."""
        self._state = (self._state + _GOLDEN) & _WORD
        return _mix(self._state)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw from [low, high)."""
        return low + (high - low) * ((self.key() >> 11) * 2.0**-53)

    def chance(self, probability: float) -> bool:
        """Draw True with the probability given."""
        return self.uniform() < probability

    def below(self, count: int) -> int:
        """Draw one of 0 ... count - 1."""
        return int(self.uniform() * count)

    def vary(self, colour: Colour, amount: float) -> Colour:
        """Draw a colour near the one given."""
        red, green, blue = (part + self.uniform(-amount, amount) for part in colour)
        return (red, green, blue)


def _smoothstep(ramp: Plane) -> Plane:
    """Ease a ramp in and out, clipped to [0, 1]."""
    ramp = np.clip(ramp, 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


def _lattice(at: Vector) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Plane]:
    """Split coordinates into indices from 0, the first lattice number, and eased fractions."""
    cell = np.floor(at)
    number = cell.astype(np.int64)
    index = number - number.min()
    return index, number, _smoothstep((at - cell).astype(np.float32))


def _noise(key: int, rows: Vector, columns: Vector) -> Plane:
    """Value noise in [0, 1]; `rows` and `columns` are the pixels' coordinates in lattice cells."""
    row, row_number, row_share = _lattice(rows)
    column, column_number, column_share = _lattice(columns)
    values = _hash_grid(
        key,
        np.arange(row_number.min(), row_number.max() + 2).astype(np.uint64),
        np.arange(column_number.min(), column_number.max() + 2).astype(np.uint64),
    )
    upper, lower = values[row], values[row + 1]
    across = upper + (lower - upper) * row_share[:, None]
    left = across[:, column]
    right = across[:, column + 1]
    right -= left
    right *= column_share
    right += left
    return right


def _fractal(key: int, rows: Vector, columns: Vector, octaves: int) -> Plane:
    """Sum octaves of noise, each twice as fine and half as strong, into [0, 1]."""
    total = _noise(key, rows, columns)
    weight, weights = 1.0, 1.0
    for octave in range(1, octaves):
        weight, rows, columns = weight * 0.5, rows * 2.0, columns * 2.0
        total += _noise(_mix(key + octave & _WORD), rows, columns) * weight
        weights += weight
    return total / weights


def _fractal_line(key: int, at: Vector, octaves: int) -> Plane:
    """Like `_fractal`, along a line."""
    return _fractal(key, np.zeros(1), at, octaves).reshape(-1)


# ------------------------------------------------------------------------------------ scene


@dataclass(frozen=True)
class _Light:
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


_DAWN = _Light(
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
_NOON = _Light(
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
_AFTERNOON = _Light(
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
_SUNSET = _Light(
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
_OVERCAST = _Light(
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
_MOONRISE = _Light(
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
)
# Bright weather is more frequent, as in holiday photographs.
_LIGHTS = (_NOON, _NOON, _NOON, _AFTERNOON, _AFTERNOON, _DAWN, _SUNSET, _SUNSET, _OVERCAST)
_MOON_CHANCE = 0.05

_ROOFS: tuple[Colour, ...] = ((0.62, 0.26, 0.18), (0.50, 0.30, 0.22), (0.36, 0.36, 0.42))
_WALLS: tuple[Colour, ...] = ((0.90, 0.86, 0.78), (0.84, 0.76, 0.62), (0.92, 0.91, 0.90))
_CROWNS: tuple[Colour, ...] = ((0.22, 0.38, 0.12), (0.30, 0.44, 0.14), (0.16, 0.30, 0.13))
_AUTUMN_CROWNS: tuple[Colour, ...] = ((0.70, 0.38, 0.10), (0.62, 0.22, 0.10), (0.74, 0.56, 0.16))
_MEADOWS: tuple[Colour, ...] = ((0.34, 0.50, 0.16), (0.42, 0.54, 0.22), (0.26, 0.42, 0.16))
_FIELDS: tuple[Colour, ...] = ((0.74, 0.62, 0.28), (0.46, 0.36, 0.56), (0.48, 0.36, 0.22))
_FLOWERS: tuple[Colour, ...] = ((0.82, 0.16, 0.12), (0.95, 0.84, 0.25), (0.96, 0.95, 0.94))


@dataclass(frozen=True)
class _Scene:
    """The picture being rendered, in floats at twice its size, and what all its parts share."""

    dice: _Dice
    light: _Light
    canvas: Planes
    horizon: float  # in picture heights from the top, as all positions and lengths here
    sun_x: float
    sun_y: float
    leaves: tuple[Colour, ...]  # of the season

    @property
    def side(self) -> int:
        """Pixels of the canvas on each side."""
        return int(self.canvas.shape[1])

    @property
    def toward_sun(self) -> float:
        """-1 where light comes from the left, 1 where it comes from the right."""
        return 1.0 if self.sun_x > 0.5 else -1.0

    def row(self, y: float) -> int:
        """Number the pixel row at a height, kept inside the canvas."""
        return min(max(math.floor(y * self.side), 0), self.side)

    def axis(self, start: int = 0, stop: int | None = None) -> Vector:
        """Positions of the centres of pixel rows or columns."""
        return (np.arange(start, self.side if stop is None else stop) + 0.5) / self.side

    def tint(self, colour: Colour, brightness: Plane) -> Planes:
        """Colour a thing between its shaded (0) and its lit (1) look."""
        shaded, lit = self.light.shade, self.light.lit
        return np.stack(
            [
                part * dark + brightness * (part * (bright - dark))
                for part, dark, bright in zip(colour, shaded, lit, strict=True)
            ]
        )


def _mixed(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def _flat(colour: Colour) -> Planes:
    return np.array(colour, dtype=np.float32).reshape(3, 1, 1)


def _lay(canvas: Planes, colour: Planes, cover: Plane) -> None:
    """Lay a colour over the canvas, in place, where `cover` is above 0."""
    canvas += (colour - canvas) * cover


def _blend_in(canvas: Planes, colour: Colour, cover: Plane) -> None:
    _lay(canvas, _flat(colour), cover)


def _triangle_wave(phase: Plane) -> Plane:
    """Wave between 0 and 1 with period 1; the stand-in for a sine."""
    wave: Plane = np.abs((phase - np.floor(phase)) * 2.0 - 1.0)
    return wave


def _shifted(plane: Plane, down: int, right: int) -> Plane:
    """Move a picture by whole pixels, repeating its border."""
    height, width = plane.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    moved: Plane = plane.take(rows, axis=0).take(columns, axis=1)
    return moved


def _squared(plane: Plane) -> Plane:
    return plane * plane


# -------------------------------------------------------------------------------------- sky


def _draw_sky(scene: _Scene) -> None:
    """Fill the canvas with a gradient, brighter and warmer towards the sun."""
    light = scene.light
    height = np.clip(scene.axis() / scene.horizon, 0.0, 1.0).astype(np.float32)
    low = _smoothstep(height * 1.25 - 0.25)[:, None]
    high = _smoothstep(1.0 - height * 1.6)[:, None]
    glow = _sun_distance(scene)
    halo = 1.0 / (1.0 + glow * 22.0)
    for plane, zenith, middle, horizon, sun in zip(
        scene.canvas, light.zenith, light.middle, light.horizon, light.sun, strict=True
    ):
        gradient = middle + (zenith - middle) * high
        gradient = gradient + (horizon - gradient) * low
        plane[:] = gradient + (sun - gradient) * (halo * 0.75)
    if light.sun_height[0] > 0.0:
        _blend_in(scene.canvas, light.sun, _smoothstep((0.0011 - glow) * 1400.0 + 0.5))


def _sun_distance(scene: _Scene) -> Plane:
    """Squared distance of every pixel from the sun."""
    axis = scene.axis().astype(np.float32)
    return _squared(axis[:, None] - scene.sun_y) + _squared(axis[None, :] - scene.sun_x)


def _draw_clouds(scene: _Scene) -> None:
    """Lay heaps or streaks of cloud over the sky, lit from the side of the sun."""
    dice, light = scene.dice, scene.light
    overcast = light is _OVERCAST
    if not overcast and dice.chance(0.2):
        return
    bottom = scene.row(scene.horizon + 0.02)
    depth = scene.axis(0, bottom) / scene.horizon
    streaked = dice.chance(0.4)
    # Clouds crowd together towards the horizon: perspective of a flat ceiling.
    rows = (4.0 if streaked else 2.2) * depth / (1.5 - depth * 0.75) * 1.6
    columns = scene.axis() * (1.4 if streaked else 2.6) + dice.uniform(0.0, 9.0)
    density = _fractal(dice.key(), rows, columns, 5)
    cover = dice.uniform(0.36, 0.44) if overcast else dice.uniform(0.44, 0.58)
    opacity = _smoothstep((density - cover) * (4.0 if streaked else 7.0))
    reach = max(scene.side // 32, 1)
    away = _shifted(density, -reach, -reach * int(scene.toward_sun))
    lit = _smoothstep((density - away) * 3.0 + 0.62 - (density - cover) * 1.2)
    shade = np.stack(
        [
            dark + lit * (bright - dark)
            for dark, bright in zip(light.cloud_shade, light.cloud_lit, strict=True)
        ]
    )
    near_horizon = np.clip((1.02 - depth) * 4.0, 0.0, 1.0).astype(np.float32)[:, None]
    _lay(scene.canvas[:, :bottom], shade, opacity * near_horizon * 0.92)


# ------------------------------------------------------------------------ mountains and hills


def _below(scene: _Scene, line: Plane, top: int) -> Plane:
    """Cover of the region under a line that gives a height for every column."""
    rows = np.arange(top, scene.side, dtype=np.float32) + 0.5
    return np.clip(rows[:, None] - line * float(scene.side) + 0.5, 0.0, 1.0)


def _top_row(scene: _Scene, line: Plane) -> int:
    return max(scene.row(float(line.min())) - 1, 0)


def _slope(line: Plane, reach: int) -> Plane:
    """Height gained from left to right around every column (heights count downwards)."""
    row = line.reshape(1, -1)
    return (_shifted(row, 0, -reach) - _shifted(row, 0, reach)).reshape(-1)


def _draw_mountains(
    scene: _Scene, base: float, height: float, distance: float, snow_line: float
) -> None:
    """Draw a chain of peaks with lit and shaded flanks, rock, forest and perhaps snow."""
    dice = scene.dice
    columns = scene.axis() * dice.uniform(1.3, 2.6) + dice.uniform(0.0, 50.0)
    # Folding the noise makes creases, which read as peaks.
    fold = 1.0 - np.abs(_fractal_line(dice.key(), columns, 2) * 2.0 - 1.0)
    rough = _fractal_line(dice.key(), columns * 5.0, 4)
    line = base - height * (fold * 0.85 + rough * 0.22)
    top = _top_row(scene, line)
    cover = _below(scene, line, top)

    rows = scene.axis(top)
    flank = _fractal(dice.key(), rows * 9.0, scene.axis() * 7.0, 4)
    reach = max(scene.side // 64, 1)
    relief = flank - _shifted(flank, 0, -reach * int(scene.toward_sun))
    lit = _smoothstep(0.5 + relief * 3.2 + _slope(line, reach) * (scene.toward_sun * 12.0))
    rock = dice.vary((0.42, 0.40, 0.40), 0.05)
    colour = scene.tint(rock, lit)
    altitude = (base - rows.astype(np.float32)[:, None]) + (flank - 0.5) * (height * 0.8)
    forest = scene.tint(dice.vary((0.22, 0.32, 0.20), 0.03), lit * 0.7)
    _lay(colour, forest, _smoothstep((0.4 - altitude / height) * 5.0))
    snow = scene.tint((0.97, 0.97, 0.98), lit * 0.9 + 0.1)
    _lay(colour, snow, _smoothstep((altitude - snow_line) * 30.0))
    _fade(scene, colour, distance)
    _lay(scene.canvas[:, top:], colour, cover)


def _fade(scene: _Scene, colour: Planes, distance: float) -> None:
    """Fade a layer into the haze: aerial perspective."""
    colour += (_flat(scene.light.haze) - colour) * distance


def _draw_hill(scene: _Scene, base: float, height: float, distance: float, wooded: bool) -> Plane:
    """Draw a rolling hill of meadow or wood; return its line for things that stand on it."""
    dice = scene.dice
    columns = scene.axis() * dice.uniform(1.0, 2.0) + dice.uniform(0.0, 50.0)
    line = base - height * _fractal_line(dice.key(), columns, 2)
    slope = _slope(line, max(scene.side // 42, 1))
    if wooded:
        treetops = _fractal_line(dice.key(), scene.axis() * 30.0, 2)
        line = line - treetops * (0.035 * (1.0 - distance))
    top = _top_row(scene, line)
    rows = scene.axis(top)
    nearness = 0.35 + 1.0 - distance
    texture = _fractal(
        dice.key(),
        rows * ((26.0 if wooded else 14.0) / nearness),
        scene.axis() * ((22.0 if wooded else 5.0) / nearness),
        3,
    )
    strength = 1.7 if wooded else 0.8
    lit = 0.62 + (texture - 0.5) * strength + slope * (scene.toward_sun * 5.0)
    colours = scene.leaves if wooded else _MEADOWS
    albedo = dice.vary(colours[dice.below(3)], 0.035)
    colour = scene.tint(albedo, _smoothstep(lit))
    _fade(scene, colour, distance)
    _lay(scene.canvas[:, top:], colour, _below(scene, line, top))
    return line


def _draw_meadow(scene: _Scene, line: Plane, vanish: float) -> None:
    """Draw the ground in front: grass in perspective, perhaps with rows of crops or flowers."""
    dice = scene.dice
    top = _top_row(scene, line)
    rows = scene.axis(top)
    depth = 1.0 / (rows - vanish + 0.08)  # grows towards the horizon
    texture = _fractal(dice.key(), depth * 3.2, scene.axis() * 9.0, 4)
    blades = _noise(dice.key(), rows * 60.0, scene.axis() * 100.0)
    nearness = ((rows - vanish) / (1.02 - vanish)).astype(np.float32)[:, None]
    lit = _smoothstep(0.6 + (texture - 0.5) * 0.9 + (blades - 0.5) * (0.15 + nearness * 0.35))
    albedo = dice.vary(_MEADOWS[dice.below(3)], 0.05)
    colour = scene.tint(albedo, lit)
    patch = _fractal(dice.key(), depth * 0.9, scene.axis() * 2.4, 3)
    dry = scene.tint(dice.vary((0.60, 0.55, 0.28), 0.04), lit)
    _lay(colour, dry, _smoothstep((patch - 0.52) * 6.0) * 0.7)
    kind = dice.uniform()
    if kind < 0.3:
        _plant_rows(scene, colour, lit, depth)
    elif kind < 0.55:
        flower = scene.tint(_FLOWERS[dice.below(3)], _smoothstep(lit + 0.35))
        bloom = _fractal(dice.key(), depth * 26.0, scene.axis() * 52.0, 2)
        _lay(colour, flower, _smoothstep((bloom + patch * 0.45 - 0.88) * 9.0) * 0.9)
    if kind > 0.7:
        _lay(colour, *_path(scene, rows, nearness, lit))
    _fade(scene, colour, 0.04)
    _lay(scene.canvas[:, top:], colour, _below(scene, line, top))


def _plant_rows(scene: _Scene, colour: Planes, lit: Plane, depth: Vector) -> None:
    """Plant rows that run to a vanishing point."""
    dice = scene.dice
    vanish_x = dice.uniform(0.1, 0.9)
    across = (scene.axis()[None, :] - vanish_x) * depth[:, None]
    phase = (across * dice.uniform(2.0, 3.2)).astype(np.float32)
    thin_far = np.clip((9.0 - depth) / 5.0, 0.0, 1.0).astype(np.float32)[:, None]
    ridge = _smoothstep(_triangle_wave(phase) * 2.4 - 0.7)
    ridge = 0.55 + (ridge - 0.55) * thin_far
    crop = dice.vary(_FIELDS[dice.below(3)], 0.03)
    _lay(colour, scene.tint(crop, lit), ridge * 0.9)


def _path(scene: _Scene, rows: Vector, nearness: Plane, lit: Plane) -> tuple[Planes, Plane]:
    """Lay out a path that winds towards the viewer: its colour and its cover."""
    dice = scene.dice
    wind = _fractal_line(dice.key(), rows * 5.0 + dice.uniform(0.0, 9.0), 2)[:, None]
    start, end = dice.uniform(0.3, 0.7), dice.uniform(0.2, 0.8)
    near = np.clip(nearness, 0.0, 1.0)
    middle = start + (end - start) * near + (wind - 0.5) * 0.5 * (1.0 - near * 0.5)
    width = 0.010 + 0.11 * near * near
    offset = np.abs(scene.axis().astype(np.float32)[None, :] - middle) / width
    sand = scene.tint(dice.vary((0.72, 0.62, 0.48), 0.04), _smoothstep(lit + 0.2))
    return sand, _smoothstep((1.15 - offset) * 3.0)


# ------------------------------------------------------------------------------------ water


def _draw_water(scene: _Scene, shore: float) -> None:
    """Mirror what stands above the shore, displaced by ripples that widen towards the viewer."""
    dice, side = scene.dice, scene.side
    top = scene.row(shore)
    rows = scene.axis(top)
    depth = 1.0 / (rows - shore + 0.06)
    ripples = _fractal(dice.key(), depth * 3.4, scene.axis() * 5.0, 3)
    calm = dice.uniform(0.25, 1.0)
    near = ((rows - shore) / (1.0 - shore)).astype(np.float32)[:, None]
    sway = (ripples - 0.5) * ((0.02 + near * 0.10) * (calm * side))
    below = np.arange(side - top)[:, None]
    # The mirror image is a little compressed, so that a low shore still mirrors the sky.
    mirror = top - 1 - np.rint(below * 0.9 + sway).astype(np.int64)
    columns = np.arange(side)[None, :] + np.rint(sway * 0.25).astype(np.int64)
    mirror, columns = np.clip(mirror, 0, side - 1), np.clip(columns, 0, side - 1)
    flat = mirror * side + columns
    image = np.stack([plane.reshape(-1)[flat] for plane in scene.canvas])
    body = dice.vary((0.10, 0.24, 0.30), 0.03)
    light = scene.light
    deep = _flat(_mixed(body, light.zenith, 0.35))
    _lay(image, deep, 0.16 + near * 0.30 + np.clip(ripples - 0.5, 0.0, 1.0) * near)
    crest = _smoothstep((ripples - 0.60) * 9.0) * (0.10 + 0.2 * calm)
    _lay(image, _flat(light.horizon), crest)
    if light.sun_height[0] > 0.0:
        _lay(image, _flat(light.sun), _glitter(scene, rows, ripples))
    line = np.full(side, shore, dtype=np.float32)
    _lay(scene.canvas[:, top:], image, _below(scene, line, top))


def _glitter(scene: _Scene, rows: Vector, ripples: Plane) -> Plane:
    """Cover of the sun's broken reflection."""
    offset = _squared(scene.axis().astype(np.float32) - scene.sun_x)[None, :]
    spread = (0.004 + _squared((rows - rows[0]).astype(np.float32)) * 0.12)[:, None]
    return _smoothstep((ripples - 0.46) * 6.0) * 0.8 / (1.0 + _squared(offset / spread))


def _draw_boat(scene: _Scene, x: float, y: float, size: float) -> None:
    """Put a sailing boat on the water, over its reflection."""
    sail = scene.dice.vary((0.95, 0.93, 0.88), 0.04)
    hull = scene.dice.vary((0.40, 0.20, 0.16), 0.08)
    for up, strength in ((-0.7, 0.4), (1.0, 1.0)):
        tall, low = size * up, size * 0.16 * up
        mast = [(x, y - tall), (x, y - low), (x + size * 0.42, y - low)]
        jib = [
            (x - size * 0.04, y - tall * 0.85),
            (x - size * 0.04, y - low),
            (x - size * 0.3, y - low),
        ]
        body = [
            (x - size * 0.36, y - low),
            (x + size * 0.46, y - low),
            (x + size * 0.34, y),
            (x - size * 0.28, y),
        ]
        _draw_polygon(scene, mast, sail, 1.0, strength)
        _draw_polygon(scene, jib, sail, 0.4, strength)
        _draw_polygon(scene, body, hull, 0.6, strength)


# --------------------------------------------------------------------------- houses and trees


@dataclass(frozen=True)
class _Window:
    """A part of the canvas and the positions of its pixels."""

    canvas: Planes
    x: Plane  # (1, width)
    y: Plane  # (height, 1)


def _window(scene: _Scene, left: float, top: float, right: float, bottom: float) -> _Window | None:
    """Cut the part of the canvas inside a box; None where the box lies outside."""
    first_row, last_row = scene.row(top), scene.row(bottom + 2.0 / scene.side)
    first_column, last_column = scene.row(left), scene.row(right + 2.0 / scene.side)
    if first_row >= last_row or first_column >= last_column:
        return None
    return _Window(
        canvas=scene.canvas[:, first_row:last_row, first_column:last_column],
        x=scene.axis(first_column, last_column).astype(np.float32)[None, :],
        y=scene.axis(first_row, last_row).astype(np.float32)[:, None],
    )


def _draw_polygon(
    scene: _Scene, corners: Sequence[Point], colour: Colour, lit: float, strength: float = 1.0
) -> None:
    """Fill a convex polygon, its corners given in either sense, with a smooth edge."""
    across, down = [x for x, _ in corners], [y for _, y in corners]
    window = _window(scene, min(across), min(down), max(across), max(down))
    if window is None:
        return
    (x, y), (second_x, second_y), (third_x, third_y) = corners[:3]
    turn = (second_x - x) * (third_y - y) - (third_x - x) * (second_y - y)
    sense = 1.0 if turn > 0.0 else -1.0
    inside = np.full(window.canvas.shape[1:], 1.0, dtype=np.float32)
    for (x, y), (next_x, next_y) in zip(corners, [*corners[1:], corners[0]], strict=True):
        step_x, step_y = next_x - x, next_y - y
        length = math.sqrt(step_x * step_x + step_y * step_y)
        scale = sense * scene.side / max(length, 1e-9)
        distance = (window.y - y) * (step_x * scale) - (window.x - x) * (step_y * scale)
        inside = np.minimum(inside, distance + 0.5)
    brightness = np.full((1, 1), lit, dtype=np.float32)
    _lay(window.canvas, scene.tint(colour, brightness), np.clip(inside, 0.0, 1.0) * strength)


def _draw_house(scene: _Scene, x: float, ground: float, size: float) -> None:
    """Build a house of a gable end and a long side, whichever faces the sun lit."""
    dice = scene.dice
    wall, roof = dice.vary(_WALLS[dice.below(3)], 0.03), dice.vary(_ROOFS[dice.below(3)], 0.03)
    facing = 1.0 if dice.chance(0.5) else -1.0  # the side on which the gable end is
    gable_lit = 0.95 if facing == scene.toward_sun else 0.30
    side_lit = 1.25 - gable_lit
    gable, long, wall_top = size * 0.55, size * 1.0, ground - size * 0.48
    peak = wall_top - size * 0.38

    def at(offset: float, y: float) -> Point:
        return (x + facing * offset, y)

    def box(left: float, top: float, right: float, bottom: float) -> list[Point]:
        return [at(left, top), at(right, top), at(right, bottom), at(left, bottom)]

    chimney = box(-long * 0.6, peak - size * 0.16, -long * 0.48, peak + size * 0.1)
    front = [at(gable / 2, peak), at(gable, wall_top), at(gable, ground)]
    front += [at(0.0, ground), at(0.0, wall_top)]
    slant = [at(-long * 1.05, wall_top + size * 0.04), at(-long * 0.72, peak)]
    slant += [at(gable / 2, peak), at(-gable * 0.04, wall_top + size * 0.04)]
    eaves = [at(gable / 2, peak - size * 0.03), at(gable / 2, peak + size * 0.05)]
    eaves += [at(gable * 1.06, wall_top + size * 0.06), at(gable * 1.06, wall_top)]
    _draw_polygon(scene, chimney, roof, 0.4)
    _draw_polygon(scene, box(-long, wall_top, 0.0, ground), wall, side_lit)
    _draw_polygon(scene, front, wall, gable_lit)
    _draw_polygon(scene, slant, roof, 0.25 + 0.65 * side_lit)
    _draw_polygon(scene, eaves, roof, 0.2)
    pane: Colour = (0.95, 0.80, 0.45) if scene.light is _MOONRISE else (0.22, 0.25, 0.32)
    top, half = wall_top + size * 0.13, size * 0.055
    for middle in (-long * 0.80, -long * 0.5, -long * 0.22, gable * 0.5):
        _draw_polygon(scene, box(middle - half, top, middle + half, top + size * 0.17), pane, 1.0)


def _draw_shadow(scene: _Scene, x: float, ground: float, width: float) -> None:
    """Darken the ground beside a thing, away from the sun."""
    middle = x - scene.toward_sun * width * 0.8
    flatness = width * 0.22
    window = _window(
        scene, middle - width * 1.6, ground - flatness, middle + width * 1.6, ground + flatness
    )
    if window is None:
        return
    reach = _squared((window.x - middle) / (width * 1.5)) + _squared((window.y - ground) / flatness)
    _lay(window.canvas, window.canvas * 0.55, _smoothstep((1.0 - reach) * 1.6) * 0.8)


def _draw_tree(scene: _Scene, x: float, ground: float, height: float) -> None:
    """Grow a leafy tree of a few overlapping crowns, or a slender poplar."""
    dice = scene.dice
    slender = dice.chance(0.2)
    trunk = height * (0.12 if slender else 0.3)
    bark = dice.vary((0.32, 0.24, 0.18), 0.04)
    half = height * (0.02 if slender else 0.035)
    if scene.light is not _OVERCAST:
        _draw_shadow(scene, x, ground, height * (0.16 if slender else 0.34))
    base = [(x - half, ground), (x - half * 0.6, ground - trunk * 1.5)]
    base += [(x + half * 0.6, ground - trunk * 1.5), (x + half, ground)]
    _draw_polygon(scene, base, bark, 0.4)
    leaf = dice.vary(scene.leaves[dice.below(3)], 0.03)
    if slender:
        _draw_crown(scene, (x, ground - height * 0.55), (height * 0.13, height * 0.47), leaf)
        return
    for _ in range(5):
        offset_x, offset_y = dice.uniform(-0.2, 0.2), dice.uniform(0.42, 0.74)
        radius = height * dice.uniform(0.19, 0.27)
        middle = (x + height * offset_x, ground - height * offset_y)
        _draw_crown(scene, middle, (radius * 1.1, radius), leaf)


def _draw_crown(scene: _Scene, middle: Point, radii: Point, leaf: Colour) -> None:
    """Draw an ellipse of foliage with a ragged edge, lit from above and from the sun's side."""
    (x, y), (wide, tall) = middle, radii
    window = _window(scene, x - wide * 1.3, y - tall * 1.3, x + wide * 1.3, y + tall * 1.3)
    if window is None:
        return
    across, down = (window.x - x) / wide, (window.y - y) / tall
    rows, columns = window.y[:, 0].astype(np.float64), window.x[0].astype(np.float64)
    leaves = _fractal(scene.dice.key(), rows * 44.0, columns * 44.0, 2)
    reach = _squared(across) + _squared(down) + (leaves - 0.5) * 1.1
    softness = min(wide * scene.side * 0.4, 7.0)
    lit = 0.40 - down * 0.40 + across * (scene.toward_sun * 0.30) + (leaves - 0.5) * 1.2
    _lay(
        window.canvas,
        scene.tint(leaf, np.clip(lit, -0.5, 1.15)),
        np.clip((1.0 - reach) * softness + 0.5, 0.0, 1.0),
    )


def _draw_conifer(scene: _Scene, x: float, ground: float, height: float) -> None:
    """Grow a conifer: a cone of tiers."""
    dice = scene.dice
    half = height * dice.uniform(0.17, 0.24)
    window = _window(scene, x - half * 1.2, ground - height, x + half * 1.2, ground)
    if window is None:
        return
    if scene.light is not _OVERCAST:
        _draw_shadow(scene, x, ground, half * 1.2)
    from_top = (window.y - (ground - height)) / height
    tiers = from_top * dice.uniform(4.0, 6.0)
    tier = tiers - np.floor(tiers)
    rows, columns = window.y[:, 0].astype(np.float64), window.x[0].astype(np.float64)
    needles = _noise(dice.key(), rows * 70.0, columns * 60.0)
    ragged = (needles - 0.5) * np.minimum(from_top * 1.6, 0.35)
    width = from_top * (0.72 + 0.34 * tier) + ragged  # of half the tree's
    across = (window.x - x) / half
    inside = (width - np.abs(across)) * (half * scene.side) + 0.5
    standing = np.clip((0.94 - from_top) * 40.0, 0.0, 1.0)
    lit = 0.32 + across * (scene.toward_sun * 0.5) + (needles - 0.5) * 0.9 + (tier - 0.5) * 0.3
    leaf = dice.vary((0.13, 0.25, 0.15), 0.03)
    cover = np.clip(inside, 0.0, 1.0) * standing
    _lay(window.canvas, scene.tint(leaf, np.clip(lit, -0.4, 1.1)), cover)


def _draw_things_on(scene: _Scene, line: Plane, count: int, height: float, houses: float) -> None:
    """Set trees and houses along a line, the farther (higher in the picture) first."""
    dice = scene.dice
    conifers = dice.chance(0.4)
    spots = []
    for _ in range(count):
        x = dice.uniform()
        ground = float(line[int(x * scene.side)]) + height * dice.uniform(0.06, 0.35)
        spots.append((ground, x))
    for ground, x in sorted(spots):
        size = height * dice.uniform(0.65, 1.2)
        if dice.chance(houses):
            _draw_house(scene, x, ground, size * 0.7)
        elif conifers and dice.chance(0.8):
            _draw_conifer(scene, x, ground, size * 1.15)
        else:
            _draw_tree(scene, x, ground, size)


# ------------------------------------------------------------------------------------ photos


def render_photo(seed: int, index: int, size: int = DEMO_SIZE) -> Pixels:
    """Render landscape number `index` as (size, size, 3): the same numbers, the same pixels."""
    dice = _Dice(seed, index)
    scene = _open_scene(dice, size)
    _draw_sky(scene)
    _draw_clouds(scene)
    _draw_land(scene)
    canvas = _halved(scene.canvas)
    return _exposed(dice, canvas)


def _open_scene(dice: _Dice, size: int) -> _Scene:
    light = _MOONRISE if dice.chance(_MOON_CHANCE) else _LIGHTS[dice.below(len(_LIGHTS))]
    horizon = dice.uniform(0.34, 0.66)
    return _Scene(
        dice=dice,
        light=light,
        canvas=np.empty((3, 2 * size, 2 * size), dtype=np.float32),
        horizon=horizon,
        sun_x=dice.uniform(0.08, 0.92),
        sun_y=horizon * (1.0 - dice.uniform(*light.sun_height)),
        leaves=_AUTUMN_CROWNS if dice.chance(0.18) else _CROWNS,
    )


def _draw_land(scene: _Scene) -> None:
    """Draw everything under the sky, from far to near."""
    dice, horizon = scene.dice, scene.horizon
    if dice.chance(0.6):
        height = dice.uniform(0.5, 0.85) * horizon
        snow_line = height * dice.uniform(0.3, 0.8)
        _draw_mountains(scene, horizon + 0.05, height * 0.75, dice.uniform(0.4, 0.58), snow_line)
        if dice.chance(0.5):
            distance = dice.uniform(0.25, 0.38)
            _draw_mountains(scene, horizon + 0.06, height * 0.5, distance, snow_line)
    for distance in (0.55, 0.36)[dice.below(2) :]:
        lift = 0.05 + distance * 0.12
        _draw_hill(
            scene, horizon + 0.05, lift + dice.uniform(0.0, 0.08), distance, dice.chance(0.6)
        )
    wet = dice.chance(0.5)
    shore_line = _draw_hill(scene, horizon + 0.07, 0.07, 0.18, dice.chance(0.3))
    _draw_things_on(scene, shore_line, 2 + dice.below(7), dice.uniform(0.09, 0.16), 0.25)
    if wet:
        shore = horizon + dice.uniform(0.07, 0.10)
        _draw_water(scene, shore)
        if dice.chance(0.35):
            depth = dice.uniform(0.08, 0.3)
            y = shore + (1.0 - shore) * depth
            _draw_boat(scene, dice.uniform(0.15, 0.85), y, 0.08 + 0.25 * depth)
    _draw_foreground(scene, wet)


def _draw_foreground(scene: _Scene, wet: bool) -> None:
    """Draw the meadow in front and what grows there; by water only a bank, or nothing."""
    dice, horizon = scene.dice, scene.horizon
    if wet and dice.chance(0.35):
        return
    columns = scene.axis() * dice.uniform(0.8, 1.6) + dice.uniform(0.0, 50.0)
    bank = dice.uniform(0.55, 0.8) if wet else dice.uniform(0.12, 0.25)
    base = horizon + (1.0 - horizon) * bank
    line = base + (_fractal_line(dice.key(), columns, 3) - 0.5) * 0.16
    _draw_meadow(scene, line, min(horizon, float(line.min()) - 0.03))
    count = dice.below(3) if wet else 1 + dice.below(4)
    _draw_things_on(scene, line, count, dice.uniform(0.22, 0.42), 0.12)


def _halved(canvas: Planes) -> Planes:
    """Average blocks of 2 x 2 pixels."""
    upper = canvas[:, 0::2, 0::2] + canvas[:, 0::2, 1::2]
    lower = canvas[:, 1::2, 0::2] + canvas[:, 1::2, 1::2]
    return (upper + lower) * 0.25


def _exposed(dice: _Dice, canvas: Planes) -> Pixels:
    """Finish the photo: mist, contrast, the grain of a sensor, 8 bits."""
    mist = dice.uniform(0.0, 0.10) * dice.uniform()
    canvas = canvas + (0.8 - canvas) * mist
    contrast = dice.uniform(0.2, 0.5)
    canvas = np.clip(canvas * dice.uniform(0.94, 1.06), 0.0, 1.0)
    canvas = canvas + (_smoothstep(canvas) - canvas) * contrast
    rows, columns = (np.arange(extent).astype(np.uint64) for extent in canvas.shape[1:])
    first, second = (_hash_grid(dice.key(), rows, columns) for _ in range(2))
    grain = (first + second - 1.0) * 0.028
    return _to_pixels(canvas + grain)


# --------------------------------------------------------------------------------- painting

# What a painter of this domain mixes for a hue of the photo, at five steps of luminance. Shadows
# are violet, whites are cream, greens turn to gold and olive, skies to teal and ultramarine.
# Luminance rises along every row, so that light stays light.
_GREY_RAMP = "1a0f33 4f3870 99758f e6c29e fff5d1"
_HUE_RAMPS = (
    "33052e 8a143d d6424c f79e80 ffebcc",  # red
    "330a33 852442 e0663d ffb866 fff0c2",  # orange
    "2e0f33 7a382e d1801f facc52 fff5b8",  # yellow
    "1a123d 384f38 d18f12 fcd447 fff7bd",  # leaf green
    "0f1442 145252 bd9114 f2d44c fff7c2",  # green
    "0a1447 0d4f66 6b8f52 c2d180 fff7c7",  # sea green
    "080f4c 0d4a70 1f8f99 8fcfb2 fff7cc",  # cyan
    "0a0a52 1a2b94 0875b2 75c4b0 fff5cc",  # azure
    "120854 332191 336bc4 94bac2 fff2d1",  # blue
    "21084f 572685 9466b2 d6b2c2 fff0d1",  # violet
    "2b0547 751c70 bd578f eba8ad ffedd1",  # magenta
    "30053b 851457 d1476b f5a194 ffebcc",  # rose
)
_INK: Colour = (0.12, 0.07, 0.25)
_HALF_STROKE = 5  # pixels from the middle of a bristle's mark to its end
_HALF_SMEAR = 2  # the same for the paint itself, shorter: small things stay recognisable


def paint(photo: Pixels) -> Pixels:
    """Turn a photo (height, width, 3) of at least 16 x 16 pixels into an oil painting of it.

    The strokes follow the shapes, and their bristle marks come from the fine grain of the photo,
    so that the painting is a local function of the photo that a small network can learn.
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or min(photo.shape[:2]) < 16:
        raise ValueError(f"a photo is (height, width, 3), at least 16 x 16, not {photo.shape}")
    planes = np.ascontiguousarray(photo.transpose(2, 0, 1)).astype(np.float32) / 255.0
    luminance = _luminance(planes)
    strokes = _stroke_paths(luminance)
    smeared = np.stack([_along(strokes[: 1 + 2 * _HALF_SMEAR], plane) for plane in planes])
    bristles = _bristles(luminance, strokes)
    contour = _contour(smeared)
    canvas = _repaint(smeared + bristles * 0.034)
    canvas = canvas + _flat((1.0, 0.95, 0.75)) * (_raised(bristles) * 0.028)
    _blend_in(canvas, _INK, contour * 0.32)
    return _to_pixels(canvas + _weave(*luminance.shape))


def _luminance(planes: Planes) -> Plane:
    luminance: Plane = planes[0] * 0.299 + planes[1] * 0.587 + planes[2] * 0.114
    return luminance


def _blurred(plane: Plane, radius: int) -> Plane:
    """Average the square around every pixel, by adding shifted copies in a fixed order."""
    height, width = plane.shape
    padded = np.pad(plane, radius, mode="edge")
    reach = 2 * radius + 1
    rows = padded[0:height].copy()
    for shift in range(1, reach):
        rows += padded[shift : shift + height]
    total = rows[:, 0:width].copy()
    for shift in range(1, reach):
        total += rows[:, shift : shift + width]
    return total * (1.0 / (reach * reach))


def _gradient(plane: Plane) -> tuple[Plane, Plane]:
    """Differences to the right and downwards, over two pixels."""
    padded = np.pad(plane, 1, mode="edge")
    return padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]


def _stroke_direction(luminance: Plane) -> tuple[Plane, Plane]:
    """Find the unit vector along the shapes: the minor axis of the smoothed structure tensor."""
    right, down = _gradient(_blurred(luminance, 1))
    # Where nothing has a direction, strokes are laid a little rising.
    across = _blurred(_blurred(right * right - down * down, 2), 2) - 2.0e-5
    twisted = _blurred(_blurred(right * down * 2.0, 2), 2) + 1.0e-5
    length = np.sqrt(across * across + twisted * twisted) + 1.0e-9
    # Half-angle formulas; the stroke is at right angles to the gradient, hence the minus sign.
    cosine = -across / length
    x = np.sqrt(np.maximum((1.0 + cosine) * 0.5, 0.0))
    y = np.sqrt(np.maximum((1.0 - cosine) * 0.5, 0.0))
    return x, np.where(twisted > 0.0, -y, y)


def _stroke_paths(luminance: Plane) -> list[npt.NDArray[np.intp]]:
    """Follow the strokes both ways from every pixel: flat indices of the pixels met, near first."""
    height, width = luminance.shape
    direction_x, direction_y = (part.reshape(-1) for part in _stroke_direction(luminance))
    start = np.arange(height * width)
    halves = []
    for sense in (1.0, -1.0):
        x = (start % width).astype(np.float32)
        y = (start // width).astype(np.float32)
        step_x, step_y = direction_x * sense, direction_y * sense
        half = []
        for _ in range(_HALF_STROKE):
            x = np.clip(x + step_x, 0.0, float(width - 1))
            y = np.clip(y + step_y, 0.0, float(height - 1))
            at = np.rint(y).astype(np.intp) * width + np.rint(x).astype(np.intp)
            half.append(at)
            next_x, next_y = direction_x[at], direction_y[at]
            # A direction is an axis without sense: keep going the way the brush came.
            keep = np.where(next_x * step_x + next_y * step_y < 0.0, np.float32(-1), np.float32(1))
            step_x, step_y = next_x * keep, next_y * keep
        halves.append(half)
    return [start] + [at for step in zip(*halves, strict=True) for at in step]


def _along(strokes: list[npt.NDArray[np.intp]], plane: Plane) -> Plane:
    """Average a plane along the strokes (line integral convolution)."""
    flat = plane.reshape(-1)
    total = flat[strokes[0]]
    for at in strokes[1:]:
        total += flat[at]
    return (total * (1.0 / len(strokes))).reshape(plane.shape)


def _bristles(luminance: Plane, strokes: list[npt.NDArray[np.intp]]) -> Plane:
    """Marks of the brush in about [-1, 1]: the photo's grain, evened out and drawn along."""
    grain = _blurred(luminance, 1) - _blurred(luminance, 2)
    marks = _along(strokes, grain / (np.abs(grain) + 0.006))
    strength = np.sqrt(_blurred(marks * marks, 4)) + 0.05
    marks = marks / strength
    return marks / (0.7 + np.abs(marks))


def _raised(bristles: Plane) -> Plane:
    """Light the relief of the paint from the upper left."""
    return bristles - _shifted(bristles, 1, 1)


def _repaint(planes: Planes) -> Planes:
    """Replace every colour by the painter's: a smooth map from RGB to RGB, far from affine."""
    planes = np.clip(planes, 0.0, 1.0)
    red, green, blue = planes
    highest, lowest = (
        np.maximum(np.maximum(red, green), blue),
        np.minimum(np.minimum(red, green), blue),
    )
    chroma = highest - lowest
    divisor = np.maximum(chroma, 1.0e-6)
    hue = np.where(
        highest == red,
        (green - blue) / divisor + 12.0,
        np.where(highest == green, (blue - red) / divisor + 2.0, (red - green) / divisor + 4.0),
    )
    hue = hue * 2.0
    step = _luminance(planes) * 4.0
    coloured = _from_ramps(_ramp_table(*_HUE_RAMPS), hue, step)
    grey = _from_ramps(_ramp_table(_GREY_RAMP), np.zeros_like(step), step)
    share = np.minimum(chroma * 1.35 / (chroma + 0.12), 1.0)
    _lay(grey, coloured, share)
    return grey


def _ramp_table(*ramps: str) -> npt.NDArray[np.float32]:
    """Read ramps of hexadecimal colours into a table (hues, steps of luminance, 3)."""
    levels = [[list(bytes.fromhex(colour)) for colour in ramp.split()] for ramp in ramps]
    return np.array(levels, dtype=np.float32) / np.float32(255.0)


def _from_ramps(ramps: npt.NDArray[np.float32], hue: Plane, step: Plane) -> Planes:
    """Interpolate a table (hues, steps of luminance, 3), round the circle of hues."""
    hues, steps = ramps.shape[:2]
    hue_floor, step_floor = np.floor(hue), np.minimum(np.floor(step), steps - 2.0)
    hue_share, step_share = hue - hue_floor, step - step_floor
    first = hue_floor.astype(np.intp) % hues
    second, lower = (first + 1) % hues, step_floor.astype(np.intp)
    mixed = []
    for table in ramps.transpose(2, 0, 1):
        here = table[first, lower] + (table[first, lower + 1] - table[first, lower]) * step_share
        there = (
            table[second, lower] + (table[second, lower + 1] - table[second, lower]) * step_share
        )
        mixed.append(here + (there - here) * hue_share)
    return np.stack(mixed)


def _contour(smeared: Planes) -> Plane:
    """Find the strong edges, 0 to 1: where a painter draws an outline."""
    right, down = _gradient(_luminance(smeared))
    return _smoothstep((np.sqrt(right * right + down * down) - 0.10) * 4.0)


def _weave(height: int, width: int) -> Plane:
    """The threads of the canvas, alternately over and under, barely visible."""
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    over = ((rows // 2 + columns // 2) % 2).astype(np.float32)
    return (over - 0.5) * 0.010


def _to_pixels(planes: Planes) -> Pixels:
    levels = np.rint(np.clip(planes, 0.0, 1.0) * 255.0)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))


# ------------------------------------------------------------------------------ demo folders


def demo_folder(
    domain: Domain,
    split: Split,
    *,
    cache: Path | None = None,
    progress: bool = True,
    count: int | None = None,
) -> Path:
    """Return a folder of PNG files `0000.png` ... of a demo domain, rendered on first use.

    `truth` holds, under the names of `test`, the same pictures in the other domain. No landscape
    of one domain occurs in the other. `count` overrides `DEMO_COUNTS`. Several processes may ask
    for a folder at once; one that exists is complete. Raises OSError where it cannot be written.
    """
    sources = demo_sources(domain, split, count)
    parent = _cache_folder(cache) / f"demo-{DEMO_VERSION}"
    folder = parent / f"{domain}-{split}-{len(sources)}"
    # What a killed process leaves behind has a name that nobody asks for.
    unfinished = parent / f".{folder.name}-{uuid.uuid4().hex}"
    try:
        if folder.is_dir():
            return folder
        unfinished.mkdir(parents=True)
        _render_into(unfinished, domain, split, sources, progress)
        _move_into_place(unfinished, folder)
    except OSError as error:
        raise OSError(
            f"cannot write the demo pictures to {folder}: {error.strerror or error}; "
            "set CYCLEGAN_STYLE_CACHE to a folder that can be written"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def demo_sources(domain: Domain, split: Split, count: int | None = None) -> range:
    """Number the landscapes behind a demo folder; only `test` and `truth` share theirs."""
    if domain not in ("photo", "painting") or split not in ("train", "test", "truth"):
        raise ValueError(f"no demo pictures {domain!r}, {split!r}")
    tested = split != "train"
    block = 2 * int(domain == "painting") + int(tested)
    start = block * _SOURCE_BLOCK
    return range(
        start, start + (DEMO_COUNTS["test" if tested else "train"] if count is None else count)
    )


def _cache_folder(cache: Path | None) -> Path:
    if cache is not None:
        return cache
    if own := os.environ.get("CYCLEGAN_STYLE_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "cyclegan_style"


def _render_into(
    folder: Path, domain: Domain, split: Split, sources: range, progress: bool
) -> None:
    painted = (domain == "painting") != (split == "truth")
    bar = tqdm(sources, f"demo {domain} {split}", delay=1.0, disable=not progress, leave=False)
    for number, source in enumerate(bar):
        photo = render_photo(_DEMO_SEED, source)
        picture = paint(photo) if painted else photo
        Image.fromarray(picture).save(folder / f"{number:04d}.png")


def _move_into_place(unfinished: Path, folder: Path) -> None:
    """Rename a finished folder, unless another process was faster with the same pictures."""
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
