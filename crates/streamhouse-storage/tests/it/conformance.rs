//! What every object store does, and every decorator lets through.

use bytes::Bytes;
use std::sync::Arc;
use streamhouse_observability::instruments::ObjectStoreMetrics;
use streamhouse_observability::labels::StoreError as Class;
use streamhouse_observability::testing;
use streamhouse_storage::object_store::{
    LocalStore, MemoryStore, ObjectStore, ObjectStoreConfig, S3Store, open,
};
use streamhouse_storage::testing::s3::{BUCKET, S3Server};
use streamhouse_storage::testing::{FaultStore, Faults};

fn parts(text: &str) -> Vec<Bytes> {
    text.as_bytes().chunks(3).map(Bytes::copy_from_slice).collect()
}

fn metrics() -> ObjectStoreMetrics {
    ObjectStoreMetrics::declare(&testing::in_memory().0)
}

async fn names(store: &dyn ObjectStore, prefix: &str, after: Option<&str>) -> Vec<String> {
    let found = store.list(prefix, after).await.unwrap();
    found.into_iter().map(|object| object.name).collect()
}

/// The whole suite. `store` is empty at the start and at the end.
async fn conforms(store: &dyn ObjectStore) {
    objects_are_read_back(store).await;
    the_same_bytes_may_be_written_again(store).await;
    what_is_missing_is_not_found(store).await;
    ranges_are_exact(store).await;
    listings_are_sorted_and_resumed(store).await;
    bad_names_are_refused(store).await;
    many_at_once_do_not_disturb_each_other(store).await;
    assert_eq!(names(store, "", None).await, [""; 0]);
}

async fn objects_are_read_back(store: &dyn ObjectStore) {
    store.put("0f/hour/1-a", &parts("the quick brown fox")).await.unwrap();
    let head = store.head("0f/hour/1-a").await.unwrap();
    assert_eq!((head.name.as_str(), head.size), ("0f/hour/1-a", 19));
    assert_eq!(store.get("0f/hour/1-a", 0..19).await.unwrap(), "the quick brown fox");
    store.delete("0f/hour/1-a").await.unwrap();
    assert_eq!(store.head("0f/hour/1-a").await.unwrap_err().class, Class::NotFound);

    store.put("nothing", &[]).await.unwrap();
    store
        .put("empty-parts", &[Bytes::new(), Bytes::from_static(b"x"), Bytes::new()])
        .await
        .unwrap();
    assert_eq!(store.head("nothing").await.unwrap().size, 0);
    assert_eq!(store.get("empty-parts", 0..1).await.unwrap(), "x");

    let large: Vec<Bytes> =
        (0..300_u32).map(|part| part.to_be_bytes().repeat(2_500).into()).collect();
    store.put("large", &large).await.unwrap();
    assert_eq!(store.get("large", 0..3_000_000).await.unwrap(), large.concat());
    for name in ["nothing", "empty-parts", "large"] {
        store.delete(name).await.unwrap();
    }
}

async fn the_same_bytes_may_be_written_again(store: &dyn ObjectStore) {
    for _ in 0..3 {
        store.put("again", &parts("the same bytes")).await.unwrap();
    }
    assert_eq!(store.get("again", 0..14).await.unwrap(), "the same bytes");
    store.delete("again").await.unwrap();
    store.put("again", &parts("after a delete, a fresh object")).await.unwrap();
    assert_eq!(store.head("again").await.unwrap().size, 30);
    store.delete("again").await.unwrap();
}

async fn what_is_missing_is_not_found(store: &dyn ObjectStore) {
    store.put("dir/file", &parts("x")).await.unwrap();
    for name in ["missing", "dir/missing", "no/such/dir"] {
        let head = store.head(name).await.unwrap_err();
        assert_eq!(head.class, Class::NotFound, "{head}");
        assert_eq!((head.operation, head.object.as_str()), ("head", name));
        let get = store.get(name, 0..1).await.unwrap_err();
        assert_eq!(get.class, Class::NotFound, "{get}");
        assert!(!get.is_retryable());
    }
    store.delete("missing").await.unwrap();
    store.delete("no/such/dir").await.unwrap();
    store.delete("dir/file").await.unwrap();
}

async fn ranges_are_exact(store: &dyn ObjectStore) {
    store.put("ranges", &parts("0123456789")).await.unwrap();
    for (start, end) in [(0, 1), (0, 10), (3, 7), (9, 10)] {
        let read = store.get("ranges", start..end).await.unwrap();
        assert_eq!(read, &b"0123456789"[start as usize..end as usize]);
    }
    #[allow(clippy::reversed_empty_ranges)]
    let wrong = [0..11, 9..11, 10..11, 11..12, 5..5, 7..3, 0..u64::MAX, u64::MAX - 1..u64::MAX];
    for range in wrong {
        let error = store.get("ranges", range.clone()).await.expect_err("a wrong range was read");
        assert_eq!(error.class, Class::Invalid, "{range:?}: {error}");
    }
    store.delete("ranges").await.unwrap();
}

