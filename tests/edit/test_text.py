"""Edits by sentences: what is said of objects, a toy pair that has to learn it, and latents that follow."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gan2shape import api_edit
from gan2shape.build import captions
from gan2shape.build.attribute_images import AttributePairs
from gan2shape.build.captions import LIGHTS, PALETTE_LAB, Facts, facts_of, named_colour, named_light, sentence
from gan2shape.build.text_pair import TextPlan, agreement, measure_text_pair, train_text_pair, truths
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.edit.script_pair import read_tokens, script_asking
from gan2shape.edit.text import asking, open_text_pair, sentence_of, text_offset, train_mapper
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.latent_mapper import LatentMapper
from gan2shape.nn.text_pair import TextPair, TextPairConfig
from gan2shape.prior.packs import Origin
from gan2shape.synth.registry import get_category
from tests.shape.tiny import SIZE, tiny_generator

CARS = get_category("car")
PAINTED = 16  # pixels a side of the pictures that the pair learns from
RGB = {"red": (200, 30, 30), "blue": (30, 60, 190), "green": (40, 130, 40), "white": (240, 240, 240)}


def painted(n: int, seed: int = 0) -> AttributePairs:
    """'Cars' whose pictures are one colour, with a brighter side where the light is; styles are stripes."""
    rng = np.random.default_rng(seed)
    names = rng.choice(list(RGB), n)
    style = rng.integers(0, len(CARS.styles), n)
    light = np.zeros((n, 2, 4), np.float32)
    light[..., 2] = rng.choice([-0.8, 0.8], (n, 2))
    images = np.empty((n, 2, PAINTED, PAINTED, 3), np.uint8)
    for i in range(n):
        for k in range(2):
            picture = np.tile(np.array(RGB[names[i]], float), (PAINTED, PAINTED, 1))
            picture[:: style[i] + 2] *= 0.3
            half = slice(0, PAINTED // 2) if light[i, k, 2] < 0 else slice(PAINTED // 2, PAINTED)
            picture[:, half] = picture[:, half] * 0.5 + 120
            images[i, k] = picture.clip(0, 255)
    lab = torch.tensor([PALETTE_LAB[name] for name in names])
    return AttributePairs(images, torch.zeros(n, 2), torch.from_numpy(light), lab, torch.from_numpy(style))


def test_colours_and_lights_have_the_names_that_people_give_them() -> None:
    assert [list(PALETTE_LAB)[i] for i in named_colour(torch.tensor(list(PALETTE_LAB.values())))] == list(PALETTE_LAB)
    from gan2shape.build.attribute_images import _lab

    lab = _lab(torch.tensor(list(RGB.values())) / 255)
    assert [list(PALETTE_LAB)[i] for i in named_colour(lab)] == list(RGB)
    slopes = torch.tensor([[-0.8, 0.1], [0.8, 0.1], [0.1, -0.8], [0.1, 0.8], [0.1, 0.1]])
    directions = torch.cat([torch.full((5, 2), 0.5), slopes], 1)
    assert [LIGHTS[i] for i in named_light(directions)] == ["left", "right", "above", "below", "front"]


def test_a_sentence_says_what_it_is_asked_to_say() -> None:
    facts = Facts(*(torch.tensor([i]) for i in (4, 0, 0)), styles=CARS.styles, subject="car")
    row, style = facts.table[0], CARS.styles[0].lower()
    assert sentence(facts, row) == f"a blue {style} lit from the left"
    assert sentence(facts, row, (True, False, False)) == "a blue car"
    assert sentence(facts, row, (False, True, True)) == f"a {style} lit from the left"
    assert set(sentence(facts, row).split()) <= set(facts.words())
    assert sentence_of(("colour=blue", f"body={style}", "light=left")) == f"a blue {style} lit from the left"
    with pytest.raises(UserError, match="NAME=VALUE"):
        sentence_of(("blue",))


def test_a_sentence_is_true_of_every_object_that_it_fits() -> None:
    facts = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 0, 0]])
    said = torch.tensor([[True, False, False], [True, True, True], [False, True, False]])
    expected = [[True, True, False], [False, True, False], [True, False, True]]
    assert truths(facts, said).tolist() == expected


def test_the_contrast_is_least_where_right_answers_stand_out() -> None:
    is_true = torch.tensor([[True, False], [False, True]])
    cold = torch.tensor(-3.0)
    right, wrong = (agreement(m, is_true, cold) for m in (torch.eye(2), 1 - torch.eye(2)))
    assert float(right) < 1e-6 < 1.0 < float(wrong)
    shared = agreement(torch.zeros(2, 2), torch.ones(2, 2) > 0, cold)  # all are right: nothing to tell apart
    assert float(shared) == pytest.approx(np.log(2), abs=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = TextPlan(n_steps=80, batch=32, lr=3e-3)
    return train_text_pair(CARS, painted(200), plan, tmp_path_factory.mktemp("text"))


def test_the_pair_tells_combinations_that_were_never_said(trained: Path) -> None:
    pair = open_text_pair(trained, tiny_generator().prior)
    measured = measure_text_pair(pair, CARS, painted(200, seed=1))
    assert measured["n"] > 20
    assert measured["accuracy"] > 3 * measured["chance"]
    assert measured["colour_accuracy"] > 0.8


def test_held_out_combinations_are_never_shown(tmp_path: Path, monkeypatch) -> None:
    facts, seen = facts_of(CARS, painted(60)), []
    assert 0 < int(facts.is_held_out.sum()) < len(facts.colour) / 2
    said = captions.sentence
    noting = lambda f, row, some: seen.append(row) or said(f, row, some)  # noqa: E731
    monkeypatch.setattr("gan2shape.build.text_pair.sentence", noting)
    train_text_pair(CARS, painted(60), TextPlan(n_steps=6, batch=32), tmp_path)
    held = {tuple(row.tolist()) for row in facts.table[facts.is_held_out]}
    assert len(seen) == 6 * 32
    assert not held & {tuple(row.tolist()) for row in seen}


def test_words_outside_the_vocabulary_name_near_ones(trained: Path) -> None:
    pair = open_text_pair(trained, tiny_generator().prior)
    with pytest.raises(UserError, match="did you mean blue"):
        pair.tokens("a bleu van")
    with pytest.raises(UserError, match="no words"):
        pair.tokens("?!")
    with pytest.raises(UserError, match="train-text"):
        open_text_pair(trained.with_name("gone.safetensors"), tiny_generator().prior)


def pair_for(prior) -> TextPair:
    """An untrained pair: something to follow."""
    trunk = DiscriminatorConfig(resolution=SIZE, channels=(8, 8, 8, 8), unshuffle=False)
    return TextPair(TextPairConfig(trunk, ("a", "blue", "red"))).requires_grad_(False)


def test_a_latent_follows_the_sentence_and_stays_nearer_where_that_is_asked() -> None:
    prior = tiny_generator().prior
    pair, latent = pair_for(prior), prior.w_mean[None]
    asks = asking("a blue", pair)
    before = asks(prior.generator.synthesis(latent))
    offsets = {locality: text_offset(asks, latent, prior, locality, 40) for locality in (0.0, 0.3, 30.0)}
    after = {k: asks(prior.generator.synthesis(latent[:, None] + offset)) for k, offset in offsets.items()}
    assert float(after[0.0]) < float(before) - 0.02
    lengths = [float(offset.norm()) for offset in offsets.values()]
    assert lengths[0] > 1.1 * lengths[1] > 1.5 * lengths[2]
    assert float(after[0.0]) <= float(after[30.0])


def test_a_mapper_adds_nothing_at_first_and_then_moves_any_latent() -> None:
    prior = tiny_generator().prior
    pair = pair_for(prior)
    rows = torch.randn(4, prior.generator.n_layers, prior.generator.config.w_dim)
    assert not LatentMapper(prior.generator.n_layers, prior.generator.config.w_dim)(rows).any()
    asks = asking("a blue", pair)
    mapper = train_mapper(asks, prior, locality=0.0, n_steps=40)
    z = torch.randn(16, prior.generator.config.z_dim, generator=torch.Generator().manual_seed(9))
    unseen = prior.generator.mapping(z)[:, None].expand(-1, prior.generator.n_layers, -1)
    before, after = (asks(prior.generator.synthesis(w)).mean() for w in (unseen, unseen + mapper(unseen)))
    assert float(after) < float(before) - 0.002
    changed = mapper(unseen)[:, 0]
    other = unseen.clone()
    other[:, 1:] += 1.0
    torch.testing.assert_close(mapper(other)[:, 0], changed)  # each row by itself


def test_a_pair_says_what_it_is(trained: Path) -> None:
    from gan2shape.core.network_files import read_network_card

    card = read_network_card(trained)
    assert card["kind"] == "toy text pair"
    assert "clip" not in json.dumps(card).lower()
    assert card["plan"]["n_steps"] == 80


class PictureLookAlike(torch.nn.Module):
    """The mean colour, as a vector."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


