//! Putting it together.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, ParseError, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::TelemetryConfig;
use crate::log::LogLayer;
use crate::otlp;

/// Why logs or traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("`{text}` is no log filter; write `info` or `warn,visor_worker=debug`")]
    Filter {
        /// What was given.
        text: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The collector's address cannot be used.
    #[error("traces cannot be sent to `{url}`")]
    Otlp {
        /// What was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: ExporterBuildError,
    },
    /// It was done before.
    #[error("this process logs already")]
    Twice,
}

/// Sends what is left of the traces when it is dropped, for as long as the configuration allows.
/// Drop it outside of asynchronous code: it waits.
#[derive(Debug)]
#[must_use = "traces are sent until the guard is dropped"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    flush_within: Duration,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(self.flush_within)
        {
            tracing::warn!(%error, "the last traces are lost");
        }
    }
}

/// Sets up logs and traces for the whole process.
///
/// # Errors
/// When the filter or the collector's address is wrong, or it was done before.
pub fn init(config: &TelemetryConfig) -> Result<Guard, TelemetryError> {
    let (dispatch, guard) = subscriber(config)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::Twice)?;
    Ok(guard)
}

/// What [`init`] sets up, for those who want it for a part of the process only.
///
/// # Errors
/// When the filter or the collector's address is wrong.
pub fn subscriber(config: &TelemetryConfig) -> Result<(Dispatch, Guard), TelemetryError> {
    let log = LogLayer::new(config);
    let flush_within = config.flush_within;
    let Some(otlp) = &config.otlp else {
        // The common case, on the way of every `visor run`.
        let dispatch = match simple_filter(&config.filter) {
            Some(filter) => Dispatch::new(Registry::default().with(log.with_filter(filter))),
            None => {
                let filter = filter(&config.filter)?;
                Dispatch::new(Registry::default().with(log.with_filter(filter)))
            }
        };
        return Ok((dispatch, Guard { provider: None, flush_within }));
    };
    let filter = filter(&config.filter)?;
    let provider = otlp::provider(config, otlp)?;
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("visor"));
    let traced = filter_fn(is_traced).with_max_level_hint(LevelFilter::DEBUG);
    let registry =
        Registry::default().with(log.with_filter(filter)).with(spans.with_filter(traced));
    Ok((Dispatch::new(registry), Guard { provider: Some(provider), flush_within }))
}

/// Our own spans: those of the libraries, the exporter's among them, would be traces of traces.
/// Spans that no log line needs are of the level of debugging, so that they cost nothing where
/// nobody traces.
fn is_traced(seen: &Metadata<'_>) -> bool {
    let level = if seen.is_span() { Level::DEBUG } else { Level::INFO };
    seen.target().starts_with("visor") && *seen.level() <= level
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let parsed = EnvFilter::builder().parse(text);
    parsed.map_err(|source| TelemetryError::Filter { text: text.into(), source })
}

/// A filter that asks for no more than levels of targets needs no machinery to look into spans.
fn simple_filter(text: &str) -> Option<Targets> {
    if text.contains(['[', '{']) { None } else { text.parse().ok() }
}
