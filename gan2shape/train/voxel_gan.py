"""Training 3D-GAN (Wu et al. 2016, section 3.1) on voxels of synthetic objects.

Cross-entropy for both players, batch normalisation in both, Adam with beta1 .5, and the published gate: the critic
learns nothing from a batch if it told more than `gate` of the last one rightly.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import Finite, need, need_training
from gan2shape.core.devices import choose_dtype, upload
from gan2shape.core.files import UNREADABLE_ARRAYS, write_arrays_atomic
from gan2shape.core.network_files import load_network, save_network
from gan2shape.core.progress import Reporter, silent
from gan2shape.nn.voxel_networks import (
    VoxelCritic,
    VoxelGanConfig,
    VoxelGenerator,
    build_voxel_critic,
    build_voxel_generator,
)
from gan2shape.synth.voxels import voxel_set
from gan2shape.train.image_source import FIRST_SEED
from gan2shape.train.objectives import discriminator_loss, generator_loss, set_requires_grad
from gan2shape.train.session import TrainingSession, run_session, step_rng

FORMAT = "gan2shape-voxels-1"
NETWORK_NAME = "voxels.safetensors"
COMMAND = "gan2shape voxels train"
SHARD = 100  # objects between two reports
SECONDS_A_SHAPE = 0.012  # of one core: both updates, 32^3 voxels


@dataclass(frozen=True)
class VoxelPlan(Finite):
    """How it is trained. Published: batch 100, learning rates .0025 and 1e-5, z uniform."""

    resolution: int = 32  # voxels along each side: 8, 16 or 32
    n_objects: int = 2000
    n_steps: int = 900
    batch: int = 32
    lr: float = 2e-3
    critic_lr: float = 4e-4
    gate: float = 0.8  # of the critic's last batch rightly told; above it, it learns nothing; 1 turns the gate off
    seed: int = 0

    def check(self) -> None:
        need(self.resolution in (8, 16, 32), f"resolution={self.resolution} is not 8, 16 or 32")
        need_training(self)
        need(0 < self.gate <= 1, f"gate={self.gate} has to lie above 0 and be 1 at most")


def voxels_on_disk(
    category: str, n: int, size: int, beside: Path, report: Reporter = silent
) -> Float[Tensor, "N S S S"]:
    """n objects from FIRST_SEED on, as 0 and 1: read from a file beside a training's folder, or made and written."""
    path = beside.parent / f"voxels-{category}-{size}-{n}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            bits = np.unpackbits(stored["bits"], axis=1, count=size**3)
        return torch.from_numpy(bits.reshape(-1, size, size, size)).float()
    except UNREADABLE_ARRAYS:  # missing or damaged
        parts = []
        for start in range(0, n, SHARD):
            seeds = list(range(FIRST_SEED + start, FIRST_SEED + min(n, start + SHARD)))
            parts.append(voxel_set(category, seeds, size))
            report("voxels", min(n, start + SHARD), n)
        made = torch.cat(parts)
        write_arrays_atomic(path, {"bits": np.packbits(made.numpy().astype(bool).reshape(n, -1), axis=1)})
        return made


def train_voxel_gan(
    voxels: Float[Tensor, "N S S S"],
    plan: VoxelPlan,
    config: VoxelGanConfig,
    out: Path,
    made_of: Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    resume: bool = True,
    report: Reporter = silent,
) -> Path:
    """Train, or go on; returns the generator's file in `out`. made_of: what the voxels are, for the card.

    Raises UserError as `run_session` does.
    """
    device = torch.device(device)
    dtype = choose_dtype(precision, device)
    generator = build_voxel_generator(config, plan.seed).to(device).train()
    critic = build_voxel_critic(config, plan.seed + 1).to(device).train()
    generator.mean_shape.copy_(voxels.mean(0))
    optimizers = {
        "generator": torch.optim.Adam(generator.parameters(), lr=plan.lr, betas=(0.5, 0.999)),
        "critic": torch.optim.Adam(critic.parameters(), lr=plan.critic_lr, betas=(0.5, 0.999)),
    }

    def step(index: int) -> dict[str, Tensor]:
        rng = step_rng(plan.seed, index)
        real = upload(voxels[torch.from_numpy(rng.integers(0, len(voxels), plan.batch))][:, None], device)
        z = rng.standard_normal((plan.batch, config.z_dim), dtype=np.float32)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            set_requires_grad(critic, False)
            made = generator(upload(torch.from_numpy(z), device))
            loss = generator_loss(critic(made).float())
        update(loss, optimizers["generator"])
        set_requires_grad(critic, True)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            measured = critic_step(critic, optimizers["critic"], real, made.detach(), plan.gate)
        return {"generator": loss.detach(), **measured}

    card = {"kind": "3D-GAN", "plan": asdict(plan), "config": asdict(config), "objects": dict(made_of)}
    each = SECONDS_A_SHAPE * plan.batch * (config.resolution / 32) ** 3
    session = TrainingSession("3D-GAN", plan.n_steps, plan.batch, card, each)
    networks = {"generator": generator, "critic": critic}
    seconds = run_session(session, networks, optimizers, step, out, resume=resume, report=report)
    return save_network(out / NETWORK_NAME, generator, config, FORMAT, {**card, "seconds": round(seconds, 1)})


def critic_step(
    critic: VoxelCritic,
    optimizer: torch.optim.Optimizer,
    real: Float[Tensor, "B 1 S S S"],
    made: Float[Tensor, "B 1 S S S"],
    gate: float,
) -> dict[str, Tensor]:
    """Judge a batch; learn from it unless the accuracy on the last one was above the gate."""
    is_open = gate >= 1.0 or float(critic.accuracy) <= gate
    with torch.set_grad_enabled(is_open):
        on_real, on_made = critic(real).float(), critic(made.float()).float()
        loss = discriminator_loss(on_real, on_made)
    accuracy = torch.cat([on_real > 0, on_made < 0]).float().mean()
    critic.accuracy.copy_(accuracy)
    if is_open:
        update(loss, optimizer)
    return {"critic": loss.detach(), "accuracy": accuracy, "learns": torch.tensor(float(is_open))}


def update(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step of descent."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def load_voxel_generator(path: Path, device: torch.device | str = "cpu") -> VoxelGenerator:
    """The generator in a file, or in a training's folder; frozen. Raises UserError where it is missing or damaged."""
    path = path / NETWORK_NAME if path.is_dir() else path

    def build(fields: dict[str, Any]) -> VoxelGenerator:
        return build_voxel_generator(VoxelGanConfig(**fields))

    return load_network(path, build, FORMAT, "generator of voxels", COMMAND).to(device)
