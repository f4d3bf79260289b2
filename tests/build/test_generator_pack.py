"""`gan2shape build --generator`: gone on with after a kill, found by contents, refused in one sentence."""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gan2shape
from gan2shape.bench.opening import exam_category
from gan2shape.bench.requests import BenchRequest
from gan2shape.build import custom
from gan2shape.build.encoder import (
    ImageEncoderPlan,
    measure_encoder,
    new_encoder,
    samples_on_disk,
    train_encoder_on_samples,
)
from gan2shape.build.generator_pack import build_generator, calibration_of, clear, opened_at, remove_pack
from gan2shape.build.generator_plan import STEPS, GeneratorBuildRequest, GeneratorBuildSizes, rates_of
from gan2shape.cli import app
from gan2shape.core.compose import compose
from gan2shape.core.errors import UserError
from gan2shape.core.resources import pack_dir
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.image_encoder import ENCODER_NAME, encoder_settings
from gan2shape.nn.mask_head import MaskHead, MaskHeadConfig
from gan2shape.prior.cache import EstimatedPrior, keep_estimated
from gan2shape.prior.calibration import read_calibration
from gan2shape.prior.checkpoint import load_generator
from gan2shape.prior.made import MADE_NAME, PARTS_NAME, find_made, read_made, weights_hash, with_made, write_parts
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import made_note, open_prior
from gan2shape.prior.scene import pretrained_networks
from tests.prior.test_open import thin
from tests.shape.tiny import disc_mask

runner = CliRunner()
SMALL = (
    "foreground={n_samples: 8, n_fresh: 4, batch: 4, n_clusters: [4, 5], n_pixels: 900, head_rounds: 1, head_steps: 4}",
    "encoder={n_samples: 20, n_steps: 4, n_image_steps: 4, batch: 4, image_batch: 2, keep_every: 2}",
    "pretrain={n_objects: 3, n_fit_objects: 2, n_fit: 4, n_joint: 1, fit_batch: 2, batch: 2, keep_every: 2}",
)  # fmt: skip
MEASURED = {"views.yaw_sd_deg": {"value": 9.5, "measured": True, "read": 9.5, "because": ""}}


def known_masks(path: Path, size: int) -> Path:
    """What `gan2shape prior` would keep, had it found that everything is the object: random networks show none."""
    config = MaskHeadConfig((4,) * (size.bit_length() - 4), width=2, size=size)
    head = MaskHead(config)
    with torch.no_grad():
        head.last.bias.fill_(9.0)
    keep_estimated(path, EstimatedPrior(asdict(config), head.state_dict(), "car", {"ranges": MEASURED}))
    return path


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def request_(tmp_path) -> GeneratorBuildRequest:
    """A build of seconds for a checkpoint of 32 x 32 pixels."""
    path = known_masks(thin(tmp_path, 32), 32)
    return GeneratorBuildRequest(path, "car", tmp_path / "pack", device="cpu", settings=SMALL)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with a checkpoint and its finished pack."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN2SHAPE_CACHE", str(folder / "cache"))
        path = known_masks(thin(folder, 32), 32)
        build_generator(GeneratorBuildRequest(path, "car", folder / "pack", device="cpu", settings=SMALL))
    return folder


@pytest.fixture
def copied(built, tmp_path, monkeypatch) -> Path:
    """The same, to be changed; the note beside the checkpoint names the copy."""
    folder = shutil.copytree(built, tmp_path / "copied")
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(folder / "cache"))
    for note in folder.glob("gan2shape-pack-*.json"):
        note.write_text(json.dumps({"pack": str(folder / "pack")}))
    return folder


def stop_at(stage: str, at: int):
    """A reporter that interrupts."""

    def report(name: str, step: int, n_steps: int, **numbers: float) -> None:
        if name.startswith(stage) and step >= at:
            raise KeyboardInterrupt

    return report


def test_a_build_goes_on_after_kills_and_ends_as_if_not_stopped(request_, built, capsys, monkeypatch) -> None:
    plan = build_generator(replace(request_, dry_run=True)).plan
    assert plan.to_do == STEPS[1:]  # masks are known
    assert plan.seconds > 0
    assert plan.disk_bytes > 20 * 3 * 32**2
    assert not request_.out.exists()
    monkeypatch.setattr("gan2shape.invert.loop.LOOK_EVERY", 1)  # reports of every step
    done = []
    for stage, at in (("samples", 20), ("encoder, images", 3), ("fit", 3)):
        with pytest.raises(KeyboardInterrupt):
            build_generator(request_, stop_at(stage, at))
        done.append(sorted(read_made(request_.out).networks))
        assert find_made(request_.generator) is None, "runs use finished packs only"
        with pytest.raises(UserError, match="is not finished: go on with"):
            open_prior(None, request_.out, device="cpu")
    assert done == [["mask"], ["mask"], ["encoder", "mask"]]
    result = build_generator(request_)
    assert tuple(result.seconds) == ("scene", "card")
    assert build_generator(request_).seconds == {}
    again, at_once = (read_made(folder) for folder in (request_.out, built / "pack"))
    assert again.network_configs == at_once.network_configs
    for name, state in at_once.networks.items():
        assert all(torch.equal(again.networks[name][key], value) for key, value in state.items()), name
    names = {path.name for path in request_.out.iterdir()}
    assert names == {MADE_NAME, PARTS_NAME, "card.json", "calibration.json"}, "no work is left, and no lock"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "in all" in captured.err


