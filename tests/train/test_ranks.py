"""Two processes train as one does: the same first gradients, and the same weights on both for fifty steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.nn.layers import minibatch_stddev
from gan2shape.train.loop import n_reproduced
from gan2shape.train.ranks import ALONE, Ranks
from tests.train.rank_worker import CONFIG, N_STEPS, PLAIN, first_gradients

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """The folder in which two gloo processes of torchrun have worked."""
    folder = tmp_path_factory.mktemp("two")
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    (folder / "data").mkdir()
    np.save(folder / "data" / "images_000.npy", images)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for what in ("gradients", "weights"):
        worker = [*torchrun, "-m", "tests.train.rank_worker", what, str(folder / "data"), str(folder)]
        done = subprocess.run(worker, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["both", "plain"])
def test_first_gradients_are_those_of_one_process_with_the_double_batch(two: Path, kind: str) -> None:
    whole = first_gradients(two / "data", CONFIG if kind == "both" else PLAIN, ALONE)
    parts = [torch.load(two / f"gradients{rank}.pt", weights_only=True)[kind] for rank in range(2)]
    n_updates = {"both": 5, "plain": 4}[kind]  # generator, discriminator, R1 and path length, and the encoder
    assert sum(" " in name for name in whole) == n_updates
    for name, wanted in whole.items():
        assert wanted.norm() > 0, name
        for part in parts:
            assert (part[name] - wanted).norm() <= 1e-5 * wanted.norm(), name


@pytest.mark.slow
def test_fifty_steps_are_finite_and_the_same_on_both(two: Path) -> None:
    first, second = (torch.load(two / f"weights{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.isfinite(value).all() for value in first.values())
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    lines = [json.loads(line) for line in (two / "training" / "stats.jsonl").read_text().splitlines()]
    assert [line["kimg"] for line in lines] == [0.4, 0.8]  # one writer
    assert torch.load(two / "training" / "checkpoint.pt", weights_only=True)["step"] == N_STEPS


@pytest.mark.parametrize(("batch", "count", "group"), [(16, 2, 4), (32, 4, 4), (24, 3, 2)])
def test_ranks_take_whole_groups_and_all_rows(batch: int, count: int, group: int) -> None:
    rows = [Ranks(index, count).rows(batch, group) for index in range(count)]
    assert torch.equal(torch.cat(rows).sort().values, torch.arange(batch))
    x = torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = minibatch_stddev(x, group)
    for own in rows:
        torch.testing.assert_close(minibatch_stddev(x[own], group), whole[own])
    n = batch // 2
    for own in rows:  # the reproduced rows come first on each rank, as many on all
        assert (own[: n // count] < n).all()
        assert (own[n // count :] >= n).all()


def test_batches_that_cannot_be_shared_are_one_sentence() -> None:
    Ranks(0, 2).require_divisible(CONFIG.batch, n_reproduced(CONFIG), 4)
    ALONE.require_divisible(7, 3, 4)
    with pytest.raises(UserError, match="multiple of 12"):
        Ranks(0, 3).require_divisible(16, 8, 4)
    with pytest.raises(UserError, match="autoencoding_share"):
        Ranks(0, 2).require_divisible(16, 5, 4)
