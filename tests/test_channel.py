"""Frames arrive whole or not at all, whatever the other side sends."""

import json
import os
import struct
import threading
import time

import pytest

from autograder.channel import (
    MAX_BUFFERS,
    MAX_HEADER,
    Channel,
    ChannelClosed,
    DeadlinePassed,
    FrameTooLarge,
    channel_pair,
)


@pytest.fixture
def ends():
    left, right = channel_pair()
    yield left, right
    left.close()
    right.close()


def frame(
    header: bytes, body: bytes = b"", header_size: int | None = None, body_size: int | None = None
) -> bytes:
    sizes = (
        len(header) if header_size is None else header_size,
        len(body) if body_size is None else body_size,
    )
    return struct.pack("<IQ", *sizes) + header + body


def test_a_message_and_its_buffers_arrive_as_sent(ends):
    left, right = ends
    left.send({"op": "call", "text": "ü"}, [b"abc", b"", b"\0" * 70_000])
    message, buffers = right.receive(5)
    assert message == {"op": "call", "text": "ü"}
    assert buffers == [b"abc", b"", b"\0" * 70_000]


def test_a_file_descriptor_travels_with_a_message(ends):
    left, right = ends
    read_end, write_end = os.pipe()
    left.send({"op": "take"}, handles=[write_end])
    _, _, handles = right.receive_with_handles()
    os.write(handles[0], b"hello")
    assert os.read(read_end, 5) == b"hello"
    for handle in (read_end, write_end, *handles):
        os.close(handle)


BROKEN = {
    "not JSON": frame(b"hello"),
    "not an object": frame(b"[1, 2]"),
    "no lengths": frame(b'{"message": {}}'),
    "message is a list": frame(b'{"message": [], "buffers": []}'),
    "lengths that don't add up": frame(b'{"message": {}, "buffers": [3]}', b"ab"),
    "negative lengths": frame(b'{"message": {}, "buffers": [-2, 4]}', b"ab"),
    "lengths as text": frame(b'{"message": {}, "buffers": ["2"]}', b"ab"),
    "nested until Python gives up": frame(b"[" * 100_000),
    "more buffers than can be counted": frame(b'{"message": {}, "buffers": [' + b"0," * 20_000 + b"0]}"),
    "header over the limit": frame(b"", header_size=MAX_HEADER + 1),
    "buffers over the limit": frame(b"{}", body_size=MAX_BUFFERS + 1),
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_a_broken_frame_closes_the_channel(ends, raw):
    left, right = ends
    sender = threading.Thread(target=left.socket.sendall, args=(raw,))
    sender.start()
    with pytest.raises(ChannelClosed):
        right.receive(5)
    right.close()
    sender.join(5)


def test_a_hang_up_in_the_middle_of_a_frame_is_noticed(ends):
    left, right = ends
    left.socket.sendall(frame(json.dumps({"message": {}, "buffers": [100]}).encode(), b"x", body_size=100))
    left.close()
    with pytest.raises(ChannelClosed):
        right.receive(5)


def test_bytes_that_trickle_in_do_not_extend_the_deadline(ends):
    left, right = ends
    stop = threading.Event()

    def trickle():
        for byte in frame(b" " * 200):
            if stop.wait(0.02):
                return
            left.socket.sendall(bytes([byte]))

    thread = threading.Thread(target=trickle)
    thread.start()
    started = time.monotonic()
    with pytest.raises(DeadlinePassed):
        right.receive(0.2)
    elapsed = time.monotonic() - started
    stop.set()
    thread.join()
    assert elapsed < 200 * 0.02, "the deadline moved with every byte"


def test_a_closed_channel_says_so_to_the_sender():
    left, right = channel_pair()
    right.close()
    with pytest.raises(ChannelClosed):
        Channel(left.socket).send({"op": "x"}, [b"0" * 1_000_000])


def test_someone_looks_on_while_a_slow_frame_arrives(ends):
    left, right = ends
    looks = []

    def stop_at_the_third():
        looks.append(time.monotonic())
        if len(looks) > 3:
            raise ValueError("seen enough")

    left.socket.sendall(frame(b'{"message": {}, "buffers": []}')[:5])
    with pytest.raises(ValueError, match="seen enough"):
        right.receive(60, stop_at_the_third)


def test_buffers_larger_than_were_asked_for_are_not_received(ends):
    left, right = ends
    left.send({}, [bytes(1000)])
    with pytest.raises(FrameTooLarge):
        right.receive(5, most=999)
