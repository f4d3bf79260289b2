"""Loss terms of inversion and restoration: functions (candidate, task, settings) -> one value for each picture, [B].

Every term is 0 at its optimum (adversarial and entropy aside). Terms in DATA compare pictures, within a region;
the others are priors on the latent, the noise or the picture. `TERMS` names them all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.images import resized
from gan2shape.invert.method import TermConfig
from gan2shape.invert.spaces import Made, w_scale
from gan2shape.prior.packs import Prior

OWN_NETWORK = "discriminator"  # of the prior
FEATURE_FLOOR = 1e-6  # least mean magnitude that features are measured against
PYRAMID_LEVELS = 3  # of the pixel pyramid: full, half, quarter
MIN_NOISE_PX = 8  # the noise regulariser's pyramid ends here (Karras et al. 2020)


@dataclass(frozen=True)
class Candidate:
    """What terms look at."""

    made: Made  # the picture and its latents
    seen: Float[Tensor, "B 3 h w"]  # the picture through the degradation


@dataclass(frozen=True)
class Comparison:
    """What candidates are compared with. Features of targets are computed once."""

    prior: Prior
    targets: dict[str, Float[Tensor, "B 3 h w"]]  # "observed" and whatever a caller adds
    regions: dict[str, Float[Tensor, "B 1 h w"]]  # "known" and whatever a caller adds; "all" needs none
    networks: dict[str, Callable] = field(default_factory=dict)  # further feature networks: images, n_blocks -> maps
    start_w: Float[Tensor, "B *L D"] | None = None  # where the descent began
    cache: dict = field(default_factory=dict)
    reader: Callable[[Tensor], Tensor] | None = None  # pictures -> rows of W+: an encoder in the place of the pack's
    asks: Callable[[Tensor], Tensor] | None = None  # pictures -> how far each is from what is asked for, [B]

    def region(self, settings: TermConfig, like: Tensor) -> Float[Tensor, "B 1 h w"] | None:
        """Weights at the resolution of `like`; None for everything."""
        if settings.region == "all":
            return None
        weight = self.regions[settings.region]
        return weight if weight.shape[-2:] == like.shape[-2:] else F.interpolate(weight, like.shape[-2:], mode="area")

    def features(self, images: Tensor, settings: TermConfig) -> list[Tensor]:
        """Feature maps of a network's first blocks, of the discriminator's as many as so small an image can pass."""
        if settings.network != OWN_NETWORK:
            return self.networks[settings.network](images, settings.n_blocks)
        network = self.prior.discriminator
        return network.features(images, min(settings.n_blocks, network.n_blocks_at(images.shape[-1])))

    def target_features(self, settings: TermConfig) -> tuple[list[Tensor], list[Float[Tensor, " B"]]]:
        """(feature maps of the target, the mean magnitude of each)."""
        key = (settings.target, settings.network, settings.n_blocks)
        if key not in self.cache:
            with torch.no_grad():
                maps = [some.contiguous() for some in self.features(self.targets[settings.target], settings)]
                sizes = [torch.stack([one.abs().mean() for one in some]).clamp_min(FEATURE_FLOOR) for some in maps]
                self.cache[key] = maps, sizes
        return self.cache[key]


Term = Callable[[Candidate, Comparison, TermConfig], Tensor]


def averaged(error: Float[Tensor, "B C h w"], weight: Float[Tensor, "#B 1 h w"] | None) -> Float[Tensor, " B"]:
    """Mean over channels and pixels, weighted."""
    if weight is None:
        return error.mean((1, 2, 3))
    return (error.mean(1, keepdim=True) * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3)).clamp_min(1e-8)


def pixel_l1(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean absolute difference."""
    target = task.targets[settings.target]
    return averaged((candidate.seen - target).abs(), task.region(settings, target))


