"""What a user may be told in one line: input that cannot be used (exit 2), work that could not be done (exit 1)."""


class BadInput(ValueError):
    """What the user gave cannot be used; the message is one line naming where, what and what is allowed."""


class WorkFailed(RuntimeError):
    """What was asked could not be finished, through no fault of the input; one line saying how to go on."""
