//! S3 over real HTTP: every fault has its class, and the counters equal what was injected.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::instruments::ObjectStoreMetrics;
use streamhouse_observability::labels::{Operation, StoreError as Class};
use streamhouse_observability::testing::{self, Seen};
use streamhouse_storage::object_store::{
    Budgets, Deadlines, Metered, ObjectStore, Resilient, S3Config, S3Store, Secret, open,
};
use streamhouse_storage::testing::Fault;
use streamhouse_storage::testing::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

const DEADLINES: Deadlines =
    Deadlines { put: Duration::from_secs(30), other: Duration::from_secs(30) };

fn body() -> Vec<Bytes> {
    (0..20_u8).map(|part| vec![part; 10_000].into()).collect()
}

fn metered(server: &S3Server, deadlines: Deadlines) -> (Metered<S3Store>, Seen) {
    let (declare, seen) = testing::in_memory();
    let store = S3Store::new(BUCKET, "", &server.s3_config()).unwrap();
    (Metered::new(&ObjectStoreMetrics::declare(&declare), store, deadlines), seen)
}

fn errors(seen: &Seen, operation: Operation, class: Class) -> u64 {
    let labels = [("operation", operation.as_str()), ("error", class.as_str())];
    seen.count("streamhouse.s3.errors", &labels)
}

fn requests(seen: &Seen, operation: Operation) -> u64 {
    seen.count("streamhouse.s3.requests", &[("operation", operation.as_str())])
}

/// Every counter of errors against the server's own ledger.
fn assert_errors_equal_the_injected(seen: &Seen, server: &S3Server) {
    for operation in Operation::ALL.iter().copied() {
        for class in Class::ALL.iter().copied() {
            let injected = server.faults().injected_as(operation, class);
            assert_eq!(errors(seen, operation, class), injected, "{operation:?} {class:?}");
        }
        assert_eq!(requests(seen, operation), server.faults().calls(operation), "{operation:?}");
    }
}

async fn call(store: &dyn ObjectStore, operation: Operation) -> Result<(), Class> {
    let result = match operation {
        Operation::Put => store.put("a/b", &body()).await,
        Operation::Get => store.get("a/b", 0..200_000).await.map(drop),
        Operation::Head => store.head("a/b").await.map(drop),
        Operation::List => store.list("a/", None).await.map(drop),
        Operation::Delete => store.delete("a/c").await,
    };
    result.map_err(|error| {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET_KEY) && !shown.contains(ACCESS_KEY), "{shown}");
        assert_eq!(error.operation, operation.as_str());
        error.class
    })
}

#[tokio::test]
async fn each_fault_of_each_operation_has_its_class_and_is_counted_once() {
    let server = S3Server::start().await.unwrap();
    let (store, seen) = metered(&server, DEADLINES);
    call(&store, Operation::Put).await.unwrap();
    let faults =
        [Fault::Throttled, Fault::ServerError, Fault::Denied, Fault::Refused, Fault::ReplyLost];
    for operation in Operation::ALL.iter().copied() {
        for fault in faults {
            server.faults().queue(operation, [fault]);
            let class = call(&store, operation).await.expect_err("the fault was not noticed");
            // A HEAD has no body, so nothing tells one 5xx from another but its status.
            assert_eq!(Some(class), fault.class(operation), "{operation:?} {fault:?}");
            assert_eq!(call(&store, operation).await, Ok(()), "{operation:?} after {fault:?}");
        }
    }
    assert_errors_equal_the_injected(&seen, &server);
}

#[tokio::test]
async fn a_server_that_hangs_is_a_timeout() {
    let server = S3Server::start().await.unwrap();
    let short = Duration::from_secs(1);
    let (store, seen) = metered(&server, Deadlines { put: short, other: short });
    for operation in Operation::ALL.iter().copied() {
        server.faults().queue(operation, [Fault::Hang]);
    }
    let calls = Operation::ALL.iter().map(|operation| call(&store, *operation));
    for result in futures_util::future::join_all(calls).await {
        assert_eq!(result, Err(Class::Timeout));
    }
    assert_errors_equal_the_injected(&seen, &server);
}

