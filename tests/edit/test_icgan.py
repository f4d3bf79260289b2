"""IcGAN: encoders that read z and class, and pictures drawn anew as another class."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gan2shape.build.icgan import IcganPlan, train_icgan
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8, write_png
from gan2shape.edit.icgan import load_icgan, swapped
from gan2shape.nn.icgan import IcganConfig, build_icgan, z_error
from gan2shape.prior.packs import Prior, load_pack, save_pack
from gan2shape.train.image_source import ImageSource, image_source
from tests.train.test_classes import conditional

N, SIZE = 3, 16
PLAN = IcganPlan(n_steps=60, batch=16, n_images=96, flips=False, lr=3e-3)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    return conditional(N)


@pytest.fixture(scope="module")
def shards(prior: Prior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator's own pictures, with their classes."""
    folder = tmp_path_factory.mktemp("shards")
    z, labels = torch.randn(96, 8, generator=torch.Generator().manual_seed(1)), torch.arange(96) % N
    with torch.no_grad():
        images = to_uint8(prior.generator(z, 1.0, "const", labels))
    np.save(folder / "images_0.npy", images)
    np.save(folder / "labels_0.npy", labels.numpy().astype(np.uint8))
    (folder / "shards.json").write_text(json.dumps({"classes": list("abc")}))
    return folder


@pytest.fixture(scope="module")
def source(shards: Path) -> ImageSource:
    return image_source("car", 96, SIZE, shards / "run", data=shards, labelled=True)


