"""`gan2shape prior`: kept under the checkpoint's contents, found again, and used by runs."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from gan2shape.gan.foreground import ForegroundConfig, LearntMasks, learn_masks
from gan2shape.gan.mask_head import MaskHead, MaskHeadConfig
from gan2shape.gan.packs import load_pack
from gan2shape.measure.metrics import iou
from gan2shape.records import UserError
from gan2shape.resources import pack_dir
from gan2shape.shape import own_prior, prior_cache
from gan2shape.shape.observe import masked_generator, observe_seed
from gan2shape.shape.own_gan import open_own
from gan2shape.shape.own_prior import estimate_prior, told
from gan2shape.shape.prior_cache import EstimatedPrior, find_estimated, keep_estimated
from tests.gan import golden
from tests.shape.test_own_gan import thin

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
    """Random networks draw no object: a share of one half stands in for one."""
    learn = own_prior.learn_masks
    monkeypatch.setattr(own_prior, "learn_masks", lambda *words: replace(learn(*words), object_share=0.5))


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
    assert found["views"]["measured"] is False
    assert sum("NOT measured" in line for line in told(found)) == 3
    generator, config = open_own(checkpoint, None, "smoke")
    assert config.category == "car"
    assert config.prior_shape.relief == 0.2
    mask = observe_seed(0, generator).mask
    assert mask.shape == (1, 1, 32, 32)
    assert 0 <= float(mask.min()) < float(mask.max()) <= 1
    assert "gan2shape prior" in generator.notes[-1]
    assert open_own(checkpoint, "head", "smoke")[1].category == "head"  # what is said now counts


def test_no_category_at_all_means_the_typed_defaults(checkpoint, found_half):
    found = estimate_prior(checkpoint, None, config=QUICK)
    assert found["views"]["source"] == "typed defaults"
    config = open_own(checkpoint, None, "smoke")[1]
    assert config.category == "my cars"
    assert config.prior_shape.relief == 0.6


def test_large_generators_are_masked_at_the_working_size(tmp_path, monkeypatch, found_half):
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    path = thin(tmp_path, 256)
    estimate_prior(path, "car", config=QUICK)
    generator, config = open_own(path, None, "smoke")
    assert config.render.size == 128
    assert observe_seed(0, generator).mask.shape == (1, 1, 128, 128)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_no_object_is_found_nothing_is_kept(checkpoint, monkeypatch, share):
    head = MaskHead(MaskHeadConfig((24, 16), size=32))
    monkeypatch.setattr(own_prior, "learn_masks", lambda *words: LearntMasks(head, share, 1.0))
    with pytest.raises(UserError, match="No object"):
        estimate_prior(checkpoint, "car", config=QUICK)
    assert find_estimated(checkpoint) is None


@pytest.mark.slow
def test_masks_of_the_bundled_cars_agree_with_their_own_head():
    """The pack's head was taught by masks of synthetic renders; nothing here sees it or them."""
    pack = load_pack(pack_dir("car"))
    own, learnt = pack.generator, learn_masks(pack.generator, pack.generator.w_avg)
    taught = masked_generator(pack)
    z = torch.randn(64, own.config.z_dim, generator=torch.Generator().manual_seed(12345))
    w = own.mapping(z, 0.7)
    with torch.no_grad():
        found, true = learnt.head(own.features(w)) > 0.5, taught(w)[1] > 0.5
    assert iou(found, true).mean() > 0.85  # .93 to .95 with seeds 0 to 2
