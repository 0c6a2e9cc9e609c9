//! Traces to a collector, over HTTP with protobuf. Nothing of this runs unless one is named.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use opentelemetry_sdk::{Resource, trace};

use crate::config::{OtlpConfig, TelemetryConfig};
use crate::start::TelemetryError;

/// How long one post may take.
const POST_WITHIN: Duration = Duration::from_secs(5);

/// Starts the thread that sends traces.
pub(crate) fn provider(
    config: &TelemetryConfig,
    otlp: &OtlpConfig,
) -> Result<SdkTracerProvider, TelemetryError> {
    // The HTTP client is built without a choice of cryptography and takes the process's, which
    // somebody else may have chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(&otlp.traces_url)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(POST_WITHIN)
        .build()
        .map_err(|source| TelemetryError::Otlp { url: otlp.traces_url.clone(), source })?;
    let resource = Resource::builder()
        .with_service_name(config.service.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let exporter = Watched { inner: exporter, failures: AtomicU64::new(0) };
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Says in the log that traces are lost, which the exporter keeps to itself.
#[derive(Debug)]
struct Watched {
    inner: SpanExporter,
    failures: AtomicU64,
}

impl trace::SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.inner.export(batch).await;
        if let Err(error) = &exported {
            let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
            // Ever more rarely: a collector that is away for a day fills no disk.
            if failures.is_power_of_two() {
                tracing::warn!(%error, spans, failures, "traces cannot be sent and are lost");
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
