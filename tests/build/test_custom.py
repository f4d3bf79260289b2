"""`gan2shape prior`: kept under the checkpoint's contents, found again, and used by runs."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from gan2shape.bench.regressor import heading_rad
from gan2shape.build import custom
from gan2shape.build.custom import as_lines, estimate_prior
from gan2shape.build.foreground import ForegroundConfig, LearntMasks, learn_masks
from gan2shape.core.errors import UserError
from gan2shape.core.resources import pack_dir
from gan2shape.measure.metrics import iou
from gan2shape.nn.mask_head import MaskHead, MaskHeadConfig
from gan2shape.prior import cache as prior_cache
from gan2shape.prior.cache import EstimatedPrior, find_estimated, keep_estimated
from gan2shape.prior.masked_generator import masked_generator, observe_seed
from gan2shape.prior.open import category_config, open_prior
from gan2shape.prior.packs import load_pack
from gan2shape.prior.ranges import (
    LIGHT_QUANTILES,
    LX,
    LY,
    PITCH,
    YAW,
    Range,
    calibrated,
    generate_images,
    read_images,
)
from gan2shape.prior.scene import pretrained_networks
from gan2shape.synth.dataset import render_set
from tests.checkpoints import golden
from tests.prior.test_open import thin

QUICK = ForegroundConfig(n_samples=8, n_fresh=4, batch=4, n_clusters=(4, 5), n_pixels=1000, head_rounds=1, head_steps=4)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch) -> Path:
    """A published checkpoint in a folder of its own, and an empty user cache."""
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "own" / "my cars.pt"
    path.parent.mkdir()
    path.write_bytes((golden.FOLDER / "rosinality_32.pt").read_bytes())
    return path


@pytest.fixture
def found_half(monkeypatch) -> None:
    """Random networks show no object: a share of one half stands in for one."""
    learn = custom.learn_masks
    monkeypatch.setattr(custom, "learn_masks", lambda *given: replace(learn(*given), object_share=0.5))


def an_estimate(category: str | None = "car") -> EstimatedPrior:
    config = MaskHeadConfig((24, 16), size=32)
    torch.manual_seed(1)
    return EstimatedPrior(asdict(config), MaskHead(config).state_dict(), category)


def test_an_estimate_is_found_by_contents_wherever_the_file_goes(checkpoint):
    assert find_estimated(checkpoint) is None
    kept = an_estimate()
    weights = keep_estimated(checkpoint, kept)
    assert weights.parent == checkpoint.parent
    renamed = checkpoint.rename(checkpoint.with_name("other.pt"))
    found = find_estimated(renamed)
    assert found.category == "car"
    assert found.head_settings["size"] == 32
    assert all(torch.equal(found.head_state[name], value) for name, value in kept.head_state.items())
    renamed.write_bytes(renamed.read_bytes() + b" ")
    assert find_estimated(renamed) is None


def test_where_the_folder_cannot_be_written_the_user_s_cache_is_used(checkpoint, monkeypatch, tmp_path):
    write = prior_cache.write_bytes_atomic

    def refuse(path: Path, data: bytes) -> Path:
        if path.parent == checkpoint.parent:
            raise PermissionError(13, "Permission denied")
        return write(path, data)

    monkeypatch.setattr(prior_cache, "write_bytes_atomic", refuse)
    weights = keep_estimated(checkpoint, an_estimate(None))
    assert weights.parent == tmp_path / "cache"
    assert json.loads(weights.with_suffix(".json").read_text())["category"] is None
    assert find_estimated(checkpoint).category is None
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(checkpoint / "below a file"))
    with pytest.raises(UserError, match="GAN2SHAPE_CACHE"):
        keep_estimated(checkpoint, an_estimate())


def test_a_damaged_estimate_is_one_sentence(checkpoint):
    weights = keep_estimated(checkpoint, an_estimate())
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="delete it"):
        find_estimated(checkpoint)
    with pytest.raises(UserError, match="cannot be read"):
        find_estimated(checkpoint.with_name("gone.pt"))


def test_runs_pick_up_mask_and_category(checkpoint, found_half):
    found = estimate_prior(checkpoint, "car", config=QUICK)
    assert found["file"].is_file()
    assert found["sheet"].is_file()
    lines = as_lines(found)
    assert [line.split()[0] for line in lines if line.startswith(("strengths", "depth scale")) and "NOT" in line] == [
        "strengths", "depth",
    ]  # fmt: skip
    assert all("NOT measured" in line for line in lines if line.startswith(("yaw", "pitch"))), "noise has no yaw"
    generator, config = open_prior(None, checkpoint, "smoke", device="cpu")
    assert config.category == "car"
    assert config.initial.depth_scale == 0.2
    mask = observe_seed(0, generator).mask
    assert mask.shape == (1, 1, 32, 32)
    assert 0 <= float(mask.min()) < float(mask.max()) <= 1
    assert "gan2shape prior" in generator.notes[-1]
    assert open_prior("head", checkpoint, "smoke", device="cpu")[1].category == "head"  # the category given now counts


def test_no_category_at_all_means_the_typed_defaults(checkpoint, found_half):
    found = estimate_prior(checkpoint, None, config=QUICK)
    assert found["source"] == "typed defaults"
    assert not any(one["measured"] for one in found["ranges"].values())
    config = open_prior(None, checkpoint, "smoke", device="cpu")[1]
    assert config.category == "my cars"
    assert config.initial.depth_scale == 0.6


READ = {YAW: Range(9.5, True, 9.5), PITCH: Range(6.0), LX: Range((-0.5, 0.4), True), LY: Range((-0.8, 0.2))}


def test_runs_sample_what_was_estimated_unless_overridden(checkpoint, found_half, monkeypatch):
    monkeypatch.setattr(custom, "read_ranges", lambda *given: READ)
    found = estimate_prior(checkpoint, "car", config=QUICK)
    assert found["ranges"][YAW]["measured"] is True
    assert found["ranges"][PITCH]["measured"] is False
    assert "sd 9.5 deg (at most 19); read from samples" in "".join(as_lines(found))
    page = json.loads(found["file"].with_suffix(".json").read_text())
    assert page["ranges"][LX]["value"] == [-0.5, 0.4]
    generator, config = open_prior(None, checkpoint, "smoke", device="cpu")
    assert (config.views.yaw_sd_deg, config.lights.lx) == (9.5, (-0.5, 0.4))
    assert config.lights.gain == (-0.15, 0.15)  # the category's
    (note,) = (note for note in generator.notes if note.startswith("Sampled"))
    assert "views.yaw_sd_deg 9.5, lights.lx -0.5 to 0.4 (read off samples)" in note
    assert (
        "; views.pitch_sd_deg 6, lights.ly -0.8 to 0.2, lights.gain -0.15 to 0.15, initial.depth_scale 0.2 (c" in note
    )
    generator, config = open_prior(
        "car", checkpoint, "smoke", ("views.yaw_sd_deg=12", "lights={lx: [-0.3, 0.3]}"), device="cpu"
    )
    assert (config.views.yaw_sd_deg, config.lights.lx) == (12.0, (-0.3, 0.3))
    (note,) = (note for note in generator.notes if note.startswith("Sampled"))
    assert "views.yaw_sd_deg 12, lights.lx -0.3 to 0.3 (as given)" in note
    assert "read off" not in note
    other = open_prior("head", checkpoint, "smoke", device="cpu")[1]  # those networks did not read
    assert (other.views.yaw_sd_deg, other.lights.lx) == (14.0, (-0.8, 0.8))


def test_estimates_of_earlier_versions_have_a_mask_and_no_ranges(checkpoint):
    old = replace(an_estimate(), page={"views": {"measured": False}, "lights": {"measured": False}})
    weights = keep_estimated(checkpoint, old)
    assert find_estimated(checkpoint).overrides == ()
    assert open_prior(None, checkpoint, "smoke", device="cpu")[1].views.yaw_sd_deg == 14.0
    keep_estimated(checkpoint, replace(old, page={"ranges": {"steps.lr": {"measured": True, "value": 1.0}}}))
    with pytest.raises(UserError, match="delete it"):
        find_estimated(checkpoint)
    assert weights.is_file()


def test_large_generators_are_masked_at_the_working_size(tmp_path, monkeypatch, found_half):
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    path = thin(tmp_path, 256)
    estimate_prior(path, "car", config=QUICK)
    generator, config = open_prior(None, path, "smoke", device="cpu")
    assert config.render.resolution == 128
    assert observe_seed(0, generator).mask.shape == (1, 1, 128, 128)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_no_object_is_found_nothing_is_kept(checkpoint, monkeypatch, share):
    head = MaskHead(MaskHeadConfig((24, 16), size=32))
    monkeypatch.setattr(custom, "learn_masks", lambda *given: LearntMasks(head, share, 1.0))
    with pytest.raises(UserError, match="No object"):
        estimate_prior(checkpoint, "car", config=QUICK)
    assert find_estimated(checkpoint) is None


@pytest.mark.slow
@pytest.mark.parametrize("category", ["car", "head"])
def test_masks_of_the_bundled_generators_agree_with_their_own_heads(category):
    """A pack's head was taught by masks of synthetic renders; nothing here sees it or them."""
    pack = load_pack(pack_dir(category))
    own, learnt = pack.generator, learn_masks(pack.generator, pack.generator.w_avg)
    taught = masked_generator(pack)
    z = torch.randn(64, own.config.z_dim, generator=torch.Generator().manual_seed(12345))
    w = own.mapping(z, 0.7)
    with torch.no_grad():
        found, true = learnt.head(own.features(w)) > 0.5, taught(w)[1] > 0.5
    assert iou(found, true).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("category", ["car", "head"])
