"""Limits and an audit hook for processes that open hostile files."""

import encodings.cp437  # noqa: F401  (zipfile loads it when it meets odd names: before the watch begins)
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_HEADROOM = 768 * 2**20  # bytes of address space beyond what the process has when the limit is set
SECONDS_EACH = 30  # of one file, on a machine that may be busy
FORBIDDEN = ("exec", "os.", "subprocess.", "socket.", "pickle.", "ctypes.", "shutil.", "marshal.", "import")
HARMLESS = ("os.scandir", "os.listdir")


class Watch:
    """Collects audit events that mean execution, while armed. Audit hooks cannot be removed."""

    def __init__(self) -> None:
        self.is_armed = False
        self.events: list[tuple[str, str]] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if not self.is_armed or event in HARMLESS:
            return
        is_writing = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if is_writing or event.startswith(FORBIDDEN):
            self.events.append((event, str(arguments)[:200]))

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Watch what happens inside."""
        self.is_armed = True
        try:
            yield
        finally:
            self.is_armed = False


def resident_mb(wanted: str) -> float:
    """VmRSS, now, or VmHWM, the highest since `reset_peak`, of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{wanted}:")) / 1024


def reset_peak() -> None:
    """Start the highest resident memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def limit_memory() -> None:
    """From now on this process may take `MEMORY_HEADROOM` more address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + MEMORY_HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


@contextmanager
def deadline() -> Iterator[None]:
    """TimeoutError after `SECONDS_EACH`."""

    def late(*_: object) -> None:
        raise TimeoutError(f"takes longer than {SECONDS_EACH} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS_EACH)
    try:
        yield
    finally:
        signal.alarm(0)
