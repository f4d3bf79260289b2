"""How good can a depth network become that is taught TRUE depth? Curves over steps, images and width.

    python scripts/scaling_curves.py --category car --out FOLDER [--images 8000] [--width 1.0] [--skips] [--steps 20000]

The same autoencoder that packs carry (or one with U-Net connections) learns depth and its gradients from synthetic
renders with training seeds; an exponential average of its weights is scored on the exam's validation split every
`--every` steps (mean of image and mirror image; SIDE and MAD as parts of flat). One JSON line a score goes to
`FOLDER/curve.jsonl`. The state is written every two minutes; the same command goes on from it. Deterministic with its
seed, but for how long each step takes.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.bench.exam import COUNT, exam_objects
from gan2shape.bench.score import score_depth
from gan2shape.core.config import NetworkConfig
from gan2shape.core.files import write_atomic, write_state_atomic
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.nn.scene_networks import AutoEncoder, as_depth
from gan2shape.shape.ellipsoid import flat_depth
from gan2shape.synth.dataset import render_set

HALF_RANGE = 0.1
GRADIENT_WEIGHT = 8.0  # of the L1 of depth differences between neighbours, beside the L1 of depth
EMA_DECAY = 0.998  # a step, of the weights that are scored
LR, BETAS = 1e-3, (0.9, 0.99)
SAVE_SECONDS = 120.0


class UNet(nn.Module):
    """The autoencoder's levels with two convolutions each and connections across: [B,3,S,S] -> [B,1,S,S]."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = 3
        for width in widths:
            self.down.append(nn.Sequential(_level(before, width), _level(width, width)))
            before = width
        for width in reversed(widths[:-1]):
            self.up.append(nn.Sequential(_level(before + width, width), _level(width, width)))
            before = width
        self.last = nn.Conv2d(before, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for i, level in enumerate(self.down):
            x = level(x if i == 0 else F.avg_pool2d(x, 2))
            kept.append(x)
        for level, across in zip(self.up, reversed(kept[:-1]), strict=True):
            x = level(torch.cat([F.interpolate(x, scale_factor=2), across], 1))
        return self.last(x)


def _level(before: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(max(1, width // 8), width), nn.SiLU())


def new_network(width: float, skips: bool) -> nn.Module:
    """Today's depth network with its widths times `width`, or the U-Net."""
    config = NetworkConfig()
    widths = tuple(8 * max(1, round(width * n / 8)) for n in config.autoencoder_channels)
    network = UNet((16, *widths)) if skips else AutoEncoder(1, 64, NetworkConfig(autoencoder_channels=widths))
    return network.to(memory_format=torch.channels_last)


def training_set(category: str, n: int, cache: Path) -> dict[str, np.ndarray]:
    """Images (uint8), depth (float32, about 1) and full coverage (bool) of training seeds 0 to n - 1, kept on disk."""
    parts = []
    for first in range(0, n, 1000):
        path = cache / f"{category}-{first:06d}.npz"
        if not path.is_file():
            truth = render_set(category, list(range(first, first + 1000))).truth
            image = (truth.image / 2 + 0.5).mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
            arrays = {"image": image, "depth": truth.depth.numpy(), "mask": (truth.mask > 0.999).numpy()}
            write_atomic(path, lambda temporary, a=arrays: np.savez(temporary.open("wb"), **a))
        with np.load(path) as stored:
            parts.append({name: stored[name] for name in stored.files})
    return {name: np.concatenate([part[name] for part in parts])[:n] for name in parts[0]}


def supervised_loss(found: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """L1 of depth less its mean inside the mask, and of its differences between neighbours, over the half-range."""
    error = (found - truth) / HALF_RANGE
    error = error - (error * mask).sum((1, 2, 3), keepdim=True) / mask.sum((1, 2, 3), keepdim=True).clamp_min(1)
    loss = (error.abs() * mask).sum() / mask.sum()
    for dim in (2, 3):
        step, both = error.diff(dim=dim), mask.narrow(dim, 1, 63) * mask.narrow(dim, 0, 63)
        loss = loss + GRADIENT_WEIGHT * (step.abs() * both).sum() / both.sum()
    return loss


@torch.no_grad()
def validation_errors(network: nn.Module, items: list) -> dict[str, float]:
    """SIDE and MAD as parts of flat (ratio of means) over the validation objects."""
    found, flat = [], []
    for item in items:
        both = as_depth(network(torch.cat([item.image, item.image.flip(-1)])).float(), HALF_RANGE)
        depth = (both[:1] + both[1:].flip(-1)) / 2
        found.append(score_depth(depth, item.depth, item.mask, item.fov_deg))
        flat.append(score_depth(flat_depth(item.mask), item.depth, item.mask, item.fov_deg))
    names = {"side": "side_of_flat", "side_aligned": "aligned_of_flat", "mad_deg": "mad_of_flat"}
    flats = {name: sum(one["mad_deg" if name == "mad_deg" else "side"] for one in flat) for name in names}
    return {shown: round(sum(one[name] for one in found) / flats[name], 4) for name, shown in names.items()}


def learn(
    network: nn.Module, average: nn.Module, data: dict[str, np.ndarray], items: list, options, state: dict
) -> None:
    """Go on from `state` to the last step; scores and states are written on the way."""
    began = saved = time.perf_counter()

    def loss_of(step: Step) -> Tensor:
        rng = np.random.default_rng([0, step.index])
        rows, mirrored = rng.integers(0, options.images, options.batch), rng.random() < 0.5
        image, depth, mask = (torch.from_numpy(data[name][rows]).float() for name in ("image", "depth", "mask"))
        image = (image / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        if mirrored:
            image, depth, mask = image.flip(-1), depth.flip(-1), mask.flip(-1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            raw = network(image)
        return supervised_loss(as_depth(raw.float(), HALF_RANGE), depth, mask)

    def keep(step: Step, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        nonlocal saved
        n_done = step.index + 1
        with torch.no_grad():
            decay = min(EMA_DECAY, n_done / (n_done + 10))
            torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in network.parameters()], 1 - decay)
        now = time.perf_counter()
        seconds = state["seconds"] + now - began
        if n_done % options.every == 0 or n_done == options.steps:
            row = {"step": n_done, "seconds": round(seconds), "loss": round(loss.item(), 4)}
            row |= {"images": options.images, "width": options.width, "skips": options.skips}
            row |= validation_errors(average, items)
            with (options.out / "curve.jsonl").open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
        if now - saved > SAVE_SECONDS or n_done == options.steps:
            new = {"network": network.state_dict(), "average": average.state_dict(), "step": n_done}
            new |= {"optimizer": optimizer.state_dict(), "seconds": seconds}
            write_state_atomic(options.out / "state.pt", new)
            saved = now

    optimise(
        network.parameters(),
        loss_of,
        Plan((Stage("depth", options.steps, LR),), betas=BETAS),
        after_step=keep,
        span=(state["step"], options.steps),
        optimizer_state=state["optimizer"],
    )


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder of the rendered training set [OUT/../set]")
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--width", type=float, default=1.0, help="factor on the network's widths")
    parser.add_argument("--skips", action="store_true", help="a U-Net in the place of the autoencoder")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--every", type=int, default=500, help="steps between two scores")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cache = options.cache or options.out.parent / "set"
    cache.mkdir(parents=True, exist_ok=True)
    data = training_set(options.category, options.images, cache)
    items = exam_objects(options.category, "val", COUNT["val"], 64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, average = (new_network(options.width, options.skips) for _ in range(2))
    average.load_state_dict(network.state_dict())
    average.requires_grad_(False)
    state_path = options.out / "state.pt"
    state = {"step": 0, "seconds": 0.0, "optimizer": None}
    if state_path.is_file():
        state = torch.load(state_path, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
    learn(network, average, data, items, options, state)
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
