package streamhouse;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Every acks and every codec through the Java client, the idempotent default included; and what
 * retention leaves.
 */
public final class Matrix {
    private static final int RECORDS = 60;
    private static final long START = 1_700_000_000_000L;
    private static final long STEP = 1_000;
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final String brokers;
    private final Admin admin;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private int done;
    private int failed;

    private Matrix(String brokers) {
        this.brokers = brokers;
        this.admin = Admin.create(properties());
        Properties properties = properties();
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "none");
        this.consumer =
                new KafkaConsumer<>(
                        properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** Runs the matrix against the brokers that the argument names. */
    public static void main(String[] arguments) throws Exception {
        Matrix matrix = new Matrix(arguments[0]);
        for (String acks : List.of("default", "0", "1", "all")) {
            for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
                matrix.combination(acks, codec);
            }
        }
        matrix.retention();
        matrix.consumer.close();
        matrix.admin.close();
        System.out.println("DONE " + matrix.done);
        System.exit(matrix.failed == 0 ? 0 : 1);
    }

    private void combination(String acks, String codec) {
        String topic = "java-" + acks + "-" + codec;
        TopicPartition at = new TopicPartition(topic, 1);
        List<ProducerRecord<byte[], byte[]>> sent = records(topic);
        String label = "Java, acks=" + acks + ", " + codec;
        check(label + ": there and back", () -> {
            await(admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).all());
            produce(sent, acks, codec);
            awaitEnd(at, RECORDS);
            equal(fetch(at, 0, RECORDS), sent);
        });
        check(label + ": by offset",
                () -> equal(fetch(at, 37, RECORDS - 37), sent.subList(37, RECORDS)));
        check(label + ": by timestamp", () -> {
            long between = START + 20 * STEP - STEP / 2;
            long offset = consumer.offsetsForTimes(Map.of(at, between)).get(at).offset();
            require(offset == 20, "offset " + offset + " instead of 20");
            equal(fetch(at, offset, RECORDS - 20), sent.subList(20, RECORDS));
        });
    }

    private void retention() {
        String topic = "java-retention";
        TopicPartition at = new TopicPartition(topic, 1);
        List<ProducerRecord<byte[], byte[]>> sent = records(topic);
        check("Java: records deleted on request", () -> {
            await(admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).all());
            produce(sent, "all", "none");
            require(deleteRecords(at, 50) == 50, "the log does not begin at 50");
            requireBounds(at, 50);
            equal(fetch(at, 50, RECORDS - 50), sent.subList(50, RECORDS));
        });
        check("Java: records beyond the end are not deleted", () -> {
            refused(() -> deleteRecords(at, RECORDS + 1), "OffsetOutOfRange");
            requireBounds(at, 50);
        });
        check("Java: retention.ms changed", () -> {
            setRetention(topic, "3600000");
            require(retentionOf(topic).equals("3600000"), "it is " + retentionOf(topic));
            refused(() -> setRetention(topic, "soon"), "retention.ms", "soon");
            require(retentionOf(topic).equals("3600000"), "it is " + retentionOf(topic));
        });
        check("Java: records removed by age", () -> {
            setRetention(topic, "1");
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (consumer.beginningOffsets(Set.of(at)).get(at) != RECORDS) {
                require(System.nanoTime() < deadline, "they are still there");
                Thread.sleep(50);
            }
            requireBounds(at, RECORDS);
        });
    }

    /** Deletes what is before the offset; tells where the log begins then. */
    private long deleteRecords(TopicPartition at, long offset) throws Exception {
        Map<TopicPartition, RecordsToDelete> wanted =
                Map.of(at, RecordsToDelete.beforeOffset(offset));
        return await(admin.deleteRecords(wanted).lowWatermarks().get(at)).lowWatermark();
    }

    private void setRetention(String topic, String value) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        AlterConfigOp set =
                new AlterConfigOp(
                        new ConfigEntry("retention.ms", value), AlterConfigOp.OpType.SET);
        await(admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all());
    }

    private String retentionOf(String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return await(admin.describeConfigs(List.of(resource)).all())
                .get(resource).get("retention.ms").value();
    }

    private void requireBounds(TopicPartition at, long first) {
        long found = consumer.beginningOffsets(Set.of(at)).get(at);
        require(found == first, "the log begins at " + found + " instead of " + first);
        long end = consumer.endOffsets(Set.of(at)).get(at);
        require(end == RECORDS, "the log ends at " + end);
    }

    /** The client is told what is wrong, in these words. */
    private static void refused(Check change, String... words) throws Exception {
        try {
            change.run();
        } catch (ExecutionException error) {
            for (String word : words) {
                require(error.toString().contains(word), error + " does not name " + word);
            }
            return;
        }
        throw new AssertionError("it was not refused");
    }

    private static <T> T await(Future<T> future) throws Exception {
        return future.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }

    private void produce(List<ProducerRecord<byte[], byte[]>> records, String acks, String codec)
            throws Exception {
        Properties properties = properties();
        properties.put("compression.type", codec);
        properties.put("linger.ms", "20");
        if (!acks.equals("default")) { // the default is idempotent, with acks=all
            properties.put("acks", acks);
            properties.put("enable.idempotence", "false");
        }
        List<Future<RecordMetadata>> delivered = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(
                        properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (ProducerRecord<byte[], byte[]> record : records) {
                delivered.add(producer.send(record));
            }
            for (int i = 0; i < delivered.size(); i++) {
                RecordMetadata one = delivered.get(i).get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
                boolean known = !acks.equals("0");
                require(!known || one.offset() == i, "record " + i + " at " + one.offset());
            }
        }
    }

    private List<ConsumerRecord<byte[], byte[]>> fetch(TopicPartition at, long offset, int count) {
        consumer.assign(Set.of(at));
        consumer.seek(at, offset);
        List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (found.size() < count && System.nanoTime() < deadline) {
            for (ConsumerRecord<byte[], byte[]> one : consumer.poll(Duration.ofSeconds(1))) {
                require(one.offset() == offset + found.size(), "offset " + one.offset());
                found.add(one);
            }
        }
        return found;
    }

    /** With acks=0 nobody says when the records are there. */
    private void awaitEnd(TopicPartition at, long end) throws InterruptedException {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (consumer.endOffsets(Set.of(at)).get(at) != end) {
            require(System.nanoTime() < deadline, "the records did not arrive in time");
            Thread.sleep(50);
        }
    }

    private static List<ProducerRecord<byte[], byte[]>> records(String topic) {
        List<ProducerRecord<byte[], byte[]>> made = new ArrayList<>();
        for (int i = 0; i < RECORDS; i++) {
            byte[] value = new byte[i * 13];
            for (int j = 0; j < value.length; j++) {
                value[j] = (byte) (i * 7 + j * 31);
            }
            byte[] key = i % 4 == 0 ? null : ("key-" + i + "-ü").getBytes();
            RecordHeaders headers = new RecordHeaders();
            if (i % 3 != 0) {
                headers.add("count", Integer.toString(i).getBytes());
                headers.add("binary", new byte[] {0, -1, (byte) i});
            }
            made.add(new ProducerRecord<>(topic, 1, START + i * STEP, key, value, headers));
        }
        return made;
    }

    private static void equal(
            List<ConsumerRecord<byte[], byte[]>> found,
            List<ProducerRecord<byte[], byte[]>> wanted) {
        require(found.size() == wanted.size(),
                found.size() + " records instead of " + wanted.size());
        for (int i = 0; i < found.size(); i++) {
            ConsumerRecord<byte[], byte[]> one = found.get(i);
            ProducerRecord<byte[], byte[]> other = wanted.get(i);
            boolean same = Arrays.equals(one.key(), other.key())
                    && Arrays.equals(one.value(), other.value())
                    && one.timestamp() == other.timestamp()
                    && Arrays.equals(
                            one.headers().toArray(), other.headers().toArray(), Matrix::compare);
            require(same, "record " + i + " differs");
        }
    }

    private static int compare(Header one, Header other) {
        boolean same = Objects.equals(one.key(), other.key())
                && Arrays.equals(one.value(), other.value());
        return same ? 0 : 1;
    }

    private Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", brokers);
        return properties;
    }

    private static void require(boolean condition, String otherwise) {
        if (!condition) {
            throw new AssertionError(otherwise);
        }
    }

    private interface Check {
        void run() throws Exception;
    }

    private void check(String name, Check check) {
        done++;
        try {
            check.run();
            System.out.println("PASS " + name);
        } catch (Exception | AssertionError error) {
            failed++;
            System.out.println("FAIL " + name + ": " + String.valueOf(error).replace('\n', ' '));
            error.printStackTrace();
        }
    }
}
