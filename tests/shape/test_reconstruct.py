"""The Python interface on a tiny prior: render, relight, export, errors."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import gan2shape
from gan2shape.core.devices import choose_device
from gan2shape.core.errors import UserError
from gan2shape.core.progress import silent
from gan2shape.core.records import Scene
from gan2shape.prior.masked_generator import observe_seed
from gan2shape.prior.open import open_prior
from gan2shape.shape.observe import observe_image
from gan2shape.shape.reconstruct import Reconstruction, check_inputs, reconstruct
from gan2shape.shape.strips import effect_strips
from tests.shape.tiny import CONFIG, SIZE, disc_mask, tiny_generator, tiny_observation


@pytest.fixture(scope="module")
def made() -> Reconstruction:
    generator = tiny_generator()
    observation = tiny_observation(generator)
    return reconstruct(observation, generator, CONFIG, silent)


def test_the_package_offers_the_function_without_importing_it_early():
    code = """
import sys
import gan2shape
early = [name for name in sys.modules if name.startswith("gan2shape.") or name == "torch"]
assert early == [], early
assert gan2shape.reconstruct is sys.modules["gan2shape.api"].reconstruct
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError):
        gan2shape.no_such_thing  # noqa: B018


def test_the_own_view_and_light_give_the_input_back(made):
    inside = made.observation.mask > 0.5
    difference = (made.render().image - made.observation.image).abs().amax(1, keepdim=True)[inside]
    assert difference.median() < 0.02


def test_a_yaw_changes_the_image_and_a_light_above_brightens_the_top(made):
    assert (made.render(yaw_deg=25.0).image - made.render().image).abs().max() > 0.01
    above, below = (made.render(light=(0.2, 0.8, 0.0, ly)).image for ly in (-2.0, 2.0))
    top = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    top[..., SIZE // 2 - 9 : SIZE // 2 - 5, SIZE // 2 - 2 : SIZE // 2 + 2] = True
    assert above[top.expand(1, 3, -1, -1)].mean() > below[top.expand(1, 3, -1, -1)].mean()


def test_a_light_may_be_given_in_the_camera_s_frame(made):
    """At a yaw, the same numbers mean another light in the two frames; at none, the same one."""
    light = (0.3, 0.7, 0.5, -0.2)
    frontal = [made.render(light=light, light_frame=frame).image for frame in ("canonical", "camera")]
    torch.testing.assert_close(*frontal, atol=1e-5, rtol=0)
    rotated = [made.render(yaw_deg=30.0, light=light, light_frame=frame).image for frame in ("canonical", "camera")]
    assert (rotated[0] - rotated[1]).abs().max() > 1e-3
    with pytest.raises(UserError, match="light_frame"):
        made.render(light=light, light_frame="world")


@pytest.mark.parametrize(
    "given",
    [
        {"image": "photo.png"},
        {"image": torch.zeros(3, SIZE, SIZE)},
        {"image": torch.zeros(1, 3, SIZE, SIZE), "mask": torch.zeros(1, 3, SIZE, SIZE)},
        {"image": torch.zeros(1, 3, SIZE, 2 * SIZE)},
        {"latent": torch.zeros(1, 7)},
        {"latent": torch.zeros(2, 8)},
        {"latent": torch.zeros(1, 5, 8)},
    ],
)
def test_inputs_of_other_kinds_are_one_sentence(given):
    with pytest.raises(UserError, match="has to be a tensor of shape"):
        check_inputs(**{"image": None, "mask": None, "latent": None, "seed": 0, **given}, n_layers=6, w_dim=8)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"seed": 1.5}, "whole number"),
        ({"seed": 2**64}, "whole number"),
        ({"image": torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)}, "image has to hold float32"),
        ({"latent": torch.full((1, 8), float("nan"))}, "latent holds numbers that are not finite"),
        ({"mask": torch.zeros(1, 1, SIZE, SIZE)}, "mask is empty"),
        ({"mask": torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool)}, "mask has to hold float32"),
    ],
)
def test_values_that_cannot_be_are_one_sentence(given, hint):
    with pytest.raises(UserError, match=hint):
        check_inputs(**{"image": None, "mask": None, "latent": None, "seed": 0, **given}, n_layers=6, w_dim=8)


