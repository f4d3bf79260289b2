"""Training what the method is compared with: requests in, files out."""

import time

from gan2shape.api_feedforward import FeedForwardRequest, plan_of
from gan2shape.bench.baselines.learn import KINDS, BaselinePlan, train_baseline
from gan2shape.bench.baselines.taught import TrueDepths, true_depths
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import choose_device
from gan2shape.core.errors import UserError
from gan2shape.core.locks import locked
from gan2shape.core.network_files import read_network_card
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import RunResult
from gan2shape.core.resources import pack_dir
from gan2shape.nn.depth_baselines import TAUGHT
from gan2shape.nn.feature_metric import FeatureMetric
from gan2shape.prior.open import open_prior
from gan2shape.train.image_source import ImageSource, image_source


def learn_baseline(request: FeedForwardRequest, report: Reporter = silent) -> RunResult:
    """Train a baseline into `OUT/KIND.safetensors`, or go on with it; its metrics are parts of flat on validation
    objects.

    Raises UserError for settings and images that cannot be used, and for unsup3d where the category has no pack whose
    discriminator could compare.
    """
    began, plan = time.perf_counter(), plan_of(KINDS, request.kind, request.overrides)
    category = request.category or ShapeConfig.category
    metric = _metric(request, category, plan)
    with locked(request.out):
        images, device = _images(request, category, plan, report), choose_device(request.device)
        further = {"images": images, "metric": metric, "device": device, "resume": request.resume, "report": report}
        path = train_baseline(request.kind, category, plan, request.out, **further)
    measured = read_network_card(path)["validation"]
    return RunResult(request.out, {"baseline": path}, measured, time.perf_counter() - began)


def _metric(request: FeedForwardRequest, category: str, plan: BaselinePlan) -> FeatureMetric | None:
    """What compares pictures; nothing where nothing does. Raises UserError for a class that nobody would ask for."""
    if request.kind == TAUGHT or plan.feature_weight == 0:
        if request.class_index is not None:
            raise UserError("No discriminator of a class compares pictures in this training: leave out --class.")
        return None
    if request.generator is None and not pack_dir(category).is_dir():
        raise UserError(
            f"There is no pack of {category} whose discriminator compares pictures: make one with "
            f"`gan2shape build {category}`, name one with --generator, or set feature_weight=0."
        )
    further = {"device": request.device, "class_index": request.class_index}
    return open_prior(category, request.generator, **further)[0].prior.discriminator


def _images(
    request: FeedForwardRequest, category: str, plan: BaselinePlan, report: Reporter
) -> ImageSource | TrueDepths:
    where = (category, plan.n_images, plan.resolution)
    if request.kind != TAUGHT:
        return image_source(*where, request.out, request.data, report=report)
    if request.data is not None:
        raise UserError("supervised learns from true depths, which --data does not hold: leave --data out.")
    return true_depths(*where, request.out.parent / f"truth-{category}-{plan.resolution}", report)
