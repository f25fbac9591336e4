"""Progress: drawn where it can be, said now and then where it cannot."""

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from cloudtf import bars


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be set by a test."""
    seconds = [0.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: seconds[0])
    return seconds


def said_to(terminal):
    """Some of what a terminal was told; empty at the end, which Linux calls an error."""
    try:
        return os.read(terminal, 10_000).decode()
    except OSError:
        return ""


def test_a_terminal_gets_a_bar(monkeypatch):
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(bars.sys, "stderr", terminal)
        with bars.bar("convert", 10, "images") as bar:
            bar.update(10)
    shown = "".join(iter(lambda: said_to(reader), ""))
    os.close(reader)
    assert "\rconvert: 100%" in shown and "10/10" in shown


def test_a_notebook_gets_a_bar(monkeypatch):
    stream_of_kernel = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(bars.sys, "stderr", stream_of_kernel)
    with bars.bar("convert", 10, "images") as bar:
        bar.update(10)
    assert "\rconvert: 100%" in stream_of_kernel.getvalue()


def test_a_pipe_gets_a_line_every_half_minute(capsys, clock):
    with bars.bar("convert", 5546, "images", initial=46) as bar:
        for second in range(1, 101):
            clock[0] = second
            bar.update(55)
    assert capsys.readouterr().err == (
        "convert: 1,696 of 5,546 images, 70 s left\n"
        "convert: 3,346 of 5,546 images, 40 s left\n"
        "convert: 4,996 of 5,546 images, 10 s left\n"
    )


def test_values_stand_in_the_line(capsys, clock):
    with bars.bar("epoch 1 of 2", 500, "steps") as bar:
        bar.set_postfix(loss="0.5", refresh=False)
        clock[0] = 30
        bar.update(1)
    assert capsys.readouterr().err == "epoch 1 of 2: 1 of 500 steps, loss 0.5, 4.2 h left\n"


def test_without_a_total_the_count_is_said(capsys, clock):
    with bars.bar("weights.h5", None, "bytes", in_bytes=True) as bar:
        clock[0] = 31
        bar.update(1 << 20)
    assert capsys.readouterr().err == "weights.h5: 1,048,576 bytes\n"


def test_what_is_short_or_hidden_says_nothing(capsys, clock):
    with bars.bar("convert", 10, "images") as bar:
        bar.update(10)
    with bars.bar("convert", 10, "images", hidden=True) as bar:
        clock[0] = 100
        bar.update(10)
    assert capsys.readouterr().err == ""


def test_where_there_is_no_stderr_nothing_fails(monkeypatch, clock):
    monkeypatch.setattr(bars.sys, "stderr", None)
    with bars.bar("convert", 10, "images") as bar:
        clock[0] = 100
        bar.update(10)
