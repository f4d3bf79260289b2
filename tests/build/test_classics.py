"""Training SRGAN and the inpainting GAN at 16 x 16: parts, losses, heads, resuming, and what is opened afterwards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.build import classics
from gan2shape.build.classics import (
    KINDS,
    ClassicPlan,
    adversarial_terms,
    damage,
    new_critic,
    random_hole,
    require_fitting_task,
    train_classic,
)
from gan2shape.core.errors import UserError
from gan2shape.core.network_files import read_network_card
from gan2shape.degrade.degradations import Down, Mask, box_mask
from gan2shape.invert.solver import Problem
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.restoration.picture_restorers import open_picture_restorer
from gan2shape.restoration.tasks import Damage
from gan2shape.train.image_source import ImageSource, image_source

SMALL = {"batch": 4, "width": 8, "n_blocks": 1, "n_images": 24}
SRGAN = replace(KINDS["srgan"], n_error_steps=3, n_adversarial_steps=3, **SMALL)
INPAINT = replace(KINDS["inpaintgan"], n_adversarial_steps=4, **SMALL)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    """Pictures of two colours with a vertical edge."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    images = np.empty((24, 16, 16, 3), np.uint8)
    for image in images:
        image[:], edge = rng.integers(0, 256, 3), rng.integers(4, 12)
        image[:, edge:] = rng.integers(0, 256, 3)
    np.save(folder / "images_0.npy", images)
    return image_source("car", 24, 16, folder / "run", data=folder)


@pytest.fixture(scope="module")
def metric() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(DiscriminatorConfig(resolution=16, channels=(8, 6))).requires_grad_(False)


def test_both_parts_of_srgan_are_saved(source: ImageSource, metric: Discriminator, tmp_path: Path) -> None:
    files = train_classic("srgan", source, SRGAN, tmp_path, metric, precision="fp32")
    assert list(files) == ["srresnet", "srgan"]
    networks = [open_picture_restorer(path, Damage("superres", 4.0), 16).network for path in files.values()]
    first, second = (torch.cat([p.flatten() for p in network.parameters()]) for network in networks)
    assert not torch.equal(first, second)
    card = read_network_card(files["srgan"])
    assert card["plan"]["n_adversarial_steps"] == 3
    assert card["images"] == source.made_of
    assert card["network"] == "srgan"