def test_runs_find_the_pack_by_the_contents_of_the_generator(copied, tmp_path) -> None:
    path = copied / "thin32.pt"
    generator, config = open_prior(None, path, "draft", device="cpu")
    assert config.category == "car"
    assert config.views.yaw_sd_deg == 9.5  # read off samples
    assert config.initial.network_tilt == (0.0, 0.0)  # not that of the bundled weights
    assert config.initial.network_depth_scale == 1.1  # the category's
    assert pretrained_networks(generator.prior, config) is not None
    assert not generator.prior.calibration.limits
    assert "built for this generator" in generator.notes[-1]
    assert exam_category(BenchRequest(None, generator=path)) == "car"
    renamed = path.rename(copied / "other name.pt")
    given = {"image": torch.rand(1, 3, 32, 32) * 2 - 1, "mask": torch.ones(1, 1, 32, 32)}
    made = gan2shape.reconstruct(generator=renamed, device="cpu", preset="instant", **given)
    assert made.names == ("depth network",), "no stage and no slant: the path of bundled packs"
    by_folder, _ = open_prior(None, known_file(copied, renamed), "draft", device="cpu")
    assert torch.equal(by_folder.prior.w_mean, generator.prior.w_mean)
    opened = gan2shape.Prior.open(generator=renamed, device="cpu")
    assert opened.config("draft").views.yaw_sd_deg == 9.5
    assert opened.config("draft").initial.network_tilt == (0.0, 0.0)
    before = weights_hash(renamed)
    remove_pack(renamed)
    assert weights_hash(renamed) != before


class Discs(MaskedGenerator):
    """Every sample shows a disc of half the image's width before grey."""

    def __call__(self, latents):
        mask = disc_mask(8.0).expand(len(latents), -1, -1, -1)
        return 0.5 * mask.expand(-1, 3, -1, -1), mask


def test_the_calibration_has_the_category_s_constants_and_the_samples_frame(request_) -> None:
    opened, _ = opened_at(request_, request_.sizes())
    found = calibration_of(Discs(opened.prior, None, opened.centre), "car")
    bundled = read_calibration(pack_dir("car"))
    assert found.frame.size[1] == pytest.approx(0.5, abs=0.05)
    assert found.frame.background == (0.0, 0.0, 0.0)
    assert (found.depth_scale, found.light_gain) == (bundled.depth_scale, bundled.light_gain)
    assert (found.limits, found.tilt, found.relit_cutoff) == ({}, (0.0, 0.0), None)
    assert set(found.chosen_with_true_depth) < set(bundled.chosen_with_true_depth)


def known_file(folder: Path, path: Path) -> Path:
    """The pack's folder, which names this file now."""
    page = json.loads((folder / "pack" / MADE_NAME).read_text())
    page["generator"]["path"] = str(path)
    (folder / "pack" / MADE_NAME).write_text(json.dumps(page))
    return folder / "pack"


def test_at_another_resolution_the_masks_alone_are_used(copied) -> None:
    made, prior = find_made(copied / "thin32.pt"), load_generator(copied / "thin32.pt")
    assert sorted(with_made(prior, made, 32).networks) == ["encoder", "mask", "scene"]
    assert sorted(with_made(prior, made, 64).networks) == ["mask"]
    assert "only its object masks" in made_note(made, 64)


def test_a_generator_that_is_another_or_has_gone_is_one_sentence(copied, capsys) -> None:
    pack, path = known_file(copied, copied / "thin32.pt"), copied / "thin32.pt"
    data = path.read_bytes()
    path.write_bytes(data + b" ")
    with pytest.raises(UserError, match="other contents than the one that it was built for"):
        open_prior(None, pack, device="cpu")
    generator, config = open_prior("car", path, device="cpu")  # by itself it has no pack any more
    assert pretrained_networks(generator.prior, config) is None
    path.unlink()
    with pytest.raises(UserError, match="is not there"):
        open_prior(None, pack, device="cpu")
    path.write_bytes(data)
    shutil.rmtree(pack)
    with pytest.raises(UserError, match="is there no more"):
        open_prior(None, path, device="cpu")
    removed = remove_pack(path)
    assert [one.suffix for one in removed] == [".json"]
    assert open_prior("car", path, device="cpu")[0].prior.encoder is None


