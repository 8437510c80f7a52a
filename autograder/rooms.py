"""The open rooms of a batch, one for each exercise, shared by all who examine."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from autograder.room import Room, Zygote

MOST_OPEN = 24  # at once; a room costs tens of megabytes


@dataclass
class Seat:
    """An exercise's place for a room, and how many are using it."""

    room: Room | None = None
    users: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)


class Rooms:
    """Rooms by exercise, opened when they are first used. Close them in the end."""

    def __init__(self, zygote: Zygote):
        self.zygote = zygote
        self._seats: OrderedDict[tuple, Seat] = OrderedDict()
        self._turn = threading.Lock()

    @contextmanager
    def use(
        self, withheld: Sequence[str], modules: Sequence[str], forbidden: Sequence[str] = (), *, key: tuple
    ) -> Iterator[Room]:
        """Lend the room of `key`, opened if there is none or the one there was has died."""
        seat = self._take(key)
        try:
            with seat.turn:
                if seat.room is not None and seat.room.broken:
                    seat.room.close()
                    seat.room = None
                if seat.room is None:
                    seat.room = self.zygote.open_room(withheld, modules, forbidden)
            yield seat.room
        finally:
            self._leave(seat)

    def close(self) -> None:
        """End every room."""
        with self._turn:
            for seat in self._seats.values():
                if seat.room is not None:
                    seat.room.close()
            self._seats.clear()

    def _take(self, key: tuple) -> Seat:
        with self._turn:
            seat = self._seats.setdefault(key, Seat())
            self._seats.move_to_end(key)
            seat.users += 1
            return seat

    def _leave(self, seat: Seat) -> None:
        """Let go of a room; idle ones beyond `MOST_OPEN` are closed, the longest unused first."""
        with self._turn:
            seat.users -= 1
            for key, other in list(self._seats.items()):
                if len(self._seats) <= MOST_OPEN:
                    return
                if not other.users:
                    if other.room is not None:
                        other.room.close()
                    del self._seats[key]
