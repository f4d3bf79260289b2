"""Spaces: what is optimised, and the picture that it makes.

    Z          z, from the normal distribution; `Z sphere` keeps its norm
    P          PULSE's whitened space, a row for each layer, each kept on its sphere (Menon et al. 2020)
    W, W+      w for all layers, or a row for each
    S          the style of each modulated layer
    N          noise maps; `N[:5]` the coarsest five. A layer that learnt no strength has strength 1, and maps of zeros
    Theta      the generator's weights, in groups from coarse to fine (Pan et al. 2020: relaxed reconstruction)
    Spread     of W and W+: a normal distribution about w, by its standard deviations (Marinescu et al. 2021)
    Y          the vector of the class: a bias of the mapping network's first layer (prior.packs.of_class)
    Pixels     the picture itself (total variation); Net: the weights of a small network (Ulyanov et al. 2018)

Latent spaces compose with N, Theta and Y: "W+ + N", "Z + Theta". One row of every parameter belongs to one picture.
With Theta, Y or Net each picture has weights of its own, so that they are solved one by one.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.core.seeding import seeded
from gan2shape.nn.deep_image_prior import ImageNet, code_of
from gan2shape.nn.generator import Generator
from gan2shape.nn.layers import LEAKY_SLOPE
from gan2shape.prior.packs import Prior

LATENTS = ("Z", "Z sphere", "P", "W", "W+", "S")
ADDED = ("N", "Theta", "Spread", "Y")
LEARNT = ("latent", "noise", "spread", "embedding")  # groups beside those of Theta
FREE = ("Pixels", "Net")  # without a generator
WHITENING_SAMPLES = 10_000  # latents behind P
FIRST_SPREAD = 0.1  # standard deviation of Spread at the start, in w's root mean square distance from its mean


@dataclass(frozen=True)
class Space:
    """A space by its parts."""

    latent: str  # of LATENTS or FREE
    n_noise: int | None = 0  # how many of the coarsest noise maps; None: all
    theta: bool = False
    embedding: bool = False
    spread: bool = False

    @property
    def is_single(self) -> bool:
        """Whether pictures have to be solved one by one."""
        return self.theta or self.embedding or self.latent == "Net"


def parse_space(text: str) -> Space:
    """The space that is written. Raises UserError for one that is not known (the nearest is named)."""
    latent, *added = (part.strip() for part in re.split(r"\s\+\s", text.strip()))
    if latent not in (*LATENTS, *FREE):
        raise UserError(f"unknown space {latent!r}{nearest(latent, (*LATENTS, *FREE))}")
    n_noise: int | None = 0
    for part in added:
        maps = re.fullmatch(r"N(?:\[:(\d+)\])?", part)
        if maps:
            n_noise = None if maps[1] is None else int(maps[1])
        elif part not in ADDED:
            raise UserError(f"unknown space {part!r} after {latent}{nearest(part, ADDED)}")
    if "Y" in added and not latent.startswith("Z"):
        raise UserError(f"the space Y acts on the way from z to w: write Z + Y, not {latent} + Y.")
    if "Spread" in added and latent not in ("W", "W+"):
        raise UserError(f"Spread is of w: write W+ + Spread, not {latent} + Spread.")
    if added and latent in FREE:
        raise UserError(f"the space {latent} has no generator: leave + {added[0]} away.")
    return Space(latent, n_noise, "Theta" in added, "Y" in added, "Spread" in added)


@dataclass(frozen=True)
class Made:
    """A picture and what it was made from; what its space does not have is None."""

    image: Float[Tensor, "B 3 S S"]
    w: Float[Tensor, "B *L D"] | None = None  # w or W+
    z: Float[Tensor, "B Z"] | None = None
    noise: tuple[Tensor, ...] = ()  # of space N
    spread: Float[Tensor, "B *L D"] | None = None  # of space Spread: standard deviations of w, in units of its scale


@dataclass(frozen=True)
class Unknowns:
    """Parameters of a space, and the picture that they make: `made()`. `groups` is what `optimise` takes."""

    groups: dict[str, list[nn.Parameter]]  # latent, noise, theta0 (coarsest) to thetaN
    made: Callable[..., Made]  # (jitter [B, L, D] or None) -> the picture; added to w, of Spread in its deviations
    project: Callable[[], None] | None = None  # back to what the space allows, after each step
    theta: tuple[dict[str, nn.Parameter], ...] = ()  # the weights by depth and name

    @property
    def w(self) -> Float[Tensor, "B *L D"] | None:
        """w or W+ as it is now, which later steps do not change; None in a space that has none."""
        with torch.no_grad():
            w = self.made().w
        return None if w is None else w.detach().clone()

    @property
    def state(self) -> dict[str, Tensor]:
        """Everything that was learnt, by name, detached: what is saved and what morphing interpolates."""
        return {name: p.detach().clone() for name, p in self.named().items()}

    def named(self) -> dict[str, nn.Parameter]:
        """Every parameter by name."""
        latent = {f"{group}{i}": p for group in LEARNT for i, p in enumerate(self.groups.get(group, ()))}
        return latent | {f"theta/{name}": p for part in self.theta for name, p in part.items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> "Unknowns":
        """Put a `state` of the same space in place; returns itself."""
        for name, parameter in self.named().items():
            parameter.copy_(state[name])
        return self

    def after_step(self, *_: object) -> None:
        """For `optimise`."""
        if self.project is not None:
            self.project()


def unknowns(
    prior: Prior, space: Space, z: Float[Tensor, "B Z"] | None, w: Float[Tensor, "B *L D"] | None
) -> Unknowns:
    """The parameters of a space that begin at a z or a w. Raises UserError where only the other one would do."""
    if z is None and space.latent.startswith("Z"):
        raise UserError(f"the space {space.latent} begins at a z, which a given w does not tell: use W or W+.")
    synthesis = prior.generator.synthesis
    embedding = [_learnt(prior.generator.mapping.fc0.bias[None])] if space.embedding else []
    latent, decode, is_round = _coded(prior, space.latent, z, w, embedding)
    noise, fixed = _noise_maps(synthesis, space.n_noise, len(latent[0]))
    theta = theta_groups(synthesis) if space.theta else ()
    spread = [_learnt(torch.full_like(latent[0], math.log(math.expm1(FIRST_SPREAD))))] if space.spread else []
    weights = {f"synthesis.{name}": p for part in theta for name, p in part.items()}
    drawing = _Drawing(synthesis)

    def made(jitter: Tensor | None = None) -> Made:
        seen = decode()
        deviations = nn.functional.softplus(spread[0]) if spread else None
        if jitter is not None and seen.w is not None:
            jitter = jitter if seen.w.ndim == 3 else jitter[:, 0]
            seen = replace(seen, w=seen.w + (jitter if deviations is None else w_scale(prior) * deviations * jitter))
        given = seen.styles if seen.w is None else seen.w
        call = (given, (*noise, *fixed) or "const")
        replaced = {name: p[0] for name, p in weights.items()}
        image = functional_call(drawing, replaced, call) if replaced else drawing(*call)
        return Made(image, seen.w, seen.z, tuple(noise), deviations)

    norms = [p.detach().norm(dim=-1, keepdim=True) for p in latent] if is_round else []
    standardised = noise if prior.generator.config.noise else []  # maps that the generator learnt to expect
    project = (lambda: _projected(latent, norms, standardised)) if norms or standardised else None
    groups = {"latent": latent, "noise": noise, "spread": spread, "embedding": embedding}
    groups |= {f"theta{i}": list(part.values()) for i, part in enumerate(theta)}
    return Unknowns({name: group for name, group in groups.items() if group}, made, project, tuple(theta))


def free_unknowns(prior: Prior, space: Space, start: Float[Tensor, "B 3 S S"], seed: int) -> Unknowns:
    """Those without a generator: the picture itself, from `start` on, or a small network's weights."""
    if space.latent == "Pixels":
        pixels = _learnt(start)
        return Unknowns({"latent": [pixels]}, lambda jitter=None: Made(pixels))
    with seeded(seed):
        network, code = ImageNet(), code_of(prior.resolution).to(start)
    network = network.to(start.device)
    weights = {name: _learnt(p[None]) for name, p in network.named_parameters()}

    def made(jitter: Tensor | None = None) -> Made:
        return Made(functional_call(network, {name: p[0] for name, p in weights.items()}, (code,)))

    return Unknowns({"theta0": list(weights.values())}, made, theta=(weights,))


