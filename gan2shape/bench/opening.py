"""Which generator a benchmark measures: the category's own, or a checkpoint in its place.

The exam's images have one resolution. A larger generator is averaged to it. A smaller one sees the images averaged to
its own, and its depth is enlarged to be scored; one below LEAST_SIZE cannot be measured. Masks have to come from a
network, since no user marks the object of each image.
"""

from gan2shape.bench.exam import LEAST_SIZE, exam_size
from gan2shape.bench.requests import BenchRequest
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import say
from gan2shape.core.resources import known_categories
from gan2shape.prior.masked_generator import MaskedGenerator, require_mask
from gan2shape.prior.open import RESOLUTION_KEY, estimate_of, open_prior


def exam_category(request: BenchRequest) -> str:
    """Whose exam is used: the named category's, else the one that `gan2shape prior` or `build` noted for the generator.

    Raises UserError where a generator comes with neither.
    """
    if request.category is not None or request.generator is None:
        return request.category or ShapeConfig.category
    kept = estimate_of(request.generator, request.class_index)
    if kept is None or kept.category is None:
        raise UserError(
            f"No category names the exam with which {request.generator} is to be measured: "
            f"give --category (known: {', '.join(known_categories())})."
        )
    return kept.category


def open_measured(request: BenchRequest) -> tuple[MaskedGenerator, ShapeConfig]:
    """The generator that is measured, at most at the resolution of the category's exam, and its configuration.

    Raises UserError for weights or overrides that cannot be used, for a generator below LEAST_SIZE pixels, and for one
    without a mask network.
    """
    category, path, overrides = exam_category(request), request.generator, request.overrides
    further = {"device": request.device, "class_index": request.class_index}
    if path is None:
        return open_prior(category, None, request.preset, overrides, **further)
    resolution = exam_size(category)
    overrides = (f"{RESOLUTION_KEY}{resolution}", *overrides)
    opened, config = open_prior(category, path, request.preset, overrides, **further)
    if not LEAST_SIZE <= config.render.resolution <= resolution:
        own = opened.prior.generator.config.resolution
        cause = (
            f"it generates {own} x {own}"
            if own < LEAST_SIZE
            else f"render.resolution={config.render.resolution} was given"
        )
        raise UserError(f"{path} cannot be measured with an exam of {resolution} x {resolution} pixels: {cause}.")
    require_mask(opened)
    for note in opened.notes:
        say(note)
    if opened.prior.encoder is None:
        say("Without an image encoder: inversions start from random samples, projections from the input's latent.")
    return opened, config
