"""Everything a training run needs to go on after a crash, in one file that is replaced atomically.

Randomness needs no state: every random number of step i comes from a generator seeded with (seed, i), so a resumed run
repeats the uninterrupted one bit for bit (on one device, with the same threads and images; noise inputs are the
exception).
"""

import copy
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.files import write_state_atomic
from gan2shape.core.seeding import seeded
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.image_encoder import (
    ENCODER_NAME,
    ImageEncoder,
    build_encoder,
    encoder_beside,
    encoder_settings,
    take_trunk,
)
from gan2shape.prior.packs import Prior, make_prior

CHECKPOINT_NAME = "checkpoint.pt"
ADAM_EPS = 1e-8
NEEDED = {  # what every training checkpoint holds
    "generator_config", "discriminator_config", "generator", "discriminator", "average", "generator_optimizer",
    "discriminator_optimizer", "mean_path_length", "step", "n_images", "seconds",
}  # fmt: skip


@dataclass
class TrainState:
    """Networks, their average, optimisers and counters. The one mutable record: training changes it in place."""

    generator: Generator
    discriminator: Discriminator
    average: Generator  # exponential moving average of the generator: the one to use
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    mean_path_length: Tensor  # running mean of the path-length penalty
    step: int = 0  # optimiser steps done
    n_images: int = 0  # real images shown
    seconds: float = 0.0  # wall-clock time spent training
    encoder: ImageEncoder | None = None  # trained beside the generator where part of each batch is reproduced
    encoder_average: ImageEncoder | None = None  # its moving average: the one to use
    encoder_optimizer: torch.optim.Optimizer | None = None