def test_ranges_read_off_a_bundled_generator_are_those_of_its_training_images(category):
    """Its own samples, read as a foreign generator's would be; and true renders that are lit from half of the box."""
    pack, config = load_pack(pack_dir(category)), category_config(category)
    found = custom.ranges_of(pack, category, config)
    assert all(one.measured for one in found.values())
    assert found[YAW].value == config.views.yaw_sd_deg  # both generators rotate further than projections respond
    made = render_set(category, list(range(5000, 5300)))
    if category == "head":  # headings of cars saturate: 54 degrees sd are read as 20
        assert found[YAW].read == pytest.approx(torch.rad2deg(heading_rad(made.view)).std().item(), rel=0.2)
    networks = pretrained_networks(pack, config)
    known = read_images(networks, generate_images(pack.generator, made.truth.image.shape[-1], custom.N_READ))
    for half in (made.light[:, 2].abs() < 0.4, made.light[:, 2] > 0):
        lights, read = made.light[half], calibrated(read_images(networks, made.truth.image[half]), known, config.lights)
        for values, true in ((read.lx, lights[:, 2]), (read.ly, lights[:, 3])):
            ends = torch.tensor(LIGHT_QUANTILES)
            assert torch.quantile(values, ends).tolist() == pytest.approx(torch.quantile(true, ends).tolist(), abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("rendered", "read"), [("car", "head"), ("head", "car")])
def test_networks_of_another_category_are_not_consistent(rendered, read):
    found = custom.ranges_of(load_pack(pack_dir(rendered)), read, category_config(read))
    assert [key for key, one in found.items() if one.measured] == []
