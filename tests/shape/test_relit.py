"""Form from relit pictures: what is put together, and that a run does it."""

from dataclasses import replace

import pytest
import torch

from gan2shape.core.progress import silent
from gan2shape.prior.scene import category_networks
from gan2shape.scene.light import normals_from_depth
from gan2shape.shape import relit
from gan2shape.shape.reconstruct import reconstruct
from gan2shape.shape.relit import light_grid, mirrored_normals, with_relit_form
from gan2shape.shape.state import target_from
from tests.shape.test_initial_depth import with_networks
from tests.shape.tiny import (
    CONFIG,
    SIZE,
    bumps,
    disc_mask,
    tiny_generator,
    tiny_observation,
    with_encoder,
    with_initial,
)


@pytest.fixture(scope="module")
def generator():
    return with_encoder(tiny_generator())


def test_normals_of_a_mirror_image_are_those_of_its_depth() -> None:
    depth = bumps(1)
    torch.testing.assert_close(mirrored_normals(normals_from_depth(depth)), normals_from_depth(depth.flip(-1)))


def test_lights_fill_the_box_at_the_own_strengths() -> None:
    own = torch.tensor([[0.4, 0.7, 0.1, -0.2]])
    lights = light_grid(own, CONFIG.lights)
    assert len({tuple(one) for one in lights.tolist()}) == relit.N_ACROSS * relit.N_DOWN
    torch.testing.assert_close(lights[:, :2], own[:, :2].expand(len(lights), 2))
    for column, box in ((2, CONFIG.lights.lx), (3, CONFIG.lights.ly)):
        assert (float(lights[:, column].min()), float(lights[:, column].max())) == pytest.approx(box)


def test_errors_that_the_mirror_image_turns_around_cancel(generator, monkeypatch) -> None:
    """Normals that lean to the image's right, in the picture and in its mirror image, are right in the mean."""
    truth, target = bumps(1), target_from(torch.rand(1, 3, SIZE, SIZE) * 2 - 1, disc_mask())
    asked = []

    def leaning(normals, target, *_):
        asked.append(target.image)
        lean = torch.tensor([0.1, 0.0, 0.0]).view(1, 3, 1, 1)
        own = normals_from_depth(truth if len(asked) == 1 else truth.flip(-1))
        return torch.nn.functional.normalize(own + lean, dim=1)

    monkeypatch.setattr(relit, "relit_normals", leaning)
    config = with_initial(relit_cutoff=1.0)
    flat = torch.ones_like(truth)
    found = with_relit_form(flat, target, category_networks(config), generator, config)
    inner = disc_mask(9.0) > 0.5
    (before, after) = ((one - truth)[inner].std() for one in (flat, found))
    assert float(after) < 0.25 * float(before)
    assert torch.equal(asked[1], target.image.flip(-1))


def test_a_run_takes_fine_form_from_relit_pictures_and_keeps_the_distance(generator) -> None:
    opened = with_networks(generator)
    observation = tiny_observation(opened)
    results = [
        reconstruct(observation, opened, replace(with_initial(relit_cutoff=cutoff), n_stages=0), silent)
        for cutoff in (0.0, 0.1, 0.1)
    ]
    depths = [result.scene.depth for result in results]
    said = [any("relit pictures" in note for note in result.bundle().notes) for result in results]
    assert said == [False, True, True]
    change = depths[1] - depths[0]
    assert torch.equal(depths[1], depths[2])
    inside = observation.mask > 0.5
    assert float(change[inside].abs().max()) > 1e-5
    assert float(change[inside].mean().abs()) < 2e-4
