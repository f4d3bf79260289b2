"""The frame of small trainings: it resumes bit for bit, refuses other settings, and stops at what is not finite."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gan2shape.core.errors import UserError
from gan2shape.core.network_files import load_network, read_network_card, save_network
from gan2shape.train.image_source import FIRST_SEED, image_source
from gan2shape.train.session import TrainingSession, run_session, step_rng

SESSION = TrainingSession("fit", n_steps=12, batch=4, settings={"lr": 0.1, "sizes": (2, 3)}, report_steps=4)


class CrashError(Exception):
    """Stands for a crash."""


def fit(out: Path, session: TrainingSession = SESSION, stop_at: int | None = None, bad: float = 0.0) -> nn.Linear:
    """A line fitted by stochastic descent; `stop_at` ends it like a crash would."""
    network = nn.Linear(2, 1)
    nn.init.ones_(network.weight)
    nn.init.zeros_(network.bias)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)

    def step(index: int) -> dict[str, torch.Tensor]:
        if index == stop_at:
            raise CrashError
        x = torch.from_numpy(step_rng(0, index).standard_normal((4, 2), dtype=np.float32))
        loss = (network(x) - x.sum(1, keepdim=True) * 3).square().mean() / (1.0 - bad)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    run_session(session, {"line": network}, {"line": optimizer}, step, out)
    return network


def test_a_resumed_training_repeats_the_uninterrupted_one(tmp_path: Path) -> None:
    every = TrainingSession(**{**vars(SESSION), "checkpoint_seconds": 0.0})
    whole = fit(tmp_path / "whole", every)
    with pytest.raises(CrashError):
        fit(tmp_path / "cut", every, stop_at=10)
    assert len((tmp_path / "cut" / "stats.jsonl").read_text().splitlines()) == 2
    resumed = fit(tmp_path / "cut", every)
    assert torch.equal(resumed.weight, whole.weight)
    assert torch.equal(resumed.bias, whole.bias)
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "stats.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = fit(tmp_path)
    again = fit(tmp_path, stop_at=0)
    assert torch.equal(first.weight, again.weight)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    fit(tmp_path)
    other = TrainingSession(**{**vars(SESSION), "settings": {"lr": 0.2, "sizes": (2, 3)}})
    with pytest.raises(UserError, match=r"other settings \(lr\)"):
        fit(tmp_path, other)


def test_a_loss_that_is_not_finite_ends_it_and_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss is not finite at step 4"):
        fit(tmp_path, bad=1.0)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_network_carries_its_card(tmp_path: Path) -> None:
    path = save_network(tmp_path / "line.safetensors", nn.Linear(2, 1), SESSION, "line-1", {"seeds": [1, 2]})
    assert read_network_card(path) == {"seeds": [1, 2]}
    loaded = load_network(path, lambda fields: nn.Linear(fields["batch"] // 2, 1), "line-1", "line", "make line")
    assert not loaded.weight.requires_grad
    with pytest.raises(UserError, match="make it with `make line`"):
        load_network(tmp_path / "none", lambda fields: nn.Linear(2, 1), "line-1", "line", "make line")
    (tmp_path / "text").write_text("no network")
    with pytest.raises(UserError, match="holds no network"):
        read_network_card(tmp_path / "text")


def test_images_are_rendered_once_from_seeds_that_no_generator_saw(tmp_path: Path) -> None:
    source = image_source("car", 6, 16, tmp_path / "run")
    assert source.made_of == {"category": "car", "first_seed": FIRST_SEED, "count": 6, "size": 16}
    stamp = tmp_path / "images-car-16" / "images_00000.npy"
    written = stamp.stat().st_mtime_ns
    again = image_source("car", 6, 16, tmp_path / "other")
    assert stamp.stat().st_mtime_ns == written
    drawn = source.sample(step_rng(0, 1), 5)
    assert drawn.shape == (5, 3, 16, 16)
    assert torch.equal(drawn, again.sample(step_rng(0, 1), 5))


def test_images_may_come_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    levels = np.arange(3, dtype=np.uint8)[:, None, None, None]
    np.save(folder / "images_00000.npy", levels * np.ones((1, 8, 8, 3), np.uint8))
    source = image_source("car", 2, 8, tmp_path / "run", data=folder)
    assert source.made_of == {"count": 2, "size": 8, "folder": "mine"}
    drawn = {float(x) for x in source.sample(step_rng(0, 0), 40)[:, 0, 0, 0].mul(127.5).add(127.5).round()}
    assert drawn == {0.0, 1.0}
    with pytest.raises(UserError, match="holds 3 images, but 4"):
        image_source("car", 4, 8, tmp_path / "run", data=folder)
