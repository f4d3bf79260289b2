"""The measured part of a pack's card: is the prior controllable?

A regressor, trained on synthetic truth and used for measuring only, reads heading and lamp off images. True renders of
exam objects at other yaws and lamps are projected by G and E; found against asked gives slopes and residuals. Beside
them stand the regressor's own figures: on turns of held-out objects, and on the very renders that were projected.
Spread compares samples of the generator with data.

What is measured is CHANGES of one object's image, so the regressor sees each object twice, under its own view and
turned further, and is taught their difference too: taught headings alone, it gave an exam car's turns of 15 degrees
back at slope .44.

The heading is the turn of the object's front about the camera's vertical axis: a perturbation by a yaw psi changes it
by psi exactly, whatever the elevation. Mirroring an image negates its heading and lx.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.bench.exam import COUNT, ExamObject, exam_objects
from gan2shape.bench.ladder_gan import (
    Bench,
    as_render,
    open_bench,
    project_given,
)
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.truth import LADDER_VIEWS, draw_lights, render_truth
from gan2shape.core import files as outdir
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.resources import pack_dir
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import one_cycle
from gan2shape.measure.metrics import iou, psnr_db
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.packs import update_card
from gan2shape.scene.camera import compose_views, rotation
from gan2shape.scene.light import rotate_light
from gan2shape.shape.sampling import sample_views
from gan2shape.shape.state import new_state
from gan2shape.synth.dataset import sample_item
from gan2shape.synth.registry import get_category
from gan2shape.synth.render import render_objects

TARGETS = ("heading", "lx", "ly")  # what the regressor reads
MIRRORED = (-1.0, -1.0, 1.0)  # signs of the targets of a mirrored image
REGRESSOR_FIRST_SEED, HELD_OUT_FIRST_SEED = 100_000, 800_000
REGRESSOR_BATCH, REGRESSOR_NOISE = 16, 0.05  # pairs a step; standard deviation of the noise added to images
REGRESSOR_LR = (2e-3 / 25, 2e-3)  # at the first step and at most
REGRESSOR_TURN_DEG = 20.0  # the second image of a pair is turned by up to this
CHANGE_WEIGHT = 2.0  # of the loss on a pair's difference, beside the loss on each image
ASKED_YAW_DEG = 15.0  # turns asked of the projection
POSES_QUANTILES = (0.05, 0.95)  # of the size of a category's headings: the bulk of its poses
SAMPLES_SEED = 1  # of the generator samples behind the spread


@dataclass(frozen=True)
class CardSizes:
    """How much is measured: the defaults cost about six minutes of one core, most of them inversions."""

    regressor_objects: int = 1500  # objects the regressor learns from, two renders each, both also mirrored
    regressor_steps: int = 1500  # Adam steps of it
    held_out: int = 250  # objects that the regressor is tested on, two renders each
    n_controlled: int = 3  # validation objects whose projections are measured
    n_training_views: int = 160  # true renders of each that E learns to project
    n_turned: int = 32  # true renders of each at the asked yaws, half to either side
    n_inverted: int = 32  # validation images whose inversion is measured
    n_samples: int = 400  # generator samples behind the spread


@dataclass(frozen=True)
class Regressor:
    """Network and the scale of its targets."""

    network: nn.Module
    mean: Float[Tensor, "3"]
    std: Float[Tensor, "3"]

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N 3"]:
        """Heading in radians, lx, ly."""
        return torch.cat([self.network(part) for part in images.split(64)]) * self.std + self.mean


def heading_rad(view: Float[Tensor, "N 6"]) -> Float[Tensor, " N"]:
    """Turn of the object's front about the camera's vertical axis, 0 when it faces the camera; yaw's sign."""
    front = rotation(view[:, :3]) @ view.new_tensor([0.0, 0.0, -1.0])
    return torch.atan2(-front[:, 0], -front[:, 2])


