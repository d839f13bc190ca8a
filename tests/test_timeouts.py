import threading
import time

import pytest

from utils._timeouts import within


def test_the_value_is_returned():
    assert within(5, lambda: 6 * 7) == 42
    assert within(5, lambda: None) is None


@pytest.mark.parametrize("error", [KeyError("mine"), TimeoutError("mine"), SystemExit(3)])
def test_an_error_is_raised_in_the_calling_thread(error):
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        within(5, fail)
    assert caught.value is error


def test_an_action_that_hangs_ends_in_a_timeout():
    release = threading.Event()
    began = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"no result within 0\.1 s"):
        within(0.1, release.wait)
    assert 0.1 <= time.perf_counter() - began < 5
    release.set()
