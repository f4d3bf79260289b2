"""Somebody else's networks under our names, whoever wrote them."""

from typing import Any

from gan2shape.checkpoints.contents import (
    NO_AVERAGE,
    Contents,
    best_discriminator,
    best_generator,
    flatten,
    is_average,
    places,
)
from gan2shape.checkpoints.errors import UnreadableError, remedy_of_networks
from gan2shape.checkpoints.inert import shown
from gan2shape.checkpoints.layouts import Foreign
from gan2shape.checkpoints.nvidia_files import NVIDIA_DISCRIMINATOR, NVIDIA_GENERATOR, read_nvidia
from gan2shape.checkpoints.other_kinds import foreign_kind
from gan2shape.checkpoints.rosinality_files import (
    BASICSR_GENERATOR,
    GENFORCE_GENERATOR,
    MMGENERATION_GENERATOR,
    ROSINALITY_DISCRIMINATOR,
    ROSINALITY_GENERATOR,
    read_basicsr,
    read_genforce,
    read_mmgeneration,
    read_rosinality,
)
from gan2shape.checkpoints.tensorflow_files import read_tensorflow, tensorflow_networks

READERS = {  # by a name that only a generator of that layout has
    NVIDIA_GENERATOR: read_nvidia,
    ROSINALITY_GENERATOR: read_rosinality,
    BASICSR_GENERATOR: read_basicsr,
    MMGENERATION_GENERATOR: read_mmgeneration,
    GENFORCE_GENERATOR: read_genforce,
}
SHOWN_NAMES = 3  # of the tensors in a file without a generator


def read_foreign(container: str, value: Any) -> Foreign:
    """The networks in a file's value. Raises UnreadableError, by name where it can, for what is no StyleGAN2."""
    if networks := tensorflow_networks(value):
        with remedy_of_networks():
            return read_tensorflow(networks)
    contents = flatten(value)
    found = places(contents, tuple(READERS))
    kind = foreign_kind(contents, bool(found))
    if kind is not None:
        raise UnreadableError(f"holds {kind}, which is not supported")
    if not found:
        raise UnreadableError(f"holds no StyleGAN2 generator{_what_there_is(contents)}")
    taken = best_generator(contents, found)
    critic = best_discriminator(places(contents, (NVIDIA_DISCRIMINATOR, ROSINALITY_DISCRIMINATOR)))
    with remedy_of_networks():
        foreign = READERS[taken.tail](contents, taken, critic, container)
    others = [place for place in found if place.prefix != taken.prefix]
    if not is_average(contents, taken) and critic is not None:
        foreign.notes.append(NO_AVERAGE)
    if contents.classes and "." in contents.classes[0]:
        foreign.notes.append(
            f"Networks lie in it as whole objects ({contents.classes[0]}); only their numbers were read."
        )
    foreign.describe_rest(contents, taken, others, critic)
    return foreign


def _what_there_is(contents: Contents) -> str:
    names = [shown(name) for name in list(contents.tensors)[:SHOWN_NAMES]]
    return f" (its weights are named {', '.join(names)}, …)" if names else " (there are no weights in it)"
