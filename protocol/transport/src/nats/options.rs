//! How to reach a server, and the bounds of what is kept there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;

use crate::BusError;

/// How to connect, and how the streams are made where they are missing.
#[derive(Clone)]
pub struct NatsOptions {
    /// Address of a server, or several with commas between: `nats://host:4222`, `tls://…`. It may
    /// carry credentials, which are never printed.
    pub url: String,
    /// Shown in the server's list of connections.
    pub name: String,
    /// Who this is.
    pub credentials: Credentials,
    /// A file of certificates to trust beside the system's.
    pub tls_ca: Option<PathBuf>,
    /// How long the first connection may take.
    pub connect_timeout: Duration,
    /// Wait for a server that is not there yet, for as long as it takes.
    pub wait_for_server: bool,
    /// How long a call may take.
    pub deadline: Duration,
    /// Copies of each stream; an odd number of servers that are there.
    pub replicas: usize,
    /// How long a delivery may stay unacknowledged.
    pub ack_wait: Duration,
    /// How long a message id is remembered.
    pub dedupe_window: Duration,
    /// How long one request for messages stands at the server: so long takes an orderly end. At
    /// least twice the heartbeat.
    pub pull_expiry: Duration,
    /// How often the server says that a request for messages still stands.
    pub pull_heartbeat: Duration,
    /// Bytes of each of the two queue streams; what goes beyond is refused.
    pub queue_bytes: u64,
    /// Bytes of the event stream; the oldest events go first.
    pub event_bytes: u64,
    /// How long events are kept.
    pub event_max_age: Duration,
    /// Bytes of all blobs; what goes beyond is refused.
    pub blob_bytes: u64,
    /// How long a blob is kept after it was stored last.
    pub blob_max_age: Duration,
}

/// Who connects.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Whoever the address says: `nats://user:password@host`, `nats://token@host`, or nobody.
    #[default]
    InUrl,
    /// A user.
    UserPassword {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// A `.creds` file with a JWT and a seed.
    File(PathBuf),
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl NatsOptions {
    /// The usual settings for this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: "visor".into(),
            credentials: Credentials::InUrl,
            tls_ca: None,
            connect_timeout: Duration::from_secs(10),
            wait_for_server: false,
            deadline: Duration::from_secs(5),
            replicas: 1,
            ack_wait: Duration::from_secs(30),
            dedupe_window: Duration::from_secs(120),
            pull_expiry: Duration::from_secs(2),
            pull_heartbeat: Duration::from_millis(900),
            queue_bytes: 1 << 30,
            event_bytes: 512 << 20,
            event_max_age: 7 * DAY,
            blob_bytes: 8 << 30,
            blob_max_age: 7 * DAY,
        }
    }
}

impl From<&str> for NatsOptions {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for NatsOptions {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("url", &redact(&self.url))
            .field("name", &self.name)
            .field("credentials", &self.credentials)
            .field("connect_timeout", &self.connect_timeout)
            .field("wait_for_server", &self.wait_for_server)
            .field("deadline", &self.deadline)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUrl => "InUrl",
            Self::UserPassword { .. } => "UserPassword",
            Self::Token(_) => "Token",
            Self::File(_) => "File",
        })
    }
}

/// Addresses as they are printed: without user, password, token or query.
pub fn redact(url: &str) -> String {
    url.split(',').map(redact_one).collect::<Vec<_>>().join(",")
}

fn redact_one(url: &str) -> String {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    // Whatever stands before the last `@` may be a password with any character in it.
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// Addresses without credentials, and the credentials that stood in the first that has any.
pub(super) fn parse(options: &NatsOptions) -> Result<(Vec<ServerAddr>, Credentials), BusError> {
    let refuse = |why: String| BusError::Connect { url: redact(&options.url), why };
    let mut credentials = options.credentials.clone();
    let mut addresses = Vec::new();
    for part in options.url.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        // The parser's own message would repeat the address with what is secret in it.
        let parsed: ServerAddr = part
            .parse()
            .map_err(|_| refuse("this is no address of a NATS server: nats://host:4222".into()))?;
        if parsed.host().is_empty() {
            return Err(refuse("the address names no host: nats://host:4222".into()));
        }
        if let (Credentials::InUrl, Some(user)) = (&credentials, parsed.username()) {
            let user = decode(user);
            credentials = match parsed.password().map(decode) {
                Some(password) => Credentials::UserPassword { user, password },
                None => Credentials::Token(user),
            };
        }
        let bare = redact_one(part).parse().map_err(|_| refuse("it cannot be read".into()))?;
        addresses.push(bare);
    }
    if addresses.is_empty() {
        return Err(refuse("no address was given: nats://host:4222".into()));
    }
    Ok((addresses, credentials))
}

/// Undoes percent encoding; what is no encoding stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = (first == b'%').then(|| tail.get(..2)).flatten();
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_printed() {
        for url in [
            "nats://user:s3cret@host:4222",
            "nats://s3cret@host:4222",
            "user:s3cret@host:4222",
            "nats://user:p@s3cret@host:4222/?token=s3cret",
            "nats://a:4222,nats://user:s3cret@host:4222",
        ] {
            let options = NatsOptions::new(url);
            let printed = format!("{} {options:?}", redact(url));
            assert!(!printed.contains("s3cret"), "{printed}");
            assert!(printed.contains("host:4222"), "{printed}");
        }
        let options = NatsOptions {
            credentials: Credentials::Token("s3cret".into()),
            ..NatsOptions::new("x")
        };
        assert!(!format!("{options:?}").contains("s3cret"));
    }

    #[test]
    fn credentials_in_the_address_are_taken_out_of_it() {
        let options = NatsOptions::new("nats://a:4222, nats://us%40er:p%3Aw@host:4333");
        let (addresses, credentials) = parse(&options).unwrap();
        assert_eq!(addresses.len(), 2);
        assert_eq!((addresses[1].host(), addresses[1].port()), ("host", 4333));
        assert_eq!(addresses[1].username(), None);
        assert!(matches!(
            credentials,
            Credentials::UserPassword { user, password } if user == "us@er" && password == "p:w"
        ));
        let (_, credentials) = parse(&NatsOptions::new("nats://tok@host")).unwrap();
        assert!(matches!(credentials, Credentials::Token(token) if token == "tok"));
    }

    #[test]
    fn a_wrong_address_is_refused_without_repeating_its_secrets() {
        for url in
            ["", " , ", "http://u:s3cret@host", "nats://u:s3cret@", "nats://u:s3cret@h:99999"]
        {
            let error = parse(&NatsOptions::new(url)).unwrap_err();
            assert!(matches!(error, BusError::Connect { .. }), "{url}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
