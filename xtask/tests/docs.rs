//! The documentation holds together: every page is in the summary, every link leads somewhere, every
//! error code of the source is explained, and what is made from the program is up to date.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Files below a folder with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What the links of a page point at, those to other places left out.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#')).collect()
}

#[test]
fn every_page_is_in_the_summary() {
    let book = root().join("docs/src");
    let summary = fs::read_to_string(book.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<PathBuf> =
        links(&summary).into_iter().map(|link| book.join(link)).collect();
    let fragments = book.join("changes/unreleased");
    for page in files(&book, "md") {
        if page != book.join("SUMMARY.md") && !page.starts_with(&fragments) {
            assert!(listed.contains(&page), "{} is not in SUMMARY.md", page.display());
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut pages = files(&root().join("docs/src"), "md");
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    for page in pages {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            let target = link.split('#').next().unwrap();
            let target = page.parent().unwrap().join(target);
            assert!(target.exists(), "{} links to {link}", page.display());
        }
    }
}

/// Codes that a text names: `visor::area::name`.
fn codes(text: &str, before: char) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split(&format!("{before}visor::")).skip(1) {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c == ':';
        let code: String = rest.chars().take_while(|c| plain(*c)).collect();
        if code.split("::").count() == 2 && !code.contains(":::") && !code.ends_with(':') {
            found.insert(format!("visor::{code}"));
        }
    }
    found
}

#[test]
fn every_error_code_of_the_source_is_explained_and_no_other() {
    let mut used = BTreeSet::new();
    for crate_ in ["engine", "coordinator", "worker", "visor", "providers", "protocol"] {
        for file in files(&root().join(crate_), "rs") {
            let text = fs::read_to_string(&file).unwrap();
            let is_test = file.components().any(|part| part.as_os_str() == "tests")
                || file.file_stem().is_some_and(|stem| {
                    let stem = stem.to_string_lossy();
                    stem.ends_with("tests") || stem == "samples"
                });
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            if !is_test {
                used.extend(codes(code, '"'));
            }
        }
    }
    let page = fs::read_to_string(root().join("docs/src/reference/errors.md")).unwrap();
    let explained = codes(&page, '`');
    let missing: Vec<&String> = used.difference(&explained).collect();
    assert!(missing.is_empty(), "not explained in errors.md: {missing:#?}");
    let gone: Vec<&String> = explained.difference(&used).collect();
    assert!(gone.is_empty(), "explained in errors.md and used nowhere: {gone:#?}");
}

#[test]
fn every_metric_of_the_source_is_on_its_page() {
    let source = fs::read_to_string(root().join("coordinator/src/http/metrics.rs")).unwrap();
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let page = fs::read_to_string(root().join("docs/src/reference/metrics.md")).unwrap();
    let mut seen = 0;
    for rest in source.split("\"visor_").skip(1) {
        let name = format!("visor_{}", rest.split('"').next().unwrap());
        assert!(page.contains(&name), "{name} is not in metrics.md");
        seen += 1;
    }
    assert!(seen > 20, "only {seen} metrics were found in the source");
}

#[test]
fn every_route_is_on_its_page() {
    let source = fs::read_to_string(root().join("coordinator/src/http/router.rs")).unwrap();
    let page = fs::read_to_string(root().join("docs/src/reference/http.md")).unwrap();
    for line in source.lines().filter_map(|line| line.split_once("\" => ")).map(|(line, _)| line) {
        let path = line.split('"').nth(1).unwrap();
        assert!(path.ends_with("openapi.json") || page.contains(path), "{path} is not in http.md");
    }
}

#[test]
fn what_is_made_from_the_program_is_up_to_date() {
    let built = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("visor");
    if !built.is_file() {
        let name = "docs::what_is_made_from_the_program_is_up_to_date";
        println!("SKIPPED {name}: visor was not built along; run the tests of the whole workspace");
        let must_run = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!must_run, "with CI=true nothing may be skipped");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["reference", "--check", "--visor"])
        .arg(&built)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
