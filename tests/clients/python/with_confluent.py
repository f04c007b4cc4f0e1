"""The matrix through confluent-kafka."""

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from record import Record

TIMEOUT = 30

class Client:
    name = "confluent-kafka"
    out_of_range = "OFFSET_OUT_OF_RANGE"

    def __init__(self, brokers):
        self.brokers = brokers
        self.admin = AdminClient({"bootstrap.servers": brokers})
        # A group's name is required although nobody joins one: partitions are assigned.
        self.consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "clients",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            }
        )

    def create(self, topic, partitions):
        for future in self.admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            future.result(TIMEOUT)

    def produce(self, topic, partition, records, acks, codec):
        failures = []
        producer = Producer(
            {
                "bootstrap.servers": self.brokers,
                "acks": acks,
                "compression.type": codec,
                "enable.idempotence": acks == "all",
                "linger.ms": 20,
            }
        )
        for record in records:
            producer.produce(
                topic,
                value=record.value,
                key=record.key,
                headers=record.headers,
                partition=partition,
                timestamp=record.timestamp,
                on_delivery=lambda error, _: error and failures.append(error),
            )
        if left := producer.flush(TIMEOUT):
            raise AssertionError(f"{left} records were not delivered")
        if failures:
            raise AssertionError(f"not delivered: {failures[0]}")

    def ends(self, topic, partition):
        return self.consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT)

    def offset_at(self, topic, partition, timestamp):
        [found] = self.consumer.offsets_for_times(
            [TopicPartition(topic, partition, timestamp)], TIMEOUT
        )
        return found.offset

    def fetch(self, topic, partition, offset, count):
        self.consumer.assign([TopicPartition(topic, partition, offset)])
        found = []
        while len(found) < count:
            message = self.consumer.poll(TIMEOUT)
            if message is None:
                break
            if message.error():
                raise AssertionError(str(message.error()))
            if message.offset() != offset + len(found):
                raise AssertionError(f"offset {message.offset()} after {len(found)} records")
            _, timestamp = message.timestamp()
            headers = message.headers() or []
            found.append(Record(message.key(), message.value(), headers, timestamp))
        self.consumer.unassign()
        return found

    def delete_records(self, topic, partition, offset):
        """Deletes what is before the offset; tells where the log begins then."""
        at = TopicPartition(topic, partition, offset)
        [deleted] = self.admin.delete_records([at]).values()
        return deleted.result(TIMEOUT).low_watermark

    def set_retention(self, topic, value, replace):
        if replace:
            wanted = ConfigResource(
                ResourceType.TOPIC, topic, set_config={"retention.ms": value}
            )
            [changed] = self.admin.alter_configs([wanted]).values()
        else:
            entry = ConfigEntry(
                "retention.ms", value, incremental_operation=AlterConfigOpType.SET
            )
            wanted = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
            [changed] = self.admin.incremental_alter_configs([wanted]).values()
        changed.result(TIMEOUT)

    def retention(self, topic):
        wanted = ConfigResource(ResourceType.TOPIC, topic)
        [described] = self.admin.describe_configs([wanted]).values()
        return described.result(TIMEOUT)["retention.ms"].value

    def close(self):
        self.consumer.close()
