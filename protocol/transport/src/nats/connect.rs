//! Connecting, and what is made of connection events.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;
use tokio::time::Instant;

use super::bus::NatsBus;
use super::link::Link;
use super::options::{Credentials, NatsOptions, parse, redact};
use super::version::{OLDEST, Version};
use crate::{Bus, BusError};

/// Commands to the connection that wait to be written; while there is no connection, what waits to
/// be sent. Beyond it calls wait, until their deadlines.
const SENDER_CAPACITY: usize = 4_096;

/// Messages that a subscriber may be behind.
const SUBSCRIPTION_CAPACITY: usize = 16_384;

/// Three of these without any word from the server, and the connection counts as dead.
const PING_INTERVAL: Duration = Duration::from_secs(4);

const LONGEST_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// Connects to a NATS server.
///
/// # Errors
/// [`BusError::Connect`] when the address or the credentials are wrong, when the server is too old
/// or has no JetStream, or when nothing answers in time.
pub async fn connect(options: impl Into<NatsOptions>) -> Result<Arc<dyn Bus>, BusError> {
    Ok(Arc::new(NatsBus::new(link(options.into()).await?)))
}

pub(super) async fn link(options: NatsOptions) -> Result<Arc<Link>, BusError> {
    let (addresses, credentials) = parse(&options)?;
    let (epochs, connects) = watch::channel(0);
    let epochs = Arc::new(epochs);
    let client = if options.wait_for_server {
        wait(&options, &addresses, &credentials, &epochs).await?
    } else {
        let within = options.connect_timeout;
        let attempt = attempt(&options, &addresses, &credentials, &epochs);
        tokio::time::timeout(within, attempt).await.map_err(|_| BusError::Connect {
            url: redact(&options.url),
            why: format!("nothing answers within {} s", within.as_secs_f32()),
        })??
    };
    // The first connection is announced like the later ones, a moment after it stands. A request
    // made before that moment would take it for a break.
    let mut announced = connects.clone();
    let _ =
        tokio::time::timeout(Duration::from_secs(1), announced.wait_for(|epoch| *epoch > 0)).await;
    let info = client.server_info();
    let version = Version::parse(&info.version);
    let refuse = |why: String| BusError::Connect { url: redact(&options.url), why };
    if version < OLDEST {
        return Err(refuse(format!("the server is NATS {}; 2.9 or later is needed", info.version)));
    }
    let link = Arc::new(Link::new(client, options.clone(), connects));
    if !info.jetstream && !link.has_jetstream().await {
        return Err(refuse("the server has no JetStream: start it with `nats-server -js`".into()));
    }
    tracing::debug!(server = info.server_name, version = info.version, "connected to NATS");
    Ok(link)
}

/// Tries until there is a server. Wrong credentials end it: they will be wrong tomorrow.
async fn wait(
    options: &NatsOptions,
    addresses: &[ServerAddr],
    credentials: &Credentials,
    epochs: &Arc<watch::Sender<u64>>,
) -> Result<Client, BusError> {
    const REPEATED: Duration = Duration::from_secs(10);
    let mut said: Option<Instant> = None;
    let mut tries = 0;
    loop {
        let url = redact(&options.url);
        let trying = attempt(options, addresses, credentials, epochs);
        let why = match tokio::time::timeout(options.connect_timeout, trying).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(BusError::Connect { why, .. })) if !why.contains(DENIED) => why,
            Ok(Err(error)) => return Err(error),
            Err(_) => "it does not answer".into(),
        };
        if said.is_none_or(|at| at.elapsed() >= REPEATED) {
            said = Some(Instant::now());
            tracing::warn!(%url, why, "waiting for the NATS server");
        }
        tries += 1;
        tokio::time::sleep(reconnect_delay(tries).max(Duration::from_millis(100))).await;
    }
}

const DENIED: &str = "refuses these credentials";

async fn attempt(
    options: &NatsOptions,
    addresses: &[ServerAddr],
    credentials: &Credentials,
    epochs: &Arc<watch::Sender<u64>>,
) -> Result<Client, BusError> {
    let refuse = |why: String| BusError::Connect { url: redact(&options.url), why };
    let client_options = client_options(options, credentials, epochs)
        .await
        .map_err(|error| refuse(format!("the credentials cannot be used: {error}")))?;
    client_options.connect(addresses).await.map_err(|error| {
        refuse(match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                format!("the server {DENIED}")
            }
            ConnectErrorKind::TimedOut => "it does not answer".into(),
            ConnectErrorKind::Dns => format!("the name is not known: {}", cause(&error)),
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Tls
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => cause(&error),
        })
    })
}

/// The innermost reason, which says most.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

async fn client_options(
    options: &NatsOptions,
    credentials: &Credentials,
    epochs: &Arc<watch::Sender<u64>>,
) -> std::io::Result<ConnectOptions> {
    let epochs = Arc::clone(epochs);
    let mut client = ConnectOptions::new()
        .name(&options.name)
        .connection_timeout(options.connect_timeout.min(Duration::from_secs(5)))
        .request_timeout(None)
        .client_capacity(SENDER_CAPACITY)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(reconnect_delay)
        // Every subject comes from the one place that spells them.
        .skip_subject_validation(true)
        .event_callback(move |event| {
            note(&event, &epochs);
            std::future::ready(())
        });
    if let Some(file) = &options.tls_ca {
        client = client.add_root_certificates(file.clone());
    }
    Ok(match credentials {
        Credentials::InUrl => client,
        Credentials::UserPassword { user, password } => {
            client.user_and_password(user.clone(), password.clone())
        }
        Credentials::Token(token) => client.token(token.clone()),
        Credentials::File(path) => client.credentials_file(path).await?,
    })
}

fn note(event: &Event, epochs: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            epochs.send_modify(|epoch| *epoch += 1);
            if *epochs.borrow() > 1 {
                tracing::info!("the connection to NATS is back");
            }
        }
        Event::Disconnected => tracing::warn!("the connection to NATS is lost; reconnecting"),
        Event::SlowConsumer(_) => {
            tracing::warn!("a subscriber is too slow and loses messages");
        }
        Event::ServerError(error) => tracing::warn!(%error, "the NATS server reports an error"),
        Event::ClientError(error) => tracing::debug!(%error, "the NATS client reports an error"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
        Event::Draining | Event::Closed => {}
    }
}

/// At once, then later and later, to a second.
fn reconnect_delay(tries: usize) -> Duration {
    match u32::try_from(tries).unwrap_or(u32::MAX) {
        0 | 1 => Duration::ZERO,
        tries => {
            let factor = 1_u32 << tries.min(16);
            (Duration::from_millis(5) * factor).min(LONGEST_RECONNECT_DELAY)
        }
    }
}