def test_a_light_may_be_given_in_whole_numbers(made):
    assert made.render(light=(0, 1, 0, -1)).image.isfinite().all()


def test_an_opened_generator_brings_its_category_and_resolution():
    generator, _ = open_prior("head", device="cpu")
    found = gan2shape.reconstruct(generator=generator, seed=1)
    assert (found.config.category, found.config.initial.depth_scale) == ("head", 0.3)
    named = gan2shape.reconstruct(config=found.config, seed=1, device="cpu")
    assert torch.equal(named.scene.depth, found.scene.depth)
    with pytest.raises(UserError, match="exclude each other"):
        gan2shape.reconstruct(config=found.config, overrides=("seed=2",))


def test_export_writes_every_file(made, tmp_path):
    files = made.export(tmp_path)
    assert {"mesh", "mesh_lit", "depth", "scene_npz", "scene_json", "report", "strip_rotate_gan"} <= set(files)
    assert all(path.stat().st_size > 0 for path in files.values())
    assert not list(tmp_path.glob("*.tmp"))


def test_an_image_is_inverted_and_masked_without_help(made):
    image = observe_seed(3, made.generator).image
    found = observe_image(image, made.generator, CONFIG, disc_mask())
    assert found.latent.shape == (1, 8)
    assert torch.equal(found.mask, disc_mask())
    with pytest.raises(UserError, match="No object"):
        observe_image(image, made.generator, CONFIG, torch.zeros_like(disc_mask()))


@pytest.mark.parametrize("name", ["cuda:77", "toaster"])
def test_a_device_that_is_not_there_is_one_sentence(name):
    with pytest.raises(UserError, match="cannot be used here"):
        choose_device(name)


@pytest.fixture(scope="module")
def hill(made) -> Scene:
    """A round hill of one colour in the middle."""
    at = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    depth = 1.02 - 0.06 * torch.exp(-4 * (at[None, :] ** 2 + at[:, None] ** 2))
    return replace(made.scene, depth=depth[None, None], albedo=torch.zeros(1, 3, SIZE, SIZE))


@pytest.fixture(scope="module")
def strips(made, hill) -> dict[str, torch.Tensor]:
    latent, encoder = made.observation.latent, made.state.encoder
    return effect_strips(hill, made.target, encoder, latent, made.generator, made.config)[0]


def test_the_rotation_strip_shows_the_renders_of_its_yaws(made, hill, strips):
    rotated = replace(made, scenes=(hill,))
    for index, yaw_deg in ((0, -45.0), (4, 0.0), (8, 45.0)):
        wanted = rotated.render(yaw_deg=yaw_deg).image
        torch.testing.assert_close(strips["rotate_3d"][index : index + 1], wanted, atol=1e-5, rtol=0)
    assert (strips["rotate_3d"][0] - strips["rotate_3d"][8]).abs().max() > 0.05


def test_the_relight_strip_moves_the_light_from_left_to_right_somewhat_above(strips):
    pictures, middle = strips["relight_3d"].mean(1), slice(SIZE // 2 - 8, SIZE // 2 + 8)
    left, right = (pictures[:, middle, columns].mean((1, 2)) for columns in (slice(8, 14), slice(18, 24)))
    assert left[0] > right[0] + 0.05  # lx = -1.5
    assert right[-1] > left[-1] + 0.05
    assert ((right - left).diff() > 0).all()
    top, bottom = (pictures[2, rows, middle].mean() for rows in (slice(8, 14), slice(18, 24)))
    assert top > bottom + 0.02
