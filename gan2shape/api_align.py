"""Pictures as a prior's own, for `gan2shape invert`: aligned, and judged for whether the prior knows such a thing."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.core.progress import say
from gan2shape.core.records import Observation
from gan2shape.export.face_framing import framed_face, usual_landmarks
from gan2shape.export.framing import box_of, usual_framing
from gan2shape.export.inputs import InputImage, Picture, default_framing, read_image, read_picture, seen_in
from gan2shape.measure.faces import find_face, has_faces
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.shape.photos import how_strange, read_framed
from gan2shape.shape.verdict import EDGE, OUTSIDE, verdicts_of

ALIGNMENTS = ("none", "auto", "box")
SENTENCES = {
    EDGE: "This picture lies at the edge of what the prior knows: compare the result with it.",
    OUTSIDE: "Warning: this picture lies outside what the prior knows. The result is the prior's own picture, bent "
    "until it looks like this one.",
}


@dataclass(frozen=True)
class Alignment:
    """How a picture is cut out."""

    kind: str = "none"  # of ALIGNMENTS: the middle square; by mask, face or what stands out; by mask or a given box
    mask: Path | None = None  # of the object
    box: tuple[float, float, float, float] | None = None  # left, top, width, height of the object, pixels

    def check(self) -> None:
        """Raises UserError for parts that do not go together."""
        if self.kind not in ALIGNMENTS:
            raise UserError(f"unknown alignment {self.kind!r}{nearest(self.kind, ALIGNMENTS)}")
        if self.kind == "box" and (self.mask is None) == (self.box is None):
            raise UserError("--align box needs either --box LEFT,TOP,WIDTH,HEIGHT or --object-mask MASK.")
        if self.box is not None and self.kind != "box":
            raise UserError(f"--box belongs to --align box, not to {self.kind}: leave it away.")
        if self.mask is not None and self.kind == "none":
            raise UserError("--object-mask needs --align auto or box.")


def parse_box(text: str) -> tuple[float, float, float, float]:
    """`LEFT,TOP,WIDTH,HEIGHT` in pixels. Raises UserError for anything else."""
    try:
        left, top, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{text!r} is no box: write LEFT,TOP,WIDTH,HEIGHT in pixels, as 40,30,200,120.") from error
    if not all(math.isfinite(number) for number in (left, top, width, height)):
        raise UserError(f"{text!r} is no box: its four numbers have to be finite.")
    if not (width > 0 and height > 0):
        raise UserError(f"the box {text} is empty: width and height have to be above 0.")
    return left, top, width, height


def read_aligned(path: Path, size: int, generator: MaskedGenerator, alignment: Alignment) -> InputImage:
    """The picture at `path` as `size` x `size`, cut out as the alignment says.

    auto: by the mask or an alpha channel; without either, a picture that the prior knows stays as it is, and of another
    one the largest face (where the prior shows faces, and the extra `face` is installed) or what stands out is cut out
    where that brings it nearer to the prior. Raises UserError for files and boxes that cannot be used.
    """
    if alignment.kind == "none":
        return read_image(path, size)
    picture = read_picture(path, size, alignment.mask)
    if alignment.box is not None:
        return _boxed(picture, alignment.box, size, generator)
    if picture.cover is None:
        plain = seen_in(picture, default_framing(picture), size)
        before = how_strange(plain, generator)
        face = None if before is not None and before <= 1 else _by_face(picture, size, generator)
        after = None if face is None else how_strange(face, generator)
        if face is not None and (before is None or after < before):
            return face
    return read_framed(path, size, generator, alignment.mask)


def _boxed(
    picture: Picture, box: tuple[float, float, float, float], size: int, generator: MaskedGenerator
) -> InputImage:
    """The square in which the box has the place and size of the prior's objects; tight around it where that is not
    known.
    """
    left, top, width, height = (side / picture.factor for side in box)
    rows, columns = picture.colour.shape[-2:]
    cover = torch.zeros_like(picture.colour[:, :1])
    first, last = (max(0, round(top)), max(0, round(left))), (max(0, round(top + height)), max(0, round(left + width)))
    cover[..., first[0] : last[0], first[1] : last[1]] = 1.0
    if box_of(cover) is None:
        raise UserError(f"the box lies outside the picture, which has {columns} x {rows} pixels.")
    frame = generator.prior.calibration.frame
    framing = default_framing(replace(picture, cover=cover)) if frame is None else usual_framing(cover, frame)
    return seen_in(replace(picture, cover=None), framing, size)


def _by_face(picture: Picture, size: int, generator: MaskedGenerator) -> InputImage | None:
    """The picture cut out by its face; None where that is no way for this picture, prior or installation."""
    if not has_faces():
        return None
    usual = usual_landmarks(generator.prior)
    face = None if usual is None else find_face(picture.colour)
    return None if face is None else framed_face(picture, face, usual, size)


def warned(picture: InputImage, generator: MaskedGenerator) -> str | None:
    """Whether the prior knows such a picture: inside, edge or outside (docs/trust.md), said unless it is the first;
    None where nothing can tell.
    """
    image = picture.image.to(generator.prior.w_mean.device)
    has_mask = picture.mask is not None
    mask = picture.mask.to(image) if has_mask else torch.ones_like(image[:, :1])
    seen = Observation(image, mask, generator.prior.w_mean[None], is_inverted=True, has_given_mask=has_mask)
    (verdict,) = verdicts_of([seen], generator)
    if verdict is not None and verdict.level in SENTENCES:
        say(SENTENCES[verdict.level])
    return None if verdict is None else verdict.level
