"""A time limit for an action that has none of its own."""

import queue
import threading


def within(seconds: float, action):
    """Return what `action` returns; raise what it raises, or TimeoutError when time is up.

    It runs in a thread, because no setting covers all: a name look-up that hangs, an answer that trickles in.
    """
    answers = queue.Queue()

    def act():
        try:
            answers.put((action(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=act, daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error:
        raise error
    return value
