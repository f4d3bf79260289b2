"""The command: help at once, one sentence for bad input, nothing half-written, JSON as the last line."""

import json
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gan2shape import cli
from gan2shape.bench.requests import BenchRequest
from gan2shape.cli import app
from gan2shape.cli_options import format_rows
from gan2shape.core.errors import UserError
from gan2shape.core.requests import RunRequest, RunResult
from gan2shape.core.resources import pack_dir

runner = CliRunner()
HEAVY = ("torch", "numpy", "hydra", "omegaconf", "trimesh", "kornia", "PIL", "jinja2", "jaxtyping")


def child(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "gan2shape", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=cwd, timeout=120)


@pytest.fixture
def job(monkeypatch):
    """Stands in for the method; the test may exchange `job.work`."""
    stub = types.ModuleType("gan2shape.api")
    stub.requests = []

    def work(request: RunRequest) -> RunResult:
        path = request.out / "mesh.glb"
        path.write_bytes(b"glb")
        return RunResult(request.out, {"mesh": path}, {"psnr_db": 27.25}, 1.5)

    stub.work = work

    def run(request: RunRequest, report) -> RunResult:
        stub.requests.append(request)
        report("joint step 1/1", 1, 2, loss=0.5)
        return stub.work(request)

    stub.run = run
    monkeypatch.setitem(sys.modules, "gan2shape.api", stub)
    return stub


def examples(text: str) -> list[list[str]]:
    """The commands in a help text, split into arguments: lines (or their ends) that begin with the program's name."""
    found = re.findall(r"(?:^|  )gan2shape ([a-z].*?)(?:  |$)", text, re.MULTILINE)
    return [shlex.split(command) for command in found]


@pytest.mark.parametrize("arguments", [[], ["run"], ["bench"], ["train"], ["synth"]], ids=" ".join)
def test_examples_in_the_help_can_be_copied(arguments: list[str]) -> None:
    """Each names a verb, and options and values that its parser takes."""
    result = runner.invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0
    commands = examples(result.stdout)
    assert commands, result.stdout
    for command in commands:
        parse(command)


def parse(command: list[str]) -> None:
    """Let the verb's parser read its arguments; raises where one does not fit."""
    verb, arguments = typer.main.get_command(app), list(command)
    while hasattr(verb, "commands"):
        verb = verb.commands[arguments.pop(0)]
    verb.make_context("verb", arguments)


def test_an_example_that_no_longer_fits_would_be_noticed() -> None:
    (command,) = examples("Example:  gan2shape train --shards cars --out b")
    with pytest.raises(Exception, match="No such option: --shards"):
        parse(command)


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
from gan2shape.cli import app
try:
    app(["run", "--help"])
