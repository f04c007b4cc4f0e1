//! Records that another client has written in its own way.

use crate::BINARY;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::records::Compression;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::{Message, TopicPartitionList};
use serde_json::{Value, json};
use std::process::Command;
use streamhouse_client::{Admin, Connection, Consumer, Start, Telemetry};
use streamhouse_tests::process::Launch;
use streamhouse_tests::raw::{self, batch, produce};

const PRODUCE: i16 = 9;

/// A batch of one record with one header, whose name is the byte 255.
fn nameless() -> Bytes {
    let mut bytes = BytesMut::from(&batch(&[b"odd".to_vec()], Compression::None, None)[..]);
    // The record is the batch's last part: its length first, its number of headers last.
    let (length, record) = (u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]), 61);
    bytes.truncate(bytes.len() - 1);
    // Numbers in records are zigzag: one header, a name of one byte, a value of one byte.
    bytes.extend_from_slice(&[2, 2, 0xff, 2, b'x']);
    bytes[record] += 2 * 4;
    bytes[8..12].copy_from_slice(&(length + 4).to_be_bytes());
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, byte)
}

#[tokio::test]
async fn a_record_with_a_header_whose_name_is_no_text_is_told_without_it_and_ends_no_consumer() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Launch::serve(BINARY, data.path()).start();
    let connection =
        Connection::to(server.kafka.to_string()).recorded_by(&Telemetry::global().with_roots());
    let admin = Admin::new(&connection).expect("an admin client");
    admin.create_topic("odd", 1).await.expect("a topic");
    let mut raw = raw::Connection::open(server.kafka).expect("a connection");
    let good = batch(&[b"good".to_vec()], Compression::None, None);
    for records in [nameless(), nameless(), good] {
        let request = produce("odd", 0, records, -1);
        let answer = raw.call::<ProduceRequest>(PRODUCE, &request).expect("an answer");
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }

    let consumer = Consumer::new(&connection, "odd", &[0], Start::Earliest).await;
    let consumer = consumer.expect("a consumer");
    for unreadable in [1, 1, 0] {
        let received = consumer.next().await.expect("a record");
        assert_eq!((received.headers.len(), received.unreadable_headers), (0, unreadable));
    }

    // So is who reads with the command line, alone or in a group.
    let read = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["consume", "odd", "--brokers", &server.kafka.to_string()]);
        let told = command.args(arguments).output().expect("the command line runs");
        let errors = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.success(), "{errors}");
        (String::from_utf8_lossy(&told.stdout).into_owned(), errors)
    };
    let warning = "warning: record 0 of partition 0 of topic \"odd\" has a header whose name is not \
                   UTF-8: it is left out; --output json counts them, and there is no further warning\n";
    let all = ("odd\nodd\ngood\n".to_owned(), warning.to_owned());
    assert_eq!(read(&[]), all);
    assert_eq!(read(&["--group", "readers", "--max", "3"]), all);
    let (told, errors) = read(&["--output", "json"]);
    assert_eq!(errors, warning);
    let records = told.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let counts: Vec<_> = records.map(|record| record["unreadable_headers"].clone()).collect();
    assert_eq!(counts, [json!(1), json!(1), Value::Null]);

    // A wrapped consumer gives the message itself, whose headers its user need not read.
    let inner: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", server.kafka.to_string())
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut start = TopicPartitionList::new();
    start.add_partition_offset("odd", 0, rdkafka::Offset::Beginning).expect("an offset");
    inner.assign(&start).expect("an assignment");
    let wrapped = Consumer::wrap(inner, None, &Telemetry::global().with_roots());
    let message = wrapped.recv().await.expect("the message");
    let work = async { Ok::<_, ()>(message.payload().map(<[u8]>::len)) };
    assert_eq!(wrapped.process(&message, work).await, Ok(Some(3)));
}
