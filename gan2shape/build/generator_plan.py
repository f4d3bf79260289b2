"""What `gan2shape build --generator` is asked, and what it is going to do: steps, seconds, disk.

One pass of the generator is timed on this machine. The rest comes from known rates of one CPU core, scaled with the
number of pixels; on a GPU it is quicker than the plan says.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from gan2shape.build.costs import (
    CHECKPOINT_BYTES_PER_WEIGHT,
    FIT_STEP_S,
    JOINT_STEP_S,
    PACK_BYTES_PER_WEIGHT,
    SCENE_WEIGHTS,
    SLANT_S,
    pixels,
)
from gan2shape.build.encoder import ImageEncoderPlan
from gan2shape.build.foreground import ForegroundConfig
from gan2shape.build.plan import BuildPlan, PlannedStep
from gan2shape.core.compose import compose
from gan2shape.core.config import Finite, ShapeConfig, need
from gan2shape.core.errors import UserError
from gan2shape.core.requests import refuse_options
from gan2shape.nn.image_encoder import ENCODER_NAME
from gan2shape.nn.layers import n_parameters
from gan2shape.prior.made import MASK_NAME, MadePack
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.ranges import N_READ
from gan2shape.prior.scene import NETWORK_NAME
from gan2shape.shape.estimate import LONG_S, ON_GPU, RECOMPUTED, WITH_GRADIENT, named_device, seconds_of
from gan2shape.shape.pretrain import PretrainConfig

STEPS = (MASK_NAME, ENCODER_NAME, NETWORK_NAME, "card")
NOTES = {
    MASK_NAME: "object masks, ranges of views and lights, as `gan2shape prior`",
    ENCODER_NAME: "image encoder, taught by the generator's own samples",
    NETWORK_NAME: "depth, view and light networks",
    "card": "what the encoder is worth, how samples frame their object",
}
CLUSTERS_S = 60.0  # of the mask step, beside passes of the generator
ENCODER_IMAGE_S = 0.008  # a training step of the encoder, for each image of 64 x 64
FEATURES_IMAGE_S = 0.008  # more where images are compared
SLANT_PASSES = 12  # passes of the generator for each object whose slant is chosen
CARD_IMAGES = 256
LEAST_RESOLUTION = 64  # masks are learnt at it
SHORTER_JOINT = 500  # joint steps of a round that is shorter


@dataclass(frozen=True)
class GeneratorBuildSizes(Finite):
    """How much each step does: `key=value` of `gan2shape build --generator`."""

    resolution: int = 64  # at which the pack works; at most the generator's own
    foreground: ForegroundConfig = field(default_factory=ForegroundConfig)
    encoder: ImageEncoderPlan = field(default_factory=ImageEncoderPlan)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)

    def check(self) -> None:
        size = self.resolution
        is_fit = size >= LEAST_RESOLUTION and size & (size - 1) == 0
        need(is_fit, f"resolution={size} has to be a power of two of at least {LEAST_RESOLUTION}")


@dataclass(frozen=True)
class GeneratorBuildRequest:
    """The pack of one custom generator."""

    generator: Path  # any StyleGAN2 checkpoint
    category: str | None = None  # whose ranges, light strengths and depth scale; of its card or of `prior` unless given
    out: Path | None = None  # folder of the pack [beside the generator, under the hash of its contents]
    class_index: int | None = None
    device: str = "auto"
    settings: tuple[str, ...] = ()  # key=value of `GeneratorBuildSizes`
    copy: bool = False  # keep a copy of the generator's file in the pack
    force: bool = False  # make everything anew
    dry_run: bool = False  # plan and stop

    def sizes(self) -> GeneratorBuildSizes:
        """Raises UserError for settings that `GeneratorBuildSizes` does not have."""
        refuse_options(self.settings, ("kimg", "device", "images"))
        return compose(GeneratorBuildSizes, overrides=self.settings)


def plan_generator(
    request: GeneratorBuildRequest,
    folder: Path,
    made: MadePack | None,
    has_masks: bool,
    opened: MaskedGenerator,
    config: ShapeConfig,
) -> BuildPlan:
    """Which steps are done, and what the others cost. `opened`: the generator at the pack's resolution."""
    done = {} if made is None else {name: "done" for name in STEPS if name in made.networks}
    if has_masks:
        done[MASK_NAME] = "done"
    if made is not None and made.is_finished:
        done["card"] = "done"
    if ENCODER_NAME in opened.prior.networks:
        done[ENCODER_NAME] = "the generator's file has one"
    sizes, forward_s = request.sizes(), 0.0
    if len(done) < len(STEPS):
        latents = opened.prior.w_mean.expand(2, -1)
        with torch.no_grad():
            forward_s = seconds_of(lambda: opened.prior.generator.synthesis(latents), latents.device) / 2
    steps = []
    for name in STEPS:
        if name in done:
            steps.append(PlannedStep(name, False, done[name]))
            continue
        seconds, disk = COSTS[name](sizes, forward_s, opened, config)
        steps.append(PlannedStep(name, True, NOTES[name], round(seconds, 1), disk))
    plan = BuildPlan(folder, folder / "work", tuple(steps))
    if not plan.to_do:
        return plan
    return replace(plan, closing=(rates_of(plan, sizes, opened.resolution, opened.prior.w_mean.device),))


