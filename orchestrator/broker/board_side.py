"""The part of a broker's view that is on the board, common to brokers that only carry messages."""

from __future__ import annotations

import secrets
import time

from orchestrator.broker.board import Board
from orchestrator.broker.heartbeats import Heartbeat, Look
from orchestrator.broker.refusals import Refusal
from orchestrator.settings import Settings

_SWEEP_EVERY_S = 3600.0


class BoardSide:
    """The part of a broker's view (view.py) that consists of files."""

    def __init__(self, given: Settings) -> None:
        self.board = Board(given.board_folder)
        self._me = secrets.token_hex(8)
        self._sweep_at = 0.0

    def dead(self) -> int:
        return self.board.dead()

    def tell_alive(self, beat: Heartbeat) -> None:
        self.board.tell_alive(beat)

    def forget_worker(self, node: str, pid: int) -> None:
        self.board.forget_worker(node, pid)

    def live(self) -> list[Heartbeat]:
        return self.board.look().workers

    def look(self) -> Look:
        return self.board.look()

    def looks_alone(self, for_s: float) -> bool:
        if time.monotonic() > self._sweep_at:
            self._sweep_at = time.monotonic() + _SWEEP_EVERY_S
            self.board.sweep()
        return self.board.is_mine("lost messages", self._me, for_s)

    def makes_way(self, message_id: str, node: str, *, again: bool, for_s: float) -> bool:
        return self.board.is_mine(f"way {message_id}", node, for_s)

    def announce(self, job_id: str, folder: str) -> None:
        self.board.announce(job_id, folder)

    def withdraw(self, job_id: str) -> None:
        self.board.withdraw(job_id)

    def announced(self, most: int) -> list[tuple[str, str]]:
        return self.board.announced(most)

    def note_refusal(self, what: str, why: str, kept_s: float) -> None:
        self.board.note_refusal(what, why, kept_s)

    def forget_refusal(self, what: str) -> None:
        self.board.forget_refusal(what)

    def refusals(self) -> list[Refusal]:
        return self.board.refusals()
