"""What refusals of trained networks name: a command that makes the one that is asked for, where it is then found."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gan2shape.build import encoders as encoder_training
from gan2shape.build.restorers import KINDS, new_restorer, restorer_config
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.nn.picture_networks import PictureConfig, build_picture_network
from gan2shape.nn.restorers import RESTORERS
from gan2shape.prior import encoders, identity
from gan2shape.prior.encoders import open_encoder, save_encoder
from gan2shape.prior.identity import generator_hash
from gan2shape.prior.packs import Origin, load_pack
from gan2shape.restoration import feedforward
from gan2shape.restoration.feedforward import open_restorer, save_restorer
from gan2shape.restoration.networks import open_network
from gan2shape.restoration.picture_restorers import save_picture_network
from gan2shape.restoration.tasks import Damage, parse_damage
from tests.restoration.test_cli import photo
from tests.shape.tiny import SIZE, tiny_generator, with_encoder
from tests.tiny_pack import write_tiny_pack

GENERATOR = Origin("head", Path("my packs/mine.pt"), 2)


@pytest.fixture(scope="module")
def prior():
    return replace(with_encoder(tiny_generator()).prior, origin=Origin("head"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked for in `tmp_path`: shipped ones in `shipped`, trained ones in `runs`."""
    monkeypatch.chdir(tmp_path)
    for module in (identity, feedforward):
        monkeypatch.setattr(module, "pack_folder", lambda prior: Path("shipped"))


def encoder_at(path: str, prior, **card) -> Path:
    made = encoder_training.new_encoder(prior, encoder_training.KINDS["psp"])
    return save_encoder(Path(path), made, {"kind": "psp", **card})


def restorer_at(path: str, prior, kind: str = "gpen", task: str = "blind", marked: float = 0.0) -> Path:
    network = new_restorer(kind, prior, replace(KINDS[kind], task=task))
    with torch.no_grad():
        next(network.parameters()).fill_(marked)
    return save_restorer(Path(path), network, {"kind": kind})


def command_in(error: pytest.ExceptionInfo) -> list[str]:
    """The words of the command that a sentence names."""
    return shlex.split(str(error.value).split("`")[1])


def test_kinds_are_those_that_can_be_trained() -> None:
    assert set(encoders.KINDS) == {*encoder_training.KINDS, "alae"}
    assert set(KINDS) == set(RESTORERS)


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        (Origin("head"), ["--category", "head"]),
        (GENERATOR, ["--generator", "my packs/mine.pt", "--category", "head", "--class", "2"]),
    ],
)
def test_a_missing_network_s_remedy_names_its_prior(prior, origin: Origin, named: list[str]) -> None:
    one = replace(prior, origin=origin)
    with pytest.raises(UserError) as missing:
        open_encoder("encoder:psp", one)
    assert command_in(missing) == ["gan2shape", "train-encoder", "--kind", "psp", *named]
    images = [] if origin.generator is None else ["--data", "IMAGES"]
    for method, kind in (("glean", "glean"), ("srgan", "srgan"), ("srresnet", "srgan")):
        with pytest.raises(UserError) as missing:
            open_restorer(method, Damage("superres", 8.0), one)
        words = ["gan2shape", "train-restorer", "--kind", kind, *named, "--task", "superres:8", *images]
        assert command_in(missing) == words
    with pytest.raises(UserError) as missing:
        open_restorer("gpen", Damage("denoise"), one)
    assert command_in(missing)[2:] == ["--kind", "gpen", *named, *images]


def test_a_network_is_found_where_the_remedy_leaves_it(prior) -> None:
    """For a category and for a generator: `train-encoder` names its folder by the file."""
    for origin, folder in ((Origin("head"), "runs/psp-head"), (GENERATOR, "runs/psp-mine")):
        one = replace(prior, origin=origin)
        path = encoder_at(f"{folder}/psp.safetensors", one)
        assert torch.equal(open_encoder("psp", one).w_mean.half(), prior.w_mean.half()), path


def test_every_refusal_of_a_file_names_its_kind(prior) -> None:
    psp = encoder_at("runs/e/anything.safetensors", prior, kind="e4e")
    gfpgan = restorer_at("runs/r/anything.safetensors", prior, "gfpgan")
    other = replace(tiny_generator(5).prior, origin=Origin("head"))
    with pytest.raises(UserError, match="another generator") as wrong:
        open_encoder(str(psp), other)
    assert command_in(wrong) == ["gan2shape", "train-encoder", "--kind", "e4e", "--category", "head"]
    with pytest.raises(UserError, match="another generator") as wrong:
        open_restorer(str(gfpgan), Damage("blind"), other)
    assert command_in(wrong) == ["gan2shape", "train-restorer", "--kind", "gfpgan", "--category", "head"]
    for path in ("runs/here/idinvert.safetensors", "runs/here/some.safetensors"):
        with pytest.raises(UserError) as missing:
            open_encoder(path, prior)
        made = ["--kind", "idinvert", "--category", "head", "--out", "runs/here"]
        assert command_in(missing)[2:] == (made if "idinvert" in path else ["--kind", "psp", "--category", "head"])
    with pytest.raises(UserError, match="unknown encoder 'psb'; did you mean psp"):
        open_encoder("encoder:psb", prior)


