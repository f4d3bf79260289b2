"""Completion finds the shape and the heading of what it sees one side of."""

import math

import torch
from torch import Tensor, nn

from gan2shape.nn.voxel_networks import VoxelGanConfig, VoxelGenerator, build_voxel_generator
from gan2shape.scene.volumes import grid_points, overlap, seen_from_front, turned, turntable_matrix
from gan2shape.shape.voxels import CompletionPlan, best_vectors, complete, disagreement

S = 16


class Ellipsoids(VoxelGenerator):
    """Half as wide as long; z[0] sets the length, z[1] the height; a knob in front tells the headings apart."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.config = VoxelGanConfig(resolution=S, z_dim=2, channels=(8, 8))
        self.register_buffer("mean_shape", self.forward(torch.zeros(1, 2)))

    def forward(self, z: Tensor) -> Tensor:
        points = grid_points(S, torch.zeros(1)) * 12.5  # in [-1, 1]
        length, height = 0.6 * torch.exp(0.3 * z[:, 0]), 0.35 * torch.exp(0.3 * z[:, 1])
        radii = torch.stack([length / 2, height, length], 1)[:, None, None, None]
        body = 1 - (points / radii).norm(dim=-1)
        knob = 1 - ((points - torch.tensor([0.0, -0.3, -0.4])) / 0.25).norm(dim=-1)
        return torch.sigmoid(8 * torch.maximum(body, knob))[:, None]


def test_shape_and_heading_are_found_from_one_side() -> None:
    generator = Ellipsoids()
    z = torch.tensor([[1.0, -0.8], [-0.9, 0.9]])
    heading = torch.tensor([math.radians(50.0), math.radians(-140.0)])
    truth = turned(generator(z), turntable_matrix(heading, torch.zeros(2)))
    known = seen_from_front(truth)
    filled = (truth >= 0.5).float() * known
    found = complete(filled, known, generator, CompletionPlan(n_steps=60, prior_weight=1e-3))
    apart = torch.atan2((found.heading_rad - heading).sin(), (found.heading_rad - heading).cos()).abs()
    assert float(apart.max()) < math.radians(12)
    ours, mean = overlap(found.volume, truth, ~known), overlap(found.mean, truth, ~known)
    assert bool((ours > 0.85).all()), ours
    assert bool((ours > mean + 0.05).all()), (ours, mean)


def test_the_pitch_stays_where_it_is_unless_it_is_asked_for() -> None:
    generator = build_voxel_generator(VoxelGanConfig(resolution=8, z_dim=4, channels=(8,))).eval().requires_grad_(False)
    filled, known = torch.zeros(1, 1, 8, 8, 8), torch.ones(1, 1, 8, 8, 8, dtype=torch.bool)
    filled[0, 0, 3:5, 3:5, 3:5] = 1.0
    fixed = complete(filled, known, generator, CompletionPlan(n_steps=3, pitch_rad=0.2))
    assert float(fixed.pitch_rad) == torch.tensor(0.2)
    free = complete(filled, known, generator, CompletionPlan(n_steps=3, pitch_rad=0.2, fits_pitch=True))
    assert float(free.pitch_rad) != torch.tensor(0.2)


def test_an_empty_volume_is_drawn_to_what_is_filled() -> None:
    """Where everything is empty and wrong there is still a gradient."""
    wanted, where = torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2, dtype=torch.bool)
    made = torch.zeros_like(wanted).requires_grad_(True)
    disagreement(made, wanted, where, CompletionPlan()).sum().backward()
    assert bool((made.grad < -100).all())


def test_each_start_takes_the_best_random_vector() -> None:
    """Of vectors that it draws, the one whose volume is what was given, at its heading."""
    generator, plan = Ellipsoids(), CompletionPlan(n_vectors=5, seed=3)
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(3))
    headings = torch.tensor([0.0, 1.0, 2.5])
    truth = turned(generator(z[[4, 1]]), turntable_matrix(headings[:2], torch.zeros(2)))
    everything = torch.ones_like(truth) > 0
    best = best_vectors((truth >= 0.5).float(), everything, generator, headings, plan).view(2, 3, 2)
    assert torch.equal(best[0, 0], z[4])
    assert torch.equal(best[1, 1], z[1])


def test_disagreement_by_hand() -> None:
    """One filled voxel of 64, probability 1/2 everywhere: (63 + 4) log 2 / 4; unknown voxels do not count."""
    plan = CompletionPlan(filled_weight=4.0, floor=0.0)
    wanted, where = torch.zeros(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4, dtype=torch.bool)
    wanted[0, 0, 0, 0, 0] = 1.0
    made = torch.full_like(wanted, 0.5)
    torch.testing.assert_close(disagreement(made, wanted, where, plan), torch.tensor([67 / 4 * math.log(2.0)]))
    where[0, 0, 1:] = False
    made[0, 0, 1:] = 0.9
    made[0, 0, 0, 0, 0] = 0.25
    expected = (15 * math.log(2.0) + 4 * math.log(4.0)) / 4
    torch.testing.assert_close(disagreement(made, wanted, where, plan), torch.tensor([expected]))
