"""Photos as a prior's own images are: the object cut out, scaled and centred to its mask, on the prior's background.

A generator has only seen objects of one size in one place before one background (`core.records.UsualFrame`). A picture
that shows its object like that already stays as it is, bit for bit; another one is cut along a square in which the
mask's box has the usual size and place, and its surroundings are replaced.
"""

from dataclasses import replace

from jaxtyping import Bool, Float
from torch import Tensor

from gan2shape.core.records import UsualFrame
from gan2shape.export.inputs import Framing, InputImage, Picture, default_framing, seen_in
from gan2shape.scene.canvas import widen_mask

INSIDE = 0.5  # level of a mask from which a pixel belongs to its box


def box_of(mask: Float[Tensor, "1 1 H W"]) -> tuple[float, float, float] | None:
    """(middle x, middle y, longer side) of the box around the pixels of a mask, in pixels; None for an empty one."""
    inside = mask[0, 0] > INSIDE
    rows, columns = (inside.any(axis).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        return None
    left, top = columns[0].item(), rows[0].item()
    right, bottom = columns[-1].item() + 1, rows[-1].item() + 1
    return (left + right) / 2, (top + bottom) / 2, float(max(right - left, bottom - top))


def is_framed(mask: Float[Tensor, "1 1 H W"], framing: Framing, frame: UsualFrame) -> bool:
    """Whether the object of a mask has a usual size and place in this square."""
    box = box_of(mask)
    if box is None:
        return False
    x, y, side = box
    across, down = (x - framing.left) / framing.size, (y - framing.top) / framing.size
    away = max(abs(across - frame.centre[0]), abs(down - frame.centre[1]))
    return frame.size[0] <= side / framing.size <= frame.size[2] and away <= frame.shift


def usual_framing(mask: Float[Tensor, "1 1 H W"], frame: UsualFrame) -> Framing:
    """The square, in whole pixels, in which the object of a mask (which is not empty) has the usual size and place. It
    may reach over the edges.
    """
    x, y, side = box_of(mask)
    size = max(1.0, float(round(side / frame.size[1])))
    return Framing(float(round(x - frame.centre[0] * size)), float(round(y - frame.centre[1] * size)), size)


def around(mask: Float[Tensor, "1 1 S S"]) -> Bool[Tensor, "1 1 S S"]:
    """The pixels in which there is nothing of the object, nor of its rim."""
    return widen_mask(mask) < INSIDE


def is_on_background(image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"], frame: UsualFrame) -> bool:
    """Whether what surrounds the object is the prior's background, nearly."""
    surroundings = around(mask).expand_as(image)
    if not bool(surroundings.any()):
        return True
    off = (image - image.new_tensor(frame.background)[:, None, None]).abs()
    return off[surroundings].mean().item() <= frame.background_spread


def framed(picture: Picture, frame: UsualFrame, size: int) -> InputImage:
    """A picture with its mask as the prior's own images are: as it is where it is so already. A mask of all pixels says
    nothing of the object's size, and leaves the picture as it is too.

    Raises UserError where the mask shows hardly anything.
    """
    framing = default_framing(picture)
    if bool((picture.cover > INSIDE).all()):
        return seen_in(picture, framing, size)
    if not is_framed(picture.cover, framing, frame) and box_of(picture.cover) is not None:
        framing = usual_framing(picture.cover, frame)
    found = seen_in(picture, framing, size)
    if is_on_background(found.image, found.mask, frame):
        return found
    return replace(found, image=on_background(found.image, found.mask, frame))


def on_background(
    image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"], frame: UsualFrame
) -> Float[Tensor, "1 3 S S"]:
    """The object alone over the prior's background."""
    return mask * image + (1 - mask) * image.new_tensor(frame.background)[:, None, None]
