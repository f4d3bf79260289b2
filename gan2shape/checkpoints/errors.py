"""Why a file is not read further, as half a sentence."""

DOWNLOAD_AGAIN = "download it again"
CHECK_PATH = "check the path"


class UnreadableError(Exception):
    """A file that is not read further. The message continues a sentence whose subject is the file; `remedy` says what
    to do where that is something else than to give another checkpoint.
    """

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class NoFileError(UnreadableError):
    """There is no file to read."""

    def __init__(self, message: str, remedy: str = CHECK_PATH) -> None:
        super().__init__(message, remedy)
