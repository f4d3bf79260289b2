"""Which pixels of a generator's samples are the object, found without a label.

The features of a generator fall into clusters that mean the same in every sample (Collins et al. 2020, section 3;
Tritrong et al. 2021). The background is what reaches the border of the images, the object what keeps away from it.
Several clusterings vote; a small head on the features learns the votes where they agree and away from outlines, then
its own answers, which moves the outline to where the features change. A cluster of pixels around the outline keeps
away from the border as well, so votes are too wide, never too narrow: the head is taught by pixels right outside their
outline, but on the inside only by pixels well away from it. At last colours on either side say where outlines are
(build/matting.py), which takes what is left of such a rim away. It assumes ONE object that stands clear of the border
in most samples.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from gan2shape.build.feature_samples import FeatureSamples, for_features, in_basis, make_samples
from gan2shape.build.matting import matted, share_around
from gan2shape.core.images import resized
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.nn.generator import Generator
from gan2shape.nn.mask_head import MaskHead, MaskHeadConfig


@dataclass(frozen=True)
class ForegroundConfig:
    """Chosen on the bundled generators, against their own mask heads."""

    n_samples: int = 128  # samples behind clusters and head
    n_fresh: int = 32  # more samples, on which votes and head are compared
    truncation: float = 0.7  # of the samples
    batch: int = 8  # samples at once
    grid: int = 64  # resolution at which pixels are clustered, and of the head's masks
    coarsest: int = 16  # resolution of the coarsest features used: coarser ones split the background
    n_components: int = 24  # principal components of features and colours
    n_clusters: tuple[int, ...] = (16, 20, 24, 16, 20, 24)  # of each clustering that votes
    n_pixels: int = 10_000  # pixels that place components and clusters
    n_rounds: int = 20  # of k-means
    border: float = 1 / 16  # width of the border band, of the image
    least_ratio: float = 1e-3  # of border to mean presence: less counts as this
    certain: float = 0.75  # part of the votes that must agree for a pixel to teach
    outline_inside: int = 3  # pixels inside of the votes' outline that do not teach
    outline_outside: int = 1  # the same outside of it; with none the head eats the object
    head_rounds: int = 2  # the head learns the votes, then its own answers; a third round begins to shrink the object
    head_steps: int = 200  # Adam steps of each
    head_lr: float = 3e-3  # Adam
    matte_inside: int = 2  # pixels inside of the head's outline whose part is read off colours
    matte_outside: int = 1  # the same outside of it
    matte_reach: int = 3  # pixels over which the colours on either side are averaged


@dataclass(frozen=True)
class LearntMasks:
    """A head, and how it can be trusted without a label."""

    head: MaskHead
    object_share: float  # of the pixels of fresh samples
    agreement: float  # IoU of head and votes on fresh samples
    images: Float[Tensor, "N 3 G G"] | None = None  # those samples
    masks: Float[Tensor, "N 1 G G"] | None = None  # the head's masks of them


@dataclass(frozen=True)
class Axes:
    """A projection of features and colours onto a few numbers for each pixel."""

    mean: Float[Tensor, " C"]
    axes: Float[Tensor, "C K"]  # scale and principal components


def learn_masks(
    generator: Generator,
    centre: Float[Tensor, " D"],
    config: ForegroundConfig | None = None,
    report: Reporter = silent,
    seed: int = 0,
) -> LearntMasks:
    """A mask head for the generator's samples about `centre`. Deterministic with `seed`."""
    config = config or ForegroundConfig()
    config = replace(config, grid=min(config.grid, generator.config.resolution))
    n = config.n_samples
    latents = truncated_latents(generator, centre, n + config.n_fresh, config.truncation, seed)
    samples = make_samples(generator, latents, min(config.coarsest, config.grid), config.grid, report)
    rng = torch.Generator().manual_seed(seed)
    votes = []
    for i, n_clusters in enumerate(config.n_clusters):
        votes.append(cluster_masks(samples, n, n_clusters, config, rng))
        report("clusters", i + 1, len(config.n_clusters))
    agreed = torch.stack(votes).mean(0)
    head = train_head(samples, agreed[:n], config, seed, report)
    with torch.no_grad():
        masks = answers(head, samples, config)[n:]
    found, wanted = masks > 0.5, agreed[n:] > 0.5
    both, either = (found & wanted).sum((1, 2, 3)), (found | wanted).sum((1, 2, 3))
    agreement = (both / either.clamp_min(1)).mean().item()
    with seeded(seed):  # its first weights are replaced
        whole = for_features(head, samples)
    return LearntMasks(whole, found.float().mean().item(), agreement, samples.images[n:].float(), masks)


