"""One writer for a folder: a lock file that names its process, and the litter of processes that were killed."""

import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gan2shape.core.errors import UserError
from gan2shape.core.files import claim, release, set_aside

LOCK_NAME = ".gan2shape.lock"  # in a run's folder while the run works
THIS_PROCESS = uuid.uuid4().hex  # tells this process from an earlier one of the same number
PART = re.compile(r"^\..+\.(\d+)\.part(\.|$)")  # names of `write_atomic`'s temporary files
YOUNG_S = 10.0  # a lock without content is being written, if it is younger
STILL_ACTIVE = 259  # Windows: exit code of a process that has not ended
QUERY_LIMITED_INFORMATION = 0x1000  # Windows: the right that asking for it needs


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """`folder` is ours alone, exists and is writable; folders made for it go again if nothing was written.

    Raises UserError where another run works there. The lock of a process that has died is taken over, and what it left
    half written is removed.
    """
    created = claim(folder)
    try:
        path = folder / LOCK_NAME
        _take(path)
        try:
            remove_litter(folder)
            yield
        finally:
            with suppress(OSError):
                path.unlink()
    finally:
        release(created)


def _take(path: Path) -> None:
    """Create the lock file; the check and the creation are one step of the file system."""
    for _ in range(100):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            owner = _owner(path)
            if owner is not None and not _is_dead(owner, path):
                pid = (owner.split() or ["unknown"])[0]
                raise UserError(
                    f"{path.parent} is in use by another run (process {pid}): wait for its end, choose another folder "
                    f"with --out, or delete {path} if there is none."
                ) from None
            if owner is not None:
                set_aside(path, owner)
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()} {THIS_PROCESS} {socket.gethostname()}")
        return
    raise UserError(f"the lock {path} cannot be taken: delete it if no other run works there.")


def _owner(path: Path) -> str | None:
    """What a lock says of its process; None where the lock has gone meanwhile."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:  # Windows may refuse to read what another process has just opened
        return ""


def _is_dead(owner: str, path: Path) -> bool:
    """Whether the process that wrote a lock has ended. One of another machine may be alive."""
    parts = owner.split(maxsplit=2)
    if len(parts) < 3 or not parts[0].isdecimal():
        with suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime > YOUNG_S
        return True
    if parts[2] != socket.gethostname():
        return False
    pid = int(parts[0])
    return parts[1] != THIS_PROCESS if pid == os.getpid() else not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs here."""
    if pid <= 0:
        return False
    if os.name == "nt":  # there, signal 0 would end it
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(QUERY_LIMITED_INFORMATION, False, pid)
        if not handle:
            return False
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == STILL_ACTIVE
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    try:  # Linux: one that has ended but whose parent has not looked is dead
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def remove_litter(folder: Path) -> None:
    """Remove temporary files whose process was killed while it wrote them."""
    for path in folder.iterdir():
        found = PART.match(path.name)
        if found and int(found[1]) != os.getpid() and not is_alive(int(found[1])):
            with suppress(OSError):
                path.unlink()
