"""Training the networks that the method is compared with, and using them.

    plan = KINDS["unsup3d"]
    path = train_baseline("unsup3d", "face", plan, out, images=source, metric=discriminator, report=report)
    depth = depth_in_view(open_baseline(path), image)

An average of the weights is what is scored and kept. `stats.jsonl` in the folder is the curve: every `score_every`
steps it has SIDE and MAD, as parts of a plane's, on the exam's validation objects.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.baselines.taught import TrueDepths, taught_terms
from gan2shape.bench.baselines.unsup3d import unsup3d_terms
from gan2shape.bench.exam import ExamObject, exam_objects, seen_at
from gan2shape.bench.score import score_depth
from gan2shape.core.config import Finite, need, need_training
from gan2shape.core.devices import choose_dtype, upload
from gan2shape.core.network_files import load_network, save_network
from gan2shape.core.progress import Reporter, silent
from gan2shape.nn.averages import average_weights
from gan2shape.nn.depth_baselines import TAUGHT, UNSUP3D, BaselineConfig, TaughtDepth, Unsup3d, build_baseline
from gan2shape.nn.feature_metric import FeatureMetric
from gan2shape.scene.render import render_depth
from gan2shape.shape.ellipsoid import flat_depth
from gan2shape.train.image_source import ImageSource
from gan2shape.train.session import TrainingSession, run_session, step_rng

FORMAT = "gan2shape-baseline-1"
COMMAND = "gan2shape bench learn"
Baseline = TaughtDepth | Unsup3d
WARM_STEPS = 10  # over which the average of weights begins
AT_ONCE = 16  # images of a pass


@dataclass(frozen=True)
class BaselinePlan(Finite):
    """How a baseline is trained."""

    n_steps: int = 31_250  # half a million images
    batch: int = 16
    n_images: int = 8000
    resolution: int = 64
    width: float = 1.0  # times the widths of the packs' depth network
    skips: bool = False  # connections as in a U-Net; supervised alone
    flips: bool = True  # pictures are mirrored at random
    lr: float = 1e-3  # of Adam
    beta2: float = 0.99
    weight_decay: float = 0.0  # added to the gradient, as Adam's own
    feature_weight: float = 1.0  # of discriminator features; unsup3d alone
    average_decay: float = 0.998  # a step, of the weights that are kept
    n_scored: int = 64  # validation objects
    score_every: int = 500  # steps
    seed: int = 0

    def check(self) -> None:
        need_training(self)
        need(self.resolution in (64, 128), f"resolution={self.resolution} has to be 64 or 128")
        need(self.width > 0 and self.score_every > 0, "width and score_every have to be above 0")
        need(0 <= self.average_decay < 1, f"average_decay={self.average_decay} has to lie in [0, 1)")


KINDS: Mapping[str, BaselinePlan] = {
    UNSUP3D: BaselinePlan(lr=3e-4, beta2=0.999, weight_decay=5e-4),
    TAUGHT: BaselinePlan(n_steps=8000),
}
SECONDS_AN_IMAGE = {UNSUP3D: 0.03, TAUGHT: 0.004}  # of one core, at 64 x 64


def train_baseline(
    kind: str,
    category: str,
    plan: BaselinePlan,
    out: Path,
    *,
    images: ImageSource | TrueDepths,
    metric: FeatureMetric | None = None,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    resume: bool = True,
    report: Reporter = silent,
) -> Path:
    """Train a baseline, or go on with it; returns the file `KIND.safetensors` in `out`.

    images: an ImageSource for unsup3d, TrueDepths for the other kind. metric: whose features unsup3d compares. Raises
    UserError as `run_session` does.
    """
    device = torch.device(device)
    config = BaselineConfig(kind, plan.resolution, plan.width, plan.skips)
    network, average = (build_baseline(config, plan.seed).to(device, memory_format=torch.channels_last) for _ in "12")
    average.requires_grad_(False)
    network.is_bfloat16 = choose_dtype(precision, device) == torch.bfloat16
    rules = {"lr": plan.lr, "betas": (0.9, plan.beta2), "weight_decay": plan.weight_decay}
    optimizer = torch.optim.Adam(network.parameters(), **rules)
    scored = [seen_at(item, plan.resolution) for item in exam_objects(category, "val", plan.n_scored)]

    def step(index: int) -> dict[str, Tensor]:
        terms = terms_of(network, images, plan, index, metric, device)
        optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        optimizer.step()
        average_weights(average, network, min(plan.average_decay, (index + 1) / (index + 1 + WARM_STEPS)))
        found = {name: term.detach() for name, term in terms.items()}
        if (index + 1) % plan.score_every == 0 or index + 1 == plan.n_steps:
            found |= {name: torch.tensor(value) for name, value in parts_of_flat(average, scored).items()}
        return found

    card = {"kind": kind, "category": category, "plan": asdict(plan)}
    card["images"] = images.made_of if isinstance(images, ImageSource) else {"truth": True, "count": plan.n_images}
    each = SECONDS_AN_IMAGE[kind] * plan.batch * (plan.resolution / 64) ** 2 * plan.width**2
    session = TrainingSession(kind, plan.n_steps, plan.batch, card, each, report_steps=min(50, plan.score_every))
    networks, optimizers = {"network": network, "average": average}, {"network": optimizer}
    seconds = run_session(session, networks, optimizers, step, out, resume=resume, report=report)
    card |= {"seconds": round(seconds, 1), "validation": parts_of_flat(average, scored)}
    return save_network(out / f"{kind}.safetensors", average, config, FORMAT, card)


def terms_of(
    network: Baseline,
    images: ImageSource | TrueDepths,
    plan: BaselinePlan,
    index: int,
    metric: FeatureMetric | None,
    device: torch.device,
) -> dict[str, Float[Tensor, ""]]:
    """What a step lowers."""
    rng = step_rng(plan.seed, index)
    if isinstance(network, Unsup3d):
        seen = upload(images.sample(rng, plan.batch, plan.flips), device)
        return unsup3d_terms(network, seen.contiguous(memory_format=torch.channels_last), metric, plan.feature_weight)
    rows = rng.integers(0, plan.n_images, plan.batch)
    seen, depth, covered = (upload(part, device) for part in images.rows(rows, plan.flips and rng.random() < 0.5))
    found = network.canonical_depth(seen.contiguous(memory_format=torch.channels_last))
    return taught_terms(found, depth, covered)


@torch.no_grad()
def depth_in_view(network: Baseline, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
    """Depth about 1 in the images' own views: what the exam scores."""
    canonical = network.canonical_depth(image)
    return render_depth(canonical, network.view(image))[0] if isinstance(network, Unsup3d) else canonical


