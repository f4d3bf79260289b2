"""Learning fine form from relit pictures: that truth costs nothing, that it is learnt, and what stays."""

import copy
from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.scene.light import normals_from_depth
from gan2shape.shape import relief
from gan2shape.shape.initialize import category_depth, mirror_mean_depth
from gan2shape.shape.pool import Pool
from gan2shape.shape.relief import Lesson, ReliefPlan, learn_relief, relief_loss, relit_lesson
from tests.shape.tiny import CONFIG, SIZE, bumps, disc_mask, seeing_networks, tiny_generator, with_encoder, with_initial

FOV_DEG = CONFIG.render.fov_deg
N = 4


@pytest.fixture(scope="module")
def generator():
    return with_encoder(tiny_generator())


@pytest.fixture
def networks():
    return seeing_networks()


def pool() -> Pool:
    """Images of smooth colours on black, in a disc."""
    masks, latents = disc_mask(11.0).expand(N, -1, -1, -1), torch.zeros(N, 8)
    colours = 25 * (bumps(3 * N, 3) - 1).reshape(N, 3, SIZE, SIZE)
    return Pool(masks * colours, masks, latents, latents, torch.zeros_like(colours), colours)


def lesson(depths: torch.Tensor) -> Lesson:
    some = pool()
    return Lesson(some.images, some.masks, depths, normals_from_depth(depths, FOV_DEG))


def loss_of(networks, taught: Lesson, config=CONFIG, plan=None) -> float:
    return relief_loss(networks, taught, config, plan or ReliefPlan()).item()


def test_the_loss_is_zero_at_the_truth_and_at_nothing_else(networks) -> None:
    with torch.no_grad():
        truth = lesson(category_depth(networks, pool().images))
        assert loss_of(networks, truth) < 2e-3
        assert loss_of(networks, replace(truth, depths=truth.depths + 0.2)) < 2e-3  # the mean distance is free
        ramp = 0.01 * torch.linspace(-1, 1, SIZE).expand_as(truth.depths)
        assert loss_of(networks, replace(truth, depths=truth.depths + ramp)) > 0.03
        leaning = normals_from_depth(truth.depths + ramp, FOV_DEG)
        assert loss_of(networks, replace(truth, normals=leaning)) > 0.003
        doubled = with_initial(network_depth_scale=2.0)  # normals are of the depth as it is used
        used = normals_from_depth(1 + 2 * (truth.depths - 1), FOV_DEG)
        assert loss_of(networks, replace(truth, normals=used), doubled) < 2e-3
        assert loss_of(networks, truth, doubled) > 0.01


def test_mirrored_rows_are_those_of_the_mirrored_depth() -> None:
    taught = lesson(bumps(N))
    rows = torch.tensor([2, 0])
    plain, mirrored = taught.pick(rows, False), taught.pick(rows, True)
    assert torch.equal(mirrored.images, plain.images.flip(-1))
    assert torch.equal(mirrored.depths, taught.depths[rows].flip(-1))
    torch.testing.assert_close(mirrored.normals, normals_from_depth(mirrored.depths, FOV_DEG))


def test_a_lesson_has_the_fine_form_of_the_normals_and_the_coarse_form_of_the_network(networks, generator, monkeypatch):
    truth, scale = bumps(N, 7), 1.5
    seen = []

    def known(depth, target, *_):
        seen.append(depth)
        return normals_from_depth(truth[len(seen) - 1][None], FOV_DEG)

    monkeypatch.setattr(relief, "mean_relit_normals", known)
    config, some = with_initial(network_depth_scale=scale, network_tilt=(0.0, 0.0)), pool()
    reports = []
    near = ReliefPlan(cutoff=2.0)
    found = relit_lesson(networks, some, generator, config, near, "x", lambda *given: reports.append(given))
    with torch.no_grad():
        raw = mirror_mean_depth(networks, some.images)
    torch.testing.assert_close(torch.cat(seen), 1 + scale * (raw - 1))
    assert reports[-1] == ("x, relit", N, N)
    inner = (disc_mask(8.0) > 0.5)[0]
    for depth, before, wanted in zip(found.depths, raw, truth, strict=True):
        used = 1 + scale * (depth - 1)
        error, was = ((one - wanted)[inner].std() for one in (used, 1 + scale * (before - 1)))
        assert float(error) < 0.3 * float(was)
    seen.clear()
    kept = relit_lesson(networks, some, generator, config, replace(near, cutoff=1e-3), "x", lambda *_: None)
    torch.testing.assert_close(kept.depths, raw, atol=1e-4, rtol=0)  # all form is coarser than that


def test_rounds_learn_what_normals_tell_and_views_and_lights_stay(networks, generator, monkeypatch) -> None:
    truth = bumps(N, 7)
    told = []

    def known(depth, target, *_):
        told.append(depth)
        return normals_from_depth(truth[(len(told) - 1) % N][None], FOV_DEG)

    monkeypatch.setattr(relief, "mean_relit_normals", known)
    before, what = copy.deepcopy(networks), (pool(), generator, CONFIG)
    plan = ReliefPlan(n_rounds=2, n_steps=40, batch=N, lr=3e-3, cutoff=2.0, seed=1)
    learnt = learn_relief(networks, *what, plan)
    assert len(told) == 2 * N

    def error(of) -> float:
        with torch.no_grad():
            difference = mirror_mean_depth(of, pool().images) - truth
        inner = disc_mask(9.0)[0, 0] > 0.5
        return float(difference[:, 0, inner].std(1).mean())

    assert error(learnt) < 0.8 * error(before)
    first, second = torch.cat(told[:N]), torch.cat(told[N:])
    assert not torch.equal(first, second)  # the second round begins where the first ended
    for own, then in zip(networks.parameters(), before.parameters(), strict=True):
        assert torch.equal(own, then)
    for part in ("view_net", "light_net"):
        pairs = zip(getattr(learnt, part).parameters(), getattr(before, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), part
    assert not any(one.requires_grad for one in learnt.parameters())
    told.clear()
    again = learn_relief(networks, *what, plan)
    assert all(torch.equal(a, b) for a, b in zip(learnt.parameters(), again.parameters(), strict=True))


def test_real_relit_pictures_are_used(networks, generator) -> None:
    plan = ReliefPlan(n_rounds=1, n_steps=2, batch=2)
    learnt = learn_relief(networks, pool(), generator, CONFIG, plan)
    moved = zip(learnt.depth_net.parameters(), networks.depth_net.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in moved)
    assert all(torch.isfinite(one).all() for one in learnt.parameters())


def test_impossible_plans_are_refused(networks, generator) -> None:
    with pytest.raises(ValueError, match="lr=0"):
        ReliefPlan(lr=0.0)
    broken = replace(pool(), images=pool().images * float("nan"))
    with pytest.raises(UserError, match="try a lower lr"):
        learn_relief(networks, broken, generator, CONFIG, ReliefPlan(n_rounds=1, n_steps=1))
