"""What a training measured: lines of `stats.jsonl`, and of progress."""

import json
import math
from pathlib import Path

from torch import Tensor

from gan2shape.core.files import write_text_atomic
from gan2shape.core.progress import Reporter
from gan2shape.train.state import TrainState

STATS_NAME = "stats.jsonl"
SHOWN = {  # number in the statistics -> its name in a line of progress
    "images_per_s": "images/s", "generator": "G", "discriminator": "D", "logit_real": "real", "logit_fake": "fake",
    "r1": "R1", "pixel": "L1", "nats": "KL", "cover": "cover",
}  # fmt: skip


class Journal:
    """Averages what the steps logged and appends it to `stats.jsonl`; forgets lines newer than the checkpoint."""

    def __init__(self, path: Path, n_images: int) -> None:
        self.path = path
        self._values: dict[str, list[Tensor]] = {}  # since the last line
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if self._kimg(line) * 1000.0 <= n_images]
        write_text_atomic(path, "".join(line + "\n" for line in kept))

    @staticmethod
    def _kimg(line: str) -> float:
        """When a line was written; after everything for one that was cut off."""
        try:
            return json.loads(line)["kimg"]
        except (ValueError, TypeError, KeyError):
            return math.inf

    def add(self, values: dict[str, Tensor]) -> None:
        """Remember one step; what it measured is read when a line is written."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def write(self, header: dict[str, float]) -> dict[str, float]:
        """Append one line with the means since the last one; returns it."""
        means = {name: sum(map(float, values)) / len(values) for name, values in self._values.items()}
        line = header | {name: round(mean, 5) for name, mean in means.items()}
        self._values = {}
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        return line


def report_line(report: Reporter, state: TrainState, goal: int, line: dict[str, float]) -> None:
    """Progress in images, with the numbers that tell whether training goes well."""
    numbers = {shown: line[name] for name, shown in SHOWN.items() if name in line}
    report("training", state.n_images, goal, **numbers)
