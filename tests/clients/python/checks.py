"""Checks that tell their result, one line each."""

import time
import traceback

PATIENCE = 60


class Checks:
    def __init__(self):
        self.done = 0
        self.failed = 0

    def run(self, name, check):
        self.done += 1
        try:
            check()
            print(f"PASS {name}", flush=True)
        except Exception as error:  # any failure of a client is a finding, none ends the run
            self.failed += 1
            reason = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"FAIL {name}: {reason}", flush=True)
            traceback.print_exc()


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true in time")
        time.sleep(0.05)
