"""Why a file is not read further, as half a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

DOWNLOAD_AGAIN = "download it again"
CHECK_PATH = "check the path"
AS_PUBLISHED = "StyleGAN2 is read as its publishers build it, so give another file"


class UnreadableError(Exception):
    """A file that is not read further. The message continues a sentence whose subject is the file; `remedy` is what
    to do where that is something else than to give another checkpoint.
    """

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class NoFileError(UnreadableError):
    """There is no file to read."""

    def __init__(self, message: str, remedy: str = CHECK_PATH) -> None:
        super().__init__(message, remedy)


@contextmanager
def remedy_of_networks() -> Iterator[None]:
    """What is wrong inside is wrong with a StyleGAN2: another remedy than for what is none."""
    try:
        yield
    except UnreadableError as error:
        raise UnreadableError(str(error), error.remedy or AS_PUBLISHED) from error
