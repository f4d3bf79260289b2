"""The loop: start from the ellipsoid, then stages of albedo, projection and joint steps, restartable after each step.

State travels as a frozen `Progress`; every step has its own random numbers (seed and step index), so that a run that
was interrupted and resumed gives what an uninterrupted one gives.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gan2shape.core.config import GREATEST_SEED, RenderConfig, ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.files import write_bytes_atomic
from gan2shape.core.progress import Reporter
from gan2shape.core.records import Observation, Scene
from gan2shape.nn.scene_networks import OffsetEncoder, SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.shape.ellipsoid import ellipsoid_depth
from gan2shape.shape.gauge import keep_fine_form, restore_gauge
from gan2shape.shape.initialize import begin_pretrained
from gan2shape.shape.projection import collect, prior_features, projection_step
from gan2shape.shape.slant import choose_slant
from gan2shape.shape.stages import (
    JointOptions,
    Samples,
    Target,
    albedo_step,
    current_scene,
    joint_step,
    target_from,
)

STATE_NAME = "state.safetensors"
SAME_ORIGIN = 1e-2  # of pixels and latents that a state belongs to: a GPU repeats its drawings only nearly
STEP_NAMES = ("albedo", "projection", "joint")


@dataclass(frozen=True)
class Learner:
    """The parts that learn, and the samples that the last projection step left."""

    networks: SceneNetworks
    encoder: OffsetEncoder
    samples: Samples | None = None


@dataclass(frozen=True)
class Progress:
    """How far a run is, and what it noted on the way."""

    n_done: int = 0  # finished steps, three a stage
    slant_deg: float = 0.0  # of the ellipsoid that was chosen
    pretrained: bool = False  # whether the pack's networks took the ellipsoid's place
    losses: tuple[dict, ...] = ()  # {"stage", "step", figures}
    seconds: dict[str, float] = field(default_factory=dict)  # by step name, summed over stages


@dataclass(frozen=True)
class Outcome:
    """Scenes in the order in which they were held: the ellipsoid first, the result last."""

    scenes: tuple[Scene, ...]
    learner: Learner
    target: Target
    progress: Progress

    @property
    def names(self) -> tuple[str, ...]:
        """What each scene is: "step 1" (the ellipsoid), "pretrained" where the pack has such networks, "stage 1" …"""
        begun = ("step 1", "pretrained") if self.progress.pretrained else ("step 1",)
        return (*begun, *(f"stage {i}" for i in range(1, len(self.scenes) - len(begun) + 1)))


def make_target(observation: Observation, generator: MaskedGenerator | None = None) -> Target:
    """The observation as the steps use it.

    With a generator, the shape is learnt from what it makes of the latent instead of from the input itself: projections
    are its drawings too, and whatever the inversion misses would otherwise be explained by crumpling the depth.
    """
    image = observation.image
    if generator is not None:
        with torch.no_grad():
            image = generator(observation.latent)[0]
    return target_from(image, observation.mask)


def textured(scene: Scene, observation: Observation, learner: Learner, target: Target, render: RenderConfig) -> Scene:
    """The learnt shape and light with the albedo of the input itself (the same scene where the inversion is exact)."""
    if target.image is observation.image or not learner.networks.explains_input:
        return scene
    shading = shade(normals_from_depth(scene.depth, render.fov_deg), scene.light)
    return replace(scene, albedo=learner.networks.albedo(make_target(observation).surface, shading))


def new_learner(config: ShapeConfig, w_dim: int, device: torch.device | str) -> Learner:
    """Networks with weights that the seed fixes; the caller's random numbers stay what they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        networks = SceneNetworks(config.render, config.networks, config.lights.mean)
        encoder = OffsetEncoder(w_dim, config.render.size, config.networks, last_scale=0.0)  # moves nothing yet
    return Learner(networks.to(device), encoder.to(device))


def step_random(config: ShapeConfig, index: int) -> torch.Generator:
    """Random numbers of one step."""
    return torch.Generator().manual_seed((1_000_003 * config.seed + index) % GREATEST_SEED)


