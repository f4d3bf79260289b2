"""What makes a method of restoration or inversion: typed, read from configs/restore/NAME.yaml, and nothing else.

Weights, learning rates and counts stand in the YAML as they were published; `lr_factors`, `steps_factor` and the
factors of weights say what our small generators need times that.
"""

from dataclasses import dataclass, field

from gan2shape.core.config import Finite, need

STARTS = ("mean", "best", "encoder", "random", "observed")
SCHEDULES = ("constant", "projector", "one_cycle_drop", "cosine")


@dataclass(frozen=True)
class StartConfig(Finite):
    """Where the descent begins. An encoder that a prior does not have is replaced by the best of `n` samples."""

    kind: str = "encoder"  # mean, best of n, encoder's guess, random, or the observation itself (space Pixels)
    n: int = 64  # samples that are ranked by the terms
    spread: float = 0.7  # times the random z (DGP) or, for w, times its distance from the mean (truncation psi)
    noise: float = 0.0  # random offset of w, in its root mean square distance from the mean (BRGM: .01)

    def check(self) -> None:
        need(self.kind in STARTS, f"start.kind={self.kind} is unknown: {', '.join(STARTS)}")
        need(self.n > 0, f"start.n={self.n} has to be above 0")


@dataclass(frozen=True)
class TermConfig(Finite):
    """One loss term (invert/terms.py)."""

    term: str  # its name there
    weight: tuple[float, ...] = (1.0,)  # in each stage; the last one repeats
    factor: float = 1.0  # times the published weight
    region: str = "known"  # "all", "known", or a region that the caller names
    target: str = "observed"  # "observed", or another picture that the caller names
    network: str = "discriminator"  # of feature terms: "discriminator", or one that the caller gives by this name
    n_blocks: int = 3  # of its blocks, from the shallow end
    floor: float = 0.0  # a term below it is no longer lowered (PULSE: epsilon)

    def check(self) -> None:
        need(len(self.weight) > 0, f"the weight of {self.term} is empty")


@dataclass(frozen=True)
class StageConfig(Finite):
    """Some steps of Adam."""

    n_steps: int
    lr: dict[str, float] = field(default_factory=dict)  # by group: latent, noise, embedding, theta; others are locked
    n_groups: int = 99  # groups of theta, from coarse to fine, that learn
    group_ratio: float = 1.0  # group i learns at the rate times ratio^i (DGP)
    schedule: str = "constant"  # of every rate
    name: str = ""  # in reports; its number unless given

    def check(self) -> None:
        need(self.n_steps >= 0, "numbers of steps are never negative")
        need(self.schedule in SCHEDULES, f"schedule={self.schedule} is unknown: {', '.join(SCHEDULES)}")


@dataclass(frozen=True)
class MethodConfig(Finite):
    """One published optimiser, or a variant of it."""

    title: str = ""  # for people
    source: str = ""  # paper, section
    space: str = "W"  # invert/spaces.py
    start: StartConfig = field(default_factory=StartConfig)
    terms: tuple[TermConfig, ...] = (TermConfig("pixel_l1"),)
    keeps_best: bool = True  # the iterate of the least data terms, weighted as in the last stage; False: the last one
    stages: tuple[StageConfig, ...] = (StageConfig(300, {"latent": 0.05}),)
    betas: tuple[float, float] = (0.9, 0.999)  # Adam
    perturb: float = 0.0  # noise on w, in its rms distance from the mean, that is gone after 3/4 (projector: .05)
    stop_at: float = 0.0  # every stage ends where the data terms come down to this; 0: never
    lr_factors: dict[str, float] = field(default_factory=dict)  # times the published rates, by group
    steps_factor: float = 1.0  # times the published numbers of steps
    kernel: str = "bicubic"  # of super-resolution: what a candidate is shrunk by
    observed_by: str | None = None  # what a clean picture is shrunk by, where that is another one
    enlarges: bool = False  # compare after both were enlarged again (DGP)
    remedy: str = "try lower learning rates"  # where the loss is not finite

    def check(self) -> None:
        need(len(self.terms) > 0 and len(self.stages) > 0, "a method needs a term and a stage")
