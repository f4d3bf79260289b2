"""Teaching and measuring the network that reads attributes (`gan2shape.measure.attributes`).

Each step sees some objects twice, mirrored at random, a little blurred and noisy, as a generator's images are. Heading
and light are learnt from each picture; style and traits from the object's embedding; and the embeddings of an object's
two pictures are drawn together and pushed from all others of the batch (NT-Xent, Chen et al. 2020, equation 1), which
teaches them to ignore heading and light. Objects of other seeds say how well each attribute is read.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.build.attribute_images import AttributePairs, trait_sizes
from gan2shape.core.devices import choose_dtype, upload
from gan2shape.core.images import to_float
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import one_cycle
from gan2shape.measure.attributes import (
    SCENE,
    AttributeConfig,
    AttributeNetwork,
    Attributes,
    differences,
)
from gan2shape.synth.objects import CategorySpec

FIRST_SEED, HELD_OUT_FIRST_SEED = 100_000, 800_000
SCENE_MIRRORED = (-1.0, 1.0, 1.0, 1.0, -1.0, 1.0)  # signs of the scene's targets in a mirrored picture
LEAST_SPREAD = 1e-6  # of a target that never changes


@dataclass(frozen=True)
class AttributePlan:
    """How much is rendered and learnt: some six minutes of one core."""

    n_objects: int = 4000  # to learn from, two pictures each
    n_held_out: int = 500  # to measure with
    n_steps: int = 3000
    batch: int = 32  # objects a step
    lr: float = 3e-3  # peak
    weight_decay: float = 5e-2
    identity_weight: float = 0.3  # of the contrast between embeddings, beside the errors of the attributes
    temperature: float = 0.1  # of that contrast
    image_noise: float = 0.05  # standard deviation, images in [-1, 1]
    seed: int = 0


def train_attributes(
    spec: CategorySpec,
    pairs: AttributePairs,
    plan: AttributePlan,
    precision: str = "auto",
    device: torch.device | str = "cpu",
    report: Reporter = silent,
) -> AttributeNetwork:
    """A network that reads the attributes of the category's pictures. Deterministic on one machine."""
    device = torch.device(device)
    dtype = choose_dtype(precision, device)
    network = new_network(spec, pairs, plan.seed).to(device, memory_format=torch.channels_last).train()
    rng = torch.Generator().manual_seed(plan.seed)
    scene, signs = scene_targets(pairs), torch.tensor([[1.0] * len(SCENE), SCENE_MIRRORED])

    def loss_of(step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(len(pairs.images), (plan.batch,), generator=rng)
        mirrored = torch.randint(2, (plan.batch,), generator=rng)
        images = augmented(pairs.images[chosen.numpy()], mirrored, plan.image_noise, rng)
        wanted = (scene[chosen] * signs[mirrored][:, None]).flatten(0, 1)
        traits, style = pairs.traits[chosen].repeat_interleave(2, 0), pairs.style[chosen].repeat_interleave(2)
        images, wanted, traits, style = (upload(x, device) for x in (images, wanted, traits, style))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            found = [x.float() for x in network(images)]
        terms = {
            "scene": F.smooth_l1_loss(found[0], (wanted - network.scene_mean) / network.scene_std),
            "identity": plan.identity_weight * contrast(found[3], plan.temperature),
        }
        if spec.traits:
            terms["traits"] = F.smooth_l1_loss(found[1], (traits - network.trait_mean) / network.trait_std)
        if spec.styles:
            terms["style"] = F.cross_entropy(found[2], style)
        return sum(terms.values()), terms

    stage = Stage("attributes", plan.n_steps, one_cycle(plan.lr / 25, plan.lr, plan.lr / 1e4))
    rules = Plan((stage,), betas=(one_cycle(0.95, 0.85, 0.95), 0.999), weight_decay=plan.weight_decay)
    optimise(network.parameters(), loss_of, rules, report=report)
    return network.cpu().eval().requires_grad_(False)


def new_network(spec: CategorySpec, pairs: AttributePairs, seed: int) -> AttributeNetwork:
    """An untrained network for a category, with the mean and spread of its targets."""
    sizes = trait_sizes(spec)
    config = AttributeConfig(tuple(sizes), tuple(sizes.values()), spec.styles, resolution=pairs.images.shape[2])
    with seeded(seed):
        network = AttributeNetwork(config)
    signs = torch.tensor([[1.0] * len(SCENE), SCENE_MIRRORED])
    scene = (scene_targets(pairs)[:, :, None] * signs).flatten(0, 2)
    for name, values in (("scene", scene), ("trait", pairs.traits)):
        if values.shape[1]:
            getattr(network, f"{name}_mean").copy_(values.mean(0))
            getattr(network, f"{name}_std").copy_(values.std(0).clamp_min(LEAST_SPREAD))
    return network


def scene_targets(pairs: AttributePairs) -> Float[Tensor, "N 2 s"]:
    """What the scene end learns of each picture, in the order of SCENE."""
    heading = pairs.heading_rad[..., None]
    return torch.cat([heading.sin(), heading.cos(), pairs.light], -1)


def augmented(
    pictures: np.ndarray, mirrored: Tensor, noise_sd: float, rng: torch.Generator
) -> Float[Tensor, "N 3 S S"]:
    """Pairs of pictures [B, 2, S, S, 3] as images, both pictures of one object side by side: some mirrored, all blurred
    by a random share of a 3 x 3 mean, all with noise.
    """
    images = to_float(pictures.reshape(-1, *pictures.shape[2:]))
    images = torch.where(mirrored.repeat_interleave(2).view(-1, 1, 1, 1) > 0, images.flip(3), images)
    share = torch.rand(len(images), 1, 1, 1, generator=rng)
    blurred = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    return torch.lerp(images, blurred, share) + noise_sd * torch.randn(images.shape, generator=rng)


def contrast(embedding: Float[Tensor, "N E"], temperature: float) -> Float[Tensor, ""]:
    """Mean cross-entropy of finding an image's partner among all others by the cosine; partners are neighbours."""
    alike = embedding @ embedding.t() / temperature
    alike = alike.masked_fill(torch.eye(len(alike), dtype=torch.bool, device=alike.device), float("-inf"))
    partner = torch.arange(len(alike), device=alike.device) ^ 1
    return F.cross_entropy(alike, partner)


def truth_of_pairs(pairs: AttributePairs, network: AttributeNetwork) -> Attributes:
    """The true attributes of all pictures, the first ones of all objects and then the second ones."""
    classes = len(network.config.styles)
    style = F.one_hot(pairs.style, max(classes, 1))[:, :classes].float()
    return Attributes(
        heading_rad=pairs.heading_rad.t().flatten(),
        light=pairs.light.transpose(0, 1).flatten(0, 1),
        traits=network.named(pairs.traits.repeat(2, 1)),
        logits=style.repeat(2, 1),
        embedding=torch.zeros(2 * len(pairs.style), 0),
    )


@torch.no_grad()
def measure_attributes(network: AttributeNetwork, pairs: AttributePairs) -> dict[str, dict[str, float]]:
    """Mean differences (`measure.attributes.differences`) on pictures that were not learnt from.

    {name: {"error": …, "guess": the same error of always answering the training's mean}}, and under "identity" how
    well two pictures of one object are told from pictures of two (`verification`), also among objects of one style.
    """
    read = network.read(to_float(np.concatenate([pairs.images[:, 0], pairs.images[:, 1]])))
    truth = truth_of_pairs(pairs, network)
    found = differences(read, truth)
    guess = differences(constant(network, truth), truth)
    measured = {name: {"error": float(found[name].mean()), "guess": float(guess[name].mean())} for name in found}
    first, second = read.embedding.chunk(2)
    alike = first @ second.t()  # cosines
    other = ~torch.eye(len(alike), dtype=torch.bool)
    measured["identity"] = verification(alike.diagonal(), alike[other])
    if network.config.styles:
        hard = verification(alike.diagonal(), alike[other & (pairs.style[:, None] == pairs.style)])
        measured["identity"] |= {f"{name}_within_style": value for name, value in hard.items()}
    return measured


def constant(network: AttributeNetwork, like: Attributes) -> Attributes:
    """The mean of the training's attributes (of the styles the first), as often as `like` has images."""
    n = len(like.heading_rad)
    mean = network.scene_mean
    return Attributes(
        heading_rad=torch.atan2(mean[0], mean[1]).expand(n),
        light=mean[2:].expand(n, 4),
        traits=network.named(network.trait_mean.expand(n, -1)),
        logits=torch.zeros_like(like.logits),
        embedding=like.embedding,
    )


def verification(same: Float[Tensor, " N"], other: Float[Tensor, " M"]) -> dict[str, float]:
    """How well a similarity tells pairs of one kind from pairs of another, all thresholds considered.

    `auc`: probability that a pair of the same object is more alike than one of two objects, ties half. `accuracy`:
    the best mean of both rates of right answers.
    """
    ranked = other.sort().values
    below = torch.searchsorted(ranked, same.contiguous())
    not_above = torch.searchsorted(ranked, same.contiguous(), right=True)
    auc = (below + not_above).double().mean() / (2 * len(other))
    thresholds = same.sort().values
    accepted = 1 - torch.arange(len(same)).double() / len(same)  # of the same objects, at each threshold
    rejected = torch.searchsorted(ranked, thresholds).double() / len(other)
    return {"auc": float(auc), "accuracy": float(((accepted + rejected) / 2).max())}


def attribute_lines(measured: dict[str, dict[str, float]]) -> list[str]:
    """What was measured, for people."""
    return [
        f"{name:20s} " + ", ".join(f"{kind.replace('_', ' ')} {value:.4g}" for kind, value in values.items())
        for name, values in measured.items()
    ]
