"""The one root of every error that advshape raises on purpose."""


class AdvshapeError(ValueError):
    """Bad input or an impossible request; the message says what was seen, what is allowed and what to do."""