@pytest.mark.parametrize(("kind", "plan"), [("srgan", SRGAN), ("inpaintgan", INPAINT)])
def test_a_stopped_training_goes_on_bit_for_bit(
    kind: str, plan: ClassicPlan, source: ImageSource, metric: Discriminator, tmp_path: Path, monkeypatch
) -> None:
    def trained(name: str) -> torch.Tensor:
        path = train_classic(kind, source, plan, tmp_path / name, metric, precision="fp32")[kind]
        task = "superres" if kind == "srgan" else "inpaint"
        return torch.cat([p.flatten() for p in open_picture_restorer(path, Damage(task), 16).network.parameters()])

    from gan2shape.train.session import TrainingSession as session  # noqa: N813

    monkeypatch.setattr(classics, "TrainingSession", lambda *a: session(*a, checkpoint_seconds=0.0, report_steps=1))
    whole, critic_step, calls = trained("whole"), classics.critic_step, []

    def dies(*arguments: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return critic_step(*arguments)

    monkeypatch.setattr(classics, "critic_step", dies)
    with pytest.raises(KeyboardInterrupt):
        trained("parts")
    monkeypatch.setattr(classics, "critic_step", critic_step)
    assert torch.equal(whole, trained("parts"))


def test_squared_error_falls(source: ImageSource, tmp_path: Path) -> None:
    """In 80 steps SRResNet comes nearer to the pictures than bicubic enlargement."""
    plan = replace(SRGAN, n_error_steps=80, n_adversarial_steps=0, batch=8, lr=3e-3)
    path = train_classic("srgan", source, plan, tmp_path, precision="fp32")["srresnet"]
    clean = source.images.first(24)
    phi = Down(4, "bicubic")
    restorer = open_picture_restorer(path, Damage("superres", 4.0), 16)
    made = restorer.solved(Problem(phi.observe(clean), phi))
    bicubic = torch.nn.functional.interpolate(phi(clean), scale_factor=4.0, mode="bicubic").clamp(-1, 1)
    assert float((made.image - clean).square().mean()) < float((bicubic - clean).square().mean())
    assert made.n_steps == 0
    torch.testing.assert_close(made.data, (phi(made.image) - phi(clean)).abs().mean((1, 2, 3)))


def test_an_inpainter_fills_the_hole_alone(source: ImageSource, tmp_path: Path) -> None:
    path = train_classic("inpaintgan", source, INPAINT, tmp_path, precision="fp32")["inpaintgan"]
    phi, clean = Mask(box_mask(16)), source.images.first(3)
    made = open_picture_restorer(path, Damage("inpaint"), 16).solved(Problem(phi.observe(clean), phi))
    kept = box_mask(16).expand(3, 3, -1, -1) > 0
    assert torch.equal(made.image[kept], clean[kept])
    assert not torch.allclose(made.image[~kept], clean[~kept], atol=1e-3)


def test_pixel_error_is_that_of_the_hole() -> None:
    """Off by .5 in the hole and by 9 outside: .5 counts."""
    kept, clean = box_mask(16).expand(2, -1, -1, -1), torch.zeros(2, 3, 16, 16)
    made = clean + 0.5 * (1 - kept) + 9 * kept
    plan = replace(INPAINT, pixel_weight=2.0)
    terms = adversarial_terms(made, clean, kept, new_critic(16, plan), None, plan)
    assert float(terms["pixel"]) == pytest.approx(1.0, rel=1e-5)
    assert set(terms) == {"pixel", "global", "patch"}


@pytest.mark.parametrize("heads", ["global", "patch"])
def test_one_head_alone_weighs_alone(heads: str, metric: Discriminator) -> None:
    plan = replace(SRGAN, heads=heads, global_weight=2.0, patch_weight=3.0)
    critic, made = new_critic(16, plan), torch.rand(4, 3, 16, 16)
    terms = adversarial_terms(made, made, None, critic, metric, plan)
    assert set(terms) == {"pixel", "feature", heads}
    assert float(terms["pixel"]) == float(terms["feature"]) == 0.0
    expected = torch.nn.functional.softplus(-critic(made)[heads]).mean() * {"global": 2.0, "patch": 3.0}[heads]
    torch.testing.assert_close(terms[heads], expected)
    assert all(p.requires_grad for p in critic.parameters())


def test_holes_are_squares_and_every_second_one_is_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    holes = [random_hole(32, rng) for _ in range(200)]
    centred = sum(torch.equal(hole, box_mask(32)) for hole in holes)
    assert 70 < centred < 130
    for hole in holes:
        rows, columns = (1 - hole[0, 0]).any(1).sum(), (1 - hole[0, 0]).any(0).sum()
        assert int(rows) == int(columns)
        assert int((1 - hole).sum()) == int(rows * columns)


def test_damage_is_what_restore_undoes() -> None:
    clean = torch.rand(2, 3, 16, 16) * 2 - 1
    small = damage(clean, "superres:4", np.random.default_rng(0))
    torch.testing.assert_close(small.given, Down(4, "bicubic")(clean))
    assert small.inputs == (small.given,)
    holed = damage(clean, "inpaint", np.random.default_rng(0))
    assert torch.equal(holed.given, clean * holed.kept)


def test_a_network_for_something_else_is_refused(source: ImageSource, tmp_path: Path) -> None:
    plan = replace(SRGAN, n_error_steps=1, n_adversarial_steps=0)
    path = train_classic("srgan", source, plan, tmp_path, precision="fp32")["srresnet"]
    for wrong, size in ((Damage("superres", 2.0), 16), (Damage("inpaint"), 16)):
        with pytest.raises(UserError, match=r"was trained for superres:4, not for .* train one with"):
            open_picture_restorer(path, wrong, size)
    with pytest.raises(UserError, match="pictures of 16 x 16 pixels"):
        open_picture_restorer(path, Damage("superres", 4.0), 32)
    with pytest.raises(UserError, match="train-restorer --kind inpaintgan"):
        open_picture_restorer(tmp_path / "none.safetensors", Damage("inpaint"), 16)


@pytest.mark.parametrize(("kind", "task"), [("srgan", "inpaint"), ("srgan", "colorize"), ("inpaintgan", "superres:4")])
def test_a_task_of_another_kind_is_refused(kind: str, task: str, source: ImageSource, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{kind} learns"):
        train_classic(kind, source, replace(KINDS[kind], task=task), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_kind_does_one_task() -> None:
    for kind, task, words in (
        ("srgan", "inpaint", "srgan learns superres"), ("inpaintgan", "superres:4", "inpaintgan learns inpaint"),
        ("srgan", "superres:3", "does not divide"), ("srgan", "blind", "srgan learns superres"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            require_fitting_task(kind, task, 64)


def test_plans_that_make_no_sense() -> None:
    for change in ({"n_error_steps": 0, "n_adversarial_steps": 0}, {"batch": 0}, {"heads": "three"}):
        with pytest.raises(ValueError, match=r"step|1 at least|unknown"):
            replace(KINDS["srgan"], **change)
