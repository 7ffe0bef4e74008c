"""What went wrong, in words for the person at the terminal."""


class EbctlError(Exception):
    """The command cannot be done; the message says why and what to do."""
