"""What objects in a pickle become: things without behaviour, which keep what was stored with them.

Names that only somebody who wants to run something would write end the reading; every other name that is not known
becomes a `Stub`. Neither is looked up, let alone called.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from gan2shape.checkpoints.stored import StoredTensor

SHOWN_NAME = 60  # characters of a foreign name in a message


class Global(NamedTuple):
    """A name in a module, not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


def shown(name: str) -> str:
    """A foreign name as one printable piece of a sentence."""
    text = "".join(c if c.isprintable() else "?" for c in name[: SHOWN_NAME + 1])
    return text if len(name) <= SHOWN_NAME else text[:SHOWN_NAME] + "…"


@dataclass(slots=True)
class Stub:
    """What is left of an object: the name of its class, its attributes and items, the arguments it was made of."""

    kind: str
    state: dict = field(default_factory=dict)
    args: tuple = ()
    items: list = field(default_factory=list)  # of a list-like object


@dataclass(slots=True)
class ArrayClaim:
    """A numpy array whose contents come as state. Without a tensor: of a type that no weight has."""

    tensor: StoredTensor | None = None


@dataclass(frozen=True, slots=True)
class ArrayType:
    """A numpy element type; None where no weight has it."""

    dtype: torch.dtype | None


class Key:
    """Stands for a dictionary's key that is no short plain value: hashing those can take forever."""

    def __str__(self) -> str:
        return "…"


RUNNING_MODULES = {  # whose functions run, open or fetch something
    *(
        "os",
        "posix",
        "nt",
        "subprocess",
        "sys",
        "shutil",
        "socket",
        "runpy",
        "importlib",
        "ctypes",
        "pty",
        "webbrowser",
    ),
    *("urllib", "ftplib", "requests", "marshal", "pickle", "_pickle", "cPickle", "dill", "cloudpickle"),
}
BUILTIN_MODULES = {"builtins", "__builtin__"}
RUNNING_BUILTINS = {"eval", "exec", "execfile", "compile", "open", "input", "__import__", "breakpoint", "globals"}


def runs_something(name: Global) -> bool:
    """Whether calling that name, as an ordinary reader would, runs or opens something of the writer's choice."""
    if name.module in BUILTIN_MODULES:
        return name.name.partition(".")[0] in RUNNING_BUILTINS
    return name.module.partition(".")[0] in RUNNING_MODULES


def is_plain(value: Any) -> bool:
    """Whether a value may be a dictionary's key as it is."""
    return value is None or isinstance(value, str | bool | float)
