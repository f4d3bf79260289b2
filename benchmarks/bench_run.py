"""How long a run takes and where its time goes: each step of the method, a whole run, and the time to a given quality.

    python benchmarks/bench_run.py --preset draft --threads 1         # every part
    python benchmarks/bench_run.py --preset smoke --parts steps run   # some of them
    python benchmarks/bench_run.py --json > bench.json

steps  seconds of one optimisation step (collect: of one batch), after a step that pays for what is done once. The
       fraction of peak is its convolution and matrix arithmetic a processor second, over that of one large convolution
       measured in the same run: it measures how much of the machine the networks use, not how good the method is.
run    `gan2shape run` as a process of its own: from its start to its files, with its processor time and peak memory.
side   rung O1 of the oracle ladder on one validation object: seconds of step 3 until SIDE x 100 is at most --side.
       Rendering the truth and scoring are not counted.

On a busy machine, compare processor seconds with --threads 1; wall-clock is shown beside them.
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from gan2shape.bench import ladder
from gan2shape.bench.exam import exam_objects
from gan2shape.bench.score import score_depth
from gan2shape.bench.truth import true_views
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import PROBE_SHAPE
from gan2shape.core.progress import silent
from gan2shape.prior.masked_generator import MaskedGenerator, observe_seed
from gan2shape.prior.open import open_prior
from gan2shape.shape.ellipsoid import ellipsoid_model
from gan2shape.shape.projection import prior_features
from gan2shape.shape.stages import JointOptions, albedo_step, collect, joint_step, projection_step
from gan2shape.shape.state import ObjectState, make_target, new_state, step_rng

PARTS = ("steps", "run", "side")
PEAK_BURSTS, PEAK_RUNS = 5, 10  # timings of the convolution probe, the least counts; convolutions in each


@dataclass(frozen=True)
class Cost:
    """Time and arithmetic of one piece of work."""

    wall_s: float
    cpu_s: float  # of all threads
    gflop: float  # convolutions and matrix products, forward and backward


def timed(work: Callable[[], object], n: int) -> Cost:
    """Cost of one n-th of `work`, which is called three times: to warm up, to count, to be timed."""
    work()
    with FlopCounterMode(display=False) as counter:
        work()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(wall / n, cpu / n, counter.get_total_flops() / n / 1e9)


def peak_gflop_per_cpu_s() -> float:
    """Arithmetic a processor second of a large 3x3 convolution: what the networks could reach at best."""
    n, channels, height, width = PROBE_SHAPE
    x = torch.ones(PROBE_SHAPE).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
    least = float("inf")
    for _ in range(PEAK_BURSTS):
        began = time.process_time()
        for _ in range(PEAK_RUNS):
            F.conv2d(x, weight, padding=1)
        least = min(least, (time.process_time() - began) / PEAK_RUNS)
    return 2 * n * channels * channels * 9 * height * width / 1e9 / least


def step_costs(generator: MaskedGenerator, config: ShapeConfig, n: int) -> dict[str, Cost]:
    """Cost of one step of each kind, averaged over `n` steps, on the generator's sample 0."""
    observation = observe_seed(0, generator)
    target = make_target(observation)
    slant_deg = config.initial.slants_deg[0]

    def state_of(some: ShapeConfig) -> ObjectState:
        made = new_state(some, observation.latent.shape[-1], "cpu")
        return replace(made, model=ellipsoid_model(made.model, target.canvas.mask, some, slant_deg))

    published = replace(
        config,
        networks=replace(config.networks, albedo="network"),
        steps=replace(config.steps, n_albedo=(n,), n_collect=config.steps.batch * n),
    )
    state, with_albedo = state_of(config), state_of(published)
    latent, features = observation.latent, prior_features(generator.prior)
    rng, options = step_rng(config, 0), JointOptions.of(config)

    def collected():
        return collect(state, target, latent, generator, published, rng)

    samples = collected()
    return {
        "albedo (network)": timed(lambda: albedo_step(with_albedo.model, target, features, published, silent), n),
        "projection": timed(lambda: projection_step(state, target, latent, generator, config, n, rng, silent), n),
        "collect": timed(collected, n),
        "joint": timed(lambda: joint_step(state.model, target, samples, features, config, options, rng, silent, n), n),
    }


def whole_run(category: str, preset: str) -> dict:
    """Wall and processor seconds and peak memory of `gan2shape run`, from the start of its process to its files."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        arguments = ["run", "--category", category, "--preset", preset, "--seed", "0", "--device", "cpu", "--json"]
        before, began = children_usage(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "gan2shape", *arguments, "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        wall, after = time.perf_counter() - began, children_usage()
        if done.returncode:
            raise SystemExit(f"gan2shape run failed: {done.stderr.strip()}")
        result = json.loads(done.stdout.splitlines()[-1])
        n_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "wall_s": wall,
        "cpu_s": after[0] - before[0] if after and before else None,
        "peak_mib": after[1] if after else None,
        "written_mib": n_bytes / 2**20,
        "parts_s": {name[:-2]: value for name, value in result["metrics"].items() if name.endswith("_s")},
    }


def children_usage() -> tuple[float, float] | None:
    """(processor seconds, peak resident memory in MiB) of finished children; None where there are no such numbers."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    kibi = 1024 if sys.platform == "darwin" else 1  # bytes there, KiB elsewhere
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / kibi / 1024


