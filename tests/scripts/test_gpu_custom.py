"""The GPU check of custom generators, as far as a CPU can test it."""

import pytest
import torch

from gan2shape.build.encoder import ImageEncoderPlan
from gan2shape.prior.checkpoint import load_generator
from scripts import gpu_custom


def test_without_cuda_it_is_one_sentence_and_exit_code_2(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_custom.main(["--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert not (tmp_path / "out").exists()


def test_a_step_is_broken_off_and_rates_become_the_time_of_a_whole_build(monkeypatch) -> None:
    now = iter([0.0, 0.0, 10.0, 12.0, 20.0, 500.0])
    monkeypatch.setattr(gpu_custom.time, "perf_counter", lambda: next(now))
    clock = gpu_custom.Clock(400.0)
    for name, step in (("samples", 10), ("samples", 20), ("encoder, images", 10), ("encoder, images", 20)):
        clock(name, step, 100)
    assert clock.rates() == {"samples": 1.0, "encoder, images": 0.8}
    whole = gpu_custom.whole_seconds(clock.rates(), 4)
    assert set(whole) == {"samples", "encoder, images"}
    assert whole["samples"] == ImageEncoderPlan().n_samples
    with pytest.raises(gpu_custom.OutOfTimeError, match="fit"):
        clock("fit", 1, 100)


def test_the_random_checkpoint_is_read_as_any_other(tmp_path) -> None:
    path = gpu_custom.random_checkpoint(tmp_path / "quick.pt", quick=True)
    assert load_generator(path).resolution == 64
