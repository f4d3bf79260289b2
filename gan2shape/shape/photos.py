"""From a file to the image that is explained: with its mask, framed as the prior's own images are.

A mask that is given, or an alpha channel, tells where the object is. Without either, a picture that the prior knows as
it is stays so, and one that lies outside is cut out first (export/auto_mask.py); the prior says whether that helped.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gan2shape.core.errors import UserError
from gan2shape.core.records import UsualFrame
from gan2shape.export.auto_mask import found_masks
from gan2shape.export.framing import framed
from gan2shape.export.inputs import InputImage, Picture, default_framing, read_picture, seen_in
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.shape.verdict import strangeness, trust_figures


def read_framed(
    path: Path,
    size: int,
    generator: MaskedGenerator,
    mask_path: Path | None = None,
    auto_mask: bool = False,
    find_object: bool = True,
) -> InputImage:
    """The picture at `path` as `size` x `size`, with the mask at `mask_path`, of its alpha channel or, where there is
    none, found in the picture (`auto_mask`: in any case; else only where the prior does not know the picture as it is,
    and never without `find_object`).

    Pictures are framed as the prior's images where those were measured. Raises UserError for files that cannot be used.
    """
    picture, frame = read_picture(path, size, mask_path), generator.prior.calibration.frame
    if picture.cover is not None:
        return _cut(picture, frame, size)
    plain = seen_in(picture, default_framing(picture), size)
    if not (auto_mask or find_object):
        return plain
    before = how_strange(plain, generator)
    if not auto_mask and (before is None or before <= 1):
        return plain
    covers, by = found_masks(picture.colour)
    cuts = []
    for cover in covers:
        with suppress(UserError):  # too little of it
            cuts.append(_cut(replace(picture, cover=cover, what=f"mask that {by} found"), frame, size))
    if not cuts:
        return replace(plain, notes=(*plain.notes, f"No mask was found: {by}.")) if auto_mask or not covers else plain
    judged = [(how_strange(cut, generator), cut) for cut in cuts]
    after, best = judged[0] if before is None else min(judged, key=lambda pair: pair[0])
    if not auto_mask and after >= before:
        return plain
    note = f"The object was cut out by {by} (mask.png): give its mask with --mask where that is wrong."
    return replace(best, notes=(*best.notes, note))


def _cut(picture: Picture, frame: UsualFrame | None, size: int) -> InputImage:
    return seen_in(picture, default_framing(picture), size) if frame is None else framed(picture, frame, size)


def how_strange(read: InputImage, generator: MaskedGenerator) -> float | None:
    """How far from the prior's knowledge an image lies (`verdict.strangeness`), without regard to its mask; None where
    nothing can tell.
    """
    limits = generator.prior.calibration.limits
    if not limits or read.image.shape[-1] != generator.resolution:
        return None
    figures = trust_figures(read.image.to(generator.prior.w_mean.device), generator)
    return None if figures is None else strangeness({name: value.item() for name, value in figures.items()}, limits)
