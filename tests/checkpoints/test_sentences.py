"""The message about a file that cannot be used is true of that file."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from typer.testing import CliRunner

from gan2shape.checkpoints.open import inspect
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from tests.checkpoints import golden, hostile, hostile_parts, lookalike
from tests.checkpoints.test_checkpoints import saved, state_dicts

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 133\n"


def good() -> bytes:
    return hostile_parts.saved(lookalike.rosinality_state(*hostile_parts.SMALL))


def script() -> bytes:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), stream)
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("model.pt")
        entry.size = len(good())
        archive.addfile(entry, io.BytesIO(good()))
    return stream.getvalue()


def arrays(write: Callable = np.savez) -> bytes:
    stream = io.BytesIO()
    write(stream, w=np.zeros(300))
    return stream.getvalue()


def safe() -> bytes:
    return safetensors.torch.save({"g_ema.input.input": torch.zeros(1, 4, 4, 4), "g_ema.style.1.bias": torch.zeros(8)})


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "web page": (lambda: b"<!DOCTYPE html><html><body>Quota exceeded</body></html>", "web page.*: download it again"),
    "web page after blanks": (lambda: b"\xef\xbb\xbf\n  <HTML><head>", "web page.*: download it again"),
    "answer of a server": (lambda: b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web server.*: download"),
    "pointer": (lambda: LFS, "Git LFS pointer.*git lfs pull"),
    "script": (script, "TorchScript.*code.*state_dict"),
    "gzip": (lambda: gzip.compress(good()), "compressed by gzip: unpack it"),
    "tar": (tar, "tar archive: unpack it"),
    "zip": (lambda: hostile_parts.zipped({"model/readme.txt": b"a"}), "zip archive.*unpack it"),
    "compressed arrays": (lambda: arrays(np.savez_compressed), "numpy's arrays and no network"),
    "compressed zip": (lambda: hostile_parts.zipped({"a/b": b"a" * 99}, zipfile.ZIP_DEFLATED), "unpack it"),
    "arrays": (arrays, "numpy's arrays and no network"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "image": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(99), "is an image: give it as --image"),
    "JSON": (lambda: b'{"a": 1}', "JSON text"),
    "zeros": (lambda: bytes(5000), "zeros only: download it again"),
    "text": (lambda: b"hello" * 100, "in no format that is known"),
    "cut in half": (lambda: good()[: len(good()) // 2], "damaged or cut off: download it again"),
    "cut safetensors": (lambda: safe()[:-4], "is truncated .*: download it again"),
    "cut header of safetensors": (lambda: safe()[:20], "ends too early.*: download it again"),
    "cut pickle": (lambda: hostile.truncated_pickle(Path("marker")), "ends too early.*: download it again"),
    "empty": (lambda: b"", "is empty: download it again"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_checkpoints(name: str, tmp_path: Path) -> None:
    make, sentence = FILES[name]
    (tmp_path / "file.pkl").write_bytes(make())
    with pytest.raises(UserError, match=sentence) as caught:
        inspect(tmp_path / "file.pkl")
    is_general = name in ("text", "JSON", "arrays", "compressed arrays", "HDF5")
    assert ("give a StyleGAN2 checkpoint" in str(caught.value)) == is_general


NETWORKS: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "StyleGAN3": ({"G_ema.synthesis.L3_52_512.weight": (2,)}, "StyleGAN3"),
    "EG3D": ({"G_ema.backbone.synthesis.b4.const": (8, 4, 4), "G_ema.decoder.net.0.weight": (4, 4)}, "EG3D"),
    "lucidrains": ({"GAN.GE.initial_block": (8, 4, 4), "GAN.GE.blocks.0.to_style1.weight": (4, 4)}, "lucidrains"),
    "first version": ({"generator.progression.0.conv1.weight": (2,)}, "first version"),
    "SWAGAN": ({"g_ema.input.input": (1, 8, 4, 4), "g_ema.to_rgbs.0.iwt.ll": (2, 2)}, "SWAGAN"),
    "BigGAN": ({"shared.weight": (2, 2)}, "BigGAN"),
    "FastGAN": ({"g.init.init.0.weight_orig": (2,), "g.feat_8.0.weight": (2,)}, "FastGAN"),
    "VQGAN": ({"state_dict.quantize.embedding.weight": (2, 2)}, "VQGAN"),
    "diffusion": ({"model.diffusion_model.out.weight": (2,)}, "diffusion"),
    "classifier": ({"layer4.1.conv2.weight": (2,)}, "classifier"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_other_networks_are_refused_by_their_name(name: str, tmp_path: Path) -> None:
    shapes, kind = NETWORKS[name]
    with pytest.raises(UserError, match=f"{kind}.*not supported"):
        inspect(saved({key: torch.zeros(shape) for key, shape in shapes.items()}, tmp_path))


def test_stylegan2_is_not_reported_as_another_network(tmp_path: Path) -> None:
    value = lookalike.rosinality_state(*hostile_parts.SMALL)
    value["g_ema"]["convs.0.conv.blur.kernel"] = torch.ones(4, 4)
    with pytest.raises(UserError, match=r"another filter.*as its publishers build it"):
        inspect(saved(value, tmp_path))


def test_names_of_unknown_weights_are_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no StyleGAN2 generator \(its weights are named head\.weight, …\)"):
        inspect(saved({"head.weight": torch.zeros(2)}, tmp_path))


def test_hidden_layers_that_are_wider_than_w(tmp_path: Path) -> None:
    state = dict(state_dicts()["G_ema"])
    state["mapping.fc0.weight"], state["mapping.fc0.bias"] = torch.randn(64, 48) * 100, torch.zeros(64)
    state["mapping.fc1.weight"] = torch.randn(40, 64) * 100
    with pytest.raises(UserError, match="hidden layers have 64 numbers and whose w has 40"):
        inspect(saved({"G_ema": state}, tmp_path))


@pytest.mark.parametrize("verb", ["inspect", "prior", "run --seed 0 --generator"])
def test_addresses_are_not_fetched(verb: str) -> None:
    result = CliRunner().invoke(app, [*verb.split(), "https://example.org/a//b.pkl"])
    assert result.exit_code == 2
    assert "https://example.org/a/" in result.stderr
    assert "nothing is downloaded" in result.stderr


def test_folder_without_a_pack_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder without a pack \(prior.safetensors\)"):
        inspect(tmp_path)
    with pytest.raises(UserError, match="does not exist: check the path"):
        inspect(tmp_path / "none")


def test_published_file_needs_no_remark() -> None:
    found = inspect(golden.FOLDER / "rosinality_32.pt")["source"]
    assert (found["taken"], found["ignored"], found["notes"]) == ("g_ema.", [], [])
