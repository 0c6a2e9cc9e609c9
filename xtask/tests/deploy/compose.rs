//! The compose stack and its image.

use std::collections::BTreeSet;

use serde_json::Value;

use super::program::Known;
use super::{deploy, read, skipped};

fn stack() -> Value {
    serde_saphyr::from_str(&read("compose.yaml")).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn every_role_of_the_stack_gets_only_flags_and_variables_it_knows() {
    let stack = stack();
    let mut roles = BTreeSet::new();
    for (name, service) in stack["services"].as_object().unwrap() {
        if service["image"] != "visor:local" {
            continue;
        }
        let command = texts(&service["command"]);
        let Some(known) = Known::of(command[0]) else {
            return skipped(
                "deploy::compose::every_role_of_the_stack_gets_only_flags_and_variables_it_knows",
                "visor was not built along; run the tests of the whole workspace",
            );
        };
        known.check(name, &command[1..]);
        let environment = service["environment"].as_object().unwrap();
        known.check(name, &environment.keys().map(String::as_str).collect::<Vec<_>>());
        roles.insert(command[0].to_owned());
    }
    assert_eq!(roles.into_iter().collect::<Vec<_>>(), ["coordinator", "worker"]);
}

#[test]
fn every_variable_the_stack_asks_for_is_in_the_example() {
    let text = read("compose.yaml");
    let example = read(".env.example");
    let offered: BTreeSet<&str> =
        example.lines().filter_map(|line| line.strip_suffix('=')).collect();
    let asked: BTreeSet<&str> =
        text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()).collect();
    assert_eq!(asked, offered);
}

#[test]
fn every_file_the_stack_mounts_is_there() {
    for (name, service) in stack()["services"].as_object().unwrap() {
        for volume in texts(&service["volumes"]) {
            let from = volume.split(':').next().unwrap();
            if from.starts_with("./") {
                assert!(deploy().join(from).is_file(), "{name} mounts {from}");
            }
        }
    }
    let build = &stack()["services"]["coordinator"]["build"];
    let context = deploy().join(build["context"].as_str().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).is_file());
    assert!(context.join(".dockerignore").is_file());
}

#[test]
fn every_service_is_hardened_and_only_loopback_is_published() {
    let stack = stack();
    for (name, service) in stack["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
        let socket = texts(&service["volumes"]).iter().any(|one| one.contains("docker.sock"));
        assert_eq!(socket, name == "worker", "{name}: only workers talk to the engine");
    }
}

#[test]
fn the_image_starts_a_command_that_exists_with_variables_it_reads() {
    let dockerfile = read("Dockerfile");
    let last = |instruction: &str| {
        let mut lines = dockerfile.lines().filter_map(|line| line.strip_prefix(instruction));
        lines.next_back().unwrap().trim().to_owned()
    };
    assert_eq!(last("ENTRYPOINT"), "[\"/usr/local/bin/visor\"]");
    assert!(last("USER").starts_with("10001"), "the image runs as nobody in particular");
    let command: Vec<String> = serde_json::from_str(&last("CMD")).unwrap();
    let Some(known) = Known::of(&command[0]) else {
        return skipped(
            "deploy::compose::the_image_starts_a_command_that_exists_with_variables_it_reads",
            "visor was not built along; run the tests of the whole workspace",
        );
    };
    known.check("Dockerfile", &[&last("ENV")]);
    assert!(dockerfile.contains("-C target-feature=+crt-static"));
}
