"""The measured part of a pack's card: is the prior controllable? (DESIGN section 6)

A regressor, trained on synthetic truth and used for measuring only, reads heading and lamp off images. True renders of
exam objects at other yaws and lamps are projected by G and E; found against asked gives slopes and residuals, and the
regressor's own figures on held-out renders stand beside them. Spread compares samples of the generator with data.

The heading is the turn of the object's front about the camera's vertical axis: a perturbation by a yaw psi changes it
by psi exactly, whatever the elevation.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.bench.exam import ExamObject, exam_objects
from gan2shape.bench.ladder_gan import Bench, as_drawing, open_bench, project_given
from gan2shape.bench.truth import LADDER_VIEWS, draw_lights, render_truth
from gan2shape.config import ShapeConfig
from gan2shape.measure.metrics import iou, psnr_db
from gan2shape.progress import Reporter, silent
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import rotate_light
from gan2shape.shape.loop import new_learner
from gan2shape.shape.observe import MaskedGenerator
from gan2shape.shape.sampling import sample_views
from gan2shape.synth.dataset import render_set

TARGETS = ("heading", "lx", "ly")  # what the regressor reads
REGRESSOR_IMAGES, REGRESSOR_FIRST_SEED = 6_000, 100_000  # training renders of the regressor
HELD_OUT_IMAGES, HELD_OUT_FIRST_SEED = 500, 800_000
ASKED_YAW_DEG = 15.0  # turns asked of the projection
N_INVERTED = 32  # validation images whose inversion is measured
N_CONTROLLED = 4  # validation objects whose projections are measured
N_SAMPLES = 500  # generator samples behind the spread


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


def train_regressor(category: str, n_steps: int = 1500, report: Reporter = silent) -> tuple[Regressor, dict]:
    """Fit the regressor on synthetic renders; returns it with its rms errors and slopes on held-out renders."""
    data = render_set(category, [REGRESSOR_FIRST_SEED + i for i in range(REGRESSOR_IMAGES)])
    targets = truth_targets(data.view, data.light)
    mean, std = targets.mean(0), targets.std(0)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, width in ((3, 24), (24, 48), (48, 96), (96, 128)):
        layers += [nn.Conv2d(before, width, 3, 2, 1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 128), nn.LeakyReLU(0.2), nn.Linear(128, 3))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=n_steps)
    random = torch.Generator().manual_seed(0)
    for step in range(n_steps):
        chosen = torch.randint(len(targets), (32,), generator=random)
        images = data.truth.image[chosen] + 0.05 * torch.randn(32, *data.truth.image.shape[1:], generator=random)
        loss = nn.functional.smooth_l1_loss(network(images), (targets[chosen] - mean) / std)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            report("regressor", step + 1, n_steps, loss=float(loss.detach()))
    regressor = Regressor(network.eval(), mean, std)
    held_out = render_set(category, [HELD_OUT_FIRST_SEED + i for i in range(HELD_OUT_IMAGES)])
    found, true = regressor(held_out.truth.image), truth_targets(held_out.view, held_out.light)
    figures = {f"{name}_slope": slope(found[:, i], true[:, i]) for i, name in enumerate(TARGETS)}
    figures["heading_rms_deg"] = math.degrees(float((found[:, 0] - true[:, 0]).square().mean().sqrt()))
    return regressor, figures


def slope(found: Tensor, asked: Tensor) -> float:
    """Least-squares slope of found against asked."""
    centred = asked - asked.mean()
    return float((centred * (found - found.mean())).sum() / centred.square().sum())


def control(bench: Bench, regressor: Regressor) -> tuple[Tensor, Tensor]:
    """(found, asked) changes of heading, lx and ly when true renders at +-15 degrees and random lamps are projected."""
    item, config = bench.item, bench.config
    random = torch.Generator().manual_seed(item.seed)
    training = sample_views(160, LADDER_VIEWS, random)
    turned = torch.zeros(32, 6)
    turned[:, 1] = math.radians(ASKED_YAW_DEG) * torch.tensor([1.0, -1.0]).repeat(16)
    views = torch.cat([training, turned])
    truth = render_truth(item, views, draw_lights(item.category, views, random))
    learner = new_learner(config, bench.observation.latent.shape[-1], "cpu")
    given = as_drawing(truth.images, truth.masks)
    images, _ = project_given(bench, learner, given, sum(config.steps.n_projection))
    own = truth_targets(item.view, item.light)
    lamps = rotate_light(truth.lights, rotation(views[:, :3]))
    asked = torch.stack([heading_rad(item.view) + views[:, 1], lamps[:, 2], lamps[:, 3]], 1) - own
    found = regressor(images) - regressor(item.image)
    return found[-32:], asked[-32:]


def inversion_figures(items: list[ExamObject], generator: MaskedGenerator, config: ShapeConfig) -> dict[str, float]:
    """Object-mask PSNR of W inversions and IoU of the masks seen through them."""
    psnr, overlap = [], []
    for item in items:
        bench = open_bench(item, generator, config)
        with torch.no_grad():
            made = generator.prior.generator.synthesis(bench.observation.latent)
        inside = item.mask > 0.5
        psnr.append(psnr_db(made, item.image, inside).item())
        overlap.append(iou(bench.observation.mask > 0.5, inside).item())
    return {"inversion_psnr_db": float(np.mean(psnr)), "mask_iou": float(np.mean(overlap)), "n_inverted": len(items)}


@torch.no_grad()
def spread(category: str, generator: MaskedGenerator, regressor: Regressor) -> dict[str, float]:
    """Standard deviation of heading and lamps over samples, relative to data (both as the regressor sees them)."""
    random = torch.Generator().manual_seed(1)
    z = torch.randn(N_SAMPLES, generator.prior.generator.config.z_dim, generator=random)
    made = torch.cat([generator(generator.prior.generator.mapping(part))[0] for part in z.split(50)])
    data = render_set(category, [HELD_OUT_FIRST_SEED + i for i in range(HELD_OUT_IMAGES)])
    ratio = regressor(made).std(0) / regressor(data.truth.image).std(0)
    return {f"{name}_spread": float(ratio[i]) for i, name in enumerate(TARGETS)}


def measure_card(category: str, generator: MaskedGenerator, config: ShapeConfig, report: Reporter = silent) -> dict:
    """Every measured figure of a card."""
    regressor, own = train_regressor(category, report=report)
    pairs = [
        control(open_bench(item, generator, config), regressor) for item in exam_objects(category, "val", N_CONTROLLED)
    ]
    found, asked = (torch.cat(column) for column in zip(*pairs, strict=True))
    figures = {f"{name}_slope": slope(found[:, i], asked[:, i]) for i, name in enumerate(TARGETS)}
    line = figures["heading_slope"] * asked[:, 0]
    figures["heading_residual_deg"] = math.degrees(float((found[:, 0] - line).std()))
    figures |= spread(category, generator, regressor)
    figures |= inversion_figures(exam_objects(category, "val", N_INVERTED), generator, config)
    return {**figures, "regressor_on_held_out_renders": own}
