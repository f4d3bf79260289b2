"""The check of a GPU machine, as far as a CPU can test it: one JSON object, or one sentence where there is no CUDA."""

import json

import pytest
import torch

from scripts import gpu_check


def test_without_cuda_it_is_one_sentence_and_exit_code_2(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "no CUDA here" in printed.err


def test_parts_report_into_one_object_and_what_does_not_fit_is_named(monkeypatch, capsys) -> None:
    def fails(*given: object) -> dict:
        raise ZeroDivisionError("a bug")

    def speed(resolution: int, precision: str, *others: object) -> dict:
        print("progress of the training")
        return {"passed": True, "images_per_s": 1.0}

    monkeypatch.setattr(gpu_check, "run_preset", fails)
    monkeypatch.setattr(gpu_check, "train_speed", speed)
    assert gpu_check.main(["--device", "cpu", "--seconds", "20"]) == 1
    results = json.loads(capsys.readouterr().out)
    assert results["run_draft"] == {"passed": False, "error": "ZeroDivisionError: a bug"}
    assert all(results[f"train_{size}_{kind}"]["passed"] for size in (64, 128) for kind in ("fp32", "bf16"))
    assert results["torch"] == torch.__version__
    assert gpu_check.main(["--device", "cpu", "--seconds", "-1"]) == 0
    assert len(json.loads(capsys.readouterr().out)["left_out"]) == 6


def test_a_training_is_timed_at_its_resolution(monkeypatch) -> None:
    monkeypatch.setitem(gpu_check.BATCH, "cpu", 2)
    measured = gpu_check.train_speed(128, "fp32", torch.device("cpu"), seconds=0.0)
    assert measured["passed"]
    assert measured["steps"] == gpu_check.LEAST_STEPS
    assert measured["images_per_s"] > 0


@pytest.mark.slow
def test_everything_passes_on_the_cpu(capsys) -> None:
    assert gpu_check.main(["--device", "cpu", "--seconds", "600"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["passed"]
    assert results["left_out"] == []
