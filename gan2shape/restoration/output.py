"""What a restoration leaves in its folder: the picture, a sheet to compare, the solution, numbers, and a page."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from gan2shape.core.files import to_json, write_arrays_atomic, write_text_atomic
from gan2shape.core.images import contact_sheet, resized, to_uint8, write_png
from gan2shape.export.page import render_page
from gan2shape.restoration.composition import composed
from gan2shape.restoration.restore import Restored
from gan2shape.restoration.tasks import Damage

SHEET_TILE_PX = 192  # of a picture on the sheet
SOLUTION_NAME = "solution.npz"
LATENT_NAME = "latent.npz"
METRICS_NAME = "metrics.json"
MEANING = {
    "data_term": "how far the degraded result is from what was given, in the method's own terms; 0 is best",
    "latent_distance": "distance of w from the prior's mean, in standard deviations; samples have about 1",
    "psnr_db": "peak signal-to-noise ratio against the clean picture, dB; higher is nearer",
    "hole_psnr_db": "the same within the hole alone",
    "object_psnr_db": "of the result against the picture, inside the object, dB",
    "face_distance": "of dlib's descriptors of the two faces; photographs below .6 are taken for one person",
    "ssim": "structural similarity with the clean picture; 1 is equal",
    "seconds": "of the descent",
}


def tiles(restored: Restored, index: int = 0) -> list[tuple[str, Tensor]]:
    """(label, picture [1, 3, h, w]) of what a reader compares."""
    rows = slice(index, index + 1)
    found = [("given", restored.observed[rows]), ("restored", restored.image[rows])]
    if not restored.solved.image[rows].clamp(-1, 1).equal(restored.image[rows]):
        found.append(("the generator's own", restored.solved.image[rows].clamp(-1, 1)))
    return found if restored.truth is None else [*found, ("clean", restored.truth[rows])]


def write_restored(
    restored: Restored, damage: Damage, folder: Path, photo: np.ndarray | None, level: str | None = None
) -> dict[str, Path]:
    """Write the files of one restored picture; returns short name -> path. `level`: whether the prior knows such a
    picture, as far as anything can tell.
    """
    parts = tiles(restored)
    sheet = contact_sheet(
        [to_uint8(resized(picture, SHEET_TILE_PX, "bicubic").clamp(-1, 1))[0] for _, picture in parts],
        [label for label, _ in parts],
    )
    files = {
        "restored": write_png(folder / "restored.png", to_uint8(restored.image)[0]),
        "given": write_png(folder / "given.png", to_uint8(restored.observed)[0]),
        "sheet": write_png(folder / "before_after.png", sheet),
    }
    if photo is not None:
        files["photo"] = write_png(folder / "photo.png", photo)
    if restored.draws is not None:
        known = None if restored.hole is None else 1.0 - restored.hole.to(restored.image)
        draws = restored.draws[0]
        draws = composed(draws, restored.observed[:1].expand(len(draws), -1, -1, -1), known, damage.kind.compose)
        draws = resized(draws, SHEET_TILE_PX, "bicubic").clamp(-1, 1)
        files["draws"] = write_png(folder / "draws.png", contact_sheet(to_uint8(draws), (), len(draws)))
    numbers = numbers_of(restored, damage) | ({} if level is None else {"verdict": level})
    state = {name: value.cpu().numpy() for name, value in restored.solved.states[0].items()}
    files["solution"] = write_arrays_atomic(folder / SOLUTION_NAME, state)
    if restored.solved.w is not None:  # for `gan2shape run --latent`
        files["latent"] = write_arrays_atomic(folder / LATENT_NAME, {"w": restored.solved.w[:1].cpu().numpy()})
    page = render_page(
        "restore.html.j2",
        task=damage.kind.summary,
        method=restored.method.title,
        source=restored.method.source,
        numbers={name: (value, MEANING.get(name, "")) for name, value in numbers["numbers"].items()},
        has_photo=photo is not None,
        has_truth=restored.truth is not None,
        has_draws=restored.draws is not None,
    )
    files["report"] = write_text_atomic(folder / "report.html", page)
    # Last: a picture whose numbers are there is done, and passed over by a second call.
    files["metrics"] = write_text_atomic(folder / METRICS_NAME, to_json(numbers, indent=1) + "\n")
    return files


def numbers_of(restored: Restored, damage: Damage) -> dict:
    """Everything that a row or a reader needs to know of one picture, and how to make it again."""
    numbers = {name: values[0] for name, values in restored.numbers.items()}
    return {
        "task": damage.task,
        "strength": damage.amount if damage.kind.strength is not None else None,
        "degraded_here": restored.truth is not None,
        "numbers": {**numbers, "seconds": restored.seconds},
        "n_steps": restored.solved.n_steps,
        "method": asdict(restored.method),
    }
