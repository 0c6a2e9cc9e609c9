//! What is logged, how, and where traces go.

use std::env;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use visor_protocol::time::{Clock, SystemClock};

/// Where log lines go, one write each.
pub type Output = Arc<Mutex<dyn Write + Send>>;

/// How a process logs and traces.
#[derive(Clone)]
pub struct TelemetryConfig {
    /// What is logged, as `info` or `warn,visor_worker=debug`.
    pub filter: String,
    /// For whom the lines are.
    pub format: LogFormat,
    /// Whether lines for people are coloured.
    pub color: Color,
    /// Where lines go; standard error when none is given.
    pub output: Option<Output>,
    /// Where traces go; nowhere, and at no cost, when none is given.
    pub otlp: Option<OtlpConfig>,
    /// What this process is, in traces: `visor-worker`.
    pub service: String,
    /// Where the time of a line comes from.
    pub clock: Arc<dyn Clock>,
    /// How long the end may wait for traces to be sent.
    pub flush_within: Duration,
}

/// For whom log lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people: local time, words, `name=value`.
    #[default]
    Text,
    /// For programs: a JSON object a line.
    Json,
}

/// Whether lines for people are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// When standard error is a terminal, unless `NO_COLOR` or `CLICOLOR_FORCE` say otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A collector of traces that speaks OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Where traces are posted, as `http://localhost:4318/v1/traces`.
    pub traces_url: String,
}

impl OtlpConfig {
    /// The collector at this base address, as `http://localhost:4318`.
    pub fn at(base: &str) -> Self {
        Self { traces_url: format!("{}/v1/traces", base.trim_end_matches('/')) }
    }
}

impl TelemetryConfig {
    /// Logs what matters to whoever runs a service, and traces nowhere.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            filter: "info,async_nats=error,ractor=error".into(),
            format: LogFormat::default(),
            color: Color::default(),
            output: None,
            otlp: None,
            service: service.into(),
            clock: Arc::new(SystemClock),
            flush_within: Duration::from_secs(2),
        }
    }

    /// Takes over what the environment says: `VISOR_LOG` or else `RUST_LOG` for the filter,
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` for the collector,
    /// `OTEL_SERVICE_NAME`.
    #[must_use]
    pub fn with_environment(self) -> Self {
        self.with_variables(|name| env::var(name).ok())
    }

    /// As [`TelemetryConfig::with_environment`], from variables that are given.
    #[must_use]
    pub fn with_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        if let Some(filter) = variable("VISOR_LOG").or_else(|| variable("RUST_LOG")) {
            self.filter = filter;
        }
        if let Some(traces_url) = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            self.otlp = Some(OtlpConfig { traces_url });
        } else if let Some(base) = variable("OTEL_EXPORTER_OTLP_ENDPOINT") {
            self.otlp = Some(OtlpConfig::at(&base));
        }
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            self.otlp = None;
        }
        if let Some(service) = variable("OTEL_SERVICE_NAME") {
            self.service = service;
        }
        self
    }
}

impl fmt::Debug for TelemetryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryConfig")
            .field("filter", &self.filter)
            .field("format", &self.format)
            .field("color", &self.color)
            .field("otlp", &self.otlp)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &'static [(&str, &str)]) -> TelemetryConfig {
        TelemetryConfig::new("visor").with_variables(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn our_own_variable_goes_before_the_common_one() {
        assert_eq!(with(&[("RUST_LOG", "debug")]).filter, "debug");
        assert_eq!(with(&[("RUST_LOG", "debug"), ("VISOR_LOG", "trace")]).filter, "trace");
        assert_eq!(with(&[("VISOR_LOG", " ")]).filter, TelemetryConfig::new("visor").filter);
    }

    #[test]
    fn traces_go_somewhere_only_when_the_environment_says_so() {
        assert_eq!(with(&[]).otlp, None);
        let url = |variables| with(variables).otlp.map(|otlp| otlp.traces_url);
        assert_eq!(
            url(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")]).as_deref(),
            Some("http://c:4318/v1/traces")
        );
        assert_eq!(
            url(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x")]).as_deref(),
            Some("http://c/x")
        );
        let disabled =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_SDK_DISABLED", "true")];
        assert_eq!(with(Box::leak(Box::new(disabled))).otlp, None);
    }
}
