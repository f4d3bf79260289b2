"""A custom generator: what it is given, at which resolution it works, what is refused."""

import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

import gan2shape
from gan2shape.core.config import StepConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import silent
from gan2shape.core.resources import pack_dir
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.mask_head import MaskHead, MaskHeadConfig
from gan2shape.prior import coarse
from gan2shape.prior import open as opening
from gan2shape.prior.cache import EstimatedPrior, keep_estimated
from gan2shape.prior.checkpoint import convert, load_generator
from gan2shape.prior.coarse import MOST_DIFFERENCE, coarse_difference
from gan2shape.prior.masked_generator import full_image, observe_latent, observe_seed, sample_latents
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import make_prior, save_pack
from gan2shape.shape.estimate import announcement, counts, estimate_seconds
from gan2shape.shape.observe import observe_image
from gan2shape.shape.projection import project
from gan2shape.shape.reconstruct import reconstruct
from gan2shape.shape.state import new_state
from tests.checkpoints import golden, lookalike
from tests.nn.test_feature_metric import Two, script
from tests.shape.tiny import CONFIG, disc_mask, tiny_generator, with_encoder


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch) -> None:
    """Nothing that an earlier run on this machine has learnt; numbers as on a processor without bfloat16."""
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(opening, "has_fast_bfloat16", lambda device: False)


FORMATS = ("rosinality.pt", "nvidia.pkl", "converted.safetensors")


def checkpoint(name: str, folder: Path) -> Path:
    """A 32-pixel checkpoint of that kind."""
    if name == "rosinality.pt":
        return golden.FOLDER / "rosinality_32.pt"
    if name == "nvidia.pkl":
        return lookalike.nvidia_file(folder / name, golden.load("nvidia_ada_skip_32_state.npz"))
    convert(golden.FOLDER / "rosinality_32.pt", folder / name)
    return folder / name


def thin(folder: Path, resolution: int, critic: bool = True, channels: int = 3) -> Path:
    """A checkpoint of narrow networks, in NVIDIA's names."""
    n = resolution.bit_length() - 2
    config = GeneratorConfig(
        resolution=resolution, channels=(4,) * n, z_dim=8, w_dim=8, n_mapping=2, resample="fir", noise=True,
        image_channels=channels,
    )  # fmt: skip
    torch.manual_seed(0)
    state = {f"G_ema.{name}": tensor for name, tensor in Generator(config).state_dict().items()}
    if critic:
        settings = DiscriminatorConfig(
            resolution=resolution, channels=(4,) * n, resample="fir", unshuffle=False, image_channels=channels
        )
        state |= {f"D.{name}": tensor for name, tensor in Discriminator(settings).state_dict().items()}
    path = folder / f"thin{resolution}.pt"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_opens_and_samples_about_its_own_mean(name, tmp_path):
    path = checkpoint(name, tmp_path)
    generator, config = open_prior("car", path, "smoke", device="cpu")
    assert config.render.resolution == 32
    assert config.initial.depth_scale == 0.2  # the category's
    own = load_generator(path).generator
    z = torch.randn(1, own.config.z_dim, generator=torch.Generator().manual_seed(5))
    observed = observe_seed(5, generator, disc_mask())
    torch.testing.assert_close(observed.latent, own.mapping(z, 0.7))
    torch.testing.assert_close(observed.image, own(z, 0.7).clamp(-1, 1))
    assert not torch.equal(own.w_avg, generator.prior.w_mean)
    assert "own discriminator" in generator.notes[0]


def test_packs_keep_the_measured_mean():
    generator = tiny_generator()
    w = generator.prior.generator.mapping(torch.ones(1, 8))
    mean = generator.prior.w_mean
    torch.testing.assert_close(sample_latents(torch.ones(1, 8), generator), mean + 0.7 * (w - mean))


def test_a_large_generator_is_used_at_128(tmp_path):
    path = thin(tmp_path, 256)
    generator, config = open_prior("car", path, "smoke", ("render.last_blocks=full",), device="cpu")
    assert config.render.resolution == 128
    latent = generator.prior.w_mean[None]
    whole = load_generator(path).generator.synthesis(latent)
    expected = torch.nn.functional.avg_pool2d(whole, 2).clamp(-1, 1)
    torch.testing.assert_close(observe_latent(latent, generator, torch.ones(1, 1, 128, 128)).image, expected)
    assert open_prior("car", path, "smoke", ("render.resolution=64",), device="cpu")[1].render.resolution == 64


