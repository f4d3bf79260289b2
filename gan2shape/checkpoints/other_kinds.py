"""Networks that are no StyleGAN2, recognised by names that only they use and reported by what they are."""

import re

from gan2shape.checkpoints.contents import Contents

KINDS = (  # what it is, and patterns that must all occur among the tensors' names
    ("an EG3D network", (r"(^|\.)backbone\.(synthesis|mapping)\.",)),
    ("a StyleGAN3 network (or StyleGAN-XL)", (r"(^|\.)synthesis\.(L\d+_|input\.freqs)",)),
    ("a network of lucidrains' stylegan2-pytorch (no StyleGAN2)", (r"\.initial_block$", r"\.to_style1\.")),
    ("GFPGAN's clean decoder (no StyleGAN2)", (r"(^|\.)style_conv1\.bias$", r"(^|\.)style_mlp\.")),
    ("a SWAGAN network", (r"\.(iwt|dwt)\.(ll|lh|hl|hh)$",)),
    ("a StyleSDF or StyleNeRF network", (r"(^|\.)(renderer|fg_nerf|nerf)\.",)),
    ("a StyleSwin network", (r"\.attn\.\d\.relative_position_bias_table|\.relative_position_bias_table",)),
    ("a StyleGAN-T network", (r"(^|\.)synthesis\.input\.(affine|transform)", r"\.conv\d\.gamma$")),
    ("a CIPS network", (r"(^|\.)(lff|emb\.input)(\.|$)", r"(^|\.)style\.\d")),
    ("an alias-free network of rosinality's", (r"(^|\.)input\.(freq|phase)s?$",)),
    ("a StyleGAN network of the first version", (r"(^|\.)progression\.\d+\.",)),
    ("a StyleGAN network of the first version", (r"(^|\.)synthesis\.layer\d+\.(epilogue|apply_noise)\.",)),
    ("a StyleGAN network of the first version", (r"(^|\.)(g_synthesis|g_mapping)\.",)),
    (
        "a Progressive GAN network",
        (
            r"(^|\.)(layer0|scaleLayers|toRGBLayers)\.",
            r"(^|\.)(output\d|toRGBLayers|lod)",
        ),
    ),
    ("a BigGAN network", (r"(^|\.)(shared\.weight|blocks\.0\.0\.conv1\.)",)),
    ("a FastGAN (or Projected GAN) network", (r"(^|\.)init\.init\.\d", r"(^|\.)(feat_8|se_64)\.")),
    ("a VQGAN", (r"(^|\.)quantize\.(embedding|embed)",)),
    ("a diffusion model", (r"(^|\.)(diffusion_model|down_blocks|unet|denoise_fn)\.",)),
    ("an encoder without its generator", (r"(^|\.)encoder\.",)),
    ("a classifier", (r"(^|\.)(layer4\.\d\.conv\d|classifier\.\d|features\.\d+)\.weight$",)),
)
N_HIDING_STYLEGAN2 = 6  # the first of them, which have parts with the names of a StyleGAN2


def foreign_kind(contents: Contents, has_generator: bool = False) -> str | None:
    """What a file holds, where its names show it. `has_generator`: names of a StyleGAN2 generator are there, which may
    be a part of something larger.
    """
    for kind, patterns in KINDS[:N_HIDING_STYLEGAN2] if has_generator else KINDS:
        if all(any(re.search(pattern, name) for name in contents.tensors) for pattern in patterns):
            return kind
    return None
