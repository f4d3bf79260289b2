"""`gan2shape build`: a pack from nothing, gone on with after an interrupt; what is refused, and how."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gan2shape.build import pack as build
from gan2shape.build.attributes import AttributePlan
from gan2shape.build.calibrate import calibrate, lights_of
from gan2shape.build.confidence import ConfidencePlan
from gan2shape.build.costs import really_trained_from
from gan2shape.build.editing import EditingPlan
from gan2shape.build.pack import add_scene, build_pack
from gan2shape.build.plan import OPTIONAL, STEPS, found_parts, plan_build
from gan2shape.build.requests import BuildRequest, BuildSizes
from gan2shape.checkpoints.open import PACK_NAME
from gan2shape.cli import app
from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8
from gan2shape.core.resources import pack_dir
from gan2shape.prior.calibration import Calibration, read_calibration, write_calibration
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import load_pack, update_card
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.outlines import OutlinePlan
from gan2shape.shape.pretrain import PretrainConfig
from gan2shape.shape.relief import ReliefPlan
from gan2shape.shape.symmetry import SymmetryPlan
from gan2shape.synth.dataset import prerender
from gan2shape.synth.registry import CATEGORIES, get_category
from gan2shape.train.dataset import ShardedImages
from tests.tiny_pack import write_tiny_pack

runner = CliRunner()
SCENE = PretrainConfig(n_objects=3, n_fit_objects=2, n_fit=2, n_joint=1, fit_batch=2, batch=2, keep_every=2)
OUTLINES, RELIEF = OutlinePlan(n_objects=3, n_steps=1, batch=2), ReliefPlan(n_objects=3, n_steps=1, batch=2)
SYMMETRY = SymmetryPlan(n_objects=3, n_rounds=1, n_plane_steps=2, n_steps=1, batch=2)
NARROW = (
    "generator={resolution: 32, channels: [8, 8, 8, 6], z_dim: 8, w_dim: 8, n_mapping: 2}",
    "discriminator={resolution: 32, channels: [8, 8, 6]}", "batch=8", "precision=fp32", "n_threads=1",
    "checkpoint_seconds=0.0", "report_kimg=0.008",
)  # fmt: skip


@pytest.fixture
def request_(tmp_path: Path, monkeypatch) -> BuildRequest:
    """A build of seconds, far from the weights that ship."""
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "RENDER_WORKERS", 1)
    return BuildRequest(
        "car", tmp_path / "pack", tmp_path / "work", images=6, kimg=0.048, device="cpu", settings=NARROW,
        sizes=BuildSizes(segmenter_images=4, segmenter_steps=2, head_steps=2, pretrain=SCENE,
            outlines=OUTLINES, symmetry=SYMMETRY, relief=RELIEF,
            attributes=AttributePlan(n_objects=2, n_held_out=2, n_steps=2, batch=2),
            confidence=ConfidencePlan(n_objects=2, n_held_out=2, n_steps=2, batch=2),
            editing=EditingPlan(n_objects=2, n_held_out=2, n_steps=2, batch=2)),
    )  # fmt: skip


def rendered(folder: Path) -> Path:
    """Six cars in two shards."""
    prerender("car", 6, 0, folder, shard=4, workers=1)
    return folder


def test_a_pack_grows_on_plain_and_natural_images(request_, tmp_path) -> None:
    small = write_tiny_pack(tmp_path / "small", "car", 16)
    card = json.loads((small / "card.json").read_text())
    (small / "card.json").write_text(json.dumps({**card, "training": {"kimg": 0.016}}))
    training = NARROW[2:]
    grown = replace(request_, grow=small, natural=True, images=5, settings=training, only=("gan", "masks"))
    planned = {step.name: step for step in plan_build(grown).steps}
    assert planned["gan"].is_to_do
    assert planned["scene"].is_to_do is False
    build_pack(grown)
    shown = [len(np.load(next(folder.glob("images_*.npy")))) for folder in grown.data.values()]
    assert list(grown.data) == ["plain", "natural"]
    assert shown == [3, 3]  # a folder each, the same objects
    plain, natural = (np.load(next(folder.glob("images_*.npy"))) for folder in grown.data.values())
    assert not np.array_equal(plain, natural)
    made = load_pack(grown.pack)
    assert made.generator.config.resolution == made.discriminator.config.resolution == 32
    assert made.discriminator.config.n_from_rgb == 2  # and it is read again
    assert made.card["training"]["kimg"] == 0.048
    assert "plain and natural" in made.card["training_images"]
    steps = [json.loads(line)["kimg"] for line in (grown.folder / "stats.jsonl").read_text().splitlines()]
    assert steps == pytest.approx([0.024, 0.032, 0.040, 0.048])  # the small pack's images count


def test_the_generator_begins_at_a_teacher_of_its_sizes(request_, tmp_path) -> None:
    teacher = write_tiny_pack(tmp_path / "small", "head", 16)
    update_card(teacher, {"training": {"kimg": 0.032}})
    sizes = ("generator={resolution: 16, channels: [8, 8, 8], z_dim: 8, w_dim: 8, n_mapping: 2}",
             "discriminator={resolution: 16, channels: [8, 8, 8], unshuffle: false}")  # fmt: skip
    taught = replace(request_, teacher=teacher, settings=(*sizes, *NARROW[2:]), only=("gan",))
    other = replace(taught, settings=NARROW)
    assert other.trained_from is None
    assert "begins at nothing, as networks of" in plan_build(other).steps[0].note
    with pytest.raises(UserError, match="has seen 32 images already, which count"):
        plan_build(replace(taught, kimg=0.032))
    assert f"begins at {teacher}, whose 0.032 thousand count" in plan_build(taught).steps[0].note
    update_card(taught.pack, {"attributes": {"identity": 1}, "measured": {}})  # the first may be made before, not this
    build_pack(replace(taught, kimg=0.04, settings=(*taught.settings, "lr=1e-9")))
    made, known = load_pack(taught.pack), load_pack(teacher)
    assert made.card["training"]["began_at"] == "head"
    assert made.card["attributes"] == {"identity": 1}
    assert "measured" not in made.card
    for name, weight in known.generator.synthesis.state_dict().items():
        torch.testing.assert_close(made.generator.synthesis.state_dict()[name], weight, rtol=1e-3, atol=1e-6)
    shown = [json.loads(line)["kimg"] for line in (taught.folder / "stats.jsonl").read_text().splitlines()]
    assert shown == [0.04]  # the teacher's images count
    begun = (taught.folder / "stats.jsonl").read_text().replace("0.04,", "0.008,")
    (taught.folder / "stats.jsonl").write_text(begun)
    assert really_trained_from(taught) is None  # what had begun at nothing goes on


def test_the_first_images_come_in_their_order_and_as_they_are(tmp_path) -> None:
    folder = rendered(tmp_path)
    stored = np.concatenate([np.load(folder / f"images_{number:05d}.npy") for number in (0, 1)])
    images = ShardedImages(folder, 64).first(5)
    assert images.shape == (5, 3, 64, 64)
    assert np.array_equal(to_uint8(images), stored[:5])
    assert len(ShardedImages(folder, 64).first(100)) == 6
    with pytest.raises(UserError, match="no images"):
        ShardedImages(tmp_path / "nowhere", 64)


def test_scene_networks_travel_in_the_pack_and_leave_the_rest_as_it_was(tmp_path) -> None:
    pack = shutil.copytree(pack_dir("car"), tmp_path / "car")
    before, calibration = load_pack(pack), (pack / "calibration.json").read_bytes()
    add_scene("car", pack, tmp_path / "state.pt", SCENE, rendered(tmp_path / "data"))
    after = load_pack(pack)
    networks = pretrained_networks(after, compose(ShapeConfig, "car", "draft"))
    assert networks is not None
    assert after.card["pretraining"]["n_joint"] == 1
    learnt = {"pretraining", *OPTIONAL}
    assert {k: v for k, v in after.card.items() if k not in learnt} == {
        k: v for k, v in before.card.items() if k not in learnt
    }
    assert not set(OPTIONAL) & set(after.card)  # which belonged to the networks before
    for name, tensor in before.generator.state_dict().items():
        assert torch.equal(tensor, after.generator.state_dict()[name]), name
    torch.testing.assert_close(after.w_cov, before.w_cov)
    assert (pack / "calibration.json").read_bytes() == calibration


def test_scene_networks_may_begin_at_those_of_another_category(request_, tmp_path, monkeypatch) -> None:
    pack = shutil.copytree(pack_dir("car"), tmp_path / "cars")
    taught = []

    def learn(generator, config, plan, state_path, report, images, teacher):
        taught.append(teacher)
        return pretrained_networks(generator.prior, config)

    monkeypatch.setattr(build, "pretrain", learn)
    named = replace(request_, out=pack, teacher=pack_dir("head"), settings=())
    planned = {step.name: step.seconds for step in plan_build(replace(named, only=("scene",))).steps}
    alone = {step.name: step.seconds for step in plan_build(replace(named, only=("scene",), teacher=None)).steps}
    assert 0 < planned["scene"] < 0.6 * alone["scene"]  # one round in the place of four
    build.make_scene(named)
    ((generator, config),) = taught
    assert torch.equal(generator.prior.w_mean, load_pack(pack_dir("head")).w_mean)
    assert config.initial.depth_scale == compose(ShapeConfig, "head").initial.depth_scale
    assert load_pack(pack).card["pretraining"]["teacher"] == "head"
    assert load_pack(pack).card["pretraining"]["rounds"] == 1
    with pytest.raises(UserError, match="leave one of them out"):
        plan_build(replace(named, grow=pack))
    with pytest.raises(UserError, match="no scene networks to begin at"):
        plan_build(replace(named, teacher=tmp_path / "nowhere"))


def test_a_pack_from_nothing_continues_after_interrupts(request_, monkeypatch, capsys) -> None:
    """Stopped in the training and in the pre-training; each call makes what is missing."""
    steps = []

    def stop_at(stage: str, at: int):
        def report(name: str, step: int, n_steps: int, **numbers: float) -> None:
            steps.append((name, step))
            if name == stage and step >= at:
                raise KeyboardInterrupt

        return report

    with pytest.raises(KeyboardInterrupt):
        build_pack(request_, stop_at("training", 24))
    assert not (request_.pack / "prior.safetensors").exists()
    with pytest.raises(UserError, match="0 of 6 images show an object"):
        build_pack(request_, stop_at("slants", 1))
    learn = build.train_mask_head

    def everything(*given):  # so young a generator shows nothing
        head = learn(*given)
        with torch.no_grad():
            list(head.parameters())[-1].fill_(9.0)
        return head

    monkeypatch.setattr(build, "train_mask_head", everything)
    assert tuple(build_pack(replace(request_, only=("masks",))).seconds) == ("masks",)
    with pytest.raises(KeyboardInterrupt):
        build_pack(request_, stop_at("slants", 1))
    assert [step for name, step in steps if name == "training"] == [8, 16, 24, 24, 32, 40, 48]
    assert plan_build(request_).to_do == ("scene", "calibration", "attributes", "confidence", "editing")
    result = build_pack(request_)
    assert tuple(result.seconds) == ("scene", "calibration", "attributes", "confidence", "editing")
    assert plan_build(request_).to_do == ()
    assert build_pack(request_).seconds == {}
    monkeypatch.setitem(CATEGORIES, "car", replace(CATEGORIES["car"], learns_by_mirror=True))
    for step in OPTIONAL:
        more_is_learnt_when_named(request_, step)
    card = json.loads((request_.pack / "card.json").read_text())
    assert card["category"] == "car"
    assert card["training"]["kimg"] == 0.048
    assert card["objects_version"] == get_category("car").version
    assert card["chosen_with_true_depth"] == []
    assert read_calibration(request_.pack).light_gain == (-0.15, 0.15)
    generator, config = open_prior(None, request_.pack, device="cpu")
    assert generator.head is not None
    assert (config.category, config.lights.lx) == ("car", (-0.8, 0.8))
    assert pretrained_networks(generator.prior, config) is not None
    assert {path.name for path in request_.pack.iterdir()} == {
        "prior.safetensors", "card.json", "calibration.json", "samples.png", "attributes.safetensors",
        "confidence.safetensors", "editing.safetensors",
    }  # fmt: skip
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "in all" in captured.err


def more_is_learnt_when_named(request: BuildRequest, step: str) -> None:
    """From the pack's scene networks, whose calibration and confidence are renewed; once."""
    before = load_pack(request.pack)
    named = replace(request, only=(step,))
    assert plan_build(named).to_do == (step, "calibration", "confidence", "editing")
    build_pack(named)
    after = load_pack(request.pack)
    assert after.card[step]["n_steps"] == 1
    then, now = (one.networks["scene"] for one in (before, after))
    assert any(not torch.equal(then[name], now[name]) for name in then)
    assert after.card["pretraining"] == before.card["pretraining"]
    with pytest.raises(UserError, match=f"have learnt {step} already"):
        plan_build(named)
    again = replace(request, only=("scene", step))
    assert plan_build(again).to_do == ("scene", step, "calibration", "confidence", "editing")


