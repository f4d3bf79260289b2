"""Teaching and measuring the editing network T (`nn.editing`).

Samples of the generator, and images of training objects as its encoder guesses them, are reconstructed as preset
instant does it. Each step shows some of them in random views and lights. T has to bring G(w + T) near that render
where the input shows the surface (pixels and discriminator features), near w, and, where the pack has an attribute
network, to the heading and the light that were asked for with the same object (`edit.guided` does the same by descent,
one latent at a time). Two terms on latents alone make it a motion: there and back is nothing, and two changes add up.

The attribute network has learnt from labels. So T serves edits alone: nothing of the shape half may learn from it.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.build.shards import joined, on_disk
from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import upload
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import Render, Scene
from gan2shape.core.seeding import seeded
from gan2shape.edit.guided import in_camera
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import one_cycle
from gan2shape.measure.attributes import identity
from gan2shape.nn.editing import CHANGE, EditingConfig, EditingNetwork, within_limits
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.light import light_direction
from gan2shape.scene.render import render_scene, visible_area
from gan2shape.shape.batch import BATCH, in_one_pass, is_one_pass
from gan2shape.shape.losses import feature_distance, masked_l1
from gan2shape.shape.projection import prior_features
from gan2shape.shape.read_light import with_read_light
from gan2shape.synth.dataset import render_set

FIRST_SEED, HELD_OUT_FIRST_SEED = 100_000, 800_000
SHARD = 128  # objects in a file
GUESSED_EVERY = 2  # every second one is an image of a training object, the others are samples
TRUNCATION = (0.7, 1.0)  # psi of samples
N_GAIN, GAIN_ROUNDS, GREATEST_GAIN = 256, 3, 2.0  # objects on which the gain is found, and how
POOL_BYTES = 24  # of a pixel of an object
LEAST_OFFSET = 1e-6  # of a part: nothing moves
LEAST_AREA = 0.5  # canonical pixels that a pixel shows where it is compared


@dataclass(frozen=True)
class EditingPlan:
    """How much is reconstructed and learnt: some four minutes of one core."""

    n_objects: int = 768  # to learn from
    n_held_out: int = 64  # to measure with
    n_steps: int = 600
    batch: int = 16  # objects a step
    lr: float = 2e-3  # peak
    weight_decay: float = 1e-3
    yaw_sd_deg: float = 18.0
    pitch_sd_deg: float = 6.0
    strength: float = 0.15  # greatest change of ambient and diffuse light
    unchanged_share: float = 0.25  # of changes without another view, and of those without another light
    pixel_weight: float = 1.0
    feature_weight: float = 0.5
    heading_weight: float = 4.0  # with an attribute network, as the next two
    light_weight: float = 1.5
    identity_weight: float = 1.0
    near_weight: float = 0.05  # of the mean squared offset, in standard deviations of w
    motion_weight: float = 0.2  # of there and back, and of two changes in a row
    seed: int = 0


@dataclass(frozen=True)
class EditingPool:
    """N reconstructed objects; half precision saves memory, but for depth and latents."""

    latents: Float[Tensor, "N D"]
    images: Float[Tensor, "N 3 S S"]  # G(w)
    depth: Float[Tensor, "N 1 S S"]
    albedo: Float[Tensor, "N 3 S S"]
    light: Float[Tensor, "N 4"]
    mask: Float[Tensor, "N 1 S S"]
    background: Float[Tensor, "N 3 S S"]

    def pick(self, rows: Tensor, device: torch.device) -> "EditingPool":
        """Some of them, in single precision."""
        return EditingPool(*(upload(getattr(self, name)[rows].float(), device) for name in self.__dataclass_fields__))


def editing_config(category: str, generator: MaskedGenerator) -> ShapeConfig:
    """Preset instant of a pack. Raises UserError where it cannot do that in one pass."""
    config = compose(ShapeConfig, category, "instant", calibration=generator.prior.calibration.settings)
    config = replace(config, render=replace(config.render, resolution=generator.resolution))
    if not is_one_pass(generator, config):
        raise UserError(
            "The pack has no encoder or no depth network with which objects could be turned: run "
            f"`gan2shape build {category} --only scene` first."
        )
    return config


@torch.no_grad()
def reconstructed(category: str, seeds: list[int], generator: MaskedGenerator, config: ShapeConfig) -> EditingPool:
    """The objects of these seeds; those in which no object is found are left out."""
    prior = generator.prior
    guessed = [seed for seed in seeds if seed % GUESSED_EVERY]
    rng = torch.Generator().manual_seed(seeds[0])
    z = torch.randn(len(seeds) - len(guessed), prior.generator.config.z_dim, generator=rng)
    psi = TRUNCATION[0] + (TRUNCATION[1] - TRUNCATION[0]) * torch.rand(len(z), 1, generator=rng)
    device = prior.w_mean.device
    latents = [prior.w_mean + upload(psi, device) * (prior.generator.mapping(upload(z, device)) - prior.w_mean)]
    if guessed:
        truth = render_set(category, guessed, config.render.resolution).truth
        latents.append(prior.guess_latent(truth.image.to(device)))
    parts = [_pool_of(some, generator, config) for some in torch.cat(latents).split(BATCH)]
    return joined(parts)


def _pool_of(latents: Float[Tensor, "N D"], generator: MaskedGenerator, config: ShapeConfig) -> EditingPool:
    images = generator(latents)[0]
    found = in_one_pass(list(images.split(1)), [None] * len(images), generator, config)
    rows = [i for i, one in enumerate(found) if not isinstance(one, UserError)]
    made = [with_read_light(found[i]) for i in rows]
    columns = (
        [one.scene.depth for one in made],
        [one.scene.albedo.half() for one in made],
        [one.scene.light for one in made],
        [one.canvas.mask.half() for one in made],
        [one.canvas.background.half() for one in made],
    )
    return EditingPool(latents[rows].cpu(), images[rows].half().cpu(), *(torch.cat(one).cpu() for one in columns))


def pool_on_disk(
    category: str,
    first_seed: int,
    n: int,
    generator: MaskedGenerator,
    config: ShapeConfig,
    folder: Path,
    report: Reporter = silent,
) -> EditingPool:
    """n objects from `first_seed` on: read from shards in the folder where they are, reconstructed and written
    otherwise. Shards belong to one pack: whoever changes it empties the folder.
    """
    seeds, stem = range(first_seed, first_seed + n), folder / f"pool_{config.render.resolution}"

    def make(some: list[int]) -> EditingPool:
        return reconstructed(category, some, generator, config)

    return on_disk(EditingPool, make, seeds, SHARD, stem, report)


def sample_changes(
    own: Float[Tensor, "B 4"], plan: EditingPlan, config: ShapeConfig, rng: torch.Generator
) -> Float[Tensor, "B 6"]:
    """Random changes (`nn.editing.CHANGE`) of objects under these lights: Gaussian angles, lights whose direction is
    uniform in the pack's box. Some keep the view, some the light.
    """
    n, box = len(own), config.lights
    angles = torch.randn(n, 2, generator=rng) * torch.deg2rad(torch.tensor([plan.yaw_sd_deg, plan.pitch_sd_deg]))
    uniform, coins = torch.rand(n, 4, generator=rng), torch.rand(n, 2, generator=rng)
    strengths = plan.strength * (2 * uniform[:, :2] - 1)
    low, high = (torch.tensor([box.lx[end], box.ly[end]]) for end in (0, 1))
    directions = low + (high - low) * uniform[:, 2:]
    kept = (coins >= plan.unchanged_share).float()
    angles, strengths, directions, kept = (upload(x, own.device) for x in (angles, strengths, directions, kept))
    strengths = torch.maximum(strengths, -own[:, :2])
    light = torch.cat([strengths, directions - own[:, 2:]], 1)
    return within_limits(torch.cat([kept[:, :1] * angles, kept[:, 1:] * light], 1))


def views_and_lights(
    change: Float[Tensor, "B 6"], own: Float[Tensor, "B 4"]
) -> tuple[Float[Tensor, "B 6"], Float[Tensor, "B 4"]]:
    """What changes mean for the renderer."""
    views = torch.nn.functional.pad(change[:, [1, 0]], (0, 4))
    return views, own + change[:, 2:]


@torch.no_grad()
def shown(pool: EditingPool, change: Float[Tensor, "B 6"], config: ShapeConfig) -> tuple[Render, Tensor]:
    """(pseudo samples, where they show what the input shows of the object)."""
    views, lights = views_and_lights(change, pool.light)
    scene = Scene(pool.depth, pool.albedo, torch.zeros_like(views), pool.light)
    camera, canvas = config.render, Canvas(pool.mask, pool.background)
    made = render_scene(scene, views, lights, camera.fov_deg, canvas, backend=camera.backend)
    return made, made.mask * made.covered * (visible_area(made.grid) > LEAST_AREA)


def train_editing(
    pool: EditingPool,
    plan: EditingPlan,
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter = silent,
) -> EditingNetwork:
    """A network that turns and relights these objects. Deterministic on one machine."""
    prior = generator.prior
    network = new_network(generator, plan.seed).train()
    rng = torch.Generator().manual_seed(plan.seed)
    features = None if prior.discriminator is None else prior_features(prior)

    def loss_of(step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        rows = torch.randint(len(pool.latents), (plan.batch,), generator=rng)
        some = pool.pick(rows, prior.w_mean.device)
        change = sample_changes(some.light, plan, config, rng)
        rendered, shows = shown(some, change, config)
        offset = network(some.latents, change)
        images = prior.generator.synthesis(some.latents + offset).clamp(-1, 1)
        # Features see the pseudo sample where it is right, and what the generator makes of the rest.
        wanted = torch.lerp(images.detach(), rendered.image, shows)
        terms = {
            "pixels": plan.pixel_weight * masked_l1(images, rendered.image, shows),
            "near": plan.near_weight * (offset / prior.w_std).square().mean(),
            "motion": plan.motion_weight * motion_loss(network, some.latents, change, offset, some.light, rng),
        }
        if features is not None:
            terms["features"] = plan.feature_weight * feature_distance(images, wanted, features)
        if prior.attributes is not None:
            terms |= _read_terms(images, some, change, plan, generator)
        return sum(terms.values()), terms

    stage = Stage("editing", plan.n_steps, one_cycle(plan.lr / 25, plan.lr, plan.lr / 1e3))
    rules = Plan((stage,), betas=(0.9, 0.99), weight_decay=plan.weight_decay)
    optimise(network.parameters(), loss_of, rules, report=report)
    network.eval().requires_grad_(False)
    network.yaw_gain.fill_(yaw_gain(network, pool, plan, generator))
    return network.cpu()


@torch.no_grad()
def yaw_gain(network: EditingNetwork, pool: EditingPool, plan: EditingPlan, generator: MaskedGenerator) -> float:
    """How much farther the network has to be asked to turn, so that the attribute network reads what was meant: pixels
    and nearness hold every offset back. 1 without an attribute network.
    """
    attributes = generator.prior.attributes
    if attributes is None:
        return 1.0
    some = pool.pick(torch.arange(min(N_GAIN, len(pool.latents))), generator.prior.w_mean.device)
    rng, gain = torch.Generator().manual_seed(plan.seed + 2), 1.0
    yaw_rad = upload(torch.randn(len(some.latents), generator=rng), some.light.device) * math.radians(plan.yaw_sd_deg)
    own = attributes.read(some.images).heading_rad
    for _ in range(GAIN_ROUNDS):
        change = torch.nn.functional.pad(gain * yaw_rad[:, None], (0, len(CHANGE) - 1))
        images = generator(some.latents + network(some.latents, change))[0]
        turn = attributes.read(images).heading_rad - own
        slope = _slope(torch.atan2(turn.sin(), turn.cos()), yaw_rad)
        gain = min(max(gain / max(slope, LEAST_OFFSET), 1.0), GREATEST_GAIN)
    return gain


def new_network(generator: MaskedGenerator, seed: int) -> EditingNetwork:
    """An untrained network for a generator."""
    prior = generator.prior
    with seeded(seed):
        network = EditingNetwork(EditingConfig(prior.w_mean.shape[-1])).to(prior.w_mean.device)
    network.w_mean.copy_(prior.w_mean)
    network.w_std.copy_(prior.w_std)
    return network


def motion_loss(
    network: EditingNetwork,
    latents: Float[Tensor, "B D"],
    change: Float[Tensor, "B 6"],
    offset: Float[Tensor, "B D"],
    light: Float[Tensor, "B 4"],
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """There and back is nothing, and a change in two parts is the change: mean squares, in standard deviations of w."""
    part = upload(torch.rand(len(change), 1, generator=rng), change.device)
    there = latents + offset
    back = network(there, -change) + offset
    half = network(latents, part * change)
    rest = half + network(latents + half, (1 - part) * change) - offset
    return ((back / network.w_std).square() + (rest / network.w_std).square()).mean()


def _read_terms(
    images: Float[Tensor, "B 3 S S"],
    some: EditingPool,
    change: Float[Tensor, "B 6"],
    plan: EditingPlan,
    generator: MaskedGenerator,
) -> dict[str, Tensor]:
    """What the attribute network reads in the pictures, against what was asked for and against the inputs."""
    attributes = generator.prior.attributes
    with torch.no_grad():
        own = attributes.read(some.images)
    seen = attributes.read(images)
    lights, is_lit = in_camera(*views_and_lights(change, own.light))
    heading = 1 - torch.cos(seen.heading_rad - own.heading_rad - change[:, 0])
    light = is_lit * (1 - (light_direction(seen.light) * light_direction(lights)).sum(1))
    return {
        "heading": plan.heading_weight * heading.mean(),
        "light": plan.light_weight * light.mean(),
        "identity": plan.identity_weight * (1 - identity(seen, own)).mean(),
    }


@torch.no_grad()
def measure_editing(
    network: EditingNetwork, pool: EditingPool, plan: EditingPlan, generator: MaskedGenerator, config: ShapeConfig
) -> dict[str, float | int]:
    """How edited latents of objects fare that were not learnt from, under random changes.

    `pixels`: mean |difference| to the renders where they are right; `pixels_unedited`: of G(w). `there_and_back`: rms
    of what is left of an offset after the way back, as a part of the offset. With an attribute network: `heading` and
    `light_x`, slopes of what it reads over what was asked for, and `identity`, mean cosine to the input.
    """
    device = generator.prior.w_mean.device
    network, attributes = network.to(device), generator.prior.attributes
    some = pool.pick(torch.arange(len(pool.latents)), device)
    change = sample_changes(some.light, plan, config, torch.Generator().manual_seed(plan.seed + 1))
    rendered, shows = shown(some, change, config)
    offset = network(some.latents, change)
    images = generator(some.latents + offset)[0]
    back = network(some.latents + offset, -change) + offset
    found: dict[str, float | int] = {
        "n": len(pool.latents),
        "pixels": float(masked_l1(images, rendered.image, shows)),
        "pixels_unedited": float(masked_l1(some.images, rendered.image, shows)),
        "there_and_back": float(_rms(back / network.w_std) / _rms(offset / network.w_std).clamp_min(LEAST_OFFSET)),
    }
    if attributes is not None:
        seen, own = attributes.read(images), attributes.read(some.images)
        lights, is_lit = in_camera(*views_and_lights(change, own.light))
        turn = seen.heading_rad - own.heading_rad
        found["heading"] = _slope(torch.atan2(turn.sin(), turn.cos()), change[:, 0])
        found["light_x"] = _slope(is_lit * (seen.light - own.light)[:, 2], is_lit * (lights - own.light)[:, 2])
        found["identity"] = float(identity(seen, own).mean())
    return found


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def _slope(found: Float[Tensor, " B"], asked: Float[Tensor, " B"]) -> float:
    """Of the line through the origin."""
    return float((found * asked).sum() / asked.square().sum().clamp_min(LEAST_OFFSET))
