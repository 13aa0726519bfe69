//! The command as CI runs it: what it prints, and what it exits with.

use std::{
    fs, io,
    path::PathBuf,
    process::{Command, Output},
};

const RULES: &str = r#"
src = "src"
entries = 4
face = ["lib.rs"]
wings = ["wing.rs"]
wings_see_no = { imports = [], calls = [] }
cfg_feature_in = []
layer = [{ name = "wings", holds = ["wing.rs"] }, { name = "base", holds = ["base.rs"] }]

[limits]
function_lines = 50
longer_in_core = 0
longer_in_wings = 0
longer_outside = 0
nesting = 4
deeper = 0
comment_columns = 100
wider = 0
words = []
with_words = 0
"#;

/// A workspace on disk, gone when it is dropped.
struct Workspace(PathBuf);

impl Workspace {
    fn new(name: &str) -> io::Result<Self> {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        for folder in [".ci", ".hidden", "built", "src"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let workspace = Self(root);
        workspace.write(".ci/layers.toml", RULES)?;
        workspace.write("Cargo.toml", "[package]\nname = \"house\"\n")?;
        workspace.write("src/lib.rs", "mod base;\nmod wing;\n")?;
        workspace.write(
            "src/wing.rs",
            "use crate::base::Base;\npub struct Wing(Base);\n",
        )?;
        workspace.write("src/base.rs", "pub struct Base;\n")?;
        // Neither is read: they do not parse.
        workspace.write(".hidden/a.rs", "fn {")?;
        workspace.write("built/a.rs", "fn {")?;
        workspace.write("built/CACHEDIR.TAG", "")?;
        Ok(workspace)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.0.join(file), text)
    }

    fn check(&self, args: &[&str]) -> io::Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layers"));
        command.arg("--root").arg(&self.0).args(args).output()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_workspace_that_keeps_the_rules_passes_in_silence() -> io::Result<()> {
    let output = Workspace::new("clean")?.check(&[])?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn an_import_put_upward_on_purpose_fails_with_its_file_and_line() -> io::Result<()> {
    let workspace = Workspace::new("upward")?;
    workspace.write("src/wing.rs", "pub struct Wing;\n")?;
    workspace.write(
        "src/base.rs",
        "\nuse crate::wing::Wing;\npub struct Base(Wing);\n",
    )?;
    let output = workspace.check(&[])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "src/base.rs:2: imports `crate::wing::Wing` of src/wing.rs, upward: `base` stands below \
          `wings`; also in line 3 [direction]"
        ]
    );
    Ok(())
}

#[test]
fn counts_are_printed_if_asked_for() -> io::Result<()> {
    let output = Workspace::new("counts")?.check(&["--counts"])?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said.lines().next(),
        Some("     3 entries at the top of src")
    );
    assert_eq!(said.lines().count(), 9);
    Ok(())
}

#[test]
fn what_cannot_be_checked_is_told_from_what_is_wrong() -> io::Result<()> {
    let workspace = Workspace::new("broken")?;
    workspace.write("src/base.rs", "pub struct {\n")?;
    for args in [&[][..], &["--rules", "gone.toml"], &["--all"]] {
        let output = workspace.check(args)?;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stderr.starts_with(b"layers: "), "{output:?}");
    }
    Ok(())
}
