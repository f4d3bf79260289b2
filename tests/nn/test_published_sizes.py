"""Networks of published widths in random weights: shapes, and the memory that loading takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Peak of loading, times the file. The aim is 2; resident memory as the system counts it varies by some 10 %.
MAX_PEAK = {"pickle": 2.0, "torch": 2.2}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pickle", "torch"])
@pytest.mark.parametrize("resolution", [256, 512, 1024])
def test_published_widths(resolution: int, kind: str) -> None:
    script = [
        sys.executable,
        str(ROOT / "benchmarks" / "bench_checkpoints.py"),
        "--resolution",
        str(resolution),
        "--kind",
        kind,
    ]
    result = subprocess.run(script, capture_output=True, text=True, timeout=600, cwd=ROOT, env=_environment())
    assert result.returncode == 0, result.stderr
    numbers = json.loads(result.stdout.partition(":")[2])
    assert numbers["image"] == [1, 3, resolution, resolution]
    assert numbers["load_peak_mb"] <= MAX_PEAK[kind] * numbers["file_mb"]


def _environment() -> dict[str, str]:
    """The checkout is importable in the child."""
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
