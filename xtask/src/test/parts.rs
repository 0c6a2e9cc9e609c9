//! The servers the tests need. What is missing is installed from the distribution, by root only;
//! what is there is never touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{interrupt, say, tools};

/// A Debian package and the program it is wanted for.
struct Part {
    package: &'static str,
    program: &'static str,
    purpose: &'static str,
    fits: fn(&Path) -> bool,
}

const PARTS: [Part; 4] = [
    Part {
        package: "nats-server",
        program: "nats-server",
        purpose: "fleet tests; each starts its own on a free port",
        fits: |_| true,
    },
    Part { package: "docker.io", program: "dockerd", purpose: "sandbox tests", fits: |_| true },
    Part {
        package: "busybox-static",
        program: "busybox",
        purpose: "the base sandbox image",
        fits: is_static,
    },
    Part {
        package: "curl",
        program: "curl",
        purpose: "handing the image to the engine",
        fits: |_| true,
    },
];

/// Whether a program needs no library and so runs in an empty image.
fn is_static(program: &Path) -> bool {
    let Ok(bytes) = fs::read(program) else { return false };
    let head = &bytes[..bytes.len().min(4096)];
    !head.windows(9).any(|window| window == b"ld-linux-" || window == b"/lib64/ld")
}

impl Part {
    fn find(&self) -> Option<PathBuf> {
        tools::find(self.program).filter(|path| (self.fits)(path))
    }
}

/// Says what is there and gets what is missing.
pub(super) fn provide(install: bool) -> Result<()> {
    let missing: Vec<&Part> = PARTS.iter().filter(|part| part.find().is_none()).collect();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|part| part.package).collect();
        if !install {
            say::step(&format!("missing, and not installed as asked: {}", packages.join(" ")));
        } else if let Err(error) = apt_get(&packages) {
            if error.is::<interrupt::Interrupted>() {
                return Err(error);
            }
            say::step(&format!("could not install {}: {error:#}", packages.join(" ")));
        }
    }
    for part in &PARTS {
        let what = match part.find() {
            Some(path) => {
                let version = tools::first_line(&path, &["--version"])
                    .or_else(|| tools::first_line(&path, &[]))
                    .unwrap_or_default();
                format!("{} ({}: {version})", part.package, path.display())
            }
            None => format!("{} is missing: its tests are skipped", part.package),
        };
        say::step(&format!("{what}, for {}", part.purpose));
    }
    Ok(())
}

fn apt_get(packages: &[&str]) -> Result<()> {
    let Some(apt_get) = tools::find("apt-get") else {
        bail!("there is no apt-get here; install them by hand");
    };
    if !rustix::process::geteuid().is_root() {
        bail!("only root may: sudo apt-get install {}", packages.join(" "));
    }
    say::step(&format!("installing from the distribution: {}", packages.join(" ")));
    // The packages would start their servers on the usual ports; ours are private.
    let _quiet = NoServices::declare()?;
    for arguments in [
        vec!["update", "-q"],
        [&["install", "-q", "-y", "--no-install-recommends"], packages].concat(),
    ] {
        let status = interrupt::run(
            Command::new(&apt_get)
                .args(&arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null())
                // Its progress is for people, our stdout is not.
                .stdout(Stdio::null()),
        )?;
        if !status.success() {
            bail!("apt-get {} failed: {status}", arguments[0]);
        }
    }
    Ok(())
}

/// Debian's way to say that packages start no services while they are installed.
struct NoServices(Option<&'static str>);

impl NoServices {
    fn declare() -> Result<Self> {
        let path = "/usr/sbin/policy-rc.d";
        if Path::new(path).exists() {
            return Ok(Self(None));
        }
        fs::write(path, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {path}"))?;
        let declared = Self(Some(path));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(declared)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = fs::remove_file(path);
        }
    }
}