def test_plan_says_what_its_times_are_for_and_what_is_shorter(request_) -> None:
    plan = build_generator(replace(request_, dry_run=True)).plan
    assert re.search(r"timed on this CPU \(\d+ threads?\); the rest are rates of one CPU core\.$", plan.lines()[-1])
    sizes = GeneratorBuildSizes()
    long = replace(plan, steps=(replace(plan.steps[2], is_to_do=True, seconds=5000.0),))
    shown = rates_of(long, sizes, 128, torch.device("cpu"))
    assert shown.endswith("Shorter: pretrain.n_joint=500, or resolution=64, or a GPU (--device cuda).")
    assert rates_of(long, sizes, 64, torch.device("cuda")).endswith("quicker. Shorter: pretrain.n_joint=500.")
    short = compose(GeneratorBuildSizes, overrides=("pretrain.n_joint=500",))
    assert rates_of(long, short, 64, torch.device("cpu")).endswith("core. Shorter: a GPU (--device cuda).")
    assert "timed on this GPU (cuda)" in rates_of(long, short, 64, torch.device("cuda"))


def test_remove_and_force(copied) -> None:
    pack, path = copied / "pack", copied / "thin32.pt"
    request = GeneratorBuildRequest(path, "car", pack, device="cpu", settings=SMALL)
    (pack / "mine.txt").write_text("a user's")
    before = (pack / PARTS_NAME).read_bytes()
    forced = build_generator(replace(request, force=True, dry_run=True))
    assert forced.plan.to_do == STEPS
    assert (pack / PARTS_NAME).read_bytes() == before, "a plan changes nothing"
    result = runner.invoke(app, ["build", "--generator", str(path), "--remove"])
    assert result.exit_code == 0, result.output
    assert [one.name for one in pack.iterdir()] == ["mine.txt"]
    assert path.is_file()
    assert find_made(path) is None
    assert list(copied.glob("gan2shape-prior-*.safetensors")), "what `prior` learnt stays"
    result = runner.invoke(app, ["build", "--generator", str(path), "--remove"])
    assert result.exit_code == 2
    assert "There is no pack" in result.stderr


def test_a_copy_makes_a_pack_that_needs_nothing_else(request_) -> None:
    build_generator(replace(request_, copy=True))
    expected = open_prior(None, request_.generator, device="cpu")[0].prior.w_mean
    request_.generator.unlink()
    moved = request_.out.rename(request_.out.with_name("moved"))
    assert torch.equal(open_prior(None, moved, device="cpu")[0].prior.w_mean, expected)
    remove_pack(moved)
    assert not moved.exists()


