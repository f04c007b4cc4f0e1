use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use proptest::prelude::*;
use streamhouse_observability::spans::propagation::{remote_context, traceparent};

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_traceparent_is_read_as_the_standard_says() {
    let context = remote_context(VALID.as_bytes(), Some(b"vendor=1,other=2")).unwrap();
    assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
    assert!(context.is_sampled() && context.is_remote());
    assert_eq!(context.trace_state().header(), "vendor=1,other=2");

    let later = VALID.replace("00-4b", "cc-4b") + "-more";
    assert!(remote_context(later.as_bytes(), None).unwrap().is_sampled());
    let unsampled = VALID.replace("-01", "-fe");
    assert!(!remote_context(unsampled.as_bytes(), None).unwrap().is_sampled());
}

#[test]
fn what_the_standard_forbids_is_no_context() {
    for wrong in [
        "",
        "-",
        "---",
        "00",
        &VALID[..54],
        &format!("{VALID}-"),
        &format!("{VALID}0"),
        &format!(" {VALID}"),
        &VALID.replace("00-4b", "ff-4b"),
        &VALID.replace("00-4b", "0g-4b"),
        &VALID.to_uppercase(),
        &VALID.replace('-', "_"),
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
    ] {
        assert_eq!(remote_context(wrong.as_bytes(), None), None, "{wrong:?}");
    }
}

#[test]
fn a_bad_or_long_tracestate_is_left_out_and_the_context_kept() {
    let long = "a=".to_owned() + &"b".repeat(600);
    for state in [&b"\xff\xfe"[..], b"no equals sign", b"UPPER CASE=1", long.as_bytes()] {
        let context = remote_context(VALID.as_bytes(), Some(state)).unwrap();
        assert_eq!(context.trace_state(), &TraceState::NONE);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(
        parent in proptest::collection::vec(any::<u8>(), 0..80),
        state in proptest::collection::vec(any::<u8>(), 0..600),
        at in 0_usize..55,
        byte in any::<u8>(),
    ) {
        let _ = remote_context(&parent, Some(&state));
        let mut near = VALID.as_bytes().to_vec();
        near[at] = byte;
        if let Some(context) = remote_context(&near, Some(&state)) {
            prop_assert!(context.is_valid());
        }
    }

    #[test]
    fn what_is_written_is_read_back(trace in 1_u128.., span in 1_u64.., sampled in any::<bool>()) {
        let context = SpanContext::new(
            TraceId::from(trace),
            SpanId::from(span),
            TraceFlags::default().with_sampled(sampled),
            true,
            TraceState::NONE,
        );
        let text = traceparent(&context);
        prop_assert_eq!(remote_context(text.as_bytes(), None).unwrap(), context);
    }
}
