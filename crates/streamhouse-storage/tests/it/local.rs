//! What only a directory does.

use bytes::Bytes;
use std::fs;
use streamhouse_observability::labels::StoreError as Class;
use streamhouse_storage::object_store::{LocalStore, ObjectStore};

fn body(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

fn store() -> (tempfile::TempDir, LocalStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path()).unwrap();
    (directory, store)
}

#[tokio::test]
async fn an_object_is_a_file_under_its_name_and_nothing_else_is_left() {
    let (directory, store) = store();
    store.put("0f/hour/1-a", &body("x")).await.unwrap();
    assert_eq!(fs::read(directory.path().join("0f/hour/1-a")).unwrap(), b"x");
    let hour = fs::read_dir(directory.path().join("0f/hour")).unwrap();
    assert_eq!(hour.count(), 1);
}

#[tokio::test]
async fn a_name_is_never_given_other_bytes() {
    let (directory, store) = store();
    store.put("a", &body("first")).await.unwrap();
    for other in ["other", "first!", "firs", ""] {
        let error = store.put("a", &body(other)).await.unwrap_err();
        assert_eq!(error.class, Class::Invalid, "{other}: {error}");
        assert!(error.message.contains("fresh name"), "{error}");
    }
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"first");
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_not_taken_for_the_object() {
    let (directory, store) = store();
    fs::write(directory.path().join("torn"), "fir").unwrap();
    let error = store.put("torn", &body("first")).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid, "{error}");
}

#[tokio::test]
async fn a_put_that_was_dropped_half_way_leaves_a_name_that_is_refused() {
    let (_directory, store) = store();
    let (name, other) = (body("first"), body("first"));
    let mut put = store.put("a", &name);
    assert!(futures_util::poll!(&mut put).is_pending());
    drop(put);
    let error = store.put("a", &other).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid, "{error}");
    store.put("b", &other).await.unwrap();
}

#[tokio::test]
async fn a_file_where_a_directory_must_be_fails_the_put_and_leaves_nothing() {
    let (directory, store) = store();
    store.put("a", &body("x")).await.unwrap();
    for name in ["a/b", "a/b/c"] {
        store.put(name, &body("y")).await.unwrap_err();
        assert_eq!(store.head(name).await.unwrap_err().class, Class::NotFound);
    }
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"x");
}

#[tokio::test]
async fn directories_are_not_objects() {
    let (_directory, store) = store();
    store.put("dir/file", &body("x")).await.unwrap();
    assert_eq!(store.head("dir").await.unwrap_err().class, Class::NotFound);
    assert_eq!(store.get("dir", 0..1).await.unwrap_err().class, Class::NotFound);
    store.delete("dir").await.unwrap();
    assert_eq!(store.head("dir/file").await.unwrap().size, 1);
}

#[tokio::test]
async fn the_last_delete_in_a_directory_removes_it() {
    let (directory, store) = store();
    store.put("s/h/one", &body("1")).await.unwrap();
    store.put("s/h/two", &body("2")).await.unwrap();
    store.delete("s/h/one").await.unwrap();
    assert!(directory.path().join("s/h").is_dir());
    store.delete("s/h/two").await.unwrap();
    assert!(!directory.path().join("s").exists());
    assert!(directory.path().is_dir());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_and_deletes_in_one_directory_do_not_disturb_each_other() {
    let (_directory, store) = store();
    let writers = (0..4).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                let name = format!("shared/dir/{writer}-{n}");
                store.put(&name, &body("x")).await.unwrap();
                assert_eq!(store.get(&name, 0..1).await.unwrap(), "x");
                store.delete(&name).await.unwrap();
            }
        })
    });
    for writer in Vec::from_iter(writers) {
        writer.await.unwrap();
    }
    assert!(store.list("", None).await.unwrap().is_empty());
}

#[tokio::test]
async fn strange_files_are_not_listed() {
    let (directory, store) = store();
    store.put("a", &body("x")).await.unwrap();
    fs::write(directory.path().join("not ours"), "").unwrap();
    fs::write(directory.path().join("lost+found"), "").unwrap();
    let names: Vec<_> = store.list("", None).await.unwrap().into_iter().map(|o| o.name).collect();
    assert_eq!(names, ["a"]);
}
