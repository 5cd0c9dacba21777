"""Numbers of a command line that mean nothing are refused with the flag's name, before anything is loaded."""

import argparse
import importlib
import sys

import pytest

from tsumugi.arguments import real_number, thread_count, whole_number

MEANINGLESS = [
    ("train_model", "--threads", "-3"),
    ("train_model", "--threads", "0"),
    ("train_model", "--threads", "10000000"),
    ("train_model", "--checkpoint-seconds", "-1"),
    ("train_model", "--checkpoint-seconds", "nan"),
    ("train_model", "--micro-batch", "3,0"),
    ("train_model", "--micro-batch", "3,"),
    ("train_model", "--processes", "-1"),
    ("train_model", "--seed", "-1"),
    ("calibrate_model", "--memory-gib", "inf"),
    ("calibrate_model", "--largest", "1_0"),
    ("generate_text", "--threads", "0"),
    ("generate_text", "--micro-batch", "0"),
    ("score_likelihood", "--threads", "-3"),
    ("score_likelihood", "--micro-batch", "-4"),
    ("find_leaks", "--threads", "0"),
    ("span_nodes", "--nodes", "0"),
    ("span_nodes", "--gpus", "x"),
    ("write_text", "--max-tokens", "0"),
    ("write_text", "--threads", "-1"),
    ("write_text", "--temperature", "nan"),
    ("write_text", "--stop-tokens", "-5"),
]


@pytest.mark.parametrize(("script", "flag", "value"), MEANINGLESS)
def test_numbers_that_mean_nothing_are_refused(script, flag, value, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, flag, value])
    with pytest.raises(SystemExit) as left:
        importlib.import_module(script).main()
    assert left.value.code == 2
    assert f"argument {flag}: {value.split(',')[-1]!r} is not a " in capsys.readouterr().err


def test_numbers_that_mean_something_are_read():
    assert (whole_number()("-3"), whole_number(0)("0"), thread_count("4096"), real_number(0)("1e-3")) == (
        -3,
        0,
        4096,
        1e-3,
    )
    with pytest.raises(argparse.ArgumentTypeError, match=r"'1\.5' is not a whole number from 1 to 4096"):
        thread_count("1.5")
