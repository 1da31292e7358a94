"""The ground of a landscape: mountains, hills, meadows and water."""

import numpy as np

from cyclegan_style.synthetic.planes import (
    Colour,
    Plane,
    Planes,
    Vector,
    between,
    blended,
    flat,
    lay,
    shifted,
    smoothstep,
)
from cyclegan_style.synthetic.randomness import fractal, fractal_line, noise
from cyclegan_style.synthetic.scene import Scene

_MEADOWS: tuple[Colour, ...] = ((0.34, 0.50, 0.16), (0.42, 0.54, 0.22), (0.26, 0.42, 0.16))
_FIELDS: tuple[Colour, ...] = ((0.74, 0.62, 0.28), (0.46, 0.36, 0.56), (0.48, 0.36, 0.22))
_SAND: Colour = (0.72, 0.62, 0.48)
_TRODDEN_SNOW: Colour = (0.56, 0.54, 0.53)
_BARE_WOOD: Colour = (0.34, 0.28, 0.25)
_WITHERED: Colour = (0.44, 0.38, 0.28)
_FLOWERS: tuple[Colour, ...] = ((0.82, 0.16, 0.12), (0.95, 0.84, 0.25), (0.96, 0.95, 0.94))


def draw_mountains(
    scene: Scene, base: float, height: float, distance: float, snow_line: float
) -> None:
    """Draw a chain of peaks with lit and shaded flanks, rock, forest and perhaps snow."""
    dice = scene.dice
    columns = scene.axis() * dice.uniform(1.3, 2.6) + dice.uniform(0.0, 50.0)
    # Folding the noise makes creases, which read as peaks.
    fold = 1.0 - np.abs(fractal_line(dice.key(), columns, 2) * 2.0 - 1.0)
    rough = fractal_line(dice.key(), columns * 5.0, 4)
    line = base - height * (fold * 0.85 + rough * 0.22)
    rows = scene.axis(_top_row(scene, line))
    flank = fractal(dice.key(), rows * 9.0, scene.axis() * 7.0, 4)
    reach = max(scene.side // 64, 1)
    relief = flank - shifted(flank, 0, -reach * scene.toward_sun)
    lit = smoothstep(0.5 + relief * 3.2 + _slope(line, reach) * (scene.toward_sun * 12.0))
    rock = dice.vary((0.42, 0.40, 0.40), 0.05)
    colour = scene.tint(rock, lit)
    altitude = (base - rows.astype(np.float32)[:, None]) + (flank - 0.5) * (height * 0.8)
    forest = scene.tint(dice.vary((0.22, 0.32, 0.20), 0.03), lit * 0.7)
    forested = smoothstep((0.4 - altitude / height) * 5.0)
    if scene.snowy:  # in drifts between rocks that are too steep for it
        drifts = smoothstep((flank - 0.44 + lit * 0.14) * 7.0)
        lay(colour, scene.snow(lit * 0.9 + 0.1), drifts * 0.9)
        lay(forest, scene.snow(lit), smoothstep((flank - 0.44) * 6.0) * 0.5)
    lay(colour, forest, forested)
    snow = scene.tint((0.97, 0.97, 0.98), lit * 0.9 + 0.1)
    lay(colour, snow, smoothstep((altitude - snow_line) * 30.0))
    _lay_below(scene, line, colour, distance)


def draw_hill(scene: Scene, base: float, height: float, distance: float, wooded: bool) -> Plane:
    """Draw a rolling hill of meadow or wood; return its line for things that stand on it."""
    dice = scene.dice
    columns = scene.axis() * dice.uniform(1.0, 2.0) + dice.uniform(0.0, 50.0)
    line = base - height * fractal_line(dice.key(), columns, 2)
    slope = _slope(line, max(scene.side // 42, 1))
    if wooded:
        treetops = fractal_line(dice.key(), scene.axis() * 30.0, 2)
        line = line - treetops * (0.035 * (1.0 - distance))
    rows = scene.axis(_top_row(scene, line))
    nearness = 0.35 + 1.0 - distance
    texture = fractal(
        dice.key(),
        rows * ((26.0 if wooded else 14.0) / nearness),
        scene.axis() * ((22.0 if wooded else 5.0) / nearness),
        3,
    )
    strength = 1.7 if wooded else 0.8
    lit = 0.62 + (texture - 0.5) * strength + slope * (scene.toward_sun * 5.0)
    albedo = dice.vary(dice.choice(scene.leaves if wooded else _MEADOWS), 0.035)
    if scene.snowy:
        albedo = blended(albedo, _BARE_WOOD if wooded else _WITHERED, 0.7)
    colour = scene.tint(albedo, smoothstep(lit))
    if scene.snowy and wooded:  # it lies between the trees, and on some twigs
        lay(colour, scene.snow(smoothstep(lit + 0.2)), smoothstep((texture - 0.52) * 6.0) * 0.45)
    elif scene.snowy:
        lay(colour, scene.snow(smoothstep(lit + 0.15)), smoothstep((texture - 0.22) * 6.0) * 0.94)
    _lay_below(scene, line, colour, distance)
    return line


def draw_meadow(scene: Scene, line: Plane, vanish: float) -> None:
    """Draw the ground in front: grass in perspective, perhaps with rows of crops or flowers."""
    dice = scene.dice
    rows = scene.axis(_top_row(scene, line))
    depth = 1.0 / (rows - vanish + 0.08)  # grows towards the horizon
    texture = fractal(dice.key(), depth * 3.2, scene.axis() * 9.0, 4)
    blades = noise(dice.key(), rows * 60.0, scene.axis() * 100.0)
    nearness = ((rows - vanish) / (1.02 - vanish)).astype(np.float32)[:, None]
    lit = smoothstep(0.6 + (texture - 0.5) * 0.9 + (blades - 0.5) * (0.15 + nearness * 0.35))
    albedo = dice.vary(dice.choice(_MEADOWS), 0.05)
    colour = scene.tint(albedo, lit)
    patch = fractal(dice.key(), depth * 0.9, scene.axis() * 2.4, 3)
    dry = scene.tint(dice.vary((0.60, 0.55, 0.28), 0.04), lit)
    lay(colour, dry, smoothstep((patch - 0.52) * 6.0) * 0.7)
    kind = dice.uniform()
    stubble: Plane | float = 0.0
    if kind < 0.3:
        stubble = _plant_rows(scene, colour, lit, depth)
    elif kind < 0.55:
        flower = scene.tint(dice.choice(_FLOWERS), smoothstep(lit + 0.35))
        bloom = fractal(dice.key(), depth * 26.0, scene.axis() * 52.0, 2)
        lay(colour, flower, smoothstep((bloom + patch * 0.45 - 0.88) * 9.0) * 0.9)
    if scene.snowy:
        withered = scene.tint(_WITHERED, lit)
        lay(colour, withered, 0.6)
        deep = 0.66 + (texture - 0.5) * 1.6 - (patch - 0.5) * 1.2 - stubble * 0.35
        drift = smoothstep(deep * 1.5 - (blades - 0.62) * nearness * 1.8)
        lay(colour, scene.snow(smoothstep(lit * 0.8 + 0.3)), drift * 0.95)
    if kind > 0.7:
        lay(colour, *_path(scene, rows, nearness, lit))
    _lay_below(scene, line, colour, 0.04)


def _plant_rows(scene: Scene, colour: Planes, lit: Plane, depth: Vector) -> Plane:
    """Plant rows that run to a vanishing point; return where they stand."""
    dice = scene.dice
    vanish_x = dice.uniform(0.1, 0.9)
    across = (scene.axis()[None, :] - vanish_x) * depth[:, None]
    phase = (across * dice.uniform(2.0, 3.2)).astype(np.float32)
    thin_far = np.clip((9.0 - depth) / 5.0, 0.0, 1.0).astype(np.float32)[:, None]
    wave = np.abs((phase - np.floor(phase)) * 2.0 - 1.0)  # a triangle's, in place of a sine
    ridge = 0.55 + (smoothstep(wave * 2.4 - 0.7) - 0.55) * thin_far
    crop = dice.vary(dice.choice(_FIELDS), 0.03)
    lay(colour, scene.tint(crop, lit), ridge * 0.9)
    return ridge


def _path(scene: Scene, rows: Vector, nearness: Plane, lit: Plane) -> tuple[Planes, Plane]:
    """Lay out a path that winds towards the viewer: its colour and its cover."""
    dice = scene.dice
    wind = fractal_line(dice.key(), rows * 5.0 + dice.uniform(0.0, 9.0), 2)[:, None]
    start, end = dice.uniform(0.3, 0.7), dice.uniform(0.2, 0.8)
    near = np.clip(nearness, 0.0, 1.0)
    middle = start + (end - start) * near + (wind - 0.5) * 0.5 * (1.0 - near * 0.5)
    width = 0.010 + 0.11 * near * near
    offset = np.abs(scene.axis().astype(np.float32)[None, :] - middle) / width
    ground = dice.vary(_TRODDEN_SNOW if scene.snowy else _SAND, 0.04)
    sand = scene.tint(ground, smoothstep(lit + 0.2))
    return sand, smoothstep((1.15 - offset) * 3.0)


def draw_water(scene: Scene, shore: float) -> None:
    """Mirror what stands above the shore, displaced by ripples that widen towards the viewer."""
    dice, side = scene.dice, scene.side
    top = scene.row(shore)
    rows = scene.axis(top)
    depth = 1.0 / (rows - shore + 0.06)
    ripples = fractal(dice.key(), depth * 3.4, scene.axis() * 5.0, 3)
    calm = dice.uniform(0.25, 1.0)
    near = ((rows - shore) / (1.0 - shore)).astype(np.float32)[:, None]
    sway = (ripples - 0.5) * ((0.02 + near * 0.10) * (calm * side))
    below = np.arange(side - top)[:, None]
    # The mirror image is a little compressed, so that a low shore still mirrors the sky.
    mirror = top - 1 - np.rint(below * 0.9 + sway).astype(np.int64)
    columns = np.arange(side)[None, :] + np.rint(sway * 0.25).astype(np.int64)
    mirror, columns = np.clip(mirror, 0, side - 1), np.clip(columns, 0, side - 1)
    image = scene.canvas[:, mirror, columns]
    light = scene.light
    body = np.array(dice.vary((0.10, 0.24, 0.30), 0.03))
    deep = between(body, np.array(light.zenith), 0.35)
    lay(image, flat(deep), 0.16 + near * 0.30 + np.clip(ripples - 0.5, 0.0, 1.0) * near)
    crest = smoothstep((ripples - 0.60) * 9.0) * (0.10 + 0.2 * calm)
    lay(image, flat(light.horizon), crest)
    if scene.snowy:  # frozen by the far shore and in floes
        frozen = smoothstep((0.20 - near + (ripples - 0.5) * 1.6) * 7.0)
        ice = scene.snow(smoothstep(0.75 + (ripples - 0.62) * 2.5))
        lay(image, between(ice, flat(light.middle), 0.35), frozen * 0.8)
    if not light.overcast:
        lay(image, flat(light.sun), _glitter(scene, rows, ripples))
    line = np.full(side, shore, dtype=np.float32)
    _lay_below(scene, line, image, haze=0.0)


def _glitter(scene: Scene, rows: Vector, ripples: Plane) -> Plane:
    """Cover of the sun's broken reflection."""
    offset = np.square(scene.axis().astype(np.float32) - scene.sun_x)
    spread = (0.004 + np.square((rows - rows[0]).astype(np.float32)) * 0.12)[:, None]
    cover: Plane = smoothstep((ripples - 0.46) * 6.0) * 0.8 / (1.0 + np.square(offset / spread))
    return cover


def _lay_below(scene: Scene, line: Plane, colour: Planes, haze: float) -> None:
    """Lay a layer over the bottom of the canvas, below a line that gives a height per column.

    Before that it fades by the share `haze`: aerial perspective.
    """
    top = scene.side - colour.shape[1]
    lay(colour, flat(scene.light.haze), haze)
    rows = np.arange(top, scene.side, dtype=np.float32) + 0.5
    cover = np.clip(rows[:, None] - line * float(scene.side) + 0.5, 0.0, 1.0)
    lay(scene.canvas[:, top:], colour, cover)


def _top_row(scene: Scene, line: Plane) -> int:
    """First row of the canvas that a layer below the line needs."""
    return max(scene.row(float(line.min())) - 1, 0)


def _slope(line: Plane, reach: int) -> Plane:
    """Height gained from left to right around every column (heights count downwards)."""
    row = line[None, :]
    return (shifted(row, 0, -reach) - shifted(row, 0, reach)).reshape(-1)
