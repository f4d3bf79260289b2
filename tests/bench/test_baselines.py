"""The networks that the method is compared with: their objectives at known answers, training, rows of the exam."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gan2shape.bench.baselines import learn
from gan2shape.bench.baselines.learn import KINDS, depth_in_view, mirrored_mean, open_baseline, train_baseline
from gan2shape.bench.baselines.taught import TrueDepths, taught_terms
from gan2shape.bench.baselines.unsup3d import FLIP_WEIGHT, explained, laplace, normal, unsup3d_terms
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.table import run_table
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.nn.depth_baselines import HALF_RANGE, TAUGHT, UNSUP3D, BaselineConfig, Unsup3d, build_baseline
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.render import render, render_depth
from gan2shape.synth.dataset import render_set
from gan2shape.train.session import TrainingSession

SIZE = 64


def bump(x0: float) -> torch.Tensor:
    """Depth with a Gaussian in front of a plane, `x0` pixels right of the middle."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    near = 0.06 * torch.exp(-((x - SIZE / 2 - x0) ** 2 + (y - SIZE / 2) ** 2) / 200)
    return (1.04 - near)[None, None]


class Knowing(Unsup3d):
    """What a network would be that has found this scene."""

    def __init__(self, depth: torch.Tensor, albedo: torch.Tensor, view: torch.Tensor, light: torch.Tensor) -> None:
        super().__init__(BaselineConfig())
        self.parts, self.at = (depth, albedo), (view, light)

    def canonical_depth(self, image: torch.Tensor) -> torch.Tensor:
        return self.parts[0].expand(len(image), -1, -1, -1)

    def albedo(self, image: torch.Tensor) -> torch.Tensor:
        return self.parts[1].expand(len(image), -1, -1, -1)

    def view(self, image: torch.Tensor) -> torch.Tensor:
        return self.at[0].expand(len(image), -1)

    def light(self, image: torch.Tensor) -> torch.Tensor:
        return self.at[1].expand(len(image), -1)

    def scales(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(len(image), 2, SIZE, SIZE), torch.ones(len(image), 2, SIZE // 4, SIZE // 4)


def yaw(angle_rad: float) -> torch.Tensor:
    return torch.tensor([[0.0, angle_rad, 0.0, 0.0, 0.0, 0.0]])


def symmetric(x: torch.Tensor) -> torch.Tensor:
    return (x + x.flip(-1)) / 2


LIGHT = torch.tensor([[0.4, 0.5, 0.5, -0.4]])


@pytest.fixture
def albedo() -> torch.Tensor:
    made = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    return torch.nn.functional.interpolate(made, (SIZE, SIZE), mode="bilinear")


def picture(depth: torch.Tensor, albedo: torch.Tensor, view: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
    return render(depth, albedo, shade(normals_from_depth(depth), light), view).image


def test_a_symmetric_object_is_explained_by_itself_and_by_its_mirror_image(albedo) -> None:
    view = yaw(0.3)
    scene = (bump(0), symmetric(albedo), view, LIGHT)
    image = picture(*scene)
    renders, shown = explained(Knowing(*scene), image)
    assert shown.mean() > 0.8
    assert ((renders - image.repeat(2, 1, 1, 1)).abs() * shown).max() < 1e-4
    assert unsup3d_terms(Knowing(*scene), image, None, 0.0)["pixel"].abs() < 1e-4  # log 1 + no error


def test_an_asymmetric_object_is_not(albedo) -> None:
    scene = (bump(6), albedo, torch.zeros(1, 6), torch.tensor([[0.4, 0.5, 0.0, -0.4]]))
    image = picture(*scene)
    direct, mirrored = explained(Knowing(*scene), image)[0].chunk(2)
    assert torch.allclose(direct, image, atol=1e-5)
    assert torch.allclose(mirrored, image.flip(-1), atol=1e-4)  # seen from the front under a light in the plane
    error = (mirrored - image).abs().mean()
    found = unsup3d_terms(Knowing(*scene), image, None, 0.0)["pixel"]
    assert torch.isclose(found, FLIP_WEIGHT * math.sqrt(2) * error, rtol=1e-4)


def test_the_best_scales_are_those_of_the_errors() -> None:
    error = torch.tensor([0.02, 0.3])[:, None, None, None].expand(2, 3, 4, 4)
    shown = torch.ones(2, 1, 4, 4)

    def least(loss, i: int) -> float:
        scales = torch.linspace(0.005, 1, 400)
        values = [loss(error[i : i + 1], torch.full((1, 1, 4, 4), float(s)), shown[:1]) for s in scales]
        return float(scales[int(torch.stack(values).argmin())])

    assert [least(laplace, i) for i in (0, 1)] == pytest.approx([0.02 * math.sqrt(2), 0.3 * math.sqrt(2)], abs=4e-3)
    assert [least(normal, i) for i in (0, 1)] == pytest.approx([0.02, 0.3], abs=4e-3)


def test_what_is_not_shown_does_not_count() -> None:
    error, shown = torch.full((1, 3, 4, 4), 0.1), torch.ones(1, 1, 4, 4)
    error[..., 2:], shown[..., 2:] = 9.0, 0.0
    scale = torch.full((1, 1, 4, 4), 0.5)
    assert torch.isclose(laplace(error, scale, shown), torch.tensor(math.sqrt(2) * 0.1 / 0.5 + math.log(0.5)))
    assert torch.isclose(normal(error, scale, shown), torch.tensor(0.01 / 0.5 + math.log(0.5)))


def test_ranges_are_the_published_ones() -> None:
    network = build_baseline(BaselineConfig(UNSUP3D), seed=1)
    with torch.no_grad():
        for part in (network.view_net.last, network.light_net.last, network.depth_net.body[-1]):
            part.weight.mul_(1e4)
        image = torch.randn(4, 3, SIZE, SIZE)
        depth, view, light = network.canonical_depth(image), network.view(image), network.light(image)
        scales = network.scales(image)
    assert (depth[..., 2:-2] - 1).abs().max() <= HALF_RANGE + 1e-6
    assert (depth[..., [0, 1, -2, -1]] == 1.04).all()
    assert view[:, :3].abs().max() == pytest.approx(math.radians(60), rel=1e-3)
    assert view[:, 3:5].abs().max() == pytest.approx(0.1, rel=1e-3)
    assert (view[:, 5] == 0).all()
    assert light[:, :2].min() >= 0
    assert light[:, :2].max() <= 1
    assert light[:, 2:].abs().max() == pytest.approx(1, rel=1e-3)
    assert [tuple(one.shape) for one in scales] == [(4, 2, 64, 64), (4, 2, 16, 16)]
    assert min(one.min() for one in scales) > 0


def test_depth_is_scored_in_the_images_own_view() -> None:
    network = build_baseline(BaselineConfig(UNSUP3D))
    view = yaw(0.35)
    network.canonical_depth = lambda image: bump(0).expand(len(image), -1, -1, -1)
    network.view = lambda image: view.expand(len(image), -1)
    assert torch.equal(depth_in_view(network, torch.zeros(1, 3, SIZE, SIZE)), render_depth(bump(0), view)[0])


def test_true_depth_but_for_the_distance_is_no_error() -> None:
    truth, covered = bump(3), bump(0) < 1.03
    found = truth + 0.02
    terms = taught_terms(found, truth, covered)
    assert max(float(term) for term in terms.values()) < 1e-4
    half = truth.clone()
    half[..., : SIZE // 2] += 0.5 * HALF_RANGE  # half of the object (by symmetry of the mask) half a half-range off
    assert taught_terms(half, truth, covered)["depth"] == pytest.approx(0.25, rel=1e-3)
    nothing = taught_terms(found, truth, torch.zeros_like(covered))
    assert all(float(term) == 0 for term in nothing.values())


@pytest.fixture(scope="module")
def truths() -> TrueDepths:
    truth = render_set("car", list(range(100_000, 100_008))).truth
    image = ((truth.image / 2 + 0.5) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return TrueDepths(image, truth.depth.numpy(), (truth.mask > 0.999).numpy())


@pytest.mark.slow
def test_taught_depth_is_learnt_resumed_and_opened(truths, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(learn, "TrainingSession", partial(TrainingSession, checkpoint_seconds=0.0))
    plan = replace(KINDS[TAUGHT], n_steps=40, batch=8, n_images=8, n_scored=2, score_every=20, average_decay=0.5)
    whole = train_baseline(TAUGHT, "car", plan, tmp_path / "whole", images=truths)
    network = open_baseline(whole)
    image, depth, covered = truths.rows(np.arange(8), False)
    before = taught_terms(torch.ones_like(depth), depth, covered)["depth"]
    assert taught_terms(depth_in_view(network, image), depth, covered)["depth"] < 0.6 * before
    lines = [json.loads(line) for line in (tmp_path / "whole" / "stats.jsonl").read_text().splitlines()]
    assert [("side_of_flat" in line) for line in lines] == [True, True]

    def stop(name: str, done: int, of: int, **_) -> None:
        if done == 40:  # before that step is saved
            raise KeyboardInterrupt

    first = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        train_baseline(TAUGHT, "car", plan, first, images=truths, report=stop)
    assert torch.load(first / "checkpoint.pt", weights_only=True)["step"] == 20
    again = open_baseline(train_baseline(TAUGHT, "car", plan, first, images=truths))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_unsup3d_lowers_its_objective(truths) -> None:
    network = build_baseline(BaselineConfig(UNSUP3D))
    image = truths.rows(np.arange(4), False)[0]
    optimizer, values = torch.optim.Adam(network.parameters(), lr=1e-3), []
    for _ in range(12):
        loss = unsup3d_terms(network, image, None, 0.0)["pixel"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < values[0] - 0.2
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.slow
def test_rows_of_the_exam(truths, tmp_path) -> None:
    plan = replace(KINDS[TAUGHT], n_steps=1, batch=2, n_images=8, n_scored=1, score_every=1)
    path = train_baseline(TAUGHT, "car", plan, tmp_path / "net", images=truths)
    out = tmp_path / "rows"
    rows = run_table(BenchRequest("car", count=2), "val", out, only_baselines=True, learnt=(path,))
    named = {row["method"]: row for row in rows}
    assert list(named) == ["flat", "mean depth", "scaled ellipsoid", TAUGHT]
    assert named[TAUGHT]["side"] == pytest.approx(scored_by_hand(path), rel=1e-6)
    with pytest.raises(UserError, match="rows of other settings"):
        run_table(BenchRequest("car", count=2), "val", out, only_baselines=True)
    with pytest.raises(UserError, match="same kind"):
        run_table(BenchRequest("car", count=1), "val", tmp_path / "two", only_baselines=True, learnt=(path, path))


def scored_by_hand(path: Path) -> float:
    from gan2shape.bench.exam import exam_objects
    from gan2shape.bench.score import score_depth

    network, found = open_baseline(path), []
    for item in exam_objects("car", "val", 2):
        found.append(score_depth(mirrored_mean(network, item.image), item.depth, item.mask, item.fov_deg)["side"])
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kind", "unsup3"], "unknown kind 'unsup3'"),
        (["--kind", "supervised", "--data", "."], "leave --data out"),
        (["--kind", "unsup3d", "--category", "building"], "gan2shape build building"),
        (["resolution=100"], "64 or 128"),
    ],
)
def test_bad_requests_end_in_a_sentence(arguments, says, tmp_path) -> None:
    result = CliRunner().invoke(app, ["bench", "learn", "--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 2
    assert says in result.output.replace("\n", " ")
