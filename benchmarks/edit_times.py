"""How long an edit takes, and how many live pictures a second the viewer makes; a run is open already.

    python benchmarks/edit_times.py --category car --threads 2

Pictures turn from -30 to 30 degrees and their light moves. Of each kind: milliseconds by the clock and of processor
time, and pictures a second.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import gan2shape
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import own_of, project_poses, render_poses
from gan2shape.shape.read_light import with_read_light
from gan2shape.viewer.live import WAYS, Controls, live_picture

N_WARM = 3


def timed(name: str, one: Callable[[float], object], count: int) -> None:
    """Print what a call takes; it gets a yaw in degrees."""
    for _ in range(N_WARM):
        one(10.0)
    began, spent = time.perf_counter(), time.process_time()
    for i in range(count):
        one(-30 + 60 * i / count)
    wall_ms, cpu_ms = ((now - then) / count * 1e3 for now, then in
                       ((time.perf_counter(), began), (time.process_time(), spent)))  # fmt: skip
    print(f"{name:28s} {wall_ms:7.1f} ms  {cpu_ms:7.1f} ms of processor time  {1e3 / wall_ms:6.1f} a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    made = with_read_light(gan2shape.reconstruct(category=given.category, device="cpu", preset="instant"))
    own, controls = own_of(made), Controls()

    def through_gan(yaw_deg: float, n_refine: int) -> object:
        poses = [Pose(yaw_deg=yaw_deg)]
        return project_poses(made, render_poses(made, poses), poses, n_refine=n_refine)

    def live(yaw_deg: float, way: str) -> object:
        moved = replace(controls, way=way, yaw_deg=yaw_deg, azimuth_deg=yaw_deg)
        return live_picture(made, moved, own)

    timed("effect-3D", lambda yaw: render_poses(made, [Pose(yaw_deg=yaw)]), given.count)
    timed("effect-GAN, one pass", lambda yaw: through_gan(yaw, 0), given.count)
    timed("effect-GAN, with descent", lambda yaw: through_gan(yaw, 10), max(1, given.count // 8))
    for way in WAYS:
        timed(f"live picture, {way}", lambda yaw, way=way: live(yaw, way), given.count)


if __name__ == "__main__":
    main()
