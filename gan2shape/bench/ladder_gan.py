"""Rungs of the ladder that need a GAN: O3, O4, C and O5 (see `ladder` for the list)."""

import time
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import ExamObject
from gan2shape.bench.ladder import N_TRUE_VIEWS, VIEW_SEED_OFFSET, score
from gan2shape.bench.score import score_object_depth
from gan2shape.bench.truth import LADDER_VIEWS, TrueViews, render_truth, true_views
from gan2shape.core.config import ShapeConfig
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import Observation, Render, Scene
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.packs import Prior
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import light_in_front, normals_from_depth, shade
from gan2shape.scene.render import render_scene
from gan2shape.shape.ellipsoid import choose_slant, ellipsoid_model
from gan2shape.shape.losses import feature_distance
from gan2shape.shape.observe import observe_image
from gan2shape.shape.projection import prior_features, project_images
from gan2shape.shape.reconstruct import Reconstruction, reconstruct
from gan2shape.shape.sampling import sample_lights, sample_views
from gan2shape.shape.stages import JointOptions, joint_step, projection_step, train_encoder
from gan2shape.shape.state import ObjectState, Samples, Target, current_scene, make_target, new_state, step_rng

RUNG_C_SAMPLES = 64  # pseudo samples that rung C compares with true renders


@dataclass(frozen=True)
class Bench:
    """What every rung of this file shares for one object."""

    item: ExamObject
    observation: Observation  # the method's own inversion and mask
    target: Target
    generator: MaskedGenerator
    config: ShapeConfig
    report: Reporter = silent

    @property
    def device(self) -> torch.device:
        """Where the method works; exam objects and their truth lie on the CPU."""
        return self.observation.image.device


def open_bench(item: ExamObject, generator: MaskedGenerator, config: ShapeConfig, report: Reporter = silent) -> Bench:
    """Invert and mask an exam image as the method would."""
    observation = observe_image(item.image, generator, config, None, report)
    target = make_target(observation, generator if config.ablation.learn_from_inversion else None)
    return Bench(item, observation, target, generator, config, report)


def as_render(images: Float[Tensor, "N 3 S S"], masks: Float[Tensor, "N 1 S S"]) -> Render:
    """True renders in the place of pseudo samples (depth and coordinates are not used by the projection)."""
    empty = torch.zeros_like(masks)
    return Render(images, masks, empty, empty, images.new_zeros(len(images), *images.shape[2:], 2))


def ellipsoid_state(bench: Bench) -> tuple[ObjectState, float]:
    """New networks at the ellipsoid that the method would choose without a depth network, and its slant in degrees."""
    config, latent = bench.config, bench.observation.latent
    state = new_state(config, latent.shape[-1], bench.device)
    slant_deg = choose_slant(state, bench.target, latent, bench.generator, config, bench.report)
    return replace(state, model=ellipsoid_model(state.model, bench.observation.mask, config, slant_deg)), slant_deg


def project_given(
    bench: Bench, state: ObjectState, given: Render, n_steps: int
) -> tuple[Float[Tensor, "N 3 S S"], Float[Tensor, "N 1 S S"]]:
    """Train E on given images (rungs O3 and O4) and return their projections with masks."""
    config, steps = bench.config, bench.config.steps
    rng = step_rng(config, 1)

    def next_batch(step: int) -> Render:
        return given.pick(torch.randint(len(given.image), (steps.batch,), generator=rng).to(bench.device))

    latent, image = bench.observation.latent, bench.target.image
    train_encoder(state.encoder, next_batch, bench.target, latent, bench.generator, config, n_steps, bench.report)
    parts = [
        project_images(state.encoder, given.pick(rows), image, latent, bench.generator, config)
        for rows in torch.arange(len(given.image), device=bench.device).split(steps.batch)
    ]
    images, masks = (torch.cat(column) for column in zip(*parts, strict=True))
    return images, masks


def _from_projected(bench: Bench, given: Render, views: Tensor, lights: Tensor, started: float) -> dict[str, float]:
    """E on `given`, then step 3 with V and L estimated from nothing, from the ellipsoid the method would choose."""
    config = bench.config
    state, slant_deg = ellipsoid_state(bench)
    images, masks = project_given(bench, state, given, sum(config.steps.n_projection))
    samples = Samples(images, masks, views.to(bench.device), lights.to(bench.device))
    features = prior_features(bench.generator.prior)
    rng = step_rng(config, 2)
    joint_step(
        state.model,
        bench.target,
        samples,
        features,
        config,
        JointOptions(),
        rng,
        bench.report,
        config.steps.count("joint", 0),
    )
    with torch.no_grad():
        scores = score(bench.item, state.model.depth(bench.target.image), started)
    return {**scores, "slant_deg": slant_deg}


def rung_o3(bench: Bench) -> dict[str, float]:
    """True renders, projected by G and E."""
    began = time.perf_counter()
    truth = true_views(bench.item, N_TRUE_VIEWS, bench.item.seed + VIEW_SEED_OFFSET)
    given = as_render(truth.images.to(bench.device), truth.masks.to(bench.device))
    return _from_projected(bench, given, truth.views, truth.lights, began)


