"""Training encoders on tiny priors: what each plan asks for happens, a stopped training goes on as if it had not been
stopped, and an encoder of another generator is refused.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.build import encoders
from gan2shape.build.encoders import KINDS, EncoderPlan, encoder_terms, n_free_rows, new_players, train_encoder
from gan2shape.core.errors import UserError
from gan2shape.core.images import to_float
from gan2shape.core.network_files import read_network_card
from gan2shape.nn.feature_metric import DiscriminatorMetric
from gan2shape.prior.encoders import open_encoder
from gan2shape.prior.identity import generator_hash
from gan2shape.synth.pairs import PAIRS, render_pairs
from gan2shape.train.image_source import FIRST_SEED, image_source, pair_source
from tests.shape.tiny import SIZE, tiny_generator, with_encoder

FEW = {"n_steps": 4, "batch": 4}


@pytest.fixture(scope="module")
def prior():
    return with_encoder(tiny_generator()).prior


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("shards")
    pixels = np.random.default_rng(0).integers(0, 255, (16, SIZE, SIZE, 3), dtype=np.uint8)
    np.save(folder / "images_00000.npy", pixels)
    return image_source("car", 16, SIZE, folder / "x", folder)


def logged(out: Path) -> dict[str, float]:
    return json.loads((out / "stats.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_is_read_again_for_its_generator(kind: str, prior, source, tmp_path: Path) -> None:
    path = train_encoder(kind, prior, source, replace(KINDS[kind], **FEW), tmp_path, precision="fp32")
    encoder = open_encoder(str(path), prior)
    rows = encoder.encode(torch.rand(3, 3, SIZE, SIZE), prior.generator.synthesis)
    assert rows.shape == (3, prior.generator.n_layers, prior.generator.config.w_dim)
    assert not torch.allclose(rows[0], rows[1], atol=1e-7)  # it has learnt something
    card = read_network_card(path)
    assert (card["kind"], card["generator"], card["plan"]["n_steps"]) == (kind, generator_hash(prior.generator), 4)
    assert card["images"]["count"] == 16


def test_the_published_parts_of_each_kind_are_there(prior) -> None:
    found = {kind: new_players(prior, plan) for kind, plan in KINDS.items()}
    assert {kind: one.encoder.config.head for kind, one in found.items()} == {
        "psp": "fpn", "e4e": "delta", "restyle": "residual", "idinvert": "flat+"}  # fmt: skip
    assert [kind for kind, one in found.items() if one.latent_critic is not None] == ["e4e"]
    assert [kind for kind, one in found.items() if one.critic is not None] == ["idinvert"]
    assert KINDS["restyle"].n_passes > 1
    for one in found.values():
        assert torch.equal(one.encoder.w_mean, prior.w_mean)


def test_encoders_begin_as_the_pack_s_own(prior) -> None:
    images = torch.rand(2, 3, SIZE, SIZE)
    for kind, plan in KINDS.items():
        with torch.no_grad():
            rows = new_players(prior, plan).encoder.encode(images, prior.generator.synthesis)
        expected = prior.w_mean[None] if kind == "restyle" else prior.guess_latent(images)
        torch.testing.assert_close(rows, expected[:, None].expand_as(rows))


def test_offsets_are_set_free_one_after_the_other() -> None:
    plan = EncoderPlan(head="delta", n_steps=100, free_from=0.2, free_until=0.6)
    counts = [n_free_rows(plan, 9, index) for index in range(100)]
    assert counts[:20] == [0] * 20
    assert counts[20] == 1
    assert counts[60:] == [8] * 40
    assert set(np.diff(counts)) == {0, 1}
    assert n_free_rows(EncoderPlan(), 9, 0) == 8  # others have them all from the start


def test_a_stopped_training_goes_on_as_if_it_had_not_been(prior, source, tmp_path: Path, monkeypatch) -> None:
    plan = replace(KINDS["e4e"], **FEW)
    whole = open_encoder(str(train_encoder("e4e", prior, source, plan, tmp_path / "a", precision="fp32")), prior)
    run = encoders.run_session

    def stopped(session, networks, optimizers, step, out, **rest):
        def some(index: int):
            if index == 2:
                raise KeyboardInterrupt
            return step(index)

        run(replace(session, report_steps=1, checkpoint_seconds=0.0), networks, optimizers, some, out, **rest)

    monkeypatch.setattr(encoders, "run_session", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_encoder("e4e", prior, source, plan, tmp_path / "b", precision="fp32")
    monkeypatch.setattr(encoders, "run_session", run)
    again = open_encoder(str(train_encoder("e4e", prior, source, plan, tmp_path / "b", precision="fp32")), prior)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    with pytest.raises(UserError, match="other settings"):
        train_encoder("e4e", prior, source, replace(plan, lr=1e-4), tmp_path / "b", precision="fp32")


def test_terms_are_zero_where_picture_and_rows_are_as_they_should_be(prior) -> None:
    plan = EncoderPlan(delta_weight=1.0, identity_weight=1.0)
    players, rows = new_players(prior, plan), prior.w_mean.expand(2, prior.generator.n_layers, -1)
    made = prior.generator.synthesis(rows)
    code = lambda images: torch.nn.functional.normalize(images.flatten(1), dim=1)  # noqa: E731
    terms = encoder_terms(players, made, rows, made, prior, plan, code)
    assert set(terms) == {"pixel", "feature", "delta", "identity"}
    assert max(float(term) for term in terms.values()) < 1e-5
    far = rows + torch.arange(rows.shape[1])[:, None]
    worse = encoder_terms(players, made, far, -made, prior, plan, code)
    assert min(float(term) for term in worse.values()) > 0.1


def test_a_custom_generator_teaches_with_its_own_samples(prior, tmp_path: Path) -> None:
    bare = replace(prior, networks={}, network_configs={}, discriminator=DiscriminatorMetric(prior.discriminator))
    path = train_encoder("psp", bare, None, replace(KINDS["psp"], **FEW), tmp_path, precision="fp32")
    assert read_network_card(path)["images"] == "the generator's own samples"
    with pytest.raises(UserError, match="without a discriminator"):
        train_encoder("idinvert", bare, None, replace(KINDS["idinvert"], **FEW), tmp_path / "i")


def test_an_encoder_may_see_damaged_pictures_and_aims_at_the_clean_ones(
    prior, source, tmp_path: Path, monkeypatch
) -> None:
    seen, passes = [], encoders.encoder_passes
    noting = lambda players, *rest: seen.append(rest[:2]) or passes(players, *rest)  # noqa: E731
    monkeypatch.setattr(encoders, "encoder_passes", noting)
    plan = replace(KINDS["psp"], task="superres:4", n_steps=1, batch=4)
    train_encoder("psp", prior, source, plan, tmp_path, precision="fp32")
    small = torch.nn.functional.interpolate(seen[0][0], size=(8, 8), mode="area")
    clean = torch.nn.functional.interpolate(seen[0][1], size=(8, 8), mode="area")
    assert seen[0][0].shape == seen[0][1].shape
    assert not torch.allclose(*seen[0], atol=0.2)
    assert float((small - clean).abs().mean()) < 0.2


@pytest.mark.parametrize("kind", PAIRS)
def test_an_encoder_of_pairs_sees_one_picture_and_draws_the_other(
    kind: str, prior, tmp_path: Path, monkeypatch
) -> None:
    seen, passes = [], encoders.encoder_passes
    noting = lambda players, *rest: seen.append(rest[:2]) or passes(players, *rest)  # noqa: E731
    monkeypatch.setattr(encoders, "encoder_passes", noting)
    source = pair_source("car", kind, 6, SIZE, tmp_path / "run")
    plan = replace(KINDS["psp"], task=kind, n_steps=2, batch=4)
    path = train_encoder("psp", prior, source, plan, tmp_path / "run", precision="fp32")
    given, wanted = (to_float(pixels) for pixels in render_pairs("car", [FIRST_SEED + i for i in range(6)], SIZE, kind))
    for one, other in zip(*seen[0], strict=True):
        index = int((given - one).abs().mean((1, 2, 3)).argmin())
        assert torch.equal(given[index], one)
        assert torch.equal(wanted[index], other)
    open_encoder(str(path), prior, kind)
    with pytest.raises(UserError, match=f"trained for {kind}, not for pictures as they are"):
        open_encoder(str(path), prior)
    plain = train_encoder("psp", prior, None, replace(KINDS["psp"], **FEW), tmp_path / "plain", precision="fp32")
    with pytest.raises(UserError, match=f"not for {kind}.* task={kind}"):
        open_encoder(str(plain), prior, kind)
    with pytest.raises(UserError, match="alone learn from pairs"):
        train_encoder("psp", prior, None, plan, tmp_path / "none")


def test_the_loss_falls(prior, tmp_path: Path) -> None:
    plan = EncoderPlan(n_steps=40, batch=4, lr=5e-3)
    train_encoder("psp", prior, None, replace(plan, n_steps=1), tmp_path / "one", precision="fp32")
    train_encoder("psp", prior, None, plan, tmp_path / "many", precision="fp32")
    first, last = logged(tmp_path / "one"), logged(tmp_path / "many")
    assert last["pixel"] + last["feature"] < 0.9 * (first["pixel"] + first["feature"])


def test_an_encoder_of_another_generator_or_none_is_one_sentence(prior, source, tmp_path: Path) -> None:
    path = train_encoder("psp", prior, source, replace(KINDS["psp"], **FEW), tmp_path, precision="fp32")
    other = tiny_generator(seed=5).prior
    with pytest.raises(UserError, match=r"trained for another generator.*train-encoder"):
        open_encoder(str(path), other)
    with pytest.raises(UserError, match="train-encoder --kind psp"):
        open_encoder("psp", prior)


def test_the_hash_is_the_generator_s_alone() -> None:
    first, again, other = (tiny_generator(seed).prior.generator for seed in (0, 0, 1))
    assert generator_hash(first) == generator_hash(again) != generator_hash(other)
    first.mapping.w_avg.add_(1.0)  # it makes no picture
    assert generator_hash(first) == generator_hash(again)
    first.half().float()  # packs store half precision
    assert generator_hash(first) == generator_hash(again)
    first.synthesis.b4.conv1.bias.data.add_(0.1)
    assert generator_hash(first) != generator_hash(again)
