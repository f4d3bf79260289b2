"""Scripts of trials: that they explain themselves, and their arithmetic."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = "relit_trial", "turned_trial"


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