@torch.no_grad()
def truncated_latents(
    generator: Generator, centre: Float[Tensor, " D"], n: int, psi: float, seed: int
) -> Float[Tensor, "N D"]:
    """w of `n` samples, truncated towards `centre`."""
    z = torch.randn(n, generator.config.z_dim, generator=torch.Generator().manual_seed(seed)).to(centre.device)
    return centre + psi * (generator.mapping(z) - centre)


def parts_of(samples: FeatureSamples) -> list[tuple[Tensor, int, Tensor | None]]:
    """(maps, channels that they stand for, basis) of each level, then of the colours."""
    levels = [(level.maps, level.n_channels, level.basis) for level in samples.levels]
    return [*levels, (samples.images, samples.images.shape[1], None)]


def stacked(samples: FeatureSamples, chosen: slice, grid: int) -> Float[Tensor, "N G G C"]:
    """All channels and the colours at one resolution."""
    maps = [*samples.some(chosen), samples.images[chosen].float()]
    return torch.cat([resized(one, grid) for one in maps], 1).movedim(1, -1)


def principal(samples: FeatureSamples, config: ForegroundConfig, rng: torch.Generator) -> Axes:
    """Centre, scale (every channel to unit variance, every resolution to equal weight) and principal axes."""
    few = slice(0, max(1, 8 * config.n_pixels // config.grid**2))
    pixels = stacked(samples, few, config.grid).flatten(0, 2)
    pixels = pixels[torch.randperm(len(pixels), generator=rng)[: config.n_pixels].to(pixels.device)]
    mean, spread = pixels.mean(0), pixels.std(0).clamp_min(1e-6)
    shares, is_scaled = [], []  # components are of channels that have unit variance already
    for maps, n_channels, basis in parts_of(samples):
        shares.append(mean.new_full((maps.shape[1],), n_channels**-0.5))
        is_scaled.append(torch.full_like(shares[-1], basis is not None, dtype=torch.bool))
    scale = torch.cat(shares) / torch.where(torch.cat(is_scaled), 1.0, spread)
    _, axes = torch.linalg.eigh(((pixels - mean) * scale).T.cov())
    n = min(config.n_components, axes.shape[1])
    return Axes(mean, scale[:, None] * axes.flip(1)[:, :n])


def projected(samples: FeatureSamples, axes: Axes, config: ForegroundConfig) -> Float[Tensor, "N G G K"]:
    """Every pixel on the axes. Levels are projected at their own resolution: enlarging few numbers costs less."""
    parts, total = [maps for maps, *_ in parts_of(samples)], []
    own_axes = axes.axes.split([maps.shape[1] for maps in parts])
    for start in range(0, len(samples.images), config.batch):
        few = slice(start, start + config.batch)
        on_axes = [in_basis(maps[few].float(), own) for maps, own in zip(parts, own_axes, strict=True)]
        total.append(sum(resized(one, config.grid) for one in on_axes).movedim(1, -1) - axes.mean @ axes.axes)
    return torch.cat(total)


def k_means(points: Float[Tensor, "N K"], n_clusters: int, n_rounds: int, rng: torch.Generator) -> Float[Tensor, "M K"]:
    """Centres of clusters: Lloyd's rounds from spread-out starts (k-means++; Arthur and Vassilvitskii 2007)."""
    centres = points[torch.randint(len(points), (1,), generator=rng).to(points.device)]
    while len(centres) < n_clusters:
        distance = torch.cdist(points, centres).amin(1).square().clamp_min(1e-12)
        chosen = torch.multinomial(distance.cpu(), 1, generator=rng)
        centres = torch.cat([centres, points[chosen.to(points.device)]])
    for _ in range(n_rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        counts = torch.bincount(nearest, minlength=n_clusters)[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    return centres


@torch.no_grad()
def cluster_masks(
    samples: FeatureSamples, n: int, n_clusters: int, config: ForegroundConfig, rng: torch.Generator
) -> Float[Tensor, "N 1 G G"]:
    """1 where a pixel belongs to a cluster that avoids the border. Clusters come from the first `n` samples only."""
    axes = principal(samples, config, rng)
    points = projected(samples, axes, config)
    learnt = points[:n].flatten(0, 2)
    some = torch.randperm(len(learnt), generator=rng)[: config.n_pixels].to(points.device)
    centres = k_means(learnt[some], n_clusters, config.n_rounds, rng)
    labels = torch.cat([torch.cdist(part.flatten(0, 2), centres).argmin(1) for part in points.split(16)])
    labels = labels.view(points.shape[:3])
    return is_object(labels[:n], n_clusters, config)[labels][:, None].float()


def border_band(grid: int, width: float) -> Bool[Tensor, "G G"]:
    """The pixels along the border, `width` of the image wide."""
    band = torch.ones(grid, grid, dtype=torch.bool)
    n = max(1, round(width * grid))
    band[n:-n, n:-n] = False
    return band


def is_object(labels: Int[Tensor, "N G G"], n_clusters: int, config: ForegroundConfig) -> Bool[Tensor, " M"]:
    """Which clusters avoid the border: their presence there, relative to their mean presence, falls into two groups."""
    presence = F.one_hot(labels, n_clusters).float().mean(0)
    band = border_band(config.grid, config.border).to(labels.device)
    share, at_border = presence.flatten(0, 1).mean(0), presence[band].mean(0)
    used = share > 0
    ratio = (at_border[used] / share[used]).clamp_min(config.least_ratio).log()
    found = torch.zeros_like(used)
    found[used] = ratio < two_groups(ratio, share[used])
    return found


def two_groups(values: Float[Tensor, " M"], weights: Float[Tensor, " M"]) -> float:
    """The threshold that divides weighted values into the two groups whose means differ most (Otsu 1979)."""
    order = values.argsort()
    values, weights = values[order], weights[order]
    below, moment = weights.cumsum(0)[:-1], (values * weights).cumsum(0)[:-1]
    above, rest = weights.sum() - below, (values * weights).sum() - moment
    between = below * above * (moment / below.clamp_min(1e-9) - rest / above.clamp_min(1e-9)).square()
    if len(between) == 0:  # one value makes no groups
        return float(values[0])
    at = int(between.argmax())
    return float(values[at] + values[at + 1]) / 2


def teaching(votes: Float[Tensor, "N 1 G G"], config: ForegroundConfig) -> Float[Tensor, "N 1 G G"]:
    """1 where the votes agree and no outline is near."""
    inside = share_around(votes, config.outline_inside) > 1 - 1e-3
    outside = share_around(votes, config.outline_outside) < 1e-3
    return ((inside | outside) & ((votes >= config.certain) | (votes <= 1 - config.certain))).float()


def train_head(
    samples: FeatureSamples, votes: Float[Tensor, "N 1 G G"], config: ForegroundConfig, seed: int, report: Reporter
) -> MaskHead:
    """A head on the generator's features: first it learns the votes, then its own answers, never at outlines; at last
    outlines as colours tell them.
    """
    n, rounds = len(votes), config.head_rounds + 1
    for i in range(config.head_rounds):
        with seeded(seed):
            widths = tuple(level.maps.shape[1] for level in samples.levels)
            head = MaskHead(MaskHeadConfig(widths, size=config.grid)).to(votes.device)
        lesson = (votes > 0.5).float(), teaching(votes, config)
        fit_head(head, samples, lesson, config, seed + i, f"mask head {i + 1}/{rounds}", report)
        votes = answers(head, samples, config)[:n]
    lesson = outlines_by_colour(votes, samples, config)
    fit_head(head, samples, lesson, config, seed + config.head_rounds, f"mask head {rounds}/{rounds}", report)
    return head.eval().requires_grad_(False)


def outlines_by_colour(
    votes: Float[Tensor, "N 1 G G"], samples: FeatureSamples, config: ForegroundConfig
) -> tuple[Float[Tensor, "N 1 G G"], Float[Tensor, "N 1 G G"]]:
    """What the head learns at last, and how much each pixel counts."""
    some = zip(votes.split(config.batch), samples.images[: len(votes)].split(config.batch), strict=True)
    sizes = config.matte_inside, config.matte_outside, config.matte_reach
    wanted, weights = zip(*(matted(masks, images.float(), *sizes) for masks, images in some), strict=True)
    return torch.cat(wanted), torch.cat(weights)


def fit_head(
    head: MaskHead,
    samples: FeatureSamples,
    lesson: tuple[Float[Tensor, "N 1 G G"], Float[Tensor, "N 1 G G"]],
    config: ForegroundConfig,
    seed: int,
    name: str,
    report: Reporter,
) -> None:
    """The head learns a lesson: what is wanted, and how much each pixel counts. `seed`: of its batches."""
    rng, (wanted, weights) = torch.Generator().manual_seed(seed), lesson

    def loss_of(step: Step) -> Float[Tensor, ""]:
        chosen = torch.randint(len(wanted), (config.batch,), generator=rng).to(wanted.device)
        error = F.binary_cross_entropy(head(samples.some(chosen)), wanted[chosen], reduction="none")
        return (error * weights[chosen]).sum() / weights[chosen].sum().clamp_min(1)

    optimise(head.parameters(), loss_of, Plan((Stage(name, config.head_steps, config.head_lr),)), report=report)


@torch.no_grad()
def answers(head: MaskHead, samples: FeatureSamples, config: ForegroundConfig) -> Float[Tensor, "N 1 G G"]:
    """The head's masks of all samples."""
    starts = range(0, len(samples.images), config.batch)
    return torch.cat([head(samples.some(slice(start, start + config.batch))) for start in starts])