def test_last_blocks_are_coarse_where_that_is_near(tmp_path, monkeypatch):
    path = thin(tmp_path, 256)
    whole = load_generator(path)
    images, found = {}, {}
    for wanted in ("auto", "full", "coarse"):
        overrides = ("render.resolution=64", f"render.last_blocks={wanted}")
        generator, config = open_prior("car", path, "smoke", overrides, device="cpu")
        images[wanted] = observe_seed(0, generator, torch.ones(1, 1, 64, 64)).image
        (note,) = (note for note in generator.notes if note.startswith("Last 2 blocks"))
        found[wanted] = config.render.last_blocks, note
    assert [one[0] for one in found.values()] == ["coarse", "full", "coarse"]
    difference = coarse_difference(whole.generator, whole.generator.w_avg, 64)
    assert 0 < difference < MOST_DIFFERENCE
    assert f"mean difference {difference:.3f}" in found["auto"][1]
    assert torch.equal(images["auto"], images["coarse"])
    assert 0 < float((images["auto"] - images["full"]).abs().mean()) < MOST_DIFFERENCE
    monkeypatch.setattr(coarse, "MOST_DIFFERENCE", difference / 2)
    generator, config = open_prior("car", path, "smoke", ("render.resolution=64",), device="cpu")
    assert config.render.last_blocks == "full"
    assert "would not be near" in "".join(generator.notes)
    assert torch.equal(observe_seed(0, generator, torch.ones(1, 1, 64, 64)).image, images["full"])


def test_generators_that_are_not_larger_have_no_last_blocks_to_choose(tmp_path):
    generator, _ = open_prior("car", thin(tmp_path, 32), "smoke", ("render.last_blocks=coarse",), device="cpu")
    assert not any(note.startswith("Last") for note in generator.notes)
    with pytest.raises(UserError, match="auto, full, coarse"):
        open_prior("car", thin(tmp_path, 32), "smoke", ("render.last_blocks=some",), device="cpu")


def test_bfloat16_is_for_custom_generators_on_processors_that_have_it(tmp_path, monkeypatch):
    path, images, mask = thin(tmp_path, 32), {}, torch.ones(1, 1, 32, 32)
    convert(pack_dir("car"), tmp_path / "copy.safetensors")
    for has_it in (False, True):
        monkeypatch.setattr(opening, "has_fast_bfloat16", lambda device, has_it=has_it: has_it)
        generator, config = open_prior("car", path, "smoke", device="cpu")
        assert config.render.precision == ("bf16" if has_it else "fp32")
        assert any("bfloat16" in note for note in generator.notes) is has_it
        images[has_it] = observe_seed(0, generator, mask).image
        assert full_image(generator, generator.prior.w_mean[None]) is None, "it is not larger than it is used"
        metric = generator.prior.discriminator.features(images[has_it], 1)[0]
        assert metric.dtype == images[has_it].dtype == torch.float32
        assert open_prior("car", path, "paper", device="cpu")[1].render.precision == "fp32"
        copy, _ = open_prior("car", tmp_path / "copy.safetensors", "smoke", device="cpu")
        assert not getattr(copy.prior.generator.synthesis, "is_bfloat16", False), "our packs are small"
    assert 0 < float((images[True] - images[False]).abs().mean()) < 0.01
    forced = open_prior("car", path, "smoke", ("render.precision=bf16",), device="cpu")[0]
    assert torch.equal(observe_seed(0, forced, mask).image, images[True])
    with pytest.raises(UserError, match="auto, fp32, bf16"):
        open_prior("car", path, "smoke", ("render.precision=fp16",), device="cpu")


def test_masks_come_from_the_user_or_not_at_all(tmp_path):
    generator, config = open_prior("car", checkpoint("rosinality.pt", tmp_path), "smoke", device="cpu")
    image = torch.zeros(1, 3, 32, 32)
    for observe in (lambda: observe_seed(0, generator), lambda: observe_image(image, generator, config)):
        with pytest.raises(UserError, match="gan2shape prior rosinality_32"):
            observe()
    assert torch.equal(observe_seed(0, generator, disc_mask()).mask, disc_mask())


def test_masks_are_not_read_below_the_size_they_were_learnt_at(tmp_path):
    """Blocks of one width would be taken for each other, without a word."""
    path, config = thin(tmp_path, 32), MaskHeadConfig((4, 4), width=2, size=32)
    keep_estimated(path, EstimatedPrior(asdict(config), MaskHead(config).state_dict(), "car", {}))
    assert open_prior(None, path, "smoke", device="cpu")[0].head is not None
    with pytest.raises(UserError, match=r"learnt at 32 x 32 .* render\.resolution=16: give at least 32"):
        open_prior(None, path, "smoke", ("render.resolution=16",), device="cpu")


