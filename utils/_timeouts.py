"""A time limit for an action that has none of its own."""

import queue
import threading


def within(seconds: float, action):
    """Return what `action` returns, or raise what it raises.

    It runs in a thread, because no setting covers every case: a name look-up that hangs, an answer
    that trickles in. The thread is not stopped when time is up.

    Args:
        seconds: the limit.
        action: a function without arguments.

    Raises:
        TimeoutError: the time is up.
    """
    outcomes = queue.Queue()

    def act():
        try:
            outcomes.put((action(), None))
        except BaseException as error:
            outcomes.put((None, error))

    threading.Thread(target=act, daemon=True).start()
    try:
        value, error = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no result within {seconds:g} s") from None
    if error is not None:
        raise error
    return value