#[tokio::test]
async fn a_closed_port_is_a_connection_error_until_it_opens_again() {
    let server = S3Server::start().await.unwrap();
    let (store, seen) = metered(&server, DEADLINES);
    call(&store, Operation::Put).await.unwrap();
    server.close().await;
    for operation in Operation::ALL.iter().copied() {
        assert_eq!(call(&store, operation).await, Err(Class::Connection), "{operation:?}");
    }
    assert_eq!(seen.count("streamhouse.s3.errors", &[("error", "connection")]), 5);
    server.reopen().await.unwrap();
    for operation in Operation::ALL.iter().copied() {
        assert_eq!(call(&store, operation).await, Ok(()), "{operation:?}");
    }
    assert_eq!(seen.count("streamhouse.s3.requests", &[]), 11);
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_a_connection_error() {
    let config = S3Config {
        // A label of 64 letters: refused without asking the network.
        endpoint: Some(format!("http://{}.invalid:9", "a".repeat(64))),
        access_key_id: Some(Secret::new("id")),
        secret_access_key: Some(Secret::new("key")),
        ..S3Config::default()
    };
    let store = S3Store::new(BUCKET, "", &config).unwrap();
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.class, Class::Connection, "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_a_missing_bucket_is_not_a_missing_object() {
    let server = S3Server::start().await.unwrap();
    let wrong = S3Config { secret_access_key: Some(Secret::new("wrong")), ..server.s3_config() };
    let store = S3Store::new(BUCKET, "", &wrong).unwrap();
    for operation in Operation::ALL.iter().copied() {
        assert_eq!(call(&store, operation).await, Err(Class::Denied), "{operation:?}");
    }
    let error = store.put("a", &[]).await.unwrap_err();
    assert!(error.message.contains("SignatureDoesNotMatch"), "{error}");

    let store = S3Store::new("another-bucket", "", &server.s3_config()).unwrap();
    let error = store.list("", None).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid, "{error}");
    assert!(error.message.contains("NoSuchBucket"), "{error}");
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_secret() {
    let server = S3Server::start().await.unwrap();
    let config = server.config("prefix");
    let store: Arc<dyn ObjectStore> =
        open(&ObjectStoreMetrics::declare(&testing::in_memory().0), &config).unwrap();
    let shown = format!("{config:?} {store:?}");
    assert!(shown.contains(BUCKET), "{shown}");
    assert!(!shown.contains(SECRET_KEY), "{shown}");
    assert!(!shown.contains(ACCESS_KEY), "{shown}");
}

#[tokio::test]
async fn damage_on_the_way_reaches_the_caller_who_has_the_checksum() {
    let server = S3Server::start().await.unwrap();
    let (store, _seen) = metered(&server, DEADLINES);
    call(&store, Operation::Put).await.unwrap();
    server.faults().queue(Operation::Get, [Fault::Torn]);
    let damaged = store.get("a/b", 0..200_000).await.unwrap();
    assert_ne!(damaged, body().concat());
    assert_eq!(store.get("a/b", 0..200_000).await.unwrap(), body().concat());
}

#[tokio::test]
async fn a_put_that_hangs_for_ever_is_hedged_and_stored() {
    let server = S3Server::start().await.unwrap();
    let (declare, seen) = testing::in_memory();
    let store = open(&ObjectStoreMetrics::declare(&declare), &server.config("")).unwrap();
    server.faults().queue(Operation::Put, [Fault::Hang]);

    store.put("a/b", &body()).await.unwrap();

    assert_eq!(store.get("a/b", 0..200_000).await.unwrap(), body().concat());
    assert_eq!(seen.count("streamhouse.s3.retries", &[("operation", "put")]), 1);
    assert_eq!(seen.count("streamhouse.s3.errors", &[]), 0);
    let cancelled = [("operation", "put"), ("outcome", "cancelled")];
    assert_eq!(seen.count("streamhouse.s3.duration", &cancelled), 1);
    assert_eq!(requests(&seen, Operation::Put), server.faults().calls(Operation::Put));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_storm_nothing_is_lost_and_the_counters_equal_the_injected_faults() {
    let server = S3Server::start().await.unwrap();
    let (declare, seen) = testing::in_memory();
    let metrics = ObjectStoreMetrics::declare(&declare);
    let store = S3Store::new(BUCKET, "storm", &server.s3_config()).unwrap();
    let store = Arc::new(Metered::new(&metrics, store, DEADLINES));
    let budget = Duration::from_secs(60);
    let resilient = Resilient::new(&metrics, store.clone(), Budgets { put: budget, other: budget });
    let resilient = Arc::new(resilient);
    let storm = [
        Some(Fault::Throttled),
        None,
        Some(Fault::ReplyLost),
        None,
        None,
        Some(Fault::ServerError),
        Some(Fault::Refused),
        None,
    ];
    for operation in [Operation::Put, Operation::Get] {
        server.faults().queue(operation, storm.repeat(8));
    }
    let one = |n: usize| {
        let (store, resilient) = (store.clone(), resilient.clone());
        async move {
            let (name, body) =
                (format!("{:02x}/{n}", n % 5), vec![Bytes::from(vec![n as u8; 5_000])]);
            // Repeated by hand: on a busy machine a hedge would be fair, and spoil the count.
            while let Err(error) = store.put(&name, &body).await {
                assert!(error.is_retryable(), "{error}");
            }
            assert_eq!(resilient.get(&name, 0..5_000).await.unwrap(), body[0]);
        }
    };
    futures_util::future::join_all((0..40).map(one)).await;

    assert_errors_equal_the_injected(&seen, &server);
    for operation in [Operation::Put, Operation::Get] {
        let injected = seen.count("streamhouse.s3.errors", &[("operation", operation.as_str())]);
        assert!(injected >= 20, "{operation:?}: only {injected}");
        assert_eq!(requests(&seen, operation), 40 + injected);
    }
    let repeated = seen.count("streamhouse.s3.errors", &[("operation", "get")]);
    assert_eq!(seen.count("streamhouse.s3.retries", &[]), repeated);
}
