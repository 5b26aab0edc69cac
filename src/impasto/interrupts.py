"""Ctrl-C where it must wait."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Pass over Ctrl-C for as long as the context lasts: what was begun is finished in it.

    Whoever presses it again, as people do, would lose what the first one was to keep. In other
    threads than the main one, where it never arrives, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
