"""Teaching and measuring the network that says how far a recovered depth may be off (`nn.confidence`).

Synthetic objects are reconstructed as a run does it without stages: encoder, G(w), depth network, fusion. The encoder's
guess stands in for the inversion, which takes seconds. The truth gives the error of each pixel, and the network learns
to expect it from the evidence that a run has (`shape.confidence`), by the likelihood of a Laplace distribution whose
scale it states. Every other object has the mask that the generator shows instead of the true one; every fourth is
measured without fusion, as preset instant does.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan2shape.build.shards import on_disk
from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import upload
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import one_cycle
from gan2shape.measure.metrics import masked_mean
from gan2shape.measure.statistics import rank_correlation
from gan2shape.nn.confidence import ConfidenceConfig, ConfidenceNetwork
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.confidence import MIRRORED, evidence_maps
from gan2shape.shape.initialize import from_depth_network
from gan2shape.shape.observe import MIN_MASK_LEVEL
from gan2shape.shape.state import new_state, target_from
from gan2shape.synth.dataset import render_set

FIRST_SEED, HELD_OUT_FIRST_SEED = 100_000, 800_000
SHARD = 100  # objects in a file
FULLY_COVERED = 0.999  # of the true mask: where depth is compared
PREDICTED_MASK_EVERY, UNFUSED_EVERY = 2, 4
LEAST_UNIT = 1e-6  # of an error, where there is none
BATCH = 64  # maps that are judged at once


@dataclass(frozen=True)
class ConfidencePlan:
    """How much is reconstructed and learnt: some five minutes of one core."""

    n_objects: int = 1000  # to learn from
    n_held_out: int = 100  # to measure with
    n_steps: int = 800
    batch: int = 16  # objects a step
    lr: float = 3e-3  # peak
    weight_decay: float = 5e-2
    seed: int = 0


@dataclass(frozen=True)
class Judged:
    """What runs on N objects knew, and how wrong they were. Half precision saves memory."""

    evidence: Float[Tensor, "N C S S"]
    error: Float[Tensor, "N 1 S S"]  # |log depth - log true depth|, after the mean; 0 where it is not compared
    compared: Bool[Tensor, "N 1 S S"]


def pipeline_config(category: str, generator: MaskedGenerator) -> ShapeConfig:
    """How the pack's depth is made: preset draft. Raises UserError where the pack has no depth network."""
    config = compose(ShapeConfig, category, calibration=generator.prior.calibration.settings)
    config = replace(config, render=replace(config.render, resolution=generator.resolution))
    if generator.prior.encoder is None or pretrained_networks(generator.prior, config) is None:
        raise UserError(
            "The pack has no encoder or no depth network whose errors could be learnt: run "
            f"`gan2shape build {category} --only scene` first."
        )
    return config


def depth_error(
    depth: Float[Tensor, "N 1 S S"], truth: Float[Tensor, "N 1 S S"], compared: Bool[Tensor, "N 1 S S"]
) -> Float[Tensor, "N 1 S S"]:
    """|log depth - log truth| after each object's mean is removed, as in SIDE; 0 where nothing is compared."""
    difference = torch.where(compared, depth.log() - truth.log(), 0.0)
    mean = masked_mean(difference, compared).nan_to_num().view(-1, 1, 1, 1)
    return torch.where(compared, (difference - mean).abs(), 0.0)


@torch.no_grad()
def judge(category: str, seeds: list[int], generator: MaskedGenerator, config: ShapeConfig) -> Judged:
    """Reconstruct the objects of these seeds; those without an object in the mask are left out."""
    truth, prior = render_set(category, seeds, config.render.resolution).truth, generator.prior
    device = prior.w_mean.device
    known, state = pretrained_networks(prior, config), new_state(config, prior.w_mean.shape[-1], device)
    bare = replace(config, initial=replace(config.initial, fusion_yaws_deg=(), relit_cutoff=0.0))
    images = truth.image.to(device)
    made, predicted = generator(prior.guess_latent(images))
    depths, masks, rows = [], [], []
    for i, seed in enumerate(seeds):
        mask = predicted[i : i + 1] if seed % PREDICTED_MASK_EVERY else truth.mask[i : i + 1].to(device)
        if float(mask.max()) < MIN_MASK_LEVEL:
            continue
        target, own = target_from(made[i : i + 1], mask), config if seed % UNFUSED_EVERY else bare
        depths.append(from_depth_network(state.model, known, target, generator, own).depth(target.image))
        masks.append(mask)
        rows.append(i)
    depth = torch.cat(depths)
    maps = evidence_maps(images[rows], made[rows], torch.cat(masks), depth, known, config)
    compared = truth.mask[rows] > FULLY_COVERED
    return Judged(maps.cpu().half(), depth_error(depth.cpu(), truth.depth[rows], compared), compared)