def test_only_symmetric_objects_are_learnt_from_mirror_images(tmp_path) -> None:
    with pytest.raises(UserError, match="Mirror images do not teach the depth of building"):
        plan_build(BuildRequest("building", tmp_path / "pack", tmp_path / "work", only=("symmetry",)))
    assert {name for name, spec in CATEGORIES.items() if spec.learns_by_mirror} == {"face", "head"}


def test_a_pack_of_objects_that_seeds_draw_no_more_is_not_built_on(tmp_path) -> None:
    for name in (PACK_NAME, "card.json"):
        (tmp_path / name).write_bytes((pack_dir("car") / name).read_bytes())
    assert "gan" in found_parts(tmp_path, "car")
    update_card(tmp_path, {"objects_version": 2})
    with pytest.raises(UserError, match="version 2 of the car objects and their seeds draw version 1"):
        found_parts(tmp_path, "car")


def test_a_plan_says_steps_seconds_and_disk_and_writes_nothing(request_, tmp_path) -> None:
    result = build_pack(replace(request_, dry_run=True))
    assert result.plan.to_do == tuple(step for step in STEPS if step not in (*OPTIONAL, "card"))
    for step in OPTIONAL:
        (line,) = (line for line in result.plan.lines() if line.startswith(step))
        assert f"--only {step}" in line
    assert result.plan.seconds > 0
    assert result.plan.disk_bytes > 6 * 3 * 32**2
    (line,) = (line for line in result.plan.lines() if line.startswith("card"))
    assert "64 x 64" in line
    assert list(tmp_path.iterdir()) == []
    shown = runner.invoke(app, ["build", "car", "--dry-run", "--json"])
    assert shown.exit_code == 0, shown.output
    payload = json.loads(shown.stdout.splitlines()[-1])
    assert (payload["verb"], payload["plan"]["seconds"]) == ("build", 0.0)
    assert [step["name"] for step in payload["plan"]["steps"]] == list(STEPS)
    assert not any(step["is_to_do"] for step in payload["plan"]["steps"])


