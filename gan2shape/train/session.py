"""The frame of every training but a generator's own: steps that can be stopped and resumed.

    session = TrainingSession("srgan", n_steps=4000, batch=16, settings=asdict(plan), seconds_a_step=0.15)
    run_session(session, {"restorer": restorer, "critic": critic}, optimizers, step, out, report=report)

`step(index)` makes the update of that number and returns what is to be logged. Its random numbers come from
`step_rng(seed, index)`: a resumed training repeats the uninterrupted one. The folder holds `checkpoint.pt`, replaced
whole, and `stats.jsonl`; what comes of the training is written by the caller (`core.network_files.save_network`).
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from gan2shape.core.errors import UserError
from gan2shape.core.files import to_json, write_state_atomic
from gan2shape.core.progress import Reporter, format_seconds, say, silent
from gan2shape.train.journal import STATS_NAME, Journal
from gan2shape.train.state import CHECKPOINT_NAME, read_checkpoint, restore_moments

RENDER_SECONDS = 0.02  # of one core, a picture of 64 x 64


@dataclass(frozen=True)
class TrainingSession:
    """How long a training is, and what its result depends on."""

    name: str  # in reports
    n_steps: int
    batch: int  # images, or shapes, that a step shows
    settings: Mapping[str, Any]  # as JSON: a checkpoint of other settings is refused
    seconds_a_step: float = 0.0  # of one core; 0: not measured
    checkpoint_seconds: float = 60.0  # a crash loses at most this much work
    report_steps: int = 50  # between two lines of statistics


def step_rng(seed: int, index: int) -> np.random.Generator:
    """All randomness of one step."""
    return np.random.default_rng([seed, index])


def announce(name: str, n_pictures: int, size: int, training_s: float, report: Reporter = silent) -> None:
    """Before pictures are rendered for a training: how long they take, and the training after them.

    n_pictures: those that are not there yet; where all are, the training says itself how long it takes (`run_session`).
    training_s: of one core, from its first step.
    """
    if n_pictures and report is not silent:
        rendering = format_seconds(n_pictures * RENDER_SECONDS * size / 64)
        say(f"{name}: {n_pictures} pictures are rendered first, about {rendering} of one core.")
        say(f"{name}: the training after them takes about {format_seconds(training_s)} of one core.")


def run_session(
    session: TrainingSession,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    step: Callable[[int], Mapping[str, Tensor]],
    out: Path,
    *,
    resume: bool = True,
    report: Reporter = silent,
) -> float:
    """Take the steps that are left; `networks` and `optimizers` change in place. Returns seconds spent in all.

    Says first how long it will take. Raises UserError for a checkpoint that is damaged or of other settings, and where
    what a step measured is no longer finite; the last checkpoint is then the one before.
    """
    out.mkdir(parents=True, exist_ok=True)
    begun, seconds = _resumed(session, networks, optimizers, out) if resume else (0, 0.0)
    left = session.n_steps - begun
    if session.seconds_a_step and left and report is not silent:
        expected = format_seconds(left * session.seconds_a_step)
        say(
            f"{session.name}: {left} steps, about {expected} of one core (stopped, the same command goes on)."
        )
    journal, last = Journal(out / STATS_NAME, begun * session.batch), time.perf_counter()
    unsaved = 0.0
    for index in range(begun, session.n_steps):
        journal.add(dict(step(index)))
        done, is_last = index + 1, index + 1 == session.n_steps
        if not (is_last or done % session.report_steps == 0):
            continue
        now = time.perf_counter()
        seconds, unsaved, last = seconds + now - last, unsaved + now - last, now
        line = journal.write({"kimg": done * session.batch / 1000, "step": done, "seconds": round(seconds, 1)})
        _require_finite(session, line)
        shown = {name: value for name, value in line.items() if name not in ("kimg", "step", "seconds")}
        report(session.name, done, session.n_steps, **shown)
        if is_last or unsaved >= session.checkpoint_seconds:
            _save(session, networks, optimizers, out, done, seconds)
            unsaved = 0.0
    return seconds


def _require_finite(session: TrainingSession, line: Mapping[str, float]) -> None:
    bad = [name for name, value in line.items() if not math.isfinite(value)]
    if bad:
        raise UserError(f"{session.name}: {bad[0]} is not finite at step {line['step']}: try a lower learning rate.")


def _save(
    session: TrainingSession,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    out: Path,
    step: int,
    seconds: float,
) -> None:
    """Replace the checkpoint, whole or not at all."""
    state = {"settings": to_json(dict(session.settings)), "step": step, "seconds": seconds}
    state |= {f"network {name}": network.state_dict() for name, network in networks.items()}
    state |= {f"optimizer {name}": optimizer.state_dict() for name, optimizer in optimizers.items()}
    write_state_atomic(out / CHECKPOINT_NAME, state)


def _resumed(
    session: TrainingSession, networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], out: Path
) -> tuple[int, float]:
    """(steps done, seconds) of the folder's checkpoint, which is taken over; (0, 0) where there is none."""
    path = out / CHECKPOINT_NAME
    if not path.is_file():
        return 0, 0.0
    saved = read_checkpoint(path)
    try:
        found, wanted = json.loads(saved["settings"]), json.loads(to_json(dict(session.settings)))
        differing = sorted(name for name in found.keys() | wanted if found.get(name) != wanted.get(name))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is another kind of checkpoint: choose another folder with --out.") from error
    if differing:
        raise UserError(
            f"{path} was made with other settings ({', '.join(differing)}): choose another folder with --out, or "
            "delete it."
        )
    for name, network in networks.items():
        network.load_state_dict(saved[f"network {name}"])
    for name, optimizer in optimizers.items():
        restore_moments(optimizer, saved[f"optimizer {name}"])
    return saved["step"], saved["seconds"]
