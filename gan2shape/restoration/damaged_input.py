"""The damaged picture of a run: read, restored at the prior's resolution, and kept beside the run's files.

What is explained is `restored.png` itself, values rounded to 8 bits.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.images import to_float, to_uint8
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import RESTORED_NAMES
from gan2shape.export.framing import framed
from gan2shape.export.inputs import InputImage, default_framing, read_picture, seen_in
from gan2shape.prior.packs import Prior
from gan2shape.restoration.in_photo import read_hole
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import TASKS, Damage, parse_damage

RESTORED_NAME, GIVEN_NAME = RESTORED_NAMES
HARMLESS = "reconstruct"  # the task without a damage
MEANING = f"the shape and the verdict are those of {RESTORED_NAME}; {GIVEN_NAME} is what was given."


@dataclass(frozen=True)
class RestoredInput:
    """What a run explains in the place of a damaged picture."""

    image: Float[Tensor, "1 3 S S"]  # as `restored.png` holds it
    pictures: dict[str, UInt8[np.ndarray, "_h _w 3"]]  # to be written, by file name
    seconds: float = 0.0  # of the restoration
    notes: tuple[str, ...] = ()  # sentences


def damage_of(degraded: str, hole: Path | None) -> Damage:
    """The damage that `--degraded` and `--hole` name. Raises UserError for one that is none, or lacks its hole."""
    damage = parse_damage(degraded)
    if damage.task == HARMLESS or damage.kind.is_learnt:
        known = ", ".join(name for name, task in TASKS.items() if name != HARMLESS and not task.is_learnt)
        raise UserError(f"--degraded {degraded} is no damage: give {known}, or leave it away.")
    if damage.kind.has_hole and hole is None:
        raise UserError(f"--degraded {degraded} lacks its hole: give --hole MASK, white where the picture is lost.")
    if hole is not None and not damage.kind.has_hole:
        raise UserError(f"--hole belongs to inpaint and hybrid, not to {damage.task}: leave it away.")
    return damage


def restore_input(
    path: Path,
    damage: Damage,
    hole: Path | None,
    mask: Path | None,
    prior: Prior,
    seed: int = 0,
    report: Reporter = silent,
) -> RestoredInput:
    """The picture at `path` restored by its task's own method. With a mask it is framed as the prior's images first.

    Raises UserError for files that cannot be used, and as `restore_images` does.
    """
    size = prior.resolution // damage.factor
    given = _read(path, size, mask, prior)
    notes = given.notes
    if given.framing.size != size:
        side = round(given.framing.size)
        notes += (f"A square of {side} x {side} pixels of the picture is used at {size} x {size}.",)
    if hole is not None:
        lost = read_hole(hole, prior.resolution, given.original_size, given.framing)
        damage = replace(damage, kept=1.0 - lost)
    made = restore_images(given.image, damage, None, prior, seed=seed, report=report)
    pixels = {RESTORED_NAME: to_uint8(made.image.cpu())[0], GIVEN_NAME: to_uint8(made.observed.cpu())[0]}
    notes += (
        f"The input was restored first ({damage.task}, {made.method.title}): {MEANING}",
    )
    return RestoredInput(to_float(pixels[RESTORED_NAME][None]), pixels, made.seconds, notes)


def mask_beside(path: Path, mask: Path | None, prior: Prior) -> Float[Tensor, "1 1 S S"] | None:
    """The object mask of a damaged picture at the prior's resolution, also where the picture has less: the one that is
    named, or its alpha channel. Raises UserError for files that cannot be used.
    """
    return _read(path, prior.resolution, mask, prior).mask


def _read(path: Path, size: int, mask: Path | None, prior: Prior) -> InputImage:
    picture, frame = read_picture(path, size, mask), prior.calibration.frame
    if picture.cover is None or frame is None:
        return seen_in(picture, default_framing(picture), size)
    return framed(picture, frame, size)