class SentenceLookAlike(torch.nn.Module):
    """The first token's unit vector."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(tokens[:, 0], 3).float()


@pytest.fixture
def scripts(tmp_path: Path) -> tuple[Path, Path, Path]:
    files = tmp_path / "pictures.pt", tmp_path / "sentences.pt", tmp_path / "tokens.npy"
    for path, module in zip(files, (PictureLookAlike(), SentenceLookAlike()), strict=False):
        torch.jit.save(torch.jit.script(module), path)
    np.save(files[2], np.array([2, 0, 0]))
    page = {"size": 24, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    files[0].with_suffix(".json").write_text(json.dumps(page))
    return files


def test_networks_of_one_s_own_ask_for_what_the_tokens_say(scripts: tuple[Path, Path, Path]) -> None:
    asks = script_asking(*scripts[:2], read_tokens(scripts[2]))
    colours = torch.tensor([[-1.0, -1.0, 1.0], [1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    found = asks(colours[:, :, None, None].expand(-1, -1, 16, 16))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 1.0 - 3**-0.5]))
    prior = tiny_generator().prior
    offset = text_offset(asks, prior.w_mean[None], prior, 0.0, 30)
    before, after = (asks(prior.generator.synthesis(prior.w_mean[None, None] + o)) for o in (0 * offset, offset))
    assert float(after) < float(before)


def test_networks_that_do_not_fit_are_one_sentence(scripts: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pictures, sentences, tokens = scripts
    np.save(tmp_path / "words.npy", np.array(["a"]))
    for files, words in (
        ((sentences, sentences, tokens), "belongs here"),
        ((tokens, sentences, tokens), "no TorchScript module"),
        ((pictures, sentences, tmp_path / "words.npy"), "whole numbers"),
        ((pictures, sentences, tmp_path / "none.npy"), "no .npy file"),
        ((tmp_path / "none.pt", sentences, tokens), "is not a file"),
    ):
        with pytest.raises(UserError, match=words):
            script_asking(*files[:2], read_tokens(files[2]))


def test_a_category_of_which_too_little_can_be_said_is_refused(monkeypatch, tmp_path: Path) -> None:
    """Of cars 275 combinations are counted as they are held out of pictures; of heads there is the light alone."""
    captions.require_enough_to_say(CARS)
    for name in ("head", "building"):
        with pytest.raises(UserError, match="make 5 combinations, of which 1 would be held out"):
            captions.require_enough_to_say(get_category(name))
    every = [(c, s, k) for c in range(len(PALETTE_LAB)) for s in range(len(CARS.styles)) for k in range(len(LIGHTS))]
    n = sum((3 * c + 5 * s + k) % captions.HELD_OUT_EVERY == 0 for c, s, k in every)
    monkeypatch.setattr(captions, "FEWEST_HELD_OUT", n)
    captions.require_enough_to_say(CARS)
    monkeypatch.setattr(captions, "FEWEST_HELD_OUT", n + 1)
    with pytest.raises(UserError, match=f"make {len(every)} combinations, of which {n} would"):
        captions.require_enough_to_say(CARS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    for name, words in (("head", "write --light-from left"), ("car", "train-text --category car")):
        with pytest.raises(UserError, match=words):
            open_text_pair(None, replace(tiny_generator().prior, origin=Origin(name)))


@pytest.mark.parametrize(
    "words",
    [
        ("RUN", "--set", "colour=red", "body=pickup"),
        ("RUN", "--set", "colour=red", "--set", "body=pickup"),
        ("--set", "colour=red", "RUN", "body=pickup"),
    ],
)
def test_settings_follow_one_another_or_are_repeated(words: tuple[str, ...], monkeypatch, tmp_path: Path) -> None:
    asked = []

    def note(request: api_edit.EditRequest, report: object) -> None:
        asked.append(request)
        raise UserError("noted")

    monkeypatch.setattr(api_edit, "edit", note)
    CliRunner().invoke(app, ["edit", *words, "--out", str(tmp_path / "out")])
    assert [(str(request.source), request.words) for request in asked] == [("RUN", ("colour=red", "body=pickup"))]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("RUN", "body=pickup"), "'body=pickup' belongs to --set: write --set body=pickup"),
        (("RUN", "OTHER"), "'OTHER' is no NAME=VALUE: name one run or picture"),
        (("RUN", "--set", "colour=red", "body="), "'body=' is no NAME=VALUE"),
    ],
)
def test_other_words_after_a_run_are_refused(words: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["edit", *words, "--out", str(tmp_path / "out")])
    assert (refused.exit_code, sentence in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "out").exists()
