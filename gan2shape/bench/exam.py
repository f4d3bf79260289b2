"""The frozen exam: per category splits of renders with their truth, arrays in the repository with hashes.

    val, test                  64 + 100 objects, to tune on and for a release's tables
    natural-val, natural-test  the first 32 + 64 of them as a camera would show them (`synth.natural`)
    cross-val, cross-test      32 + 64 objects of base shapes that no training draws (`synth.registry.EXAM_ONLY`)

Depth is uint16 over 1 +- half-range, masks and regions are uint8. Images are uint8 arrays in the first two exams (car
and head, 64 x 64), WebP files without loss in the later ones (128 x 128), and JPEG files where natural. Nothing ever
trains on them: their seeds start at 1 000 000, and training seeds end below. A changed exam is a commit of its own with
old and new numbers.
"""

import hashlib
import io
import json
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from gan2shape.bench.requests import CROSS, NATURAL, SPLITS
from gan2shape.core.errors import UserError
from gan2shape.core.files import UNREADABLE_ARRAYS
from gan2shape.core.images import resized, to_float
from gan2shape.core.resources import exam_dir
from gan2shape.synth.objects import REGIONS, CategorySpec, ObjectMesh
from gan2shape.synth.registry import EXAM_ONLY, get_category

FIRST_SEED = {split: 2_000_000 if split.endswith("test") else 1_000_000 for split in SPLITS}
COUNT = dict(zip(SPLITS, (64, 100, 32, 64, 32, 64), strict=True))
DEPTH_LOW, DEPTH_HIGH = 0.85, 1.15  # range of the stored uint16 depth; 4.6e-6 a step
DEPTH_STEPS = 65535
LEAST_SIZE = 64  # pixels along an edge that a generator gives if it is to be measured
LABELS = "base", "ancestry", "sex", "age"  # what `CategorySpec.labels` may give


@dataclass(frozen=True)
class ExamFormat:
    """What is stored of a category."""

    size: int  # pixels along an edge
    splits: tuple[str, ...]
    is_plain: bool  # images as arrays; without regions, labels and a field of view of each


FORMATS = {name: ExamFormat(64, ("val", "test"), True) for name in ("car", "head")}  # the first two exams
FORMAT = ExamFormat(128, SPLITS, False)  # all later ones


@dataclass(frozen=True)
class ExamObject:
    """One exam render with its truth, all [1, ...] float tensors in the units of `core.records`."""

    category: str
    seed: int
    image: Float[Tensor, "1 3 S S"]  # in [-1, 1]
    mask: Float[Tensor, "1 1 S S"]  # covered fraction
    depth: Float[Tensor, "1 1 S S"]  # z - D + 1 at pixel centres, D the camera's distance; undefined outside the mask
    view: Float[Tensor, "1 6"]  # of the object's own frame
    light: Float[Tensor, "1 4"]  # camera frame
    background: Float[Tensor, "3"]  # in [0, 1]
    fov_deg: float
    split: str = "val"
    labels: dict[str, str] = field(default_factory=dict)  # style, and those of LABELS that the category has
    skin: Bool[Tensor, "1 1 S S"] | None = None  # where a face shows neither hair nor eyes nor clothes

    def mesh(self) -> ObjectMesh:
        """The object itself, rebuilt from its seed."""
        from gan2shape.synth.dataset import sample_item

        return sample_item(spec_of(self.category, self.split), self.seed).mesh


def spec_of(category: str, split: str) -> CategorySpec:
    """Whose objects a split shows: the category's own, or those kept for exams (UserError where there are none)."""
    if not split.startswith(CROSS):
        return get_category(category)
    if category not in EXAM_ONLY:
        raise UserError(f"No shapes of {category} are kept for exams alone: those of {', '.join(EXAM_ONLY)} are.")
    return EXAM_ONLY[category]


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


def make_split(category: str, split: str, indices: list[int] | None = None) -> dict[str, np.ndarray]:
    """The arrays of one split (or of some of its objects), rendered from seeds."""
    from gan2shape.synth.dataset import natural_files, render_items, sample_item

    spec, kept = spec_of(category, split), FORMATS.get(category, FORMAT)
    is_natural = split.startswith(NATURAL)
    numbers = range(COUNT[split]) if indices is None else indices
    items = [sample_item(spec, FIRST_SEED[split] + i) for i in numbers]
    made = render_items(spec, items, kept.size, NATURAL if is_natural else "plain")
    truth = made.truth
    arrays = {
        "seed": np.array([item.seed for item in items], dtype=np.int64),
        "mask": truth.mask[:, 0].mul(255).round().to(torch.uint8).numpy(),
        "depth": encode_depth(truth.depth[:, 0]),
        "view": made.view.numpy(),
        "light": made.light.numpy(),
        "background": np.stack([item.background for item in items]),
        "style": np.array([item.mesh.style for item in items]),
    }
    image = (truth.image / 2 + 0.5).mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    if kept.is_plain:
        return arrays | {"image": image}
    files = natural_files(spec, items, kept.size) if is_natural else lossless(image)
    arrays["files"] = np.frombuffer(b"".join(files), np.uint8)
    arrays["file_start"] = np.cumsum([0] + [len(file) for file in files])
    labels = [spec.labels(item.params) for item in items]
    arrays |= {name: np.array([one[name] for one in labels]) for name in LABELS if name in labels[0]}
    arrays["region"] = truth.region[:, 0].numpy()
    arrays["fov_deg"] = np.array(made.fov_deg, np.float32)
    return arrays


