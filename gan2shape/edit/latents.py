"""Edits of the latent alone, each an OFFSET that is added to the input's latent: w [1, D], or W+ with a row a layer.

An offset says nothing of view or light, so it is added to the projections of any pose.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor


def as_rows(latent: Float[Tensor, "B *L D"], n_layers: int) -> Float[Tensor, "B L D"]:
    """W+ of w (the same row for each layer) or of W+."""
    return latent[:, None].expand(-1, n_layers, -1) if latent.ndim == 2 else latent


def with_offset(latents: Float[Tensor, "B *L D"], offset: Float[Tensor, "1 *M D"] | None) -> Float[Tensor, "B *N D"]:
    """Latents moved by an offset; W+ where either of the two is."""
    if offset is None:
        return latents
    if latents.ndim == 2 and offset.ndim == 3:
        latents = latents[:, None]
    elif latents.ndim == 3 and offset.ndim == 2:
        offset = offset[:, None]
    return latents + offset


def added(
    first: Float[Tensor, "1 *L D"] | None, second: Float[Tensor, "1 *M D"] | None
) -> Float[Tensor, "1 *N D"] | None:
    """Both offsets, one after the other."""
    return second if first is None else with_offset(first, second)


def on_layers(offset: Float[Tensor, "1 *L D"], layers: Sequence[int], n_layers: int) -> Float[Tensor, "1 *M D"]:
    """The offset in some rows of W+, nothing in the others; unchanged where all rows are meant."""
    if len(layers) == n_layers:
        return offset
    kept = offset.new_zeros(1, n_layers, 1)
    kept[:, list(layers)] = 1.0
    return kept * as_rows(offset, n_layers)


def towards(
    own: Float[Tensor, "1 *L D"], other: Float[Tensor, "1 *M D"], amount: float, layers: Sequence[int], n_layers: int
) -> Float[Tensor, "1 *N D"]:
    """The part `amount` of the way from one latent to another, in some layers.

    With all layers: interpolation, 0 is `own` and 1 is `other`. With some of them and amount 1: style mixing (Karras et
    al. 2019, section 3.1); coarse layers bring view and form, fine ones colour.
    """
    if own.ndim != other.ndim:
        own, other = as_rows(own, n_layers), as_rows(other, n_layers)
    return on_layers(amount * (other - own), layers, n_layers)
