"""Errors whose message is all that a reader needs."""


class CompanionError(RuntimeError):
    """An error about the machine or the data; a notebook shows its message and no traceback.

    A wrong argument raises ValueError or TypeError instead, since there the traceback helps.
    """

    def _render_traceback_(self):
        """Return the lines that IPython prints instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]
