"""Groups of exam objects that have rows of their own in tables: by heading, and by what is stored about each object."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch

from gan2shape.bench.exam import LABELS, ExamObject
from gan2shape.core.errors import UserError
from gan2shape.scene.camera import rotation

HEADING_EDGES_DEG = 0, 15, 30, 65, 115, 150, 180  # of how far the front is turned from the camera, either way
HEADING_BINS = tuple(f"{low}-{high}" for low, high in pairwise(HEADING_EDGES_DEG))
GROUPINGS = "heading", "style", *LABELS


@dataclass(frozen=True)
class Group:
    """Some objects of a split."""

    name: str  # `heading 15-30`
    indices: tuple[int, ...]


def groups_of(items: list[ExamObject], grouping: str) -> list[Group]:
    """The groups that are not empty. Raises UserError for a grouping that these objects do not have."""
    known = [name for name in GROUPINGS if name == "heading" or name in items[0].labels]
    if grouping not in known:
        raise UserError(
            f"The {items[0].category} exam has nothing stored by {grouping!r}: group by {', '.join(known)}."
        )
    values = [heading_bin(item) if grouping == "heading" else item.labels[grouping] for item in items]
    order = HEADING_BINS if grouping == "heading" else sorted(set(values))
    groups = [(name, tuple(i for i, value in enumerate(values) if value == name)) for name in order]
    return [Group(f"{grouping} {name}", indices) for name, indices in groups if indices]


def heading_bin(item: ExamObject) -> str:
    """`15-30`: between which edges the size of the heading lies, in degrees."""
    return HEADING_BINS[sum(heading_deg(item) >= edge for edge in HEADING_EDGES_DEG[1:-1])]


def heading_deg(item: ExamObject) -> float:
    """Angle about the object's own vertical axis between its front and the camera, 0 to 180 degrees."""
    x, _, z = (rotation(item.view[:, :3])[0].T @ torch.tensor([0.0, 0.0, -1.0])).tolist()
    return math.degrees(math.atan2(abs(x), -z))
