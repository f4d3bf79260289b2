"""The card's instruments are right where the truth is known; the whole of it runs and keeps the rest of the card."""

import json
import math

import pytest
import torch
from typer.testing import CliRunner

from gan2shape.bench import card, regressor
from gan2shape.bench.exam import exam_objects
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.prior.packs import make_prior, save_pack
from gan2shape.scene.camera import compose_views
from gan2shape.synth.render import turntable_view

TINY = card.CardSizes(8, 2, 4, n_controlled=1, n_training_views=4, n_rotated=4, n_inverted=1, n_samples=8)
QUICK = ["steps.n_projection=[2]", "steps.batch=2", "invert.n_steps=2", "invert.n_starts=2", "invert.n_tracks=1"]
runner = CliRunner()


def test_the_regressor_learns_brightness_and_leaves_the_caller_s_random_numbers() -> None:
    """Targets that can be seen in images are predicted for new ones: brightness of an image, or of one half of it."""
    rng = torch.Generator().manual_seed(0)
    level = torch.rand(72, 2, 3, generator=rng) * 2 - 1  # heading and lx change sign in the mirror: left less right
    left, right = level[..., :1] + level[..., 1:2], level[..., :1] - level[..., 1:2]
    images = torch.cat([left, right], 2).repeat_interleave(32, -1)[:, :, None, None].expand(-1, -1, 3, 64, -1)
    targets = torch.stack([level[..., 1], level[..., 1], level[..., 0]], -1)
    before = torch.get_rng_state()
    trained = regressor.train_regressor(regressor.Pairs(images[:64], targets[:64]), 25)
    assert torch.equal(torch.get_rng_state(), before)
    predicted = trained(images[64:].flatten(0, 1))
    assert float((predicted - targets[64:].flatten(0, 1)).square().mean()) < 0.25 * float(targets.square().mean())


def test_heading_is_the_turntable_s_azimuth_when_seen_level():
    azimuths = torch.tensor([-1.4, -0.3, 0.0, 0.8, 1.5])
    views = torch.stack([turntable_view(float(azimuth), 0.0) for azimuth in azimuths])
    assert torch.allclose(regressor.heading_rad(views), azimuths, atol=1e-5)


@pytest.mark.parametrize("elevation_deg", [0.0, 10.0, 25.0])
@pytest.mark.parametrize("yaw_deg", [-15.0, 15.0])
def test_a_yaw_changes_the_heading_by_itself(elevation_deg, yaw_deg):
    first = turntable_view(0.7, math.radians(elevation_deg))[None]
    yaw = torch.zeros(1, 6)
    yaw[:, 1] = math.radians(yaw_deg)
    change = regressor.heading_rad(compose_views(first, yaw)) - regressor.heading_rad(first)
    assert math.degrees(change.item()) == pytest.approx(yaw_deg, abs=1e-3)


def test_responses_of_a_line_and_the_residual_about_it():
    rng = torch.Generator().manual_seed(0)
    target = torch.randn(20_000, 3, generator=rng)
    noise = math.radians(3.0) * torch.randn(20_000, generator=rng)
    measured = target * torch.tensor([0.8, -0.5, 1.0]) + torch.tensor([0.3, 0.0, -2.0])
    measured[:, 0] += noise
    expected = {"heading_response": 0.8, "lx_response": -0.5, "ly_response": 1.0, "heading_residual_deg": 3.0}
    assert regressor.responses(measured, target) == pytest.approx(expected, abs=0.05)


def test_pairs_show_one_object_at_the_yaw_of_their_targets():
    """The second image is another one of the same object, at most 20 degrees away, under another light."""
    pairs = regressor.render_pairs("car", card.HELD_OUT_FIRST_SEED, 6)
    change = torch.rad2deg(pairs.targets[:, 1] - pairs.targets[:, 0])[:, 0]
    assert change.abs().max() <= regressor.PAIR_YAW_DEG + 1e-3
    assert change.abs().max() > 5
    assert (pairs.images[:, 0] - pairs.images[:, 1]).abs().mean((1, 2, 3)).min() > 0.005
    assert torch.equal(pairs.targets[1:, 1, 1:], pairs.targets[:-1, 0, 1:]), "the light of the object before"


def test_the_loss_is_zero_at_the_target_and_a_common_error_is_no_change():
    target = torch.randn(5, 2, 3)
    assert regressor.regressor_loss(target, target) == 0
    offset = regressor.regressor_loss(target + 0.5, target)
    assert offset.item() == pytest.approx(0.125)
    shrunk = regressor.regressor_loss(0 * target, target)
    assert shrunk > offset


def test_only_objects_that_stay_among_the_category_s_poses_are_rotated():
    items = exam_objects("car", "val", 6)
    headings = torch.deg2rad(torch.linspace(-80.0, -15.0, 501))  # the bulk: 18 to 77 degrees, left and right
    kept = [item.seed for item in card.rotatable(items, headings)]
    sizes = [math.degrees(abs(regressor.heading_rad(item.view).item())) for item in items]
    assert kept == [item.seed for item, size in zip(items, sizes, strict=True) if 33.25 <= size <= 61.75]
    assert 0 < len(kept) < len(items)
    assert card.rotatable(items, torch.zeros(4)) == items


def test_measurements_leave_the_rest_of_the_card(tmp_path):
    path = tmp_path / "card.json"
    path.write_text(json.dumps({"category": "car", "measured": {"old": 1}}))
    card.write_measured(tmp_path, {"heading_response": 0.5})
    assert json.loads(path.read_text()) == {"category": "car", "measured": {"heading_response": 0.5}}
    assert [p.name for p in tmp_path.iterdir()] == ["card.json"]
    path.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        card.write_measured(tmp_path, {})
    assert path.read_text() == "{"


@pytest.mark.slow
def test_a_card_of_an_untrained_pack(tmp_path, monkeypatch):
    """Every metric appears and is finite; with --dry-run the card stays as it was."""
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(card, "CardSizes", lambda **changes: TINY)
    prior = make_prior(Generator(GeneratorConfig()), Discriminator(DiscriminatorConfig()), {"licence": "x"})
    save_pack(tmp_path / "car", prior)
    before = (tmp_path / "car" / "card.json").read_text()
    arguments = ["bench", "card", "--category", "car", "--preset", "smoke", "--json"]
    shown = runner.invoke(app, [*arguments, "--dry-run", *QUICK])
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "car" / "card.json").read_text() == before
    written = runner.invoke(app, [*arguments, *QUICK])
    assert written.exit_code == 0, written.output
    stored = json.loads((tmp_path / "car" / "card.json").read_text())
    payload = json.loads(written.stdout.splitlines()[-1])
    assert stored["licence"] == "x"
    assert stored["measured"] == payload["measured"] == json.loads(shown.stdout.splitlines()[-1])["measured"]
    numbers = [value for value in payload["measured"].values() if isinstance(value, float)]
    assert len(numbers) == 9
    assert all(math.isfinite(value) for value in numbers)


def test_a_category_without_weights_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    result = runner.invoke(app, ["bench", "card", "--category", "car"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
