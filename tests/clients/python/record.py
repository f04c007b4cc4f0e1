"""Records as they are sent, and how they are compared with what came back."""

from collections import namedtuple

Record = namedtuple("Record", "key value headers timestamp")

RECORDS = 60
START = 1_700_000_000_000
STEP = 1_000


def records(salt):
    """Records whose bytes are of every kind: empty, text, binary, repeated, with headers."""
    made = []
    for i in range(RECORDS):
        value = bytes((i * 7 + j * 31 + len(salt)) % 256 for j in range(i * 13))
        value += salt.encode() * (i % 5)
        key = None if i % 4 == 0 else f"key-{i}-ü".encode()
        headers = [("count", str(i).encode()), ("binary", bytes([0, 255, i]))] if i % 3 else []
        made.append(Record(key, value, headers, START + i * STEP))
    return made


def equal(found, wanted):
    if len(found) != len(wanted):
        raise AssertionError(f"{len(found)} records instead of {len(wanted)}")
    for i, (one, other) in enumerate(zip(found, wanted)):
        if one != other:
            raise AssertionError(f"record {i} is {one!r:.200} instead of {other!r:.200}")