def pixel_l2(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean squared difference of values in [-1, 1]."""
    target = task.targets[settings.target]
    return averaged((candidate.seen - target).square(), task.region(settings, target))


def pixel_smooth_l1(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Huber's loss with beta 1."""
    target = task.targets[settings.target]
    error = F.smooth_l1_loss(candidate.seen, target, reduction="none")
    return averaged(error, task.region(settings, target))


def pyramid(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean over three octaves of the absolute difference of area averages."""
    target, size = task.targets[settings.target], candidate.seen.shape[-1]
    weight, total = task.region(settings, target), 0.0
    for level in range(PYRAMID_LEVELS):
        error = (resized(candidate.seen, size >> level) - resized(target, size >> level)).abs()
        part = None if weight is None else resized(weight, size >> level)
        total = total + averaged(error, part) / PYRAMID_LEVELS
    return total


def features(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean over a network's blocks of |f - f'| / mean |f'| (our stand-in for LPIPS and VGG)."""
    theirs, sizes = task.target_features(settings)
    total = candidate.seen.new_zeros(len(candidate.seen))
    for mine, target, size in zip(task.features(candidate.seen, settings), theirs, sizes, strict=True):
        total = total + averaged((mine - target).abs(), task.region(settings, mine)) / size
    return total / len(theirs)


def gram(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Style: mean squared difference of Gram matrices within the region, relative to the target's (Gatys et al. 2016).

    The last of the blocks counts.
    """
    mine, target = task.features(candidate.seen, settings)[-1], task.target_features(settings)[0][-1]
    weight = task.region(settings, mine)
    ours, theirs = _gram(mine, weight), _gram(target, weight)
    return (ours - theirs).square().mean((1, 2)) / theirs.square().mean((1, 2)).clamp_min(FEATURE_FLOOR)


def _gram(maps: Float[Tensor, "B C h w"], weight: Float[Tensor, "#B 1 h w"] | None) -> Float[Tensor, "B C C"]:
    flat = (maps if weight is None else maps * weight.sqrt()).flatten(2)
    n = flat.shape[-1] if weight is None else weight.sum((1, 2, 3)).clamp_min(1e-6)[:, None, None]
    return flat @ flat.transpose(1, 2) / n


def total_variation(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean length of the picture's gradient (Rudin et al. 1992; isotropic, smoothed by 1e-3)."""
    x = candidate.made.image
    right = (x[..., :-1, 1:] - x[..., :-1, :-1]).square()
    down = (x[..., 1:, :-1] - x[..., :-1, :-1]).square()
    return ((right + down).sum(1) + 1e-6).sqrt().mean((1, 2)) - 1e-3


def z_normal(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """mean z^2 / 2: the negative logarithm of the normal density, without its constant (DGP's w_nll)."""
    return candidate.made.z.square().mean(1) / 2


def w_prior(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean squared distance of w from its mean, in units of its root mean square distance (BRGM)."""
    return ((_rows(candidate) - task.prior.w_mean) / w_scale(task.prior)).square().mean((1, 2))


def w_whitened(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """The same in units of each component's standard deviation."""
    return ((_rows(candidate) - task.prior.w_mean) / task.prior.w_std.clamp_min(1e-6)).square().mean((1, 2))


def w_start(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean squared distance of w from where it began, in the same units (StyleCLIP, locality of pivotal tuning)."""
    start = task.start_w if task.start_w.ndim == 3 else task.start_w[:, None]
    return ((_rows(candidate) - start) / w_scale(task.prior)).square().mean((1, 2))


def colinearity(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean of |1 - cosine| over all pairs of layers (Marinescu et al. 2021)."""
    rows = F.normalize(_rows(candidate), dim=-1, eps=1e-8)
    n_layers = rows.shape[1]
    apart = (1.0 - rows @ rows.transpose(1, 2)).abs() * (1.0 - torch.eye(n_layers).to(rows))
    return apart.sum((1, 2)) / max(1, n_layers * (n_layers - 1))


def geocross(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """512 / 8 times the mean over ordered pairs of layers of their angle squared (Menon et al. 2020)."""
    rows = F.normalize(_rows(candidate), dim=-1, eps=1e-8)
    ours, theirs = rows[:, :, None], rows[:, None]
    apart, together = (ours - theirs).square().sum(-1), (ours + theirs).square().sum(-1)
    angle = 2.0 * torch.atan2((apart + 1e-12).sqrt(), (together + 1e-12).sqrt())
    off = 1.0 - torch.eye(rows.shape[1]).to(rows)
    return 64.0 * (angle.square() * off).mean((1, 2))


def delta(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean squared offset of the layers from the first one, in units of w's scale (e4e)."""
    rows = _rows(candidate)
    return ((rows - rows[:, :1]) / w_scale(task.prior)).square().mean((1, 2))


def noise_regulariser(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Squared autocorrelation of the noise maps by one pixel, at every octave down to 8 x 8 (Karras et al. 2020)."""
    total = candidate.seen.new_zeros(len(candidate.seen))
    for maps in candidate.made.noise:
        while True:
            for axis in (2, 3):
                total = total + (maps * maps.roll(1, axis)).mean((1, 2, 3)).square()
            if maps.shape[-1] <= MIN_NOISE_PX:
                break
            maps = F.avg_pool2d(maps, 2)
    return total


def noise_size(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean square of the noise maps: for generators without noise of their own, whose maps begin at zero."""
    maps = candidate.made.noise
    return sum(part.square().mean((1, 2, 3)) for part in maps) / max(1, len(maps))


def encoder_cycle(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Mean squared distance of w from what the encoder reads in its picture (IDInvert)."""
    if task.reader is not None:
        read = task.reader(candidate.made.image)
    else:
        read = task.prior.generator.mapping(task.prior.encoder(candidate.made.image)[0])[:, None]
    return ((_rows(candidate) - read) / w_scale(task.prior)).square().mean((1, 2))


def asked(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """Whatever a caller asks for: 1 - cosine to a sentence (StyleCLIP, edit/text.py)."""
    return task.asks(candidate.made.image)


def entropy(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """-mean log of the deviations of Spread: minus the entropy of the normal distribution, without its constant."""
    return -candidate.made.spread.log().flatten(1).mean(1)


def adversarial(candidate: Candidate, task: Comparison, settings: TermConfig) -> Float[Tensor, " B"]:
    """softplus(-D): one picture at a time, whose minibatch statistic is that of a batch of one."""
    logits = [task.prior.discriminator(image[None])[:, 0] for image in candidate.made.image]
    return F.softplus(-torch.cat(logits))


def _rows(candidate: Candidate) -> Float[Tensor, "B L D"]:
    w = candidate.made.w
    return w[:, None] if w.ndim == 2 else w


DATA: dict[str, Term] = {
    term.__name__: term for term in (pixel_l1, pixel_l2, pixel_smooth_l1, pyramid, features, gram)
}
PRIORS: dict[str, Term] = {
    term.__name__: term
    for term in (
        total_variation, z_normal, w_prior, w_whitened, w_start, colinearity, geocross, delta, noise_regulariser,
        noise_size, encoder_cycle, asked, entropy, adversarial,
    )
}  # fmt: skip
TERMS = DATA | PRIORS
