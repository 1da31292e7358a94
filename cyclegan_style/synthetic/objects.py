"""What stands in a landscape: houses, trees and boats, drawn as polygons and foliage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cyclegan_style.synthetic.planes import Colour, Plane, Planes, blended, lay, smoothstep
from cyclegan_style.synthetic.randomness import fractal, noise
from cyclegan_style.synthetic.scene import SNOW, Scene

Point = tuple[float, float]
Part = Sequence[Point]  # a convex polygon: corners as (offset, height), in sizes of the thing

_ROOF_COLOURS: tuple[Colour, ...] = ((0.62, 0.26, 0.18), (0.50, 0.30, 0.22), (0.36, 0.36, 0.42))
_WALL_COLOURS: tuple[Colour, ...] = ((0.90, 0.86, 0.78), (0.84, 0.76, 0.62), (0.92, 0.91, 0.90))


def _box(left: float, bottom: float, right: float, top: float) -> Part:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


_CHIMNEY = _box(-0.6, 0.76, -0.48, 1.02)
_LONG_SIDE = _box(-1.0, 0.0, 0.0, 0.48)
_GABLE_END: Part = ((0.275, 0.86), (0.55, 0.48), (0.55, 0.0), (0.0, 0.0), (0.0, 0.48))
_ROOF: Part = ((-1.05, 0.44), (-0.72, 0.86), (0.275, 0.86), (-0.022, 0.44))
_ROOF_SNOW: Part = ((-1.03, 0.52), (-0.74, 0.89), (0.275, 0.89), (0.02, 0.52))
_EAVES_SNOW: Part = ((0.275, 0.92), (0.275, 0.85), (0.583, 0.46), (0.583, 0.51))
_CHIMNEY_SNOW = _box(-0.61, 0.99, -0.47, 1.05)
_TWIGS: Colour = (0.30, 0.24, 0.21)
_EAVES: Part = ((0.275, 0.89), (0.275, 0.81), (0.583, 0.42), (0.583, 0.48))
_WINDOWS = [_box(x - 0.055, 0.18, x + 0.055, 0.35) for x in (-0.8, -0.5, -0.22, 0.275)]

_MAINSAIL: Part = ((0.0, 1.0), (0.0, 0.16), (0.42, 0.16))
_JIB: Part = ((-0.04, 0.85), (-0.04, 0.16), (-0.3, 0.16))
_HULL: Part = ((-0.36, 0.16), (0.46, 0.16), (0.34, 0.0), (-0.28, 0.0))


def draw_things_on(scene: Scene, line: Plane, count: int, height: float, houses: float) -> None:
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


def draw_boat(scene: Scene, x: float, y: float, size: float) -> None:
    """Put a sailing boat on the water, over its reflection."""
    sail = scene.dice.vary((0.95, 0.93, 0.88), 0.04)
    hull = scene.dice.vary((0.40, 0.20, 0.16), 0.08)
    for up, strength in ((-0.7, 0.4), (1.0, 1.0)):
        for part, colour, lit in ((_MAINSAIL, sail, 1.0), (_JIB, sail, 0.4), (_HULL, hull, 0.6)):
            corners = [(x + size * across, y - size * height * up) for across, height in part]
            _draw_polygon(scene, corners, colour, lit, strength)


def _draw_house(scene: Scene, x: float, ground: float, size: float) -> None:
    """Build a house of a gable end and a long side, whichever faces the sun lit."""
    dice = scene.dice
    wall = dice.vary(dice.choice(_WALL_COLOURS), 0.03)
    roof = dice.vary(dice.choice(_ROOF_COLOURS), 0.03)
    facing = 1 if dice.chance(0.5) else -1  # the side on which the gable end is
    gable_lit = 0.95 if facing == scene.toward_sun else 0.30
    side_lit = 1.25 - gable_lit
    snow = (
        (_ROOF_SNOW, SNOW, 0.3 + 0.65 * side_lit),
        (_EAVES_SNOW, SNOW, 0.5),
        (_CHIMNEY_SNOW, SNOW, 0.6),
    )
    for part, colour, lit in (
        (_CHIMNEY, roof, 0.4),
        (_LONG_SIDE, wall, side_lit),
        (_GABLE_END, wall, gable_lit),
        (_ROOF, roof, 0.25 + 0.65 * side_lit),
        (_EAVES, roof, 0.2),
        *(snow if scene.snowy else ()),
        *((window, scene.light.pane, 1.0) for window in _WINDOWS),
    ):
        corners = [(x + facing * size * across, ground - size * up) for across, up in part]
        _draw_polygon(scene, corners, colour, lit)


def _draw_tree(scene: Scene, x: float, ground: float, height: float) -> None:
    """Grow a leafy tree of a few overlapping crowns, or a slender poplar."""
    dice = scene.dice
    slender = dice.chance(0.2)
    trunk = height * (0.12 if slender else 0.3)
    bark = dice.vary((0.32, 0.24, 0.18), 0.04)
    half = height * (0.02 if slender else 0.035)
    if not scene.light.overcast:
        _draw_shadow(scene, x, ground, height * (0.16 if slender else 0.34))
    base = [(x - half, ground), (x - half * 0.6, ground - trunk * 1.5)]
    base += [(x + half * 0.6, ground - trunk * 1.5), (x + half, ground)]
    _draw_polygon(scene, base, bark, 0.4)
    leaf = dice.vary(dice.choice(scene.leaves), 0.03)
    if scene.snowy:
        leaf = blended(leaf, _TWIGS, 0.75)
    if slender:
        _draw_crown(scene, (x, ground - height * 0.55), (height * 0.13, height * 0.47), leaf)
        return
    for _ in range(5):
        offset_x, offset_y = dice.uniform(-0.2, 0.2), dice.uniform(0.42, 0.74)
        radius = height * dice.uniform(0.19, 0.27)
        middle = (x + height * offset_x, ground - height * offset_y)
        _draw_crown(scene, middle, (radius * 1.1, radius), leaf)


def _draw_crown(scene: Scene, middle: Point, radii: Point, leaf: Colour) -> None:
    """Draw an ellipse of foliage with a ragged edge, lit from above and from the sun's side."""
    (x, y), (wide, tall) = middle, radii
    window = _window(scene, x - wide * 1.3, y - tall * 1.3, x + wide * 1.3, y + tall * 1.3)
    if window is None:
        return
    across, down = (window.x - x) / wide, (window.y - y) / tall
    rows, columns = window.y[:, 0].astype(np.float64), window.x[0].astype(np.float64)
    leaves = fractal(scene.dice.key(), rows * 44.0, columns * 44.0, 2)
    reach = across * across + down * down + (leaves - 0.5) * 1.1
    softness = min(wide * scene.side * 0.4, 7.0)
    lit = 0.40 - down * 0.40 + across * (scene.toward_sun * 0.30) + (leaves - 0.5) * 1.2
    colour = scene.tint(leaf, np.clip(lit, -0.5, 1.15))
    cover = np.clip((1.0 - reach) * softness + 0.5, 0.0, 1.0)
    if scene.snowy:  # bare: the sky is seen between twigs, some of which carry snow
        lay(colour, scene.snow(lit), smoothstep((lit - 0.62) * 4.0) * 0.6)
        cover = cover * smoothstep((leaves - 0.30) * 5.0) * 0.85
    lay(window.canvas, colour, cover)


