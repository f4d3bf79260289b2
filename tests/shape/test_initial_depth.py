"""What a pack's scene networks give a run: initial depth, its tilt and fusion, and stages on top of it."""

from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.progress import silent
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import (
    NETWORK_NAME,
    category_networks,
    load_learnt,
    pretrained_networks,
    settings,
)
from gan2shape.shape.initialize import (
    category_depth,
    mirror_mean_depth,
    read_pitch_yaw_rad,
    tilted,
)
from gan2shape.shape.reconstruct import Reconstruction, reconstruct
from tests.shape.tiny import CONFIG, SIZE, Seen, bumps, tiny_generator, tiny_observation, with_encoder


@pytest.fixture(scope="module")
def generator() -> Seen:
    tiny = with_encoder(tiny_generator())
    return Seen(tiny.prior, tiny.head)


def with_networks(generator: MaskedGenerator) -> MaskedGenerator:
    """The generator with scene networks of seeded random weights in its pack."""
    torch.manual_seed(5)
    networks = {**generator.prior.networks, NETWORK_NAME: category_networks(CONFIG).state_dict()}
    configs = {**generator.prior.network_configs, NETWORK_NAME: settings(CONFIG)}
    return replace(generator, prior=replace(generator.prior, networks=networks, network_configs=configs))


def test_only_what_was_learnt_is_taken_from_a_pack(generator) -> None:
    """Buffers of other versions are passed over; weights that are missing or of another shape are named."""
    opened = with_networks(generator)
    stored = opened.prior.networks[NETWORK_NAME]
    networks = category_networks(CONFIG)
    load_learnt(networks, {**stored, "start": torch.full((1, 1, 2, 2), 7.0), "lateral_tilt": torch.ones(())})
    assert all(torch.equal(weight, stored[name]) for name, weight in networks.named_parameters())
    name = next(iter(dict(networks.named_parameters())))
    for broken in ({key: value for key, value in stored.items() if key != name}, {**stored, name: torch.ones(3)}):
        with pytest.raises(UserError, match=name):
            load_learnt(networks, broken)


def test_a_stage_from_a_pack_leaves_coarse_form_and_one_from_an_ellipsoid_does_not(generator) -> None:
    from gan2shape.shape.gauge import low_pass

    opened = with_networks(generator)
    quick = replace(CONFIG, n_stages=1, steps=replace(CONFIG.steps, n_joint=(12,), lr=3e-2))
    observation = tiny_observation(opened)

    def learnt(pretrained: bool, form: float, share: float = 0.6) -> Reconstruction:
        initial = replace(quick.initial, use_depth_network=pretrained, highpass_cutoff=form, highpass_share=share)
        return reconstruct(observation, opened, replace(quick, initial=initial), silent)

    free, kept, initial = learnt(True, 0.0), learnt(True, 0.0625), learnt(True, 0.0625, share=0.0)
    change, mask = free.scenes[-1].depth - initial.scenes[-1].depth, free.target.canvas.mask
    assert float((change * mask).abs().max()) > 1e-5
    wanted = initial.scenes[-1].depth + 0.6 * (change - low_pass(change, mask, 0.0625 * SIZE))
    torch.testing.assert_close(kept.scenes[-1].depth, wanted, rtol=0.0, atol=1e-6)
    assert torch.equal(learnt(False, 0.0).scenes[-1].depth, learnt(False, 0.0625).scenes[-1].depth)


def test_the_loop_begins_at_the_depth_of_the_pack_s_networks(generator, tmp_path) -> None:
    opened = with_networks(generator)
    observation = tiny_observation(opened)
    outcome = reconstruct(observation, opened, CONFIG, silent, tmp_path)
    assert outcome.names == ("depth network", "stage 1", "stage 2")
    wanted = mirror_mean_depth(pretrained_networks(opened.prior, CONFIG), outcome.target.image)
    difference = outcome.scenes[1].depth - wanted
    assert float((difference - difference.mean()).abs().max()) < 1e-3, "the depth network adds next to nothing yet"
    again = reconstruct(observation, opened, CONFIG, silent, tmp_path)
    assert again.names == outcome.names
    assert torch.equal(again.scenes[-1].depth, outcome.scenes[-1].depth)


def test_without_them_or_with_other_sizes_the_ellipsoid_is_the_initial_depth(generator) -> None:
    opened = with_networks(generator)
    assert pretrained_networks(generator.prior, CONFIG) is None
    for changes in ({"code_dim": 24}, {"encoder_dim": 24}):
        assert pretrained_networks(opened.prior, replace(CONFIG, networks=replace(CONFIG.networks, **changes))) is None
    unused = replace(CONFIG, n_stages=1, initial=replace(CONFIG.initial, use_depth_network=False))
    assert reconstruct(tiny_observation(opened), opened, unused, silent).names == ("ellipsoid", "stage 1")


def test_an_albedo_network_is_learnt_beside_them(generator) -> None:
    opened, networks = with_networks(generator), replace(CONFIG.networks, albedo="network")
    config = replace(CONFIG, n_stages=1, networks=networks)
    assert reconstruct(tiny_observation(opened), opened, config, silent).names[0] == "depth network"