except SystemExit as stop:
    assert stop.code == 0
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(("own", "read"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_that_wait_do_not_spin_for_long(own, read, tmp_path) -> None:
    """OpenMP itself prints what it has read, where it is GNU's."""
    rest = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    rest |= {**own, "OMP_DISPLAY_ENV": "verbose"}
    command = [sys.executable, "-m", "gan2shape", "inspect", str(pack_dir("car"))]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, env=rest)
    assert done.returncode == 0
    if (shown := re.search(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)) is None:
        pytest.skip("another OpenMP")
    assert shown[1] == read


def test_version_in_a_child() -> None:
    done = child("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("gan2shape 0.")


def test_run_hands_everything_over_and_prints_the_files(job, tmp_path) -> None:
    out = tmp_path / "new" / "folder"
    arguments = ["run", "-c", "car", "-p", "smoke", "--seed", "7", "--device", "cpu", "--out", str(out), "n_stages=1"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (request,) = job.requests
    expected = RunRequest("car", "smoke", seed=7, device="cpu", out=out, overrides=("n_stages=1",))
    assert request == expected
    assert "mesh.glb" in result.stdout
    assert "27.25" in result.stdout
    assert "joint step 1/1: 1/2" in result.stderr
    assert "joint" not in result.stdout


def test_json_is_one_object_on_the_last_line(job, tmp_path) -> None:
    result = runner.invoke(app, ["run", "--json", "--out", str(tmp_path / "a")])
    payload = json.loads(result.stdout.splitlines()[-1])
    assert payload["verb"] == "run"
    assert payload["files"] == {"mesh": (tmp_path / "a" / "mesh.glb").as_posix()}
    assert payload["metrics"] == {"psnr_db": 27.25}
    assert payload["seconds"] == 1.5


def test_runs_are_numbered(job, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert runner.invoke(app, ["run", "-p", "smoke"]).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["0000-car-smoke", "0001-car-smoke"]


def test_resume_repeats_the_request_of_the_folder(job, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = RunRequest("head", "smoke", image=Path("a.png"), mask=Path("m.png"), overrides=("n_stages=1",))
    run = tmp_path / "runs" / "0000-head-smoke"
    run.mkdir(parents=True)
    (run / "request.json").write_text(first.to_json())
    result = runner.invoke(app, ["run", "--resume", str(run), "--device", "cpu", "seed=4"])
    assert result.exit_code == 0, result.output
    (request,) = job.requests
    assert (request.category, request.preset, request.seed) == ("head", "smoke", None)
    assert (request.image, request.mask) == (Path("a.png"), Path("m.png"))  # their pixels are in the folder
    assert request.overrides == ("n_stages=1", "seed=4")
    assert request.resume == request.out == run
    for text in ("", "[]", "{}", '{"category": "car"}'):
        (run / "request.json").write_text(text)
        assert runner.invoke(app, ["run", "--resume", str(run)]).exit_code == 2


def fail(error: BaseException):
    def work(request: RunRequest) -> RunResult:
        raise error

    return work


def test_bad_input_found_by_the_library_leaves_no_folder(job, tmp_path) -> None:
    job.work = fail(UserError("the generator pack is damaged: install it again."))
    result = runner.invoke(app, ["run", "--out", str(tmp_path / "a" / "b")])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "gan2shape: the generator pack is damaged: install it again."
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_interrupt_is_one_line_and_130(job, tmp_path) -> None:
    job.work = fail(KeyboardInterrupt())
    result = runner.invoke(app, ["run", "--out", str(tmp_path / "a")])
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Interrupted."


def test_our_own_mistakes_are_not_hidden(job, tmp_path) -> None:
    job.work = fail(ZeroDivisionError("a bug"))
    result = runner.invoke(app, ["run", "--out", str(tmp_path / "a")])
    assert isinstance(result.exception, ZeroDivisionError)


BAD_SETTINGS = {
    "category": (["--category", "cra"], "did you mean car?"),
    "preset": (["--preset", "drft"], "did you mean draft?"),
    "key": (["n_stage=3"], "did you mean n_stages?"),
    "nested key": (["steps.n_jont=3"], "did you mean steps.n_joint?"),
    "value": (["n_stages=many"], "n_stages"),
    "word": (["full"], "key=value"),
}


@pytest.mark.parametrize(("arguments", "hint"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_are_one_sentence(arguments: list[str], hint: str) -> None:
    result = runner.invoke(app, ["run", "--dry-run", *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("gan2shape: ")
    assert hint in line


UNKNOWN_ARGUMENTS = {
    "option": (["run", "--cout", "3"], "No such option: --cout"),
    "verb": (["rn"], "'rn'"),
    "verb of bench": (["bench", "shap"], "'shap'"),
    "number": (["synth", "--count", "many"], "'--count'"),
    "range": (["synth", "--count", "0"], "'--count'"),
    "missing option": (["train"], "--data"),
    "missing argument": (["inspect"], "'path'"),
}


@pytest.mark.parametrize(("arguments", "hint"), UNKNOWN_ARGUMENTS.values(), ids=UNKNOWN_ARGUMENTS)
def test_arguments_that_do_not_fit_are_one_sentence(arguments: list[str], hint: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("gan2shape: ")
    assert hint in line
    assert line.endswith("--help`.")


def test_help_without_a_verb_is_whole() -> None:
    result = runner.invoke(app, ["bench"])
    assert result.exit_code == 2
    assert "ladder" in result.output
    assert "shape" in result.output


BAD_FILES = {
    "an image of an empty variable": (["--image", ""], "--image has no value: give one"),
    "an empty folder": (["--seed", "1", "--out="], "--out has no value: give one"),
    "an empty setting": (["--seed=1", "", "n_stages=1"], "an argument is empty"),
    "two inputs": (["--seed", "1", "--latent", "w.npz"], "exclude each other"),
    "mask alone": (["--mask", "m.png"], "--image"),
    "no image": (["--image", "no.png"], "not a file"),
    "no latent": (["--latent", "no.npz"], "not a file"),
    "no run": (["--resume", "no"], "holds no run"),
    "resumed with another input": (["--resume", "no", "--seed", "1"], "--resume takes"),
    "no generator": (["--generator", "no.pkl"], "does not exist"),
    "resumed with a generator of its own": (["--resume", "no", "--generator", "."], "holds no run"),
    "resumed elsewhere": (["--resume", "no", "--out", "there"], "--resume takes"),
    "resumed as another category": (["--resume", "no", "--category", "head"], "leave --category away"),
    "resumed with the default preset": (["--resume", "no", "--preset", "draft"], "leave --preset away"),
    "resumed with a class": (["--resume", "no", "--class", "3"], "leave --class away"),
    "dry run of no image": (["--dry-run", "--image", "no.png"], "not a file"),
    "dry run of no run": (["--dry-run", "--resume", "no"], "holds no run"),
}


def test_a_custom_generator_is_handed_over_and_resumed(job, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my cars.pkl", "m.png", "vgg.pt"):
        (tmp_path / name).write_bytes(b"x")
    arguments = ["run", "-g", "my cars.pkl", "--seed", "3", "--mask", "m.png", "--features", "vgg.pt", "-p", "smoke"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (request,) = job.requests
    assert request.out == Path("runs/0000-my cars-smoke")
    assert (request.category, request.generator) == (None, Path("my cars.pkl"))
    assert (request.features, request.mask, request.seed) == (Path("vgg.pt"), Path("m.png"), 3)
    (request.out / "request.json").write_text(request.to_json())
    again = runner.invoke(app, ["run", "--resume", str(request.out), "--generator", "my cars.pkl"])
    assert again.exit_code == 0, again.output
    assert job.requests[1].generator == tmp_path / "my cars.pkl"
    assert job.requests[1].features == Path("vgg.pt")  # to be found by its hash
    assert job.requests[1].category is None


def test_the_prior_verb_prints_which_ranges_are_not_measured(tmp_path, monkeypatch) -> None:
    from gan2shape.build import custom
    from gan2shape.core.config import LightPriorConfig, ViewPriorConfig
    from gan2shape.prior.ranges import as_page, category_ranges

    found = {
        "object_share": 0.2, "head_against_clusters_iou": 0.9, "depth_scale": 0.2, "sheet": "s.png", "file": Path("f"),
        "source": "category car", "view_limit_sd": 2.0, "drawn": "",
        "ranges": as_page(category_ranges(ViewPriorConfig(), LightPriorConfig())),
    }  # fmt: skip
    monkeypatch.setattr(custom, "estimate_prior", lambda *given, **more: found)
    result = runner.invoke(app, ["prior", "x.pkl", "-c", "car", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "sd 14 deg (at most 28); NOT measured (category car)" in result.stdout
    assert "DOUBTFUL" not in result.stdout
    found["head_against_clusters_iou"] = 0.3
    assert "DOUBTFUL" in runner.invoke(app, ["prior", "x.pkl", "--device", "cpu"]).stdout
    as_json = runner.invoke(app, ["prior", "x.pkl", "--device", "cpu", "--json"])
    assert json.loads(as_json.stdout.splitlines()[-1])["ranges"]["views.yaw_sd_deg"]["measured"] is False


@pytest.mark.parametrize(("arguments", "hint"), BAD_FILES.values(), ids=BAD_FILES)
def test_contradictions_and_missing_files_are_one_sentence(arguments, hint, job, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert hint in result.stderr
    assert job.requests == []
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_are_found_before_any_work(job, tmp_path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("x")
    for out in (occupied, occupied / "below"):
        result = runner.invoke(app, ["run", "--out", str(out)])
        assert result.exit_code == 2
        assert "--out" in result.stderr
    assert job.requests == []


def test_dry_run_prints_the_configuration_and_writes_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["run", "--dry-run", "--preset", "smoke", "n_stages=3"])
    assert result.exit_code == 0
    assert "n_stages: 3" in result.stdout
    as_json = runner.invoke(app, ["run", "--dry-run", "--json", "n_stages=3"])
    assert json.loads(as_json.stdout.splitlines()[-1])["config"]["n_stages"] == 3
    assert list(tmp_path.iterdir()) == []


def test_dry_run_prints_what_would_be_run(tmp_path, monkeypatch) -> None:
    """The resolution is the bundled generator's for every preset; the settings are those of the run to be resumed."""
    monkeypatch.chdir(tmp_path)
    paper = runner.invoke(app, ["run", "--dry-run", "--json", "--preset", "paper"])
    assert json.loads(paper.stdout.splitlines()[-1])["config"]["render"]["resolution"] == 64
    request = RunRequest(category="head", preset="smoke", seed=3, overrides=("n_stages=2",))
    (tmp_path / "request.json").write_text(request.to_json())
    again = runner.invoke(app, ["run", "--dry-run", "--json", "--resume", str(tmp_path), "seed=4"])
    config = json.loads(again.stdout.splitlines()[-1])["config"]
    assert (config["category"], config["preset"], config["n_stages"], config["seed"]) == ("head", "smoke", 2, 4)


def test_exit_code_in_a_child_without_a_traceback(tmp_path) -> None:
    done = child("run", "--category", "nothing", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "known: " in done.stderr
    assert done.stdout == ""


def test_synth_writes_pictures_and_truth(tmp_path) -> None:
    out = tmp_path / "cars"
    result = runner.invoke(app, ["synth", "--category", "car", "--count", "2", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["count"] == 2
    assert (out / "truth.npz").is_file()
    assert (out / "contact_sheet.png").is_file()
    unknown = runner.invoke(app, ["synth", "--category", "crate", "--out", str(tmp_path / "no")])
    assert unknown.exit_code == 2
    assert not (tmp_path / "no").exists()


def test_a_pack_that_has_seen_as_many_images_already_is_named(tmp_path) -> None:
    np.save(tmp_path / "images_0.npy", np.zeros((64, 64, 64, 3), np.uint8))
    pack = str(pack_dir("car"))
    arguments = ["--data", str(tmp_path), "--start-from", pack, "--kimg", "300", "--out", str(tmp_path / "out")]
    result = runner.invoke(app, ["train", *arguments])
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "has seen 560 thousand images already" in said
    assert "--kimg" in said


def test_train_without_images_is_one_sentence(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    out = tmp_path / "out"
    result = runner.invoke(app, ["train", "--data", str(tmp_path / "data"), "--out", str(out), "--device", "cpu"])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert not out.exists()
    wrong_key = runner.invoke(app, ["train", "--data", str(tmp_path / "data"), "--out", str(out), "r1_gama=1"])
    assert "did you mean r1_gamma?" in wrong_key.stderr


@pytest.mark.parametrize(
    "word",
    ["batch=0", "lr=0", "beta2=1", "r1_interval=0", "autoencoding_share=0.02", "autoencoding_share=1.5",
     "sheet_kimg=0", "instance_noise=-1", "pixel_weight=nan", "seed=-1", "discriminator.resolution=32",
     "generator.resolution=48"],
)  # fmt: skip
def test_training_settings_that_cannot_be_are_one_sentence(word: str, tmp_path) -> None:
    result = runner.invoke(app, ["train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), word])
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert "bad configuration" in result.stderr
    assert not (tmp_path / "out").exists()


def test_ladder_and_table_pass_their_requests_on(monkeypatch, tmp_path) -> None:
    from gan2shape import api

    calls = []

    def record(*given) -> list[dict]:
        calls.append(tuple(one for one in given if not callable(one)))
        return [{"method": "flat", "n": 2, "side": 1.5}]

    monkeypatch.setattr(api, "bench_ladder", record)
    monkeypatch.setattr(api, "bench_shape", record)
    ladder = runner.invoke(app, "bench ladder -c head --rung O1 --rung C --count 2 --json".split())
    assert json.loads(ladder.stdout.splitlines()[-1])["rows"] == [{"method": "flat", "n": 2, "side": 1.5}]
    shape = runner.invoke(app, [*"bench shape --count 3 --split test a=1 --out".split(), str(tmp_path / "b")])
    assert shape.exit_code == 0, shape.output
    assert shape.stdout.splitlines() == ["method  n  side", "flat    2  1.5"]
    assert calls[0] == (BenchRequest("head", count=2), ("O1", "C"))
    assert calls[1] == (BenchRequest(count=3, overrides=("a=1",)), "test", tmp_path / "b", (), False, ())


def test_rows_become_a_table() -> None:
    rows = [{"method": "flat", "side": 1.23456}, {"method": "ours", "side": None, "side_ci": 0.1, "seeds": [1, 2]}]
    assert format_rows(rows) == ["method  side   side_ci", "flat    1.235  -", "ours    -      0.1"]
    assert format_rows([]) == ["no rows"]


def test_interrupt_outside_a_verb(monkeypatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 130


def test_every_verb_offers_json() -> None:
    verbs = {}
    for name, verb in typer.main.get_command(app).commands.items():
        inner = getattr(verb, "commands", None)  # of bench and voxels
        verbs |= {name: verb} if inner is None else {f"{name} {one}": inner[one] for one in inner}
    del verbs["view"]  # it serves until it is stopped
    for name, verb in verbs.items():
        assert any("--json" in parameter.opts for parameter in verb.params), name
