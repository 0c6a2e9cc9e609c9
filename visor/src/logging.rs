//! What the program says about itself: one line a fact, on standard error.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use visor_protocol::time::{Clock as _, SystemClock};

use crate::cli::role_args::LogFormat;
use crate::failure::Failure;
use crate::render::style::Style;

const FILTER: &str = "VISOR_LOG";

/// The log is on while this lives.
#[derive(Debug)]
pub(crate) struct Logging;

/// For commands: silent unless asked. Nothing is set up that is not used.
///
/// # Errors
/// When `VISOR_LOG` is no filter.
pub(crate) fn for_command(debug: bool, style: Style) -> Result<Logging, Failure> {
    let wanted = std::env::var_os(FILTER).is_some_and(|filter| !filter.is_empty());
    if debug || wanted {
        install(if debug { "debug" } else { "off" }, LogFormat::Text, style)?;
    }
    Ok(Logging)
}

/// For services: what an operator should know.
///
/// # Errors
/// When `VISOR_LOG` is no filter.
pub(crate) fn for_service(
    name: &'static str,
    format: LogFormat,
    style: Style,
) -> Result<Logging, Failure> {
    install("info,async_nats=warn", format, style)?;
    tracing::debug!(service = name, "log started");
    Ok(Logging)
}

fn install(usual: &str, format: LogFormat, style: Style) -> Result<(), Failure> {
    let directives = std::env::var(FILTER).ok().filter(|filter| !filter.trim().is_empty());
    let directives = directives.unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(&directives).map_err(|error| {
        Failure::usage("visor::start::log_filter", format!("{FILTER}={directives} is no filter"))
            .because(&error)
            .help("for example info, debug, or visor_worker=debug,info")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Tests of this crate may have set one up already; the first one stays.
    let _ = match format {
        LogFormat::Text => {
            builder.with_ansi(style != Style::plain()).event_format(Line { style }).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// `12:04:31.208 WARN  lease lost  job=… attempt=1`, in UTC.
struct Line {
    style: Style,
}

impl<S> FormatEvent<S, DefaultFields> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = SystemClock.now().to_string();
        let time = now.get(11..23).unwrap_or(&now);
        let level = format!("{:<5}", event.metadata().level());
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => self.style.red(&level),
            tracing::Level::WARN => self.style.yellow(&level),
            _ => self.style.dim(&level),
        };
        write!(writer, "{} {level} ", self.style.dim(time))?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