def learn(
    observation: Observation,
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter,
    state_dir: Path | None = None,
    on_scene: Callable[[Scene], None] | None = None,
) -> Outcome:
    """Run all stages. With `state_dir` the state is written after each step, and a state found there is continued.
    `on_scene` is told each scene as soon as it is held, but those of a continued state.

    Raises UserError when the loss is not finite or the state there belongs to another configuration.
    """
    target = make_target(observation, generator if config.learn_from_inversion else None)
    learner = new_learner(config, observation.latent.shape[-1], observation.image.device)
    origin = {"image": observation.image, "w_mean": generator.prior.w_mean}  # what a state belongs to
    progress, scenes = Progress(), ()
    if state_dir is not None and (state_dir / STATE_NAME).is_file():
        learner, progress, scenes = load_state(state_dir / STATE_NAME, learner, config, origin)
    if not scenes:
        progress = start(learner, target, observation, generator, config, report)
        scenes = hold((), learner, target, config, on_scene)
        known = pretrained_networks(generator.prior, config) if config.prior_shape.pretrained else None
        if known is not None:
            began = time.perf_counter()
            begin_pretrained(learner.networks, known, target, generator, config)
            scenes = hold(scenes, learner, target, config, on_scene)
            spent = progress.seconds["start"] + time.perf_counter() - began
            progress = replace(progress, pretrained=True, seconds={"start": spent})
        if state_dir is not None:
            save_state(state_dir / STATE_NAME, learner, progress, scenes, config, origin)
    n_stages = config.stages_from(progress.pretrained)
    for index in range(progress.n_done, len(STEP_NAMES) * n_stages):
        stage, name = divmod(index, len(STEP_NAMES))
        notes: list[dict] = []
        noted = _note(report, f"{STEP_NAMES[name]} {stage + 1}/{n_stages}", notes)
        began = time.perf_counter()
        learner = run_step(learner, target, observation, generator, config, index, noted, progress.pretrained)
        spent = time.perf_counter() - began
        if STEP_NAMES[name] == "joint":
            scenes = hold(scenes, learner, target, config, on_scene)
        seconds = {**progress.seconds, STEP_NAMES[name]: progress.seconds.get(STEP_NAMES[name], 0.0) + spent}
        progress = replace(progress, n_done=index + 1, losses=progress.losses + tuple(notes), seconds=seconds)
        if state_dir is not None:
            save_state(state_dir / STATE_NAME, learner, progress, scenes, config, origin)
    final = textured(scenes[-1], observation, learner, target, config.render)
    return Outcome((*scenes[:-1], final), learner, replace(target, canvas=make_target(observation).canvas), progress)


def hold(
    scenes: tuple[Scene, ...],
    learner: Learner,
    target: Target,
    config: ShapeConfig,
    on_scene: Callable[[Scene], None] | None,
) -> tuple[Scene, ...]:
    """The scenes so far and the present one."""
    scene = current_scene(learner.networks, target, config.render)
    if on_scene is not None:
        on_scene(scene)
    return (*scenes, scene)


def start(
    learner: Learner,
    target: Target,
    observation: Observation,
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter,
) -> Progress:
    """Put the depth at the ellipsoid: the slant that the GAN finds most plausible, where several are to be tried."""
    began = time.perf_counter()
    slants = config.prior_shape.slants_deg
    slant_deg = slants[0]
    if len(slants) > 1:
        slant_deg = choose_slant(
            learner.networks, learner.encoder, target, observation.latent, generator, config, report
        )
    learner.networks.start_from(ellipsoid_depth(observation.mask, config.prior_shape, config.render.fov_deg, slant_deg))
    return Progress(slant_deg=slant_deg, seconds={"start": time.perf_counter() - began})


