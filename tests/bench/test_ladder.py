"""Rungs of the ladder recover what is known."""

import pytest

from gan2shape.bench import ladder
from gan2shape.bench.exam import exam_objects
from gan2shape.prior.open import category_config


@pytest.mark.slow
def test_a_head_is_recovered_from_true_renders_that_show_more_than_the_input() -> None:
    item = exam_objects("head", "val", 8)[7]
    config = category_config("head", "draft", ("steps.n_joint=[150]", "steps.smooth_weight=0.005"))
    found, flat = ladder.rung_o1(item, config), ladder.rung_flat(item, config)
    assert found["side"] < 0.25 * flat["side"]  # .16; twice as much where stretched pixels are compared
    assert found["mad_deg"] < 0.2 * flat["mad_deg"]
