use super::{config, entered, logs, spans};
use std::time::{Duration, Instant};
use streamhouse_observability::labels::Signal;
use streamhouse_observability::pipeline::Protocol;
use streamhouse_observability::testing::otlp::{Fault, OtlpReceiver, RefusingPort};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

#[test]
fn what_a_refusing_receiver_does_not_take_is_counted_as_failed() {
    for protocol in BOTH {
        let port = RefusingPort::reserve();
        let (observability, _default) = entered(config(port.endpoint(), protocol));
        spans(30);
        logs(40);
        let report = observability.shutdown(Duration::from_secs(20));

        assert!(report.in_time, "{report:?}");
        assert_eq!((report.traces.created, report.traces.failed), (30, 30), "{report:?}");
        assert_eq!((report.logs.created, report.logs.failed), (40, 40), "{report:?}");
        assert_eq!(report.metrics.failed, report.metrics.created, "{report:?}");
        assert!(report.metrics.created > 0);
    }
}

#[test]
fn what_the_receiver_refuses_in_part_is_counted_as_rejected() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        receiver.set_fault(Fault::Reject(3));
        let mut config = config(receiver.endpoint(), protocol);
        config.traces.batch.delay = Duration::from_secs(3600);
        config.logs.batch.delay = Duration::from_secs(3600);
        let (observability, _default) = entered(config);
        spans(10);
        logs(5);
        let report = observability.shutdown(Duration::from_secs(20));

        assert_eq!((report.traces.rejected, report.traces.exported), (3, 7), "{report:?}");
        assert_eq!((report.logs.rejected, report.logs.exported), (3, 2), "{report:?}");
        assert_eq!(report.metrics.rejected, 3, "{report:?}");
        assert!(report.metrics.is_balanced(), "{report:?}");
    }
}

#[test]
fn a_request_that_the_receiver_cannot_take_now_is_repeated() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        receiver.set_fault(Fault::Unavailable(None));
        let (observability, _default) = entered(config(receiver.endpoint(), protocol));
        spans(5);
        receiver.wait_for("a first attempt", |one| one.attempts(Signal::Traces) > 0);
        receiver.set_fault(Fault::None);
        receiver.wait_for("the spans", |received| received.spans().count() == 5);
        let report = observability.shutdown(Duration::from_secs(20));

        assert_eq!((report.traces.exported, report.traces.failed), (5, 0), "{report:?}");
    }
}

#[test]
fn a_request_that_the_receiver_will_never_take_is_not_repeated() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        receiver.set_fault(Fault::Invalid);
        let mut config = config(receiver.endpoint(), protocol);
        config.traces.batch.delay = Duration::from_secs(3600);
        let (observability, _default) = entered(config);
        spans(5);
        let report = observability.shutdown(Duration::from_secs(20));

        assert_eq!(receiver.received().attempts(Signal::Traces), 1);
        assert_eq!((report.traces.exported, report.traces.failed), (0, 5), "{report:?}");
    }
}

#[test]
fn a_receiver_that_comes_back_gets_what_waited() {
    let receiver = OtlpReceiver::start();
    let address = receiver.address();
    let (observability, _default) = entered(config(receiver.endpoint(), Protocol::HttpProtobuf));
    spans(1);
    receiver.wait_for("the first span", |received| received.spans().count() == 1);
    drop(receiver);
    spans(1);

    let receiver = OtlpReceiver::start_at(address);
    receiver.wait_for("the second span", |received| received.spans().count() == 1);
    let report = observability.shutdown(Duration::from_secs(20));
    assert_eq!((report.traces.exported, report.traces.failed), (2, 0), "{report:?}");
}

#[test]
fn a_burst_before_a_slow_receiver_is_dropped_exactly_and_the_rest_delivered() {
    const COUNT: usize = 100_000;
    let receiver = OtlpReceiver::start();
    receiver.set_fault(Fault::Slow(Duration::from_millis(20)));
    let mut config = config(receiver.endpoint(), Protocol::HttpProtobuf);
    config.traces.batch.queue = 2_048;
    config.traces.batch.size = 512;
    config.logs.batch = config.traces.batch;
    let (observability, dispatch) = super::pipeline(config);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    spans(COUNT / 4);
                    logs(COUNT / 4);
                });
            });
        }
    });
    let report = observability.shutdown(Duration::from_secs(60));

    let received = receiver.received();
    let witness = [received.spans().count(), received.log_records().count()];
    for (signal, arrived) in [report.traces, report.logs].into_iter().zip(witness) {
        assert_eq!(signal.created, COUNT as u64, "{report:?}");
        assert!(signal.dropped_queue_full > 0, "{report:?}");
        assert_eq!(signal.exported, arrived as u64, "{report:?}");
        assert_eq!(signal.exported + signal.dropped_queue_full, COUNT as u64, "{report:?}");
        assert_eq!(signal.pending, 0, "{report:?}");
        assert!(signal.is_balanced(), "{report:?}");
    }
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let receiver = OtlpReceiver::start();
    receiver.set_fault(Fault::Rubbish(64 << 20));
    let (observability, _default) = entered(config(receiver.endpoint(), Protocol::HttpProtobuf));
    spans(2);
    let report = observability.shutdown(Duration::from_secs(20));
    assert_eq!((report.traces.exported, report.traces.failed), (0, 2), "{report:?}");
}

#[test]
fn a_receiver_that_asks_for_time_is_left_alone_whatever_waits() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        receiver.set_fault(Fault::Unavailable(Some(Duration::from_secs(30))));
        let mut config = config(receiver.endpoint(), protocol);
        config.otlp.timeout = Some(Duration::from_millis(200));
        let (observability, _default) = entered(config);
        for batch in 1..=3 {
            spans(1);
            let start = Instant::now();
            while observability.report(Signal::Traces).failed < batch {
                assert!(start.elapsed() < Duration::from_secs(20));
                std::thread::yield_now();
            }
        }
        assert_eq!(receiver.received().attempts(Signal::Traces), 1);
    }
}

#[test]
fn what_sampling_leaves_out_is_in_the_books() {
    let receiver = OtlpReceiver::start();
    let mut config = config(receiver.endpoint(), Protocol::Grpc);
    config.traces.sampling.ratio = 0.5;
    let (observability, _default) = entered(config);
    spans(2_000);
    let report = observability.shutdown(Duration::from_secs(20)).traces;

    assert_eq!(report.created, 2_000, "{report:?}");
    assert_eq!(report.exported, receiver.received().spans().count() as u64, "{report:?}");
    assert_eq!(report.exported + report.unsampled, 2_000, "{report:?}");
    assert!(report.exported > 500 && report.unsampled > 500, "{report:?}");
}
