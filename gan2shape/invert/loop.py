"""The optimisation loop: every descent of the project but GAN training is a `Plan` and a loss.

    groups    named parameters; each stage gives a learning rate to those that it unlocks, the others stay
    stages    one after the other with one Adam: steps, learning rates, loss weights, a stop rule
    values    learning rates, weights and beta1 are numbers or schedules (schedules.py, with the stop rules)

    def loss_of(step):
        samples = difference(sample(rng), targets)
        return samples + step.weights["pull"] * anchor(), {"samples": samples}

    stage = Stage("joint", 400, lr=linear_fall(1e-3, start=0.5), weights={"pull": ramp(1.0, 0.0, 0.3)})
    optimise(networks.parameters(), loss_of, Plan((stage,), betas=(0.9, 0.99)), report=report)

A batch of B independent problems returns its losses as [B]: their sum is descended, so that the result of each is what
it would be alone. Off the CPU nothing here waits for the device but at every tenth step, where losses are looked at.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.best import BestIterate
from gan2shape.invert.schedules import Plateau, Schedule, Threshold, value_at

LOOK_EVERY = 10  # steps between two reports; off the CPU also between two looks at whether the loss is finite


@dataclass(frozen=True)
class Stage:
    """Some steps. `lr`: one for all groups, or one a group; groups that it does not name are locked."""

    name: str  # in reports and errors
    n_steps: int
    lr: float | Schedule | Mapping[str, float | Schedule]
    weights: Mapping[str, float | Schedule] = field(default_factory=dict)  # of loss terms: `Step.weights`
    stop: Plateau | Threshold | None = None


@dataclass(frozen=True)
class Plan:
    """Stages and what they share. The optimiser is Adam, with decoupled or coupled weight decay."""

    stages: tuple[Stage, ...]
    betas: tuple[float | Schedule, float] = (0.9, 0.999)
    weight_decay: float = 0.0  # decoupled (AdamW)
    coupled_decay: float = 0.0  # added to the gradient: `weight_decay` of torch.optim.Adam; excludes the other one
    best_by: str | None = None  # the term whose least value decides which iterate is kept; None: the last one
    remedy: str = "try a lower learning rate"  # what a user can do where the loss is not finite


@dataclass(frozen=True)
class Step:
    """Where the loop stands."""

    index: int  # in the stage, from 0
    n_steps: int  # of the stage
    stage: int  # its number, from 0
    weights: Mapping[str, float]  # the stage's, at this step


@dataclass(frozen=True)
class Outcome:
    """What the loop leaves besides the parameters, on the device of the loss and detached."""

    n_steps: int  # steps taken
    least: Tensor | None  # [] least value of the last stage, before an update; value: the `best_by` term or the loss
    best: Tensor | None  # [] or [B]: the `best_by` term of the iterates that were kept


LossOf = Callable[[Step], Tensor | tuple[Tensor, Mapping[str, Tensor]]]
AfterStep = Callable[[Step, Tensor, Optimizer], None]


def optimise(
    groups: Iterable[Tensor] | Mapping[str, Iterable[Tensor]],
    loss_of: LossOf,
    plan: Plan,
    *,
    report: Reporter = silent,
    after_step: AfterStep | None = None,
    span: tuple[int, int] | None = None,
    optimizer_state: dict | None = None,
) -> Outcome:
    """Descend: the parameters in `groups` change in place, their `requires_grad` is what it was afterwards.

    loss_of(step): the loss, [] or [B], or (loss, terms); terms, [] or [B], are reported beside the loss, as means.
    after_step(step, loss, optimizer): called after each update, with the detached loss before it.
    span: the steps to take, from 0 and counted over all stages: a part of the plan, or the rest of one that is resumed
    with `optimizer_state` (a plateau then begins anew).
    With `plan.best_by` the loss is evaluated once more after the last step, and the parameters end at the iterate with
    the least such term. A term [B] decides for each of B problems: the first dimension of each parameter must be B.

    Raises UserError before the update where a loss is not finite (off the CPU at every tenth step); the parameters are
    then those of the best iterate, if one is kept.
    """
    named = groups if isinstance(groups, Mapping) else {"all": groups}
    run = _Run({name: list(parameters) for name, parameters in named.items()}, loss_of, plan, report, after_step)
    if optimizer_state is not None:
        run.optimizer.load_state_dict(optimizer_state)
    start, end = span or (0, sum(stage.n_steps for stage in plan.stages))
    try:
        for number, stage in enumerate(plan.stages):
            run.stage(stage, number, range(max(0, start), min(stage.n_steps, end)))
            start, end = start - stage.n_steps, end - stage.n_steps
        return run.outcome()
    finally:
        run.unlock()


def new_optimizer(groups: list[dict], plan: Plan) -> Optimizer:
    """Adam with the plan's weight decay. Raises ValueError where it asks for both kinds."""
    if plan.coupled_decay > 0:
        if plan.weight_decay > 0:
            raise ValueError("weight_decay and coupled_decay exclude each other")
        return Adam(groups, weight_decay=plan.coupled_decay)
    return AdamW(groups, weight_decay=plan.weight_decay)


