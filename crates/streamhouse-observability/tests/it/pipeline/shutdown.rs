use super::{config, entered, logs, spans};
use std::time::{Duration, Instant};
use streamhouse_observability::pipeline::Protocol;
use streamhouse_observability::testing::otlp::{Fault, OtlpReceiver};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

#[test]
fn a_hung_receiver_holds_the_shutdown_no_longer_than_its_deadline() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        receiver.set_fault(Fault::Hang);
        let (observability, _default) = entered(config(receiver.endpoint(), protocol));
        spans(100);
        logs(200);
        let start = Instant::now();
        let report = observability.shutdown(Duration::from_millis(300));

        assert!(!report.in_time);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        println!("shutdown under a deadline of 300 ms: {:?}", start.elapsed());
        assert_eq!((report.traces.created, report.traces.dropped_shutdown), (100, 100));
        assert_eq!((report.logs.created, report.logs.dropped_shutdown), (200, 200));
        assert_eq!((report.traces.pending, report.logs.pending), (0, 0));
        assert_eq!(report.metrics.dropped_shutdown, report.metrics.created);
    }
}

#[test]
fn dropping_the_pipeline_flushes_it() {
    let receiver = OtlpReceiver::start();
    let (observability, _default) = entered(config(receiver.endpoint(), Protocol::Grpc));
    spans(10);
    drop(observability);
    assert_eq!(receiver.received().spans().count(), 10);
}

#[test]
fn what_is_made_after_the_shutdown_is_counted_so() {
    use streamhouse_observability::labels::{DropReason, Signal};
    let receiver = OtlpReceiver::start();
    let (observability, _default) = entered(config(receiver.endpoint(), Protocol::Grpc));
    let dropped = observability.telemetry().dropped.clone();
    // The end of a meter provider is an event of the SDK; in a process it never comes.
    let _metrics = observability.exposition();
    let late = tracing::info_span!("late");
    observability.shutdown(Duration::from_secs(20));
    drop(late);
    logs(2);
    let after = |signal| dropped.bind(&(signal, DropReason::AfterShutdown)).get();
    assert_eq!((after(Signal::Traces), after(Signal::Logs)), (1, 2));
}

async fn work_and_shut_down(protocol: Protocol) {
    let receiver = OtlpReceiver::start();
    let (observability, _default) = entered(config(receiver.endpoint(), protocol));
    spans(10);
    logs(10);
    let report = observability.shutdown(Duration::from_secs(20));
    assert!(report.in_time, "{report:?}");
    assert_eq!((report.traces.exported, report.logs.exported), (10, 10));
}

#[test]
fn the_shutdown_hangs_on_no_kind_of_runtime() {
    let runtimes = || {
        let current = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let multi = |workers| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(workers).enable_all().build()
        };
        [current.unwrap(), multi(1).unwrap(), multi(2).unwrap()]
    };
    for protocol in BOTH {
        for runtime in runtimes() {
            runtime.block_on(work_and_shut_down(protocol));
            runtime.block_on(async move { tokio::spawn(blocking(protocol)).await.unwrap() });
        }
    }
}

/// The same on a worker thread of the runtime.
async fn blocking(protocol: Protocol) {
    let receiver = OtlpReceiver::start();
    let report = {
        let (observability, _default) = entered(config(receiver.endpoint(), protocol));
        spans(10);
        observability.shutdown(Duration::from_secs(20))
    };
    assert_eq!(report.traces.exported, 10, "{report:?}");
}
