"""The loop on problems with known answers: what each step may move, what is kept, when it stops, what it waits for."""

import pytest
import torch
from torch import Tensor, nn, tensor

from gan2shape.core.errors import UserError
from gan2shape.invert.loop import Plan, Stage, optimise
from gan2shape.invert.schedules import Plateau, Threshold, linear_fall, one_cycle, ramp

LR = 0.1
AIMS = tensor([[1.0, -2.0], [0.5, 3.0], [-4.0, 0.0]])  # three problems of two variables


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(tensor(values))


def one_stage(n_steps: int, lr=LR, **options) -> Plan:
    return Plan((Stage("descent", n_steps, lr, **options),))


def scripted(values: list[float], x: Tensor):
    """A loss that takes these values one after the other, whatever x is; the last one stays."""
    left = list(values)
    return lambda step: (left.pop(0) if len(left) > 1 else left[0]) + 0.0 * x.sum()


class Recorder:
    """Reports, as (stage, step, n_steps, numbers)."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def __call__(self, stage: str, step: int, n_steps: int, **numbers: float) -> None:
        self.rows.append((stage, step, n_steps, numbers))


# --------------------------------------------------------------------------------------------------- what it descends


def test_every_group_s_first_step_is_its_learning_rate() -> None:
    x, y = parameter(5.0), parameter(-5.0)
    plan = one_stage(1, {"x": 0.1, "y": linear_fall(0.01)})
    optimise({"x": [x], "y": [y]}, lambda step: (x**2 + y**2).sum(), plan)
    assert x.item() == pytest.approx(4.9)
    assert y.item() == pytest.approx(-4.99)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_optimiser_is_adam_and_decay_is_decoupled(weight_decay) -> None:
    kind = torch.optim.AdamW if weight_decay else torch.optim.Adam
    start = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    x, wanted = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = kind([wanted], LR, betas=(0.8, 0.95), weight_decay=weight_decay)
    for _ in range(25):
        optimizer.zero_grad()
        (wanted - AIMS).abs().pow(1.5).sum().backward()
        optimizer.step()
    plan = Plan((Stage("descent", 25, LR),), betas=(0.8, 0.95), weight_decay=weight_decay)
    optimise([x], lambda step: (x - AIMS).abs().pow(1.5).sum(), plan)
    assert torch.equal(x, wanted)


@pytest.mark.parametrize("n_steps", [1, 40])
def test_coupled_decay_is_that_of_adam(n_steps: int) -> None:
    """Bit for bit torch.optim.Adam's weight decay, and up to rounding that of .5 wd |p|^2 in the loss."""
    first, wd = torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), 0.3
    x, wanted, penalised = (nn.Parameter(first.clone()) for _ in range(3))
    optimizer = torch.optim.Adam([wanted], LR, betas=(0.9, 0.999), weight_decay=wd)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (wanted - AIMS).abs().pow(1.5).sum().backward()
        optimizer.step()
    stage = Stage("descent", n_steps, LR)
    optimise([x], lambda step: (x - AIMS).abs().pow(1.5).sum(), Plan((stage,), coupled_decay=wd))
    assert torch.equal(x, wanted)

    def penalised_loss(step) -> Tensor:
        return (penalised - AIMS).abs().pow(1.5).sum() + 0.5 * wd * penalised.square().sum()

    optimise([penalised], penalised_loss, Plan((stage,)))
    torch.testing.assert_close(penalised, wanted, atol=1e-5, rtol=1e-4)


def test_the_two_kinds_of_decay_exclude_each_other() -> None:
    x = parameter(1.0)
    with pytest.raises(ValueError, match="exclude each other"):
        optimise([x], lambda step: x.sum(), Plan((Stage("descent", 1, LR),), weight_decay=0.1, coupled_decay=0.1))


