"""Learning from cut outlines: what is compared with what, that truth costs nothing, and what moves."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.nn.averages import average_weights
from gan2shape.prior.packs import freeze
from gan2shape.prior.scene import category_networks
from gan2shape.scene.reframe import boxes, reframed, reframed_depth, reframed_view, zooms
from gan2shape.shape import outlines
from gan2shape.shape.initialize import mirror_mean_depth
from gan2shape.shape.outlines import (
    PLACE_JITTER,
    SIZE_JITTER,
    OutlinePlan,
    Seen,
    agreement_error,
    cut_images,
    learn_outlines,
    mean_image,
    outline_loss,
    redrawn,
    seen_whole,
)
from gan2shape.shape.pool import Pool
from gan2shape.shape.pretrain_fit import BESIDE_WEIGHT
from tests.shape.tiny import CONFIG, SIZE, disc_mask, tiny_generator, with_encoder

USUAL = torch.tensor([0.5, 0.5, 0.75])
FOV_DEG = CONFIG.render.fov_deg
VIEWS, LIGHTS = torch.tensor([[0.1, -0.3, 0.05, 0.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.4, 0.2, -0.3]])


def known(n: int = 4) -> Seen:
    """Discs with smooth colours on black, whose first channel tells their depth to a reader that knows how."""
    rng = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(n, 3, 4, 4, generator=rng), (SIZE, SIZE), mode="bilinear")
    masks = disc_mask(11.0).expand(n, -1, -1, -1)
    depths = 1 + 0.05 * smooth[:, :1]
    return Seen(smooth, masks, torch.zeros_like(smooth), depths, VIEWS.expand(n, -1), LIGHTS.expand(n, -1))


def pool_of(seen: Seen) -> Pool:
    """The same as a pool of images on black."""
    nothing = torch.zeros(len(seen.images), 8)
    return Pool(seen.masks * seen.images, seen.masks, nothing, nothing, seen.backgrounds, seen.images)


@dataclass(frozen=True)
class Knowing:
    """A student that knows what is to be seen in these squares, but for one thing."""

    squares: Tensor
    is_wrong_about: str = ""

    def depth(self, images: Tensor) -> Tensor:
        """Off the first channel; a flat object's in that square is the turn."""
        flat = torch.ones_like(images[:, :1])
        scale = 1.0 if self.is_wrong_about == "zoom" else zooms(self.squares, SIZE)[:, None, None, None]
        turn = 0.0 if self.is_wrong_about == "turn" else reframed_depth(flat, self.squares, FOV_DEG) - flat
        return 1 + scale * 0.05 * images[:, :1] + turn

    def views(self, images: Tensor, reference: Tensor) -> Tensor:
        views = VIEWS.expand(len(images), -1)
        return views if self.is_wrong_about == "view" else reframed_view(views, self.squares, SIZE, FOV_DEG)

    def lights(self, images: Tensor) -> Tensor:
        return LIGHTS.expand(len(images), -1) + (0.1 if self.is_wrong_about == "light" else 0.0)


def test_the_loss_is_near_zero_at_the_truth_and_at_nothing_else(monkeypatch) -> None:
    monkeypatch.setattr(outlines, "category_depth", lambda networks, images: networks.depth(images))
    unchecked = getattr(outline_loss, "__wrapped__", outline_loss)  # a student here is no SceneNetworks
    some, plan = replace(known(), backgrounds=known().images), OutlinePlan(whole_share=0.0)  # no rims
    cuts = cut_images(some, USUAL, plan, torch.Generator().manual_seed(0))

    def loss(is_wrong_about: str = "") -> float:
        student = Knowing(cuts.squares, is_wrong_about)
        return unchecked(student, some, cuts, torch.zeros(1, 3, SIZE, SIZE), CONFIG, plan).item()

    truth = loss()
    assert truth < 4e-3
    assert loss("zoom") > 0.02
    assert loss("turn") > truth + 1e-3
    assert loss("view") > truth + 1e-5
    assert loss("light") == pytest.approx(truth + OutlinePlan.light_weight * 0.01, rel=1e-3)


def test_depths_agree_up_to_their_mean_inside_the_mask_and_roughly_beside_it() -> None:
    mask, truth = disc_mask(), 1 + 0.01 * torch.rand(1, 1, SIZE, SIZE)
    assert agreement_error(truth + 0.3, truth, mask, 2.0).item() < 2e-5
    ramp = torch.linspace(-1, 1, SIZE).expand_as(mask)
    weight = mask + BESIDE_WEIGHT
    found = agreement_error(truth + 0.01 * ramp, truth, mask, 0.0).item()
    rms = ((ramp.square() * weight).sum() / weight.sum()).sqrt().item()
    assert found == pytest.approx(0.01 * rms, rel=1e-3)
    steps = agreement_error(truth + 0.01 * ramp, truth, mask, 3.0).item() - found
    assert steps == pytest.approx(3 * 0.01 * 2 / (SIZE - 1), rel=1e-2)
    one, other = (torch.where(where, truth + 0.01, truth) for where in (mask > 0, mask == 0))
    for depth in (one, other):  # the same step at the outline; inside alone the mean is free
        beside = BESIDE_WEIGHT * (mask == 0).sum() / weight.sum()
        assert agreement_error(depth, truth, mask, 1.0).item() == pytest.approx(0.01 * beside.sqrt().item(), rel=1e-3)
    pair = torch.cat([truth + 0.01 * ramp, truth])
    both = agreement_error(pair, truth.expand(2, -1, -1, -1), mask.expand(2, -1, -1, -1), 0.0).item()
    assert both == pytest.approx(found / 2, abs=1e-5)


