"""One consumer group of three clients: confluent-kafka, kafka-python and the command line.

Prints one line per check: PASS name, or FAIL name: reason; and at the end DONE number.
"""

import json
import subprocess
import sys
import threading
import time

from checks import Checks, until
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaAdminClient, KafkaConsumer

GROUP = "together"
TOPIC = "shared"
PARTITIONS = 6
TIMEOUT = 30


class Member:
    """Collects (partition, offset) in a thread of its own, until it is told to leave."""

    def __init__(self):
        self.seen = []
        self.partitions = set()
        self.failure = None
        self.leaving = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.consume()
        except Exception as error:  # told by the check that waits for it
            self.failure = error

    def leave(self):
        self.leaving.set()
        self.thread.join(TIMEOUT)
        if self.thread.is_alive():
            raise AssertionError("it does not leave")
        if self.failure:
            raise self.failure


class WithConfluent(Member):
    def __init__(self, brokers):
        self.consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "heartbeat.interval.ms": 500,
            }
        )
        super().__init__()

    def consume(self):
        self.consumer.subscribe([TOPIC])
        while not self.leaving.is_set():
            message = self.consumer.poll(0.1)
            self.partitions = {one.partition for one in self.consumer.assignment()}
            if message is None or message.error():
                continue
            self.seen.append((message.partition(), message.offset()))
            self.consumer.commit(message, asynchronous=False)
        self.consumer.close()


class WithKafkaPython(Member):
    def __init__(self, brokers):
        self.consumer = KafkaConsumer(
            TOPIC,
            bootstrap_servers=brokers,
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            heartbeat_interval_ms=500,
        )
        super().__init__()

    def consume(self):
        while not self.leaving.is_set():
            polled = self.consumer.poll(timeout_ms=100)
            self.partitions = {one.partition for one in self.consumer.assignment()}
            for at, messages in polled.items():
                self.seen += [(at.partition, message.offset) for message in messages]
            if polled:
                self.consumer.commit()
        self.consumer.close()


class WithTheCommandLine(Member):
    def __init__(self, brokers, binary):
        self.process = subprocess.Popen(
            [binary, "consume", TOPIC, "--group", GROUP, "--output", "json", "--brokers", brokers],
            stdout=subprocess.PIPE,
            text=True,
        )
        super().__init__()

    def consume(self):
        for line in self.process.stdout:
            record = json.loads(line)
            self.seen.append((record["partition"], record["offset"]))

    def leave(self):
        self.process.terminate()
        if code := self.process.wait(TIMEOUT):
            raise AssertionError(f"it ended with {code}")
        super().leave()


def produce(brokers, count):
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})
    for n in range(count):
        producer.produce(TOPIC, value=f"record {n}", partition=n % PARTITIONS)
    if left := producer.flush(TIMEOUT):
        raise AssertionError(f"{left} records were not delivered")


class Run:
    def __init__(self, brokers, binary):
        self.brokers = brokers
        self.admin = AdminClient({"bootstrap.servers": brokers})
        for future in self.admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
            future.result(TIMEOUT)
        self.confluent = WithConfluent(brokers)
        self.python = WithKafkaPython(brokers)
        self.line = WithTheCommandLine(brokers, binary)

    def members(self):
        described = self.admin.describe_consumer_groups([GROUP], request_timeout=TIMEOUT)
        return described[GROUP].result(TIMEOUT)

    def shares(self):
        """Each of the three has two partitions."""
        until(lambda: len(self.members().members) == 3)

        def shared():
            one, other = self.confluent.partitions, self.python.partitions
            return len(one) == len(other) == 2 and not one & other

        until(shared)

    def consumes(self):
        """Each record comes to one of them, once."""
        produce(self.brokers, 600)
        everybody = [self.confluent, self.python, self.line]
        until(lambda: sum(len(one.seen) for one in everybody) >= 600)
        each = [len(one.seen) for one in everybody]
        if each != [200, 200, 200]:
            raise AssertionError(f"{each} records instead of 200 each")
        if len({at for one in everybody for at in one.seen}) != 600:
            raise AssertionError("a record came twice, another one never")

    def describes(self):
        group = self.members()
        if group.state.name != "STABLE":
            raise AssertionError(f"the group is {group.state}")
        topics = [at.topic for one in group.members for at in one.assignment.topic_partitions]
        if topics != [TOPIC] * PARTITIONS:
            raise AssertionError(f"the members have {topics}")
        admin = KafkaAdminClient(bootstrap_servers=self.brokers)
        listed = [group["group_id"] for group in admin.list_groups()]
        admin.close()
        if GROUP not in listed:
            raise AssertionError(f"only {listed} are listed")

    def takes_over(self):
        """Who stays takes the partitions of who leaves, and goes on from its commits."""
        self.python.leave()
        produce(self.brokers, 120)
        until(lambda: len(self.confluent.seen) + len(self.line.seen) >= 520)
        seen = self.confluent.seen + self.line.seen + self.python.seen
        if sorted(seen) != [(p, o) for p in range(PARTITIONS) for o in range(120)]:
            raise AssertionError(f"{len(seen)} records, {len(set(seen))} different ones")

    def leaves(self):
        self.line.leave()
        self.confluent.leave()
        until(lambda: self.members().state.name == "EMPTY")
        asking = Consumer({"bootstrap.servers": self.brokers, "group.id": GROUP})
        wanted = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
        offsets = [found.offset for found in asking.committed(wanted, TIMEOUT)]
        asking.close()
        if offsets != [120] * PARTITIONS:
            raise AssertionError(f"the group has committed {offsets}")

    def deletes(self):
        for future in self.admin.delete_consumer_groups([GROUP]).values():
            future.result(TIMEOUT)
        if self.members().state.name != "DEAD":
            raise AssertionError("it is still there")


def main():
    checks, run = Checks(), Run(sys.argv[1], sys.argv[2])
    checks.run("a group of three libraries: partitions are shared out", run.shares)
    checks.run("a group of three libraries: each record comes once", run.consumes)
    checks.run("a group of three libraries: it is described and listed", run.describes)
    checks.run("a group of three libraries: one leaves, the others take over", run.takes_over)
    checks.run("a group of three libraries: all leave, offsets are kept", run.leaves)
    checks.run("a group of three libraries: it is deleted", run.deletes)
    print(f"DONE {checks.done}")
    sys.exit(1 if checks.failed else 0)


main()