def test_problems_of_a_batch_are_solved_as_they_are_alone() -> None:
    scales = tensor([1.0, 100.0, 0.01])

    def solved(rows: Tensor) -> Tensor:
        x = nn.Parameter(torch.zeros(len(rows), 2))
        optimise([x], lambda step: scales[rows] * (x - AIMS[rows]).square().sum(1), one_stage(40))
        return x.detach()

    together = solved(torch.arange(3))
    assert torch.equal(together, torch.cat([solved(torch.tensor([i])) for i in range(3)]))


def test_schedules_reach_the_optimiser_and_ramps_the_loss() -> None:
    x, rates, betas, weights = parameter(1.0), [], [], []

    def loss_of(step) -> Tensor:
        weights.append(step.weights)
        assert (step.n_steps, step.stage) == (4, 0)
        return (step.weights["pull"] * x).sum()

    def note(step, loss, optimizer) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        betas.append(optimizer.param_groups[0]["betas"])

    stage = Stage("descent", 4, linear_fall(1.0), weights={"pull": ramp(1.0, 0.0, 0.5), "fixed": 7.0})
    cycle = one_cycle(0.95, 0.85, 0.95)
    optimise([x], loss_of, Plan((stage,), betas=(cycle, 0.9)), after_step=note)
    assert rates == [1.0, 0.75, 0.5, 0.25]
    assert betas == [(cycle(i, 4), 0.9) for i in range(4)]
    assert [w["pull"] for w in weights] == [1.0, 0.5, 0.0, 0.0]
    assert all(w["fixed"] == 7.0 for w in weights)


# ------------------------------------------------------------------------------------------------------------- stages


def test_a_group_moves_only_in_stages_that_name_it() -> None:
    x, y, seen = parameter(5.0), parameter(-5.0), []

    def loss_of(step) -> Tensor:
        seen.append((step.stage, step.index, x.requires_grad, y.requires_grad))
        return (x**2 + y**2).sum()

    places = []
    stages = (Stage("a", 2, {"x": LR}), Stage("b", 1, {"y": LR}), Stage("c", 1, LR))
    optimise({"x": [x], "y": [y]}, loss_of, Plan(stages, weight_decay=0.5),
             after_step=lambda *_: places.append((x.item(), y.item())))  # fmt: skip
    assert seen == [(0, 0, True, False), (0, 1, True, False), (1, 0, False, True), (2, 0, True, True)]
    assert places[0][1] == places[1][1] == -5.0
    assert places[2][0] == places[1][0], "neither its momentum nor the decay moves a locked group"
    assert places[2][1] == pytest.approx(-5.0 * (1 - 0.5 * LR) + LR), "its first step is the learning rate"
    assert places[3][0] != places[2][0]
    assert places[3][1] != places[2][1]


def test_what_may_learn_is_afterwards_what_it_was() -> None:
    x, y, frozen = parameter(5.0), parameter(-5.0), parameter(1.0).requires_grad_(False)
    groups = {"x": [x, frozen], "y": [y]}
    optimise(groups, lambda step: (x**2).sum() * frozen.sum(), one_stage(2, {"x": LR}))
    with pytest.raises(UserError):
        optimise(groups, lambda step: x.sum() * float("nan"), one_stage(2, {"x": LR}))
    assert (x.requires_grad, y.requires_grad, frozen.requires_grad) == (True, True, False)
    assert frozen.item() == 1.0


@pytest.mark.parametrize(("after", "n_steps"), [(0.0, 60), (0.8, 90)])
def test_a_plateau_ends_its_stage_and_the_next_one_begins(after, n_steps) -> None:
    """1.00, .99, … and .50 from step 50 on: the gain of ten steps is .1, then .01 of .51 at step 60, then nothing."""
    x, stages = parameter(1.0), []
    falling = scripted([max(100 - i, 50) / 100 for i in range(100)], x)
    plan = Plan((Stage("a", 100, LR, stop=Plateau(ratio=0.98, every=10, after=after)), Stage("b", 3, LR)))
    outcome = optimise([x], falling, plan, after_step=lambda step, *_: stages.append(step.stage))
    assert stages == [0] * n_steps + [1] * 3
    assert outcome.n_steps == n_steps + 3
    assert outcome.least.item() == pytest.approx(0.5)


