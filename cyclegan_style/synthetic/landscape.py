"""Photographs of landscapes: composed from far to near, then taken with a grainy camera."""

import numpy as np

from cyclegan_style.synthetic.ground import draw_hill, draw_meadow, draw_mountains, draw_water
from cyclegan_style.synthetic.objects import draw_boat, draw_things_on
from cyclegan_style.synthetic.planes import Pixels, Planes, between, smoothstep, to_pixels
from cyclegan_style.synthetic.randomness import Dice, fractal_line, hash_grid
from cyclegan_style.synthetic.scene import Scene, Season
from cyclegan_style.synthetic.sky import draw_clouds, draw_sky

DEMO_SIZE = 128
"""Width and height of the demo pictures in pixels."""


def render_photo(seed: int, index: int, size: int = DEMO_SIZE, season: Season = "summer") -> Pixels:
    """Render landscape number `index` as (size, size, 3): the same numbers, the same pixels.

    Both seasons show the same place at the same time of day, and draw the same dice.
    """
    dice = Dice(seed, index)
    scene = Scene.random(dice, size, season)
    draw_sky(scene)
    draw_clouds(scene)
    _draw_land(scene)
    return _exposed(dice, _halved(scene.canvas))


def _draw_land(scene: Scene) -> None:
    """Draw everything under the sky, from far to near."""
    dice, horizon = scene.dice, scene.horizon
    if dice.chance(0.6):
        height = dice.uniform(0.5, 0.85) * horizon
        snow_line = height * dice.uniform(0.3, 0.8)
        draw_mountains(scene, horizon + 0.05, height * 0.75, dice.uniform(0.4, 0.58), snow_line)
        if dice.chance(0.5):
            distance = dice.uniform(0.25, 0.38)
            draw_mountains(scene, horizon + 0.06, height * 0.5, distance, snow_line)
    for distance in (0.55, 0.36)[dice.below(2) :]:
        lift = 0.05 + distance * 0.12
        draw_hill(scene, horizon + 0.05, lift + dice.uniform(0.0, 0.08), distance, dice.chance(0.6))
    wet = dice.chance(0.5)
    shore_line = draw_hill(scene, horizon + 0.07, 0.07, 0.18, dice.chance(0.3))
    draw_things_on(scene, shore_line, 2 + dice.below(7), dice.uniform(0.09, 0.16), 0.25)
    if wet:
        shore = horizon + dice.uniform(0.07, 0.10)
        draw_water(scene, shore)
        if dice.chance(0.35):
            depth = dice.uniform(0.08, 0.3)
            y = shore + (1.0 - shore) * depth
            draw_boat(scene, dice.uniform(0.15, 0.85), y, 0.08 + 0.25 * depth)
    _draw_foreground(scene, wet)


def _draw_foreground(scene: Scene, wet: bool) -> None:
    """Draw the meadow in front and what grows there; by water only a bank, or nothing."""
    dice, horizon = scene.dice, scene.horizon
    if wet and dice.chance(0.35):
        return
    columns = scene.axis() * dice.uniform(0.8, 1.6) + dice.uniform(0.0, 50.0)
    bank = dice.uniform(0.55, 0.8) if wet else dice.uniform(0.12, 0.25)
    base = horizon + (1.0 - horizon) * bank
    line = base + (fractal_line(dice.key(), columns, 3) - 0.5) * 0.16
    draw_meadow(scene, line, min(horizon, float(line.min()) - 0.03))
    count = dice.below(3) if wet else 1 + dice.below(4)
    draw_things_on(scene, line, count, dice.uniform(0.22, 0.42), 0.12)


def _halved(canvas: Planes) -> Planes:
    """Average blocks of 2 x 2 pixels."""
    upper = canvas[:, 0::2, 0::2] + canvas[:, 0::2, 1::2]
    lower = canvas[:, 1::2, 0::2] + canvas[:, 1::2, 1::2]
    return (upper + lower) * 0.25


def _exposed(dice: Dice, canvas: Planes) -> Pixels:
    """Finish the photo: mist, contrast, the grain of a sensor, 8 bits."""
    mist = dice.uniform(0.0, 0.10) * dice.uniform()
    canvas = between(canvas, 0.8, mist)
    contrast = dice.uniform(0.2, 0.5)
    canvas = np.clip(canvas * dice.uniform(0.94, 1.06), 0.0, 1.0)
    canvas = between(canvas, smoothstep(canvas), contrast)
    rows, columns = (np.arange(extent) for extent in canvas.shape[1:])
    first, second = (hash_grid(dice.key(), rows, columns) for _ in range(2))
    grain = (first + second - 1.0) * 0.028
    return to_pixels(canvas + grain)
