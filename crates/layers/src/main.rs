//! `layers [--root DIR] [--rules FILE] [--counts]` prints every violation.
//!
//! Exits with 1 if there is one, and with 2 if the workspace cannot be checked.

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use layers::{Counts, Report, Rules, Tree, check};

struct Args {
    root: PathBuf,
    rules: Option<PathBuf>,
    counts: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(report) if report.violations.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("layers: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Report, Box<dyn Error>> {
    let args = args()?;
    let path = args
        .rules
        .unwrap_or_else(|| args.root.join(".ci/layers.toml"));
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let report = check(&Tree::read(&args.root)?, &Rules::parse(&text)?)?;
    let mut out = io::stdout().lock();
    for violation in &report.violations {
        writeln!(out, "{violation}")?;
    }
    if args.counts {
        write_counts(&mut out, &report.counts)?;
    }
    Ok(report)
}

fn args() -> Result<Args, String> {
    let mut args = Args {
        root: PathBuf::from("."),
        rules: None,
        counts: false,
    };
    let mut given = env::args().skip(1);
    while let Some(arg) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{arg} needs a path"));
        match arg.as_str() {
            "--root" => args.root = value()?.into(),
            "--rules" => args.rules = Some(value()?.into()),
            "--counts" => args.counts = true,
            _ => {
                return Err(format!(
                    "`{arg}` is unknown: allowed are --root, --rules, --counts"
                ));
            }
        }
    }
    Ok(args)
}

fn write_counts(out: &mut impl Write, counts: &Counts) -> io::Result<()> {
    let circles = format!(
        "circles of files (the largest has {})",
        counts.largest_circle
    );
    let rows = [
        (counts.entries, "entries at the top of src"),
        (counts.upward, "imports that run up, as pairs of files"),
        (counts.circles, circles.as_str()),
        (counts.longer_in_core, "functions too long in the core"),
        (counts.longer_in_wings, "functions too long in the wings"),
        (
            counts.longer_outside,
            "functions too long in tests and outside src",
        ),
        (counts.deeper, "functions nested too deep"),
        (counts.wider, "comment lines too wide"),
        (counts.with_words, "comment lines with a word to avoid"),
    ];
    for (count, of) in rows {
        writeln!(out, "{count:6} {of}")?;
    }
    Ok(())
}