class EnoughError(Exception):
    """The wanted quality is there: raised to leave a step early."""


def seconds_to_side(category: str, config: ShapeConfig, index: int, wanted: float) -> dict:
    """Seconds and steps of rung O1 on validation object `index` until SIDE x 100 <= wanted; every 10 steps."""
    item = exam_objects(category, "val", index + 1)[index]
    target, model = ladder.target_of(item), ellipsoid_model(ladder.new_model(config), item.mask, config, 0.0)
    samples = ladder.as_samples(true_views(item, ladder.N_TRUE_VIEWS, item.seed + ladder.VIEW_SEED_OFFSET))
    found = {"object": item.seed, "wanted_side": wanted, "reached": False}
    n_joint = config.steps.count("joint", 0)
    clocks = (time.perf_counter, time.process_time)
    marks, spent = [clock() for clock in clocks], [0.0, 0.0]

    def look(_: str, step: int, n_steps: int, **numbers: float) -> None:
        for i, clock in enumerate(clocks):
            spent[i] += clock() - marks[i]
        with torch.no_grad():
            scores = score_depth(model.depth(item.image), item.depth, item.mask, item.fov_deg)
        found.update(step=step, side=scores["side"], mad_deg=scores["mad_deg"], wall_s=spent[0], cpu_s=spent[1])
        if scores["side"] <= wanted:
            raise EnoughError
        marks[:] = [clock() for clock in clocks]

    try:
        options = JointOptions(estimate_views=False, estimate_lights=False, own_light=item.light)
        rng = torch.Generator().manual_seed(config.seed)
        joint_step(model, target, samples, None, config, options, rng, look, n_joint)
        if found.get("step") != n_joint:  # the last steps are not reported where they make no ten
            look("", n_joint, n_joint)
    except EnoughError:
        found["reached"] = True
    return found


def as_text(report: dict) -> str:
    """The report as Markdown tables."""
    lines = [report["machine"], ""]
    if "steps" in report:
        peak = report["peak_gflop_per_cpu_s"]
        lines += [f"Peak of one large convolution: {peak:.0f} GFLOP a processor second.", ""]
        lines += ["| step | wall ms | CPU ms | GFLOP | of peak |", "|---|---|---|---|---|"]
        for name, cost in report["steps"].items():
            cells = f"{1000 * cost['wall_s']:.0f} | {1000 * cost['cpu_s']:.0f} | {cost['gflop']:.2f}"
            lines.append(f"| {name} | {cells} | {100 * cost['of_peak']:.0f} % |")
        lines.append("")
    if "run" in report:
        run = report["run"]
        cpu = (
            ""
            if run["cpu_s"] is None
            else f"{run['cpu_s']:.1f} s of processor time, {run['peak_mib']:.0f} MiB at most, "
        )
        lines += [
            f"Whole run, process start to files: {run['wall_s']:.1f} s, {cpu}{run['written_mib']:.1f} MiB written."
        ]
        lines += [f"    {name:12s} {seconds:8.2f} s" for name, seconds in run["parts_s"].items()]
    if "side" in report:
        side = report["side"]
        end = "reached" if side["reached"] else "NOT reached"
        lines.append(
            f"SIDE x 100 <= {side['wanted_side']:g} on object {side['object']} (O1): {end} at step {side['step']} "
            f"after {side['wall_s']:.1f} s ({side['cpu_s']:.1f} s of processor time), SIDE {side['side']:.3f}, "
            f"MAD {side['mad_deg']:.1f} degrees."
        )
    return "\n".join(lines)


def measure(options: argparse.Namespace) -> dict:
    """Every part that is chosen."""
    generator, config = open_prior(options.category, None, options.preset, options.settings, device="cpu")
    report: dict = {
        "machine": f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {options.category}, {options.preset}"
    }
    if "run" in options.parts:  # first, while this process is small
        report["run"] = whole_run(options.category, options.preset)
    if "steps" in options.parts:
        costs = step_costs(generator, config, options.count)
        report["peak_gflop_per_cpu_s"] = peak = peak_gflop_per_cpu_s()
        report["steps"] = {name: {**vars(c), "of_peak": c.gflop / c.cpu_s / peak} for name, c in costs.items()}
    if "side" in options.parts:
        report["side"] = seconds_to_side(options.category, config, options.object, options.side)
    return report


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the parts inside this process")
    parser.add_argument("--count", type=int, default=10, help="steps that are averaged")
    parser.add_argument("--object", type=int, default=1, help="validation object of part side")
    parser.add_argument("--side", type=float, default=1.0, help="SIDE x 100 that part side waits for")
    parser.add_argument("--set", dest="settings", nargs="*", default=[], help="key=value of the configuration")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = measure(options)
    print(json.dumps(report) if options.json else as_text(report))


if __name__ == "__main__":
    main()
