"""ALAE on a tiny pack: what is updated by which of its three losses, and that a pack and its encoder come of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.build import alae
from gan2shape.build.alae import KINDS, train_alae
from gan2shape.core.errors import UserError
from gan2shape.prior.encoders import open_encoder
from gan2shape.prior.identity import generator_hash
from gan2shape.prior.packs import load_pack
from gan2shape.train.image_source import image_source
from tests.shape.tiny import SIZE, tiny_generator, with_encoder

PLAN = replace(KINDS["alae"], n_steps=2, batch=4)


@pytest.fixture(scope="module")
def prior():
    return with_encoder(tiny_generator()).prior


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("shards")
    np.save(folder / "images_00000.npy", np.random.default_rng(0).integers(0, 255, (16, SIZE, SIZE, 3), dtype=np.uint8))
    return image_source("car", 16, SIZE, folder / "x", folder)


def test_a_pack_and_an_encoder_for_it_come_of_it(prior, source, tmp_path: Path) -> None:
    before = generator_hash(prior.generator)
    files = train_alae(prior, source, PLAN, tmp_path, precision="fp32")
    assert generator_hash(prior.generator) == before  # the pack it began from is as it was
    made = load_pack(files["pack"])
    assert generator_hash(made.generator) != before
    encoder = open_encoder(str(files["encoder"]), made)
    with pytest.raises(UserError, match="another generator"):
        open_encoder(str(files["encoder"]), prior)
    rows = encoder(torch.rand(2, 3, SIZE, SIZE))
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert made.card["begun_from"] == before


def test_each_loss_moves_its_own_players(prior, source, tmp_path: Path, monkeypatch) -> None:
    """Published: E and D tell, the generator answers, E and generator agree on w."""
    moved: list[set[str]] = []
    run = alae.run_session

    def watched(session, networks, optimizers, step, out, **rest):
        for name, optimizer in optimizers.items():
            stepped = optimizer.step
            optimizer.step = lambda name=name, stepped=stepped: moved[-1].add(name) or stepped()
        zero = optimizers["critic"].zero_grad
        optimizers["critic"].zero_grad = lambda **k: moved.append(set()) or zero(**k)
        return run(session, networks, optimizers, step, out, **rest)

    monkeypatch.setattr(alae, "run_session", watched)
    train_alae(prior, source, replace(PLAN, n_steps=2), tmp_path, precision="fp32")
    told, answered, agreed = {"encoder", "critic"}, {"generator"}, {"encoder", "generator"}
    assert moved == [told, told, answered, agreed, told, answered, agreed]  # R1 at the first step


def test_reading_its_own_w_gets_better(prior, source, tmp_path: Path) -> None:
    import json

    plan = replace(PLAN, n_steps=30, lr=3e-3)
    train_alae(prior, source, replace(plan, n_steps=1), tmp_path / "one", precision="fp32")
    train_alae(prior, source, plan, tmp_path / "many", precision="fp32")
    first, last = (json.loads((tmp_path / d / "stats.jsonl").read_text().splitlines()[-1]) for d in ("one", "many"))
    assert last["latent"] < 0.9 * first["latent"]


def test_the_mapping_learns_from_the_generator_s_answer_alone(prior, source, tmp_path: Path, monkeypatch) -> None:
    """Else it would make w easy to read: in the third update w is what it is."""
    learnt: list[bool] = []
    run = alae.run_session

    def watched(session, networks, optimizers, step, out, **rest):
        stepped, mapping = optimizers["generator"].step, networks["generator"].mapping

        def noted():
            learnt.append(any(p.grad is not None for p in mapping.parameters()))
            return stepped()

        optimizers["generator"].step = noted
        return run(session, networks, optimizers, step, out, **rest)

    monkeypatch.setattr(alae, "run_session", watched)
    train_alae(prior, source, replace(PLAN, n_steps=1, latent_weight=0.0), tmp_path, precision="fp32")
    assert learnt == [True, False]
