"""Schedules against hand values and torch's one-cycle policy; stop rules against sequences whose end is known."""

import pytest
import torch
from torch import tensor

from gan2shape.invert.schedules import Plateau, Threshold, cosine_fall, linear_fall, one_cycle, ramp, value_at


def values(schedule, n_steps: int) -> list[float]:
    return [schedule(step, n_steps) for step in range(n_steps)]


def test_a_linear_fall_is_flat_then_a_line_whose_end_is_zero() -> None:
    assert values(linear_fall(2.0, start=0.5), 8) == [2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5]
    assert linear_fall(2.0, start=0.5)(8, 8) == 0.0
    assert linear_fall(2.0)(1, 4) == 1.5
    assert values(linear_fall(2.0, start=1.0), 3) == [2.0, 2.0, 2.0]


def test_a_cosine_fall_is_flat_then_half_a_cosine_whose_end_is_zero() -> None:
    assert values(cosine_fall(2.0, start=0.5), 12)[:7] == [2.0] * 7
    assert cosine_fall(2.0, start=0.5)(9, 12) == pytest.approx(1.0)
    assert cosine_fall(2.0, start=0.5)(8, 12) == pytest.approx(1.5)  # (1 + cos 60°) / 2 of 2
    assert cosine_fall(2.0, start=0.5)(12, 12) == pytest.approx(0.0)
    assert cosine_fall(2.0)(1, 3) == pytest.approx(1.5)


def test_a_ramp_ends_at_its_fraction_and_stays() -> None:
    assert values(ramp(1.0, 0.0, fraction=0.5), 8) == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0]
    assert values(ramp(1.0, 3.0), 4) == [1.0, 1.5, 2.0, 2.5]
    assert values(ramp(1.0, 3.0, fraction=0.0), 3) == [1.0, 3.0, 3.0]


@pytest.mark.parametrize("n_steps", [1, 2, 3, 11, 40])
def test_one_cycle_is_torch_s(n_steps) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    policy = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=n_steps)
    lr, beta1 = one_cycle(0.02 / 25, 0.02, 0.02 / 25 / 1e4), one_cycle(0.95, 0.85, 0.95)
    for step in range(n_steps):
        group = optimizer.param_groups[0]
        assert lr(step, n_steps) == group["lr"]
        assert beta1(step, n_steps) == group["betas"][0]
        optimizer.step()
        if step < n_steps - 1:
            policy.step()


def test_a_number_is_a_constant_schedule() -> None:
    assert value_at(0.5, 3, 10) == 0.5
    assert value_at(lambda step, n_steps: step / n_steps, 3, 10) == 0.3


def test_a_plateau_is_less_than_its_share_of_gain_late_enough() -> None:
    rule = Plateau(ratio=0.9, every=10, after=0.5)
    look = {"value": tensor(99.0), "previous": tensor(1.0)}  # the present value does not count, the least one does
    assert rule.is_met(60, 100, least=tensor(0.91), **look)
    assert not rule.is_met(60, 100, least=tensor(0.89), **look)
    assert not rule.is_met(50, 100, least=tensor(0.91), **look)
    assert not rule.is_met(60, 100, tensor(99.0), tensor(0.91), None)


def test_a_threshold_is_met_by_all_problems_or_not_at_all() -> None:
    rule = Threshold(0.5)
    assert rule.is_met(9, 100, tensor([0.4, 0.5]), tensor(9.0), None)
    assert not rule.is_met(9, 100, tensor([0.4, 0.6]), tensor(0.0), None)
