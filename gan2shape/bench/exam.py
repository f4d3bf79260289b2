"""The frozen exam: per category 64 validation and 100 test renders with their truth, arrays in the repository with
hashes.

Images uint8, depth uint16 over 1 +- half-range, masks uint8. Nothing ever trains on them: their seeds start at
1 000 000, and training seeds end below. A changed exam is a commit of its own with old and new numbers.
"""

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.images import to_float
from gan2shape.core.resources import exam_dir
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.registry import get_category

FIRST_SEED = {"val": 1_000_000, "test": 2_000_000}
COUNT = {"val": 64, "test": 100}
SPLITS = tuple(COUNT)
DEPTH_LOW, DEPTH_HIGH = 0.85, 1.15  # range of the stored uint16 depth; 4.6e-6 a step
DEPTH_STEPS = 65535


@dataclass(frozen=True)
class ExamObject:
    """One exam render with its truth, all [1, ...] float tensors in the units of `core.records`."""

    category: str
    seed: int
    image: Float[Tensor, "1 3 S S"]  # in [-1, 1]
    mask: Float[Tensor, "1 1 S S"]  # covered fraction
    depth: Float[Tensor, "1 1 S S"]  # z at pixel centres; undefined outside the mask
    view: Float[Tensor, "1 6"]  # of the object's own frame
    light: Float[Tensor, "1 4"]  # camera frame
    background: Float[Tensor, "3"]  # in [0, 1]
    fov_deg: float

    def mesh(self) -> ObjectMesh:
        """The object itself, rebuilt from its seed."""
        from gan2shape.synth.dataset import sample_item

        return sample_item(get_category(self.category), self.seed).mesh


def encode_depth(depth: Float[Tensor, "*s"]) -> np.ndarray:
    """uint16 over [DEPTH_LOW, DEPTH_HIGH]."""
    unit = (depth.double() - DEPTH_LOW) / (DEPTH_HIGH - DEPTH_LOW)
    return unit.clamp(0, 1).mul(DEPTH_STEPS).round().numpy().astype(np.uint16)


def decode_depth(stored: np.ndarray) -> Float[Tensor, "*s"]:
    """Inverse of `encode_depth`, float32."""
    return torch.from_numpy(stored.astype(np.float64) / DEPTH_STEPS * (DEPTH_HIGH - DEPTH_LOW) + DEPTH_LOW).float()


def array_hash(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes, types and bytes, in name order: independent of how the file is compressed."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def make_split(category: str, split: str) -> dict[str, np.ndarray]:
    """The arrays of one split, rendered from seeds."""
    from gan2shape.synth.dataset import render_set

    made = render_set(category, [FIRST_SEED[split] + i for i in range(COUNT[split])])
    truth = made.truth
    image = (truth.image / 2 + 0.5).mul(255).round().clamp(0, 255).to(torch.uint8)
    return {
        "seed": np.array([item.seed for item in made.items], dtype=np.int64),
        "image": image.permute(0, 2, 3, 1).numpy(),
        "mask": truth.mask[:, 0].mul(255).round().to(torch.uint8).numpy(),
        "depth": encode_depth(truth.depth[:, 0]),
        "view": made.view.numpy(),
        "light": made.light.numpy(),
        "background": np.stack([item.background for item in made.items]),
        "style": np.array([item.mesh.style for item in made.items]),
    }


def load_split(category: str, split: str, folder: Path | None = None) -> dict[str, np.ndarray]:
    """Arrays of a split, checked against the stored hash. Raises UserError for a missing or changed exam."""
    folder = folder or exam_dir() / category
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r}: write {' or '.join(SPLITS)}.")
    path = folder / f"{split}.npz"
    if not path.is_file():
        raise UserError(
            f"There is no exam at {path}: name a category with an exam, or make one with scripts/make_exam.py."
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        is_whole = array_hash(arrays) == json.loads((folder / "hashes.json").read_text(encoding="utf-8"))[split]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"The exam {path} or its hashes.json is damaged: restore both from the repository.") from error
    if not is_whole:
        raise UserError(f"The exam {path} does not match its hash: restore it from the repository.")
    return arrays


def exam_object(category: str, arrays: dict[str, np.ndarray], index: int) -> ExamObject:
    """Item `index` of a loaded split."""
    image = to_float(arrays["image"][index : index + 1])
    return ExamObject(
        category=category,
        seed=int(arrays["seed"][index]),
        image=image,
        mask=torch.from_numpy(arrays["mask"][index])[None, None].float() / 255,
        depth=decode_depth(arrays["depth"][index])[None, None],
        view=torch.from_numpy(arrays["view"][index])[None].float(),
        light=torch.from_numpy(arrays["light"][index])[None].float(),
        background=torch.from_numpy(arrays["background"][index]).float(),
        fov_deg=get_category(category).fov_deg,
    )


def exam_objects(category: str, split: str, count: int) -> list[ExamObject]:
    """The first `count` objects of a split."""
    arrays = load_split(category, split)
    if count > len(arrays["seed"]):
        raise UserError(f"The {split} exam of {category} holds {len(arrays['seed'])} objects: give at most that many.")
    return [exam_object(category, arrays, index) for index in range(count)]
