"""Records of tensors that take long to make: kept on disk in shards, so that a build that was stopped goes on."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from gan2shape.core.files import UNREADABLE_ARRAYS, write_arrays_atomic
from gan2shape.core.progress import Reporter, silent

Record = TypeVar("Record")  # a dataclass of tensors with the same first dimension


def joined(parts: Iterable[Record]) -> Record:
    """One after the other; at least one."""
    parts = list(parts)
    columns = ([getattr(part, one.name) for part in parts] for one in fields(parts[0]))
    return type(parts[0])(*(torch.cat(column) for column in columns))


def on_disk(
    kind: type[Record],
    make: Callable[[list[int]], Record],
    seeds: range,
    n_in_shard: int,
    stem: Path,
    report: Reporter = silent,
) -> Record:
    """The records of these seeds: read from `STEM_SEED_COUNT.npz` where those are, made and written otherwise.

    What a record is made with belongs to the stem: whoever changes it removes the files.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    shards = []
    for start in range(0, len(seeds), n_in_shard):
        some = list(seeds[start : start + n_in_shard])
        shards.append(_shard(kind, make, some, stem.with_name(f"{stem.name}_{some[0]:06d}_{len(some)}.npz")))
        report("reconstructed", start + len(some), len(seeds))
    return joined(shards)


def _shard(kind: type[Record], make: Callable[[list[int]], Record], seeds: list[int], path: Path) -> Record:
    names = [one.name for one in fields(kind)]
    try:
        with np.load(path, allow_pickle=False) as stored:
            return kind(*(torch.from_numpy(stored[name]) for name in names))
    except UNREADABLE_ARRAYS:  # missing or damaged
        made = make(seeds)
        write_arrays_atomic(path, {name: getattr(made, name).numpy() for name in names})
        return made
