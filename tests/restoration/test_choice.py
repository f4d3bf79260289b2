"""Who restores, by what is written; blind damages; and encoders that give optimisers their start."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gan2shape.cli import app
from gan2shape.core.config import InvertConfig
from gan2shape.core.errors import UserError
from gan2shape.nn.latent_encoder import LatentEncoder, LatentEncoderConfig
from gan2shape.prior.encoders import save_encoder
from gan2shape.prior.identity import generator_hash, pack_folder, trained_file
from gan2shape.prior.packs import load_pack
from gan2shape.restoration.blind import MOST_SEVERE, damaged, of_severity
from gan2shape.restoration.choice import chosen
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import Damage
from gan2shape.shape.inversion import invert
from tests.restoration.test_cli import SIZE, photo
from tests.tiny_pack import write_tiny_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_pack(tmp_path_factory.mktemp("pack"), "car", SIZE)


@pytest.fixture(scope="module")
def encoder_file(pack: Path) -> Path:
    """An encoder for the pack's generator whose rows are all the same and not the mean."""
    prior = load_pack(pack)
    config = LatentEncoderConfig(prior.discriminator.config, prior.generator.n_layers, 8, "flat+",
                                 generator=generator_hash(prior.generator))  # fmt: skip
    encoder = LatentEncoder(config).requires_grad_(False)
    encoder.w_mean.copy_(prior.w_mean)
    encoder.head.out.bias.copy_(torch.linspace(-1, 1, len(encoder.head.out.bias)))
    return save_encoder(pack / "encoder-mine.safetensors", encoder, {"kind": "mine"})


def test_names_are_methods_restorers_or_encoders() -> None:
    assert chosen("brgm", "inpaint").method.space == "W+"
    assert chosen("gpen", "blind").method == "gpen"
    assert chosen("some/file.safetensors", "blind").method == "some/file.safetensors"
    alone = chosen("encoder:psp", "reconstruct")
    assert (alone.encoder, alone.method.steps_factor, alone.method.space) == ("encoder:psp", 0.0, "W+")
    assert chosen("wplus@mean", "reconstruct").method.start.kind == "mean"
    begun = chosen("wplus@encoder:psp", "reconstruct")
    assert (begun.encoder, begun.method) == ("encoder:psp", chosen("wplus", "reconstruct").method)


@pytest.mark.parametrize(("text", "words"), [("wplus@middle", "unknown start"), ("gpen@mean", "has no start")])
def test_starts_that_are_none_are_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        chosen(text, "blind")


def test_an_encoder_gives_the_rows_and_the_start(pack: Path, encoder_file: Path) -> None:
    prior = load_pack(pack)
    images, name = torch.rand(2, 3, SIZE, SIZE), f"encoder:{encoder_file}"
    choice = chosen(name, "reconstruct")
    encoder = choice.opened_encoder(prior)
    alone = restore_images(images, Damage("reconstruct"), choice.method, prior, encoder=encoder)
    rows = encoder(images)
    torch.testing.assert_close(alone.solved.w, rows)
    torch.testing.assert_close(alone.solved.image, prior.generator.synthesis(rows))
    begun = replace(chosen(f"wplus@{name}", "reconstruct").method, steps_factor=0.01)
    one = restore_images(images, Damage("reconstruct"), begun, prior, encoder=encoder)
    assert one.solved.n_steps == 3
    assert 0 < float((one.solved.w - rows).abs().max()) < 0.2  # three steps of .05 from the encoder's rows


def test_the_shape_half_begins_at_an_encoder_s_rows_too(pack: Path, encoder_file: Path) -> None:
    prior, images = load_pack(pack), torch.rand(2, 3, SIZE, SIZE)
    rows = chosen(f"encoder:{encoder_file}", "reconstruct").opened_encoder(prior)(images)
    found = invert(images, prior, InvertConfig(n_steps=0, encoder=str(encoder_file)))
    torch.testing.assert_close(found.latent, rows.mean(1))
    assert not torch.allclose(found.latent, invert(images, prior, InvertConfig(n_steps=0)).latent)


