"""Lanes for threads that take turns; an interrupt at any moment costs none of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TypeVar

from lineside.runtime.errors import EngineFailed
from lineside.runtime.lane import Lane

__all__ = ["Pool"]

Result = TypeVar("Result")


class Pool:
    """What several threads share, each lane being one thread's alone while it is used.

    Which lane is whose stands in one place and changes by one assignment of a mark that its user made before. So wherever
    Ctrl-C strikes, a lane is marked or free, and whoever marked it can tell.

    Who waits does so outside of the lock, for a queue of its own. A `threading.Condition` gives the lock back within its
    wait and takes it again in Python code, and Ctrl-C between the two ends as "cannot release un-acquired lock".

    Args:
        lanes: Lanes, owned by the pool from now on.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = tuple(lanes)
        self._users: list[object | None] = [None] * len(self._lanes)
        self._lock = threading.RLock()
        self._waiting: list[SimpleQueue[None]] = []
        self._closed = False

    def run(self, action: Callable[[Lane], Result]) -> Result:
        """Does something with a lane, after a wait where all of them are in use.

        Args:
            action: What to do; whatever it raises comes through.

        Raises:
            EngineFailed: The pool is closed.
        """
        user = object()
        try:
            return action(self._take(user))
        finally:
            try:
                self._give_back(user)
            finally:
                self._give_back(user)  # for an interrupt in the first one

    def close(self) -> None:
        """Waits for the lanes that are in use and closes all; a second call does nothing."""
        while True:
            with self._lock:
                if not self._closed:
                    self._wake()
                    self._closed = True
                if not any(self._users):
                    self._close_all()
                    return
                change = self._next_change()
            change.get()

    def _close_all(self) -> None:
        with ExitStack() as stack:  # all of them, although one fails
            for lane in self._lanes:
                stack.callback(lane.close)

    def _take(self, user: object) -> Lane:
        """The first free lane: of many a few stay in use, and their memory warm."""
        while True:
            with self._lock:
                if self._closed:
                    raise EngineFailed("this model is closed: load the bundle again")
                if None in self._users:
                    place = self._users.index(None)
                    self._users[place] = user
                    return self._lanes[place]
                change = self._next_change()
            change.get()

    def _give_back(self, user: object) -> None:
        """Frees the lane that is marked, where one is."""
        with self._lock:
            if user in self._users:
                self._wake()
                self._users[self._users.index(user)] = None

    def _next_change(self) -> SimpleQueue[None]:
        """Where the next change will be told; asked for with the lock held, waited for without."""
        change: SimpleQueue[None] = SimpleQueue()
        self._waiting.append(change)
        return change

    def _wake(self) -> None:
        """Lets everybody who waits look again, before the change: they wait for the lock until it is made."""
        for change in self._waiting:
            change.put(None)
        self._waiting.clear()
