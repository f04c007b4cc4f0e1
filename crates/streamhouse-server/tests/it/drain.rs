use crate::harness::{eventually, get, total};
use std::sync::Arc;
use std::time::{Duration, Instant};
use streamhouse_client::{Admin, Connection, Producer, ProducerOptions, Record};
use streamhouse_observability::labels::Operation;
use streamhouse_observability::pipeline::{self, Observability};
use streamhouse_server::app::App;
use streamhouse_server::config::Config;
use streamhouse_storage::object_store::{Deadlines, MemoryStore, Metered};
use streamhouse_storage::testing::{Fault, FaultStore, Faults};

/// A server in this process whose object store does as `faults` say.
async fn start(faults: &Faults, folder: &std::path::Path) -> App {
    let mut config = Config::default();
    config.place.data_dir = folder.to_owned();
    config.kafka.addr = ([127, 0, 0, 1], 0).into();
    config.admin.addr = ([127, 0, 0, 1], 0).into();
    config.writer.put_timeout = Duration::from_secs(60);
    let pipeline = pipeline::Config { log_lines: false, ..pipeline::Config::new("test", "0") };
    let (observability, _layers) =
        Observability::layers::<tracing_subscriber::Registry>(pipeline).unwrap();
    let faults = faults.clone();
    let started = App::start_with(observability, &config, move |metrics, _| {
        let store = FaultStore::new(MemoryStore::new(), faults);
        let minute = Duration::from_secs(60);
        Ok(Arc::new(Metered::new(metrics, store, Deadlines { put: minute, other: minute })))
    });
    started.await.unwrap()
}

fn record(value: &str) -> Record {
    Record { topic: "log".into(), value: Some(value.into()), ..Record::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_unready_at_once_alive_throughout_and_acknowledges_what_was_under_way() {
    let (faults, folder) = (Faults::none(), tempfile::tempdir().unwrap());
    let app = start(&faults, folder.path()).await;
    let (kafka, admin) = (app.kafka_addr().to_string(), app.admin_addr().to_string());
    let connection = Connection::to(kafka);
    Admin::new(&connection).unwrap().create_topic("log", 1).await.unwrap();
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    producer.send(&record("before")).await.unwrap();
    assert_eq!(get(&admin, "/health/ready", "").unwrap().0, 200);

    faults.queue(Operation::Put, [Fault::Hold]);
    let under_way = producer.enqueue(&record("under way")).await.unwrap();
    eventually("the segment is being stored", || {
        (faults.injected(Operation::Put, Fault::Hold) == 1).then_some(())
    });

    let begun = Instant::now();
    let shutdown = tokio::spawn(app.shutdown());
    let body = eventually("it is unready", || {
        let (status, body) = get(&admin, "/health/ready", "").unwrap();
        (status == 503).then_some(body)
    });
    println!("unready {:?} after the shutdown began (promised: 100 ms)", begun.elapsed());
    assert!(body.contains("draining"), "{body}");
    assert_eq!(get(&admin, "/health/live", "").unwrap().0, 200);
    assert!(
        total(&get(&admin, "/metrics", "").unwrap().1, "streamhouse_segment_unflushed_bytes") > 0.0
    );
    assert!(!shutdown.is_finished());

    faults.release();
    assert_eq!(under_way.await.unwrap().offset, Some(1));
    shutdown.await.unwrap().unwrap();
    assert!(get(&admin, "/health/live", "").is_err(), "the port is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_in_one_process_share_nothing() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = start(&Faults::none(), folders[0].path()).await;
    let other = start(&Faults::none(), folders[1].path()).await;
    let connection = Connection::to(one.kafka_addr().to_string());
    Admin::new(&connection).unwrap().create_topic("log", 3).await.unwrap();
    let topics = |app: &App| {
        let (_, metrics) = get(&app.admin_addr().to_string(), "/metrics", "").unwrap();
        total(&metrics, "streamhouse_topics_total")
    };
    eventually("the topic is counted", || (topics(&one) == 1.0).then_some(()));
    assert_eq!(topics(&other), 0.0);
    one.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}
