//! What a user's first build of tower-maintenance costs, beside its peers, measured here and now.
//!
//! ```text
//! cargo run -p peers --bin build-cost [-- --rounds N] [CASE ...]
//! ```
//!
//! Each case is a crate in a temporary folder that depends on one package and has no code. It has
//! this workspace's `Cargo.lock`, so that all cases have the same versions. Cargo builds it offline
//! in the `dev` profile, from nothing, into a folder of its own.
//!
//! - `crates`: the packages that cargo compiled, without the user's crate.
//! - `user_s`: the user CPU seconds of cargo and its compilers. Of several rounds the least counts,
//!   because other load on the machine only adds. The rounds go through all cases in turn.
//! - `ratio`: to the user seconds of our default features.
//!
//! Only for Linux: the CPU time of finished children is read from `/proc/self/stat`.

#![allow(
    clippy::disallowed_methods,
    reason = "it is a program for one table, and has no clock of its own"
)]

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{self, Command, ExitCode, Stdio},
};

use serde_json::Value;

const USAGE: &str = "usage: build-cost [--rounds N] [CASE ...]

Builds throw-away crates from nothing, and prints the crates and user CPU seconds of each.

  --rounds N  builds each case N times; the least time counts (default 3)
  CASE        only the cases with one of these names, such as `http`";

const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

/// The case that the others are compared with.
const DEFAULT: &str = "default";

type Failed = Box<dyn Error>;

struct Case {
    name: &'static str,
    dependency: String,
    folder: PathBuf,
    crates: usize,
    user_seconds: f64,
}

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("build-cost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Failed> {
    let (mut rounds, mut wanted) = (3, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            "--rounds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                rounds = number
                    .filter(|&number: &u32| number > 0)
                    .ok_or_else(|| format!("`--rounds` needs a number of at least 1\n{USAGE}"))?;
            }
            _ => wanted.push(argument),
        }
    }
    let folder = env::temp_dir().join(format!("build-cost-{}", process::id()));
    let mut cases = cases(&folder)?;
    for name in &wanted {
        if !cases.iter().any(|case| case.name == name) {
            let names: Vec<_> = cases.iter().map(|case| case.name).collect();
            let names = names.join("`, `");
            return Err(format!("no case `{name}`: there are `{names}`\n{USAGE}").into());
        }
    }
    cases.retain(|case| wanted.is_empty() || wanted.iter().any(|name| name == case.name));
    let measured = measure(&mut cases, rounds);
    fs::remove_dir_all(&folder)?;
    measured?;
    print(&cases);
    Ok(())
}

fn cases(folder: &Path) -> Result<Vec<Case>, Failed> {
    let root = Path::new(MANIFEST).join("../..").canonicalize()?;
    let ours = |features: &str| {
        let path = root.display();
        format!("tower-maintenance = {{ path = \"{path}\", {features} }}")
    };
    let all = fs::read_to_string(root.join("Cargo.toml"))?;
    let dependencies = [
        (DEFAULT, ours("features = []")),
        ("http", ours("features = [\"http\"]")),
        ("page-templates", ours("features = [\"page-templates\"]")),
        ("axum", ours("features = [\"axum\"]")),
        ("all", ours(&format!("features = {:?}", features(&all)))),
        ("tower-resilience", peer("tower-resilience-circuitbreaker")?),
        ("seatbelt", peer("seatbelt")?),
    ];
    let case = |(name, dependency)| Case {
        name,
        dependency,
        folder: folder.join(name),
        crates: 0,
        user_seconds: f64::INFINITY,
    };
    Ok(dependencies.map(case).into())
}

/// Returns the names in the section `[features]` of a manifest.
fn features(manifest: &str) -> Vec<&str> {
    let section = manifest.lines().skip_while(|line| *line != "[features]");
    let section = section.skip(1).take_while(|line| !line.starts_with('['));
    let names = section.filter_map(|line| line.split_once(" = ["));
    let names = names.map(|(name, _)| name.trim());
    names.filter(|name| !name.starts_with('#')).collect()
}

/// Returns the dependency on a peer as this package has it, in the version and with the features
/// that are measured.
fn peer(name: &str) -> Result<String, Failed> {
    let manifest = fs::read_to_string(Path::new(MANIFEST).join("Cargo.toml"))?;
    let line = manifest
        .lines()
        .find(|line| line.split(" = ").next() == Some(name));
    let line = line.ok_or_else(|| format!("{MANIFEST}/Cargo.toml has no dependency `{name}`"))?;
    Ok(line.to_owned())
}

fn measure(cases: &mut [Case], rounds: u32) -> Result<(), Failed> {
    for case in &*cases {
        make_crate(case)?;
    }
    for round in 1..=rounds {
        for case in &mut *cases {
            let before = user_seconds_of_children()?;
            case.crates = build(&case.folder)?;
            let took = user_seconds_of_children()? - before;
            eprintln!(
                "build-cost: round {round} of {rounds}: {} {took:.1} s",
                case.name
            );
            case.user_seconds = case.user_seconds.min(took);
        }
    }
    Ok(())
}

fn make_crate(case: &Case) -> Result<(), Failed> {
    fs::create_dir_all(case.folder.join("src"))?;
    fs::write(case.folder.join("src/lib.rs"), "")?;
    let lock = Path::new(MANIFEST).join("../../Cargo.lock");
    fs::copy(lock, case.folder.join("Cargo.lock"))?;
    let manifest = format!(
        "[package]\nname = \"user\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\n{}\n",
        case.dependency
    );
    fs::write(case.folder.join("Cargo.toml"), manifest)?;
    Ok(())
}

/// Builds the crate from nothing, and returns the number of packages that were compiled for it.
fn build(folder: &Path) -> Result<usize, Failed> {
    let target = folder.join("target");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args(["build", "--offline", "--message-format=json"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_INCREMENTAL", "1")
        .stderr(Stdio::piped())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}\n{said}", folder.display(), output.status).into());
    }
    fs::remove_dir_all(&target)?;
    let mut packages = BTreeSet::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line)?;
        if message["reason"] == "compiler-artifact" {
            packages.insert(message["package_id"].to_string());
        }
    }
    Ok(packages.len() - 1)
}

/// Returns the user CPU seconds of all children that have ended, and of theirs.
fn user_seconds_of_children() -> Result<f64, Failed> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field, the program's name in parentheses, may contain blanks. `cutime` is the
    // sixteenth, in ticks.
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split(' ').nth(13);
    let ticks: f64 = ticks.ok_or("/proc/self/stat has no `cutime`")?.parse()?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

fn print(cases: &[Case]) {
    let default = cases.iter().find(|case| case.name == DEFAULT);
    println!(
        "{:<18} {:>6} {:>7} {:>6}",
        "case", "crates", "user_s", "ratio"
    );
    for case in cases {
        let ratio = default.map(|default| case.user_seconds / default.user_seconds);
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!(
            "{:<18} {:>6} {:>7.1} {ratio:>6}",
            case.name, case.crates, case.user_seconds
        );
    }
}
