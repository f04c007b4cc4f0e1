//! From a URL to a store, and errors that say what to do.

use std::path::PathBuf;
use streamhouse_observability::instruments::ObjectStoreMetrics;
use streamhouse_observability::testing;
use streamhouse_storage::object_store::{
    ObjectStoreConfig, ObjectStoreUrl, S3Config, S3Store, Secret, open,
};

fn parse(text: &str) -> Result<ObjectStoreUrl, String> {
    text.parse().map_err(|error: streamhouse_storage::object_store::OpenError| error.to_string())
}

#[test]
fn a_url_names_a_directory_memory_or_a_bucket() {
    let local = |path: &str| Ok(ObjectStoreUrl::Local(PathBuf::from(path)));
    let s3 = |bucket: &str, prefix: &str| {
        Ok(ObjectStoreUrl::S3 { bucket: bucket.into(), prefix: prefix.into() })
    };
    assert_eq!(parse("file:///var/log"), local("/var/log"));
    assert_eq!(parse("/var/log"), local("/var/log"));
    assert_eq!(parse("./data"), local("./data"));
    assert_eq!(parse("data/objects"), local("data/objects"));
    assert_eq!(parse("memory:"), Ok(ObjectStoreUrl::Memory));
    assert_eq!(parse("memory://"), Ok(ObjectStoreUrl::Memory));
    assert_eq!(parse("s3://bucket"), s3("bucket", ""));
    assert_eq!(parse("s3://bucket/"), s3("bucket", ""));
    assert_eq!(parse("s3://my.bucket-1/a/b/"), s3("my.bucket-1", "a/b"));
}

#[test]
fn a_url_is_shown_as_it_is_read() {
    for text in ["file:///var/log", "data", "memory:", "s3://bucket", "s3://bucket/a/b"] {
        assert_eq!(parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn an_unusable_url_is_refused_with_its_value_and_the_fix() {
    let wrong = ["", "gs://bucket", "s3:", "s3://", "s3://ab", "s3://Bucket", "file://relative"];
    let strange = ["memory:x", "s3://bucket/a b", "s3://-bucket", "s3://key:secret@bucket"];
    for text in wrong.into_iter().chain(strange) {
        let message = parse(text).expect_err(text);
        assert!(message.contains(&format!("{text:?}")), "{message}");
        assert!(message.contains("s3://bucket/prefix"), "{message}");
    }
}

#[test]
fn a_configuration_of_s3_that_contradicts_itself_says_what_to_change() {
    let secret = || Some(Secret::new("canary"));
    let base = S3Config::default;
    let cases = [
        (S3Config { endpoint: Some("localhost:9000".into()), ..base() }, "localhost:9000"),
        (S3Config { endpoint: Some("https://".into()), ..base() }, "https://host:port"),
        (S3Config { endpoint: Some("https://a:b@host".into()), ..base() }, "set the keys"),
        (S3Config { region: String::new(), ..base() }, "us-east-1"),
        (S3Config { access_key_id: secret(), ..base() }, "set both"),
        (S3Config { secret_access_key: secret(), ..base() }, "set both"),
        (S3Config { session_token: secret(), ..base() }, "set all three"),
    ];
    for (config, hint) in cases {
        let message = S3Store::new("bucket", "", &config).unwrap_err().to_string();
        assert!(message.contains(hint), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let url = ObjectStoreUrl::Local(file.join("below"));
    let metrics = ObjectStoreMetrics::declare(&testing::in_memory().0);
    let message = open(&metrics, &ObjectStoreConfig::new(url)).unwrap_err().to_string();
    assert!(message.contains("file/below"), "{message}");
    assert!(message.contains("choose one"), "{message}");
}
