"""Ranges read off samples: right where a stand-in network's answers are known, refused where they bear nothing out."""

import json
import math

import pytest
import torch
from torch import Tensor, nn

from gan2shape.core.config import (
    LightPriorConfig,
    NetworkConfig,
    RenderConfig,
    ShapeConfig,
    ViewPriorConfig,
)
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior import ranges as module
from gan2shape.prior.ranges import (
    KEYS,
    LX,
    LY,
    PITCH,
    YAW,
    Range,
    as_page,
    category_ranges,
    described,
    generate_images,
    measured_overrides,
    read_images,
    read_ranges,
)

SIZE, N = 16, 400
SMALL = NetworkConfig(autoencoder_channels=(4, 4), code_dim=4, encoder_channels=(4, 4), encoder_dim=4)
VIEWS, LIGHTS = ViewPriorConfig(yaw_sd_deg=14.0, pitch_sd_deg=6.0), LightPriorConfig(lx=(-0.8, 0.8))


class FromHalves(nn.Module):
    """Reads numbers that `pictures` holds: half the difference or the mean of the two halves of a channel."""

    def __init__(self, *places: tuple[int, bool], n_out: int) -> None:
        super().__init__()
        self.places, self.n_out = places, n_out

    def forward(self, image: Tensor) -> Tensor:
        left, right = image[..., : SIZE // 2].mean((2, 3)), image[..., SIZE // 2 :].mean((2, 3))
        read = [((left - right) if odd else (left + right))[:, channel] / 2 for channel, odd in self.places]
        empty = image.new_zeros(len(image))
        return torch.atanh(torch.stack([*read, *[empty] * self.n_out][: self.n_out], 1))


def networks(yaw_is_odd: bool = True, light_is_odd: bool = True) -> SceneNetworks:
    """Networks that know the answer; those for another category take something symmetric for the yaw or the light."""
    made = SceneNetworks(
        ShapeConfig(
            render=RenderConfig(resolution=SIZE), networks=SMALL, lights=LightPriorConfig(mean=(0.0, 0.0, 0.0, 0.0))
        )
    )
    made.view_net = FromHalves((1, False), (0, yaw_is_odd), n_out=5)
    made.light_net = FromHalves((0, False), (0, False), (2, light_is_odd), (2, False), n_out=4)
    return made


def pictures(yaw_sd_deg: float, pitch_sd_deg: float, lx: float, ly: tuple[float, float]) -> Tensor:
    """N images whose halves carry angles over 60 degrees and lights."""
    rng = torch.Generator().manual_seed(0)
    yaw, pitch = (sd / 60 * torch.randn(N, generator=rng).clamp(-3, 3) for sd in (yaw_sd_deg, pitch_sd_deg))
    light_x = lx * (2 * torch.rand(N, generator=rng) - 1)
    light_y = ly[0] + (ly[1] - ly[0]) * torch.rand(N, generator=rng)
    base = 0.1 * torch.randn(N, generator=rng)  # what networks for another category would read
    half = torch.ones(SIZE // 2)
    rows = [torch.cat([(even + odd)[:, None] * half, (even - odd)[:, None] * half], 1)
            for even, odd in ((base, yaw), (pitch, 0 * pitch), (light_y, light_x))]  # fmt: skip
    return torch.stack(rows, 1)[:, :, None, :].expand(-1, -1, SIZE, -1).contiguous()


def test_known_answers_are_read() -> None:
    readings = read_images(networks(), pictures(10.0, 3.0, 0.5, (-0.6, 0.1)))
    assert readings.yaw_deg.std().item() == pytest.approx(10.0, rel=0.1)
    assert readings.pitch_deg.std().item() == pytest.approx(3.0, rel=0.1)
    found = read_ranges(networks(), pictures(10.0, 3.0, 0.5, (-0.6, 0.1)), VIEWS, LIGHTS)
    assert all(one.measured for one in found.values())
    assert found[YAW].value == pytest.approx(10.0, rel=0.1)
    assert found[PITCH].value == pytest.approx(3.0, rel=0.1)
    assert found[LX].value == pytest.approx((-0.45, 0.45), abs=0.05)  # 5 and 95 per cent of a uniform one
    assert found[LY].value == pytest.approx((-0.565, 0.065), abs=0.05)


def test_lights_that_are_read_too_narrow_are_put_on_the_scale_of_the_category_s_box() -> None:
    """Networks that read half of a light: the category's own samples, lit from its whole box, show it."""
    known = pictures(10.0, 3.0, 0.4, (-0.55, -0.05))  # lx of +-.8 and ly of -.8 to .2, halved
    found = read_ranges(networks(), pictures(10.0, 3.0, 0.25, (-0.45, -0.2)), VIEWS, LIGHTS, known)
    assert found[LX].value == pytest.approx((-0.45, 0.45), abs=0.05)  # of +-.5
    assert found[LY].value == pytest.approx((-0.575, -0.125), abs=0.05)  # of -.6 to -.1
    assert found[YAW].value == pytest.approx(10.0, rel=0.1)


def test_no_range_exceeds_what_projections_respond_to_or_reaches_behind_the_object() -> None:
    found = read_ranges(networks(), pictures(19.0, 9.0, 0.5, (-0.6, 0.1)), VIEWS, LIGHTS)
    assert (found[YAW].value, found[PITCH].value) == (14.0, 6.0)
    assert found[YAW].measured
    assert found[YAW].read == pytest.approx(19.0, rel=0.1)
    assert "respond" in described(YAW, found[YAW], 2.0, "category car")
    wide = networks()
    wide.light_mean.copy_(torch.tensor([0.0, 0.0, 0.4, 0.0]))
    lx = read_ranges(wide, pictures(10.0, 3.0, 0.9, (-0.6, 0.1)), VIEWS, LIGHTS)[LX]
    assert lx.value[1] == module.LIGHT_LIMIT < lx.read[1]


def test_a_spread_that_vanishes_or_saturates_leaves_the_category_s() -> None:
    still = read_ranges(networks(), pictures(2.0, 1.0, 0.1, (-0.3, -0.2)), VIEWS, LIGHTS)
    assert {key: one.value for key, one in still.items()} == {
        key: one.value for key, one in category_ranges(VIEWS, LIGHTS).items()
    }
    assert not any(one.measured for one in still.values())
    assert still[YAW].read == pytest.approx(2.0, rel=0.1)
    images = pictures(10.0, 3.0, 0.5, (-0.6, 0.1))
    images[:, 0] = images[:, 0].sign() * 0.999  # every yaw at one end of the range
    full = read_ranges(networks(), images, VIEWS, LIGHTS)[YAW]
    assert (full.value, full.measured) == (14.0, False)
    assert "outside" in full.because


def test_networks_that_do_not_know_the_images_are_refused() -> None:
    found = read_ranges(networks(yaw_is_odd=False), pictures(10.0, 3.0, 0.5, (-0.6, 0.1)), VIEWS, LIGHTS)
    assert [found[key].measured for key in KEYS] == [False, False, True, True]
    assert found[YAW].value == VIEWS.yaw_sd_deg
    text = described(YAW, found[YAW], 2.0, "category car")
    assert "NOT measured" in text
    assert "mirror" in text
    unlit = read_ranges(networks(light_is_odd=False), pictures(10.0, 3.0, 0.5, (-0.6, 0.1)), VIEWS, LIGHTS)
    assert not any(one.measured for one in unlit.values())  # views neither: they may be mirrored by chance
    constant = read_ranges(networks(), torch.zeros(4, 3, SIZE, SIZE), VIEWS, LIGHTS)
    assert not any(one.measured for one in constant.values())


def test_small_yaws_are_accepted_by_their_residual() -> None:
    """Readings that spread little correlate little, however well they are read."""
    rng = torch.Generator().manual_seed(0)
    yaws, error = 6.0 * torch.randn(N, generator=rng), torch.randn(2, N, generator=rng)
    small, large = (yaws + e * error[0] for e in (2.0, 4.0)), (yaws + e * error[1] for e in (2.0, 4.0))
    for direct, mirrored, is_accepted in zip(small, large, (True, False), strict=True):
        assert module.agreement(direct, mirrored) < module.LEAST_AGREEMENT
        assert (module.inconsistency(direct, mirrored, module.MOST_MIRROR_ERROR_DEG) == "") is is_accepted
        assert module.inconsistency(direct, mirrored) != ""


def test_the_page_gives_overrides_for_what_was_measured() -> None:
    ranges = {YAW: Range(9.5, True, 9.5), PITCH: Range(6.0), LX: Range((-0.5, 0.4), True), LY: Range((-0.8, 0.2))}
    page = json.loads(json.dumps(as_page(ranges)))
    assert measured_overrides(page) == ("views.yaw_sd_deg=9.5", "lights.lx=[-0.5,0.4]")
    assert measured_overrides({}) == ()
    for key, change in ((YAW, "steps.lr"), (YAW, None), (LX, None)):
        bad = dict(page)
        bad[change or key] = {**bad.pop(key), **({} if change else {"value": [math.nan]})}
        with pytest.raises(ValueError, match="range"):
            measured_overrides(bad)


def test_samples_are_not_truncated_and_averaged_to_the_resolution() -> None:
    own = Generator(GeneratorConfig(resolution=32, channels=(4, 4, 4, 4), z_dim=8, w_dim=8, n_mapping=2)).eval()
    images = generate_images(own, SIZE, 9)
    z = torch.randn(9, 8, generator=torch.Generator().manual_seed(module.READ_SEED))
    with torch.no_grad():
        whole = own.synthesis(own.mapping(z)).clamp(-1, 1)
    torch.testing.assert_close(images, nn.functional.avg_pool2d(whole, 2))
    assert torch.equal(images, generate_images(own, SIZE, 9))
