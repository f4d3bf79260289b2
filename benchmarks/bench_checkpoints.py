"""Seconds and memory of opening a StyleGAN2 of published widths (config-f, random weights) and generating with it.

    python benchmarks/bench_checkpoints.py [--resolution 512] [--threads 2] [--kind pickle|torch]

Writes a checkpoint into a temporary folder, then loads it and generates one image in a fresh process. Memory is the
peak of resident memory above what the process has with torch imported.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.prior.checkpoint import load_generator

WIDTHS = (512, 512, 512, 512, 512, 256, 128, 64, 32)  # config-f at 4, 8, ..., 1024
LATENT = 512
MAPPING_LAYERS = 8


def write(path: Path, resolution: int, kind: str) -> None:
    """A checkpoint of the published widths: `torch.save` of state dicts, or a pickle as NVIDIA's."""
    channels = WIDTHS[: resolution.bit_length() - 2]
    torch.manual_seed(0)
    config = GeneratorConfig(resolution, channels, LATENT, LATENT, MAPPING_LAYERS, resample="fir", noise=True)
    generator = Generator(config).state_dict()
    critic = Discriminator(DiscriminatorConfig(resolution, channels, resample="fir", unshuffle=False)).state_dict()
    if kind == "torch":
        torch.save({"G_ema": generator, "D": critic}, path)
        return
    from tests.checkpoints import lookalike

    networks = {"G": generator, "D": critic, "G_ema": generator}
    made = {name: lookalike.nvidia_network(state, name, {}) for name, state in networks.items()}
    path.write_bytes(lookalike.nvidia_pickle(made))


def resident_mb(peak: bool = False) -> float:
    """Resident memory of this process, now or at its highest since `reset_peak`."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(wanted)) / 1024


def reset_peak() -> None:
    """Start the highest resident memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


@torch.no_grad()
def measure(path: Path, z: torch.Tensor | None = None) -> tuple[dict, torch.Tensor]:
    """Load and generate, once each, in a process that has done nothing else. Returns figures and the image of `z`."""
    generator = Generator()
    generator(torch.randn(1, generator.config.z_dim))  # libraries start up
    base = resident_mb()
    reset_peak()
    began, began_cpu = time.perf_counter(), time.process_time()
    prior = load_generator(path)
    result = {"load_s": time.perf_counter() - began, "load_cpu_s": time.process_time() - began_cpu}
    result |= {"load_peak_mb": resident_mb(peak=True) - base, "loaded_mb": resident_mb() - base}
    z = torch.randn(1, LATENT) if z is None else z
    before = resident_mb()
    reset_peak()
    began, began_cpu = time.perf_counter(), time.process_time()
    image = prior.generator(z)
    result |= {"generate_s": time.perf_counter() - began, "generate_cpu_s": time.process_time() - began_cpu}
    result |= {"generate_peak_mb": resident_mb(peak=True) - before, "image": list(image.shape)}
    return result | {"file_mb": path.stat().st_size / 2**20}, image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kind", choices=("pickle", "torch"), default="pickle")
    parser.add_argument("--measure", type=Path, help="only measure this file, here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure)[0]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        write(path, arguments.resolution, arguments.kind)
        own = [sys.executable, __file__, "--measure", str(path), "--threads", str(arguments.threads)]
        result = subprocess.run(own, check=True, capture_output=True, text=True).stdout
    print(f"{arguments.kind} {arguments.resolution}:", result.strip())


if __name__ == "__main__":
    main()
