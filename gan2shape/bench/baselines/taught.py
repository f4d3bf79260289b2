"""The objective of the network that is taught true depth, and what it is taught with: a bound for what one pass of our
own depth network could reach.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gan2shape.core.files import UNREADABLE_ARRAYS, write_arrays_atomic
from gan2shape.core.images import to_float, to_uint8
from gan2shape.core.progress import Reporter, silent
from gan2shape.nn.depth_baselines import HALF_RANGE
from gan2shape.synth.dataset import render_set
from gan2shape.train.image_source import FIRST_SEED

SHARD = 1000  # objects in a file
FULLY_COVERED = 0.999  # of a mask
GRADIENT_WEIGHT = 8.0  # of the differences between neighbours, beside the depth itself


@dataclass(frozen=True)
class TrueDepths:
    """Renders with their truth, as they lie on disk; `rows` come out as tensors."""

    image: UInt8[np.ndarray, "N S S 3"]
    depth: Float[np.ndarray, "N 1 S S"]  # about 1
    covered: Bool[np.ndarray, "N 1 S S"]  # fully

    def rows(
        self, indices: np.ndarray, mirrored: bool
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"], Bool[Tensor, "B 1 S S"]]:
        """(images in [-1, 1], depth, where it counts)."""
        image = to_float(self.image[indices])
        depth, covered = torch.from_numpy(self.depth[indices]), torch.from_numpy(self.covered[indices])
        return (image.flip(-1), depth.flip(-1), covered.flip(-1)) if mirrored else (image, depth, covered)


def true_depths(category: str, n: int, size: int, folder: Path, report: Reporter = silent) -> TrueDepths:
    """The first n objects that no generator has seen, rendered into `folder` unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, n, SHARD):
        path = folder / f"truth_{FIRST_SEED + start:06d}.npz"
        parts.append(_read(path) or _render(category, FIRST_SEED + start, size, path))
        report("rendered", min(n, start + SHARD), n)
    return TrueDepths(*(np.concatenate([part[name] for part in parts])[:n] for name in ("image", "depth", "covered")))


def _read(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in ("image", "depth", "covered")}
    except UNREADABLE_ARRAYS:  # missing or damaged
        return None


def _render(category: str, first_seed: int, size: int, path: Path) -> dict[str, np.ndarray]:
    truth = render_set(category, list(range(first_seed, first_seed + SHARD)), size).truth
    arrays = {"image": to_uint8(truth.image), "depth": truth.depth.numpy()}
    arrays["covered"] = (truth.mask > FULLY_COVERED).numpy()
    write_arrays_atomic(path, arrays)
    return arrays


def taught_terms(
    found: Float[Tensor, "B 1 S S"], truth: Float[Tensor, "B 1 S S"], covered: Bool[Tensor, "B 1 S S"]
) -> dict[str, Float[Tensor, ""]]:
    """Mean |error| of depth less each object's mean error, and of its differences between neighbours, weighed."""
    inside = covered.float()
    error = torch.where(covered, (found - truth) / HALF_RANGE, 0.0)
    mean = error.sum((1, 2, 3), keepdim=True) / inside.sum((1, 2, 3), keepdim=True).clamp_min(1)
    error = torch.where(covered, error - mean, 0.0)
    terms = {"depth": error.abs().sum() / inside.sum().clamp_min(1)}
    steps = []
    for dim in (2, 3):
        n = error.shape[dim] - 1
        both = inside.narrow(dim, 1, n) * inside.narrow(dim, 0, n)
        steps.append((error.diff(dim=dim).abs() * both).sum() / both.sum().clamp_min(1))
    return terms | {"slope": GRADIENT_WEIGHT * sum(steps)}
