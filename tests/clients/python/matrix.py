"""Every acks and every codec through a client: what was produced is fetched byte for byte.

Prints one line per check: PASS name, or FAIL name: reason; and at the end DONE number.
"""

import sys

from checks import Checks, until
from record import Record

ACKS = ["0", "1", "all"]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
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


def combination(checks, client, acks, codec):
    topic = f"{client.name}-{acks}-{codec}"
    sent = records(topic)
    label = f"{client.name}, acks={acks}, {codec}"

    def round_trip():
        client.create(topic, 2)
        client.produce(topic, 1, sent, acks, codec)
        # With acks=0 nobody says when the records are there.
        until(lambda: client.ends(topic, 1) == (0, RECORDS))
        equal(client.fetch(topic, 1, 0, RECORDS), sent)
        if client.ends(topic, 0) != (0, 0):
            raise AssertionError("the other partition is not empty")

    def by_offset():
        equal(client.fetch(topic, 1, 37, RECORDS - 37), sent[37:])

    def by_timestamp():
        between = START + 20 * STEP - STEP // 2
        offset = client.offset_at(topic, 1, between)
        if offset != 20:
            raise AssertionError(f"offset {offset} instead of 20")
        equal(client.fetch(topic, 1, offset, RECORDS - 20), sent[20:])

    checks.run(f"{label}: there and back", round_trip)
    checks.run(f"{label}: by offset", by_offset)
    checks.run(f"{label}: by timestamp", by_timestamp)


def main():
    brokers, which = sys.argv[1], sys.argv[2]
    if which == "confluent-kafka":
        from with_confluent import Client
    else:
        from with_kafka_python import Client
    checks, client = Checks(), Client(brokers)
    for acks in ACKS:
        for codec in CODECS:
            combination(checks, client, acks, codec)
    client.close()
    print(f"DONE {checks.done}")
    sys.exit(1 if checks.failed else 0)


main()
