"""Golden numbers of published networks, made by running the published code (see tests/data/golden/README.md)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan2shape.checkpoints.published import published_state
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig

FOLDER = Path(__file__).parent.parent / "data" / "golden"
CHANNELS = (24, 24, 24, 16)


def load(name: str) -> dict[str, Tensor]:
    """Arrays of one golden file as tensors."""
    with np.load(FOLDER / name, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def networks(architecture: str) -> tuple[Generator, Discriminator]:
    """Our networks with the published weights of the named generator architecture."""
    state = load(f"nvidia_ada_{architecture}_32_state.npz")
    parts = {
        prefix: {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
        for prefix in ("G_ema/", "D/")
    }
    generator = Generator(
        GeneratorConfig(
            resolution=32,
            channels=CHANNELS,
            z_dim=48,
            w_dim=40,
            n_mapping=3,
            architecture=architecture,
            resample="fir",
            noise=True,
        )
    )
    discriminator = Discriminator(
        DiscriminatorConfig(resolution=32, channels=CHANNELS, resample="fir", unshuffle=False)
    )
    generator.load_state_dict(published_state(parts["G_ema/"]))
    discriminator.load_state_dict(published_state(parts["D/"]))
    return generator.eval().requires_grad_(False), discriminator.eval().requires_grad_(False)
