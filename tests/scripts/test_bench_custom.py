"""The random checkpoint of the benchmark is read as rosinality's, with the numbers of the networks behind it."""

import sys
from pathlib import Path

import pytest
import torch

from gan2shape.prior.checkpoint import load_generator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "bench_custom", raising=False)
    import bench_custom

    monkeypatch.setattr(bench_custom, "WIDEST", 8)
    return bench_custom


def test_the_published_widths(bench, monkeypatch):
    monkeypatch.setattr(bench, "WIDEST", 512)
    assert bench.published_widths(256) == (512, 512, 512, 512, 512, 256, 128)
    assert bench.published_widths(1024)[-2:] == (64, 32)


def test_what_is_written_is_read_as_the_same_networks(bench, tmp_path):
    checkpoint, mask = bench.write_files(tmp_path, 32)
    assert mask.is_file()
    (generator, critic), read = bench.random_networks(32), load_generator(checkpoint)
    w, images = torch.randn(2, 512), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(read.generator.synthesis(w), generator.synthesis(w), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(read.generator.mapping(w), generator.mapping(w), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(read.discriminator(images), critic(images), atol=1e-4, rtol=1e-4)
    assert read.card["source"]["kind"].startswith("rosinality")
