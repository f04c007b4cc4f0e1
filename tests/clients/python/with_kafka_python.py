"""The matrix through kafka-python."""

import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from record import Record

TIMEOUT = 30

class Client:
    name = "kafka-python"

    def __init__(self, brokers):
        self.brokers = brokers
        self.admin = KafkaAdminClient(bootstrap_servers=brokers)
        self.consumer = KafkaConsumer(
            bootstrap_servers=brokers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
        )

    def create(self, topic, partitions):
        new = NewTopic(name=topic, num_partitions=partitions, replication_factor=1)
        self.admin.create_topics([new])

    def produce(self, topic, partition, records, acks, codec):
        producer = KafkaProducer(
            bootstrap_servers=self.brokers,
            acks=acks if acks == "all" else int(acks),
            compression_type=None if codec == "none" else codec,
            enable_idempotence=acks == "all",
            linger_ms=20,
        )
        sent = [
            producer.send(
                topic,
                value=record.value,
                key=record.key,
                headers=record.headers,
                partition=partition,
                timestamp_ms=record.timestamp,
            )
            for record in records
        ]
        producer.flush(TIMEOUT)
        for future in sent:
            future.get(TIMEOUT)
        producer.close(TIMEOUT)

    def ends(self, topic, partition):
        at = TopicPartition(topic, partition)
        [first] = self.consumer.beginning_offsets([at]).values()
        [end] = self.consumer.end_offsets([at]).values()
        return (first, end)

    def offset_at(self, topic, partition, timestamp):
        [found] = self.consumer.offsets_for_times(
            {TopicPartition(topic, partition): timestamp}
        ).values()
        return found.offset

    def fetch(self, topic, partition, offset, count):
        at = TopicPartition(topic, partition)
        self.consumer.assign([at])
        self.consumer.seek(at, offset)
        found = []
        deadline = time.monotonic() + TIMEOUT
        while len(found) < count and time.monotonic() < deadline:
            for message in self.consumer.poll(timeout_ms=1_000).get(at, []):
                if message.offset != offset + len(found):
                    raise AssertionError(f"offset {message.offset} after {len(found)} records")
                headers = list(message.headers or [])
                found.append(Record(message.key, message.value, headers, message.timestamp))
        return found

    def close(self):
        self.consumer.close()
        self.admin.close()
