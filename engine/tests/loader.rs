//! The loader takes whatever it is given: a configuration, or mistakes that can be shown.

use proptest::prelude::*;
use visor_engine::diagnostic::Style;
use visor_engine::{Context, Plan, config};
use visor_protocol::api::{ConfigSource, Selection};

/// Every key of the language as this build reads it.
const FULL: &str = r#"version: "1.0"
name: example
max_parallelism: 4
fail_fast: false
fail_if: output.broken
env: &env
  RUST_LOG: info
  GREETING: "${{ env.USER }} at $HOST"
tag_filter: { include: [fast], exclude: [slow] }
sandbox_defaults: { env_passthrough: ["MY_*"] }
sandbox: plain
sandboxes:
  plain: { image: "alpine:3" }
  node:
    engine: docker
    image: node:22-alpine
    workdir: /app
    env_passthrough: [NPM_TOKEN]
    network: true
    read_only: true
    resources: { memory: 1g, cpu: 1.5 }
defaults: &defaults
  timeout: 30000
  tags: [fast]
checks:
  lint:
    <<: *defaults
    type: command
    exec: |
      cargo clippy
      cargo fmt --check
    env: *env
    group: quality
    schema: code-review
    on: [pr_opened, pr_updated]
    criticality: info
  test:
    type: command
    command: cargo test
    depends_on: lint
    sandbox: node
    fail_if: output.failed > 0
    idempotent: false
    continue_on_failure: true
  either: { type: noop, depends_on: ["lint|test"], if: "env.CI === 'true'" }
  say: { type: logger, message: done, level: warn, depends_on: [either, test] }
"#;

fn load(text: &str) -> Result<config::Loaded, visor_engine::Diagnostics> {
    config::load(&ConfigSource { name: "visor.yaml".into(), text: text.into() })
}

/// Loads, shows and plans: none of it may panic, and places lie within the text.
fn exercise(text: &str) -> Result<(), TestCaseError> {
    let found = match load(text) {
        Ok(loaded) => {
            let planned = Plan::new(&loaded.config, &Selection::default(), &Context::default());
            prop_assert!(planned.is_ok());
            loaded.warnings
        }
        Err(mistakes) => {
            prop_assert!(mistakes.errors() > 0);
            mistakes
        }
    };
    prop_assert!(found.iter().count() <= 500);
    for item in &found {
        prop_assert!(item.message.len() < 2_000 && item.labels.len() <= 12, "{item:?}");
        for label in &item.labels {
            prop_assert!(found.source().text.get(label.span.clone()).is_some(), "{item:?}");
        }
        prop_assert!(!item.message.contains('\n'), "{item:?}");
    }
    for style in [Style::Colour, Style::Plain, Style::Ascii, Style::Line] {
        found.render(style, 80);
    }
    Ok(())
}

#[test]
fn every_key_is_read() {
    let loaded = load(FULL).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(
        loaded.warnings.to_string(),
        "visor.yaml:22:1: warning: `defaults` is not a key of a configuration, and is ignored \
         [visor::config::unknown_key] (unknown)"
    );
    let context = Context {
        env: [("USER", "jo"), ("HOST", "h1"), ("MY_X", "1"), ("NPM_TOKEN", "t"), ("HOME", "/jo")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Context::default()
    };
    let selection = Selection { checks: vec!["all".into()], ..Selection::default() };
    let plan = Plan::new(&loaded.config, &selection, &context).unwrap();
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_debug_snapshot!(plan.checks());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        exercise(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn no_yaml_like_text_makes_the_loader_panic(
        text in "([a-z&*!|>%@`\"'#{}\\[\\],:?.\\-0-9~é\u{feff}\u{1}]{0,6}[ \n\t]{0,3}){0,40}"
    ) {
        exercise(&text)?;
    }

    #[test]
    fn no_damage_to_a_valid_file_makes_the_loader_panic(
        cuts in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..40, "[ \n:\\-\\[\\]{}\"'|&*a-zé\u{0}]{0,6}"),
            1..5,
        )
    ) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (at, length, instead) in cuts {
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, instead.chars());
        }
        exercise(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn no_flipped_bytes_make_the_loader_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = FULL.as_bytes().to_vec();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        exercise(&String::from_utf8_lossy(&bytes))?;
    }

    /// Lines that come twice, are missing or stand elsewhere: keys that are given twice, of the
    /// wrong kind, in the wrong place.
    #[test]
    fn no_mix_of_its_lines_makes_the_loader_panic(
        moves in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_usize..8, any::<bool>()),
            1..6,
        )
    ) {
        let mut lines: Vec<&str> = FULL.lines().collect();
        for (from, to, number, keep) in moves {
            let from = from.index(lines.len());
            let end = (from + number).min(lines.len());
            let moved = lines[from..end].to_vec();
            if !keep {
                lines.drain(from..end);
            }
            let to = to.index(lines.len() + 1);
            lines.splice(to..to, moved);
        }
        exercise(&lines.join("\n"))?;
    }

    #[test]
    fn a_file_cut_anywhere_has_few_mistakes(at in any::<prop::sample::Index>()) {
        let text: String = FULL.chars().take(at.index(FULL.len())).collect();
        exercise(&text)?;
        if let Err(mistakes) = load(&text) {
            prop_assert!(mistakes.errors() <= 2, "{}", mistakes);
        }
    }
}
