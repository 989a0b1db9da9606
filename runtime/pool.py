"""Lanes for threads that take turns; an interrupt at any moment costs none of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from lineside.runtime.errors import EngineFailed
from lineside.runtime.lane import Lane

__all__ = ["Pool"]

Result = TypeVar("Result")


class Pool:
    """What several threads share, each lane being one thread's alone while it is used.

    Which lane is whose stands in one place and changes by one assignment of a mark that its user made before. So wherever
    Ctrl-C strikes, a lane is marked or free, and whoever marked it can tell.

    Args:
        lanes: Lanes, owned by the pool from now on.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = tuple(lanes)
        self._users: list[object | None] = [None] * len(self._lanes)
        self._lock = (
            threading.RLock()
        )  # entered by itself: an interrupt can strike inside of a Condition's own entering
        self._changed = threading.Condition(self._lock)
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
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(self._users))
            with ExitStack() as stack:  # all of them, although one fails
                for lane in self._lanes:
                    stack.callback(lane.close)

    def _take(self, user: object) -> Lane:
        """The first free lane: of many a few stay in use, and their memory warm."""
        with self._lock:
            self._changed.wait_for(lambda: None in self._users or self._closed)
            if self._closed:
                raise EngineFailed("this model is closed: load the bundle again")
            place = self._users.index(None)
            self._users[place] = user
            return self._lanes[place]

    def _give_back(self, user: object) -> None:
        """Frees the lane that is marked, where one is."""
        with self._lock:
            if user in self._users:
                self._changed.notify_all()  # first: who is woken waits for the lock
                self._users[self._users.index(user)] = None
