"""The matrix through kafka-python."""

import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from record import Record

TIMEOUT = 30

class Client:
    name = "kafka-python"
    out_of_range = "OffsetOutOfRange"

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

    def delete_records(self, topic, partition, offset):
        """Deletes what is before the offset; tells where the log begins then."""
        at = TopicPartition(topic, partition)
        return self.admin.delete_records({at: offset})[at]["low_watermark"]

    def set_retention(self, topic, value, replace):
        wanted = ConfigResource(
            ConfigResourceType.TOPIC, topic, configs={"retention.ms": value}
        )
        changed = self.admin.alter_configs([wanted], incremental=not replace)["topic"][topic]
        if changed != "OK":
            raise AssertionError(changed)

    def retention(self, topic):
        wanted = ConfigResource(ConfigResourceType.TOPIC, topic)
        described = self.admin.describe_configs([wanted], config_filter="all")
        return described["topic"][topic]["retention.ms"]["value"]

    def close(self):
        self.consumer.close()
        self.admin.close()