@dataclass(frozen=True)
class _Decoded:
    """What a latent stands for."""

    w: Tensor | None = None
    z: Tensor | None = None
    styles: list[Tensor] | None = None


def _coded(
    prior: Prior, kind: str, z: Tensor | None, w: Tensor | None, embedding: list[nn.Parameter]
) -> tuple[list[nn.Parameter], Callable[[], _Decoded], bool]:
    """(parameters, what they stand for now, whether their norms are kept)."""
    generator = prior.generator
    if kind.startswith("Z"):
        free = _learnt(z)

        def mapped() -> _Decoded:
            own = {"fc0.bias": embedding[0][0]} if embedding else {}
            return _Decoded(functional_call(generator.mapping, own, (free,)) if own else generator.mapping(free), free)

        return [free], mapped, kind == "Z sphere"
    rows = w if w.ndim == 3 else w[:, None].expand(-1, generator.n_layers, -1)
    if kind == "S":
        with torch.no_grad():
            styles = [_learnt(style) for style in generator.synthesis.styles(w)]
        return styles, lambda: _Decoded(styles=styles), False
    if kind == "P":
        white = whitening(generator)
        free = _learnt(white.encode(rows))
        return [free], lambda: _Decoded(white.decode(free)), True
    free = _learnt(rows if kind == "W+" else w if w.ndim == 2 else w.mean(1))
    return [free], lambda: _Decoded(free), False


