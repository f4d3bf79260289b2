"""Reading attributes: differences against hand values, the file's round trip, and what the bundled networks read."""

import math
import warnings
from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.resources import pack_dir
from gan2shape.measure.attributes import (
    ATTRIBUTES_NAME,
    AttributeConfig,
    AttributeNetwork,
    Attributes,
    bundled_attributes,
    differences,
    identity,
    load_attributes,
    save_attributes,
)

CONFIG = AttributeConfig(("hair", "paint_lab"), (1, 3), ("a", "b"), 16, (4, 4), 4, 6)


@pytest.fixture
def network() -> AttributeNetwork:
    made = AttributeNetwork(CONFIG)
    made.scene_mean.copy_(torch.arange(6.0))
    made.scene_std.fill_(2.0)
    made.trait_mean.copy_(torch.tensor([10.0, 20.0, 30.0, 40.0]))
    return made.eval()


def attributes(heading_deg: float, light: tuple[float, float], paint: tuple[float, float, float], style: int):
    one_hot = torch.zeros(1, 3)
    one_hot[0, style] = 1.0
    return Attributes(
        heading_rad=torch.tensor([math.radians(heading_deg)]),
        light=torch.tensor([[0.4, 0.6, *light]]),
        traits={"paint_lab": torch.tensor([paint])},
        logits=one_hot,
        embedding=torch.tensor([[0.6, 0.8]]),
    )


def test_differences_are_what_a_hand_computes():
    ours = attributes(170.0, (1.0, 0.0), (50.0, 3.0, 0.0), 0)
    theirs = attributes(-170.0, (0.0, 0.0), (50.0, 0.0, 4.0), 2)
    theirs = replace(theirs, light=theirs.light + torch.tensor([0.1, -0.2, 0.0, 0.0]))
    found = {name: value.item() for name, value in differences(ours, theirs).items()}
    assert found == pytest.approx(
        {"heading_deg": 20.0, "light_deg": 45.0, "ambient": 0.1, "diffuse": 0.2, "paint_lab": 5.0, "style": 1.0},
        abs=1e-4,
    )
    assert all(value.item() == 0.0 for value in differences(ours, ours).values())


def test_identity_is_the_cosine():
    ours = attributes(0.0, (0.0, 0.0), (0.0, 0.0, 0.0), 0)
    other = replace(ours, embedding=torch.tensor([[0.8, -0.6]]))
    assert identity(ours, ours).item() == pytest.approx(1.0)
    assert identity(ours, other).item() == pytest.approx(0.0, abs=1e-7)


def test_what_is_read_is_in_units_of_the_world_and_by_name(network):
    images = torch.randn(3, 3, 16, 16)
    scene, traits, logits, embedding = network(images)
    read = network.read(images)
    torch.testing.assert_close(read.heading_rad, torch.atan2(2 * scene[:, 0], 2 * scene[:, 1] + 1))
    torch.testing.assert_close(read.light, 2 * scene[:, 2:] + torch.arange(2.0, 6.0))
    torch.testing.assert_close(read.traits["hair"], traits[:, :1] + 10)
    torch.testing.assert_close(read.traits["paint_lab"], traits[:, 1:] + torch.tensor([20.0, 30.0, 40.0]))
    assert torch.equal(read.style, logits.argmax(1))
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_images_of_another_size_are_brought_to_the_network_s(network):
    image = torch.randn(1, 3, 16, 16)
    larger = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for ours, theirs in zip(network(larger), network(image), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_reach_the_images(network):
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    read = network.read(images)
    (read.logits[:, 0] - read.logits[:, 1] + read.heading_rad).sum().backward()
    assert (images.grad.abs().amax((1, 2, 3)) > 0).all()


def test_a_network_travels_in_a_file(network, tmp_path):
    path = save_attributes(tmp_path / ATTRIBUTES_NAME, network)
    again, images = load_attributes(path), torch.randn(2, 3, 16, 16)
    assert again.config == CONFIG
    assert not again.training
    for ours, theirs in zip(again(images), network(images), strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=5e-3)  # half precision
    twice = load_attributes(save_attributes(tmp_path / "again.safetensors", again))
    for ours, theirs in zip(twice.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_category_without_styles_and_traits_is_read_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = AttributeNetwork(replace(CONFIG, traits=(), trait_sizes=(), styles=())).eval()
    read = network.read(torch.zeros(2, 3, 16, 16))
    assert (read.traits, read.logits.shape) == ({}, (2, 0))


def test_a_damaged_file_and_a_missing_one_are_one_sentence_each(tmp_path):
    (tmp_path / "text.safetensors").write_text("no network")
    with pytest.raises(UserError, match="damaged"):
        load_attributes(tmp_path / "text.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        load_attributes(tmp_path / "gone.safetensors")
    with pytest.raises(UserError, match="no attribute network of this version"):
        load_attributes(pack_dir("car") / "prior.safetensors")
    with pytest.raises(UserError, match="build building --only attributes"):
        bundled_attributes("building")
