//! The measurements as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::{
    cases::{Case, Role},
    machine::Machine,
    measure::{CallCost, median},
    memory::Memory,
    ours,
    threads::{State, Threads},
};

/// A subject of a case, measured.
#[derive(Debug)]
struct Row {
    name: &'static str,
    ns: f64,
    to_bare: Option<f64>,
    to_best_peer: Option<f64>,
    instructions: Option<f64>,
    instructions_lto: Option<f64>,
    allocations: f64,
}

/// A case, measured.
#[derive(Debug)]
pub(crate) struct Rows {
    case: &'static str,
    rows: Vec<Row>,
}

/// The instructions of each subject of a case, where they are counted.
#[derive(Debug, Default)]
pub(crate) struct Instructions {
    pub(crate) release: Option<Vec<f64>>,
    pub(crate) lto: Option<Vec<f64>>,
}

impl Rows {
    /// From the costs of each run. A ratio is taken within a run, and the median of the runs
    /// counts.
    pub(crate) fn new(case: &Case, runs: &[Vec<CallCost>], instructions: &Instructions) -> Self {
        let to_least = |number: usize, role: Role| {
            let ratios = runs.iter().map(|run| {
                let least = least(case, run, role)?;
                Some(run[number].ns / least)
            });
            ratios.collect::<Option<Vec<_>>>().map(median)
        };
        let counted = |counts: &Option<Vec<f64>>, number: usize| {
            let counts = counts.as_ref();
            counts.map(|counts| counts[number])
        };
        let row = |number: usize| Row {
            name: case.entries[number].name,
            ns: median(runs.iter().map(|run| run[number].ns)),
            to_bare: to_least(number, Role::Bare),
            to_best_peer: to_least(number, Role::Peer),
            instructions: counted(&instructions.release, number),
            instructions_lto: counted(&instructions.lto, number),
            allocations: median(runs.iter().map(|run| run[number].allocations)),
        };
        Self {
            case: case.name,
            rows: (0..case.entries.len()).map(row).collect(),
        }
    }
}

/// The least time of the subjects that are compared as `role`.
fn least(case: &Case, costs: &[CallCost], role: Role) -> Option<f64> {
    let of_role = case.entries.iter().zip(costs);
    of_role
        .filter(|(entry, _)| entry.role == role)
        .map(|(_, cost)| cost.ns)
        .min_by(f64::total_cmp)
}

/// The median of the runs of two threads.
pub(crate) fn threads(runs: &[Vec<State>]) -> Vec<State> {
    let middle = |state: usize, subject: usize| {
        let all = || runs.iter().map(|run| run[state].subjects[subject].1);
        let mut by_speedup: Vec<Threads> = all().collect();
        by_speedup.sort_by(|one, other| one.speedup().total_cmp(&other.speedup()));
        by_speedup[by_speedup.len() / 2]
    };
    let first = runs.first().map_or(&[][..], Vec::as_slice);
    let states = first.iter().enumerate().map(|(state, of)| State {
        name: of.name,
        subjects: (of.subjects.iter().enumerate())
            .map(|(subject, (name, _))| (*name, middle(state, subject)))
            .collect(),
    });
    states.collect()
}

/// All measurements.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) runs: usize,
    pub(crate) cases: Vec<Rows>,
    pub(crate) growth: Rows,
    pub(crate) two_threads: Vec<State>,
    pub(crate) memory: Vec<Memory>,
    /// The parts that are missing, each with the reason.
    pub(crate) left_out: Vec<String>,
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        let mut cases = Map::new();
        cases.insert("machine".into(), self.machine.to_json());
        for case in &self.cases {
            cases.insert(case.case.into(), rows_json(case));
        }
        cases.insert(
            self.growth.case.into(),
            json!({ ours::NAME: rows_json(&self.growth) }),
        );
        let mut two_threads = json!({});
        for state in &self.two_threads {
            for (subject, threads) in &state.subjects {
                two_threads[*subject][state.name] = threads_json(*threads);
            }
        }
        cases.insert("two_threads".into(), two_threads);
        let mut memory = json!({});
        for layer in &self.memory {
            memory[layer.name][layer.window] = json!({
                "bytes_built": layer.built,
                "bytes_filled": layer.filled,
                "calls": layer.calls,
            });
        }
        cases.insert("memory".into(), memory);
        cases.into()
    }

    pub(crate) fn to_table(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}; medians of {} runs\n",
            self.machine.to_line(),
            self.runs
        );
        for case in self.cases.iter().chain([&self.growth]) {
            table_of_rows(&mut out, case);
        }
        for state in &self.two_threads {
            table_of_threads(&mut out, state);
        }
        table_of_memory(&mut out, &self.memory);
        for left_out in &self.left_out {
            let _ = writeln!(out, "left out: {left_out}");
        }
        out
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn rows_json(case: &Rows) -> Value {
    let rows = case.rows.iter().map(|row| {
        let figures = json!({
            "ns": rounded(row.ns),
            "ratio_to_bare": row.to_bare.map(rounded),
            "ratio_to_best_peer": row.to_best_peer.map(rounded),
            "instructions": row.instructions.map(rounded),
            "instructions_lto": row.instructions_lto.map(rounded),
            "allocations": rounded(row.allocations),
        });
        (row.name.to_owned(), figures)
    });
    Value::Object(rows.collect())
}

