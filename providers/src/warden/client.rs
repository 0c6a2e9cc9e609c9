//! The owner's side of the pipe.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::guard::ARGUMENT;
use crate::host::{marker, spare};

#[derive(Default)]
struct Warden {
    /// The program to start; none until it was enabled.
    program: Option<PathBuf>,
    pipe: Option<std::fs::File>,
    /// What it was told and must be told again when it has to be replaced.
    told: Vec<String>,
}

fn warden() -> MutexGuard<'static, Warden> {
    static WARDEN: OnceLock<Mutex<Warden>> = OnceLock::new();
    // Nothing is left half done by a panic: each step stands alone.
    WARDEN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets this process have a warden. Only a program whose `main` calls [`main`](super::main) when it
/// is given [`ARGUMENT`] may say so.
pub fn enable() {
    let mut warden = warden();
    if warden.program.is_none() {
        // The link works even when the file was replaced or removed meanwhile.
        warden.program = Some(PathBuf::from("/proc/self/exe"));
    }
}

/// Starts the warden if this process may have one and has none.
pub fn spawn_lazily() {
    let mut warden = warden();
    if warden.pipe.is_none()
        && let Err(error) = warden.spawn()
    {
        tracing::warn!(%error, "cannot start the warden: a kill -9 may leave processes behind");
    }
}

/// A process group the warden knows of, until this is dropped.
#[derive(Debug)]
pub struct Group(i32);

impl Drop for Group {
    fn drop(&mut self) {
        warden().forget(&format!("group {}", self.0));
    }
}

/// Tells the warden of a process group.
pub fn watch_group(pid: i32) -> Option<Group> {
    let told = warden().tell(format!("group {pid}"));
    told.then(|| Group(pid))
}

/// A container the warden knows of, until this is dropped.
#[derive(Debug)]
pub struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        warden().forget(&self.0);
    }
}

/// A directory the warden knows of, until this is dropped.
#[derive(Debug)]
pub struct Directory(String);

impl Drop for Directory {
    fn drop(&mut self) {
        warden().forget(&self.0);
    }
}

/// Tells the warden of a directory that goes with this process.
pub fn watch_directory(path: &Path) -> Option<Directory> {
    let line = format!("directory {}", path.display());
    if line.contains('\n') {
        return None;
    }
    let told = warden().tell(line.clone());
    told.then(|| Directory(line))
}

/// Tells the warden of a container, by its name and its engine's socket.
pub fn watch_container(socket: &Path, name: &str) -> Option<Container> {
    let line = format!("container {name} {}", socket.display());
    if line.contains('\n') {
        return None;
    }
    let told = warden().tell(line.clone());
    told.then(|| Container(line))
}

impl Warden {
    fn tell(&mut self, line: String) -> bool {
        if self.program.is_none() {
            return false;
        }
        self.told.push(line.clone());
        if self.pipe.is_some() && self.write(&format!("+ {line}\n")).is_ok() {
            return true;
        }
        // A new one is told everything.
        if let Err(error) = self.spawn() {
            tracing::warn!(%error, "cannot start the warden: a kill -9 may leave processes behind");
        }
        true
    }

    fn forget(&mut self, line: &str) {
        if let Some(index) = self.told.iter().position(|told| told == line) {
            self.told.swap_remove(index);
            let _ = self.write(&format!("- {line}\n"));
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        // Short enough to be written whole or not at all.
        let written = pipe.write_all(line.as_bytes());
        if written.is_err() {
            self.pipe = None;
        }
        written
    }

    fn spawn(&mut self) -> io::Result<()> {
        let Some(program) = &self.program else { return Ok(()) };
        let (reader, writer) = io::pipe()?;
        let mut pipe = std::fs::File::from(OwnedFd::from(writer));
        set_blocking(&pipe, false)?;
        // Told before it starts: from its first moment on it knows everything, even if this
        // process is killed in the next one. What the pipe does not hold follows.
        let mut lines = self.told.iter().map(|line| format!("+ {line}\n"));
        let rest = lines.by_ref().find(|line| pipe.write_all(line.as_bytes()).is_err());
        let mut command = Command::new(program);
        // Nothing of the environment: it must not look like a program of a check.
        command.arg(ARGUMENT).arg(marker::owner()).env_clear().current_dir("/");
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        // Reaped when this process ends.
        spare(child.id());
        set_blocking(&pipe, true)?;
        rest.into_iter().chain(lines).try_for_each(|line| pipe.write_all(line.as_bytes()))?;
        // From here on a warden that does not read must not stop us.
        set_blocking(&pipe, false)?;
        self.pipe = Some(pipe);
        Ok(())
    }
}

fn set_blocking(pipe: &std::fs::File, blocking: bool) -> io::Result<()> {
    use rustix::fs::OFlags;
    let flags = rustix::fs::fcntl_getfl(pipe)?;
    let flags = if blocking { flags - OFlags::NONBLOCK } else { flags | OFlags::NONBLOCK };
    Ok(rustix::fs::fcntl_setfl(pipe, flags)?)
}
