//! Instructions per call, counted by callgrind in a process of its own, which runs this program's
//! hidden command `instructions CASE SUBJECT BEFORE CALLS`.
//!
//! The difference of two runs is the cost of the calls alone. The kernel and the vdso are not in
//! it: under valgrind the kernel reads the clock, so a read costs more than its instructions say.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::{
    cases::{Case, Entry, cases, growth},
    measure::Effort,
    subject::Cost,
};

pub(crate) const COMMAND: &str = "instructions";

/// The number of calls in both runs of a pair, so that neither counts the first call.
const WARM: u64 = 100;
/// The number of calls counted where a call grows with those before it.
const FEW: u64 = 100;

pub(crate) fn can_be_counted() -> bool {
    let valgrind = Command::new("valgrind").arg("--version").output();
    valgrind.is_ok_and(|output| output.status.success())
}

/// One subject of a case.
struct Job<'c> {
    case: &'c str,
    subject: &'static str,
    before: u64,
    calls: u64,
}

impl<'c> Job<'c> {
    fn new(case: &'c str, entry: &Entry, effort: Effort) -> Self {
        Self {
            case,
            subject: entry.name,
            before: entry.calls_before.min(effort.most_before),
            calls: match entry.cost {
                Cost::Flat => effort.instructions,
                Cost::Grows => FEW,
            },
        }
    }
}

/// Instructions per call in a build of this program, subject by subject.
pub(crate) fn calls(program: &Path, case: &Case, effort: Effort) -> Result<Vec<f64>, String> {
    let job = |entry| Job::new(case.name, entry, effort);
    count(program, &case.entries.iter().map(job).collect::<Vec<_>>())
}

/// Instructions per call in this program, for each pair of a case and a subject of it.
pub(crate) fn each(subjects: &[(&'static str, &str)], effort: Effort) -> Result<Vec<f64>, String> {
    let job = |(case, subject): &(&'static str, &str)| {
        entry(case, subject).map(|entry| Job::new(case, &entry, effort))
    };
    let jobs = subjects.iter().map(job).collect::<Result<Vec<_>, _>>()?;
    count(&this_program()?, &jobs)
}

pub(crate) fn this_program() -> Result<PathBuf, String> {
    env::current_exe().map_err(|error| format!("this program: {error}"))
}

/// The subject of a case, both by name.
fn entry(case: &str, subject: &str) -> Result<Entry, String> {
    let cases = cases().into_iter().chain([growth()]);
    cases
        .filter(|known| known.name == case)
        .flat_map(|case| case.entries)
        .find(|entry| entry.name == subject)
        .ok_or_else(|| format!("no subject `{subject}` in a case `{case}`"))
}

fn count(program: &Path, jobs: &[Job<'_>]) -> Result<Vec<f64>, String> {
    // Two at a time, because nothing is timed meanwhile.
    let mut counted = Vec::new();
    for pair in jobs.chunks(2) {
        thread::scope(|scope| {
            let pair: Vec<_> = pair
                .iter()
                .map(|job| scope.spawn(|| job.per_call(program)))
                .collect();
            counted.extend(pair.into_iter().map(|job| {
                job.join()
                    .unwrap_or_else(|_| Err("a count of instructions panicked".into()))
            }));
        });
    }
    counted.into_iter().collect()
}

impl Job<'_> {
    fn per_call(&self, program: &Path) -> Result<f64, String> {
        let few = self.count(program, WARM)?;
        let many = self.count(program, WARM + self.calls)?;
        Ok((many as f64 - few as f64) / self.calls as f64)
    }

    /// All instructions of a process that makes this number of calls.
    fn count(&self, program: &Path, calls: u64) -> Result<u64, String> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args([COMMAND, self.case, self.subject])
            .args([self.before.to_string(), calls.to_string()])
            .output()
            .map_err(|error| format!("valgrind: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let collected = said
            .lines()
            .find_map(|line| line.split_once("Collected :"))
            .and_then(|(_, number)| number.trim().parse().ok());
        match collected {
            Some(number) if output.status.success() => Ok(number),
            _ => Err(format!(
                "callgrind on {}, {}: {}\n{said}",
                self.case, self.subject, output.status
            )),
        }
    }
}

/// The hidden command.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let [case, subject, before, calls] = arguments else {
        return Err(format!("{COMMAND} CASE SUBJECT BEFORE CALLS"));
    };
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|error| format!("`{text}` is not a number of calls: {error}"))
    };
    let (before, calls) = (number(before)?, number(calls)?);
    let entry = entry(case, subject)?;
    let mut subject = entry.subject()?;
    subject.run(before);
    subject.run(calls);
    Ok(())
}
