"""The sky of a landscape: its colours, the sun or moon, and clouds."""

import numpy as np

from cyclegan_style.synthetic.planes import Plane, between, flat, graded, lay, shifted, smoothstep
from cyclegan_style.synthetic.randomness import fractal
from cyclegan_style.synthetic.scene import Scene


def draw_sky(scene: Scene) -> None:
    """Fill the canvas with a gradient, brighter and warmer towards the sun."""
    light = scene.light
    height = np.clip(scene.axis() / scene.horizon, 0.0, 1.0).astype(np.float32)[:, None]
    gradient = graded(light.middle, light.zenith, smoothstep(1.0 - height * 1.6))
    lay(gradient, flat(light.horizon), smoothstep(height * 1.25 - 0.25))
    distance = _squared_distance_from_sun(scene)
    glow = 1.0 / (1.0 + distance * 22.0) * 0.75
    scene.canvas[:] = between(gradient, flat(light.sun), glow)
    if not light.overcast:
        lay(scene.canvas, flat(light.sun), smoothstep((0.0011 - distance) * 1400.0 + 0.5))


def _squared_distance_from_sun(scene: Scene) -> Plane:
    axis = scene.axis().astype(np.float32)
    down, across = axis[:, None] - scene.sun_y, axis[None, :] - scene.sun_x
    return down * down + across * across


def draw_clouds(scene: Scene) -> None:
    """Lay heaps or streaks of cloud over the sky, lit from the side of the sun."""
    dice, light = scene.dice, scene.light
    if not light.overcast and dice.chance(0.2):
        return
    bottom = scene.row(scene.horizon + 0.02)
    depth = scene.axis(0, bottom) / scene.horizon
    streaked = dice.chance(0.4)
    # Clouds crowd together towards the horizon: perspective of a flat ceiling.
    rows = (4.0 if streaked else 2.2) * depth / (1.5 - depth * 0.75) * 1.6
    columns = scene.axis() * (1.4 if streaked else 2.6) + dice.uniform(0.0, 9.0)
    density = fractal(dice.key(), rows, columns, 5)
    cover = dice.uniform(0.36, 0.44) if light.overcast else dice.uniform(0.44, 0.58)
    opacity = smoothstep((density - cover) * (4.0 if streaked else 7.0))
    reach = max(scene.side // 32, 1)
    away = shifted(density, -reach, -reach * scene.toward_sun)
    lit = smoothstep((density - away) * 3.0 + 0.62 - (density - cover) * 1.2)
    colour = graded(light.cloud_shade, light.cloud_lit, lit)
    near_horizon = np.clip((1.02 - depth) * 4.0, 0.0, 1.0).astype(np.float32)[:, None]
    lay(scene.canvas[:, :bottom], colour, opacity * near_horizon * 0.92)
