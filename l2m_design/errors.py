"""What a user may be told: bad input is one line and exit 2."""


class BadInput(ValueError):
    """What the user gave cannot be used; the message is one line naming where, what and what is allowed."""
