//! No call takes more instructions than was committed: `--check-instructions`, and `--write-instructions` for a
//! baseline that is to change.
//!
//! Instructions, because they repeat: the same build gives the same count to a tenth of a percent, on a busy
//! machine too. What moves them without a change here is another compiler, another C library's copying, another
//! seed of a hash map: some two percent. A clock read, a lock, a reference count or a lost inlining is far more
//! than [`TOLERANCE`].

use std::{collections::BTreeMap, env, fs};

use serde_json::{Value, json};

use crate::{cases::DOES_NOTHING, instructions, measure::Effort, ours::NAME};

pub(crate) const CHECK: &str = "--check-instructions";
pub(crate) const WRITE: &str = "--write-instructions";

const CASES: [&str; 8] = [
    "admitted",
    "admitted_coarse",
    "refused",
    "refused_held",
    "http",
    "exempt",
    "axum",
    SERVED,
];
/// Of a request to a server only what is beyond a layer that does nothing is kept, counted in the same run: 4 % of the whole,
/// which would be lost in any tolerance.
const SERVED: &str = "axum_served";
/// By how much more a case may count than the baseline says.
const TOLERANCE: f64 = 0.05;
/// The same of a difference, in which what another C library's allocator does with other sizes weighs more.
const TOLERANCE_OF_DIFFERENCE: f64 = 0.15;
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");
const REWRITE: &str = "cargo run --release -p peers -- --write-instructions";

/// What was counted, and by which compiler and for which processors.
#[derive(Debug, PartialEq)]
struct Baseline {
    rustc: String,
    target: String,
    instructions: BTreeMap<String, f64>,
}