def test_the_cycle_of_a_given_encoder_is_zero_on_its_own_rows(pack: Path, encoder_file: Path) -> None:
    from gan2shape.invert.method import TermConfig
    from gan2shape.invert.spaces import Made
    from gan2shape.invert.terms import TERMS, Candidate, Comparison

    prior = load_pack(pack)
    encoder = chosen(f"encoder:{encoder_file}", "reconstruct").opened_encoder(prior)
    image = torch.rand(2, 3, SIZE, SIZE)
    term, settings = TERMS["encoder_cycle"], TermConfig("encoder_cycle")
    for rows, is_zero in ((encoder(image), True), (encoder(image) + 1.0, False)):
        candidate = Candidate(Made(image, rows), image)
        found = term(candidate, Comparison(prior, {}, {}, reader=encoder), settings)
        assert bool((found < 1e-10).all()) == is_zero
        assert not bool((term(candidate, Comparison(prior, {}, {}), settings) < 1e-10).any())  # the pack's reads others


def test_the_command_inverts_by_an_encoder_and_starts_a_method_from_it(
    pack: Path, encoder_file: Path, tmp_path: Path
) -> None:
    path = photo(tmp_path / "photo.png", SIZE, SIZE)
    name, common = f"encoder:{encoder_file}", ["--generator", str(pack), "--json", "--out"]
    calls = {"a": ["--space", name], "b": ["--space", "W", "--start", name, "--steps", "2"],
             "c": ["--space", "W", "--start", "mean", "--steps", "2"]}  # fmt: skip
    for call, words in calls.items():
        out = tmp_path / call
        result = CliRunner().invoke(app, ["invert", str(path), *words, *common, str(out)])
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout.splitlines()[-1])["verb"] == "invert"
        assert (out / "latent.npz").is_file()
    missing = CliRunner().invoke(app, ["invert", str(path), "--space", "encoder:psp", "--generator", str(pack)])
    assert missing.exit_code == 2
    assert "train-encoder --kind psp" in missing.stderr


