"""Training encoders and restorers for a prior: requests in, files out."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from gan2shape.build import alae, classics, encoders, restorers
from gan2shape.build.damages import require_task
from gan2shape.core.compose import compose, nearest
from gan2shape.core.config import Finite
from gan2shape.core.errors import UserError
from gan2shape.core.locks import locked
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import RunResult, refuse_options
from gan2shape.edit.text import open_text_pair
from gan2shape.measure.attributes import bundled_attributes
from gan2shape.nn.image_encoder import ENCODER_NAME
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import Prior
from gan2shape.synth.pairs import PAIRS
from gan2shape.train.image_source import ImageSource, image_source, n_unrendered, pair_source
from gan2shape.train.session import announce

Plan = TypeVar("Plan", bound=Finite)


@dataclass(frozen=True)
class FeedForwardRequest:
    """One network of a kind for one generator."""

    kind: str  # of build.encoders.KINDS, build.restorers.KINDS or build.classics.KINDS
    out: Path
    category: str | None = None  # car unless there is a generator
    generator: Path | None = None  # a custom one: its own samples are the images, unless there are others
    data: Path | None = None  # shards of images, instead of rendered ones
    task: str | None = None  # of a restorer: what pictures go through
    resume: bool = True
    device: str = "auto"
    overrides: tuple[str, ...] = ()  # key=value of the plan
    class_index: int | None = None  # of a class-conditional `generator`


def plan_of(kinds: Mapping[str, Plan], kind: str, overrides: tuple[str, ...]) -> Plan:
    """The plan of a kind, changed. Raises UserError for an unknown kind or key, and for bad values."""
    if kind not in kinds:
        raise UserError(f"unknown kind {kind!r}{nearest(kind, kinds)}")
    return compose(type(kinds[kind]), overrides=overrides, calibration=asdict(kinds[kind]))


def train_encoder(request: FeedForwardRequest, report: Reporter = silent) -> RunResult:
    """Train an encoder into `OUT/KIND.safetensors`, or go on with it.

    A custom generator teaches with its own samples unless there are shards. Raises UserError for settings, images and
    checkpoints that cannot be used.
    """
    began, plan = time.perf_counter(), plan_of(encoders.KINDS, request.kind, request.overrides)
    prior, category = opened(request)
    if plan.task not in PAIRS:
        require_task(plan.task, prior.resolution)
    elif request.generator is not None and request.data is None:
        raise UserError(f"task={plan.task} needs pairs of a custom generator's objects: give a folder with --data.")
    needs_reader = plan.identity_weight > 0
    reader = bundled_attributes(category, prior.w_mean.device) if needs_reader else None
    embedding = None if reader is None else (lambda images: reader(images)[3])
    with locked(request.out):
        is_own = request.generator is not None and request.data is None
        kind = plan.task if plan.task in PAIRS else "images"
        seconds = plan.seconds(prior.resolution)
        if not is_own:
            announced(request, category, prior, plan.n_images, seconds, report, kind)
        if plan.task in PAIRS:
            where = (prior.resolution, request.out, request.data)
            source = pair_source(category, plan.task, plan.n_images, *where, report)
        else:
            source = None if is_own else images_for(request, category, prior, plan.n_images, report)
        path = encoders.train_encoder(
            request.kind, prior, source, plan, request.out, embedding=embedding, resume=request.resume, report=report
        )
    return RunResult(request.out, {"encoder": path}, seconds=time.perf_counter() - began)


def train_alae(request: FeedForwardRequest, report: Reporter = silent) -> RunResult:
    """Train a generator and its encoder together, from those of a pack: `OUT/pack` and `OUT/alae.safetensors`.

    Raises UserError as `train_encoder` does.
    """
    began, plan = time.perf_counter(), plan_of(alae.KINDS, request.kind, request.overrides)
    prior, category = opened(request)
    if request.generator is not None and request.data is None:
        raise UserError("ALAE learns from real images: give a folder of shards with --data.")
    with locked(request.out):
        announced(request, category, prior, plan.n_images, plan.seconds(prior.resolution), report)
        source = images_for(request, category, prior, plan.n_images, report)
        files = alae.train_alae(prior, source, plan, request.out, resume=request.resume, report=report)
    return RunResult(request.out, files, seconds=time.perf_counter() - began)


def train_restorer(request: FeedForwardRequest, report: Reporter = silent) -> RunResult:
    """Train a restorer into `OUT/KIND.safetensors`, or go on with it. Raises UserError as `train_encoder` does."""
    known = {**restorers.KINDS, **classics.KINDS}
    began, plan = time.perf_counter(), plan_of(known, request.kind, request.overrides)
    plan = plan if request.task is None else replace(plan, task=request.task)
    prior, category = opened(request)
    if request.generator is not None and request.data is None:
        raise UserError("A restorer of a custom generator needs clean images: give a folder of shards with --data.")
    if isinstance(plan, classics.ClassicPlan):  # before any picture is rendered
        classics.require_fitting_task(request.kind, plan.task, prior.resolution)
        seconds = plan.seconds(request.kind, prior.resolution)
    else:
        seconds = plan.seconds(prior.resolution)
        restorers.restorer_config(request.kind, prior, plan)
    with locked(request.out):
        announced(request, category, prior, plan.n_images, seconds, report)
        source = images_for(request, category, prior, plan.n_images, report)
        further = {"resume": request.resume, "report": report}
        if isinstance(plan, classics.ClassicPlan):
            device, metric = prior.w_mean.device, prior.discriminator
            files = classics.train_classic(request.kind, source, plan, request.out, metric, device=device, **further)
        else:
            path = restorers.train_restorer(request.kind, prior, source, plan, request.out, **further)
            files = {"restorer": path}
    return RunResult(request.out, files, seconds=time.perf_counter() - began)


def train_text(request: FeedForwardRequest, report: Reporter = silent) -> RunResult:
    """Train the toy pair of pictures and sentences of a category into `OUT/text.safetensors`, or go on with it, and
    measure it on combinations that were never said. Raises UserError for settings that cannot be used, and for a
    category of which too little can be said.
    """
    from gan2shape.build.attribute_images import n_missing_pairs, pairs_on_disk
    from gan2shape.build.attributes import FIRST_SEED, HELD_OUT_FIRST_SEED
    from gan2shape.build.captions import require_enough_to_say
    from gan2shape.build.text_pair import TextPlan, measure_text_pair, train_text_pair
    from gan2shape.synth.registry import get_category

    began = time.perf_counter()
    refuse_options(request.overrides)
    plan = compose(TextPlan, overrides=request.overrides)
    prior, category = opened(request)
    spec, size, folder = get_category(category), prior.resolution, request.data or request.out / "pairs"
    require_enough_to_say(spec)
    with locked(request.out):
        missing = n_missing_pairs(FIRST_SEED, plan.n_objects, size, folder)
        missing += n_missing_pairs(HELD_OUT_FIRST_SEED, plan.n_held_out, size, folder)
        announce(request.kind, 2 * missing, size, plan.seconds(), report)
        pairs = pairs_on_disk(category, FIRST_SEED, plan.n_objects, size, folder, report)
        trunk = prior.networks.get(ENCODER_NAME)
        device = prior.w_mean.device
        path = train_text_pair(spec, pairs, plan, request.out, trunk, request.resume, device, report)
        unseen = pairs_on_disk(category, HELD_OUT_FIRST_SEED, plan.n_held_out, size, folder, report)
        measured = measure_text_pair(open_text_pair(path, prior), spec, unseen)
    return RunResult(request.out, {"text": path}, measured, time.perf_counter() - began)


def opened(request: FeedForwardRequest) -> tuple[Prior, str]:
    """(the prior, the category whose ranges and objects go with it). Raises UserError as `open_prior` does."""
    further = {"device": request.device, "class_index": request.class_index}
    generator, config = open_prior(request.category, request.generator, **further)
    return generator.prior, config.category


def announced(
    request: FeedForwardRequest,
    category: str,
    prior: Prior,
    n_images: int,
    training_s: float,
    report: Reporter,
    kind: str = "images",
) -> None:
    """Say how long rendering and training take, where pictures have to be rendered first."""
    n = n_unrendered(category, n_images, prior.resolution, request.out, request.data, kind)
    announce(request.kind, n, prior.resolution, training_s, report)


def images_for(
    request: FeedForwardRequest, category: str, prior: Prior, n_images: int, report: Reporter
) -> ImageSource:
    """The shards that are named, or the category's objects."""
    return image_source(category, n_images, prior.resolution, request.out, request.data, report=report)
