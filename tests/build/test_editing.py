"""What the editing network learns from, whether it learns it, and its file."""

import math
import shutil
from dataclasses import replace

import pytest
import torch

from gan2shape.build import editing
from gan2shape.build.editing import (
    FIRST_SEED,
    HELD_OUT_FIRST_SEED,
    EditingPlan,
    EditingPool,
    editing_config,
    measure_editing,
    pool_on_disk,
    reconstructed,
    sample_changes,
    shown,
    train_editing,
)
from gan2shape.core.errors import UserError
from gan2shape.core.records import Render
from gan2shape.core.resources import pack_dir
from gan2shape.nn.editing import (
    EDITING_NAME,
    LIMITS,
    UNITS,
    EditingConfig,
    EditingNetwork,
    load_editing,
    save_editing,
    within_limits,
)
from gan2shape.prior.masked_generator import masked_generator
from gan2shape.prior.packs import load_pack
from gan2shape.synth.dataset import EXAM_FIRST_SEED
from tests.shape.tiny import CONFIG, SIZE, tiny_generator
from tests.tiny_pack import write_tiny_pack


def random_network(w_dim: int = 8) -> EditingNetwork:
    """One that moves latents anywhere."""
    torch.manual_seed(3)
    network = EditingNetwork(EditingConfig(w_dim, 16, 2))
    torch.nn.init.normal_(network.last.weight)
    network.w_mean.normal_()
    network.w_std.uniform_(0.5, 2)
    return network.requires_grad_(False)


def tiny_pool(n: int) -> EditingPool:
    """Grey planes, whose pictures are the generator's."""
    generator = tiny_generator()
    torch.manual_seed(1)
    w = generator.prior.generator.mapping(torch.randn(n, 8)).detach()
    flat = torch.zeros(n, 3, SIZE, SIZE)
    light, ones = torch.tensor([[0.5, 0.5, 0.1, -0.3]]).repeat(n, 1), torch.ones(n, 1, SIZE, SIZE)
    return EditingPool(w, generator(w)[0].detach(), ones, flat, light, ones, flat)


def test_no_change_moves_nothing_at_all() -> None:
    network, w, change = random_network(), torch.randn(5, 8), torch.randn(5, 6)
    change[2] = 0
    moved = network(w, change)
    assert not moved[2].any()
    assert moved[[0, 1, 3, 4]].abs().amin(1).max() > 0.1
    assert not network(w, torch.zeros(5, 6)).any()
    assert not EditingNetwork(EditingConfig(8))(w, change).any()  # nor does one that has learnt nothing


def test_a_gain_turns_farther_and_nothing_else() -> None:
    network, w, change = random_network(), torch.randn(5, 8), 0.1 * torch.randn(5, 6)
    before, level = network(w, change), change * (torch.arange(6) > 0)
    still = network(w, level)
    network.yaw_gain.fill_(1.5)
    assert torch.equal(network(w, level), still)
    farther = change * torch.tensor([1.5, 1, 1, 1, 1, 1])
    asked = network(w, change)
    network.yaw_gain.fill_(1.0)
    assert torch.allclose(asked, network(w, farther), atol=1e-6)
    assert not torch.allclose(asked, before, atol=1e-3)


def test_changes_beyond_what_was_learnt_go_no_farther() -> None:
    network, w, far = random_network(), torch.randn(1, 8), torch.tensor([[2.0, -2.0, 0.1, 1.0, -3.0, 0.2]])
    assert torch.equal(network(w, far), network(w, within_limits(far)))
    assert not torch.equal(network(w, far), network(w, 0.9 * within_limits(far)))


def test_each_row_of_w_plus_moves_as_w_does() -> None:
    network, w, change = random_network(), torch.randn(2, 3, 8), torch.randn(2, 6)
    moved = network(w, change)
    for row in range(3):
        assert torch.allclose(moved[:, row], network(w[:, row], change), atol=1e-6)


def test_changes_are_kept_where_something_was_learnt() -> None:
    far = torch.tensor([[2.0, -2.0, 0.1, 1.0, -3.0, 0.2]])
    kept = [LIMITS[0], -LIMITS[1], 0.1, LIMITS[3], -LIMITS[4], 0.2]
    assert within_limits(far)[0].tolist() == pytest.approx(kept)


def test_the_file_gives_the_network_back(tmp_path) -> None:
    network, w, change = random_network(), torch.randn(4, 8), torch.randn(4, 6)
    again = load_editing(save_editing(tmp_path / EDITING_NAME, network))
    assert again.config == network.config
    assert torch.allclose(again(w, change), network(w, change), atol=0.05)
    assert not any(parameter.requires_grad for parameter in again.parameters())
    (tmp_path / EDITING_NAME).write_bytes(b"none")
    with pytest.raises(UserError, match="--only editing"):
        load_editing(tmp_path / EDITING_NAME)


def test_a_pack_has_its_own_network_or_none_and_no_other(tmp_path) -> None:
    pack = write_tiny_pack(tmp_path, "car", 32)
    prior = load_pack(pack)
    assert prior.editing is None
    network = EditingNetwork(EditingConfig(8))
    network.w_mean.copy_(prior.w_mean)
    network.w_std.copy_(prior.w_std)
    save_editing(pack / EDITING_NAME, network)
    assert load_pack(pack).editing is not None
    network.w_mean.add_(0.1 * prior.w_std)
    save_editing(pack / EDITING_NAME, network)
    with pytest.raises(UserError, match="another generator"):
        load_pack(pack)
    save_editing(pack / EDITING_NAME, EditingNetwork(EditingConfig(16)))
    with pytest.raises(UserError, match="another generator"):
        load_pack(pack)


