//! What becomes of a record: told once, to telemetry first and then to who waits.

use crate::error::ClientError;
use crate::record::Delivery;
use crate::semconv;
use crate::telemetry::{self, ErrorType, Instruments, Place, SendSpan};
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::Span as _;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// A record's way, as telemetry sees it.
pub(super) struct Underway {
    place: Place,
    started: Instant,
    span: Option<Mutex<Box<BoxedSpan>>>,
}

impl Underway {
    pub(super) fn new(place: Place, started: Instant, span: SendSpan) -> Self {
        Self { place, started, span: span.map(Mutex::new) }
    }

    /// When it began.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The delivery is known.
    pub(super) fn end(&self, instruments: &Instruments, result: &Result<Delivery, ClientError>) {
        let error = result.as_ref().err().map(ErrorType::from);
        instruments.sent_in(self.place, self.started.elapsed(), error);
        self.end_span(result.as_ref().ok(), error);
    }

    /// It was never sent.
    pub(super) fn end_unsent(&self, instruments: &Instruments, error: ErrorType) {
        instruments.not_sent_in(self.place, self.started.elapsed(), error);
        self.end_span(None, Some(error));
    }

    /// Nobody waits for what becomes of it.
    pub(super) fn end_unseen(&self, instruments: &Instruments) {
        instruments.sent_unseen(self.place);
        self.end_span(None, None);
    }

    fn end_span(&self, delivery: Option<&Delivery>, error: Option<ErrorType>) {
        let Some(span) = &self.span else { return };
        let mut span = span.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(delivery) = delivery {
            let partition = delivery.partition.to_string();
            span.set_attribute(KeyValue::new(semconv::DESTINATION_PARTITION_ID, partition));
            if let Some(offset) = delivery.offset {
                span.set_attribute(KeyValue::new(semconv::KAFKA_OFFSET, offset));
            }
        }
        telemetry::end(&mut **span, error);
    }
}

/// A record that librdkafka has, shared by its callback and who waits: one allocation for both.
pub(super) struct Pending {
    pub(super) underway: Underway,
    state: Mutex<State>,
}

enum State {
    Waiting(Option<Waker>),
    Told(Result<Delivery, ClientError>),
    Taken,
}

impl Pending {
    pub(super) fn new(underway: Underway) -> Self {
        Self { underway, state: Mutex::new(State::Waiting(None)) }
    }

    /// Tells the outcome.
    pub(super) fn tell(&self, instruments: &Instruments, result: Result<Delivery, ClientError>) {
        self.underway.end(instruments, &result);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *state, State::Told(result));
        drop(state);
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }

    /// The outcome, once.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Delivery, ClientError>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Told(result) => Poll::Ready(result),
            State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => {
                *state = State::Waiting(Some(waker));
                Poll::Pending
            }
            State::Waiting(_) => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Taken => {
                let why = "this delivery was awaited already: await it once".into();
                Poll::Ready(Err(ClientError::Invalid(why)))
            }
        }
    }
}
