//! One request to a container engine over its socket: remove this container.
//!
//! By hand, because the warden must stay small and start in a millisecond.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the engine may take for one answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Tries, a second apart. The engine may be restarting, or only just about to create it.
const TRIES: u32 = 30;

/// Removes a container and waits until the engine says that it is gone.
pub(super) fn remove_container(socket: &Path, name: &str) {
    // The owner may have died between asking for the container and the engine making it, so one
    // "no such container" is not enough.
    let mut absent = 0;
    for _ in 0..TRIES {
        match delete(socket, name) {
            Some(404) => absent += 1,
            Some(status) if (200..300).contains(&status) => return,
            Some(_) | None => absent = 0,
        }
        if absent == 3 {
            return;
        }
        std::thread::park_timeout(Duration::from_secs(1));
    }
}

fn delete(socket: &Path, name: &str) -> Option<u16> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(is_plain) {
        return Some(404);
    }
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.set_write_timeout(Some(ANSWER)).ok()?;
    let request = format!(
        "DELETE /containers/{name}?force=1&v=1 HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).ok()?;
    status_of(&answer)
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|&byte| byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_stands_in_the_first_line() {
        assert_eq!(status_of(b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n"), Some(204));
        assert_eq!(status_of(b"HTTP/1.1 404\r\n"), Some(404));
        assert_eq!(status_of(b""), None);
        assert_eq!(status_of(b"nonsense"), None);
    }
}