fn threads_json(threads: Threads) -> Value {
    json!({
        "one_thread_ns": rounded(threads.one),
        "two_threads_ns": rounded(threads.two),
        "speedup": rounded(threads.speedup()),
        "alone": rounded(threads.alone),
    })
}

/// A number with its decimals, or a dash.
fn cell(number: Option<f64>, decimals: usize) -> String {
    number.map_or_else(|| "-".into(), |number| format!("{number:.decimals$}"))
}

fn table_of_rows(out: &mut String, case: &Rows) {
    let _ = writeln!(
        out,
        "{:<42} {:>10} {:>9} {:>11} {:>12} {:>12} {:>7}",
        case.case, "ns/call", "x bare", "x best peer", "instructions", "by fat LTO", "allocs"
    );
    for row in &case.rows {
        let _ = writeln!(
            out,
            "  {:<40} {:>10} {:>9} {:>11} {:>12} {:>12} {:>7}",
            row.name,
            cell(Some(row.ns), 1),
            cell(row.to_bare, 1),
            cell(row.to_best_peer, 2),
            cell(row.instructions, 1),
            cell(row.instructions_lto, 1),
            cell(Some(row.allocations), 2),
        );
    }
    out.push('\n');
}

fn table_of_threads(out: &mut String, state: &State) {
    let _ = writeln!(
        out,
        "{:<42} {:>10} {:>9} {:>11} {:>12}",
        format!("two_threads, {}", state.name),
        "one: ns",
        "two: ns",
        "two / one",
        "alone"
    );
    for (name, threads) in &state.subjects {
        let _ = writeln!(
            out,
            "  {name:<40} {:>10.1} {:>9.1} {:>11.2} {:>12.2}",
            threads.one,
            threads.two,
            threads.speedup(),
            threads.alone,
        );
    }
    out.push('\n');
}

fn table_of_memory(out: &mut String, layers: &[Memory]) {
    let _ = writeln!(
        out,
        "{:<42} {:>26} {:>10} {:>10} {:>10}",
        "memory of one layer (bytes)", "", "built", "filled", "by calls"
    );
    for layer in layers {
        let _ = writeln!(
            out,
            "  {:<40} {:>26} {:>10} {:>10} {:>10}",
            layer.name, layer.window, layer.built, layer.filled, layer.calls
        );
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::cases;

    fn runs_of(case: &Case, times: &[fn(usize) -> f64]) -> Vec<Vec<CallCost>> {
        let run = |time: &fn(usize) -> f64| {
            let cost = |number| CallCost {
                ns: time(number),
                allocations: 0.0,
            };
            (0..case.entries.len()).map(cost).collect()
        };
        times.iter().map(run).collect()
    }

    #[test]
    fn a_ratio_is_one_within_a_run_and_the_median_of_the_runs() {
        let case = cases().swap_remove(0);
        let ours = case
            .entries
            .iter()
            .position(|entry| entry.role == Role::Ours);
        let ours = ours.expect("the case has ours");
        // The machine is ten times slower in the second run, and ours twice in the third.
        let runs = runs_of(
            &case,
            &[
                |number| if number == 0 { 1.0 } else { 10.0 },
                |number| if number == 0 { 10.0 } else { 100.0 },
                |number| if number == 2 { 20.0 } else { 2.0 },
            ],
        );
        assert_eq!(ours, 2, "the third run is of ours");
        let rows = Rows::new(&case, &runs, &Instructions::default());
        let row = &rows.rows[ours];
        assert_eq!(
            (row.ns, row.to_bare, row.to_best_peer),
            (20.0, Some(10.0), Some(1.0))
        );
        assert_eq!(row.instructions, None);
    }
}
