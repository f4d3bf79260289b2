"""The categories that exist. A category is an entry of this dict, nothing else."""

from gan2shape.core.errors import UserError
from gan2shape.synth import building, car, car2, face, head, ict
from gan2shape.synth.objects import CategorySpec

CATEGORIES: dict[str, CategorySpec] = {
    "building": building.SPEC,
    "car": car.SPEC,
    "car2": car2.SPEC,
    "face": face.SPEC,
    "head": head.SPEC,
}
EXAM_ONLY: dict[str, CategorySpec] = {  # what stands in for a category in exams of shapes that no training has drawn
    "building": building.HELD_OUT,
    "car2": car2.HELD_OUT,
    "face": ict.SPEC,
}


def get_category(name: str) -> CategorySpec:
    """The registered category. Raises UserError for an unknown name."""
    if name not in CATEGORIES:
        raise UserError(f"There is no synthetic category '{name}'; choose one of {', '.join(sorted(CATEGORIES))}.")
    return CATEGORIES[name]
