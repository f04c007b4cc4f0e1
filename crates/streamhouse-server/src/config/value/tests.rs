use super::*;

fn round_trip<T: Value>(text: &str) -> String {
    T::parse(text).unwrap().show()
}

#[test]
fn every_value_is_shown_as_it_is_written() {
    for text in ["0ms", "7ms", "100ms", "5s", "90s", "2m", "1h"] {
        assert_eq!(round_trip::<Duration>(text), text);
    }
    for text in ["1B", "1000B", "512KiB", "8MiB", "3GiB"] {
        assert_eq!(round_trip::<Bytes>(text), text);
    }
    for text in ["local", "memory:", "file:///var/log", "s3://bucket", "s3://bucket/a/b"] {
        assert_eq!(round_trip::<ObjectStoreUrl>(text), text);
    }
    for text in ["local", "sqlite:///tmp/x.db"] {
        assert_eq!(round_trip::<MetadataUrl>(text), text);
    }
    for text in ["host:1", "[::1]:9092"] {
        assert_eq!(round_trip::<HostPort>(text), text);
    }
    for text in ["-1", "0", "604800000"] {
        assert_eq!(round_trip::<Limit>(text), text);
    }
    for text in ["auto", "text", "json"] {
        assert_eq!(round_trip::<LogFormat>(text), text);
    }
}

#[test]
fn what_has_no_unit_or_no_sense_is_refused_with_what_to_write() {
    for text in ["100", "-1s", "5 s", "1d", "", "99999999999999999h"] {
        assert!(Duration::parse(text).unwrap_err().contains("100ms"), "{text:?}");
    }
    for text in ["MiB", "1MB", "-1B", "99999999999999GiB"] {
        assert!(Bytes::parse(text).unwrap_err().contains("8MiB"), "{text:?}");
    }
    for text in ["", "7d", "-2", "1.5", "9223372036854775808"] {
        assert!(Limit::parse(text).unwrap_err().contains("-1"), "{text:?}");
    }
    for text in ["", "s3://", "file://relative", "gcs://bucket"] {
        assert!(ObjectStoreUrl::parse(text).unwrap_err().contains("s3://"), "{text:?}");
    }
    for text in ["9092", "127.0.0.1", "log-1:9092", "127.0.0.1:99999"] {
        assert!(SocketAddr::parse(text).unwrap_err().contains("127.0.0.1:9092"), "{text:?}");
    }
}

#[test]
fn a_secret_is_shown_nowhere() {
    let secret = Secret::parse("hunter2").unwrap();
    assert_eq!(format!("{secret:?} {}", secret.show()), "<redacted> <redacted>");
    assert_eq!(secret.reveal(), "hunter2");
}