def test_a_missing_discriminator_is_borrowed(tmp_path, monkeypatch):
    path = thin(tmp_path, 32, critic=False)
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path / "weights"))
    with pytest.raises(UserError, match="--features"):
        open_prior("car", path, "smoke", device="cpu")
    generator, _ = open_prior("car", path, "smoke", features=script(Two(), tmp_path / "two.pt"), device="cpu")
    assert "two.pt" in generator.notes[0]
    bundled = Discriminator(DiscriminatorConfig(resolution=16, channels=(4, 4, 4), unshuffle=False))
    own = Generator(GeneratorConfig(resolution=16, channels=(4, 4, 4), z_dim=8, w_dim=8, n_mapping=2))
    save_pack(tmp_path / "weights" / "car", make_prior(own, bundled), torch.float32)
    generator, _ = open_prior("car", path, "smoke", device="cpu")
    assert "bundled car pack" in generator.notes[0]
    images = torch.randn(1, 3, 32, 32)
    smaller = torch.nn.functional.avg_pool2d(images, 2)
    expected = bundled.features(smaller, 1)[0]
    torch.testing.assert_close(generator.prior.discriminator.features(images, 1)[0], expected)


def test_features_need_a_generator_in_python_too(tmp_path):
    """They would be ignored without one, since a pack brings its own."""
    for generator in (None, tiny_generator()):
        with pytest.raises(UserError, match="generator"):
            gan2shape.reconstruct(category="car", generator=generator, features=tmp_path / "two.pt", device="cpu")
    with pytest.raises(UserError, match="--generator"):
        open_prior("car", features=tmp_path / "two.pt")


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(UserError, match="1 channels"):
        open_prior("car", thin(tmp_path, 32, channels=1), "smoke", device="cpu")
    with pytest.raises(UserError, match="8 x 8"):
        open_prior("car", thin(tmp_path, 8), "smoke", device="cpu")
    with pytest.raises(UserError, match="multiple of 16"):
        open_prior("car", thin(tmp_path, 32), "smoke", ("render.resolution=24",), device="cpu")
    with pytest.raises(UserError, match="--category"):
        open_prior(None, thin(tmp_path, 32), "smoke", device="cpu")


def test_a_copy_of_a_pack_knows_its_category(tmp_path):
    """The card travels with the file, so that no category has to be named."""
    own = Generator(GeneratorConfig(resolution=32, channels=(4, 4, 4, 4), z_dim=8, w_dim=8, n_mapping=2))
    critic = Discriminator(DiscriminatorConfig(resolution=32, channels=(4, 4, 4, 4), unshuffle=False))
    for category in ("head", "teapot"):
        save_pack(tmp_path / "pack", make_prior(own, critic, {"category": category}), torch.float32)
        convert(tmp_path / "pack", tmp_path / f"{category}.safetensors")
    config = open_prior(None, tmp_path / "head.safetensors", "smoke", device="cpu")[1]
    assert (config.category, config.initial.depth_scale) == ("head", 0.3)
    assert open_prior("car", tmp_path / "head.safetensors", "smoke", device="cpu")[1].category == "car", (
        "the named category counts"
    )
    with pytest.raises(UserError, match="--category"):
        open_prior(None, tmp_path / "teapot.safetensors", "smoke", device="cpu")


@pytest.mark.parametrize("tail", [0, 2])
def test_wplus_moves_by_the_same_in_every_layer(tail):
    generator = tiny_generator()
    prior, config = generator.prior, replace(CONFIG, steps=replace(CONFIG.steps, mapping_tail=tail))
    state = new_state(CONFIG, 8, "cpu")
    images, reference = torch.randn(2, 3, 32, 32), torch.randn(1, 3, 32, 32)
    w = torch.randn(1, 8)
    plain, offset = project(state.encoder, prior, w, images, reference, config)
    wplus = w[:, None].expand(-1, prior.generator.n_layers, -1) + torch.randn(1, prior.generator.n_layers, 8)
    moved, same_offset = project(state.encoder, prior, wplus, images, reference, config)
    torch.testing.assert_close(same_offset, offset)
    torch.testing.assert_close(moved - wplus, (plain - w)[:, None].expand_as(moved), atol=1e-5, rtol=1e-4)


def test_the_loop_takes_wplus_and_works_without_a_mask_head():
    generator = replace(tiny_generator(), head=None, needs_mask=True)
    wplus = generator.prior.w_mean.expand(1, generator.prior.generator.n_layers, 8).clone()
    wplus[:, -1] += 0.5
    config = replace(CONFIG, n_stages=1, ablation=replace(CONFIG.ablation, refine_steps=1))
    outcome = reconstruct(observe_latent(wplus, generator, disc_mask()), generator, config, silent)
    assert torch.isfinite(outcome.scenes[-1].depth).all()
    masks = outcome.state.samples.masks
    assert 0.1 < float(masks.mean()) < 0.9  # those of the renders, not everything


