//! From events and spans to lines.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use visor_protocol::time::Clock;

use super::value::Fields;
use super::{json, text, zone};
use crate::config::{Color, LogFormat, Output, TelemetryConfig};

pub(crate) struct LogLayer {
    format: LogFormat,
    color: bool,
    output: Option<Output>,
    clock: Arc<dyn Clock>,
    /// Looked up with the first line: it takes longer than all else at the start.
    zone: OnceLock<TimeZone>,
}

impl LogLayer {
    pub(crate) fn new(config: &TelemetryConfig) -> Self {
        Self {
            format: config.format,
            color: is_coloured(config),
            output: config.output.clone(),
            clock: Arc::clone(&config.clock),
            zone: OnceLock::new(),
        }
    }

    fn write(&self, line: &str) {
        // Where nobody can read the line, nobody can be told so either.
        let _ = match &self.output {
            Some(output) => output.lock().write_all(line.as_bytes()),
            None => std::io::stderr().lock().write_all(line.as_bytes()),
        };
    }
}

fn is_coloured(config: &TelemetryConfig) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match config.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if set("NO_COLOR") => false,
        Color::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        Color::Auto => config.output.is_none() && std::io::stderr().is_terminal(),
    }
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.adopt(outer);
            }
        }
        let (at, metadata) = (self.clock.now(), event.metadata());
        self.write(&match self.format {
            LogFormat::Json => json::line(at, metadata, &fields),
            LogFormat::Text => {
                let local = self.zone.get_or_init(zone::local);
                text::line(at, local, metadata, &fields, self.color)
            }
        });
    }
}