def lazy_adam(
    module: torch.nn.Module, lr: float, beta2: float, interval: int, rates: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Adam whose settings account for one extra regularisation step every `interval` (Karras et al. 2020, appendix B).

    interval 0: no regularisation. beta1 is 0, as published. rates: of parameters by the beginning of their names, the
    learning rate relative to `lr`.
    """
    ratio = interval / (interval + 1) if interval else 1.0
    rates = {start: rate for start, rate in (rates or {}).items() if rate != 1.0}
    groups, left = [], dict(module.named_parameters())
    for start, rate in rates.items():
        own = [left.pop(name) for name in list(left) if name.startswith(start)]
        groups.append({"params": own, "lr": lr * ratio * rate})
    groups.insert(0, {"params": list(left.values())})
    return torch.optim.Adam(groups, lr=lr * ratio, betas=(0.0, beta2**ratio), eps=ADAM_EPS)


def new_state(
    generator_config: GeneratorConfig,
    discriminator_config: DiscriminatorConfig,
    lr: float,
    beta2: float,
    path_interval: int,
    r1_interval: int,
    seed: int,
    device: torch.device,
    mapping_rate: float = 1.0,
) -> TrainState:
    """Fresh networks and optimisers. Seeds torch's global generator for the initial weights only."""
    with seeded(seed):
        generator, discriminator = Generator(generator_config), Discriminator(discriminator_config)
    generator = generator.to(device, memory_format=torch.channels_last)
    discriminator = discriminator.to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    return TrainState(
        generator,
        discriminator,
        average,
        lazy_adam(generator, lr, beta2, path_interval, {"mapping.": mapping_rate}),
        lazy_adam(discriminator, lr, beta2, r1_interval),
        torch.zeros([], device=device),
    )


def add_encoder(state: TrainState, lr: float, beta2: float, seed: int) -> None:
    """Give the state an encoder, its average and its optimiser; the trunk starts as the discriminator's."""
    with seeded(seed):
        encoder = encoder_beside(state.discriminator, state.generator.config.z_dim)
    encoder = encoder.to(state.mean_path_length.device, memory_format=torch.channels_last)
    state.encoder, state.encoder_average = encoder, copy.deepcopy(encoder).eval().requires_grad_(False)
    state.encoder_optimizer = lazy_adam(encoder, lr, beta2, 0)


def start_from_pack(state: TrainState, prior: Prior, batch: int) -> None:
    """Take over a pack's networks (the averaged generator serves as both) and the number of images on its card.

    A class-conditional training may start from a pack without classes: what the classes add is zero then.
    Raises UserError where the pack's networks are not those of `state` or it has no discriminator.
    """
    if not can_start_from(prior, state.generator.config, state.discriminator.config):
        raise UserError("The pack to start from has other networks than the configuration: train anew, or change it.")
    pairs = [(ours, prior.generator) for ours in (state.generator, state.average)]
    pairs.append((state.discriminator, prior.discriminator))
    for ours, theirs in pairs:
        ours.load_state_dict({**ours.state_dict(), **theirs.state_dict()})
    known = prior.networks.get(ENCODER_NAME, {})
    if state.encoder is not None and _shapes(known) == _shapes(state.encoder.state_dict()):
        for encoder in (state.encoder, state.encoder_average):
            encoder.load_state_dict(known)
    elif state.encoder is not None:
        copy_trunk(state)
    state.n_images = int(1000 * prior.card.get("training", {}).get("kimg", 0))
    state.step = state.n_images // batch


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def can_start_from(prior: Prior, generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> bool:
    """Whether a training of these networks may begin with a pack's: they are of the same sizes."""
    theirs, fits = prior.discriminator, _continues(generator, prior.generator.config)
    return fits and theirs is not None and _continues(discriminator, theirs.config)


def _continues(ours: GeneratorConfig | DiscriminatorConfig, theirs: GeneratorConfig | DiscriminatorConfig) -> bool:
    """Whether a network of `theirs` may become one of `ours`: the same, or the same without classes."""
    return theirs.n_classes in (0, ours.n_classes) and replace(theirs, n_classes=ours.n_classes) == ours


def save_state(state: TrainState, out_dir: str | Path) -> Path:
    """Replace the folder's checkpoint, whole or not at all."""
    path = Path(out_dir) / CHECKPOINT_NAME
    encoder = {}
    if state.encoder is not None:
        encoder = {
            "encoder_config": encoder_settings(state.encoder),
            "encoder": state.encoder.state_dict(),
            "encoder_average": state.encoder_average.state_dict(),
            "encoder_optimizer": state.encoder_optimizer.state_dict(),
        }
    return write_state_atomic(
        path,
        {
            "generator_config": asdict(state.generator.config),
            "discriminator_config": asdict(state.discriminator.config),
            "generator": state.generator.state_dict(),
            "discriminator": state.discriminator.state_dict(),
            "average": state.average.state_dict(),
            "generator_optimizer": state.generator_optimizer.state_dict(),
            "discriminator_optimizer": state.discriminator_optimizer.state_dict(),
            "mean_path_length": state.mean_path_length,
            "step": state.step,
            "n_images": state.n_images,
            "seconds": state.seconds,
            **encoder,
        },
    )


def read_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict:
    """The checkpoint's contents. Raises UserError if the file is damaged."""
    try:
        saved = torch.load(Path(path), map_location=device, weights_only=True)
        if not isinstance(saved, dict):
            raise ValueError("another kind of file")
        return saved
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is no readable checkpoint: delete it to start again.") from error


def read_training(path: str | Path, device: torch.device | str = "cpu") -> dict:
    """The contents of a training checkpoint (a file, or its folder). Raises UserError if it is damaged or none."""
    path = Path(path)
    path = path / CHECKPOINT_NAME if path.is_dir() else path
    saved = read_checkpoint(path, device)
    if not set(saved) >= NEEDED:
        raise UserError(f"{path} is no readable checkpoint: delete it to start again.")
    return saved


def copy_trunk(state: TrainState) -> None:
    """Start encoder and average anew from the discriminator as it is now."""
    for encoder in (state.encoder, state.encoder_average):
        take_trunk(encoder, state.discriminator)


def load_state(state: TrainState, out_dir: str | Path, device: torch.device) -> bool:
    """Continue from the folder's checkpoint, in place. False if there is none; UserError if it is of other networks."""
    path = Path(out_dir) / CHECKPOINT_NAME
    if not path.exists():
        return False
    saved = read_training(path, device)
    configs = (asdict(state.generator.config), asdict(state.discriminator.config))
    found = tuple(  # checkpoints of earlier versions lack what is at its default
        {**asdict(defaults), **saved[f"{name}_config"]}
        for name, defaults in (("generator", GeneratorConfig()), ("discriminator", DiscriminatorConfig()))
    )
    if found != configs:
        raise UserError(f"{path} holds networks of another configuration: choose another output folder or delete it.")
    state.generator.load_state_dict(saved["generator"])
    state.discriminator.load_state_dict(saved["discriminator"])
    state.average.load_state_dict(saved["average"])
    for name in ("generator_optimizer", "discriminator_optimizer"):
        restore_moments(getattr(state, name), saved[name])
    if state.encoder is not None and "encoder" in saved:  # a run may take up its encoder later
        state.encoder.load_state_dict(saved["encoder"])
        state.encoder_average.load_state_dict(saved["encoder_average"])
        restore_moments(state.encoder_optimizer, saved["encoder_optimizer"])
    elif state.encoder is not None:
        copy_trunk(state)
    state.mean_path_length = saved["mean_path_length"]
    state.step, state.n_images, state.seconds = saved["step"], saved["n_images"], saved["seconds"]
    return True


def restore_moments(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Take over the saved moments, but keep the present learning rate and betas: settings may change between runs."""
    settings = [{key: group[key] for key in ("lr", "betas", "eps")} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, present in zip(optimizer.param_groups, settings, strict=True):
        group.pop("initial_lr", None)  # derived from lr at the next step
        group.update(present)


def load_encoder(path: str | Path, device: torch.device | str = "cpu") -> ImageEncoder | None:
    """Averaged encoder of a checkpoint file (or its folder), frozen; None where the training had none."""
    saved = read_training(path, device)
    if "encoder" not in saved:
        return None
    encoder = build_encoder(saved["encoder_config"], saved["encoder_average"])
    return encoder.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def load_networks(path: str | Path, device: torch.device | str = "cpu") -> tuple[Generator, Discriminator]:
    """Averaged generator and discriminator of a checkpoint file (or its folder), frozen, for use."""
    saved = read_training(path, device)
    generator = Generator(GeneratorConfig(**saved["generator_config"]))
    discriminator = Discriminator(DiscriminatorConfig(**saved["discriminator_config"]))
    generator.load_state_dict(saved["average"])
    discriminator.load_state_dict(saved["discriminator"])
    networks = []
    for network in (generator, discriminator):
        networks.append(network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False))
    return networks[0], networks[1]


def trained_prior(path: str | Path, card: dict) -> Prior:
    """What a training has made, as a pack holds it: averaged generator, discriminator, statistics of w, encoder."""
    prior, encoder = make_prior(*load_networks(path), card), load_encoder(path)
    if encoder is None:
        return prior
    networks, configs = {ENCODER_NAME: encoder.state_dict()}, {ENCODER_NAME: encoder_settings(encoder)}
    return replace(prior, networks=networks, network_configs=configs)