def test_changes_are_of_the_plans_size_and_some_keep_view_or_light() -> None:
    own = torch.tensor([[0.05, 0.6, 0.3, -0.3]]).repeat(4000, 1)
    plan = EditingPlan()
    change = sample_changes(own, plan, CONFIG, torch.Generator().manual_seed(0))
    turned, lit = change[:, :2].any(1), change[:, 2:].any(1)
    assert float(turned.float().mean()) == pytest.approx(0.75, abs=0.03)
    assert float(lit.float().mean()) == pytest.approx(0.75, abs=0.03)
    assert math.degrees(float(change[turned, 0].std())) == pytest.approx(plan.yaw_sd_deg, abs=1)
    assert (own[:, 0] + change[:, 2]).min() >= 0  # no light has a strength below 0
    lights = (own + change[:, [2, 3, 4, 5]])[lit]
    for column, (low, high) in ((2, CONFIG.lights.lx), (3, CONFIG.lights.ly)):
        assert low - 1e-5 <= lights[:, column].min() < low + 0.05
        assert high - 0.05 < lights[:, column].max() <= high + 1e-5


def test_pseudo_samples_are_compared_where_the_input_shows_the_object() -> None:
    pool = tiny_pool(2)
    pool.mask[..., : SIZE // 2] = 0
    change = torch.zeros(2, 6)
    change[1, 3] = 0.2
    rendered, shows = shown(pool, change, CONFIG)
    assert torch.equal(shows, pool.mask)
    inside = pool.mask[:1].expand(-1, 3, -1, -1) > 0
    assert (rendered.image[1:][inside] > rendered.image[:1][inside]).all()  # more light


def test_a_known_motion_is_recovered(monkeypatch) -> None:
    """Renders are G(w + A change): the network has to find A."""
    generator, pool = tiny_generator(), tiny_pool(64)
    torch.manual_seed(5)
    known = 0.5 * generator.prior.w_std[:, None] * torch.randn(8, 6) * (torch.arange(6) < 2)

    def rendered(some: EditingPool, change: torch.Tensor, config: object) -> tuple[Render, torch.Tensor]:
        images = generator(some.latents + (change / change.new_tensor(UNITS)) @ known.t())[0].detach()
        ones = torch.ones_like(images[:, :1])
        return Render(images, ones, ones, ones, torch.zeros(len(images), SIZE, SIZE, 2)), ones

    monkeypatch.setattr(editing, "shown", rendered)
    plan = EditingPlan(n_steps=150, lr=5e-3, near_weight=0.0, motion_weight=0.1)
    network = train_editing(pool, plan, generator, CONFIG)
    measured = measure_editing(network, pool, plan, generator, CONFIG)
    assert measured["pixels"] < 0.35 * measured["pixels_unedited"]
    assert measured["there_and_back"] < 0.3
    again = train_editing(pool, replace(plan, n_steps=3), generator, CONFIG)
    same = train_editing(pool, replace(plan, n_steps=3), generator, CONFIG)
    assert torch.equal(again.last.weight, same.last.weight)


def test_reconstructed_objects_are_kept_on_disk(tmp_path, monkeypatch) -> None:
    generator = masked_generator(load_pack(pack_dir("car")))
    config = editing_config("car", generator)
    first = pool_on_disk("car", FIRST_SEED, 3, generator, config, tmp_path)
    assert first.depth.shape == (3, 1, 64, 64)
    images = generator(first.latents)[0]
    assert torch.allclose(first.images.float(), images, atol=2e-3)
    rendered, shows = shown(first.pick(torch.arange(3), torch.device("cpu")), torch.zeros(3, 6), config)
    assert ((rendered.image - images).abs().mean(1, keepdim=True) * shows).sum() / shows.sum() < 0.03
    monkeypatch.setattr(editing, "reconstructed", None)
    again = pool_on_disk("car", FIRST_SEED, 3, generator, config, tmp_path)
    assert torch.equal(again.latents, first.latents)
    assert torch.equal(again.albedo, first.albedo)


def test_seeds_lie_below_every_exam() -> None:
    assert FIRST_SEED + EditingPlan().n_objects <= HELD_OUT_FIRST_SEED
    assert HELD_OUT_FIRST_SEED + EditingPlan().n_held_out <= EXAM_FIRST_SEED


def test_a_pack_without_a_depth_network_is_refused(tmp_path) -> None:
    generator = masked_generator(load_pack(write_tiny_pack(tmp_path, "car", 32, bare=True)))
    with pytest.raises(UserError, match="--only scene"):
        editing_config("car", generator)


@pytest.mark.parametrize("category", ["car", "face", "head"])
def test_bundled_networks_turn_and_relight_other_objects(category) -> None:
    generator = masked_generator(load_pack(pack_dir(category)))
    config = editing_config(category, generator)
    seeds = list(range(HELD_OUT_FIRST_SEED + 1000, HELD_OUT_FIRST_SEED + 1024))
    pool = reconstructed(category, seeds, generator, config)
    measured = measure_editing(generator.prior.editing, pool, EditingPlan(), generator, config)
    assert measured["pixels"] < 0.9 * measured["pixels_unedited"]
    assert 0.5 < measured["heading"] < 1.3
    assert measured["light_x"] > 0.4
    assert measured["identity"] > 0.85
    assert measured["there_and_back"] < 0.3


def test_a_bundled_network_of_the_other_category_is_refused(tmp_path) -> None:
    pack = shutil.copytree(pack_dir("car"), tmp_path / "car")
    shutil.copy(pack_dir("head") / EDITING_NAME, pack / EDITING_NAME)
    with pytest.raises(UserError, match="another generator"):
        load_pack(pack)
