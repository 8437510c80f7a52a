"""Messages between processes: a JSON header and raw buffers over a Unix socket, with size caps and deadlines.

A frame is two little-endian lengths (header, buffers), the header, then the buffers end to end. The header
holds the sender's `message` and the length of each buffer. Either side may be hostile: whatever breaks the
format closes the channel.
"""

import json
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct("<IQ")
MAX_HEADER = 8 << 20
MAX_BUFFERS = 512 << 20
MOST_BUFFERS = 10_000  # in number
SECONDS_TO_SEND = 60.0
SECONDS_BETWEEN_GLANCES = 0.25


class ChannelClosed(Exception):
    """The other side is gone, or what it sent is not a frame."""


class FrameTooLarge(ChannelClosed):
    """A frame announced more bytes than were to be received."""


class DeadlinePassed(Exception):
    """Nothing complete arrived in time."""


@dataclass
class Channel:
    """One end of a socket that carries frames."""

    socket: socket.socket

    def send(self, message: dict, buffers: Sequence[bytes] = (), handles: Sequence[int] = ()) -> None:
        """Send one frame; `handles` are file descriptors that travel with it."""
        header = json.dumps({"message": message, "buffers": [len(raw) for raw in buffers]}).encode()
        lengths = _LENGTHS.pack(len(header), sum(map(len, buffers)))
        try:
            self.socket.settimeout(SECONDS_TO_SEND)
            socket.send_fds(self.socket, [lengths], list(handles))
            for raw in (header, *buffers):
                self.socket.sendall(raw)
        except TimeoutError as error:
            raise DeadlinePassed from error
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(
        self,
        seconds: float | None = None,
        watch: Callable[[], None] = lambda: None,
        most: int = MAX_BUFFERS,
    ) -> tuple[dict, list[bytearray]]:
        """Return the next message and its buffers, or raise DeadlinePassed after `seconds`.

        `watch` is called a few times a second while that takes, and may raise; buffers of more than `most`
        bytes raise FrameTooLarge before any of them is received.
        """
        wait = _Wait(None if seconds is None else time.monotonic() + seconds, watch)
        return self._frame(self._exactly(_LENGTHS.size, wait), wait, most)

    def receive_with_handles(self, most: int = 4) -> tuple[dict, list[bytearray], list[int]]:
        """Return the next message, its buffers and the descriptors sent with it (trusted senders only)."""
        try:
            self.socket.settimeout(None)
            lengths, handles, _, _ = socket.recv_fds(self.socket, _LENGTHS.size, most)
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        lengths += bytes(self._exactly(_LENGTHS.size - len(lengths), _Wait())) if lengths else b""
        return *self._frame(lengths, _Wait(), MAX_BUFFERS), list(handles)

    def close(self) -> None:
        """Close this end."""
        self.socket.close()

    def _frame(self, lengths: bytes | bytearray, wait: "_Wait", most: int) -> tuple[dict, list[bytearray]]:
        if len(lengths) < _LENGTHS.size:
            raise ChannelClosed("the other side closed the channel")
        header_size, buffers_size = _LENGTHS.unpack(lengths)
        if header_size > MAX_HEADER or buffers_size > most:
            raise FrameTooLarge("a frame larger than is allowed")
        header = self._parse(self._exactly(header_size, wait), buffers_size)
        return header["message"], [self._exactly(size, wait) for size in header["buffers"]]

    @staticmethod
    def _parse(raw: bytearray, buffers_size: int) -> dict[str, Any]:
        try:
            header = json.loads(raw)
            sizes = header["buffers"]
            sound = isinstance(header["message"], dict) and len(sizes) <= MOST_BUFFERS
            sound = sound and all(type(size) is int and size >= 0 for size in sizes)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ChannelClosed("a frame without a header") from error
        if not sound or sum(sizes) != buffers_size:
            raise ChannelClosed("a frame whose lengths don't add up")
        return header

    def _exactly(self, size: int, wait: "_Wait") -> bytearray:
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            try:
                self.socket.settimeout(wait.glance())
                received = self.socket.recv_into(view[filled:])
            except TimeoutError:
                continue
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not received:
                raise ChannelClosed("the other side closed the channel")
            filled += received
        return data


@dataclass
class _Wait:
    """How long a frame may take to arrive, and who looks on meanwhile."""

    deadline: float | None = None
    watch: Callable[[], None] = lambda: None

    def glance(self) -> float | None:
        """Let `watch` look, and return the seconds until it looks again; raise DeadlinePassed in time."""
        self.watch()
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        return min(left, SECONDS_BETWEEN_GLANCES)


def channel_pair() -> tuple[Channel, Channel]:
    """Return two connected channels."""
    left, right = socket.socketpair()
    return Channel(left), Channel(right)