def truth_targets(view: Float[Tensor, "N 6"], light: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3"]:
    """What the regressor should say; `light` in the camera frame of the image."""
    return torch.stack([heading_rad(view), light[:, 2], light[:, 3]], 1)


def slope(found: Float[Tensor, " N"], asked: Float[Tensor, " N"]) -> float:
    """Least-squares slope of found against asked."""
    centred = asked - asked.mean()
    return float((centred * (found - found.mean())).sum() / centred.square().sum())


def slopes(found: Float[Tensor, "N 3"], asked: Float[Tensor, "N 3"]) -> dict[str, float]:
    """The slope of each target, and the rms of the heading about its own line, degrees."""
    figures = {f"{name}_slope": slope(found[:, i], asked[:, i]) for i, name in enumerate(TARGETS)}
    left = found[:, 0] - figures["heading_slope"] * asked[:, 0]
    figures["heading_residual_deg"] = math.degrees(float((left - left.mean()).square().mean().sqrt()))
    return figures


def regressor_network(width: int = 24) -> nn.Module:
    """Image [N,3,64,64] -> [N,3]: four strided convolutions and a hidden layer."""
    layers: list[nn.Module] = []
    before = 3
    for channels in (width, 2 * width, 4 * width, 5 * width):
        layers += [nn.Conv2d(before, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)]
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 16, 128), nn.LeakyReLU(0.2), nn.Linear(128, 3))


@dataclass(frozen=True)
class Pairs:
    """Each object under its own view and turned further, with a lamp of its own each time."""

    images: Float[Tensor, "N 2 3 S S"]
    targets: Float[Tensor, "N 2 3"]


def render_pairs(category: str, first_seed: int, n: int) -> Pairs:
    """n objects; the second view is turned by a uniform yaw of up to REGRESSOR_TURN_DEG about the first."""
    spec = get_category(category)
    items = [sample_item(spec, first_seed + i) for i in range(n)]
    own, lamp, background = (
        torch.from_numpy(np.stack([getattr(item, name) for item in items])) for name in ("view", "light", "background")
    )
    random = torch.Generator().manual_seed(first_seed)
    turn = torch.zeros(n, 6)
    turn[:, 1] = math.radians(REGRESSOR_TURN_DEG) * (2 * torch.rand(n, generator=random) - 1)
    columns = []
    for view, light in ((own, lamp), (compose_views(own, turn), lamp.roll(1, 0))):
        made = render_objects([item.mesh for item in items], view, light, background, fov_deg=spec.fov_deg)
        columns.append((made.image, truth_targets(view, light)))
    return Pairs(*(torch.stack(column, 1) for column in zip(*columns, strict=True)))


def regressor_loss(read: Float[Tensor, "N 2 3"], wanted: Float[Tensor, "N 2 3"]) -> Float[Tensor, ""]:
    """Each image's targets and the change between the two, in units of the targets' standard deviations."""
    change = nn.functional.smooth_l1_loss(read[:, 1] - read[:, 0], wanted[:, 1] - wanted[:, 0])
    return nn.functional.smooth_l1_loss(read, wanted) + CHANGE_WEIGHT * change


def train_regressor(pairs: Pairs, n_steps: int, report: Reporter = silent) -> Regressor:
    """Fit the regressor on pairs, mirrored at random. Deterministic on one machine."""
    signs = torch.tensor([(1.0, 1.0, 1.0), MIRRORED])
    both = torch.cat([pairs.targets.flatten(0, 1) * sign for sign in signs])
    mean, std = both.mean(0), both.std(0)
    with seeded(0):
        network = regressor_network()
    rng = torch.Generator().manual_seed(0)

    def loss_of(step: Step) -> Float[Tensor, ""]:
        chosen = torch.randint(len(pairs.images), (REGRESSOR_BATCH,), generator=rng)
        mirrored = torch.randint(2, (REGRESSOR_BATCH,), generator=rng)
        images = pairs.images[chosen]
        images = torch.where(mirrored.view(-1, 1, 1, 1, 1) > 0, images.flip(4), images)
        images = images + REGRESSOR_NOISE * torch.randn(images.shape, generator=rng)
        wanted = (pairs.targets[chosen] * signs[mirrored][:, None] - mean) / std
        return regressor_loss(network(images.flatten(0, 1)).unflatten(0, (-1, 2)), wanted)

    low, peak = REGRESSOR_LR
    stage = Stage("regressor", n_steps, one_cycle(low, peak, low / 1e4))
    plan = Plan((stage,), betas=(one_cycle(0.95, 0.85, 0.95), 0.999), weight_decay=1e-2)
    optimise(network.parameters(), loss_of, plan, report=report)
    return Regressor(network.eval(), mean, std)


