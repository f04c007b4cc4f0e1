"""Every acks and every codec through a client: what was produced is fetched byte for byte; and what
retention leaves.

Prints one line per check: PASS name, or FAIL name: reason; and at the end DONE number.
"""

import sys

import retention
from checks import Checks, until
from record import RECORDS, START, STEP, equal, records

ACKS = ["0", "1", "all"]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

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
    retention.run(checks, client)
    client.close()
    print(f"DONE {checks.done}")
    sys.exit(1 if checks.failed else 0)


main()
