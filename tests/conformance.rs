//! Replays cases taken from the tests and the bugs of other circuit breakers. Each case is one
//! line, `pass|fail|skip <id> <why>`, and totals follow.
//!
//! ```sh
//! cargo test --test conformance                                  # all of tests/conformance/*.json
//! cargo test --test conformance -- polly-                        # the ids that contain `polly-`
//! CONFORMANCE_CASES=a.json:b.json cargo test --test conformance  # these files as well
//! ```
//!
//! A case is read strictly: an unknown key or word fails it, and so does a file that cannot be
//! read. A case is skipped only if it asks for semantics that the design decides otherwise. If more
//! than a tenth of the cases are skipped, the run fails. It runs without libtest's harness, so that
//! its lines show.

#[path = "conformance/form.rs"]
mod form;
#[path = "conformance/replay.rs"]
mod replay;

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    form::Case,
    replay::{Ended, replay},
};

/// The name under which this whole binary is listed and filtered.
const NAME: &str = "conformance";

/// How long a case may take. It takes milliseconds; this is for busy machines.
const LONGEST: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments = Arguments::read(env::args().skip(1));
    if arguments.list {
        if !arguments.ignored && arguments.select(NAME) {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }

    let mut totals = Totals::default();
    if !arguments.ignored {
        for file in files() {
            replay_file(&file, &arguments, &mut totals);
        }
        prove_strictness(&arguments, &mut totals);
    }
    totals.print(arguments.filtered())
}

/// The cases that belong to the crate, then those of `CONFORMANCE_CASES`.
fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let entries = fs::read_dir(&own).expect("the directory is part of the package");
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    if let Some(further) = env::var_os("CONFORMANCE_CASES") {
        files.extend(env::split_paths(&further).filter(|path| !path.as_os_str().is_empty()));
    }
    files
}

fn replay_file(path: &Path, arguments: &Arguments, totals: &mut Totals) {
    let cases = match read(path) {
        Ok(cases) => cases,
        // Whatever the filter: a file that cannot be read may hold the cases that are asked for.
        Err(why) => return totals.tell(&path.display(), &Ended::Failed(why)),
    };
    for (index, case) in cases.into_iter().enumerate() {
        let id = match &case["id"] {
            Value::String(id) => id.clone(),
            _ => format!("{}#{}", path.display(), index + 1),
        };
        if arguments.select(&id) {
            totals.tell(&id, &judge(case));
        }
    }
}

fn read(path: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    match serde_json::from_str(&text) {
        Ok(Value::Array(cases)) if !cases.is_empty() => Ok(cases),
        Ok(_) => Err("not a list of cases".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Replays in a thread of its own: on a paused clock a replay that hangs never ends.
fn judge(case: Value) -> Ended {
    let (told, ended) = mpsc::channel();
    thread::spawn(move || {
        let ended = Case::read(case).map_or_else(Ended::Failed, |case| replay(&case));
        // An error means that the receiver has given up.
        let _ = told.send(ended);
    });
    ended
        .recv_timeout(LONGEST)
        .unwrap_or_else(|error| Ended::Failed(format!("the replay does not end: {error}")))
}

/// A replay that passes every case looks like a crate without faults. So the faults in the cases of
/// this file must be found.
fn prove_strictness(arguments: &Arguments, totals: &mut Totals) {
    let id = "replay-is-strict";
    if !arguments.select(id) {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/wrong/cases.json");
    let mut missed = Vec::new();
    let cases = read(&path).unwrap_or_else(|why| {
        missed.push(format!("{}: {why}", path.display()));
        Vec::new()
    });
    for mut wrong in cases {
        let told = match judge(wrong["case"].take()) {
            Ended::Passed => "pass".into(),
            Ended::Failed(why) => format!("fail {why}"),
            Ended::Skipped(why) => format!("skip {why}"),
        };
        let expected = wrong["told"].as_str().unwrap_or("what it is told as");
        if told != expected {
            missed.push(format!("told `{told}`, not `{expected}`"));
        }
    }
    // It is not a case, and shows only if it fails.
    if !missed.is_empty() {
        totals.tell(&id, &Ended::Failed(missed.join("; ")));
    }
}

#[derive(Debug, Default)]
struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Totals {
    fn tell(&mut self, id: &dyn fmt::Display, ended: &Ended) {
        match ended {
            Ended::Passed => {
                self.passed += 1;
                println!("pass {id}");
            }
            Ended::Failed(why) => {
                self.failed += 1;
                println!("fail {id} {}", one_line(why));
            }
            Ended::Skipped(why) => {
                self.skipped += 1;
                println!("skip {id} {}", one_line(why));
            }
        }
    }

    fn print(&self, filtered: bool) -> ExitCode {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        let all = passed + failed + skipped;
        let too_many = skipped * 10 > all && !filtered;
        if too_many {
            println!("{skipped} of {all} cases were skipped: more than a tenth");
        }
        let good = *failed == 0 && !too_many;
        let result = if good { "ok" } else { "FAILED" };
        println!();
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        println!("test result: {result}. {passed} passed; {failed} failed; {skipped} ignored");
        if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The arguments that cargo and nextest pass to a test binary, as far as they matter here.
#[derive(Debug, Default)]
struct Arguments {
    list: bool,
    ignored: bool,
    exact: bool,
    filters: Vec<String>,
    skips: Vec<String>,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--list" => arguments.list = true,
                "--ignored" => arguments.ignored = true,
                "--exact" => arguments.exact = true,
                "--skip" => arguments.skips.extend(given.next()),
                // Options whose value does not matter here.
                "--format" | "--color" | "--test-threads" | "--logfile" | "--shuffle-seed"
                | "-Z" => {
                    given.next();
                }
                option if option.starts_with('-') => {
                    let skip = option.strip_prefix("--skip=");
                    arguments.skips.extend(skip.map(Into::into));
                }
                _ => arguments.filters.push(argument),
            }
        }
        arguments
    }

    /// Returns whether only a part of the cases is asked for.
    fn filtered(&self) -> bool {
        !self.select(NAME) || self.ignored || !self.skips.is_empty()
    }

    /// Returns whether the case with this id is asked for, by its id or with all others.
    fn select(&self, id: &str) -> bool {
        let names = |filter: &String| {
            if self.exact {
                filter == id || filter == NAME
            } else {
                id.contains(filter.as_str()) || NAME.contains(filter.as_str())
            }
        };
        let wanted = self.filters.is_empty() || self.filters.iter().any(names);
        wanted && !self.skips.iter().any(names)
    }
}
