"""3D-GAN: its gate, its training that resumes, and what it leaves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.network_files import read_network_card
from gan2shape.nn.voxel_networks import VoxelGanConfig, build_voxel_critic, build_voxel_generator, config_at
from gan2shape.train import voxel_gan
from gan2shape.train.voxel_gan import VoxelPlan, critic_step, load_voxel_generator, train_voxel_gan

CONFIG = VoxelGanConfig(resolution=8, z_dim=4, channels=(8,))
PLAN = VoxelPlan(n_objects=16, n_steps=6, batch=4)


def boxes(n: int = 16) -> torch.Tensor:
    """Boxes of different heights."""
    volumes = torch.zeros(n, 8, 8, 8)
    for i in range(n):
        volumes[i, 2:6, 7 - (1 + i % 5) : 7, 2:6] = 1.0
    return volumes


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def test_the_gate_closes_above_its_accuracy() -> None:
    critic = build_voxel_critic(CONFIG)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.01)
    real, made = boxes(4)[:, None], torch.rand(4, 1, 8, 8, 8)
    before = weights(critic)
    critic.accuracy.fill_(0.9)
    measured = critic_step(critic, optimizer, real, made, 0.8)
    assert float(measured["learns"]) == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, weights(critic), strict=True))
    critic.accuracy.fill_(0.79)
    assert float(critic_step(critic, optimizer, real, made, 0.8)["learns"]) == 1.0
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(critic), strict=True))
    critic.accuracy.fill_(1.0)
    assert float(critic_step(critic, optimizer, real, made, 1.0)["learns"]) == 1.0  # no gate


def test_accuracy_counts_both_kinds() -> None:
    critic = build_voxel_critic(CONFIG)
    with torch.no_grad():
        critic.last.weight.zero_()
        critic.last.bias.fill_(1.0)
    alike, optimizer = boxes(4)[:, None], torch.optim.SGD(critic.parameters(), lr=0.0)
    measured = critic_step(critic, optimizer, alike, alike, 0.8)
    assert float(measured["accuracy"]) == 0.5
    assert float(critic.accuracy) == 0.5


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(name: str) -> list[torch.Tensor]:
        train_voxel_gan(boxes(), PLAN, CONFIG, tmp_path / name, {"boxes": 16}, precision="fp32")
        return weights(load_voxel_generator(tmp_path / name))

    monkeypatch.setattr(voxel_gan, "TrainingSession", lambda *a: session(*a, checkpoint_seconds=0.0, report_steps=2))
    from gan2shape.train.session import TrainingSession as session  # noqa: N813

    whole, judge, calls = trained("whole"), voxel_gan.critic_step, []

    def dies(*arguments: object) -> dict:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr(voxel_gan, "critic_step", dies)
    with pytest.raises(KeyboardInterrupt):
        trained("parts")
    monkeypatch.setattr(voxel_gan, "critic_step", judge)
    assert all(torch.equal(a, b) for a, b in zip(whole, trained("parts"), strict=True))


def test_the_file_names_what_it_learnt_from(tmp_path: Path) -> None:
    path = train_voxel_gan(boxes(), PLAN, CONFIG, tmp_path, {"boxes": 16}, precision="fp32")
    card = read_network_card(path)
    assert card["objects"] == {"boxes": 16}
    assert card["plan"]["gate"] == 0.8
    generator = load_voxel_generator(path)
    torch.testing.assert_close(generator.mean_shape[0, 0], boxes().mean(0), atol=1e-3, rtol=0)
    made = generator(torch.randn(2, 4))
    assert made.shape == (2, 1, 8, 8, 8)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    with pytest.raises(UserError, match="make it with `gan2shape voxels train`"):
        load_voxel_generator(tmp_path / "none.safetensors")


def test_voxels_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = voxel_gan.voxels_on_disk("car", 3, 8, tmp_path / "run")
    monkeypatch.setattr(voxel_gan, "voxel_set", lambda *a: pytest.fail("made again"))
    assert torch.equal(first, voxel_gan.voxels_on_disk("car", 3, 8, tmp_path / "other"))


def test_learning_boxes(tmp_path: Path) -> None:
    """After a while samples look more like the boxes than at first: they are filled about where these are."""
    plan = replace(PLAN, n_steps=150, batch=8, lr=5e-3, critic_lr=1e-3)
    generator = load_voxel_generator(train_voxel_gan(boxes(), plan, CONFIG, tmp_path, {}, precision="fp32"))
    fresh = build_voxel_generator(CONFIG).eval()
    z = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    mean = boxes().mean(0)
    off = [float((g(z).detach().mean((0, 1)) - mean).abs().mean()) for g in (fresh, generator)]
    assert off[1] < 0.5 * off[0]


def test_sizes_have_networks_and_others_are_refused() -> None:
    for resolution in (8, 16, 32):
        made = build_voxel_generator(config_at(resolution)).eval()(torch.randn(1, 64))
        assert made.shape[-1] == resolution
    assert config_at(32) == VoxelGanConfig()
    with pytest.raises(ValueError, match="resolution=24 is not"):
        replace(PLAN, resolution=24)
