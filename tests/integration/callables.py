"""Behaviours that the tests of the tick engine register."""

import sys
import time


def double(question):
    sys.stdout.write("what is printed is no answer\n")
    return {"value": question["content"]["value"] * 2}


def raises(question):
    raise ValueError("no")


def never(question):
    while True:
        time.sleep(60)


def floods(question):
    return "x" * 1_000_000
