"""Errors whose message is all that a reader needs."""


class CompanionError(RuntimeError):
    """An error whose message is all a reader needs: a notebook shows that one line and no traceback."""

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]
