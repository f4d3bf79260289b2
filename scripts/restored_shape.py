"""What a restoration is worth to the shape: SIDE from damaged exam images, restored first and as they are.

    python scripts/restored_shape.py --category car --count 16 --out FOLDER

Validation images are shrunk by four, or lose the image-right half of their object's box (mid-grey is there instead).
Shapes are reconstructed from the clean image, from the damaged one (enlarged bicubically) and from the restored one.
Masks are predicted, scores use the true one. Prints a row for each, with paired differences of the restored to the
damaged ones; `scores.json` holds the scores of each object, `sheet.png` the first images.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import gan2shape
from gan2shape.bench.exam import ExamObject, exam_objects
from gan2shape.bench.score import score_object_depth, table_row
from gan2shape.cli_options import format_rows
from gan2shape.core.files import to_json, write_text_atomic
from gan2shape.core.images import contact_sheet, resized, to_uint8, write_png
from gan2shape.measure.statistics import paired_interval
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import Damage

AT_ONCE, SHOWN, TILE_PX = 8, 6, 128
FACTOR = 4


def half_hidden(item: ExamObject) -> Float[Tensor, "1 1 S S"]:
    """1 where the picture is known: everything but the image-right half of the object's box."""
    kept, inside = torch.ones_like(item.mask), item.mask[0, 0] > 0.5
    rows, columns = (inside.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    kept[..., rows[0] : rows[-1] + 1, (columns[0] + columns[-1] + 1) // 2 : columns[-1] + 1] = 0.0
    return kept


def restored(clean: Tensor, damage: Damage, method: str, prior: gan2shape.Prior) -> tuple[Tensor, Tensor]:
    """(damaged pictures, restored ones), some at a time."""
    parts = []
    for start in range(0, len(clean), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        some = Damage(damage.task, damage.strength, None if damage.kept is None else damage.kept[rows])
        made = restore_images(clean[rows], some, method, prior.generator.prior, degrade=True)
        parts.append((made.observed, made.image))
    observed, image = (torch.cat(column) for column in zip(*parts, strict=True))
    return observed, image


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--preset", default="instant")
    parser.add_argument("--method", default="brgm")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    prior = gan2shape.Prior.open(given.category, device="cpu")
    items = exam_objects(given.category, "val", given.count, prior.resolution)
    clean = torch.cat([item.image for item in items])
    small = restored(clean, Damage("superres", FACTOR), given.method, prior)
    kept = torch.cat([half_hidden(item) for item in items])
    hidden = restored(clean, Damage("inpaint", kept=kept), given.method, prior)
    forms = {
        "clean": clean,
        "x4, bicubic": resized(small[0], prior.resolution, "bicubic").clamp(-1, 1),
        f"x4, {given.method}": small[1],
        "half hidden, as it is": hidden[0],
        f"half hidden, {given.method}": hidden[1],
    }
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in forms}
    for name, images in forms.items():
        for item, image in zip(items, images.split(1), strict=True):
            made = gan2shape.reconstruct(image, prior=prior, preset=given.preset)
            scores[name].append(score_object_depth(item, made.scene.depth))
    rows, before = [], "clean"
    for name in forms:
        row = table_row(name, given.category, "val", given.preset, scores[name])
        if name.endswith(given.method):
            for metric in ("side", "mad_deg"):
                ours, theirs = ([one[metric] for one in scores[which]] for which in (name, before))
                row[f"d_{metric}"], row[f"d_{metric}_ci"] = paired_interval(np.array(ours), np.array(theirs))
        rows.append(row)
        before = name
    write_text_atomic(given.out / "scores.json", to_json(scores, indent=1))
    tiles = torch.cat([images[:SHOWN] for images in forms.values()])
    labels = [f"{name} {i}" for name in forms for i in range(min(SHOWN, given.count))]
    sheet = contact_sheet(to_uint8(resized(tiles, TILE_PX, "bicubic").clamp(-1, 1)), labels, min(SHOWN, given.count))
    write_png(given.out / "sheet.png", sheet)
    print("\n".join(format_rows(rows)))


if __name__ == "__main__":
    main()
