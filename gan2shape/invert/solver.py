"""One problem, one solver: s* = argmin of the sum of lambda_k(t) L_k(G(s), phi(G(s)), y, s).

    solved = solve(Problem(observed, phi), method, prior)

A `MethodConfig` names the space of s, its start, the terms L_k and the stages; `loop.optimise` descends. Pictures of a
batch are solved together where the weights of G are fixed, each as it would be alone; else one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.degrade.degradations import Degradation, Identity
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.method import MethodConfig, StageConfig
from gan2shape.invert.schedules import Schedule, Threshold, cosine_fall, one_cycle_drop, projector_ramp
from gan2shape.invert.spaces import (
    FREE,
    Made,
    Space,
    Unknowns,
    free_unknowns,
    parse_space,
    unit_draw,
    unknowns,
    w_scale,
)
from gan2shape.invert.start import Start, naive, starting_point
from gan2shape.invert.terms import DATA, OWN_NETWORK, TERMS, Candidate, Comparison
from gan2shape.nn.discriminator import Discriminator
from gan2shape.prior.packs import Prior

NEEDS = {  # of a term: what has to be there
    "z_normal": lambda space, prior, problem: space.latent.startswith("Z"),
    "encoder_cycle": lambda space, prior, problem: problem.reader is not None or prior.encoder is not None,
    "asked": lambda space, prior, problem: problem.asks is not None,
    "noise_regulariser": lambda space, prior, problem: space.n_noise != 0,
    "noise_size": lambda space, prior, problem: space.n_noise != 0,
    "entropy": lambda space, prior, problem: space.spread,
    "adversarial": lambda space, prior, problem: isinstance(prior.discriminator, Discriminator),
}
SCHEDULE: dict[str, Callable[[float], float | Schedule]] = {
    "constant": lambda value: value,
    "projector": projector_ramp,
    "one_cycle_drop": one_cycle_drop,
    "cosine": lambda value: cosine_fall(value, start=0.5),
}
PERTURBED_UNTIL = 0.75  # of all steps (Karras et al. 2020)


@dataclass(frozen=True)
class Problem:
    """What was observed, and how."""

    observed: Float[Tensor, "B 3 h w"]
    degradation: Degradation = field(default_factory=Identity)
    regions: dict[str, Float[Tensor, "B 1 h w"]] = field(default_factory=dict)  # further ones, by name
    targets: dict[str, Float[Tensor, "B 3 h w"]] = field(default_factory=dict)  # further pictures, by name
    networks: dict[str, Callable] = field(default_factory=dict)  # further feature networks: images, n_blocks -> maps
    reader: Callable[[Tensor], Tensor] | None = None  # pictures -> rows of W+: an encoder in the place of the pack's
    asks: Callable[[Tensor], Tensor] | None = None  # pictures -> how far each is from what is asked for, [B]

    def one(self, index: int) -> "Problem":
        """The problem of one picture."""
        return self._each(lambda value: value[index : index + 1])

    def repeated(self, n: int) -> "Problem":
        """Each picture's problem `n` times in a row."""
        return self._each(lambda value: value.repeat_interleave(n, 0))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Problem":
        regions = {name: change(value) for name, value in self.regions.items()}
        targets = {name: change(value) for name, value in self.targets.items()}
        return replace(self, observed=change(self.observed), regions=regions, targets=targets)


@dataclass(frozen=True)
class Solved:
    """The end of a descent, detached."""

    image: Float[Tensor, "B 3 S S"]  # G(s*)
    seen: Float[Tensor, "B 3 h w"]  # phi(G(s*))
    w: Float[Tensor, "B *L D"] | None
    data: Float[Tensor, " B"]  # data terms, weighted as in the last stage
    states: list[dict[str, Tensor]]  # of each picture: every learnt value by name
    n_steps: int

    def one(self, index: int) -> "Solved":
        """A picture of the batch alone."""
        rows = slice(index, index + 1)
        w = None if self.w is None else self.w[rows]
        return Solved(self.image[rows], self.seen[rows], w, self.data[rows], self.states[rows], self.n_steps)


