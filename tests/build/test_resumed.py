"""Trainings that were stopped go on as if they had not been: restorers, ALAE, IcGAN and the text pair."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from gan2shape.build import alae, icgan, restorers, text_pair
from gan2shape.core.errors import UserError
from gan2shape.train.image_source import ImageSource, image_source
from gan2shape.train.state import CHECKPOINT_NAME, read_checkpoint
from tests.edit.test_text import CARS, painted
from tests.shape.tiny import SIZE, tiny_generator, with_encoder
from tests.train.test_classes import conditional

N_STEPS, STOP_AT = 4, 2
FEW = {"n_steps": N_STEPS, "batch": 4}


def noise(beside: Path, size: int = SIZE) -> ImageSource:
    """Pictures of three classes, always the same."""
    folder, rng = beside.with_name("shards"), np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    np.save(folder / "images_00000.npy", rng.integers(0, 255, (16, size, size, 3), dtype=np.uint8))
    np.save(folder / "labels_00000.npy", (np.arange(16) % 3).astype(np.uint8))
    (folder / "shards.json").write_text('{"classes": ["a", "b", "c"]}')
    return image_source("car", 16, size, beside, folder, labelled=True)


def restorer(kind: str) -> Callable[[Path, float], object]:
    def train(out: Path, lr: float) -> object:
        plan = replace(restorers.KINDS[kind], **FEW, lr=lr)
        prior = with_encoder(tiny_generator()).prior
        return restorers.train_restorer(kind, prior, noise(out), plan, out, precision="fp32")

    return train


def train_alae(out: Path, lr: float) -> object:
    plan = replace(alae.KINDS["alae"], **FEW, lr=lr)
    return alae.train_alae(with_encoder(tiny_generator()).prior, noise(out), plan, out, precision="fp32")


def train_icgan(out: Path, lr: float) -> object:
    torch.manual_seed(0)
    return icgan.train_icgan(conditional(3), noise(out, 16), icgan.IcganPlan(**FEW, lr=lr), out, precision="fp32")


def train_text(out: Path, lr: float) -> object:
    return text_pair.train_text_pair(CARS, painted(60), text_pair.TextPlan(**FEW, lr=lr), out)


TRAININGS = {
    "gpen": (restorers, restorer("gpen")),
    "gfpgan": (restorers, restorer("gfpgan")),
    "alae": (alae, train_alae),
    "icgan": (icgan, train_icgan),
    "text": (text_pair, train_text),
}


def stopping(run: Callable) -> Callable:
    """`run_session`, stopped before a step, with all steps before it kept."""

    def stopped(session, networks, optimizers, step, out, **rest) -> float:
        def some(index: int):
            if index == STOP_AT:
                raise KeyboardInterrupt
            return step(index)

        return run(replace(session, report_steps=1, checkpoint_seconds=0.0), networks, optimizers, some, out, **rest)

    return stopped


def learnt(out: Path) -> dict[str, torch.Tensor]:
    """Everything that learns, in full precision."""
    state = read_checkpoint(out / CHECKPOINT_NAME)
    assert state["step"] == N_STEPS
    networks = {name: tensors for name, tensors in state.items() if name.startswith("network ")}
    return {f"{name} {key}": tensor for name, tensors in networks.items() for key, tensor in tensors.items()}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_stopped_training_goes_on_as_if_it_had_not_been(name, tmp_path: Path, monkeypatch) -> None:
    module: ModuleType
    module, train = TRAININGS[name]
    run, whole, cut = module.run_session, tmp_path / "whole", tmp_path / "cut"
    train(whole, 1e-3)
    monkeypatch.setattr(module, "run_session", stopping(run))
    with pytest.raises(KeyboardInterrupt):
        train(cut, 1e-3)
    monkeypatch.setattr(module, "run_session", run)
    assert read_checkpoint(cut / CHECKPOINT_NAME)["step"] == STOP_AT
    train(cut, 1e-3)
    expected, found = learnt(whole), learnt(cut)
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key
    with pytest.raises(UserError, match="other settings"):
        train(cut, 2e-3)
