"""Errors whose message is all that a reader needs."""


class CompanionError(RuntimeError):
    """An error about the machine, the data, or a setting or size that a reader chooses.

    A notebook shows its message and no traceback. Other wrong arguments raise ValueError or
    TypeError instead, since there the traceback helps.
    """

    def _render_traceback_(self):
        """Return the lines that IPython prints instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]
