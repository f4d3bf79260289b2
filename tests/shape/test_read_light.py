"""Edits begin with the light that a pack's attribute network reads, and with the albedo that belongs to it."""

from dataclasses import replace

import pytest
import torch

from gan2shape.measure.attributes import AttributeConfig, AttributeNetwork, Attributes, light_within
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.shape.read_light import with_read_light
from gan2shape.shape.reconstruct import Reconstruction, reconstruct
from tests.shape.tiny import CONFIG, SIZE, tiny_generator, tiny_observation, with_steps

READ = (0.3, 0.5, -0.4, 0.1)


class Reader(AttributeNetwork):
    """Sees one light in every image."""

    def __init__(self, light: tuple[float, ...]) -> None:
        super().__init__(AttributeConfig(resolution=SIZE, widths=(4, 4)))
        self.light = light

    def read(self, images: torch.Tensor) -> Attributes:
        n = len(images)
        light = torch.tensor([self.light]).expand(n, -1)
        return Attributes(torch.zeros(n), light, {}, images.new_zeros(n, 0), torch.ones(n, 1))


@pytest.fixture(scope="module")
def made() -> Reconstruction:
    generator = tiny_generator()
    found = reconstruct(tiny_observation(generator), generator, replace(with_steps(), n_stages=1))
    return replace(found, generator=replace(generator, prior=replace(generator.prior, attributes=Reader(READ))))


def test_the_input_stays_and_the_light_that_is_read_relights_it(made) -> None:
    read = with_read_light(made)
    assert read.scene.light[0].tolist() == pytest.approx(READ)
    assert torch.equal(read.scene.depth, made.scene.depth)
    inside = (made.observation.mask > 0.99).expand(1, 3, -1, -1)
    image = made.observation.image
    assert (read.render().image - image)[inside].abs().median() < 0.02
    # Relit colour is the input's times the ratio of the shadings, where nothing is clipped.
    light = torch.tensor([[0.5, 0.4, 0.3, -0.3]])
    normals = normals_from_depth(made.scene.depth, CONFIG.render.fov_deg)
    wanted = (image / 2 + 0.5) * shade(normals, light) / shade(normals, torch.tensor([READ]))
    shown = read.render(light=light[0].tolist()).image / 2 + 0.5
    assert (shown - wanted)[inside & (wanted < 0.99)].abs().median() < 0.01
    assert (made.render(light=light[0].tolist()).image / 2 + 0.5 - wanted)[inside].abs().median() > 0.02


def test_light_of_something_else_is_kept_within_the_box() -> None:
    read = light_within(Reader((-0.2, -1.0, -7.0, 3.0)), torch.zeros(2, 3, SIZE, SIZE), (-0.8, 0.8), (-0.8, 0.2))
    assert read.tolist() == [pytest.approx((0.0, 0.0, -0.8, 0.2))] * 2


def test_without_a_network_or_with_a_learnt_albedo_nothing_changes(made) -> None:
    plain = replace(made, generator=tiny_generator())
    assert with_read_light(plain) is plain
    settings = replace(with_steps(), n_stages=0, networks=replace(CONFIG.networks, albedo="network"))
    learnt = reconstruct(made.observation, made.generator, settings)
    assert with_read_light(learnt) is learnt