def test_a_threshold_ends_the_stage_when_the_worst_problem_is_below() -> None:
    x = nn.Parameter(torch.zeros(3, 2))
    outcome = optimise([x], lambda step: (x - AIMS).abs().sum(1), one_stage(1000, stop=Threshold(0.5, every=10)))
    assert 30 < outcome.n_steps < 100  # -4 is 40 steps of .1 away
    assert outcome.n_steps % 10 == 0
    assert (x - AIMS).abs().sum(1).max() <= 0.6


def test_the_least_value_is_the_least_of_the_last_stage() -> None:
    x = parameter(1.0)
    outcome = optimise([x], scripted([5.0, 1.0, 9.0, 4.0, 6.0], x), Plan((Stage("a", 2, LR), Stage("b", 3, LR))))
    assert outcome.least.item() == 4.0
    assert outcome.best is None


def test_nothing_happens_without_steps() -> None:
    x = parameter(3.0)
    outcome = optimise([x], lambda step: 1 / 0, Plan((Stage("a", 0, LR),), best_by="data"))
    assert (outcome.n_steps, outcome.least, outcome.best, x.item()) == (0, None, None, 3.0)


# -------------------------------------------------------------------------------------------------------- best iterate


def walk(best_by: str | None, lr: float = 1.5, n_steps: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """(end, data terms of every iterate [n + 1, 3], best) of three problems that the rate makes overshoot."""
    x, terms = nn.Parameter(torch.zeros(3, 2)), []

    def loss_of(step):
        data = (x - AIMS).square().sum(1)
        terms.append(data.detach())
        return data + 0.1 * x.abs().sum(1), {"data": data}

    outcome = optimise([x], loss_of, Plan((Stage("descent", n_steps, lr),), best_by=best_by))
    return x.detach(), torch.stack(terms), outcome.best


@pytest.mark.parametrize("lr", [0.01, 0.7, 1.5, 4.0])
def test_each_problem_keeps_its_best_iterate(lr) -> None:
    end, terms, best = walk("data", lr)
    assert len(terms) == 31, "the last iterate is looked at as well"
    assert torch.equal(best, terms.amin(0))
    torch.testing.assert_close((end - AIMS).square().sum(1), best)
    last, _, nothing = walk(None, lr)
    assert nothing is None
    assert ((end - AIMS).square().sum(1) <= (last - AIMS).square().sum(1) + 1e-6).all()
    if lr == 0.01:  # still falling: the best is the last
        assert torch.equal(end, last)
    if lr == 1.5:
        assert len(set(terms.argmin(0).tolist())) > 1, "problems are at their best at different steps"
        assert not torch.equal(end, last)


def test_shared_parameters_keep_the_best_iterate_as_a_whole() -> None:
    """Adam without damping swings about 0: both parameters end where they were at the best of the steps."""
    x, y, seen = parameter(1.0, -0.5), parameter(0.7), []

    def loss_of(step):
        data = x.square().sum() + y.square().sum()
        seen.append((data.detach(), x.detach().clone(), y.detach().clone()))
        return data, {"data": data}

    optimise([x, y], loss_of, Plan((Stage("descent", 6, 0.6),), best_by="data"))
    best = min(seen, key=lambda one: one[0].item())
    assert torch.equal(x, best[1])
    assert torch.equal(y, best[2])
    assert best[0] < 0.9 * seen[-1][0], "the last is not the best"


# --------------------------------------------------------------------------------------------- what goes wrong, reports


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_moves_nothing_and_says_where(bad) -> None:
    x, places = parameter(5.0, 5.0), []

    def loss_of(step) -> Tensor:
        places.append(x.detach().clone())
        return x**2 * tensor([1.0, float(bad) if step.index == 3 else 1.0])  # one problem of two

    plan = Plan((Stage("the joint step", 9, LR),), remedy="lower steps.lr")
    with pytest.raises(UserError, match=f"'the joint step' became {bad} at step 4: lower steps.lr"):
        optimise([x], loss_of, plan)
    assert torch.equal(x.detach(), places[3])
    assert len(places) == 4


def test_the_best_iterate_is_left_where_the_loss_diverges() -> None:
    x = nn.Parameter(torch.zeros(3, 2))

    def loss_of(step):
        data = (x - AIMS).square().sum(1)
        return data * (float("nan") if step.index == 20 else 1.0), {"data": data if step.index < 9 else data + 99}

    with pytest.raises(UserError):
        optimise([x], loss_of, Plan((Stage("descent", 30, LR),), best_by="data"))
    early, data = nn.Parameter(torch.zeros(3, 2)), []
    optimise([early], lambda step: (early - AIMS).square().sum(1), one_stage(8), after_step=lambda *_: data.append(1))
    torch.testing.assert_close(x, early)  # the ninth iterate, after eight updates


def test_reports_come_at_every_tenth_step_with_means() -> None:
    x, recorder, calls = nn.Parameter(torch.zeros(2)), Recorder(), []

    def loss_of(step):
        return (x - 1.0) ** 2 + tensor([1.0, 3.0]), {"data": tensor([2.0, 4.0]), "scalar": tensor(7.0)}

    plan = Plan((Stage("first", 25, 0.0), Stage("second", 10, 0.0)))
    optimise([x], loss_of, plan, report=recorder, after_step=lambda step, loss, _: calls.append(loss))
    numbers = {"loss": 3.0, "data": 3.0, "scalar": 7.0}
    assert recorder.rows == [("first", 10, 25, numbers), ("first", 20, 25, numbers), ("second", 10, 10, numbers)]
    assert len(calls) == 35
    assert not calls[0].requires_grad
    assert calls[0].tolist() == [2.0, 4.0]


@pytest.mark.parametrize("cut", [3, 5, 8])
def test_a_plan_in_two_parts_is_the_whole_plan(cut) -> None:
    """Cut inside a stage, between two, and in the second: bit for bit, with the optimiser's state handed over."""
    plan = Plan((Stage("a", 5, linear_fall(0.3), weights={"w": ramp(1.0, 0.0)}), Stage("b", 6, {"all": 0.2})))

    def run(spans) -> tuple[Tensor, list]:
        x, state, places = nn.Parameter(torch.zeros(3, 2)), None, []

        def loss_of(step) -> Tensor:
            places.append((step.stage, step.index))
            return (x - AIMS).square().sum() + step.weights.get("w", 0.0) * x.sum()

        def keep(step, loss, optimizer) -> None:
            nonlocal state
            state = {**optimizer.state_dict(), "state": {0: {k: v.clone() for k, v in optimizer.state[x].items()}}}

        for span in spans:
            optimise([x], loss_of, plan, after_step=keep, span=span, optimizer_state=state)
        return x.detach(), places

    whole, places = run([None])
    assert places == [(0, i) for i in range(5)] + [(1, i) for i in range(6)]
    parts, again = run([(0, cut), (cut, 11)])
    assert again == places
    assert torch.equal(parts, whole)


def test_nothing_waits_for_the_device_but_every_tenth_step() -> None:
    """Tensors on the meta device have no values: what looks at one raises."""
    x, updates = nn.Parameter(torch.zeros(3, 2, device="meta")), []
    x.register_hook(lambda gradient: updates.append(1))

    def loss_of(step):
        data = x.square().sum(1)
        return data + step.weights["w"], {"data": data}

    def run(n_steps: int) -> None:
        stage = Stage("descent", n_steps, linear_fall(LR), {"w": ramp(1.0, 0.0)}, Plateau(every=10))
        optimise([x], loss_of, Plan((stage,), best_by="data"))

    run(9)
    assert len(updates) == 9
    with pytest.raises((RuntimeError, NotImplementedError)):
        run(10)
    assert len(updates) == 18, "the guard looks before the update"
