"""Training restorers on tiny priors: what they see, how they begin, stop, go on, and what they are refused for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.api_feedforward import plan_of
from gan2shape.build import classics, encoders
from gan2shape.build.damages import damaged
from gan2shape.build.restorers import KINDS, RestorerPlan, new_restorer, optimizers_of, train_restorer
from gan2shape.core.errors import UserError
from gan2shape.core.network_files import read_network_card
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior import identity
from gan2shape.prior.identity import generator_hash
from gan2shape.restoration import feedforward
from gan2shape.restoration.feedforward import open_restorer, save_restorer, serves, shipped_name, shipped_restorer
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import Damage, parse_damage
from gan2shape.train.image_source import image_source
from tests.shape.tiny import SIZE, tiny_generator, with_encoder

FEW = {"n_steps": 3, "batch": 4}


@pytest.fixture(scope="module")
def prior():
    return with_encoder(tiny_generator()).prior


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("shards")
    coarse = torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1) * 255
    np.save(folder / "images_00000.npy", smooth.permute(0, 2, 3, 1).byte().numpy())
    return image_source("car", 16, SIZE, folder / "x", folder)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_restores_like_a_method(kind: str, prior, source, tmp_path: Path) -> None:
    plan = replace(KINDS[kind], **FEW)
    path = train_restorer(kind, prior, source, plan, tmp_path, precision="fp32")
    damage = parse_damage(plan.task)
    restored = restore_images(torch.rand(2, 3, SIZE, SIZE), damage, str(path), prior, degrade=True)
    assert restored.image.shape == (2, 3, SIZE, SIZE)
    assert float(restored.image.abs().max()) <= 1.0
    assert set(restored.numbers) >= {"psnr_db", "ssim", "data_term"}
    assert restored.solved.n_steps == 0
    card = read_network_card(path)
    assert card["generator"] == ("" if kind == "unet" else generator_hash(prior.generator))


def test_a_task_takes_the_restorer_that_comes_with_its_pack(prior, tmp_path: Path, monkeypatch) -> None:
    for module in (feedforward, identity):
        monkeypatch.setattr(module, "pack_folder", lambda prior: tmp_path)
    blind, sharp = parse_damage("blind:2"), parse_damage("deblur:2")
    assert shipped_restorer(blind, prior) is None
    network, path = new_restorer("gpen", prior, KINDS["gpen"]), tmp_path / shipped_name("gpen")
    save_restorer(path, network, {"generator": "another"})
    assert shipped_restorer(blind, prior) is None
    save_restorer(path, network, {"generator": generator_hash(prior.generator)})
    assert shipped_restorer(blind, prior) == "gpen"
    assert shipped_restorer(sharp, prior) is None
    images = torch.rand(2, 3, SIZE, SIZE)
    taken = restore_images(images, blind, None, prior, degrade=True)
    assert torch.equal(taken.image, restore_images(images, blind, str(path), prior, degrade=True).image)
    assert taken.method.title == feedforward.TITLES["gpen"][0]


def test_a_restorer_learns_to_restore(prior, source, tmp_path: Path) -> None:
    plan = replace(KINDS["unet"], task="denoise:0.4", n_steps=60, batch=8, adversarial_weight=0.0, feature_weight=0.0)
    path = train_restorer("unet", prior, source, plan, tmp_path, precision="fp32")
    clean = source.images.first(8)
    made = restore_images(clean, Damage("denoise", 0.4), str(path), prior, degrade=True)
    everywhere = torch.ones(8, 1, SIZE, SIZE) > 0
    assert float((psnr_db(made.image, clean, everywhere) - psnr_db(made.observed, clean, everywhere)).min()) > 1.0


def test_what_is_inside_begins_as_the_prior_s(prior) -> None:
    gpen = new_restorer("gpen", prior, KINDS["gpen"])
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():  # the pack's own autoencoder
        expected = prior.generator(prior.encoder(images)[0])
    torch.testing.assert_close(gpen(images)[0], expected)
    for ours, theirs in zip(gpen.generator.parameters(), prior.generator.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.requires_grad
    assert torch.equal(new_restorer("glean", prior, KINDS["glean"]).w_mean, prior.w_mean)


def test_only_gpen_s_generator_learns_and_slowly(prior) -> None:
    for kind, plan in KINDS.items():
        groups = optimizers_of(new_restorer(kind, prior, plan), None, plan)["restorer"].param_groups
        assert [group["share"] for group in groups] == ([1.0, 0.05] if kind == "gpen" else [1.0])


@pytest.mark.parametrize(("task", "size"), [("blind", SIZE), ("superres:4", SIZE // 4), ("colorize", SIZE),
                                            ("inpaint", SIZE)])  # fmt: skip
def test_pictures_are_damaged_each_by_itself_and_repeatably(task: str, size: int) -> None:
    images = torch.rand(1, 3, SIZE, SIZE).repeat(3, 1, 1, 1)
    first, again = (damaged(images, task, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape[-1] == size
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[1]) == (task in ("superres:4", "colorize"))


def test_a_restorer_does_what_it_was_trained_for() -> None:
    assert serves("blind", Damage("denoise", 0.1))
    assert not serves("blind", Damage("colorize"))
    assert serves("superres:4", Damage("superres", 4.0))
    assert not serves("superres:4", Damage("superres", 8.0))
    assert not serves("superres:4", Damage("blind"))


def test_refusals_are_one_sentence(prior, source, tmp_path: Path) -> None:
    path = str(train_restorer("gpen", prior, source, replace(KINDS["gpen"], **FEW), tmp_path, precision="fp32"))
    for method, damage, other, words in (
        (path, Damage("colorize"), prior, "trained for blind, not for colorize"),
        (path, Damage("blind"), tiny_generator(5).prior, "trained for another generator"),
        ("glean", Damage("superres"), prior, "train-restorer --kind glean"),
    ):
        with pytest.raises(UserError, match=words):
            open_restorer(method, damage, other)
    for task, words in (("blind", "GLEAN enlarges"), (f"superres:{SIZE // 2}", "too few"), ("colour", "unknown task")):
        with pytest.raises(UserError, match=words):
            new_restorer("glean", prior, RestorerPlan(task=task))


def test_a_restorer_that_does_not_enlarge_sees_small_pictures_enlarged(prior, source, tmp_path: Path) -> None:
    plan = replace(KINDS["unet"], task="superres:4", **FEW)
    path = train_restorer("unet", prior, source, plan, tmp_path, precision="fp32")
    made = restore_images(source.images.first(2), Damage("superres", 4.0), str(path), prior, degrade=True)
    assert made.image.shape == (2, 3, SIZE, SIZE)


def test_settings_change_the_plan_of_their_kind() -> None:
    """The checks see the kind's own values beside those that are given."""
    plan = plan_of(encoders.KINDS, "e4e", ("free_from=0.3", "batch=4"))
    assert plan == replace(encoders.KINDS["e4e"], free_from=0.3, batch=4)
    for kinds, kind, setting, words in (
        (encoders.KINDS, "e4e", "free_until=0.05", "fractions in this order"),
        (encoders.KINDS, "psp", "head=wide", "head=wide is unknown"),
        (encoders.KINDS, "psp", "n_images=0", "n_images=0 has to be 1 at least"),
        (classics.KINDS, "inpaintgan", "n_adversarial_steps=0", "needs a step"),
        (KINDS, "unet", "like=unet", "like=unet is unknown"),
        (KINDS, "gpen", "seed=-1", "seed=-1 has to lie"),
        (KINDS, "gpen", "lr=-1", "lr=-1.0 has to be above 0"),
        (KINDS, "gpen", "pixel_weight=-1", "is negative"),
        (KINDS, "gpn", "batch=4", "did you mean gpen"),
    ):
        with pytest.raises(UserError, match=words):
            plan_of(kinds, kind, (setting,))