class _Run:
    """The state of one call of `optimise`."""

    def __init__(
        self,
        groups: dict[str, list[Tensor]],
        loss_of: LossOf,
        plan: Plan,
        report: Reporter,
        after_step: AfterStep | None,
    ) -> None:
        self.groups, self.loss_of, self.plan, self.report, self.after_step = groups, loss_of, plan, report, after_step
        self.learnable = [(p, p.requires_grad) for group in groups.values() for p in group]
        self.optimizer = new_optimizer([{"params": p, "lr": 0.0} for p in groups.values()], plan)
        self.best = BestIterate([p for p, _ in self.learnable]) if plan.best_by is not None else None
        self.n_steps, self.last, self.least = 0, None, None

    def stage(self, stage: Stage, number: int, indices: range) -> None:
        """The steps `indices` of a stage, until its stop rule ends it."""
        rates = stage.lr if isinstance(stage.lr, Mapping) else dict.fromkeys(self.groups, stage.lr)
        self.unlock(rates)
        self.least = previous = None
        for index in indices:
            weights = {name: value_at(weight, index, stage.n_steps) for name, weight in stage.weights.items()}
            step = self.last = Step(index, stage.n_steps, number, weights)
            for group, name in zip(self.optimizer.param_groups, self.groups, strict=True):
                group["lr"] = value_at(rates.get(name, 0.0), index, stage.n_steps)
                group["betas"] = (value_at(self.plan.betas[0], index, stage.n_steps), self.plan.betas[1])
            value = self.update(step, stage.name)
            if stage.stop is not None and (index + 1) % stage.stop.every == 0:
                if stage.stop.is_met(index, stage.n_steps, value, self.least, previous):
                    return
                previous = self.least

    def update(self, step: Step, name: str) -> Tensor:
        """One update, and what belongs to it; returns the value before it."""
        loss, terms = self.evaluate(step)
        value = (loss if self.best is None else terms[self.plan.best_by]).detach()
        if self.best is not None:
            self.best.look(value)
        self.least = value.sum() if self.least is None else torch.fmin(self.least, value.sum())
        is_looked_at = step.index % LOOK_EVERY == LOOK_EVERY - 1
        if (loss.device.type == "cpu" or is_looked_at) and not bool(loss.isfinite().all()):
            if self.best is not None:
                self.best.restore()
            bad = float(loss.detach().sum())
            raise UserError(f"The loss of '{name}' became {bad} at step {step.index + 1}: {self.plan.remedy}.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        self.optimizer.step()
        self.n_steps += 1
        if is_looked_at:
            shown = {key: float(term.detach().mean()) for key, term in {"loss": loss, **terms}.items()}
            self.report(name, step.index + 1, step.n_steps, **shown)
        if self.after_step is not None:
            self.after_step(step, loss.detach(), self.optimizer)
        return value

    def evaluate(self, step: Step) -> tuple[Tensor, Mapping[str, Tensor]]:
        found = self.loss_of(step)
        return found if isinstance(found, tuple) else (found, {})

    def unlock(self, names: Iterable[str] | None = None) -> None:
        """Let the groups of these names learn, or all that did before the loop began; the others stay."""
        unlocked = {id(p) for name in (self.groups if names is None else names) for p in self.groups[name]}
        for parameter, is_learnable in self.learnable:
            parameter.requires_grad_(is_learnable and id(parameter) in unlocked)

    def outcome(self) -> Outcome:
        """The end: the best iterate takes the parameters' place, if one is kept."""
        if self.best is None or self.last is None:
            return Outcome(self.n_steps, self.least, None)
        with torch.no_grad():
            self.best.look(self.evaluate(self.last)[1][self.plan.best_by].detach())
        self.best.restore()
        return Outcome(self.n_steps, self.least, self.best.value)
