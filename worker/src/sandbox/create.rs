//! What a container looks like. Everything is closed that the check did not ask to be open, and
//! it is all said here.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, RestartPolicy,
    RestartPolicyNameEnum,
};
use visor_protocol::job::SandboxSpec;
use visor_protocol::outcome::Fault;

use crate::workspace::copy::Owner;

/// Whom checks run as when neither their image nor their files say: nobody.
pub const NOBODY: Owner = Owner { uid: 65_534, gid: 65_534 };

/// What runs commands.
pub const SHELL: &str = "/bin/sh";

/// The engine takes no smaller limit.
const LEAST_MEMORY: u64 = 6 * 1024 * 1024;

/// `/tmp` is memory, and counts as the check's.
const MOST_TMP: u64 = 1024 * 1024 * 1024;

/// What a container is made from.
#[derive(Debug)]
pub struct Design<'a> {
    /// What the check asked for.
    pub spec: &'a SandboxSpec,
    /// The text given to `sh -c`.
    pub exec: &'a str,
    /// Its variables.
    pub env: &'a BTreeMap<String, String>,
    /// Whom it runs as.
    pub user: Owner,
    /// Its files on this machine.
    pub workspace: Option<&'a Path>,
    /// A hosts file that names this machine only; containers without a network have none.
    pub hosts: &'a Path,
    /// Whose it is.
    pub labels: HashMap<String, String>,
    /// Cores of this machine.
    pub cores: u64,
}

/// Checks what a job says of its sandbox. Whoever wrote the job may have checked it already; this
/// is the side that has something to lose.
///
/// # Errors
/// When the container could not be what it should be.
pub fn validate(spec: &SandboxSpec) -> Result<(), Fault> {
    let refuse = |why: String| {
        let message = format!("sandbox `{}` {why}", spec.name);
        Err(Fault { code: "visor::sandbox::invalid".into(), message, retry: false })
    };
    let workdir = PathBuf::from(&spec.workdir);
    let plain =
        workdir.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
    if !workdir.is_absolute() || !plain || workdir.parent().is_none() {
        return refuse(format!(
            "has the working directory `{}`: give an absolute path",
            spec.workdir
        ));
    }
    let taken = ["/proc", "/sys", "/dev", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/usr"];
    if taken.iter().any(|taken| workdir.starts_with(taken)) || workdir == Path::new("/tmp") {
        return refuse(format!("would hide `{}` of its image behind the workspace", spec.workdir));
    }
    if spec.image.is_empty()
        || spec.image.starts_with('-')
        || spec.image.contains(char::is_whitespace)
    {
        return refuse(format!("has the image `{}`, which is no image's name", spec.image));
    }
    Ok(())
}

/// The request that makes the container.
pub fn request(design: Design<'_>) -> ContainerCreateBody {
    let Design { spec, exec, env, user, workspace, hosts, labels, cores } = design;
    let memory = i64::try_from(spec.memory_bytes.max(LEAST_MEMORY)).unwrap_or(i64::MAX);
    let tmp = (spec.memory_bytes.max(LEAST_MEMORY) / 2).min(MOST_TMP);
    // More cores than there are is refused by the engine; nobody could have them anyway.
    let cpu_millis = spec.cpu_millis.clamp(10, cores.max(1) * 1000);
    // The init sends signals on to the whole group of the check, as a host's terminal would.
    let mut variables = vec!["HOME=/tmp".to_owned(), "TINI_KILL_PROCESS_GROUP=1".to_owned()];
    variables.extend(env.iter().map(|(name, value)| format!("{name}={value}")));
    let mut mounts = Vec::new();
    if let Some(workspace) = workspace {
        mounts.push(bind(workspace, &spec.workdir, spec.read_only));
    }
    if !spec.network {
        mounts.push(bind(hosts, "/etc/hosts", true));
    }
    let host = HostConfig {
        mounts: Some(mounts),
        memory: Some(memory),
        // As much as the memory: no swap.
        memory_swap: Some(memory),
        nano_cpus: Some(i64::try_from(cpu_millis).unwrap_or(1000) * 1_000_000),
        pids_limit: Some(i64::from(spec.pids.max(1))),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        // The kernel drops signals to a first process that has no handler for them; so the check
        // is the second, and the first is the engine's own init.
        init: Some(true),
        readonly_rootfs: Some(true),
        tmpfs: Some(
            [("/tmp".to_owned(), format!("rw,exec,nosuid,nodev,mode=1777,size={tmp}"))].into(),
        ),
        network_mode: (!spec.network).then(|| "none".to_owned()),
        // The output is read from the container itself; kept twice it would fill the disk.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        // In place of whatever the image would start.
        entrypoint: Some(vec![SHELL.to_owned(), "-c".to_owned()]),
        cmd: Some(vec![exec.to_owned()]),
        user: Some(format!("{}:{}", user.uid, user.gid)),
        env: Some(variables),
        working_dir: Some(spec.workdir.clone()),
        // Said here and not only in the network mode it halves the time to start.
        network_disabled: (!spec.network).then_some(true),
        hostname: Some("sandbox".to_owned()),
        attach_stdin: Some(false),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(false),
        tty: Some(false),
        labels: Some(labels),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(spec: &SandboxSpec) -> ContainerCreateBody {
        let env = BTreeMap::from([("A".to_owned(), "b=c".to_owned())]);
        request(Design {
            spec,
            exec: "echo hi",
            env: &env,
            user: NOBODY,
            workspace: Some(Path::new("/data/copy")),
            hosts: Path::new("/data/hosts"),
            labels: HashMap::new(),
            cores: 2,
        })
    }

    #[test]
    fn everything_is_closed_by_default() {
        let body = made(&SandboxSpec::new("s", "image"));
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges"]);
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(body.network_disabled, Some(true));
        assert_eq!(body.user.as_deref(), Some("65534:65534"));
        assert_eq!(host.memory, host.memory_swap);
        assert_eq!(host.init, Some(true));
        assert!(host.pids_limit.unwrap() > 0 && host.nano_cpus.unwrap() > 0);
        assert!(host.cap_add.is_none() && host.devices.is_none() && host.binds.is_none());
        let mounts = host.mounts.unwrap();
        assert_eq!(mounts.len(), 2, "the workspace and a hosts file: {mounts:?}");
        assert!(!mounts.iter().any(|mount| mount.source.as_deref().unwrap().contains("docker")));
    }

    #[test]
    fn what_is_asked_for_is_opened_and_nothing_else() {
        let mut spec = SandboxSpec::new("s", "image");
        spec.network = true;
        spec.read_only = true;
        spec.cpu_millis = 64_000;
        let body = made(&spec);
        let host = body.host_config.unwrap();
        assert_eq!((body.network_disabled, host.network_mode), (None, None));
        assert_eq!(host.mounts.unwrap()[0].read_only, Some(true));
        assert_eq!(host.nano_cpus, Some(2_000_000_000), "no more cores than there are");
        assert_eq!(host.readonly_rootfs, Some(true));
    }

    #[test]
    fn a_workspace_cannot_hide_the_system_of_its_image() {
        for workdir in ["", "workspace", "/", "/../x", "/a/../b", "/proc", "/etc/x", "/usr", "/tmp"]
        {
            let mut spec = SandboxSpec::new("s", "image");
            spec.workdir = workdir.into();
            assert!(validate(&spec).is_err(), "{workdir}");
        }
        for workdir in ["/workspace", "/home/me/project", "/tmp/project", "/src"] {
            let mut spec = SandboxSpec::new("s", "image");
            spec.workdir = workdir.into();
            assert!(validate(&spec).is_ok(), "{workdir}");
        }
    }
}
