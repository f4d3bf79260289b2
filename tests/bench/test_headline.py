"""A guard on the headline: what the packs' depth networks see in all 64 validation objects of each category.

The encoder's guess stands in the place of the inversion, so that both categories take seconds. The bounds are 2 % above
what ships. `test_headline_mutations.py` shows that the guard notices broken parts.
"""

import pytest

from tests.bench.headline import BOUNDS, validation_errors


@pytest.mark.slow
@pytest.mark.parametrize("category", sorted(BOUNDS))
def test_depth_of_all_validation_objects_is_as_good_as_what_ships(category: str) -> None:
    errors = validation_errors(category)
    assert errors["side"] <= BOUNDS[category]["side"]
    assert errors["mad_deg"] <= BOUNDS[category]["mad_deg"]
