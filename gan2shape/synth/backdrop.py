"""Procedural backgrounds: what stands behind an object in a photograph, out of focus or plain."""

import numpy as np
from jaxtyping import Float

KINDS = ("wall", "gradient", "blurred", "room", "outdoors")


def sample_backdrop(rng: np.random.Generator, size: int) -> Float[np.ndarray, "S S 3"]:
    """One background as float32 values in [0, 1], as stored in an image; a function of the generator's state alone."""
    kind = KINDS[rng.integers(len(KINDS))]
    base, other = _tone(rng), _tone(rng)
    if kind == "wall":
        picture = base + 0.05 * _noise(rng, size, 8) + 0.03 * _noise(rng, size, 2)
    elif kind == "gradient":
        picture = base + _ramp(rng, size)[..., None] * (other - base)
    elif kind == "blurred":
        picture = base + _noise(rng, size, 4) * (other - base) + 0.05 * _noise(rng, size, 6, 3)
    elif kind == "room":
        picture = _room(rng, size, base, other)
    else:
        picture = _outdoors(rng, size)
    return np.clip(picture, 0.02, 0.98).astype(np.float32)


def _tone(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A muted colour."""
    grey, colour = rng.uniform(0.1, 0.9), rng.normal(0, 1, 3)
    return np.clip(grey + rng.uniform(0, 0.11) * (colour - colour.mean()), 0.03, 0.95)


def _ramp(rng: np.random.Generator, size: int) -> Float[np.ndarray, "S S"]:
    """0 ... 1 along a random direction, or outwards from a random point."""
    axis = np.linspace(-1, 1, size)
    x, y = np.meshgrid(axis, axis)
    if rng.uniform() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        return np.clip(0.5 + 0.4 * (x * np.cos(angle) + y * np.sin(angle)), 0, 1)
    return np.clip(np.hypot(x - rng.uniform(-0.5, 0.5), y - rng.uniform(-0.5, 0.5)) / 1.6, 0, 1)


def _noise(rng: np.random.Generator, size: int, cells: int, channels: int = 1) -> Float[np.ndarray, "S S C"]:
    """Smooth noise about 0, sd about 0.5: random values on a lattice of `cells` cells, blended by cosines."""
    lattice = rng.normal(0, 0.7, (cells + 2, cells + 2, channels))
    place = (np.arange(size) + 0.5) / size * cells
    low = place.astype(int)
    blend = (1 - np.cos(np.pi * (place - low))) / 2
    rows = lattice[low] + blend[:, None, None] * (lattice[low + 1] - lattice[low])
    return rows[:, low] + blend[None, :, None] * (rows[:, low + 1] - rows[:, low])


def _room(rng: np.random.Generator, size: int, wall: np.ndarray, floor: np.ndarray) -> Float[np.ndarray, "S S 3"]:
    """A wall with soft upright bands (curtains, shelves, door frames) above a floor or a table."""
    axis = (np.arange(size) + 0.5) / size
    picture = np.tile(wall, (size, size, 1)) + 0.08 * _noise(rng, size, 3)
    for _ in range(rng.integers(0, 4)):
        middle, half, soft = rng.uniform(0, 1), rng.uniform(0.03, 0.2), rng.uniform(0.01, 0.05)
        band = np.clip((half - np.abs(axis - middle)) / soft + 0.5, 0, 1)
        picture += (band * rng.uniform(0.3, 1))[None, :, None] * (_tone(rng) - picture)
    edge, soft = rng.uniform(0.55, 1.1), rng.uniform(0.01, 0.08)
    below = np.clip((axis - edge) / soft + 0.5, 0, 1)
    return picture + below[:, None, None] * (floor - picture)


def _outdoors(rng: np.random.Generator, size: int) -> Float[np.ndarray, "S S 3"]:
    """Sky, a blurred line of trees or houses, and ground."""
    axis = (np.arange(size) + 0.5) / size
    sky = np.array([0.55, 0.68, 0.85]) + rng.uniform(-0.15, 0.2) + rng.normal(0, 0.03, 3)
    far, ground = np.array([0.25, 0.35, 0.2]) * rng.uniform(0.5, 1.5) + rng.normal(0, 0.05, 3), _tone(rng) * 0.8
    picture = np.tile(sky, (size, size, 1)) + 0.10 * _noise(rng, size, 3) + (0.15 * (axis - 0.5))[:, None, None]
    horizon = rng.uniform(0.35, 0.75)
    skyline = horizon - 0.25 * np.abs(_noise(rng, size, 7)[:1, :, 0]) - 0.02
    trees = np.clip((axis[:, None] - skyline) / 0.05 + 0.5, 0, 1)[..., None]
    picture = picture + trees * (far + 0.08 * _noise(rng, size, 12) - picture)
    below = np.clip((axis - horizon) / 0.03 + 0.5, 0, 1)[:, None, None]
    return picture + below * (ground + 0.04 * _noise(rng, size, 10) - picture)
