"""Edits by a sentence: the latent moves until a picture and a sentence agree, by a toy pair of networks (nn/text_pair).

    asks = asking("a blue van", pair)
    offset = text_offset(asks, latent, prior)       StyleCLIP's optimisation, one picture
    mapper = train_mapper(asks, prior)              its latent mapper, any picture afterwards

How far the latent may go is `locality`: greater is nearer to the picture as it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.devices import upload
from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.core.network_files import load_network, save_network
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.edit.latents import as_rows
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.method import MethodConfig, StageConfig, TermConfig
from gan2shape.invert.schedules import linear_fall
from gan2shape.invert.solver import Problem, solve
from gan2shape.invert.terms import w_scale
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.latent_mapper import LatentMapper
from gan2shape.nn.text_pair import TextPair, TextPairConfig
from gan2shape.prior.identity import trained_file
from gan2shape.prior.packs import Origin, Prior
from gan2shape.synth.registry import CATEGORIES

FORMAT = "gan2shape-text-pair-1"
TEXT_NAME = "text.safetensors"  # beside a pack
COMMAND = "gan2shape train-text --category {}"
LOCALITY = 10.0  # weight of the mean squared distance from where the latent was, in units of w's scale
N_STEPS, LR = 100, 0.1  # of the optimisation; published: 300
MAPPER_STEPS, MAPPER_LR, MAPPER_BATCH = 300, 2e-3, 8


def save_text_pair(path: Path, pair: TextPair, card: Mapping[str, Any]) -> Path:
    """Write a pair in half precision with its card, whole or not at all. Returns the path."""
    return save_network(path, pair, pair.config, FORMAT, card)


def open_text_pair(path: Path | None, prior: Prior) -> TextPair:
    """The pair in a file, or beside the bundled pack, or where it was trained. Raises UserError where there is none."""
    category = prior.origin.category or prior.card.get("category", "car")
    command = COMMAND.format(category)
    of_objects = replace(prior, origin=Origin(category), card={"category": category})  # whatever their generator
    if path is None and not (path := trained_file("text", of_objects, TEXT_NAME)).is_file():
        _require_names(category)

    def build(fields: dict[str, Any]) -> TextPair:
        own = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.pop("trunk").items()}
        return TextPair(TextPairConfig(DiscriminatorConfig(**own), **fields))

    return load_network(path, build, FORMAT, "pair of pictures and sentences", command).to(prior.w_mean.device)


def _require_names(category: str) -> None:
    """Raises UserError for a category that no pair can be trained for (build.captions)."""
    spec = CATEGORIES.get(category)
    if spec is not None and not (spec.styles or any(name.endswith("_rgb") for name in spec.traits)):
        raise UserError(
            f"No sentences are made of {category}, whose objects have neither colours nor styles: for the light write "
            "--light-from left."
        )


def sentence_of(settings: tuple[str, ...]) -> str:
    """`a red pickup` of `colour=red`, `body=pickup`: the values in their order. Raises UserError for what is no
    NAME=VALUE.
    """
    values = []
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals and value):
            raise UserError(f"{setting!r} is no NAME=VALUE: write --set colour=red body=pickup.")
        values.append(f"lit from the {value}" if name == "light" else value)
    return " ".join(["a", *values])


def asking(text: str, pair: TextPair) -> Callable[[Tensor], Float[Tensor, " B"]]:
    """Pictures -> 1 - cosine to the sentence: 0 where they agree. Raises UserError for unknown words."""
    with torch.no_grad():
        wanted = pair.of_text(pair.tokens(text))
    size = pair.config.trunk.resolution
    return lambda images: 1.0 - (pair.of_images(resized(images, size)) * wanted).sum(1)


def text_method(locality: float, n_steps: int) -> MethodConfig:
    """StyleCLIP's optimisation as a method of the solver."""
    return MethodConfig(
        title="StyleCLIP's optimisation, by a toy pair",
        source="Patashnik et al., ICCV 2021, section 4",
        space="W+",
        terms=(TermConfig("asked"), TermConfig("w_start", (locality,))),
        stages=(StageConfig(n_steps, {"latent": LR}, schedule="projector", name="text"),),
        keeps_best=False,
        remedy="try a greater locality",
    )


def text_offset(
    asks: Callable[[Tensor], Tensor],
    latent: Float[Tensor, "B *L D"],
    prior: Prior,
    locality: float = LOCALITY,
    n_steps: int = N_STEPS,
    report: Reporter = silent,
) -> Float[Tensor, "B L D"]:
    """What has to be added to each latent's rows so that its picture agrees with what `asks` asks for (`asking`, or
    `script_pair.script_asking`).
    """
    rows = as_rows(latent, prior.generator.n_layers)
    with torch.no_grad():
        images = prior.generator.synthesis(rows)
    problem = Problem(images, asks=asks)
    return solve(problem, text_method(locality, n_steps), prior, start_w=rows, report=report).w - rows


def train_mapper(
    asks: Callable[[Tensor], Tensor],
    prior: Prior,
    locality: float = LOCALITY,
    n_steps: int = MAPPER_STEPS,
    seed: int = 0,
    report: Reporter = silent,
) -> LatentMapper:
    """A mapper that moves any latent towards what `asks` asks for. Deterministic with `seed` on one machine."""
    generator = prior.generator
    with seeded(seed):
        mapper = LatentMapper(generator.n_layers, generator.config.w_dim).to(prior.w_mean.device)
    rng = torch.Generator().manual_seed(seed)

    def loss_of(step: Step) -> Tensor:
        z = torch.randn(MAPPER_BATCH, generator.config.z_dim, generator=rng)
        with torch.no_grad():
            rows = as_rows(generator.mapping(upload(z, prior.w_mean.device)), generator.n_layers)
        offset = mapper(rows)
        away = (offset / w_scale(prior)).square().mean()
        return asks(generator.synthesis(rows + offset)).mean() + locality * away

    stage = Stage("mapper", n_steps, linear_fall(MAPPER_LR, 0.5))
    optimise(mapper.parameters(), loss_of, Plan((stage,)), report=report)
    return mapper.eval().requires_grad_(False)
