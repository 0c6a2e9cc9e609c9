//! `visor init`: a first file that works.

mod support;

use support::Project;

#[test]
fn what_init_writes_is_valid_and_passes() {
    let project = Project::empty();
    project.visor(&["init"]).ended(0);
    project.visor(&["validate"]).ended(0);
    let said = project.visor(&["run"]).ended(0);
    assert!(said.out.contains("1 check: 1 passed"), "{}", said.out);
}

#[test]
fn init_fits_a_node_package_and_passes() {
    let project = Project::empty();
    project.write("package.json", r#"{ "scripts": { "test": "true" } }"#);
    // A stand-in: what matters is that the file calls it.
    project.write("bin/npm", "#!/bin/sh\necho \"npm $*\"\n");
    let npm = project.file("bin/npm");
    std::fs::set_permissions(npm, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", project.file("bin").display(), std::env::var("PATH").unwrap());
    let visor = |args: &[&str]| {
        support::said(project.command(args).env("PATH", &path).output().unwrap()).ended(0)
    };
    visor(&["init"]);
    let said = visor(&["run", "--verbose"]);
    assert!(said.err.contains("npm run test"), "{}", said.err);
}

#[test]
fn init_overwrites_nothing() {
    for name in ["visor.yaml", ".visor.yml"] {
        let project = Project::empty();
        project.write(name, "mine");
        let said = project.visor(&["init"]).ended(2);
        assert!(said.err.contains(name), "{}", said.err);
        assert_eq!(std::fs::read_to_string(project.file(name)).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(project.path()).unwrap().count(), 1);
    }
}