def test_a_trained_file_that_serves_is_taken_in_the_place_of_one_that_does_not(prior) -> None:
    shipped = restorer_at("shipped/restorer-gpen.safetensors", prior, marked=1.0)
    colours = restorer_at("runs/gpen-head/gpen.safetensors", prior, task="colorize", marked=2.0)
    eight = restorer_at("runs/gpen-head-2/gpen.safetensors", prior, task="superres:2", marked=3.0)
    assert {path.is_file() for path in (shipped, colours, eight)} == {True}
    for damage, mark in ((Damage("blind"), 1.0), (Damage("colorize"), 2.0), (Damage("denoise"), 1.0)):
        assert float(next(open_restorer("gpen", damage, prior).network.parameters()).flatten()[0]) == mark
    shipped.unlink()
    assert float(next(open_restorer("gpen", parse_damage("superres:2"), prior).network.parameters()).flatten()[0]) == 3
    with pytest.raises(UserError, match="trained for colorize, not for inpaint") as wrong:
        open_restorer("gpen", Damage("inpaint"), prior)
    assert command_in(wrong)[4:] == ["--category", "head", "--task", "inpaint", "--out", "runs/gpen-head-3"]
    encoder_at("shipped/encoder-psp.safetensors", prior)
    with pytest.raises(UserError, match="not for frontal") as wrong:
        open_encoder("psp", prior, "frontal")
    assert command_in(wrong)[2:] == ["--kind", "psp", "--category", "head", "task=frontal"]
    encoder_at("runs/psp-head/psp.safetensors", prior, pairs="frontal")
    open_encoder("psp", prior, "frontal")
    open_encoder("psp", prior)


def test_another_factor_is_trained_by_the_remedy(prior) -> None:
    config = restorer_config("glean", prior, replace(KINDS["glean"], task="superres:2"))
    assert config.task == "superres:2"
    restorer_at("runs/glean-head/glean.safetensors", prior, "glean", "superres:2")
    small = PictureConfig("srresnet", SIZE, factor=2, width=8, n_blocks=1)
    save_picture_network(Path("runs/srgan-head/srgan.safetensors"), build_picture_network(small), {"network": "srgan"})
    for method in ("glean", "srgan"):
        with pytest.raises(UserError, match="trained for superres:2, not for superres:4") as wrong:
            open_restorer(method, Damage("superres", 4.0), prior)
        assert command_in(wrong)[6:] == ["--task", "superres:4", "--out", f"runs/{method}-head-2"]
        open_restorer(method, Damage("superres", 2.0), prior)
    with pytest.raises(UserError, match="GLEAN enlarges pictures"):
        open_restorer("glean", Damage("colorize"), prior)
    with pytest.raises(UserError, match="not for colorize: name another --method"):
        open_restorer("srgan", Damage("colorize"), prior)


def test_an_encoder_that_was_trained_with_its_generator_names_that(prior) -> None:
    own = tiny_generator(5).prior
    path = encoder_at("runs/alae-head/alae.safetensors", with_encoder(tiny_generator(5)).prior, kind="alae")
    (path.parent / "pack").mkdir()
    with pytest.raises(UserError, match=generator_hash(own.generator)) as wrong:
        open_encoder("alae", prior)
    assert "give its own with `--generator runs/alae-head/pack`, and encoder:runs/alae-head/alae" in str(wrong.value)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["run", "--generator", "packs/none"], "or make a pack there with `gan2shape build car --out packs/none`"),
        (
            ["restore", "a.png", "--generator", "packs/none", "--category", "head"],
            "or make a pack there with `gan2shape build head --out packs/none`",
        ),
        (["restore", "a.png", "--generator", "none.pkl"], "--generator none.pkl does not exist: check the path."),
        (["swap", "a.png", "--to", "b", "--generator", "packs/none"], "which `gan2shape train --labels` and then"),
    ],
)
def test_a_generator_that_is_not_there_is_named_with_what_makes_one(words: list[str], remedy: str) -> None:
    photo(Path("a.png"), SIZE, SIZE)
    refused = CliRunner().invoke(app, words)
    assert (refused.exit_code, remedy in refused.stderr) == (2, True), refused.stderr


def test_a_feature_network_that_is_not_there_says_what_would_do() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    for path, kind in (("none.pt", "TorchScript module"), ("none.pth", "state dict of EfficientNet-Lite0")):
        with pytest.raises(UserError, match=f"{path} is not a file: give a {kind}"):
            open_network(path, SIZE)


def test_an_opened_prior_knows_how_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan2shape.prior.open import open_prior

    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    pack = write_tiny_pack(tmp_path / "packs", "car", SIZE)
    assert open_prior(None, pack, device="cpu")[0].prior.origin == Origin("car", pack)
    assert load_pack(pack).origin == Origin()
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(pack.parent))
    assert open_prior("car", device="cpu")[0].prior.origin == Origin("car")
