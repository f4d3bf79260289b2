"""Teaching a mask head: the segmenter learns discs, the head learns what the segmenter says of samples."""

import torch
from torch import nn

from gan2shape.build.masks import train_mask_head, train_segmenter
from tests.shape.tiny import disc_mask, tiny_generator


class BrightSegmenter(nn.Module):
    """Says "object" of the brighter half of the tiny generator's pixels."""

    def forward(self, images):
        return 50.0 * (images.mean(1, keepdim=True) + 0.23)


def test_a_segmenter_learns_white_discs() -> None:
    masks = torch.cat([disc_mask(radius) for radius in (6.0, 8.0, 10.0, 12.0)])
    images = (2 * masks - 1).expand(-1, 3, -1, -1)
    before = torch.get_rng_state()
    segmenter = train_segmenter(images, masks, n_steps=25, seed=3)
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers stay"
    unseen = disc_mask(9.0).roll(4, -1)
    with torch.no_grad():
        found = segmenter((2 * unseen - 1).expand(-1, 3, -1, -1)) > 0
    assert float((found == (unseen > 0.5)).float().mean()) > 0.95  # the outline is .05


def test_a_head_learns_the_masks_of_the_segmenter() -> None:
    generator = tiny_generator().prior.generator
    before = torch.get_rng_state()
    untaught, taught, again = (train_mask_head(generator, BrightSegmenter(), n, seed=3) for n in (0, 40, 40))
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers stay"
    with torch.no_grad():
        z = torch.randn(8, generator.config.z_dim, generator=torch.Generator().manual_seed(8))
        images, features = generator.synthesis(generator.mapping(z), return_features=True)
        wanted = BrightSegmenter()(images.clamp(-1, 1)) > 0
        wrong = [float(((head(features) > 0.5) != wanted).float().mean()) for head in (untaught, taught)]
    assert wrong[0] > 0.4
    assert wrong[1] < 0.7 * wrong[0]
    assert all(torch.equal(a, b) for a, b in zip(taught.parameters(), again.parameters(), strict=True))