@pytest.fixture(scope="module")
def trained(prior: Prior, source: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_icgan(prior, source, PLAN, tmp_path_factory.mktemp("icgan"), precision="fp32")


def test_z_counts_by_its_direction() -> None:
    z = torch.randn(4, 8)
    unit = z / z.square().mean(1, keepdim=True).sqrt()
    assert float(z_error(unit, 3 * z)) == pytest.approx(0.0, abs=1e-10)
    assert float(z_error(-unit, z)) == pytest.approx(4.0, rel=1e-5)


def test_encoders_learn_both(trained: Path, prior: Prior) -> None:
    """Of pictures that they have not seen, classes are read rightly, and z better than by a guess (error 1)."""
    encoders, rng = load_icgan(trained, prior), torch.Generator().manual_seed(9)
    z, labels = torch.randn(48, 8, generator=rng), torch.arange(48) % N
    found, logits = encoders(prior.generator(z, 1.0, "const", labels))
    assert float((logits.argmax(1) == labels).float().mean()) > 0.9
    assert float(z_error(found, z)) < 0.9 * float(z_error(found.roll(1, 0), z))


def test_a_swap_keeps_z_and_draws_each_class(prior: Prior) -> None:
    """With encoders that give the true z the pictures are the generator's own of that z, class by class."""
    torch.manual_seed(2)
    z = torch.randn(1, 8).expand(2, -1)

    class Known(torch.nn.Module):
        config = IcganConfig(SIZE, 8, N)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return z, torch.eye(N)[torch.tensor([2, 0])]

    encoders = build_icgan(Known.config)
    encoders.forward = Known().forward
    made = swapped(torch.zeros(2, 3, SIZE, SIZE), encoders, prior)
    assert made.read.tolist() == [2, 0]
    for label in range(N):
        with torch.no_grad():
            wanted = prior.generator(z[:1], 1.0, "const", torch.tensor([label])).clamp(-1, 1)[0]
        torch.testing.assert_close(made.each[0, label], wanted)
    torch.testing.assert_close(made.same[0], made.each[0, 2])
    torch.testing.assert_close(made.same[1], made.each[1, 0])


def test_another_generator_and_other_classes_are_refused(
    trained: Path, prior: Prior, source: ImageSource, tmp_path: Path
) -> None:
    other = conditional(N)
    with torch.no_grad():
        next(other.generator.parameters()).add_(1.0)
    with pytest.raises(UserError, match="trained for another generator"):
        load_icgan(trained, other)
    with pytest.raises(UserError, match=r"classes are a, b, x, but those of the images a, b, c"):
        train_icgan(replace(prior, card={"classes": ["a", "b", "x"]}), source, PLAN, tmp_path)


def test_the_command_trains_and_swaps(prior: Prior, shards: Path, tmp_path: Path) -> None:
    pack = save_pack(tmp_path / "pack", prior, torch.float32).parent
    words = ["train-encoder", "--kind", "icgan", "--generator", str(pack), "--data", str(shards), "--json"]
    out = tmp_path / "net"
    made = CliRunner().invoke(app, [*words, "--out", str(out), "n_steps=2", "batch=4", "n_images=96"])
    assert made.exit_code == 0, made.stderr
    picture = write_png(tmp_path / "one.png", to_uint8(torch.rand(1, 3, SIZE, SIZE))[0])
    used = ["swap", str(picture), "--generator", str(pack), "--network", str(out), "--json", "--out"]
    result = CliRunner().invoke(app, [*used, str(tmp_path / "swapped"), "--to", "b"])
    assert result.exit_code == 0, result.stderr
    assert set(json.loads(result.stdout.splitlines()[-1])["files"]) == {"swapped", "sheet", "metrics"}
    for bad, sentence in ((["--to", "d"], "no class 'd': give one of a, b, c"), (["--to", "3"], "no class '3'")):
        refused = CliRunner().invoke(app, [*used, str(tmp_path / "x"), *bad])
        assert (refused.exit_code, sentence in refused.stderr) == (2, True), refused.stderr


def test_a_folder_becomes_a_folder_for_each_picture(trained: Path, prior: Prior, tmp_path: Path) -> None:
    """Each is what it is alone; a file that cannot be read is passed over, and of two of one name none is written."""
    pack = save_pack(tmp_path / "pack", prior, torch.float32).parent
    photos, rng = tmp_path / "photos", torch.Generator().manual_seed(3)
    photos.mkdir()
    for name in ("a", "b", "c"):
        write_png(photos / f"{name}.png", to_uint8(torch.rand(1, 3, SIZE, SIZE, generator=rng) * 2 - 1)[0])
    (photos / "broken.png").write_bytes(b"no picture")
    used = ["--generator", str(pack), "--network", str(trained.parent), "--to", "b", "--json", "--out"]
    many = CliRunner().invoke(app, ["swap", str(photos), *used, str(tmp_path / "many")])
    assert many.exit_code == 0, many.stderr
    assert "Passed over" in many.stderr
    files = json.loads(many.stdout.splitlines()[-1])["files"]
    assert set(files) == {f"{name}/{what}" for name in "abc" for what in ("swapped", "sheet", "metrics")}
    for name in "abc":
        alone = CliRunner().invoke(app, ["swap", str(photos / f"{name}.png"), *used, str(tmp_path / name)])
        assert alone.exit_code == 0, alone.stderr
        one, among = tmp_path / name, tmp_path / "many" / name
        assert (one / "metrics.json").read_text() == (among / "metrics.json").read_text()
        for file in ("swapped.png", "before_after.png"):
            pixels = [np.asarray(Image.open(folder / file)).astype(int) for folder in (one, among)]
            assert np.abs(pixels[0] - pixels[1]).max() <= 1  # a batch may round otherwise
    (tmp_path / "other").mkdir()
    twin = write_png(tmp_path / "other" / "a.png", to_uint8(torch.zeros(1, 3, SIZE, SIZE))[0])
    refused = CliRunner().invoke(app, ["swap", str(photos), str(twin), *used, str(tmp_path / "x")])
    assert (refused.exit_code, "the same name" in refused.stderr) == (2, True), refused.stderr
    kept = write_png(tmp_path / "kept" / "swapped.png", to_uint8(torch.zeros(1, 3, SIZE, SIZE))[0])
    refused = CliRunner().invoke(app, ["swap", str(kept), *used, str(kept.parent)])
    assert (refused.exit_code, "would be replaced" in refused.stderr) == (2, True), refused.stderr


def test_a_pack_without_classes_says_what_to_do(tmp_path: Path) -> None:
    from tests.tiny_pack import write_tiny_pack

    pack = write_tiny_pack(tmp_path, "car", SIZE)
    assert not load_pack(pack).generator.config.n_classes
    picture = write_png(tmp_path / "one.png", to_uint8(torch.rand(1, 3, SIZE, SIZE))[0])
    refused = CliRunner().invoke(app, ["swap", str(picture), "--to", "1", "--generator", str(pack)])
    assert refused.exit_code == 2
    assert "train --labels" in refused.stderr
