"""Milliseconds an image and memory of the height field renderer, beside other rasterisers and a ray caster.

    python benchmarks/bench_render.py --threads 2            # the table in one run, contenders interleaved
    python benchmarks/bench_render.py --sizes 128 --device cuda

Every view is new geometry, so the ray caster (Embree through embreex, if installed) pays for building its scene. It
finds depth only: compare it with the row `depth`, and so PyTorch3D's rasteriser, where that can be imported. `forward`
adds normals, shading and colour; `fwd+bwd` adds gradients of depth, albedo, view and light. Times are the least over
the repeats, in wall-clock and in processor time of the whole process. On a busy machine use --threads 1 (waiting
threads spin) and trust ratios within one run.
"""

import argparse
import importlib.util
import math
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gan2shape.core.records import Render, Scene
from gan2shape.scene import camera, height_field, render

FOV_DEG = 10.0
VIEW_SD = (0.1, 0.3, 0.05, 0.01, 0.01, 0.01)  # radians and scene units: wider than the method's own sampling
BRUTE_FORCE_SIZE = 64  # all pixels x all faces is 34 million tests an image here
BRUTE_FORCE_CHUNK = 256  # pixels at once
PYTORCH3D_SIZE = 128  # its CPU rasteriser is quadratic in the number of pixels too


def example(size: int, batch: int, device: str) -> Scene:
    """A ball before a flat background, one depth shared by all views, its own texture and light for each."""
    generator = torch.Generator().manual_seed(0)
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    depth = 1.05 - 0.1 * (1 - (at[None, :] ** 2 + at[:, None] ** 2) / 0.6).clamp(min=0).sqrt()
    view = torch.randn(batch, 6, generator=generator) * torch.tensor(VIEW_SD)
    albedo = torch.rand(batch, 3, size, size, generator=generator) * 2 - 1
    light = torch.tensor([[0.6, 0.5, 0.2, -0.4]]).repeat(batch, 1)
    leaves = (depth[None, None], albedo, view, light)
    depth, albedo, view, light = (t.to(device).requires_grad_() for t in leaves)
    return Scene(depth.expand(batch, -1, -1, -1), albedo, view, light)


def one_depth(scene: Scene) -> Scene:
    """The scene with its one depth, shared by all views."""
    return Scene(scene.depth[:1], scene.albedo, scene.view, scene.light)


def forward_backward(scene: Scene) -> None:
    rendered = render.render_scene(one_depth(scene), scene.view, scene.light, FOV_DEG)
    (rendered.image.square().mean() + rendered.depth.mean()).backward()


@torch.no_grad()
def forward(scene: Scene) -> Render:
    return render.render_scene(one_depth(scene), scene.view, scene.light, FOV_DEG)


@torch.no_grad()
def depth_only(scene: Scene) -> Tensor:
    return render.render_depth(scene.depth[:1], scene.view, FOV_DEG)[0]


@torch.no_grad()
def pytorch3d_depth(scene: Scene, n_views: int) -> Tensor:
    return render.render_depth(scene.depth[:1], scene.view[:n_views], FOV_DEG, backend="pytorch3d")[0]


@torch.no_grad()
def moved_vertices(scene: Scene) -> Tensor:
    return camera.move(height_field.border_grid(scene.depth[:1], FOV_DEG), scene.view)


def ray_cast(scene: Scene) -> float:
    """Embree's nearest hit of every pixel's ray in every view, scenes built anew.

    Returns the seconds inside Embree (tree and rays), without the Python wrapper's copying of triangles.
    """
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    size = scene.depth.shape[-1]
    faces = height_field.grid_faces(size + 2).int().numpy()
    ray = camera.unproject(torch.ones(1, 1, size, size), camera.intrinsics(size, FOV_DEG)).reshape(-1, 3).numpy()
    inside = 0.0
    for points in moved_vertices(scene):
        built = EmbreeScene()
        TriangleMesh(built, points.numpy(), faces)
        start = time.perf_counter()
        built.run(ray * 0, ray, query="DISTANCE")  # the first query builds the tree
        inside += time.perf_counter() - start
    return inside


@torch.no_grad()
def brute_force(scene: Scene) -> Tensor:
    """Depth of the first view by testing every pixel against every face."""
    size = scene.depth.shape[-1]
    pixels = camera.project(moved_vertices(scene)[:1], camera.intrinsics(size, FOV_DEG))[0]
    u, v, z = pixels[height_field.grid_faces(size + 2)].unbind(-1)  # [F, 3]
    row, column = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    depths = []
    for x, y in zip(*(t.reshape(-1).split(BRUTE_FORCE_CHUNK) for t in (column, row)), strict=True):
        du, dv = u - x[:, None, None], v - y[:, None, None]
        edges = du.roll(-1, -1) * dv.roll(-2, -1) - dv.roll(-1, -1) * du.roll(-2, -1)
        depth = edges.sum(-1) / (edges / z).sum(-1)
        inside = (edges >= 0).all(-1) | (edges <= 0).all(-1)
        depths.append(torch.where(inside & depth.isfinite(), depth, torch.inf).amin(-1))
    return torch.cat(depths)


