//! Carrying a trace from one process to another, in the `traceparent` header of W3C.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use visor_protocol::TraceContext;

/// The trace of the present span, to be sent along; none while nothing is traced.
pub fn current() -> Option<TraceContext> {
    of(&Span::current())
}

/// The trace of a span, to be sent along; none while nothing is traced.
pub fn of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let found = context.span().span_context().clone();
    found.is_valid().then(|| TraceContext {
        traceparent: format!(
            "00-{}-{}-{:02x}",
            found.trace_id(),
            found.span_id(),
            found.trace_flags().to_u8()
        ),
    })
}

/// Makes a span part of the trace that a message carried. A span that has begun already, or a
/// context that makes no sense, is left as it is.
pub fn continue_from(span: &Span, trace: Option<&TraceContext>) {
    if let Some(parent) = trace.and_then(parse) {
        let context = opentelemetry::Context::new().with_remote_span_context(parent);
        // Fails when nothing is traced, which is no fault.
        let _ = span.set_parent(context);
    }
}

fn parse(trace: &TraceContext) -> Option<SpanContext> {
    let mut parts = trace.traceparent.split('-');
    let (version, trace_id) = (parts.next()?, parts.next()?);
    let (span_id, flags) = (parts.next()?, parts.next()?);
    // Later versions may add parts; version ff is none.
    let is_version = hex(version, 2) && version != "ff";
    if !(is_version && hex(trace_id, 32) && hex(span_id, 16) && hex(flags, 2)) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

fn hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(text: &str) -> TraceContext {
        TraceContext { traceparent: text.into() }
    }

    #[test]
    fn a_well_formed_header_is_read_and_any_other_is_not() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parsed = parse(&context(good)).unwrap();
        assert!(parsed.is_remote() && parsed.is_sampled());
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-ééééééééééééééééé-b7ad6b7169203331-01",
        ] {
            assert!(parse(&context(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn without_tracing_there_is_nothing_to_send_along() {
        assert_eq!(current(), None);
        continue_from(&Span::current(), Some(&context("junk")));
    }
}