def run_step(
    learner: Learner,
    target: Target,
    observation: Observation,
    generator: MaskedGenerator,
    config: ShapeConfig,
    index: int,
    report: Reporter,
    pretrained: bool = False,
) -> Learner:
    """Step number `index` of the whole run, which began at the networks of a pack (`pretrained`) or at an ellipsoid."""
    stage, name = divmod(index, len(STEP_NAMES))
    steps, random, prior = config.steps, step_random(config, index), generator.prior
    features = prior_features(prior)
    if STEP_NAMES[name] == "albedo":
        albedo_step(learner.networks, target, features, config, report)
        return learner
    if STEP_NAMES[name] == "projection":
        n_steps = steps.n_projection[min(stage, len(steps.n_projection) - 1)]
        latent = observation.latent
        projection_step(learner.encoder, learner.networks, target, latent, prior, config, n_steps, random, report)
        samples = collect(learner.encoder, learner.networks, target, latent, prior, generator, config, random)
        return replace(learner, samples=samples)
    options = JointOptions.of(steps)
    joint_step(learner.networks, target, learner.samples, features, config, options, random, report)
    if steps.restore_gauge:
        restore_gauge(learner.networks, target.image, target.canvas.mask)
    if pretrained and config.prior_shape.kept_form > 0:
        known = config.prior_shape
        keep_fine_form(learner.networks, target.image, target.canvas.mask, known.kept_form, known.kept_share)
    return learner


def _note(report: Reporter, stage: str, notes: list[dict]) -> Reporter:
    def noted(_: str, step: int, n_steps: int, **figures: float) -> None:
        notes.append({"stage": stage, "step": step, **figures})
        report(stage, step, n_steps, **figures)

    return noted


# ------------------------------------------------------------------------------------------------------------- state


def save_state(
    path: Path,
    learner: Learner,
    progress: Progress,
    scenes: tuple[Scene, ...],
    config: ShapeConfig,
    origin: dict[str, Tensor],
) -> None:
    """Everything a restart needs, whole or not at all. `origin`: tensors that tell inputs and generators apart."""
    tensors = {f"networks/{name}": tensor for name, tensor in learner.networks.state_dict().items()}
    tensors |= {f"encoder/{name}": tensor for name, tensor in learner.encoder.state_dict().items()}
    tensors |= {f"origin/{name}": tensor for name, tensor in origin.items()}
    if learner.samples is not None:
        tensors |= {f"samples/{name}": getattr(learner.samples, name) for name in Samples.__dataclass_fields__}
    for i, scene in enumerate(scenes):
        tensors |= {f"scenes/{i}/{name}": getattr(scene, name) for name in Scene.__dataclass_fields__}
    notes = {"n_done": progress.n_done, "slant_deg": progress.slant_deg, "pretrained": progress.pretrained,
             "losses": progress.losses, "seconds": progress.seconds, "n_scenes": len(scenes),
             "config": fingerprint(config)}  # fmt: skip
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes_atomic(path, save(plain, {"notes": json.dumps(notes)}))


def load_state(
    path: Path, learner: Learner, config: ShapeConfig, origin: dict[str, Tensor]
) -> tuple[Learner, Progress, tuple[Scene, ...]]:
    """The inverse of `save_state`. Raises UserError for a damaged file and for another configuration, input or
    generator.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            notes = json.loads(stored.metadata()["notes"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"The state {path} is damaged: start anew without --resume.") from error
    if notes["config"] != fingerprint(config):
        raise UserError(f"The state {path} belongs to other settings: resume with the same ones, or start anew.")
    device = learner.networks.light_mean.device

    def part(prefix: str) -> dict[str, Tensor]:
        # Cloned: what is read stays mapped to the file, which the next step replaces; Windows would not let it.
        own = {name: value for name, value in tensors.items() if name.startswith(prefix)}
        return {name[len(prefix) :]: value.clone().to(device) for name, value in own.items()}

    stored = part("origin/")
    for name, tensor in origin.items():
        known = stored.get(name, tensor.new_empty(0))
        if known.shape != tensor.shape or not torch.allclose(known, tensor, atol=SAME_ORIGIN):
            raise UserError(f"The state {path} belongs to another input or other weights: start anew without --resume.")
    learner.networks.load_state_dict(part("networks/"))
    learner.encoder.load_state_dict(part("encoder/"))
    samples = Samples(**part("samples/")) if part("samples/") else None
    scenes = tuple(Scene(**part(f"scenes/{i}/")) for i in range(notes["n_scenes"]))
    progress = Progress(
        notes["n_done"], notes["slant_deg"], notes["pretrained"], tuple(notes["losses"]), notes["seconds"]
    )
    return replace(learner, samples=samples), progress, scenes


def fingerprint(config: ShapeConfig) -> str:
    """What must be equal for a state to be continued. `n_stages` may grow: the stages that are there stay valid."""
    return repr(replace(config, n_stages=None))