@torch.no_grad()
def _projected(latent: list[nn.Parameter], norms: list[Tensor], standardised: list[nn.Parameter]) -> None:
    """Latents back on their spheres, noise maps to zero mean and unit variance (Karras et al. 2020)."""
    for parameter, norm in zip(latent, norms, strict=False):  # none where norms are free
        parameter.mul_(norm / parameter.norm(dim=-1, keepdim=True).clamp_min(1e-12))
    for maps in standardised:
        maps.sub_(maps.mean((1, 2, 3), keepdim=True))
        maps.mul_(maps.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12).rsqrt())


class _Drawing(nn.Module):
    """A synthesis network that is called with w or with styles, so that `functional_call` can replace its weights."""

    def __init__(self, synthesis: nn.Module) -> None:
        super().__init__()
        self.synthesis = synthesis

    def forward(self, given: Tensor | list[Tensor], noise: str | Sequence[Tensor]) -> Tensor:
        is_w = isinstance(given, Tensor)
        return self.synthesis(given, noise) if is_w else self.synthesis.from_styles(given, noise)


@dataclass(frozen=True)
class Whitening:
    """PULSE's Gaussian: v with w = leaky(v * sd + mean), fitted to w before the mapping's last activation."""

    mean: Float[Tensor, " D"]
    sd: Float[Tensor, " D"]

    def decode(self, v: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """w of the whitened v."""
        return nn.functional.leaky_relu(v * self.sd + self.mean, LEAKY_SLOPE)

    def encode(self, w: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """The whitened v of w."""
        return (nn.functional.leaky_relu(w, 1.0 / LEAKY_SLOPE) - self.mean) / self.sd


@torch.no_grad()
def whitening(generator: Generator, n_samples: int = WHITENING_SAMPLES) -> Whitening:
    """The Gaussian of a generator's own w; the same for the same generator."""
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(n_samples, generator.config.z_dim, generator=rng).to(generator.w_avg.device)
    before = nn.functional.leaky_relu(generator.mapping(z), 1.0 / LEAKY_SLOPE)
    return Whitening(before.mean(0), before.std(0).clamp_min(1e-8))


def unit_draw(prior: Prior, rng: torch.Generator) -> Float[Tensor, "1 L D"]:
    """What `made` of a Spread takes, one draw for all pictures."""
    shape = 1, prior.generator.n_layers, prior.generator.config.w_dim
    return torch.randn(shape, generator=rng).to(prior.w_mean)


def w_scale(prior: Prior) -> Float[Tensor, ""]:
    """Root mean square of w's components about their mean."""
    return prior.w_cov.diagonal().mean().clamp_min(1e-12).sqrt()


def _learnt(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone().contiguous())


def _noise_maps(
    synthesis: nn.Module, n_free: int | None, n_images: int
) -> tuple[list[nn.Parameter], list[Tensor]]:
    """(maps that learn, the others, [B, 1, h, w] each). They begin at the generator's own constants, or at zero where
    it has none.
    """
    if n_free == 0:
        return [], []
    layers = [layer for block in synthesis.blocks() for layer in block.styled()[: block.n_convs]]
    maps = []
    for size, layer in zip(synthesis.noise_sizes, layers, strict=True):
        own = layer.noise_const if layer.use_noise else layer.weight.new_zeros(size, size)
        maps.append(own.detach().expand(n_images, 1, -1, -1))
    n_free = len(maps) if n_free is None else n_free
    return [_learnt(own) for own in maps[:n_free]], maps[n_free:]


def theta_groups(synthesis: nn.Module) -> list[dict[str, nn.Parameter]]:
    """Copies [1, ...] of the weights of each block, coarse to fine, by their names; to-RGB layers stay (as published:
    the output layer is never tuned).
    """
    names = {id(p): name for name, p in synthesis.named_parameters()}
    groups = []
    for block in synthesis.blocks():
        outputs = {id(p) for p in block.torgb.parameters()} if hasattr(block, "torgb") else set()
        groups.append({names[id(p)]: _learnt(p[None]) for p in block.parameters() if id(p) not in outputs})
    return [group for group in groups if group]
