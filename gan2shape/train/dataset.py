"""Training images: folders of NumPy shards that may grow while training runs.

A shard is `images_*.npy`, uint8 [N, S, S, 3]. Shards are memory-mapped, never unpickled; one that is
still being written (too short for its header) is passed over and found by a later `rescan`. Where classes are learnt,
`labels_*.npy`, uint8 [N], lies beside each shard, and `shards.json` names the classes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.images import to_float
from gan2shape.synth.dataset import CLASSES_KEY, SHARDS_NAME, labels_beside

SHARD_PATTERN = "images_*.npy"


def open_shard(path: Path) -> np.ndarray:
    """Its images, mapped. Raises OSError, EOFError, TypeError or ValueError for a shard that is not whole."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def class_names(folder: str | Path) -> tuple[str, ...]:
    """Names of the classes in a folder of labelled shards. Raises UserError where there are none."""
    path = Path(folder) / SHARDS_NAME
    try:
        names = json.loads(path.read_text(encoding="utf-8"))[CLASSES_KEY]
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError("no names")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} holds no classes: render images with `gan2shape synth --shards --labels`, or train without "
            "--labels."
        ) from error
    return tuple(names)


class ShardedImages:
    """Random access to the images of every complete shard of some folders, and to their classes if `labelled`.

    Every image is as likely as every other one, whichever folder it is from. Raises UserError where folders hold no
    images, and where their classes are not the same.
    """

    def __init__(
        self,
        folders: str | Path | Sequence[Path],
        resolution: int,
        labelled: bool = False,
        pattern: str = SHARD_PATTERN,
    ) -> None:
        self.folders = [Path(folders)] if isinstance(folders, str | Path) else list(folders)
        self.resolution, self._pattern = resolution, pattern
        names = {class_names(folder) for folder in self.folders} if labelled else {()}
        if len(names) > 1:
            raise UserError(f"{' and '.join(map(str, self.folders))} hold other classes: train on one of them.")
        self.classes = names.pop()
        self._shards: dict[Path, np.ndarray] = {}
        self._labels: dict[Path, np.ndarray] = {}
        self._ends = np.zeros(0, dtype=np.int64)
        self.rescan()
        for folder in self.folders:
            if not any(path.parent == folder for path in self._shards):
                shape = f"uint8 [N, {resolution}, {resolution}, 3]"
                raise UserError(f"no images in {folder}: put shards {pattern}, {shape}, there.")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def rescan(self) -> int:
        """Look for new shards. Returns the number of images. Raises UserError for a shard of another shape or type."""
        for path in (path for folder in self.folders for path in sorted(folder.glob(self._pattern))):
            if path not in self._shards:
                try:
                    shard = open_shard(path)
                except (OSError, EOFError, ValueError):
                    continue  # incomplete: its writer has not finished
                expected = (self.resolution, self.resolution, 3)
                if shard.dtype != np.uint8 or shard.ndim != 4 or shard.shape[1:] != expected:
                    raise UserError(f"{path} holds {shard.dtype} {shard.shape}, not uint8 [N, {expected}]: remove it.")
                if self.classes:
                    self._labels[path] = self._read_labels(labels_beside(path), len(shard))
                self._shards[path] = shard
        self._ends = np.cumsum([len(shard) for shard in self._shards.values()], dtype=np.int64)
        return len(self)

    def _read_labels(self, path: Path, n: int) -> np.ndarray:
        try:
            labels = np.load(path, allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged: delete its images, and both are rendered again.") from error
        if labels.dtype != np.uint8 or labels.shape != (n,) or labels.max(initial=0) >= len(self.classes):
            raise UserError(f"{path} does not hold the classes of {n} images: delete its images and itself.")
        return labels

    def fetch(self, indices: np.ndarray) -> np.ndarray:
        """Images of the given indices, uint8 [B, S, S, 3]."""
        return self._fetch(self._shards, indices)

    def fetch_labels(self, indices: np.ndarray) -> Int[np.ndarray, " B"]:
        """Classes of the images of these indices."""
        return self._fetch(self._labels, indices).astype(np.int64)

    def _fetch(self, shards: dict[Path, np.ndarray], indices: np.ndarray) -> np.ndarray:
        parts = list(shards.values())
        which = np.searchsorted(self._ends, indices, side="right")
        starts = self._ends - np.array([len(part) for part in parts])
        return np.stack([parts[s][i - starts[s]] for s, i in zip(which, indices, strict=True)])

    def first(self, n: int) -> Float[Tensor, "N 3 S S"]:
        """The first `n` images in [-1, 1], fewer where there are fewer; several folders take turns."""
        parts: dict[Path, list[np.ndarray]] = {}
        for (path, shard), end in zip(self._shards.items(), self._ends, strict=True):
            parts.setdefault(path.parent, []).append(np.arange(end - len(shard), end))
        each = [np.concatenate(ranges) for ranges in parts.values()]
        turns = np.argsort(np.concatenate([np.arange(len(one)) for one in each]), kind="stable")
        return to_float(self.fetch(np.concatenate(each)[turns[:n]]))

    def between(self, start: int, end: int) -> Float[Tensor, "N 3 S S"]:
        """The images start ... end - 1 in [-1, 1]."""
        return to_float(self.fetch(np.arange(start, end)))

    def sample(self, n: int, rng: np.random.Generator, flips: bool) -> Float[Tensor, "n 3 S S"]:
        """`n` random images in [-1, 1], each mirrored with probability one half if `flips`."""
        return self.images_at(rng.integers(0, len(self), size=n), rng, flips)

    def images_at(self, indices: np.ndarray, rng: np.random.Generator, flips: bool) -> Float[Tensor, "n 3 S S"]:
        """The images of these indices, each mirrored with probability one half if `flips`."""
        n, images = len(indices), self.fetch(indices)
        if flips:
            mirrored = rng.random(n) < 0.5
            images[mirrored] = images[mirrored, :, ::-1]
        return to_float(images)
