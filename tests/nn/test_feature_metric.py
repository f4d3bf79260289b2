"""Feature maps of borrowed networks, and what happens with a file that is none."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.feature_metric import DiscriminatorMetric, load_script


class Two(nn.Module):
    """Two feature maps."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images * 2.0, images.mean((2, 3))


class Vgg(nn.Module):
    """The interface of NVIDIA's vgg16."""

    def forward(self, images: torch.Tensor, resize_images: bool = True, return_lpips: bool = False) -> torch.Tensor:
        assert not resize_images
        assert return_lpips
        return images.flatten(1)


class Distance(nn.Module):
    """One number for all images: no features."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean()


class Picky(nn.Module):
    """Fails on three channels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.view(len(images), 7, -1)


def script(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def test_a_discriminator_gives_as_many_blocks_as_it_has():
    discriminator = Discriminator(DiscriminatorConfig(resolution=16, channels=(4, 4, 4), unshuffle=False))
    metric, image = DiscriminatorMetric(discriminator), torch.randn(2, 3, 16, 16)
    found = metric.features(image, 3)
    assert len(found) == len(metric.block_names) == 2
    assert torch.equal(found[1], discriminator.features(image, 2)[1])
    at_its_size = DiscriminatorMetric(discriminator, 16).features(torch.randn(2, 3, 64, 64), 1)
    assert at_its_size[0].shape == found[0].shape
    assert torch.equal(DiscriminatorMetric(discriminator, 16).features(image, 1)[0], found[0])
    assert torch.equal(resized(image, 16), image)


def test_a_script_module_gives_its_own_maps(tmp_path):
    metric, image = load_script(script(Two(), tmp_path / "two.pt"), 16), torch.randn(2, 3, 16, 16)
    found = metric.features(image)
    assert torch.equal(found[0], 2 * image)
    assert torch.equal(found[1], image.mean((2, 3)))


def test_nvidia_s_vgg_gets_the_range_and_the_arguments_it_wants(tmp_path):
    metric = load_script(script(Vgg(), tmp_path / "vgg16.pt"), 16)
    (found,) = metric.features(torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1))
    assert found.tolist() == [[0.0, 127.5, 255.0]]


def test_what_is_no_feature_network_is_one_sentence(tmp_path):
    (tmp_path / "text.pt").write_text("no module")
    torch.save({"a": torch.zeros(1)}, tmp_path / "state.pt")
    bad = {
        "gone.pt": "not a file",
        "text.pt": "no TorchScript",
        "state.pt": "no TorchScript",
        script(Distance(), tmp_path / "number.pt").name: "no features of each image",
        script(Picky(), tmp_path / "picky.pt").name: "fails on images",
    }
    for name, message in bad.items():
        with pytest.raises(UserError, match=message):
            load_script(tmp_path / name, 16)