def test_the_command_trains_an_encoder_that_the_command_then_uses(pack: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "trained", photo(tmp_path / "photo.png", SIZE, SIZE)
    words = ["train-encoder", "--kind", "e4e", "--generator", str(pack), "--out", str(out), "n_steps=2", "batch=2"]
    made = CliRunner().invoke(app, [*words, "--json"])
    assert made.exit_code == 0, made.stderr
    file = json.loads(made.stdout.splitlines()[-1])["files"]["encoder"]
    used = ["invert", str(path), "--space", f"encoder:{file}", "--generator", str(pack), "--out", str(tmp_path / "o")]
    assert CliRunner().invoke(app, used).exit_code == 0
    where = ["--generator", str(pack), "--out", str(tmp_path / "n")]
    for bad, sentence in ((["--kind", "pspp"], "did you mean psp"), (["n_step=3"], "did you mean n_steps")):
        refused = CliRunner().invoke(app, ["train-encoder", *bad, *where])
        assert (refused.exit_code, sentence in refused.stderr) == (2, True), refused.stderr
    bare = ["train-restorer", "--kind", "gpen", "--generator", str(pack), "--out", str(tmp_path / "r")]
    assert "give a folder of shards" in CliRunner().invoke(app, bare).stderr


def test_severity_grows_and_pictures_keep_their_size() -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    errors = []
    for severity in (0.5, 1.0, 2.0, 3.0, MOST_SEVERE):
        seen = of_severity(severity).observe(images, torch.Generator().manual_seed(0))
        assert seen.shape == images.shape
        errors.append(float((seen - images).abs().mean()))
    assert errors == sorted(errors)
    drawn = damaged(images, torch.Generator().manual_seed(0))
    assert drawn.shape == images.shape
    assert float(drawn.abs().max()) <= 1.0
    for bad in (0.0, 4.5):
        with pytest.raises(UserError, match="severity"):
            of_severity(bad)


def test_a_network_lies_beside_the_bundled_pack_or_where_it_was_trained(tmp_path: Path, monkeypatch) -> None:
    prior = load_pack(write_tiny_pack(tmp_path, "car", SIZE))
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    assert pack_folder(prior) == tmp_path / "car"
    assert trained_file("psp", prior, "encoder-psp.safetensors") == Path("runs/psp-car/psp.safetensors")
    (tmp_path / "car" / "encoder-psp.safetensors").write_bytes(b"")
    assert trained_file("psp", prior, "encoder-psp.safetensors") == tmp_path / "car" / "encoder-psp.safetensors"
    foreign = replace(prior, card={"checkpoint": "stylegan2-car.pkl"})
    assert trained_file("psp", foreign, "encoder-psp.safetensors") == Path("runs/psp-stylegan2-car/psp.safetensors")


def test_networks_without_a_prior_are_trained_and_used_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command leaves SRResNet and SRGAN where `restore --method srgan` and rows of the benchmark look for them."""
    monkeypatch.chdir(tmp_path)
    pack = write_tiny_pack(tmp_path / "pack", "car", SIZE)
    np.save(tmp_path / "images_0.npy", np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), dtype=np.uint8))
    small = ["batch=2", "n_images=8", "width=8", "n_blocks=1", "n_adversarial_steps=1"]
    common = ["--generator", str(pack), "--json"]
    for kind, steps in (("srgan", ["n_error_steps=1", "--task", "superres:2"]), ("inpaintgan", [])):
        words = ["train-restorer", "--kind", kind, "--data", str(tmp_path), "--out", f"runs/{kind}-car"]
        made = CliRunner().invoke(app, [*words, *common, *small, *steps])
        assert made.exit_code == 0, made.stderr
    big, tiny = photo(tmp_path / "big.png", SIZE, SIZE), photo(tmp_path / "tiny.png", SIZE // 2, SIZE // 2)
    calls = (("superres:2", "srgan", tiny), ("superres:2", "runs/srgan-car/srresnet.safetensors", tiny),
             ("inpaint", "inpaintgan", big))  # fmt: skip
    for number, (task, method, path) in enumerate(calls):
        out = tmp_path / f"out{number}"
        used = CliRunner().invoke(
            app, ["restore", str(path), "--task", task, "--method", method, "--out", str(out), *common]
        )
        assert used.exit_code == 0, used.stderr
        assert (out / "restored.png").is_file()
    wrong = CliRunner().invoke(app, ["restore", str(big), "--task", "colorize", "--method", "srgan", *common])
    assert wrong.exit_code == 2
    assert "was trained for superres:2, not for colorize" in wrong.stderr
    monkeypatch.chdir(pack)
    missing = CliRunner().invoke(app, ["restore", str(tiny), "--task", "superres:2", "--method", "srgan", *common])
    assert missing.exit_code == 2
    assert "make it with `gan2shape train-restorer --kind srgan --generator" in missing.stderr


def test_tasks_that_are_learnt_need_an_encoder_of_their_pairs(pack: Path, encoder_file: Path, tmp_path: Path) -> None:
    prior, images = load_pack(pack), torch.rand(1, 3, SIZE, SIZE)
    path, out = photo(tmp_path / "photo.png", SIZE, SIZE), tmp_path / "out"
    command = ["restore", str(path), "--task", "frontal", "--generator", str(pack), "--out", str(out)]
    for method, words in (([], "psp task=frontal"), (["--method", "dgp"], "is learnt"),
                          (["--method", f"encoder:{encoder_file}"], "not for frontal")):  # fmt: skip
        refused = CliRunner().invoke(app, [*command, *method])
        assert (refused.exit_code, words in refused.stderr) == (2, True), refused.stderr
    encoder = chosen(f"encoder:{encoder_file}", "reconstruct").opened_encoder(prior)
    own = save_encoder(tmp_path / "frontal.safetensors", encoder, {"pairs": "frontal"})
    made = CliRunner().invoke(app, [*command, "--method", f"encoder:{own}", "--draws", "3"])
    assert made.exit_code == 0, made.stderr
    assert (out / "draws.png").is_file()
    assert not (out / "photo.png").exists()  # another view is not pasted into the photo
    numbers = json.loads((out / "metrics.json").read_text())["numbers"]
    assert "data_term" not in numbers
    method = chosen(f"encoder:{own}", "frontal").method
    with pytest.raises(UserError, match="no damage of a picture"):
        restore_images(images, Damage("frontal"), method, prior, degrade=True, encoder=encoder)