def rates_of(plan: BuildPlan, sizes: GeneratorBuildSizes, resolution: int, device: torch.device) -> str:
    """Which device the plan's times are for, and what would make a long build shorter."""
    timed = f"Passes of the generator were timed on {named_device(device)}; the rest are rates of one CPU core"
    sentence, ways = f"{timed}{'' if device.type == 'cpu' else ', and it will be quicker'}.", []
    if plan.seconds < LONG_S:
        return sentence
    if NETWORK_NAME in plan.to_do and sizes.pretrain.n_joint > SHORTER_JOINT:
        ways.append(f"pretrain.n_joint={SHORTER_JOINT}")
    if resolution > LEAST_RESOLUTION:
        ways.append(f"resolution={LEAST_RESOLUTION}")
    if device.type == "cpu":
        ways.append(ON_GPU)
    return f"{sentence} Shorter: {', or '.join(ways)}." if ways else sentence


def _mask_cost(
    sizes: GeneratorBuildSizes, forward_s: float, opened: MaskedGenerator, config: ShapeConfig
) -> tuple[float, int]:
    n = sizes.foreground.n_samples + sizes.foreground.n_fresh + N_READ
    return n * forward_s + CLUSTERS_S, 0


def _encoder_cost(
    sizes: GeneratorBuildSizes, forward_s: float, opened: MaskedGenerator, config: ShapeConfig
) -> tuple[float, int]:
    plan, unit = sizes.encoder, pixels(opened.resolution)
    is_sized = opened.prior.generator.config.resolution > opened.resolution
    passes = WITH_GRADIENT + (RECOMPUTED if is_sized else 0.0)
    learnt = plan.n_steps * plan.batch * ENCODER_IMAGE_S * unit
    seen = plan.n_image_steps * plan.image_batch
    compared = seen * (passes * forward_s + (ENCODER_IMAGE_S + FEATURES_IMAGE_S) * unit)
    disk = plan.n_samples * 3 * opened.resolution**2 + n_parameters(opened.prior.generator.mapping)
    return plan.n_samples * forward_s + learnt + compared, disk


def _scene_cost(
    sizes: GeneratorBuildSizes, forward_s: float, opened: MaskedGenerator, config: ShapeConfig
) -> tuple[float, int]:
    plan = sizes.pretrain
    n_rounds = 1 + len(config.initial.pretraining_depth_scales)
    steps = plan.n_fit_objects * SLANT_S + plan.n_fit * FIT_STEP_S + n_rounds * plan.n_joint * JOINT_STEP_S
    passes = 2 * plan.n_objects + plan.n_fit_objects * SLANT_PASSES
    passes += n_rounds * plan.n_joint * plan.batch * plan.n_views
    disk = SCENE_WEIGHTS * (PACK_BYTES_PER_WEIGHT + CHECKPOINT_BYTES_PER_WEIGHT)
    return steps * pixels(opened.resolution) + passes * forward_s, disk


def _card_cost(
    sizes: GeneratorBuildSizes, forward_s: float, opened: MaskedGenerator, config: ShapeConfig
) -> tuple[float, int]:
    return CARD_IMAGES * forward_s, 0


COSTS = {  # step -> (seconds, bytes of disk)
    MASK_NAME: _mask_cost,
    ENCODER_NAME: _encoder_cost,
    NETWORK_NAME: _scene_cost,
    "card": _card_cost,
}


def require_buildable(request: GeneratorBuildRequest, opened: MaskedGenerator) -> None:
    """Raises UserError for a generator that has its own scene networks already."""
    if NETWORK_NAME in opened.prior.networks:
        raise UserError(
            f"{request.generator} holds depth, view and light networks already: use it as it is, with "
            f"`gan2shape run --generator {request.generator}`."
        )
