"""The one exception that users see. Imports nothing, so that the command line can name it at once."""


class UserError(Exception):
    """Bad input. The message is one sentence: the cause and the remedy. The CLI prints it and exits with code 2."""