def load_split(category: str, split: str, folder: Path | None = None) -> dict[str, np.ndarray]:
    """Arrays of a split, checked against the stored hash. Raises UserError for a missing or changed exam, and for one
    whose seeds draw other objects now.
    """
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
        notes = json.loads((folder / "hashes.json").read_text(encoding="utf-8"))
        is_whole, version = array_hash(arrays) == notes[split], notes["versions"][split]
    except UNREADABLE_ARRAYS as error:
        raise UserError(f"The exam {path} or its hashes.json is damaged: restore both from the repository.") from error
    if not is_whole:
        raise UserError(f"The exam {path} does not match its hash: restore it from the repository.")
    if version != (now := spec_of(category, split).version):
        raise UserError(
            f"The exam {path} shows version {version} of these objects and the seeds draw version {now}: use the code "
            "that belongs to it."
        )
    return arrays


def lossless(pictures: UInt8[np.ndarray, "N S S 3"]) -> list[bytes]:
    """The pictures as WebP files that keep every bit."""
    files = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "WEBP", lossless=True, quality=100, method=6)
        files.append(file.getvalue())
    return files


def images_of(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """uint8 [N, S, S, 3] of a loaded split."""
    if "image" in arrays:
        return arrays["image"]
    from gan2shape.synth.natural import decoded

    return decoded([arrays["files"][a:b].tobytes() for a, b in pairwise(arrays["file_start"])])


def exam_object(category: str, split: str, arrays: dict[str, np.ndarray], index: int) -> ExamObject:
    """Item `index` of a loaded split, whose images are in `arrays` (see `images_of`)."""
    region = arrays.get("region")
    skin = None
    if region is not None and (region > 1).any():
        skin = torch.from_numpy(region[index] == REGIONS.index("object"))[None, None]
    return ExamObject(
        category=category,
        seed=int(arrays["seed"][index]),
        image=to_float(arrays["image"][index : index + 1]),
        mask=torch.from_numpy(arrays["mask"][index])[None, None].float() / 255,
        depth=decode_depth(arrays["depth"][index])[None, None],
        view=torch.from_numpy(arrays["view"][index])[None].float(),
        light=torch.from_numpy(arrays["light"][index])[None].float(),
        background=torch.from_numpy(arrays["background"][index]).float(),
        fov_deg=float(arrays["fov_deg"][index]) if "fov_deg" in arrays else get_category(category).fov_deg,
        split=split,
        labels={name: str(arrays[name][index]) for name in ("style", *LABELS) if name in arrays},
        skin=skin,
    )


def exam_objects(category: str, split: str, count: int, size: int | None = None) -> list[ExamObject]:
    """The first `count` objects of a split, with images of `size` pixels (see `seen_at`; the exam's own unless given).

    Raises UserError as `load_split` does, and where there are fewer.
    """
    arrays = load_split(category, split)
    if count > len(arrays["seed"]):
        raise UserError(f"The {split} exam of {category} holds {len(arrays['seed'])} objects: give at most that many.")
    arrays["image"] = images_of(arrays)
    items = [exam_object(category, split, arrays, index) for index in range(count)]
    return items if size is None else [seen_at(item, size) for item in items]


def exam_size(category: str) -> int:
    """Pixels along an edge of a category's exam."""
    return FORMATS.get(category, FORMAT).size


def seen_at(item: ExamObject, size: int) -> ExamObject:
    """The object as a smaller camera of the same view sees it: image and mask averaged, depth the mean of what is
    covered; itself at its own size.
    """
    if item.image.shape[-1] == size:
        return item
    covered = (item.mask > 0.5).float()
    share = resized(covered, size)
    depth = torch.where(share > 0, resized(item.depth * covered, size) / share, resized(item.depth, size))
    skin = None if item.skin is None else resized(item.skin.float(), size) > 0.5
    return replace(item, image=resized(item.image, size), mask=resized(item.mask, size), depth=depth, skin=skin)
