"""What every reader of somebody else's networks returns, and what they share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gan2shape.checkpoints.assemble import WHOLE_BATCH, State, is_positive
from gan2shape.checkpoints.contents import Contents, Place, ignored
from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.stored import StoredTensor

GOLDEN = "exact: compared with numbers of the published code"
SHAPES_ONLY = "shapes only: no published numbers were at hand to compare with"
ASSUMED = "exact only if the assumed settings are right"
DEFAULT, FROM_FILE = "published default", "from the file"


@dataclass
class Foreign:
    """A generator, perhaps a discriminator, under our names."""

    kind: str  # who wrote it, for people
    generator: State
    discriminator: State | None
    generator_settings: Mapping[str, Any]
    discriminator_settings: Mapping[str, Any]
    tested: str = GOLDEN
    notes: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    taken: str = ""  # prefix of the generator's names
    ignored: list[str] = field(default_factory=list)  # what else lies in the file, and why it is not used

    def describe_rest(self, contents: Contents, taken: Place, others: list[Place], critic: Place | None) -> None:
        """Record which prefix was taken and what was not used."""
        used = [] if critic is None else [critic.prefix]
        self.taken = taken.prefix
        self.ignored = ignored(contents, taken, others, (*used, "latent_avg.", *(f"{n}." for n in self.names_used)))

    names_used: tuple[str, ...] = ()  # outermost names that belong to a generator without a prefix


def positive(value: Any, what: str) -> float | None:
    """A number above zero, or None. Raises UnreadableError for anything else."""
    if isinstance(value, StoredTensor) and value.n_values == 1:  # a number of numpy's
        value = value.read().item()
    if value is not None and not is_positive(value):
        raise UnreadableError(f"has an impossible {what}")
    return None if value is None else float(value)


def checked_group(group: Any) -> int:
    """The discriminator's minibatch group; None is the whole batch."""
    group = WHOLE_BATCH if group is None else group
    if type(group) is not int or not 0 < group <= WHOLE_BATCH:
        raise UnreadableError("has a minibatch group of impossible size")
    return group
