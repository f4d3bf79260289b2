"""Training images: a folder of NumPy shards that may grow while training runs.

A shard is `images_*.npy`, uint8 [N, S, S, 3]. Shards are memory-mapped, never unpickled; one that is
still being written (too short for its header) is passed over and found by a later `rescan`.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.images import to_float

SHARD_PATTERN = "images_*.npy"


def open_shard(path: Path) -> np.ndarray:
    """Its images, mapped. Raises OSError, EOFError, TypeError or ValueError for a shard that is not whole."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


class ShardedImages:
    """Random access to the images of every complete shard of a folder."""

    def __init__(self, folder: str | Path, resolution: int) -> None:
        self.folder, self.resolution = Path(folder), resolution
        self._shards: dict[str, np.ndarray] = {}
        self._ends = np.zeros(0, dtype=np.int64)
        self.rescan()
        if len(self) == 0:
            shape = f"uint8 [N, {resolution}, {resolution}, 3]"
            raise UserError(f"no images in {self.folder}: put shards {SHARD_PATTERN}, {shape}, there.")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def rescan(self) -> int:
        """Look for new shards. Returns the number of images. Raises UserError for a shard of another shape or type."""
        for path in sorted(self.folder.glob(SHARD_PATTERN)):
            if path.name not in self._shards:
                try:
                    shard = open_shard(path)
                except (OSError, EOFError, ValueError):
                    continue  # incomplete: its writer has not finished
                expected = (self.resolution, self.resolution, 3)
                if shard.dtype != np.uint8 or shard.ndim != 4 or shard.shape[1:] != expected:
                    raise UserError(f"{path} holds {shard.dtype} {shard.shape}, not uint8 [N, {expected}]: remove it.")
                self._shards[path.name] = shard
        self._ends = np.cumsum([len(shard) for shard in self._shards.values()], dtype=np.int64)
        return len(self)

    def fetch(self, indices: np.ndarray) -> np.ndarray:
        """Images of the given indices, uint8 [B, S, S, 3]."""
        shards = list(self._shards.values())
        which = np.searchsorted(self._ends, indices, side="right")
        starts = self._ends - np.array([len(shard) for shard in shards])
        return np.stack([shards[s][i - starts[s]] for s, i in zip(which, indices, strict=True)])

    def first(self, n: int) -> Float[Tensor, "N 3 S S"]:
        """The first `n` images in [-1, 1], in their order; fewer where there are fewer."""
        return to_float(self.fetch(np.arange(min(n, len(self)))))

    def sample(self, n: int, rng: np.random.Generator, flips: bool) -> Float[Tensor, "n 3 S S"]:
        """`n` random images in [-1, 1], each mirrored with probability one half if `flips`."""
        images = self.fetch(rng.integers(0, len(self), size=n))
        if flips:
            mirrored = rng.random(n) < 0.5
            images[mirrored] = images[mirrored, :, ::-1]
        return to_float(images)