async fn listings_are_sorted_and_resumed(store: &dyn ObjectStore) {
    // `-` and `.` sort before `/`, which a walk through directories gets wrong easily.
    let all = ["a", "a-b", "a.b", "b/c", "b/c-d/e", "b/c.d", "b/cc", "b0", "c/d/e/f", "c0"];
    for name in all.iter().rev().filter(|name| **name != "b/c") {
        store.put(name, &parts(name)).await.unwrap();
    }
    let all: Vec<&str> = all.into_iter().filter(|name| *name != "b/c").collect();
    assert_eq!(names(store, "", None).await, all);
    for (place, name) in all.iter().enumerate() {
        assert_eq!(names(store, "", Some(name)).await, all[place + 1..], "after {name}");
    }
    for prefix in ["a", "a-", "b/", "b/c", "b/c-", "b/c-d", "b/c-d/e", "c/d", "c/d/e/f", "zz"] {
        let wanted: Vec<_> = all.iter().copied().filter(|n| n.starts_with(prefix)).collect();
        assert_eq!(names(store, prefix, None).await, wanted, "under {prefix}");
    }
    assert_eq!(names(store, "b/", Some("b/c-z")).await, ["b/c.d", "b/cc"]);
    assert_eq!(names(store, "b/", Some("a")).await, ["b/c-d/e", "b/c.d", "b/cc"]);
    assert_eq!(names(store, "b/", Some("c")).await, [""; 0]);
    let sizes: Vec<u64> = store.list("c", None).await.unwrap().iter().map(|o| o.size).collect();
    assert_eq!(sizes, [7, 2]);
    for name in all {
        store.delete(name).await.unwrap();
    }
}

async fn bad_names_are_refused(store: &dyn ObjectStore) {
    for name in ["", "/", "/etc/passwd", "../outside", "a/../../outside", "a//b", "a b", "a%2fb"] {
        let failures = [
            store.put(name, &parts("x")).await.unwrap_err(),
            store.get(name, 0..1).await.unwrap_err(),
            store.head(name).await.unwrap_err(),
            store.delete(name).await.unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(failure.class, Class::Invalid, "{name:?}: {failure}");
        }
    }
    assert_eq!(store.list("../", None).await.unwrap_err().class, Class::Invalid);
}

async fn many_at_once_do_not_disturb_each_other(store: &dyn ObjectStore) {
    let name = |n: u32| format!("{:02x}/hour/1-{n:04}", n % 7);
    let put = |n: u32| async move { store.put(&name(n), &parts(&n.to_string().repeat(50))).await };
    for result in futures_util::future::join_all((0..60).map(put)).await {
        result.unwrap();
    }
    let check_and_delete = |n: u32| async move {
        let text = n.to_string().repeat(50);
        assert_eq!(store.get(&name(n), 0..text.len() as u64).await.unwrap(), text);
        store.delete(&name(n)).await
    };
    for result in futures_util::future::join_all((0..60).map(check_and_delete)).await {
        result.unwrap();
    }
}

async fn open_and_check(config: &ObjectStoreConfig) {
    let store: Arc<dyn ObjectStore> = open(&metrics(), config).unwrap();
    conforms(&store).await;
}

#[tokio::test]
async fn memory_conforms() {
    conforms(&MemoryStore::new()).await;
    open_and_check(&ObjectStoreConfig::new("memory:".parse().unwrap())).await;
}

#[tokio::test]
async fn a_local_directory_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conforms(&LocalStore::open(directory.path().join("deep/root")).unwrap()).await;
    let url = directory.path().join("other").to_str().unwrap().parse().unwrap();
    open_and_check(&ObjectStoreConfig::new(url)).await;
}

#[tokio::test]
async fn s3_conforms() {
    let server = S3Server::start().await.unwrap();
    for prefix in ["", "some/prefix"] {
        conforms(&S3Store::new(BUCKET, prefix, &server.s3_config()).unwrap()).await;
        open_and_check(&server.config(prefix)).await;
    }
}

#[tokio::test]
async fn a_fault_store_without_faults_conforms() {
    conforms(&FaultStore::new(MemoryStore::new(), Faults::none())).await;
}

#[tokio::test]
async fn a_listing_has_at_most_a_thousand_names() {
    let directory = tempfile::tempdir().unwrap();
    let server = S3Server::start().await.unwrap();
    let stores: [Box<dyn ObjectStore>; 3] = [
        Box::new(MemoryStore::new()),
        Box::new(LocalStore::open(directory.path()).unwrap()),
        Box::new(S3Store::new(BUCKET, "", &server.s3_config()).unwrap()),
    ];
    for (place, store) in stores.iter().map(Box::as_ref).enumerate() {
        for n in 0..1_001 {
            let name = format!("{:02}/{n:04}", n % 3);
            // Written past the slow ones: what is listed matters here, not how it got there.
            match place {
                0 => store.put(&name, &parts("x")).await.unwrap(),
                _ => {
                    let root = if place == 1 { directory.path() } else { &server.directory() };
                    let path = root.join(name);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, "x").unwrap();
                }
            }
        }
        let first = names(store, "", None).await;
        assert_eq!(first.len(), 1_000);
        assert_eq!(names(store, "", Some(&first[999])).await, ["02/0998"]);
    }
}
