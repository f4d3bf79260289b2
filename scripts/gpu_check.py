"""Whether everything works on this machine's GPU, and how fast: one JSON object on stdout, within five minutes.

    python scripts/gpu_check.py                 the tests marked gpu, runs (draft, full), training throughput
    python scripts/gpu_check.py --device cpu --seconds 20        the same code on the CPU, cut short

Needs the package's dependencies and pytest. Exit codes: 0 everything passed, 1 something failed (named in the object),
2 there is no CUDA here. Progress goes to stderr.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a machine may have the checkout and no installed package
SECONDS = 240.0  # after which nothing new begins; a part that has begun ends on its own
TEST_LIMIT_S = 90  # of the tests marked gpu
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
RESOLUTIONS = (64, 128)
BATCH = {"cuda": 64, "cpu": 4}
WARM_STEPS = {"cuda": 20, "cpu": 1}
LEAST_STEPS = 2  # timed, however slow they are
SHARE_PER_TRAINING = 0.06  # of all seconds, for the timed steps of one resolution and precision
FEW_STEPS = ("steps.n_projection=[2]", "steps.n_collect=4", "steps.n_joint=[2]", "steps.batch=2")  # full on a CPU


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> dict:
    """What the numbers were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    python = ".".join(map(str, sys.version_info[:3]))
    return {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda, "python": python}


def run_tests() -> dict:
    """The tests marked gpu."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TEST_LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"passed": False, "summary": f"not done after {TEST_LIMIT_S} s"}
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""]
    nothing_marked = 5
    return {"passed": done.returncode in (0, nothing_marked), "summary": lines[-1]}


def run_preset(preset: str, device: torch.device) -> dict:
    """A reconstruction of a bundled sample with its files; the second one, whose kernels are loaded, is timed."""
    from gan2shape.api import reconstruct

    overrides = FEW_STEPS if device.type == "cpu" and preset == "full" else ()
    seconds = []
    for seed in (0, 1):
        synchronize(device)
        began = time.perf_counter()
        made = reconstruct(seed=seed, category="car", preset=preset, device=str(device), overrides=overrides)
        with tempfile.TemporaryDirectory() as folder:
            made.export(folder)
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    depth = made.scene.depth
    is_good = bool(depth.isfinite().all()) and float(depth.std()) > 0
    return {"passed": is_good, "first_s": round(seconds[0], 3), "seconds": round(seconds[1], 3)}


def train_speed(resolution: int, precision: str, device: torch.device, seconds: float) -> dict:
    """Images a second of GAN training with the default settings, penalties at their intervals included."""
    from gan2shape.nn.small_networks import small_discriminator, small_generator
    from gan2shape.train.dataset import ShardedImages
    from gan2shape.train.loop import TrainConfig, train_step
    from gan2shape.train.state import add_encoder, new_state

    generator, discriminator = small_generator(resolution), small_discriminator(resolution)
    batch = BATCH.get(device.type, BATCH["cpu"])
    config = TrainConfig(batch=batch, generator=generator, discriminator=discriminator)
    state = new_state(generator, discriminator, config.lr, config.beta2, 0, config.r1_interval, 0, device)
    add_encoder(state, config.lr, config.beta2, 0)
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 256, (4 * batch, resolution, resolution, 3), dtype=np.uint8)
        np.save(Path(folder) / "images_0.npy", pixels)
        images = ShardedImages(folder, resolution)
        for _ in range(WARM_STEPS.get(device.type, 1)):
            train_step(config, state, images, PRECISIONS[precision], device)
        synchronize(device)
        began, n_steps = time.perf_counter(), 0
        while n_steps < LEAST_STEPS or time.perf_counter() - began < seconds:
            logged = train_step(config, state, images, PRECISIONS[precision], device)
            n_steps += 1
            if n_steps % 8 == 0:  # or the host would run far ahead of the device
                synchronize(device)
        synchronize(device)
        spent = time.perf_counter() - began
        del images  # before its folder goes
    is_finite = all(np.isfinite(float(value)) for value in logged.values())
    return {"passed": is_finite, "images_per_s": round(n_steps * batch / spent, 2), "batch": batch, "steps": n_steps}


def check(device: torch.device, seconds: float) -> dict:
    """Everything, as far as the time reaches; what was left out is named."""
    began = time.perf_counter()
    share = SHARE_PER_TRAINING * seconds
    parts: dict[str, Callable[[], dict]] = {"tests": run_tests} if device.type == "cuda" else {}
    for preset in ("draft", "full"):
        parts[f"run_{preset}"] = partial(run_preset, preset, device)
    for resolution, precision in product(RESOLUTIONS, PRECISIONS):
        parts[f"train_{resolution}_{precision}"] = partial(train_speed, resolution, precision, device, share)
    results, left_out = {}, []
    for name, part in parts.items():
        if time.perf_counter() - began > seconds:
            left_out.append(name)
            continue
        say(f"{name} ...")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for the one object
                results[name] = part()
        except Exception as error:  # a part that fails must not hide the others
            results[name] = {"passed": False, "error": f"{type(error).__name__}: {error}"[:500]}
    spent = round(time.perf_counter() - began, 1)
    passed = all(result["passed"] for result in results.values())
    return {"passed": passed, **machine(device), "seconds": spent, "left_out": left_out, **results}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the code")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which nothing new begins")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        say("There is no CUDA here: run this on a machine with an NVIDIA GPU, or try it with --device cpu.")
        return 2
    results = check(torch.device(options.device), options.seconds)
    print(json.dumps(results), flush=True)
    return 0 if results["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