def regressor_metrics(regressor: Regressor, held_out: Pairs) -> dict[str, float]:
    """How well the regressor reads changes between the two images of held-out pairs."""
    read = regressor(held_out.images.flatten(0, 1)).unflatten(0, (-1, 2))
    return slopes(read[:, 1] - read[:, 0], held_out.targets[:, 1] - held_out.targets[:, 0])


def control(bench: Bench, regressor: Regressor, sizes: CardSizes) -> tuple[Tensor, Tensor, Tensor]:
    """Changes of heading, lx and ly when true renders at +-15 degrees and random lamps are projected, [n_turned, 3]
    each: found in the projections, asked, and found in the true renders themselves.

    Projections are compared with the projection of the input, which is its inversion; renders with the input.
    """
    item, config, n = bench.item, bench.config, sizes.n_turned
    random = torch.Generator().manual_seed(item.seed)
    turned = torch.zeros(n, 6)
    turned[:, 1] = math.radians(ASKED_YAW_DEG) * torch.tensor([1.0, -1.0]).repeat(n // 2)
    views = torch.cat([sample_views(sizes.n_training_views, LADDER_VIEWS, random), turned])
    truth = render_truth(item, views, draw_lights(item.category, views, random))
    state = new_state(config, bench.observation.latent.shape[-1], "cpu")
    given = as_render(truth.images, truth.masks)
    images, _ = project_given(bench, state, given, sum(config.steps.n_projection))
    lamps = rotate_light(truth.lights, rotation(views[:, :3]))
    asked = torch.stack([views[:, 1], lamps[:, 2] - item.light[:, 2], lamps[:, 3] - item.light[:, 3]], 1)
    with torch.no_grad():
        inverted = bench.generator(bench.observation.latent)[0]
    found, seen = regressor(images) - regressor(inverted), regressor(truth.images) - regressor(item.image)
    return found[-n:], asked[-n:], seen[-n:]


def inversion_metrics(benches: list[Bench]) -> dict[str, float]:
    """Object-mask PSNR of the inversions and IoU of the masks seen through them."""
    psnr, overlap = [], []
    for bench in benches:
        with torch.no_grad():
            made = bench.generator(bench.observation.latent)[0]
        inside = bench.item.mask > 0.5
        psnr.append(psnr_db(made, bench.item.image, inside).item())
        overlap.append(iou(bench.observation.mask > 0.5, inside).item())
    return {
        "inversion_psnr_db_object_mask": float(np.mean(psnr)),
        "mask_iou_through_inversion": float(np.mean(overlap)),
    }


@torch.no_grad()
def spread(
    data: Float[Tensor, "N 3 S S"], generator: MaskedGenerator, regressor: Regressor, n: int
) -> dict[str, float]:
    """Standard deviation of heading and lamps over n samples, relative to data (both as the regressor sees them)."""
    random = torch.Generator().manual_seed(SAMPLES_SEED)
    z = torch.randn(n, generator.prior.generator.config.z_dim, generator=random)
    made = torch.cat([generator(generator.prior.generator.mapping(part))[0] for part in z.split(50)])
    ratio = regressor(made).std(0) / regressor(data).std(0)
    return {f"{name}_spread": float(ratio[i]) for i, name in enumerate(TARGETS)}


def turnable(items: list[ExamObject], headings_rad: Float[Tensor, " N"]) -> list[ExamObject]:
    """The objects that both asked turns leave among the poses of the category (all of them, if there is none).

    headings_rad: of the category's own images. Beyond their bulk neither the generator nor the regressor knows
    anything: turns of a car seen at 85 degrees were read with a residual of 11 degrees, of others with 2.
    """
    low, high = torch.quantile(headings_rad.abs(), torch.tensor(POSES_QUANTILES))
    turn = math.radians(ASKED_YAW_DEG) * torch.tensor([-1.0, 1.0])
    kept = []
    for item in items:
        turned = (heading_rad(item.view) + turn).abs()
        if bool(((turned >= low) & (turned <= high)).all()):
            kept.append(item)
    return kept or items


def measure_card(
    category: str,
    generator: MaskedGenerator,
    config: ShapeConfig,
    sizes: CardSizes | None = None,
    report: Reporter = silent,
) -> dict:
    """Every measured figure of a card. Slopes and spreads have no unit; aims stand in the README."""
    sizes = sizes or CardSizes()
    items = exam_objects(category, "val", max(COUNT["val"], sizes.n_inverted))
    pairs = render_pairs(category, REGRESSOR_FIRST_SEED, sizes.regressor_objects)
    regressor = train_regressor(pairs, sizes.regressor_steps, report)
    held_out = render_pairs(category, HELD_OUT_FIRST_SEED, sizes.held_out)
    benches = []
    for i, item in enumerate(items[: sizes.n_inverted]):
        benches.append(open_bench(item, generator, config))
        report("inversions", i + 1, sizes.n_inverted)
    inverted = {bench.item.seed: bench for bench in benches}
    controlled = turnable(items, pairs.targets[:, 0, 0])[: sizes.n_controlled]
    triples = []
    for i, item in enumerate(controlled):
        bench = inverted.get(item.seed) or open_bench(item, generator, config)
        triples.append(control(bench, regressor, sizes))
        report("projections", i + 1, len(controlled))
    found, asked, seen = (torch.cat(column) for column in zip(*triples, strict=True))
    return {
        **slopes(found, asked),
        **spread(held_out.images[:, 0], generator, regressor, sizes.n_samples),
        **inversion_metrics(benches),
        "split": "val",
        "n_controlled": len(controlled),
        "n_inverted": sizes.n_inverted,
        "regressor_on_turns_of_held_out_objects": regressor_metrics(regressor, held_out),
        "regressor_on_the_projected_renders": slopes(seen, asked),
    }


def write_measured(folder: Path, measured: dict) -> Path:
    """Put `measured` into the card in `folder`, whole or not at all; the rest of the card stays. Returns its path.

    Raises UserError for a card that cannot be read.
    """
    return update_card(folder, {"measured": measured})


def measure_pack(category: str, pack: Path, sizes: CardSizes | None = None, report: Reporter = silent) -> dict:
    """The measured part of the card of the pack in any folder, with the command that makes it; nothing is written.

    Raises UserError for a pack that cannot be used, or whose resolution is not the exam's.
    """
    is_bundled = pack.resolve() == pack_dir(category).resolve()
    opened, config = open_measured(category, "draft", (), "cpu", None if is_bundled else pack)
    measured = measure_card(category, opened, config, sizes, report)
    command = f"gan2shape build {category} --only card"
    return {**{name: _rounded(value) for name, value in measured.items()}, "command": command}


def main(
    category: str | None,
    preset: str = "draft",
    count: int | None = None,
    overrides: tuple[str, ...] = (),
    dry_run: bool = False,
    report: Reporter = silent,
    sizes: CardSizes | None = None,
    generator: Path | None = None,
    class_index: int | None = None,
) -> dict:
    """Measure a category's pack and write its card; with `dry_run`, or a `generator` of the user's, nothing is written.
    `count`: images inverted.

    Raises UserError, before any work, for a pack that is missing or whose card cannot be written, and for a generator
    that cannot be measured.
    """
    category = exam_category(category, generator, class_index)
    opened, config = open_measured(category, preset, overrides, "cpu", generator, class_index)
    folder = pack_dir(category)
    is_written = generator is None and not dry_run
    if is_written:
        _require_writable(folder)
    sizes = sizes or (CardSizes() if count is None else CardSizes(n_inverted=count))
    measured = measure_card(category, opened, config, sizes, report)
    measured = {name: _rounded(value) for name, value in measured.items()}
    words = [f"--category {category}", f"--preset {preset}", *([f"--count {count}"] if count else [])]
    words += [f"--generator {generator}"] if generator else []
    words += [] if class_index is None else [f"--class {class_index}"]
    measured["command"] = " ".join(["gan2shape bench card", *words, *overrides])
    if is_written:
        write_measured(folder, measured)
    return measured


def _rounded(value):
    """Four decimals: a card is for people."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _require_writable(folder: Path) -> None:
    try:
        outdir.claim(folder)
    except UserError as error:
        raise UserError(f"The card in {folder} cannot be written: print its figures with --dry-run.") from error
