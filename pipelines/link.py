"""A bounded queue between two elements, with a stated answer to the question: what if it is full?"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lineside.pipelines.frame import Frame
from lineside.runtime.errors import BadOption

__all__ = ["Gate", "Link", "Policy", "PolicyKind"]

PolicyKind = Literal["latest", "every", "drop-oldest"]


@dataclass(frozen=True)
class Policy:
    """What a full queue does.

    Attributes:
        kind: ``latest``: one place, a newer frame takes it; ``drop-oldest``: ``depth`` places, the oldest goes;
            ``every``: nothing goes. Where the sender can wait it waits; where it cannot, the new frame is a counted
            overflow.
        depth: Number of places.

    Raises:
        BadOption: The depth is not positive, or not 1 for ``latest``.
    """

    kind: PolicyKind
    depth: int = 1

    def __post_init__(self) -> None:
        if self.depth < 1 or (self.kind == "latest" and self.depth != 1):
            raise BadOption(f"policy {self.kind} with depth {self.depth}: depth must be at least 1, and 1 for latest")

    @classmethod
    def parse(cls, text: str, depth: int = 4) -> Policy:
        """Reads ``latest``, ``every``, ``every:N``, ``drop-oldest`` or ``drop-oldest:N``.

        Args:
            text: The policy as a user writes it.
            depth: Number of places where the text gives none.

        Raises:
            BadOption: The text is none of these.
        """
        match = re.fullmatch(r"(latest|every|drop-oldest)(?:[: ](\d{1,6}))?", text.strip())
        if match is None or (match[1] == "latest" and match[2]):
            raise BadOption(f"policy {text!r} is not known; write latest, every, every:N, drop-oldest or drop-oldest:N")
        kind: PolicyKind = match[1]  # type: ignore[assignment]
        return cls(kind, 1 if kind == "latest" else int(match[2] or depth))

    def __str__(self) -> str:
        return self.kind if self.kind == "latest" else f"{self.kind}:{self.depth}"


class Gate:
    """Where those wait who take frames: one lock and one signal for all the queues that they take from."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.filled = threading.Condition(self.lock)


class Link:
    """A first-in first-out queue of frames with a policy.

    Args:
        name: Name in counters and events.
        policy: What happens when it is full.
        displaced: Called with each frame that a newer one pushes out, outside the queue's lock.
        gate: Where its takers wait; its own where none is given.
        taking: Called with each frame that is taken, inside the gate's lock: what it numbers is in the order of taking.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        displaced: Callable[[Frame], None],
        *,
        gate: Gate | None = None,
        taking: Callable[[Frame], None] | None = None,
    ) -> None:
        gate = gate or Gate()
        self.name = name
        self.policy = policy
        self._displaced = displaced
        self._taking = taking
        self._frames: deque[Frame] = deque()
        self._closed = False
        self._lock = gate.lock
        self._filled = gate.filled
        self._emptied = threading.Condition(self._lock)

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def closed(self) -> bool:
        """Whether the sender has finished."""
        return self._closed

    @property
    def full(self) -> bool:
        """Whether one more frame would displace another, wait or overflow."""
        return len(self._frames) >= self.policy.depth

    def offer(self, frame: Frame) -> bool:
        """Puts a frame in without waiting.

        Returns:
            False where the frame was not taken: the queue is full and its policy is ``every``, or it is closed.
        """
        return self._put(frame, wait=False)

    def put(self, frame: Frame) -> bool:
        """Puts a frame in and waits for a place where the policy is ``every``.

        Returns:
            False where the queue was closed before there was a place.
        """
        return self._put(frame, wait=True)

    def _put(self, frame: Frame, *, wait: bool) -> bool:
        gone: Frame | None = None
        with self._lock:
            if self.policy.kind == "every":
                while wait and self.full and not self._closed:
                    self._emptied.wait()
                if self.full:
                    return False
            if self._closed:
                return False
            if self.full:
                gone = self._frames.popleft()
            self._frames.append(frame)
            self._filled.notify()
        if gone is not None:
            self._displaced(gone)
        return True

    def poll(self) -> Frame | None:
        """Takes the oldest frame without waiting; None where there is none."""
        with self._lock:
            return self.pop()

    def get(self) -> Frame | None:
        """Takes the oldest frame and waits for one; None once the queue is closed and empty."""
        with self._lock:
            while not self._frames and not self._closed:
                self._filled.wait()
            return self.pop()

    def pop(self) -> Frame | None:
        """Takes the oldest frame; only for who holds the gate's lock."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._emptied.notify()
        if self._taking is not None:
            self._taking(frame)
        return frame

    def close(self) -> None:
        """Says that no more frames come; those inside can still be taken. Wakes everyone who waits."""
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        """Closes; holds the lock."""
        self._closed = True
        self._filled.notify_all()
        self._emptied.notify_all()

    def abandon(self) -> list[Frame]:
        """Closes the queue and takes out everything that still waits in it."""
        with self._lock:  # in one go, so that nothing slips in between
            left = list(self._frames)
            self._frames.clear()
            self._shut()
        return left
