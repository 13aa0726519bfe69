//! `api` compares the public API of the root package with `docs/api.txt`, line by line, and exits
//! with 1 if they differ. `api --write` writes the list. `api --counts` prints how many types,
//! traits and methods it has.
//!
//! rustdoc writes the API as JSON, all features on. That output is not stable: this program reads
//! that of Rust 1.95, and asks a stable toolchain for it by `RUSTC_BOOTSTRAP`. Blanket, auto and
//! derived traits (`Into`, `Send`, `Clone`, ...) are left out.

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const LIST: &str = "docs/api.txt";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("api: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = root.join(LIST);
    let now = items(&root)?;
    match env::args().nth(1).as_deref() {
        Some("--write") => fs::write(&list, text(&now))?,
        Some("--counts") => print_counts(&now),
        None => return compare(&fs::read_to_string(&list)?, &now),
        Some(other) => {
            return Err(format!("`{other}` is unknown: there are --write and --counts").into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns each public item as a line, in the order of their paths.
fn items(root: &Path) -> Result<Vec<String>> {
    let json = rustdoc(root)?;
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    Ok(api.items().map(ToString::to_string).collect())
}

fn rustdoc(root: &Path) -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = target.join("api");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["doc", "--no-deps", "--all-features", "--lib", "--quiet"])
        .args(["--package", "tower-maintenance"])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json")
        .status()?;
    if !status.success() {
        return Err(format!("cargo doc ended with {status}").into());
    }
    Ok(target.join("doc/tower_maintenance.json"))
}

fn text(items: &[String]) -> String {
    let mut text = items.join("\n");
    text.push('\n');
    text
}

fn compare(committed: &str, now: &[String]) -> Result<ExitCode> {
    let before: BTreeSet<&str> = committed.lines().collect();
    let after: BTreeSet<&str> = now.iter().map(String::as_str).collect();
    if before == after {
        println!("{LIST} lists all {} public items", now.len());
        return Ok(ExitCode::SUCCESS);
    }
    for gone in before.difference(&after) {
        println!("- {gone}");
    }
    for new in after.difference(&before) {
        println!("+ {new}");
    }
    println!(
        "The public API is not that of {LIST}. If this is meant, say it in CHANGELOG.md and run \
         `cargo run -p api -- --write`."
    );
    Ok(ExitCode::FAILURE)
}

fn print_counts(now: &[String]) {
    let count = |kinds: &[&str]| {
        let is = |item: &&String| {
            let item = item.trim_start_matches("#[non_exhaustive] ");
            kinds.iter().any(|kind| item.starts_with(kind))
        };
        now.iter().filter(is).count()
    };
    let types = count(&["pub struct ", "pub enum ", "pub union "]);
    let traits = count(&["pub trait "]);
    // Those of trait impls too, less the derived ones.
    let functions = count(&["pub fn ", "pub async fn ", "pub const fn "]);
    println!("{types} types, {traits} traits, {functions} functions and methods");
}
