"""Scripts of trials: that they explain themselves, and their arithmetic."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from gan2shape.bench.exam import exam_objects
from gan2shape.bench.groups import heading_deg

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = "mirror_trial", "relit_trial", "turned_trial"


def opened(name: str, monkeypatch):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_help_says_how_it_is_run(name: str, monkeypatch, capsys) -> None:
    module = opened(name, monkeypatch)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert f"python scripts/{name}.py" in capsys.readouterr().out


def test_a_median_goes_by_weight(monkeypatch) -> None:
    module = opened("turned_trial", monkeypatch)
    values = torch.tensor([3.0, 1.0, 2.0, 10.0])[:, None, None, None]
    even = module.weighted_median(values[:3], torch.ones(3, 1, 1, 1))
    heavy = module.weighted_median(values, torch.tensor([1.0, 1.0, 1.0, 5.0])[:, None, None, None])
    unseen = module.weighted_median(values, torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None, None, None])
    assert (float(even), float(heavy), float(unseen)) == (2.0, 10.0, 2.0)


def test_true_planes_are_the_headings_and_true_depths_explain_mirror_images_best(monkeypatch) -> None:
    module = opened("mirror_trial", monkeypatch)
    pool, truth, planes = module.truth_of("head", 6, 64)
    headings = torch.tensor([heading_deg(item) for item in exam_objects("head", "val", 6)])
    turned = headings > 3
    assert turned.any()
    torch.testing.assert_close(planes.yaw_rad.rad2deg().abs()[turned], headings[turned], atol=1.5, rtol=0)
    _, config, _ = module.opened("head", None)
    errors = [
        module.mirror_errors(pool, 1 + scale * (truth - 1), truth, planes, config, module.PLAN).mean()
        for scale in (0.6, 1.0, 1.4)
    ]
    assert errors[1] < 0.7 * min(errors[0], errors[2])