def solve(
    problem: Problem,
    method: MethodConfig,
    prior: Prior,
    *,
    seed: int = 0,
    start_w: Float[Tensor, "B *L D"] | None = None,
    span: tuple[int, int] | None = None,
    report: Reporter = silent,
) -> Solved:
    """The pictures that explain `problem.observed`, by `method`. Deterministic with `seed` on one machine.

    start_w: where to begin instead of at the method's own start. span: the steps to take, of all stages together.
    Raises UserError for a method that this prior cannot follow. A loss that is not finite ends the descent at the best
    iterate, and is said.
    """
    space = parse_space(method.space)
    _require(method, space, prior, problem)
    if start_w is not None and (space.latent.startswith("Z") or space.latent in FREE):
        raise UserError(
            f"{method.title or 'the method'} works in {method.space} and cannot begin at the w of an encoder: leave "
            "that start away, or name a method in W, W+, P or S."
        )
    n_images = len(problem.observed)
    if not space.is_single or n_images == 1:
        return _solve(problem, space, method, prior, seed, start_w, span, report)
    starts = [None if start_w is None else start_w[i : i + 1] for i in range(n_images)]
    parts = [_solve(problem.one(i), space, method, prior, seed, starts[i], span, report) for i in range(n_images)]
    whole = {name: _together([getattr(part, name) for part in parts]) for name in ("image", "seen", "w", "data")}
    return Solved(**whole, states=[part.states[0] for part in parts], n_steps=parts[0].n_steps)


def _together(parts: list[Tensor | None]) -> Tensor | None:
    return None if parts[0] is None else torch.cat(parts)


def _require(method: MethodConfig, space: Space, prior: Prior, problem: Problem) -> None:
    """Raises UserError for unknown terms, and for those that the space, the prior or the problem cannot give."""
    if space.spread and not any(term.term == "entropy" for term in method.terms):
        raise UserError("the space Spread needs the term entropy: without it the draws become one. See brgmvi.yaml.")
    for term in method.terms:
        if term.term not in TERMS:
            raise UserError(f"unknown loss term {term.term!r}{nearest(term.term, TERMS)}")
        if term.term in NEEDS and not NEEDS[term.term](space, prior, problem):
            raise UserError(f"the term {term.term} has nothing to look at in the space {method.space} of this prior.")
        if term.network not in (OWN_NETWORK, *problem.networks):
            known = (OWN_NETWORK, *problem.networks)
            raise UserError(f"unknown feature network {term.network!r}{nearest(term.network, known)}")
        needs_own = term.term in ("features", "gram") and term.network == OWN_NETWORK
        if needs_own and prior.discriminator is None:
            raise UserError(
                f"the term {term.term} needs a discriminator, and this generator has none: name a network that "
                "compares pictures (efficientnet, or a file), or a method without features."
            )


def _solve(
    problem: Problem,
    space: Space,
    method: MethodConfig,
    prior: Prior,
    seed: int,
    start_w: Tensor | None,
    span: tuple[int, int] | None,
    report: Reporter,
) -> Solved:
    """`solve` for pictures that are descended together."""
    free = _begun(problem, space, method, prior, seed, start_w)
    task = _comparison(problem, prior, free.w)
    rng = torch.Generator().manual_seed(seed)
    n_total = sum(n_steps_of(method))

    def loss_of(step: Step) -> tuple[Float[Tensor, " B"], dict[str, Tensor]]:
        made = free.made(unit_draw(prior, rng) if space.spread else _jitter(method, prior, step, rng))
        return weighed(Candidate(made, problem.degradation(made.image)), task, method, step.weights)

    stages = tuple(_stage(i, method, free.groups) for i in range(len(method.stages)))
    plan = Plan(stages, betas=method.betas, best_by="data" if method.keeps_best else None, remedy=method.remedy)
    n_steps = 0
    if n_total > 0:
        try:
            n_steps = optimise(
                free.groups, loss_of, plan, report=report, after_step=free.after_step, span=span
            ).n_steps
        except UserError as error:  # a loss that is not finite
            if not method.keeps_best:
                raise
            say(f"{str(error).rstrip('.')}; the best iterate so far is kept.")
    with torch.no_grad():
        made = free.made()
        seen = problem.degradation(made.image)
        data = weighed(Candidate(made, seen), task, method, {})[1]["data"]
    states = [{name: value[i : i + 1] for name, value in free.state.items()} for i in range(len(data))]
    return Solved(made.image.detach(), seen.detach(), free.w, data, states, n_steps)


