"""What docs/adding-a-method.md says is tried as it is written there."""

import re
from pathlib import Path

import pytest
import torch

import gan2shape.invert.terms as terms
import gan2shape.restoration.methods as methods
from gan2shape.core.compose import from_yaml
from gan2shape.invert.method import MethodConfig, TermConfig
from gan2shape.invert.spaces import Made
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import Damage
from tests.shape.tiny import SIZE, tiny_generator

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
MOST_LINES = 40


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_method_of_the_page_is_short_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recipe,) = blocks("yaml")
    assert len(recipe.splitlines()) <= MOST_LINES
    assert from_yaml(MethodConfig, recipe).source
    (tmp_path / "ilo.yaml").write_text(recipe, encoding="utf-8")
    monkeypatch.setattr(methods, "methods_dir", lambda: tmp_path)
    prior = tiny_generator().prior
    w = prior.generator.mapping(torch.randn(1, 8, generator=torch.Generator().manual_seed(4)))
    clean = prior.generator.synthesis(w).detach().clamp(-1, 1)
    made = restore_images(clean, Damage("inpaint"), "ilo", prior, degrade=True)
    assert made.solved.n_steps == 300
    assert made.numbers["hole_psnr_db"][0] > 25  # of the generator's own sample


def test_the_term_of_the_page_is_a_term() -> None:
    (code,) = blocks("python")
    assert len(code.splitlines()) <= MOST_LINES
    space = dict(vars(terms))
    exec(code, space)
    prior = tiny_generator().prior
    image = torch.zeros(1, 3, SIZE, SIZE)
    task = terms.Comparison(prior, {"observed": image}, {"known": image[:, :1] + 1})
    at = [prior.w_mean[None], prior.w_mean[None] + terms.w_scale(prior)]
    found = [space["w_l1"](terms.Candidate(Made(image, w=w), image), task, TermConfig("w_l1")).item() for w in at]
    assert found == pytest.approx([0.0, 1.0], abs=1e-5)