def least_ms(contenders: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, tuple[float, float]]:
    """(wall, processor) milliseconds of each contender, the least over rounds interleaved."""
    found = dict.fromkeys(contenders, (math.inf, math.inf))
    for _ in range(repeats + 1):  # the first round warms up and rarely wins
        for name, run in contenders.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            spent = (time.perf_counter() - wall, time.process_time() - processor)
            found[name] = tuple(min(old, new * 1e3) for old, new in zip(found[name], spent, strict=True))
    return found


def peak_mib(size: int, batch: int, device: str, threads: int) -> float:
    """Memory of forward + backward above the loaded library and the scene; NaN where the system does not report it.

    On CPU in a fresh process, because freed memory stays with a process and would be reused unseen.
    """
    if device != "cpu":
        return _peak_mib_here(size, batch, device, threads)
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        return fresh.apply(_peak_mib_here, (size, batch, device, threads))


def _peak_mib_here(size: int, batch: int, device: str, threads: int) -> float:
    torch.set_num_threads(threads)
    forward_backward(example(8, 1, device))  # load what is loaded on first use
    scene = example(size, batch, device)
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        forward_backward(scene)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        before = _status_kib("VmRSS")
        forward_backward(scene)
        return (_status_kib("VmHWM") - before) / 2**10
    except OSError:
        return math.nan


def _status_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def machine_peaks(device: str) -> str:
    """GFLOP/s of a matrix product and of a 3 x 3 convolution, the yardstick for times on this machine."""
    matrix = torch.rand(1024, 1024, device=device)
    image, kernel = torch.rand(8, 64, 64, 64, device=device), torch.rand(64, 64, 3, 3, device=device)
    jobs = {"matmul": lambda: matrix @ matrix, "conv": lambda: torch.nn.functional.conv2d(image, kernel, padding=1)}
    flop = {"matmul": 2 * 1024**3, "conv": 2 * 8 * 64 * 64 * 64 * 64 * 9}
    spent = least_ms(jobs, 5, device)
    return ", ".join(f"{name} {flop[name] / spent[name][0] / 1e6:.0f} GFLOP/s" for name in jobs)


def contenders(scene: Scene, with_embree: bool) -> dict[str, tuple[int, Callable[[], object]]]:
    """Name -> (images it renders, function)."""
    batch, size = len(scene.view), scene.depth.shape[-1]
    on_cpu = scene.depth.device.type == "cpu"
    found = {
        "depth": (batch, lambda: depth_only(scene)),
        "forward": (batch, lambda: forward(scene)),
        "fwd+bwd": (batch, lambda: forward_backward(scene)),
    }
    if on_cpu and with_embree:
        found["embree"] = (batch, lambda: ray_cast(scene))
    if on_cpu and size <= BRUTE_FORCE_SIZE:
        found["brute"] = (1, lambda: brute_force(scene))
    if importlib.util.find_spec("pytorch3d") and (size <= PYTORCH3D_SIZE or not on_cpu):
        n_views = 1 if on_cpu else batch
        found["pytorch3d"] = (n_views, lambda: pytorch3d_depth(scene, n_views))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        import embreex  # noqa: F401

        with_embree = True
    except ImportError:
        with_embree = False
        print("embreex is not installed: no ray caster to compare with (pip install embreex)")
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads, batch {args.batch}")
    print(machine_peaks(args.device))
    print(f"{'size':>5} {'what':>9} {'wall ms/img':>12} {'cpu ms/img':>11}")
    for size in args.sizes:
        scene = example(size, args.batch, args.device)
        memory = peak_mib(size, args.batch, args.device, args.threads)
        table = contenders(scene, with_embree)
        times = least_ms({name: run for name, (_, run) in table.items()}, args.repeats, args.device)
        for name, (images, _) in table.items():
            wall, processor = (t / images for t in times[name])
            print(f"{size:>5} {name:>9} {wall:>12.2f} {processor:>11.2f}")
        if "embree" in table:
            inside = min(ray_cast(scene) for _ in range(args.repeats)) * 1e3 / args.batch
            print(f"{size:>5} {'':>9} {inside:>12.2f} of embree's wall time is its tree and rays, the rest is copying")
        print(f"{size:>5} {'memory':>9} {memory:>8.0f} MiB above the scene, forward + backward")


if __name__ == "__main__":
    main()
