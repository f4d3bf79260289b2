"""Depth as a pyramid of free grids, in the place of the network."""

from dataclasses import replace

import pytest
import torch

from gan2shape.bench.ladder import fit_depth
from gan2shape.core.errors import UserError
from gan2shape.core.progress import silent
from gan2shape.nn.scene_networks import DepthPyramid, SceneNetworks
from gan2shape.shape.gauge import depth_base, flat_base
from gan2shape.shape.stages import JointOptions, joint_loss
from gan2shape.shape.state import (
    Progress,
    Samples,
    SceneModel,
    current_scene,
    load_state,
    make_target,
    new_state,
    save_state,
    target_from,
)
from tests.shape.tiny import CONFIG, SIZE, disc_mask, tiny_generator, tiny_observation

PYRAMID = replace(CONFIG, ablation=replace(CONFIG.ablation, depth="pyramid"))
IMAGE = torch.zeros(1, 3, SIZE, SIZE)


def model() -> SceneModel:
    """Seeded networks with a pyramid, at a plane."""
    torch.manual_seed(0)
    return SceneModel(SceneNetworks(PYRAMID), flat_base(SIZE))


def bumpy_depth() -> torch.Tensor:
    """A cap with ripples of 4 pixels on it, inside the range."""
    at = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    cap = -0.06 * (1 - at[None, :] ** 2 - at[:, None] ** 2).clamp_min(0)
    return (1.02 + cap + 0.005 * torch.sin(at * torch.pi * SIZE / 4)[None, :])[None, None]


def some_samples() -> Samples:
    """Four noisy images of a disc, rotated by up to 0.2 radians to the left and right."""
    rng = torch.Generator().manual_seed(1)
    images, views = torch.rand(4, 3, SIZE, SIZE, generator=rng) * 2 - 1, torch.zeros(4, 6)
    views[:, 1] = torch.linspace(-0.2, 0.2, 4)
    lights = torch.tensor(PYRAMID.lights.mean).expand(4, 4)
    return Samples(images, disc_mask().expand(4, 1, SIZE, SIZE), views, lights)


def test_it_begins_at_its_base_and_grids_beyond_the_render_are_left_out():
    wanted = bumpy_depth()
    made = replace(model(), base=depth_base(wanted, PYRAMID.render.depth_half_range))
    depth = made.depth(IMAGE)
    assert (depth - depth.mean() - (wanted - wanted.mean())).abs().max() < 2e-3
    assert [grid.shape[-1] for grid in made.networks.depth_net.grids] == [4, 8, 16, 32]


def test_one_cell_of_the_coarsest_grid_moves_a_patch_of_its_size():
    pyramid = DepthPyramid(SIZE, PYRAMID.ablation)
    with torch.no_grad():
        pyramid.grids[0][0, 0, 1, 1] = 1.0
    grown = pyramid(IMAGE)[0, 0]
    assert grown.max() <= PYRAMID.ablation.pyramid_gain
    rows = torch.nonzero(grown.sum(1)).flatten()
    assert (rows.min(), rows.max()) == (4, 19)  # cell 1 of 4 is centred at 12 and reaches one cell of 8 each way


def test_a_known_depth_is_recovered_from_direct_supervision():
    made, wanted = model(), bumpy_depth()
    config = replace(PYRAMID, ablation=replace(PYRAMID.ablation, fit_steps=300))
    fit_depth(made, target_from(IMAGE, disc_mask()), wanted, config, silent)
    depth = made.depth(IMAGE)
    assert (depth - depth.mean() - (wanted - wanted.mean())).abs().max() < 2e-3


@pytest.mark.parametrize("fill", [0.0, 0.5, -100.0])
def test_gradients_of_the_joint_loss_are_finite(fill):
    """Also where every grid is far outside the range of tanh."""
    generator = tiny_generator()
    target, made = make_target(tiny_observation(generator)), model()
    with torch.no_grad():
        for grid in made.networks.depth_net.grids:
            grid.copy_(fill * torch.rand(grid.shape, generator=torch.Generator().manual_seed(0)))
    loss, _ = joint_loss(
        made,
        target,
        some_samples(),
        torch.arange(4),
        None,
        PYRAMID,
        JointOptions(estimate_views=False, estimate_lights=False),
        0.0,
    )
    loss.backward()
    gradients = [grid.grad for grid in made.networks.depth_net.grids]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert fill < 0 or all(float(gradient.abs().max()) > 0 for gradient in gradients)


def test_saved_state_is_restored(tmp_path):
    generator = tiny_generator()
    observation = tiny_observation(generator)
    state = new_state(PYRAMID, observation.latent.shape[-1], "cpu")
    with torch.no_grad():
        for grid in state.model.networks.depth_net.grids:
            grid.normal_()
    scene = current_scene(state.model, make_target(observation), PYRAMID.render.fov_deg)
    path = tmp_path / "state.safetensors"
    save_state(path, state, Progress(n_done=3), (scene,), PYRAMID, {})
    fresh = new_state(PYRAMID, observation.latent.shape[-1], "cpu")
    restored, progress, (stored,) = load_state(path, fresh, PYRAMID, {})
    assert progress.n_done == 3
    assert torch.equal(stored.depth, scene.depth)
    assert torch.equal(restored.model.depth(observation.image), state.model.depth(observation.image))
    with pytest.raises(UserError, match="other settings"):
        load_state(path, fresh, CONFIG, {})
