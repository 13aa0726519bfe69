//! Tells the program the version of its compiler, on which instruction counts depend.

use std::{env, error::Error, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    let rustc = env::var("RUSTC")?;
    let output = Command::new(rustc).arg("--version").output()?;
    let version = String::from_utf8(output.stdout)?;
    println!("cargo::rustc-env=PEERS_RUSTC={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