def test_only_makes_steps_anew_and_never_the_gan() -> None:
    pack = pack_dir("car")
    assert plan_build(BuildRequest("car", pack, only=("calibration", "card"))).to_do == ("calibration", "card")
    assert plan_build(BuildRequest("car", pack, only=("gan",))).to_do == ()
    assert plan_build(BuildRequest("car", pack, only=("scene",))).to_do == (
        "scene",
        "calibration",
        "confidence",
        "editing",
        "card",
    )


def test_another_category_s_pack_is_refused() -> None:
    with pytest.raises(UserError, match="is a pack of head, not of car"):
        plan_build(BuildRequest("car", pack_dir("head")))


def test_a_calibration_that_was_interrupted_is_not_done(tmp_path, monkeypatch) -> None:
    shutil.copytree(pack_dir("head"), tmp_path / "head")
    write_calibration(tmp_path / "head", lights_of("head"))

    def stop(*given: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr("gan2shape.build.calibrate.mean_side", stop)
    with pytest.raises(KeyboardInterrupt):
        calibrate("head", tmp_path / "head")
    assert "calibration" in plan_build(BuildRequest("head", tmp_path / "head")).to_do


BAD = {
    "category": (["cra"], "did you mean car"),
    "step": (["car", "--only", "mask"], "did you mean masks"),
    "option as a setting": (["car", "kimg=5"], "write --kimg 5"),
    "order": (["car", "--only", "card"], "gan2shape build car --only masks"),
    "setting": (["car", "bach=3"], "bach"),
    "networks": (["car", "generator={resolution: 32, channels: [8, 8, 8, 8]}"], "differ"),
    "device": (["car", "--device", "abacus"], "abacus"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_one_sentence(name, tmp_path) -> None:
    arguments, hint = BAD[name]
    places = ["--out", str(tmp_path / "pack"), "--work", str(tmp_path / "work")]
    result = runner.invoke(app, ["build", *arguments, *places])
    assert result.exit_code == 2, (result.output, result.exception)
    (line,) = result.stderr.splitlines()
    assert hint in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["out", "work"])
def test_places_that_cannot_be_written_are_one_sentence(place, request_, tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=f"--{place}"):
        build_pack(replace(request_, **{place: tmp_path / "file" / "below"}))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


DAMAGE = {
    "checkpoint.pt": (b"nonsense", "delete it"),
    "stats.jsonl": (b"\xff\xfe", "delete it"),
    "images/images_00000.npy": (b"nonsense", "delete it"),
    "images/shards.json": (b"{", "other images"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_work_folder_is_one_sentence(name, request_) -> None:
    data, hint = DAMAGE[name]
    path = request_.folder / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(UserError, match=hint) as raised:
        build_pack(replace(request_, only=("gan",)))
    assert path.name in str(raised.value)


def test_too_little_disk_is_refused_before_anything_is_made(request_, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("gan2shape.build.plan.shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(UserError, match="free some"):
        build_pack(request_)
    assert list(tmp_path.iterdir()) == []


def test_lights_are_those_of_the_renders() -> None:
    for category in ("car", "head"):
        bundled, made = read_calibration(pack_dir(category)), lights_of(category)
        assert made.values == {name: value for name, value in bundled.values.items() if name.startswith("light")}


@pytest.mark.slow
def test_depth_scale_and_tilt_are_chosen_again(tmp_path, monkeypatch) -> None:
    """From nothing known, the heads' own values or neighbours are found; the calibration says by what."""
    monkeypatch.setattr("gan2shape.build.calibrate.COUNT", {"val": 16})
    pack = shutil.copytree(pack_dir("head"), tmp_path / "pack")
    write_calibration(pack, Calibration(highpass_cutoff=0.1))
    found = calibrate("head", pack)
    assert found == read_calibration(pack)
    assert found.chosen_with_true_depth == ("depth_scale", "tilt")
    assert found.highpass_cutoff == 0.1
    assert 0.9 <= found.depth_scale <= 1.2
    assert 0.02 <= found.tilt[1] <= 0.04