def test_the_estimate_counts_the_schedule():
    generator = tiny_generator()
    steps, invert = CONFIG.steps, CONFIG.invert
    generated, compared, rendered = counts(generator, CONFIG, inverts=False)
    learnt, joint, collected = steps.batch * 5, steps.batch * steps.n_joint[0] * 2, steps.n_collect * 2
    assert generated == pytest.approx(2.1 * learnt + collected)
    assert compared == pytest.approx(3.1 * learnt), "step 3 compares features only where they weigh anything"
    judged = replace(CONFIG, steps=replace(steps, feature_weight=0.2))
    assert counts(generator, judged, inverts=False)[1] == pytest.approx(3.1 * (learnt + joint))
    assert rendered == learnt + collected + 3 * joint
    more = counts(generator, CONFIG, inverts=True)[0] - generated
    assert more == pytest.approx(invert.n_starts + 2.1 * invert.n_steps / 2 * (invert.n_tracks + 1))
    two = replace(CONFIG, n_stages=0, initial=replace(CONFIG.initial, slants_deg=(-25.0, 25.0)))
    assert counts(generator, two, inverts=False)[0] == pytest.approx((2.1 * 60 * 4) + 2 * 64)
    few = replace(two, steps=replace(steps, projection_batch=2), initial=replace(two.initial, slant_judged=8))
    assert counts(generator, few, inverts=False)[0] == pytest.approx((2.1 * 60 * 2) + 2 * 8)
    assert counts(with_encoder(generator), two, inverts=False) == (16, 0, 16)  # eight yaws of each, nothing learnt
    tracks = counts(with_encoder(generator), two, inverts=True)[0] - 16
    assert tracks == pytest.approx(2.1 * invert.n_steps / 2 * 2), "one track, no random starts"
    seconds = estimate_seconds(generator, CONFIG, inverts=True)
    assert seconds > 0
    assert math.isfinite(seconds)


def test_a_long_run_names_the_device_and_the_ways_out():
    generator, large = tiny_generator(), replace(CONFIG, render=replace(CONFIG.render, resolution=128))
    slanted = replace(large, initial=replace(CONFIG.initial, slants_deg=(-25.0, 25.0)))
    n_threads = torch.get_num_threads()
    threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    assert announcement(30.0, generator, slanted) == f"This will take about 30 s on this CPU ({threads})."
    assert "Shorter" not in announcement(30.0, generator, slanted)
    long = announcement(1000.0, generator, slanted)
    assert all(way in long for way in ("render.resolution=64", "initial.slants_deg=[0]", "--device cuda"))
    assert "render.resolution" not in announcement(1000.0, generator, CONFIG)
    assert "build --generator" not in long
    custom = replace(generator, needs_mask=True)
    assert "gan2shape build --generator FILE" in announcement(1000.0, custom, CONFIG)
    packed = replace(custom, prior=replace(custom.prior, card={"pack": {}}))
    assert "build --generator" not in announcement(1000.0, packed, CONFIG)
    assert "slants_deg" not in announcement(1000.0, with_encoder(generator), slanted), "an encoder judges them at once"
    there = replace(generator, prior=replace(generator.prior, w_mean=torch.zeros(8, device="meta")))
    assert "on this GPU (meta)" in announcement(1000.0, there, CONFIG)
    assert "Shorter" not in announcement(1000.0, there, CONFIG)


def test_without_an_encoder_e_learns_in_small_steps(tmp_path):
    path = thin(tmp_path, 32)
    draft, smoke, full = (open_prior("car", path, preset, device="cpu")[1] for preset in ("draft", "smoke", "full"))
    sampled = draft.steps.projection_batch * (draft.initial.slant_steps + sum(draft.steps.n_projection))
    judged = draft.initial.slant_judged * len(draft.initial.slants_deg)
    assert sampled + judged + draft.steps.n_collect <= 800
    assert (smoke.steps.n_projection, smoke.initial.slant_steps) == ((5,), 2)
    default = StepConfig()
    assert (full.steps.n_projection, full.steps.learnt_at_once) == (default.n_projection, default.batch)
    opened = gan2shape.Prior.open("car", generator=path, device="cpu")
    assert opened.config("draft").steps == draft.steps
    assert opened.config("full").steps == full.steps
    bundled = open_prior("car", preset="draft", device="cpu")[1]
    assert (bundled.steps, bundled.initial.slant_steps) == (default, 60)
    convert(pack_dir("car"), tmp_path / "copy.safetensors")  # has an encoder
    assert open_prior(None, tmp_path / "copy.safetensors", "draft", device="cpu")[1].steps == default