def judged_on_disk(
    category: str,
    first_seed: int,
    n: int,
    generator: MaskedGenerator,
    config: ShapeConfig,
    folder: Path,
    report: Reporter = silent,
) -> Judged:
    """n objects from `first_seed` on: read from shards in the folder where they are, reconstructed and written
    otherwise. Shards belong to one pack: whoever changes it empties the folder.
    """
    seeds, stem = range(first_seed, first_seed + n), folder / f"judged_{config.render.resolution}"
    return on_disk(Judged, lambda some: judge(category, some, generator, config), seeds, SHARD, stem, report)


def train_confidence(
    judged: Judged, plan: ConfidencePlan, device: torch.device | str = "cpu", report: Reporter = silent
) -> ConfidenceNetwork:
    """A network that expects these errors. Deterministic on one machine."""
    network = new_network(judged, plan.seed).to(device, memory_format=torch.channels_last).train()
    signs = torch.tensor(MIRRORED)[:, None, None]
    rng = torch.Generator().manual_seed(plan.seed)

    def loss_of(step: Step) -> Float[Tensor, ""]:
        rows = torch.randint(len(judged.error), (plan.batch,), generator=rng)
        maps, error, compared = judged.evidence[rows].float(), judged.error[rows], judged.compared[rows]
        if step.index % 2:
            maps, error, compared = (maps * signs).flip(-1), error.flip(-1), compared.flip(-1)
        maps, error, compared = (upload(x, torch.device(device)) for x in (maps, error, compared))
        return laplace_loss(network(maps), error / network.unit, compared)

    stage = Stage("confidence", plan.n_steps, one_cycle(plan.lr / 25, plan.lr, plan.lr / 1e4))
    rules = Plan((stage,), betas=(one_cycle(0.95, 0.85, 0.95), 0.999), weight_decay=plan.weight_decay)
    optimise(network.parameters(), loss_of, rules, report=report)
    return network.cpu().eval().requires_grad_(False)


def new_network(judged: Judged, seed: int) -> ConfidenceNetwork:
    """An untrained network; its unit is the mean error of all pixels."""
    config = ConfidenceConfig(judged.evidence.shape[1], judged.evidence.shape[-1])
    with seeded(seed):
        network = ConfidenceNetwork(config)
    network.unit.fill_(judged.error[judged.compared].mean().nan_to_num().clamp_min(LEAST_UNIT))
    return network


def laplace_loss(
    log_scale: Float[Tensor, "B 1 S S"], error: Float[Tensor, "B 1 S S"], compared: Bool[Tensor, "B 1 S S"]
) -> Float[Tensor, ""]:
    """Negative log likelihood of the errors under Laplace distributions of these scales, without its constant: the
    least is at scale = expected error.
    """
    loss = log_scale + error * (-log_scale).exp()
    return torch.where(compared, loss, 0.0).sum() / compared.sum().clamp_min(1)


@torch.no_grad()
def confidence_in(network: ConfidenceNetwork, evidence: Float[Tensor, "N C S S"]) -> Float[Tensor, "N 1 S S"]:
    """Confidence of all objects, in batches."""
    return torch.cat([network.confidence(part.float()) for part in evidence.split(BATCH)])


def measure_confidence(network: ConfidenceNetwork, judged: Judged) -> dict[str, float | int]:
    """How well confidence ranks errors: `measure.statistics.rank_correlation` of expected and true error over all
    pixels, and its mean over objects.
    """
    doubt = -confidence_in(network, judged.evidence)
    each = [rank_correlation(d[c].numpy(), e[c].numpy())
            for d, e, c in zip(doubt, judged.error, judged.compared, strict=True) if int(c.sum()) > 1]  # fmt: skip
    pooled = rank_correlation(doubt[judged.compared].numpy(), judged.error[judged.compared].numpy())
    return {"n": len(each), "rank_correlation": pooled, "rank_correlation_within": float(np.mean(each))}