def test_the_result_is_an_average_that_forgets() -> None:
    torch.manual_seed(0)
    average, student = category_networks(CONFIG), category_networks(CONFIG)
    before, theirs = copy.deepcopy(average), copy.deepcopy(student)
    average_weights(average, student, 0.75)
    four = (average, before, theirs, student)
    for now, then, other, same in zip(*(one.parameters() for one in four), strict=True):
        torch.testing.assert_close(now, 0.75 * then + 0.25 * other)
        assert torch.equal(other, same)


def test_what_is_left_has_nearly_the_usual_size_and_place() -> None:
    some, rng = known(40), torch.Generator().manual_seed(1)
    cuts = cut_images(some, USUAL, OutlinePlan(whole_share=0.0), rng)
    found = boxes(cuts.masks) / SIZE
    pixel = 1.6 / SIZE
    assert (found[:, :2] - USUAL[:2]).abs().max() < PLACE_JITTER + pixel
    assert (found[:, 2] / USUAL[2] - 1).abs().max() < SIZE_JITTER + pixel / USUAL[2]
    assert found[:, 2].std() > 0.02
    assert found[:, 0].std() > 0.01
    area = cuts.masks.sum((1, 2, 3)) / zooms(cuts.squares, SIZE).square()
    assert (area < 0.97 * some.masks.sum((1, 2, 3))).all()
    black = cuts.masks.expand_as(cuts.images) == 0
    assert cuts.images[black].abs().max() < 1.0  # mixed rims, no object
    assert cuts.images[black].abs().mean() < 0.02


def test_those_that_stay_whole_are_only_scaled_and_shifted_and_half_of_them_not_even_that() -> None:
    some = known(40)
    cuts = cut_images(some, USUAL, OutlinePlan(whole_share=1.0), torch.Generator().manual_seed(1))
    torch.testing.assert_close(cuts.masks, reframed(some.masks, cuts.squares, "zeros"))
    area = cuts.masks.sum((1, 2, 3)) / zooms(cuts.squares, SIZE).square()
    torch.testing.assert_close(area, some.masks.sum((1, 2, 3)), rtol=0.02, atol=0)
    is_still = (cuts.squares == torch.tensor([0.0, 0.0, SIZE])).all(1)
    assert 10 < is_still.sum() < 30
    pictures = some.masks * some.images
    torch.testing.assert_close(cuts.images[is_still], pictures[is_still], atol=1e-5, rtol=0)


def test_the_first_part_is_seen_as_the_generator_reproduces_it() -> None:
    generator, some = with_encoder(tiny_generator()), known()
    cuts = cut_images(some, USUAL, OutlinePlan(), torch.Generator().manual_seed(0))
    half = redrawn(cuts, generator, 0.5)
    shown, _ = generator(generator.prior.guess_latent(cuts.images[:2]))
    assert torch.equal(half.images[:2], shown)
    assert torch.equal(half.images[2:], cuts.images[2:])
    assert torch.equal(half.masks, cuts.masks)
    assert redrawn(cuts, generator, 0.0) is cuts


def test_the_teacher_reads_reproductions_and_the_student_sees_the_originals_colours() -> None:
    torch.manual_seed(0)
    networks, generator, pool = freeze(category_networks(CONFIG)), with_encoder(tiny_generator()), pool_of(known())
    originals = torch.rand(4, 3, SIZE, SIZE)
    seen = seen_whole(networks, replace(pool, originals=originals), generator)
    torch.testing.assert_close(seen.depths, mirror_mean_depth(networks, pool.images))
    torch.testing.assert_close(seen.views, networks.views(pool.images, mean_image(generator)))
    torch.testing.assert_close(seen.lights, networks.lights(pool.images))
    inside = (pool.masks == 1).expand_as(originals)
    torch.testing.assert_close(seen.images[inside], originals[inside])
    assert torch.equal(seen_whole(networks, pool, generator).images, pool.surfaces)


def test_students_learn_and_what_they_began_as_stays() -> None:
    torch.manual_seed(0)
    networks, generator, seen = freeze(category_networks(CONFIG)), with_encoder(tiny_generator()), known()
    with torch.no_grad():
        networks.depth_net.body[-1].weight.mul_(100.0)  # a depth that depends on what is seen
    before, losses = copy.deepcopy(networks), []
    plan, what = OutlinePlan(n_steps=30, batch=4, lr=2e-3, seed=1), (pool_of(seen), generator, CONFIG)
    learnt = learn_outlines(networks, *what, plan, lambda *_, loss: losses.append(loss))
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    for own, then in zip(networks.parameters(), before.parameters(), strict=True):
        assert torch.equal(own, then)
    assert not any(p.requires_grad for p in learnt.parameters())
    for part in ("depth_net", "view_net", "light_net"):
        moved = zip(getattr(learnt, part).parameters(), getattr(before, part).parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in moved), part
    last = learn_outlines(networks, *what, replace(plan, average_decay=0.0))  # the student, as it ends
    assert any(not torch.equal(a, b) for a, b in zip(learnt.parameters(), last.parameters(), strict=True))
    again = learn_outlines(networks, *what, plan)
    assert all(torch.equal(a, b) for a, b in zip(learnt.parameters(), again.parameters(), strict=True))


def test_a_loss_that_is_not_finite_ends_it() -> None:
    networks, generator, seen = freeze(category_networks(CONFIG)), with_encoder(tiny_generator()), known()
    broken = replace(seen, images=seen.images * float("nan"))
    with pytest.raises(UserError, match="try a lower lr"):
        learn_outlines(networks, pool_of(broken), generator, CONFIG, OutlinePlan(n_steps=1, drawn_share=0.0))
    with pytest.raises(ValueError, match="lr=0"):
        OutlinePlan(lr=0.0)
