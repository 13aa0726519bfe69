//! The committed number of instructions of each case: `--check-instructions` fails where a call
//! takes more, and `--write-instructions` writes the numbers anew. Both are of the default release
//! profile.
//!
//! Instructions repeat: the same build gives the same count to a tenth of a percent, also on a busy
//! machine. Another compiler, another C library's copying, or another seed of a hash map moves them
//! by some two percent. A clock read, a lock, a reference count or a lost inlining moves them by
//! far more than [`TOLERANCE`].

use std::{collections::BTreeMap, env, fs};

use serde_json::{Value, json};

use crate::{
    cases::DOES_NOTHING, instructions, machine::has_test_util, measure::Effort, ours::NAME,
};

pub(crate) const CHECK: &str = "--check-instructions";
pub(crate) const WRITE: &str = "--write-instructions";

const CASES: [&str; 12] = [
    "waiting",
    "waiting_coarse",
    "waiting_http",
    "cold",
    "admitted",
    "admitted_coarse",
    "refused",
    "refused_held",
    "http",
    "exempt",
    "axum",
    SERVED,
];
/// For a request to a server only the difference to a layer that does nothing is committed. It is
/// 4 % of the whole, which any tolerance would hide.
const SERVED: &str = "axum_served";
/// The share by which a case may count more than the baseline says.
const TOLERANCE: f64 = 0.05;
/// The same for a difference, in which another C library's allocator weighs more.
const TOLERANCE_OF_DIFFERENCE: f64 = 0.15;
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");
const REWRITE: &str = "cargo run --release -p peers -- --write-instructions";

/// The counts, their compiler and their target.
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
            return Err(format!(
                "this is not a release build; to count in one: {REWRITE}"
            ));
        }
        if has_test_util() {
            return Err(format!(
                "this build has tokio's feature `test-util`, which users do not have; to count without: {REWRITE}"
            ));
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
                .ok_or_else(|| unfit(&format!("`{field}` is not a string")))
        };
        let cases = json["instructions"].as_object();
        let cases = cases.ok_or_else(|| unfit("`instructions` is not an object"))?;
        let number = |(case, count): (&String, &Value)| {
            let count = count.as_f64();
            count
                .map(|count| (case.clone(), count))
                .ok_or_else(|| unfit(&format!("`{case}` is not a number")))
        };
        Ok(Self {
            rustc: text("rustc")?,
            target: text("target")?,
            instructions: cases.iter().map(number).collect::<Result<_, _>>()?,
        })
    }

    /// A line for each case, and whether all is well. Against another compiler's baseline too many
    /// instructions are only a warning.
    fn compare(&self, counted: &Self) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let mut too_many = 0;
        for (case, count) in &counted.instructions {
            let Some(allowed) = self.instructions.get(case) else {
                too_many += 1;
                lines.push(format!(
                    "{case}: {count} instructions a call; the case is not in the baseline"
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
            "if the change is worth its cost, write the baseline anew: {REWRITE}"
        ));
        if (&self.rustc, &self.target) == (&counted.rustc, &counted.target) {
            return (lines, false);
        }
        lines.push(format!(
            "this is only a warning: the baseline is of {}, {}; these counts are of {}, {}",
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
    fn the_tolerance_of_a_difference_is_larger() {
        let counts = |count| Baseline {
            instructions: [(SERVED.into(), count)].into(),
            ..counts("rustc 1.95.0", 0.0)
        };
        assert!(counts(600.0).compare(&counts(689.0)).1);
        assert!(!counts(600.0).compare(&counts(691.0)).1);
    }

    #[test]
    fn a_count_within_the_tolerance_or_below_passes() {
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
    fn an_invalid_baseline_is_an_error_that_says_how_to_write_it() {
        let error = Baseline::parse(
            r#"{"rustc": "r", "target": "t", "instructions": {"admitted": "many"}}"#,
        );
        let error = error.expect_err("`many` is not a number");
        assert!(
            error.contains("`admitted` is not a number") && error.contains(REWRITE),
            "{error}"
        );
    }
}