def rung_o4(bench: Bench) -> dict[str, float]:
    """Pseudo samples of the true shape through our own renderer, projected."""
    began = time.perf_counter()
    scene, camera = true_scene(bench), bench.config.render
    rng = step_rng(bench.config, 3)
    views = sample_views(N_TRUE_VIEWS, LADDER_VIEWS, rng).to(bench.device)
    lights = sample_lights(N_TRUE_VIEWS, bench.config.lights, scene.light[0], rng).to(bench.device)
    parts = [
        render_scene(scene, some_views, some_lights, camera.fov_deg, bench.target.canvas, backend=camera.backend)
        for some_views, some_lights in zip(views.split(16), lights.split(16), strict=True)
    ]
    rendered = Render(*(torch.cat([getattr(part, spec.name) for part in parts]) for spec in fields(Render)))
    return _from_projected(bench, rendered, views, lights, began)


def true_scene(bench: Bench) -> Scene:
    """The true depth with its true light, and the albedo that follows. The background plane lies at the object's
    farthest depth.
    """
    item = bench.item
    inside = item.mask > 0.5
    depth = torch.where(inside, item.depth, item.depth[inside].max()).to(bench.device)
    light = item.light.to(bench.device)
    shading = shade(normals_from_depth(depth, item.fov_deg), light)
    state = new_state(bench.config, bench.observation.latent.shape[-1], bench.device)
    return Scene(depth, state.model.networks.albedo(bench.target.surface, shading), light.new_zeros(1, 6), light)


def rung_c(bench: Bench) -> dict[str, float]:
    """Does a projection correct the wrong shape? Distances to true renders of the same view and light, before and
    after.

    `gain_*` is (pseudo - projected) / pseudo: positive when the projection is nearer to the truth than the
    pseudo sample.
    """
    began = time.perf_counter()
    config, steps, prior = bench.config, bench.config.steps, bench.generator.prior
    state, _ = ellipsoid_state(bench)
    latent, n_steps = bench.observation.latent, steps.n_projection[0]
    projection_step(state, bench.target, latent, bench.generator, config, n_steps, step_rng(config, 1), bench.report)
    scene = current_scene(state.model, bench.target, config.render.fov_deg)
    rng = step_rng(config, 4)
    views = sample_views(4 * RUNG_C_SAMPLES, config.views, rng)
    lights = sample_lights(len(views), config.lights, scene.light[0].cpu(), rng)
    front = light_in_front(lights, rotation(views[:, :3]))
    views, lights = views[front][:RUNG_C_SAMPLES], lights[front][:RUNG_C_SAMPLES]
    truth = render_truth(bench.item, views, lights)
    with torch.no_grad():
        camera, canvas = config.render, bench.target.canvas
        views, lights = views.to(bench.device), lights.to(bench.device)
        rendered = render_scene(scene, views, lights, camera.fov_deg, canvas, backend=camera.backend)
        made, _ = project_images(state.encoder, rendered, bench.target.image, latent, bench.generator, config)
    pseudo, projected = distances(rendered.image, truth, prior), distances(made, truth, prior)
    moved = (made - rendered.image).abs().mean(1, keepdim=True)
    return {
        "pseudo_l1": pseudo[0], "projected_l1": projected[0], "pseudo_features": pseudo[1],
        "projected_features": projected[1], "gain_l1": 1 - projected[0] / pseudo[0],
        "gain_features": 1 - projected[1] / pseudo[1],
        "moved_l1": float((moved * rendered.mask).sum() / rendered.mask.sum()),
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


@torch.no_grad()
def distances(images: Float[Tensor, "N 3 S S"], truth: TrueViews, prior: Prior) -> tuple[float, float]:
    """(L1 inside the true masks, discriminator-feature distance) to true renders."""
    true_images, masks = truth.images.to(images.device), truth.masks.to(images.device)
    error = (images - true_images).abs().mean(1, keepdim=True)
    pixel = float((error * masks).sum() / masks.sum())
    return pixel, float(feature_distance(images, true_images, prior_features(prior)))


def real_loop(bench: Bench, report: Reporter = silent) -> tuple[dict[str, dict[str, float]], Reconstruction]:
    """(scores of each scene on the way (`Reconstruction.names`), with the seconds up to there, the reconstruction)."""
    began = time.perf_counter()
    seconds: list[float] = []
    made = reconstruct(
        bench.observation,
        bench.generator,
        bench.config,
        report,
        on_scene=lambda scene: seconds.append(time.perf_counter() - began),
    )
    item = bench.item
    scores = [score_object_depth(item, scene.depth) for scene in made.scenes]
    named = zip(made.names, scores, seconds, strict=True)
    return {name: {**one, "seconds": until} for name, one, until in named}, made


def rung_o5(bench: Bench) -> dict[str, dict[str, float]]:
    """The real loop."""
    return real_loop(bench, bench.report)[0]


RUNGS = {"O3": rung_o3, "O4": rung_o4, "C": rung_c, "O5": rung_o5}