def _draw_conifer(scene: Scene, x: float, ground: float, height: float) -> None:
    """Grow a conifer: a cone of tiers."""
    dice = scene.dice
    half = height * dice.uniform(0.17, 0.24)
    window = _window(scene, x - half * 1.2, ground - height, x + half * 1.2, ground)
    if window is None:
        return
    if not scene.light.overcast:
        _draw_shadow(scene, x, ground, half * 1.2)
    from_top = (window.y - (ground - height)) / height
    tiers = from_top * dice.uniform(4.0, 6.0)
    tier = tiers - np.floor(tiers)
    rows, columns = window.y[:, 0].astype(np.float64), window.x[0].astype(np.float64)
    needles = noise(dice.key(), rows * 70.0, columns * 60.0)
    ragged = (needles - 0.5) * np.minimum(from_top * 1.6, 0.35)
    width = from_top * (0.72 + 0.34 * tier) + ragged  # of half the tree's
    across = (window.x - x) / half
    inside = (width - np.abs(across)) * (half * scene.side) + 0.5
    standing = np.clip((0.94 - from_top) * 40.0, 0.0, 1.0)
    lit = 0.32 + across * (scene.toward_sun * 0.5) + (needles - 0.5) * 0.9 + (tier - 0.5) * 0.3
    leaf = dice.vary((0.13, 0.25, 0.15), 0.03)
    cover = np.clip(inside, 0.0, 1.0) * standing
    colour = scene.tint(leaf, np.clip(lit, -0.4, 1.1))
    if scene.snowy:  # on the upper side of every tier
        snowed = smoothstep(1.1 - tier * 2.4 + (needles - 0.5) * 2.8)
        lay(colour, scene.snow(np.clip(lit + 0.3, 0.0, 1.0)), snowed * 0.65)
    lay(window.canvas, colour, cover)


def _draw_shadow(scene: Scene, x: float, ground: float, width: float) -> None:
    """Darken the ground beside a thing, away from the sun."""
    middle = x - scene.toward_sun * width * 0.8
    flatness = width * 0.22
    reach = width * 1.6
    window = _window(scene, middle - reach, ground - flatness, middle + reach, ground + flatness)
    if window is None:
        return
    across, down = (window.x - middle) / (width * 1.5), (window.y - ground) / flatness
    edge = 1.0 - (across * across + down * down)
    lay(window.canvas, window.canvas * 0.55, smoothstep(edge * 1.6) * 0.8)


def _draw_polygon(
    scene: Scene, corners: Sequence[Point], colour: Colour, lit: float, strength: float = 1.0
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
    lay(window.canvas, scene.tint(colour, lit), np.clip(inside, 0.0, 1.0) * strength)


@dataclass(frozen=True)
class _Window:
    """A part of the canvas and the positions of its pixels."""

    canvas: Planes
    x: Plane  # (1, width)
    y: Plane  # (height, 1)


def _window(scene: Scene, left: float, top: float, right: float, bottom: float) -> _Window | None:
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
