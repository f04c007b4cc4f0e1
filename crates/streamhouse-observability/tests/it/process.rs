//! The process and the runtime as a service watches them.

use std::time::Duration;
use streamhouse_observability::instruments::{ProcessMetrics, RuntimeMetrics};
use streamhouse_observability::{process, testing};
use tokio::runtime::Handle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_is_sampled_before_a_collect_at_most_once_per_second() {
    let (declare, seen) = testing::in_memory();
    let metrics = ProcessMetrics::declare(&declare);
    let runtime = RuntimeMetrics::declare(&declare);
    process::watch(&declare, &metrics, &runtime, Handle::current());
    let tasks = || seen.value("tokio.runtime.alive_tasks", &[]).unwrap();
    assert_eq!(seen.value("tokio.runtime.workers", &[]), Some(2.0));
    assert!(seen.value("tokio.runtime.global_queue", &[]).is_some());
    assert!(seen.value("tokio.runtime.busy", &[]).is_some());
    let before = tasks();

    let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
    assert_eq!(tasks(), before, "the sample is fresh");
    let seen_later = async {
        while tasks() < before + 50.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen_later).await.unwrap();
    assert!(seen.value("tokio.runtime.busy", &[]).unwrap() > 0.0);
    drop(waiting);
}

#[test]
fn tasks_that_wait_for_a_worker_are_counted() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (holding, begun) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        holding.send(()).expect("the test waits");
        let _ = held.recv();
    });
    begun.recv().expect("the only worker is held");
    for _ in 0..5 {
        runtime.spawn(async {});
    }
    let (declare, seen) = testing::in_memory();
    let (process, tokio) = (ProcessMetrics::declare(&declare), RuntimeMetrics::declare(&declare));

    process::watch(&declare, &process, &tokio, runtime.handle().clone());

    assert_eq!(seen.value("tokio.runtime.global_queue", &[]), Some(5.0));
    drop(release);
}
