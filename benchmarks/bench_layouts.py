"""Files that publishers' own code writes, opened here: size, seconds, memory, and how far the image is from theirs.

    python benchmarks/bench_layouts.py --rosinality DIR --nvidia DIR [--psp DIR] [--e4e DIR] [--restyle DIR]
        [--basicsr DIR] [--genforce DIR] [--dualstylegan DIR] [--sizes 64 256 1024]

Each DIR is a clone of the publisher's repository (stylegan2-pytorch, stylegan2-ada-pytorch, pixel2style2pixel,
encoder4editing, restyle-encoder, BasicSR, genforce, DualStyleGAN); its code is run. Networks are config-f with seeded
random weights, biases and noise strengths. The publisher's code draws one image with constant noise; a fresh process
opens the file and draws the same latent. Compiled operations, which need CUDA, are replaced by what they compute. One
thread, seconds of the processor, memory above what the process has with torch imported.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path

import torch
from bench_checkpoints import LATENT, MAPPING_LAYERS, measure
from torch import Tensor, nn

# Packages whose `__init__` is not run.
BARE = {"basicsr": ("basicsr", "basicsr.archs", "basicsr.utils"), "genforce": ("models",)}
MAPPING = ("style.", "style_mlp.", "mapping.", "decoder.style.", "generator.style.")
HEAD = "| layout, size | file, MB | to open, s | an image, s | memory, MB | largest | mean |\n" + "|---" * 7 + "|"
FIGURES = ("file_mb", "load_cpu_s", "generate_cpu_s", "peak_mb", "max", "mean")
FORMATS = (".0f", ".1f", ".2f", ".0f", ".1e", ".1e")
Draw = Callable[[Tensor], Tensor]  # the publisher's image of a latent


def fused_bias_act(x: Tensor, bias: Tensor, _ref: Tensor, _act: int, _grad: int, slope: float, scale: float) -> Tensor:
    """What the publishers' compiled activation computes, forwards."""
    x = x + bias.view(1, -1, *[1] * (x.ndim - 2)) if bias.numel() else x
    return nn.functional.leaky_relu(x, slope) * scale


def upfirdn2d(*arguments: object) -> Tensor:
    """The publisher's own resampling in plain torch, which lies beside the compiled one."""
    modules = [m for name, m in sys.modules.items() if name.endswith(".upfirdn2d") and hasattr(m, "upfirdn2d_native")]
    modules[0].F = nn.functional  # pSp's uses it without an import
    return modules[0].upfirdn2d_native(*arguments)


def prepare(layout: str, clone: Path) -> None:
    """The publisher's modules can be imported: nothing is compiled, nor imported that no generator needs."""
    import torch.utils.cpp_extension

    sys.modules.setdefault("matplotlib", types.SimpleNamespace(use=str))  # imported, not needed, and so are the next
    for name in ("torchvision", "torchvision.models", "torchvision.models.resnet"):
        sys.modules.setdefault(name, types.SimpleNamespace(resnet34=None))
    operations = types.SimpleNamespace(fused_bias_act=fused_bias_act, upfirdn2d=upfirdn2d)
    torch.utils.cpp_extension.load = lambda *_, **__: operations
    os.environ["BASICSR_JIT"] = "True"  # BasicSR loads them there
    sys.path.insert(0, str(clone))
    for name in BARE.get(layout, ()):
        package = types.ModuleType(name)
        package.__path__ = [str(clone / name.replace(".", "/"))]
        sys.modules[name] = package


@torch.no_grad()
def stirred(network: nn.Module) -> nn.Module:
    """The network with biases and noise strengths that matter."""
    for name, parameter in network.named_parameters():
        if "bias" in name or parameter.numel() == 1:
            parameter += torch.randn_like(parameter) * (10 if name.startswith(MAPPING) else 0.1)
    return network.eval().requires_grad_(False)


def write_rosinality(size: int, path: Path) -> Draw:
    """As train.py writes its checkpoints."""
    from model import Discriminator, Generator

    g, g_ema = (stirred(Generator(size, LATENT, MAPPING_LAYERS)) for _ in range(2))
    d = stirred(Discriminator(size))
    value = {"g": g.state_dict(), "d": d.state_dict(), "g_ema": g_ema.state_dict()}
    torch.save(value | {"args": argparse.Namespace(size=size, path="cars.lmdb"), "ada_aug_p": 0.0}, path)
    return lambda z: g_ema([z], randomize_noise=False)[0]


def write_nvidia(size: int, path: Path) -> Draw:
    """As training_loop.py writes its snapshots; the settings are those of `train.py --cfg=stylegan2`."""
    from dnnlib import EasyDict
    from training.networks import Discriminator, Generator

    common = {"c_dim": 0, "img_resolution": size, "img_channels": 3}
    widths = {"channel_base": 32768, "channel_max": 512, "num_fp16_res": 4, "conv_clamp": 256}
    made = {"mapping_kwargs": EasyDict(num_layers=MAPPING_LAYERS), "synthesis_kwargs": EasyDict(widths)}
    g, g_ema = (stirred(Generator(z_dim=LATENT, w_dim=LATENT, **made, **common)) for _ in range(2))
    d = stirred(Discriminator(epilogue_kwargs=EasyDict(mbstd_group_size=4), **widths, **common))
    value = {"training_set_kwargs": EasyDict(path="cars.zip"), "G": g, "D": d, "G_ema": g_ema, "augment_pipe": None}
    path.write_bytes(pickle.dumps(value))
    return lambda z: g_ema(z, None, noise_mode="const", force_fp32=True)