@torch.no_grad()
def mirrored_mean(network: Baseline, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
    """The mean of what image and mirror image give, as the packs' depth networks are used."""
    return (depth_in_view(network, image) + depth_in_view(network, image.flip(-1)).flip(-1)) / 2


def parts_of_flat(network: Baseline, items: list[ExamObject]) -> dict[str, float]:
    """SIDE, aligned SIDE and MAD as parts of those of a plane: ratios of means over the objects."""
    device = next(network.parameters()).device
    seen = torch.cat([item.image for item in items]).split(AT_ONCE)
    depth = torch.cat([mirrored_mean(network, part.to(device)).cpu() for part in seen])
    found = [score_depth(depth[i : i + 1], one.depth, one.mask, one.fov_deg) for i, one in enumerate(items)]
    flat = [score_depth(flat_depth(one.mask), one.depth, one.mask, one.fov_deg) for one in items]
    names = {"side": "side", "side_aligned": "side", "mad_deg": "mad_deg"}
    return {f"{name}_of_flat": sum(one[name] for one in found) / sum(one[base] for one in flat)
            for name, base in names.items()}  # fmt: skip


def open_baseline(path: Path) -> Baseline:
    """The network in a file of `gan2shape bench learn`. Raises UserError as `load_network` does."""
    return load_network(path, lambda fields: build_baseline(BaselineConfig(**fields)), FORMAT, "baseline", COMMAND)
