//! What the program says about itself, on standard error, and where its traces go.

use visor_telemetry::{Color, Guard, TelemetryConfig};

use crate::cli::role_args::LogFormat;
use crate::failure::Failure;
use crate::render::style::Style;

/// For commands: silent unless asked, and nothing is set up that is not used.
///
/// # Errors
/// When the filter is none, or the collector's address cannot be used.
pub(crate) fn for_command(debug: bool, style: Style) -> Result<Option<Guard>, Failure> {
    let asked = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let traced =
        asked("OTEL_EXPORTER_OTLP_ENDPOINT") || asked("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    if !debug && !asked("VISOR_LOG") && !asked("RUST_LOG") && !traced {
        return Ok(None);
    }
    let mut config = TelemetryConfig::new("visor");
    config.filter = if debug { "debug" } else { "off" }.to_owned();
    install(config, LogFormat::Text, style).map(Some)
}

/// For services: what an operator should know.
///
/// # Errors
/// When the filter is none, or the collector's address cannot be used.
pub(crate) fn for_service(
    name: &'static str,
    format: LogFormat,
    style: Style,
) -> Result<Guard, Failure> {
    let mut config = TelemetryConfig::new(name);
    config.filter = "info,async_nats=warn,ractor=error".to_owned();
    install(config, format, style)
}

fn install(mut config: TelemetryConfig, format: LogFormat, style: Style) -> Result<Guard, Failure> {
    config.color = if style == Style::plain() { Color::Never } else { Color::Always };
    config.format = match format {
        LogFormat::Text => visor_telemetry::LogFormat::Text,
        LogFormat::Json => visor_telemetry::LogFormat::Json,
    };
    visor_telemetry::init(&config.with_environment()).map_err(|error| {
        Failure::usage("visor::start::telemetry", error.to_string()).because(&error)
    })
}
