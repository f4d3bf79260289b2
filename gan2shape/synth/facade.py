"""Facades for walls without texture: rows of windows in a picture that repeats, laid on by height and bearing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

GRID = 4  # bays and storeys in the picture
CELL_PX = 32
WALL_BELOW = 0.5  # upward part of the normal up to which a triangle is a wall


@dataclass(frozen=True)
class Facade:
    """One facade. Colours in [0, 1]; lengths over the bay's width or the storey's height."""

    seed: int  # which windows are lit, blinds
    storeys: float  # over the building's height
    bay: float  # width of a bay over a storey's height
    window: tuple[float, float]  # width, height
    wall_rgb: tuple[float, float, float]
    glass_rgb: tuple[float, float, float]
    trim_rgb: tuple[float, float, float]  # frames, sills and bands
    roof_rgb: tuple[float, float, float]
    band: float  # height of a band between storeys, 0: none
    bricks: float  # strength of the wall's pattern


def sample_facade(rng: np.random.Generator, walls: Float[np.ndarray, "N 3"]) -> Facade:
    """A facade with one of the walls' colours."""

    def varied(rgb: np.ndarray, sd: float) -> tuple[float, float, float]:
        return tuple(float(v) for v in np.clip(rgb * np.exp(rng.normal(0, sd, 3) + rng.normal(0, sd)), 0.04, 0.88))

    return Facade(
        seed=int(rng.integers(1 << 31)),
        storeys=float(rng.uniform(3, 9)),
        bay=float(rng.uniform(0.6, 1.4)),
        window=(float(rng.uniform(0.4, 0.95)), float(rng.uniform(0.35, 0.75))),
        wall_rgb=varied(walls[rng.integers(len(walls))], 0.06),
        glass_rgb=varied(np.array([0.16, 0.20, 0.25]), 0.25),
        trim_rgb=varied(np.array([0.75, 0.74, 0.70]) * rng.uniform(0.4, 1.1), 0.05),
        roof_rgb=varied(np.array([0.35, 0.33, 0.32]) * rng.uniform(0.6, 1.7), 0.08),
        band=float(rng.choice([0.0, rng.uniform(0.05, 0.15)])),
        bricks=float(rng.uniform(0, 0.1)),
    )


def facade_picture(facade: Facade) -> UInt8[np.ndarray, "h w 3"]:
    """The picture of GRID x GRID bays and storeys."""
    rng = np.random.default_rng(facade.seed)
    side = GRID * CELL_PX
    u = (np.arange(side) + 0.5) / CELL_PX
    column, row = np.meshgrid(u, u)
    x, y = column % 1 - 0.5, row % 1 - 0.5
    picture = np.array(facade.wall_rgb) * (1 + facade.bricks * rng.normal(0, 1, (side, side, 1)))
    trim = np.array(facade.trim_rgb)
    picture[np.abs(y) > 0.5 - facade.band] = trim
    half_u, half_v = (size / 2 for size in facade.window)
    frame = (np.abs(x) < half_u) & (np.abs(y) < half_v)
    picture[frame] = trim
    pane = (np.abs(x) < half_u - 0.06) & (np.abs(y) < half_v - 0.06) & ~((np.abs(x) < 0.03) & (half_u > 0.3))
    cell = (row.astype(int), column.astype(int))
    brightness = np.exp(rng.normal(0, 0.3, (GRID, GRID)))[cell][..., None]
    blind = rng.uniform(-0.6, 0.5, (GRID, GRID))[cell] * facade.window[1]
    glass = np.where((y < blind - half_v / 2)[..., None], 0.8 * trim, np.array(facade.glass_rgb) * brightness)
    picture[pane] = glass[pane]
    return (255 * np.clip(picture, 0.02, 0.9) + 0.5).astype(np.uint8)


def facade_uv(
    points: Float[np.ndarray, "F 3 3"], outwards: Float[np.ndarray, "F 3"], facade: Facade
) -> tuple[Bool[np.ndarray, " F"], Float[np.ndarray, "F 3 2"]]:
    """Which triangles are walls, and where their corners (+Y up) lie in the picture; storeys end at the top."""
    length = np.maximum(np.linalg.norm(outwards, axis=1), 1e-30)
    is_wall = np.abs(outwards[:, 1]) < WALL_BELOW * length
    low, high = points[..., 1].min(), points[..., 1].max()
    storey = (high - low) / max(round(facade.storeys), 1)
    sideways = np.abs(outwards[:, 0]) > np.abs(outwards[:, 2])
    along = np.where(sideways[:, None], points[..., 2], points[..., 0])
    uv = np.stack([along / (storey * facade.bay * GRID) + 0.5, (high - points[..., 1]) / (storey * GRID)], -1)
    return is_wall, uv - np.floor(uv.min(1, keepdims=True))
