"""The guard on the headline notices broken parts: each one pushes SIDE or MAD of some category above its bound.

A part that a category does not use (multi-view fusion of heads) is left out.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gan2shape.core.config import ShapeConfig
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.open import open_prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape import fusion, initialize
from tests.bench import headline
from tests.bench.headline import BOUNDS, validation_errors

OTHER = {"car": "head", "head": "car"}
Patch = pytest.MonkeyPatch


def plane(patch: Patch, category: str) -> None:
    """The depth networks predict a plane."""
    original = initialize.category_depth
    patch.setattr(initialize, "category_depth", lambda *given: torch.ones_like(original(*given)))


def mirrored(patch: Patch, category: str) -> None:
    """They predict mirrored depth."""
    original = initialize.category_depth
    patch.setattr(initialize, "category_depth", lambda *given: original(*given).flip(-1))


def other_networks(patch: Patch, category: str) -> None:
    """The networks of the other category are opened."""
    generator, config = open_prior(OTHER[category], device="cpu")
    networks = pretrained_networks(generator.prior, config)
    patch.setattr(headline, "pretrained_networks", lambda *given: networks)


def view_signs(patch: Patch, category: str) -> None:
    """The view network's angles have the wrong sign."""
    original = SceneNetworks.relative_views
    patch.setattr(SceneNetworks, "relative_views", lambda *given: -original(*given))


def configured(patch: Patch, **changes: object) -> None:
    original = headline.open_prior

    def opened(*given: object, **named: object) -> tuple[object, ShapeConfig]:
        generator, config = original(*given, **named)
        return generator, replace(config, initial=replace(config.initial, **changes))

    patch.setattr(headline, "open_prior", opened)


def tilt_off(patch: Patch, category: str) -> None:
    """Depth is not tilted by the view that is read."""
    configured(patch, network_tilt=(0.0, 0.0))


def fusion_off(patch: Patch, category: str) -> None:
    """The input alone is measured."""
    configured(patch, fusion_yaws_deg=())


def relit_off(patch: Patch, category: str) -> None:
    """No form is taken from relit pictures."""
    configured(patch, relit_cutoff=0.0)


def fusion_signs(patch: Patch, category: str) -> None:
    """Multi-view fusion takes views from the left for views from the right."""
    original = fusion.to_canonical
    patch.setattr(fusion, "to_canonical", lambda depth, views, *others: original(depth, -views, *others))


NOTICED: list[tuple[str, Callable[[Patch, str], None]]] = [
    *((category, mutation) for category in BOUNDS for mutation in (plane, mirrored, other_networks, relit_off)),
    ("head", view_signs),
    ("head", tilt_off),
    ("car", view_signs),
    ("car", fusion_off),
    ("car", fusion_signs),
]


@pytest.mark.slow
@pytest.mark.parametrize(("category", "mutation"), NOTICED, ids=[f"{c}-{m.__name__}" for c, m in NOTICED])
def test_the_guard_notices(category: str, mutation: Callable[[Patch, str], None], monkeypatch) -> None:
    mutation(monkeypatch, category)
    errors = validation_errors(category)
    assert any(errors[name] > bound for name, bound in BOUNDS[category].items()), errors
