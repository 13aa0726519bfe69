//! The minified script that is committed is the one that `crates/browser/minify` makes.

use std::process::Command;

#[test]
#[ignore = "needs terser of npm"]
fn the_minified_script_is_made_from_the_script_as_it_is() {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/minify"));
    let output = command.arg("--check").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
}
