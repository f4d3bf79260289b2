"""New colours for a real mesh's textures: clusters of like hue change together and keep their light and dark."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from gan2shape.synth.shape_assets import BaseMesh

SAME_HUE = 0.10  # distance of chromaticities below which clusters are one material
NEARLY_GREY = 0.08  # spread of the chromaticity's channels
DARK = 0.16  # brightness below which a cluster is glass or shade, and stays
BRIGHTEST = 0.9  # albedo never exceeds it, so that images rarely clip


@dataclass(frozen=True)
class NewColours:
    """What becomes of each cluster of each texture: mean colour, or nothing where it stays."""

    clusters: tuple[tuple[tuple[float, float, float] | None, ...], ...]
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # then all is multiplied by this


def sample_colours(
    rng: np.random.Generator, base: BaseMesh, palette: Float[np.ndarray, "N 3"], share: float
) -> NewColours:
    """Colours of the palette, varied, for a `share` of the materials of the mesh."""
    out = []
    for centres in base.centres:
        group = materials(centres)
        new: list[tuple[float, float, float] | None] = [None] * len(centres)
        for number in np.unique(group):
            chosen = palette[rng.integers(len(palette))] * np.exp(rng.normal(0, 0.06, 3))
            if _chroma(centres)[number].std() < NEARLY_GREY:  # slate, concrete and frames keep most of their grey
                chosen = chosen + rng.uniform(0.4, 1.0) * (chosen.mean() - chosen)
            brightness, stays = np.exp(rng.normal(0, 0.2)), rng.uniform() >= share
            for k in (group == number).nonzero()[0]:
                own = centres[k].mean()
                if stays or own < DARK:
                    continue
                level = brightness * np.sqrt(own * chosen.mean())
                target = np.clip(chosen / chosen.mean() * level, 0.03, BRIGHTEST)
                new[k] = tuple(float(v) for v in target)
        out.append(tuple(new))
    gain = np.exp(rng.normal(0, 0.1) + rng.normal(0, 0.03, 3))
    return NewColours(tuple(out), tuple(float(v) for v in gain))


def materials(centres: Float[np.ndarray, "K 3"]) -> Int[np.ndarray, " K"]:
    """Number of the material that each cluster belongs to: those joined by steps of like hue."""
    chroma = _chroma(centres)
    near = np.linalg.norm(chroma[:, None] - chroma, axis=-1) < SAME_HUE
    group = np.arange(len(centres))
    for _ in centres:
        group = np.array([group[row].min() for row in near])
    return group


def _chroma(centres: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 3"]:
    """Colour over brightness, 0 for grey."""
    grey = centres.mean(1, keepdims=True)
    return (centres - grey) / np.maximum(grey, 0.2)


def repainted(base: BaseMesh, colours: NewColours) -> tuple[UInt8[np.ndarray, "_h _w 3"], ...]:
    """The mesh's textures in their new colours."""
    out = []
    for texture, label, centres, new in zip(base.textures, base.labels, base.centres, colours.clusters, strict=True):
        offset, scale = np.zeros((len(centres), 3), np.float32), np.ones((len(centres), 3), np.float32)
        for k, target in enumerate(new):
            if target is not None:
                scale[k] = np.clip(np.mean(target) / max(centres[k].mean(), 0.05), 0.4, 1.8)
                offset[k] = 255 * (np.array(target) - centres[k] * scale[k])
        gain = np.array(colours.gain, np.float32)
        picture = (texture * scale[label] + offset[label]) * gain
        out.append(np.clip(picture, 4, 255 * BRIGHTEST).astype(np.uint8))
    return tuple(out)