BAD = {
    "no category": (["--generator", "thin32.pt"], "give the nearest --category"),
    "two categories": (["car", "--category", "head", "--generator", "thin32.pt"], "name one"),
    "unknown category": (["cra", "--generator", "thin32.pt"], "cra"),
    "option of trainings": (["car", "--generator", "thin32.pt", "--kimg", "5"], "--kimg belongs to a category"),
    "option of generators": (["car", "--force"], "--force belongs to a --generator"),
    "nothing": ([], "name a category"),
    "setting": (["car", "--generator", "thin32.pt", "encoder.steps=5"], "encoder.steps"),
    "resolution": (["car", "--generator", "thin32.pt", "resolution=48"], "power of two"),
    "missing": (["car", "--generator", "no.pkl"], "no.pkl"),
    "address": (["car", "--generator", "https://x.org/a.pkl"], "nothing is downloaded"),
    "not a checkpoint": (["car", "--generator", "text.pt"], "text.pt"),
    "whole pack": (["car", "--generator", str(pack_dir("car"))], "use it as it is"),
    "pack folder to copy": (["car", "--generator", str(pack_dir("car")), "--copy"], "--copy takes a file"),
    "out is a file": (["car", "--generator", "thin32.pt", "--out", "text.pt"], "is a file"),
    "plan of a removal": (["--generator", "thin32.pt", "--remove", "--dry-run"], "--dry-run does not go with --remove"),
    "nothing to remove": (["--generator", "thin32.pt", "--remove"], "nothing is removed"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_one_sentence_and_leave_nothing(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    thin(tmp_path, 32)
    (tmp_path / "text.pt").write_text("hello")
    before = sorted(path.name for path in tmp_path.iterdir())
    result = runner.invoke(app, ["build", "--device", "cpu", *BAD[name][0]])
    assert result.exit_code == 2, (result.output, result.exception)
    (line,) = result.stderr.splitlines()
    assert BAD[name][1] in line
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_no_object_is_one_sentence(request_, tmp_path, monkeypatch) -> None:
    for path in tmp_path.glob("gan2shape-prior-*"):
        path.unlink()
    learn = custom.learn_masks
    monkeypatch.setattr(custom, "learn_masks", lambda *given: replace(learn(*given), object_share=0.0))
    with pytest.raises(UserError, match="No object that stands clear"):
        build_generator(request_)
    assert not request_.out.exists()


DAMAGE = {
    MADE_NAME: (b"{", "is damaged"),
    PARTS_NAME: (b"nonsense", "is damaged"),
    "calibration.json": (b"{", "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_packs_are_one_sentence(name, copied) -> None:
    (copied / "pack" / name).write_bytes(DAMAGE[name][0])
    with pytest.raises(UserError, match=DAMAGE[name][1]):
        open_prior(None, copied / "thin32.pt", device="cpu")


def test_a_finished_pack_without_its_networks_is_damaged(copied) -> None:
    """It would begin at an ellipsoid, and say that it began at a depth network."""
    pack = copied / "pack"
    made = read_made(pack)
    write_parts(pack / PARTS_NAME, {"mask": made.networks["mask"]}, made.network_configs)
    with pytest.raises(UserError, match="is damaged"):
        open_prior(None, copied / "thin32.pt", device="cpu")
    (pack / PARTS_NAME).unlink()
    with pytest.raises(UserError, match="is damaged"):
        open_prior(None, copied / "thin32.pt", device="cpu")


def test_the_generator_is_never_removed_with_its_pack(request_, tmp_path) -> None:
    """Neither one that lies in the pack's own folder, nor another file of the name that a copy would have."""
    beside = replace(request_, out=tmp_path, copy=True)
    build_generator(beside)
    clear(tmp_path)
    assert request_.generator.is_file(), "an original is no copy"
    copied = replace(request_, copy=True)
    build_generator(copied)
    inside = copied.out / request_.generator.name
    clear(copied.out, inside)
    assert inside.is_file(), "a pack is made anew from its own copy"
    inside.write_bytes(b"another")
    with pytest.raises(UserError, match="is another file"):
        build_generator(copied)
    assert inside.read_bytes() == b"another"


def test_a_pack_that_asks_for_more_memory_than_there_is_is_damaged(copied) -> None:
    made = read_made(copied / "pack")
    huge = {**made.network_configs[ENCODER_NAME], "width": 10**9}
    write_parts(copied / "pack" / PARTS_NAME, made.networks, {**made.network_configs, ENCODER_NAME: huge})
    with pytest.raises(UserError, match="is damaged"):
        open_prior(None, copied / "thin32.pt", device="cpu")


def test_the_pack_of_another_generator_is_not_built_on(copied, tmp_path) -> None:
    other = copied / "other.pt"
    other.write_bytes((copied / "thin32.pt").read_bytes() + b" ")
    request = GeneratorBuildRequest(other, "car", copied / "pack", device="cpu", settings=SMALL)
    with pytest.raises(UserError, match="another generator or class"):
        build_generator(request)
    with pytest.raises(UserError, match="was begun for car at 32 x 32"):
        build_generator(replace(request, generator=copied / "thin32.pt", category="head"))


def test_an_encoder_learns_to_read_samples_that_it_has_not_seen(request_, tmp_path) -> None:
    generator, _ = opened_at(request_, request_.sizes())
    plan = ImageEncoderPlan(n_samples=250, n_steps=60, n_image_steps=40, keep_every=50)
    images, z = samples_on_disk(generator, tmp_path / "samples", plan)
    with torch.no_grad():
        expected = generator.prior.generator.synthesis(generator.prior.generator.mapping(z[3:4])).clamp(-1, 1)
    stored = torch.from_numpy(images.fetch(np.array([3]))).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(stored, expected, atol=0.01, rtol=0)

    def psnr(encoder) -> float:
        networks, configs = {ENCODER_NAME: encoder.state_dict()}, {ENCODER_NAME: encoder_settings(encoder)}
        prior = replace(generator.prior, networks=networks, network_configs=configs)
        return measure_encoder(replace(generator, prior=prior))["samples_psnr_db_object_mask"]

    learnt = train_encoder_on_samples(generator, images, z, plan, tmp_path / "state.pt")
    assert psnr(learnt) > psnr(new_encoder(generator.prior, 32)) + 1.5


def test_the_small_discriminator_of_the_file_begins_the_encoder(request_) -> None:
    opened, _ = opened_at(request_, request_.sizes())
    encoder, critic = new_encoder(opened.prior, 32), opened.prior.discriminator.discriminator
    assert torch.equal(encoder.b32.conv0.weight, critic.b32.conv0.weight)
    assert new_encoder(opened.prior, 64).config.trunk == DiscriminatorConfig()
