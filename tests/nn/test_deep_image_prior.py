"""The network of the Deep Image Prior fits a picture; one that gets stuck would be no reference."""

import torch

from gan2shape.measure.metrics import psnr_db
from gan2shape.nn.deep_image_prior import ImageNet, code_of
from gan2shape.synth.dataset import render_set


def test_a_picture_on_a_bright_ground_is_fitted() -> None:
    picture = render_set("car", [1_000_009]).truth.image  # one that a single mean for all channels left at 12 dB
    torch.manual_seed(0)
    code, network = code_of(64), ImageNet()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        (network(code) - picture).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert psnr_db(network(code), picture, torch.ones_like(picture[:, :1]) > 0) > 24
