"""What the processes of `test_ranks` do: `torchrun … -m tests.train.rank_worker gradients|weights DATA OUT`."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from gan2shape.core.devices import process_rank
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig
from gan2shape.train import loop
from gan2shape.train.dataset import ShardedImages
from gan2shape.train.loop import TrainConfig, TrainState
from gan2shape.train.ranks import Ranks, open_ranks
from gan2shape.train.state import add_encoder, new_state

N_STEPS = 50
CONFIG = TrainConfig(
    batch=16, kimg=N_STEPS * 16 / 1000, lr_decay_from=1.0, path_weight=2.0, path_interval=1, r1_interval=1,
    report_kimg=0.4, sheet_kimg=10.0, precision="fp32", device="cpu", n_threads=1, seed=3, flips=True,
    generator=GeneratorConfig(resolution=16, channels=(8, 8, 6), z_dim=8, w_dim=8, n_mapping=2),
    discriminator=DiscriminatorConfig(resolution=16, channels=(8, 6)),
)  # fmt: skip
PLAIN = replace(CONFIG, autoencoding_share=0.0)


def first_gradients(data: Path, config: TrainConfig, ranks: Ranks) -> dict[str, torch.Tensor]:
    """What the optimisers are given in the first step, in their order, by network and update; and the moments of w and
    of the latents after it. No weight moves meanwhile, so that each gradient is one at the initial weights.
    """
    device = torch.device("cpu")
    state = new_state(config.generator, config.discriminator, config.lr, config.beta2, 1, 1, config.seed, device)
    networks = {"generator": state.generator, "discriminator": state.discriminator}
    if config.autoencoding_share > 0:
        add_encoder(state, config.lr, config.beta2, config.seed)
        networks["encoder"] = state.encoder
    found: dict[str, torch.Tensor] = {}
    for name, network in networks.items():
        optimizer = getattr(state, f"{name}_optimizer")
        optimizer.step = keeping(found, name, network)
    loop.train_step(config, state, ShardedImages(data, 16), torch.float32, device, ranks)
    found["w_avg"] = state.generator.w_avg.clone()
    found["mean_path_length"] = state.mean_path_length.clone()
    if state.encoder is not None:
        found["second_moment"] = state.encoder.second_moment.clone()
    return found


def keeping(found: dict[str, torch.Tensor], name: str, network: torch.nn.Module):
    """Stands in for an optimiser's `step`: notes the gradients."""

    def step() -> None:
        update = sum(key.startswith(f"{name} ") for key in found)
        gradients = [p.grad.reshape(-1) for p in network.parameters() if p.grad is not None]
        found[f"{name} {update}"] = torch.cat(gradients)

    return step


def weights(state: TrainState) -> dict[str, torch.Tensor]:
    """Everything that training changes."""
    modules = ("generator", "discriminator", "average", "encoder", "encoder_average")
    return {f"{m}.{n}": t for m in modules for n, t in getattr(state, m).state_dict().items()}


def main() -> None:
    what, data, out = sys.argv[1], *map(Path, sys.argv[2:])
    if what == "gradients":
        with open_ranks("cpu") as (ranks, _):
            found = {"both": first_gradients(data, CONFIG, ranks), "plain": first_gradients(data, PLAIN, ranks)}
    else:
        found = weights(loop.train(data, out / "training", replace(CONFIG, path_interval=3, r1_interval=4)))
    torch.save(found, out / f"{what}{process_rank()}.pt")


if __name__ == "__main__":
    main()
