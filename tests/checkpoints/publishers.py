"""Look-alikes of further publishers' files, from a generator in rosinality's or NVIDIA's names: the same numbers under
the names that their public code gives them.
"""

import torch
from torch import Tensor

State = dict[str, Tensor]


def basicsr(state: State) -> State:
    """BasicSR: noise strengths are the layers' own `weight`, kernels are no buffers."""
    named = {}
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        if "kernel" in name:
            continue
        if head == "style":
            named[f"style_mlp.{rest}"] = tensor
        elif head == "input":
            named["constant_input.weight"] = tensor
        elif head == "noises":
            named[f"noises.{rest.replace('_', '')}"] = tensor
        else:
            layer = name.replace(".conv.", ".modulated_conv.").replace(".noise.weight", ".weight")
            named[layer if head.startswith("to_rgb") else f"style_{layer}"] = tensor
    return named


def mmgeneration(state: State) -> State:
    """mmgeneration: equalised weights are called `weight_orig`, linear layers are wrapped, noise maps are flat."""
    named = {}
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        if head == "style":
            index, kind = rest.split(".")
            named[f"style_mapping.{index}." + ("linear.weight_orig" if kind == "weight" else "bias")] = tensor
        elif head == "input":
            named["constant_input.input"] = tensor
        elif head == "noises":
            named[f"injected_noise_{rest.rpartition('_')[2]}"] = tensor
        elif name.endswith("conv.modulation.weight"):
            named[name.replace("modulation.weight", "style_modulation.linear.weight_orig")] = tensor
        elif name.endswith("conv.weight"):
            named[f"{name}_orig"] = tensor
        else:
            old = name.replace("conv.modulation.bias", "conv.style_modulation.bias")
            named[old.replace(".noise.weight", ".noise_injector.weight")] = tensor
    return named


def genforce(state: State) -> State:
    """genforce, from NVIDIA's names: layers are counted, upsampling kernels rotated, the modulation's bias less one."""
    named = {"truncation.w_avg": state["mapping.w_avg"]}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "mapping" and parts[1].startswith("fc"):
            named[f"mapping.dense{parts[1][2:]}.{parts[2]}"] = tensor
        elif name == "synthesis.b4.const":
            named["synthesis.early_layer.const"] = tensor[None]
        elif parts[0] == "synthesis" and len(parts) > 3 and parts[-1] != "resample_filter":
            octave = int(parts[1][1:]).bit_length() - 3
            is_up = parts[2] == "conv0"
            layer = f"output{octave}" if parts[2] == "torgb" else f"layer{2 * octave - is_up}"
            kind = ".".join(parts[3:]).replace("affine", "style").replace("noise_const", "noise")
            tensor = tensor[None, None] if kind == "noise" else tensor
            tensor = tensor.flip(2, 3) if kind == "weight" and is_up else tensor
            named[f"synthesis.{layer}.{kind}"] = tensor - 1 if kind == "style.bias" else tensor
    kernel = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (kernel[:, None] * kernel)[None, None] / 16
    return named | {"synthesis.layer1.filter.kernel": kernel, "synthesis.upsample.kernel": kernel}
