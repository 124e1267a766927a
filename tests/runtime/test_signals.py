"""Ctrl-C held back while something must be done wholly."""

import signal

import pytest

from wavesweep.runtime.signals import held_back, interrupted, listen

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def listening():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    listen()
    yield
    listen()
    for number, handler in before.items():
        signal.signal(number, handler)


def press():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_raised_at_the_end_of_the_outermost_block():
    done = []

    def work():
        with held_back():
            with held_back():
                press()
                done.append("inner")
            done.append("outer")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]
    assert interrupted()


def test_a_second_ctrl_c_is_raised_at_once():
    done = []

    def work():
        with held_back():
            press()
            done.append("first")
            press()
            done.append("second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]


def test_outside_a_block_ctrl_c_is_as_usual():
    with held_back():
        pass
    assert not interrupted()
    with pytest.raises(KeyboardInterrupt):
        press()
    with held_back():  # what was asked before the block does not end it
        assert interrupted()


def test_what_the_block_raises_comes_first():
    def work():
        with held_back():
            press()
            raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        work()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_request_to_end_and_a_closed_terminal_are_as_ctrl_c(number):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert interrupted()


def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listen()
    signal.raise_signal(signal.SIGHUP)
    assert not interrupted()
