//! What people see when a file has mistakes.

use insta::assert_snapshot;
use visor_engine::config;
use visor_engine::diagnostic::Style;
use visor_protocol::api::ConfigSource;

fn load(text: &str) -> Result<config::Loaded, visor_engine::Diagnostics> {
    config::load(&ConfigSource { name: "visor.yaml".into(), text: text.into() })
}

/// Mistakes, or warnings where nothing worse was found.
#[track_caller]
fn shown(text: &str) -> String {
    let found = match load(text) {
        Ok(loaded) => loaded.warnings,
        Err(mistakes) => mistakes,
    };
    format!("{}{}", found.render(Style::Plain, 100), found.summary())
}

#[test]
fn every_mistake_of_a_file_is_shown_at_once() {
    assert_snapshot!(shown(
        r#"version: "1.0"
max_parallelism: none
checks:
  unit-tests:
    type: command
    exec: npm test
    timout: 30000
  integration:
    type: comand
    exec: npm run integration
  publish:
    type: command
    depends_on: [integraton, unit-tests]
    exec: npm publish
    tags: ["no good"]
    on: [pr_open]
  deploy:
    type: command
    sandbox: nodee
sandboxes:
  node:
    image: node:22
    engine: podman
    resources: { memory: much }
"#
    ));
}
