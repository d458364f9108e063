"""How ``ojp-size`` ends before its time: one line, no process left, and files that are the old ones or the new ones.

Signals are heard by a thread of their own. The main one may be in compiled code or amid an import for seconds, and an
exception that is raised in there can get lost.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from ojp_sizing.errors import EXIT_BAD_INPUT

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

#: What a shell adds to the number of the signal that ended a command.
BY_SIGNAL = 128
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
#: How often a worker looks whether its parent still lives.
WATCH_S = 0.2


class _Now:
    """What the command is at, for whoever ends it."""

    #: Ctrl-C is an exception meanwhile, that the search answers with what it has; so many of them were raised.
    searching = False
    interruptions = 0
    files = "no file was written"


#: Held while files are written, which takes milliseconds: an end from outside waits for it.
_writing = Lock()
#: Taken by the one who ends the process, and never given back.
_ending = Lock()


def heed_signals() -> None:
    """From here on SIGINT, SIGTERM and SIGHUP end the process at once, in one line; those that it was told to ignore don't."""
    if signal.getsignal(signal.SIGTERM) is _hear:
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    # Written to on the instant, whatever the main thread is in.
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)
    Thread(target=_listen, args=(heard,), daemon=True).start()


@contextmanager
def interruptible() -> Iterator[None]:
    """In here the first Ctrl-C is a KeyboardInterrupt in the main thread; a second one ends all."""
    _Now.searching = True
    try:
        yield
    finally:
        _Now.searching = False


@contextmanager
def writing() -> Iterator[None]:
    """In here files are written: nothing but SIGKILL stops that midway."""
    with _writing:
        yield
        _Now.files = "the files were written"


def _hear(number: int, _: FrameType | None) -> None:
    """In the main thread, between two steps of Python."""
    if number == signal.SIGINT and _Now.searching:
        _Now.interruptions += 1
        raise KeyboardInterrupt
    # Amid writing the main thread must go on, and the other one waits for it; as it must where it is ending already.
    if not (_writing.locked() or _ending.locked()):
        _end_by(number)


def _listen(heard: int) -> None:
    ctrl_c = 0
    while True:
        number = os.read(heard, 1)[0]
        if number not in SIGNALS:
            continue
        if number == signal.SIGINT:
            ctrl_c += 1
            if ctrl_c == 1 and (_Now.searching or _Now.interruptions):
                continue
        _end_by(number)


def _end_by(number: int) -> NoReturn:
    with _writing:
        how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        _end(f"{how}; {_Now.files}", BY_SIGNAL + number)


def interrupted() -> NoReturn:
    """The end after Ctrl-C, once what is known has been printed."""
    leave(f"interrupted; {_Now.files}", BY_SIGNAL + signal.SIGINT)


def leave(line: str, code: int) -> NoReturn:
    """The main thread ends this process and those that it started, with a line on standard error unless it is empty."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        line, code = f"standard output: {error.strerror}", EXIT_BAD_INPUT
    _end(line, code)


def claim_the_end() -> None:
    """Returns for the first who ends this process; whoever comes later has nothing to say any more."""
    _ending.acquire()


def _end(line: str, code: int) -> NoReturn:
    claim_the_end()
    has_processes = "joblib.externals.loky" in sys.modules
    children: list[BaseProcess] = []
    # A signal may come amid these very imports; whatever is left then ends by itself (``end_with``).
    with suppress(ImportError, AttributeError):
        if has_processes:
            from multiprocessing import active_children  # noqa: PLC0415 - loaded already

            children = active_children()
    for child in children:
        child.terminate()
    with suppress(OSError, ValueError):
        # A bar may stand on the terminal, and its cursor be hidden. Not by sys.stderr, which another thread may hold.
        clean = "\r\x1b[K\x1b[?25h" if sys.stderr.isatty() else ""
        line = f"ojp-size: {' '.join(line.split())}\n" if line else ""
        os.write(2, (clean + line).encode(errors="backslashreplace"))
    for child in children:
        child.join(1.0)
    if has_processes:
        _give_back()
    # Not sys.exit: simulations under way in other threads would be waited for.
    os._exit(code)


def _give_back() -> None:
    """What was shared with other processes, which is left to finalizers that the way out skips; in silence."""
    from multiprocessing.util import _run_finalizers  # type: ignore[attr-defined]  # noqa: PLC0415

    # multiprocessing's own helper may have got the same signal, and is started again by these, with complaints.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # They may wait for a thread that is no more.
    finalizers = Thread(target=_run_finalizers, args=(0,), daemon=True)
    finalizers.start()
    finalizers.join(1.0)


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started in here don't hear what a terminal tells the whole group: this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(parent: int) -> None:
    """In a worker process: end soon after the process that started it, even if that is killed. Not told by Windows."""
    Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)