impl Baseline {
    /// Counts them now.
    fn counted() -> Result<Self, String> {
        if cfg!(debug_assertions) {
            return Err(format!("not a release build: {REWRITE} is one"));
        }
        if !instructions::can_be_counted() {
            return Err("counting instructions needs valgrind: `crates/setup` installs it".into());
        }
        let mut counted = instructions::each(&CASES.map(|case| (case, NAME)), Effort::FULL)?;
        let beside = instructions::each(&[(SERVED, DOES_NOTHING)], Effort::FULL)?;
        for (case, count) in CASES.iter().zip(&mut counted) {
            if *case == SERVED {
                *count -= beside[0];
            }
        }
        let tenths = counted
            .into_iter()
            .map(|count| (count * 10.0).round() / 10.0);
        Ok(Self {
            rustc: env!("PEERS_RUSTC").into(),
            target: format!("{}-{}", env::consts::ARCH, env::consts::OS),
            instructions: CASES.into_iter().map(String::from).zip(tenths).collect(),
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "rustc": self.rustc,
            "target": self.target,
            "instructions": self.instructions,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let unfit = |what: &str| format!("{FILE}: {what}; to write it anew: {REWRITE}");
        let json: Value = serde_json::from_str(text).map_err(|error| unfit(&error.to_string()))?;
        let text = |field: &str| {
            let value = json[field].as_str();
            value
                .map(String::from)
                .ok_or_else(|| unfit(&format!("`{field}` is no text")))
        };
        let cases = json["instructions"].as_object();
        let cases = cases.ok_or_else(|| unfit("`instructions` is no object"))?;
        let number = |(case, count): (&String, &Value)| {
            let count = count.as_f64();
            count
                .map(|count| (case.clone(), count))
                .ok_or_else(|| unfit(&format!("the instructions of `{case}` are no number")))
        };
        Ok(Self {
            rustc: text("rustc")?,
            target: text("target")?,
            instructions: cases.iter().map(number).collect::<Result<_, _>>()?,
        })
    }

    /// The lines about each case, and whether all is well. Made by another compiler, they are warnings.
    fn compare(&self, counted: &Self) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let mut too_many = 0;
        for (case, count) in &counted.instructions {
            let Some(allowed) = self.instructions.get(case) else {
                too_many += 1;
                lines.push(format!(
                    "{case}: {count} instructions a call; it is not in the baseline"
                ));
                continue;
            };
            let change = count / allowed - 1.0;
            let tolerance = match case.as_str() {
                SERVED => TOLERANCE_OF_DIFFERENCE,
                _ => TOLERANCE,
            };
            let verdict = if *count > allowed * (1.0 + tolerance) {
                too_many += 1;
                format!("MORE than the {:.0} % allowed", tolerance * 100.0)
            } else if change < -tolerance {
                "fewer: write the baseline anew, so that it stays so".into()
            } else {
                "as before".into()
            };
            lines.push(format!(
                "{case}: {count} instructions a call, baseline {allowed}, {:+.1} %: {verdict}",
                change * 100.0
            ));
        }
        if too_many == 0 {
            return (lines, true);
        }
        lines.push(format!(
            "if it is worth it, write the baseline anew: {REWRITE}"
        ));
        if (&self.rustc, &self.target) == (&counted.rustc, &counted.target) {
            return (lines, false);
        }
        lines.push(format!(
            "only a warning: the baseline is of {}, {}; these counts are of {}, {}",
            self.rustc, self.target, counted.rustc, counted.target
        ));
        (lines, true)
    }
}

pub(crate) fn check() -> Result<(), String> {
    let text = fs::read_to_string(FILE)
        .map_err(|error| format!("{FILE}: {error}; to write it: {REWRITE}"))?;
    let (lines, is_well) = Baseline::parse(&text)?.compare(&Baseline::counted()?);
    for line in &lines {
        println!("{line}");
    }
    if is_well {
        Ok(())
    } else {
        Err(format!("a call takes more instructions than {FILE} allows"))
    }
}

pub(crate) fn write() -> Result<(), String> {
    let counted = Baseline::counted()?;
    let text = format!("{:#}\n", counted.to_json());
    print!("{text}");
    fs::write(FILE, text).map_err(|error| format!("{FILE}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rustc: &str, admitted: f64) -> Baseline {
        Baseline {
            rustc: rustc.into(),
            target: "x86_64-linux".into(),
            instructions: [("admitted".into(), admitted)].into(),
        }
    }

    #[test]
    fn more_instructions_fail_and_name_case_counts_and_command() {
        let baseline = counts("rustc 1.95.0", 100.0);
        let (lines, is_well) = baseline.compare(&counts("rustc 1.95.0", 106.0));
        assert!(!is_well);
        assert_eq!(
            lines[0],
            "admitted: 106 instructions a call, baseline 100, +6.0 %: MORE than the 5 % allowed"
        );
        assert!(lines[1].ends_with(REWRITE), "{lines:?}");
    }

    #[test]
    fn of_a_difference_more_is_allowed() {
        let counts = |count| Baseline {
            instructions: [(SERVED.into(), count)].into(),
            ..counts("rustc 1.95.0", 0.0)
        };
        assert!(counts(600.0).compare(&counts(689.0)).1);
        assert!(!counts(600.0).compare(&counts(691.0)).1);
    }

    #[test]
    fn what_is_within_the_tolerance_or_fewer_is_well() {
        let baseline = counts("rustc 1.95.0", 100.0);
        for count in [105.0, 100.0, 50.0] {
            let (lines, is_well) = baseline.compare(&counts("rustc 1.95.0", count));
            assert!(is_well, "{lines:?}");
        }
    }

    #[test]
    fn a_baseline_of_another_compiler_only_warns() {
        let baseline = counts("rustc 1.94.0", 100.0);
        let (lines, is_well) = baseline.compare(&counts("rustc 1.95.0", 200.0));
        assert!(is_well);
        let warning = lines.last().expect("there are lines");
        assert!(
            warning.contains("rustc 1.94.0") && warning.contains("rustc 1.95.0"),
            "{warning}"
        );
    }

    #[test]
    fn a_case_without_a_baseline_fails() {
        let baseline = Baseline {
            instructions: BTreeMap::new(),
            ..counts("rustc 1.95.0", 0.0)
        };
        assert!(!baseline.compare(&counts("rustc 1.95.0", 1.0)).1);
    }

    #[test]
    fn the_committed_baseline_has_every_case() {
        let text = fs::read_to_string(FILE).expect("it is committed");
        let baseline = Baseline::parse(&text).expect("it was written by this program");
        let cases: Vec<&str> = baseline.instructions.keys().map(String::as_str).collect();
        let mut expected = CASES;
        expected.sort_unstable();
        assert_eq!(cases, expected);
        assert_eq!(
            Baseline::parse(&baseline.to_json().to_string()),
            Ok(baseline)
        );
    }

    #[test]
    fn a_baseline_that_is_none_says_what_is_wrong_and_how_to_write_it() {
        let error = Baseline::parse(
            r#"{"rustc": "r", "target": "t", "instructions": {"admitted": "many"}}"#,
        );
        let error = error.expect_err("`many` is no number");
        assert!(
            error.contains("`admitted` are no number") && error.contains(REWRITE),
            "{error}"
        );
    }
}