def encoder_file(network: type[nn.Module], size: int, path: Path, encoder: str, n_channels: int = 3) -> Draw:
    """As pSp's coach.py and those of its followers write their checkpoints, encoder included."""
    network.load_weights = lambda _: None  # would read other files
    sizes = {"output_size": size, "stylegan_size": size, "input_nc": n_channels}
    made = network(argparse.Namespace(encoder_type=encoder, start_from_latent_avg=True, **sizes))
    stirred(made)
    mean = made.decoder.mean_latent(1000).repeat(2 * size.bit_length() - 4, 1)
    torch.save({"state_dict": made.state_dict(), "opts": vars(made.opts), "latent_avg": mean}, path)
    return lambda z: made.decoder([z], randomize_noise=False)[0]


def write_psp(size: int, path: Path) -> Draw:
    """pSp's networks."""
    from models.psp import pSp

    return encoder_file(pSp, size, path, "GradualStyleEncoder")


def write_e4e(size: int, path: Path) -> Draw:
    """e4e's."""
    from models.psp import pSp

    return encoder_file(pSp, size, path, "Encoder4Editing")


def write_restyle(size: int, path: Path) -> Draw:
    """ReStyle's, over e4e: its encoder sees the input and the last reproduction."""
    from models.e4e import e4e

    return encoder_file(e4e, size, path, "ProgressiveBackboneEncoder", 6)


def write_basicsr(size: int, path: Path) -> Draw:
    """As BasicSR's base_model.py writes a generator and its average."""
    from basicsr.archs.stylegan2_arch import StyleGAN2Generator

    g, g_ema = (stirred(StyleGAN2Generator(size)) for _ in range(2))
    torch.save({"params": g.state_dict(), "params_ema": g_ema.state_dict()}, path)
    return lambda z: g_ema([z], randomize_noise=False)[0]


def write_genforce(size: int, path: Path) -> Draw:
    """As genforce's base_runner.py writes its checkpoints."""
    from models.stylegan2_discriminator import StyleGAN2Discriminator
    from models.stylegan2_generator import StyleGAN2Generator

    g, g_ema = (stirred(StyleGAN2Generator(size)) for _ in range(2))
    models = {"generator": g, "discriminator": StyleGAN2Discriminator(size), "generator_smooth": g_ema}
    models = {name: network.state_dict() for name, network in models.items()}
    torch.save({"models": models, "running_metadata": {"iter": 1, "seen_img": 32}}, path)
    return lambda z: g_ema(z)["image"]


def write_dualstylegan(size: int, path: Path) -> Draw:
    """As finetune_dualstylegan.py writes its checkpoints; drawn without the style path."""
    from model.dualstylegan import DualStyleGAN

    g_ema = stirred(DualStyleGAN(size, LATENT, MAPPING_LAYERS))
    torch.save({"g_ema": g_ema.state_dict()}, path)
    return lambda z: g_ema([z], None, randomize_noise=False, use_res=False)[0]


LAYOUTS = (
    write_rosinality, write_nvidia, write_psp, write_e4e, write_restyle, write_basicsr, write_genforce,
    write_dualstylegan,
)  # fmt: skip
WRITERS = {writer.__name__.removeprefix("write_"): writer for writer in LAYOUTS}


@torch.no_grad()
def write(layout: str, clone: Path, size: int, path: Path) -> None:
    """A checkpoint by the publisher's code, and beside it a latent and the publisher's image of it."""
    prepare(layout, clone)
    torch.manual_seed(0)
    draw = WRITERS[layout](size, path)
    z = torch.randn(1, LATENT)
    torch.save({"z": z, "image": draw(z)}, path.with_suffix(".truth"))


def opened(path: Path) -> dict:
    """What it takes to open the file and draw, and the difference from the publisher's image."""
    truth = torch.load(path.with_suffix(".truth"))
    figures, image = measure(path, truth["z"])
    difference = (image - truth["image"]).abs()
    figures["peak_mb"] = max(figures["load_peak_mb"], figures["loaded_mb"] + figures["generate_peak_mb"])
    return figures | {"max": difference.max().item(), "mean": difference.mean().item()}


def row(layout: str, size: int, figures: dict) -> str:
    """One line of the table."""
    cells = [format(figures[name], how) for name, how in zip(FIGURES, FORMATS, strict=True)]
    return f"| {layout}, {size} | " + " | ".join(cells) + " |"


def child(*words: object) -> str:
    """What a fresh process of this file prints."""
    return subprocess.check_output([sys.executable, __file__, *map(str, words)], text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for layout in WRITERS:
        parser.add_argument(f"--{layout}", type=Path, metavar="DIR")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024])
    for internal in ("--write", "--into", "--measure"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.measure:
        print(json.dumps(opened(Path(arguments.measure))))
    elif arguments.write:
        write(arguments.write, getattr(arguments, arguments.write), arguments.sizes[0], Path(arguments.into))
    else:
        print(HEAD)
        with tempfile.TemporaryDirectory() as folder:
            for layout in WRITERS:
                clone, path = getattr(arguments, layout), Path(folder) / "checkpoint"
                for size in arguments.sizes if clone else ():
                    child(f"--{layout}", clone, "--write", layout, "--sizes", size, "--into", path)
                    print(row(layout, size, json.loads(child("--measure", path))), flush=True)


if __name__ == "__main__":
    main()