def test_the_depth_scale_acts_about_distance_one() -> None:
    torch.manual_seed(5)
    networks, images = category_networks(CONFIG), torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        once, twice = (category_depth(networks, images, scale) for scale in (1.0, 2.0))
    torch.testing.assert_close(twice - 1, 2 * (once - 1))


def test_the_depth_of_a_mirror_image_is_mirrored() -> None:
    torch.manual_seed(5)
    networks, images = category_networks(CONFIG), torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        depth, mirrored = mirror_mean_depth(networks, images), mirror_mean_depth(networks, images.flip(-1))
    torch.testing.assert_close(mirrored, depth.flip(-1))


def test_a_tilt_adds_a_plane_of_two_slopes() -> None:
    """Its own slopes per image, down and to the right, and the mean distance stays."""
    torch.manual_seed(5)
    depth, slopes = bumps(2), torch.tensor([[0.02, 0.0], [-0.01, 0.03]])
    added = tilted(depth, slopes) - depth
    torch.testing.assert_close(added.mean((1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-6)
    for corner, signs in (((-1, -1), (1, 1)), ((-1, 0), (1, -1)), ((0, 0), (-1, -1))):
        wanted = (slopes * torch.tensor(signs)).sum(1)
        torch.testing.assert_close(added[:, 0, corner[0], corner[1]], wanted, rtol=0, atol=1e-6)


def test_a_mirror_image_has_the_same_pitch_and_the_opposite_yaw_and_the_reference_no_pitch() -> None:
    torch.manual_seed(5)
    networks, images = category_networks(CONFIG), torch.rand(3, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        networks.view_net.last.weight.mul_(10)
        upright = (images[:1] + images[:1].flip(-1)) / 2
        angles = read_pitch_yaw_rad(networks, images, upright)
        mirrored = read_pitch_yaw_rad(networks, images.flip(-1), upright)
        torch.testing.assert_close(mirrored, angles * torch.tensor([1.0, -1.0]))
        assert float(angles.abs().min()) > 1e-4
        torch.testing.assert_close(read_pitch_yaw_rad(networks, upright, upright), torch.zeros(1, 2))


def test_the_initial_depth_is_tilted_by_the_estimated_view(generator, tmp_path) -> None:
    opened = with_networks(generator)
    observation = tiny_observation(opened)
    tilt = replace(CONFIG, n_stages=0, initial=replace(CONFIG.initial, network_tilt=(0.5, -0.3)))
    plain = reconstruct(observation, opened, replace(CONFIG, n_stages=0), silent)
    tilted_run = reconstruct(observation, opened, tilt, silent)
    known, upright = (
        pretrained_networks(opened.prior, CONFIG),
        opened.prior.generator.synthesis(opened.prior.w_mean[None]),
    )
    angles = read_pitch_yaw_rad(known, plain.target.image, upright.clamp(-1, 1))
    added = tilted_run.scenes[-1].depth - plain.scenes[-1].depth
    wanted = tilted(torch.zeros_like(added), angles * torch.tensor([0.5, -0.3]))
    assert float(angles.abs().min()) > 1e-5
    torch.testing.assert_close(added, wanted, rtol=0.02, atol=1e-6)


def test_multi_view_fusion_gives_another_shape_at_the_same_distance(generator) -> None:
    opened = with_networks(generator)
    observation = tiny_observation(opened)
    fused = replace(CONFIG, n_stages=0, initial=replace(CONFIG.initial, fusion_yaws_deg=(-15.0, 15.0)))
    plain = reconstruct(observation, opened, replace(CONFIG, n_stages=0), silent).scenes[-1].depth
    fused_depth = reconstruct(observation, opened, fused, silent).scenes[-1].depth
    mask = observation.mask
    assert float(((fused_depth - plain) * mask).abs().max()) > 1e-5
    assert float(((fused_depth - plain) * mask).sum() / mask.sum()) == pytest.approx(0.0, abs=2e-4)  # of 1


@pytest.mark.parametrize(
    ("n_stages", "pretrained", "expected"), [(None, True, 0), (None, False, 1), (2, True, 2), (0, False, 0)]
)
def test_stages_that_are_run(n_stages, pretrained, expected) -> None:
    assert replace(CONFIG, n_stages=n_stages).stages_from(pretrained) == expected


def test_no_stage_is_needed_after_them_and_the_run_is_resumed_all_the_same(generator, tmp_path) -> None:
    opened, config = with_networks(generator), replace(CONFIG, n_stages=None)
    observation = tiny_observation(opened)
    outcome = reconstruct(observation, opened, config, silent, tmp_path)
    assert outcome.names == ("depth network",)
    again = reconstruct(observation, opened, config, silent, tmp_path)
    assert again.names == outcome.names
    assert torch.equal(again.scenes[-1].depth, outcome.scenes[-1].depth)
    longer = reconstruct(observation, opened, replace(config, n_stages=1), silent, tmp_path)
    assert longer.names == ("depth network", "stage 1"), "stages can be added to a run that is there"
