"""`--generator` on the benchmarks: what works as with a bundled pack, and what is refused in one sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gan2shape.bench import card, table
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.run_ladder import run_ladder
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.core.resources import pack_dir
from gan2shape.prior.cache import EstimatedPrior, keep_estimated
from gan2shape.prior.checkpoint import convert
from gan2shape.prior.made import MASK_NAME
from gan2shape.prior.packs import load_pack, write_prior
from tests.bench.test_card import TINY
from tests.build.test_custom import an_estimate
from tests.prior.test_open import thin

QUICK = ("n_stages=1", "steps.n_projection=[1]", "steps.n_joint=[1]", "steps.batch=2", "steps.n_collect=2",
         "steps.n_albedo=[1]", "invert.n_steps=2", "invert.n_starts=1", "invert.n_tracks=1")  # fmt: skip
runner = CliRunner()


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def copied(tmp_path) -> Path:
    """The bundled cars as a user's file."""
    path = tmp_path / "my cars.safetensors"
    convert(pack_dir("car"), path)
    return path


def test_a_copy_of_a_pack_is_measured_as_the_pack_is(copied) -> None:
    request = BenchRequest("car", count=1, device="cpu", overrides=(*QUICK, "n_stages=0"))
    bundled, custom = run_ladder(request, ("O5",)), run_ladder(replace(request, generator=copied), ("O5",))
    assert [row["method"] for row in custom] == ["O5 depth network"]
    assert [row["side"] for row in custom] == pytest.approx([row["side"] for row in bundled], rel=1e-3)


def test_the_table_keeps_generators_apart(copied, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(table, "mean_depth", lambda *given: torch.ones(1, 1, 64, 64))  # hundreds of renders

    def rows(generator: Path | None) -> list[dict]:
        request = BenchRequest("car", "smoke", 1, "cpu", QUICK, generator)
        return table.run_table(request, "val", tmp_path / "rows")

    assert "depth network" in [row["method"] for row in rows(copied)]
    assert rows(copied.rename(tmp_path / "renamed.safetensors")), "the same contents go on"
    with pytest.raises(UserError, match="other settings"):
        rows(None)


def test_the_table_takes_a_generator_without_an_encoder(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(table, "mean_depth", lambda *given: torch.ones(1, 1, 64, 64))  # hundreds of renders
    path, whole = tmp_path / "bare.safetensors", load_pack(pack_dir("head"))
    write_prior(path, replace(whole, networks={}, network_configs={}, card={}), torch.float32)
    keep_estimated(path, EstimatedPrior(whole.network_configs[MASK_NAME], whole.networks[MASK_NAME], "head"))
    quick = (*QUICK, "initial.slant_steps=1", "initial.slants_deg=[0.0,10.0]")
    rows = table.run_table(BenchRequest("head", "smoke", 1, "cpu", quick, path), "val", tmp_path / "rows")
    assert "step 1" in [row["method"] for row in rows]


def test_a_larger_generator_is_measured_at_the_resolution_of_the_exam(tmp_path) -> None:
    path = thin(tmp_path, 128)
    keep_estimated(path, an_estimate("head"))
    request = BenchRequest(None, "paper", device="cpu", generator=path)
    assert exam_category(request) == "head"
    assert exam_category(replace(request, category="car")) == "car"
    generator, config = open_measured(request)
    assert config.render.resolution == 64
    assert generator.prior.generator.synthesis(generator.prior.w_mean[None]).shape[-1] == 64


BENCHES = (["bench", "ladder", "--device", "cpu"], ["bench", "shape", "--device", "cpu"], ["bench", "card"])
BAD = {
    "missing": (["-c", "car", "-g", "no.pkl"], "no.pkl"),
    "no category": (["-g", "thin64.pt"], "give --category"),
    "too small": (["-c", "car", "-g", "thin32.pt"], "exam of 64 x 64 pixels: it generates 32 x 32"),
    "no masks": (["-c", "car", "-g", "thin64.pt"], "run `gan2shape prior thin64.pt --category"),
    "another resolution": (["-c", "car", "-g", "thin64.pt", "render.resolution=32"], "render.resolution=32 was given"),
    "no exam": (["-c", "cra", "-g", "thin64.pt"], "cra"),
}


@pytest.mark.parametrize("verb", BENCHES, ids=lambda verb: verb[1])
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_measured_is_one_sentence(verb, name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    thin(tmp_path, 32)
    thin(tmp_path, 64)
    options, hint = BAD[name]
    before = sorted(path.name for path in tmp_path.iterdir())
    result = runner.invoke(app, [*verb, *options])
    assert result.exit_code == 2, (result.output, result.exception)
    (line,) = result.stderr.splitlines()
    assert hint in line
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_rungs_without_a_generator_do_not_take_one(copied) -> None:
    result = runner.invoke(app, ["bench", "ladder", "-c", "car", "-g", str(copied), "--rung", "O1", "--device", "cpu"])
    assert result.exit_code == 2
    assert "O3 and above" in result.stderr


@pytest.mark.slow
def test_a_checkpoint_s_metrics_are_printed_and_no_card_is_touched(copied, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(card, "CardSizes", lambda **changes: TINY)
    before = (pack_dir("car") / "card.json").read_bytes()
    quick = [word for word in QUICK if not word.startswith("n_stages")]
    result = runner.invoke(app, ["bench", "card", "-c", "car", "-g", str(copied), "--preset", "smoke", *quick])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "heading_response" in result.stdout
    assert f"--generator {copied}" in result.stdout
    assert (pack_dir("car") / "card.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [copied.name]
