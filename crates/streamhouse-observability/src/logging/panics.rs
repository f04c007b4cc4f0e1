//! A panic is a log line like any other.

use std::panic::PanicHookInfo;

/// From now on a panic is one ERROR line with its message, its place, its thread and the ids of
/// the request it happened in, instead of the standard library's lines on standard error. Without
/// a subscriber the standard library's lines remain.
pub fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if tracing::dispatcher::has_been_set() {
            log(panic);
        } else {
            before(panic);
        }
    }));
}

fn log(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    tracing::error!(
        name: "panic",
        target: "panic",
        panic = panic.payload_as_str().unwrap_or("(no text)"),
        location = panic.location().map(tracing::field::display),
        thread = thread.name().unwrap_or("(unnamed)"),
        "a thread panicked"
    );
}