def weighed(
    candidate: Candidate, task: Comparison, method: MethodConfig, weights: Mapping[str, float]
) -> tuple[Float[Tensor, " B"], dict[str, Tensor]]:
    """(the loss with `weights` by the terms' numbers, {"data": the data terms with the last stage's weights})."""
    loss = data = candidate.seen.new_zeros(len(candidate.seen))
    for i, settings in enumerate(method.terms):
        last = settings.factor * settings.weight[-1]
        now = weights.get(str(i), last)
        is_data = settings.term in DATA
        if now == 0.0 and not (is_data and last != 0.0):
            continue
        value = TERMS[settings.term](candidate, task, settings)
        loss = loss + now * value.clamp_min(settings.floor)
        data = data + last * value.detach() if is_data else data
    return loss, {"data": data}


def _comparison(problem: Problem, prior: Prior, start_w: Tensor | None = None) -> Comparison:
    """Targets and regions. "known" is what the degradation leaves of a whole picture."""
    observed, size = problem.observed, prior.resolution
    known = problem.degradation.known(torch.ones(len(observed), 1, size, size).to(observed))
    if known.shape[-2:] != observed.shape[-2:]:
        here, there = (f"{t.shape[-1]} x {t.shape[-2]}" for t in (observed, known))
        raise UserError(f"the observation is {here} pixels, but the degradation of this prior's images gives {there}.")
    targets = {"observed": observed.contiguous(), **problem.targets}  # sums do not depend on a caller's layout
    regions = {"known": known, **problem.regions}
    return Comparison(prior, targets, regions, problem.networks, start_w, reader=problem.reader, asks=problem.asks)


def _begun(
    problem: Problem, space: Space, method: MethodConfig, prior: Prior, seed: int, start_w: Tensor | None
) -> Unknowns:
    """The parameters at their start."""
    if space.latent in FREE:
        return free_unknowns(prior, space, naive(problem.observed, prior.resolution), seed)
    if start_w is not None:
        return unknowns(prior, space, None, start_w)
    return unknowns(prior, space, *_ranked(problem, method, prior, seed, space.latent.startswith("Z"), 1))


def ranked_starts(
    problem: Problem, method: MethodConfig, prior: Prior, seed: int, n_tracks: int
) -> Float[Tensor, "N D"]:
    """The best `n_tracks` starts in W of each picture, one after the other."""
    return _ranked(problem, method, prior, seed, False, n_tracks)[1]


def _ranked(
    problem: Problem, method: MethodConfig, prior: Prior, seed: int, needs_z: bool, n_tracks: int
) -> Start:
    alone = [_comparison(problem.one(i), prior) for i in range(len(problem.observed))]
    compared = replace(method, terms=tuple(term for term in method.terms if term.term in DATA))

    def score(made: Made, index: int) -> Float[Tensor, " K"]:
        """The data terms of candidates for one picture."""
        return weighed(Candidate(made, problem.degradation(made.image)), alone[index], compared, {})[1]["data"]

    return starting_point(method.start, prior, problem.observed, score, seed, needs_z, n_tracks)


def n_steps_of(method: MethodConfig) -> list[int]:
    """Steps of each stage: the published ones times the method's factor."""
    return [round(stage.n_steps * method.steps_factor) for stage in method.stages]


def _jitter(method: MethodConfig, prior: Prior, step: Step, rng: torch.Generator) -> Tensor | None:
    """Noise on w that fades (Karras et al. 2020, projector: sd .05 of w's (1 - t / .75)^2)."""
    counts = n_steps_of(method)
    done, n_total = sum(counts[: step.stage]) + step.index, sum(counts)
    strength = method.perturb * max(0.0, 1.0 - done / n_total / PERTURBED_UNTIL) ** 2
    if strength == 0.0:
        return None
    noise = torch.randn(1, 1, prior.generator.config.w_dim, generator=rng).to(prior.w_mean)
    return strength * w_scale(prior) * noise


def _stage(index: int, method: MethodConfig, groups: Mapping[str, list]) -> Stage:
    """A stage of the loop from that of a method."""
    own: StageConfig = method.stages[index]
    rates = {group: rate * method.lr_factors.get(group, 1.0) for group, rate in own.lr.items()}
    theta = rates.pop("theta", 0.0)
    rates |= {f"theta{i}": theta * own.group_ratio**i for i in range(own.n_groups)}
    schedule: Callable[[float], float | Schedule] = SCHEDULE[own.schedule]
    weights = {str(i): t.factor * t.weight[min(index, len(t.weight) - 1)] for i, t in enumerate(method.terms)}
    stop = Threshold(method.stop_at) if method.stop_at > 0 else None
    lr = {group: schedule(rate) for group, rate in rates.items() if rate > 0 and group in groups}
    return Stage(own.name or f"stage {index + 1}", n_steps_of(method)[index], lr, weights, stop)
