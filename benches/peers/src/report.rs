//! What was measured, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::{
    cases::{Case, Role},
    measure::{CallCost, Memory, Threads, TwoThreads},
};

/// A subject of a case, measured.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    ns: f64,
    to_bare: Option<f64>,
    to_best_peer: Option<f64>,
    instructions: Option<f64>,
    allocations: f64,
}

/// A case, measured.
#[derive(Debug)]
pub(crate) struct Rows {
    case: &'static str,
    rows: Vec<Row>,
}

impl Rows {
    pub(crate) fn new(case: &Case, costs: &[CallCost], instructions: Option<&[f64]>) -> Self {
        let of = |role: Role| {
            let of_role = case.entries.iter().zip(costs);
            of_role
                .filter(move |(entry, _)| entry.role == role)
                .map(|(_, cost)| cost.ns)
                .min_by(f64::total_cmp)
        };
        let (bare, best_peer) = (of(Role::Bare), of(Role::Peer));
        let row = |number: usize, cost: &CallCost| Row {
            name: case.entries[number].name,
            ns: cost.ns,
            to_bare: bare.map(|bare| cost.ns / bare),
            to_best_peer: best_peer.map(|best| cost.ns / best),
            instructions: instructions.map(|counted| counted[number]),
            allocations: cost.allocations,
        };
        Self {
            case: case.name,
            rows: costs
                .iter()
                .enumerate()
                .map(|(number, cost)| row(number, cost))
                .collect(),
        }
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) cases: Vec<Rows>,
    pub(crate) growth: Rows,
    pub(crate) two_threads: Vec<TwoThreads>,
    pub(crate) memory: Vec<Memory>,
    /// What is missing, and why.
    pub(crate) left_out: Vec<&'static str>,
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        let mut cases = Map::new();
        for case in &self.cases {
            cases.insert(case.case.into(), rows_json(case));
        }
        cases.insert(
            self.growth.case.into(),
            json!({ crate::ours::NAME: rows_json(&self.growth) }),
        );
        let two_threads: Map<_, _> = (self.two_threads.iter())
            .map(|subject| {
                let refused = subject.refused.map(threads_json);
                let both = json!({"admitted": threads_json(subject.admitted), "refused": refused});
                (subject.name.into(), both)
            })
            .collect();
        cases.insert("two_threads".into(), two_threads.into());
        let mut memory = Map::new();
        for layer in &self.memory {
            let subject = memory.entry(layer.name).or_insert_with(|| json!({}));
            subject[layer.window] = json!({
                "bytes_built": layer.built,
                "bytes_filled": layer.filled,
                "calls": layer.calls,
            });
        }
        cases.insert("memory".into(), memory.into());
        cases.into()
    }

    pub(crate) fn to_table(&self) -> String {
        let mut out = String::new();
        for case in self.cases.iter().chain([&self.growth]) {
            table_of_rows(&mut out, case);
        }
        table_of_threads(&mut out, &self.two_threads);
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
        "speedup": rounded(threads.one / threads.two),
        "alone": rounded(threads.alone),
    })
}

/// A number with so many decimals, or a dash.
fn cell(number: Option<f64>, decimals: usize) -> String {
    number.map_or_else(|| "-".into(), |number| format!("{number:.decimals$}"))
}

fn table_of_rows(out: &mut String, case: &Rows) {
    let _ = writeln!(
        out,
        "{:<40} {:>10} {:>9} {:>11} {:>12} {:>7}",
        case.case, "ns/call", "x bare", "x best peer", "instructions", "allocs"
    );
    for row in &case.rows {
        let _ = writeln!(
            out,
            "  {:<38} {:>10} {:>9} {:>11} {:>12} {:>7}",
            row.name,
            cell(Some(row.ns), 1),
            cell(row.to_bare, 1),
            cell(row.to_best_peer, 2),
            cell(row.instructions, 1),
            cell(Some(row.allocations), 2),
        );
    }
    out.push('\n');
}

fn table_of_threads(out: &mut String, subjects: &[TwoThreads]) {
    let _ = writeln!(
        out,
        "{:<40} {:>10} {:>9} {:>8} {:>6}   {:>10} {:>9} {:>8} {:>6}",
        "two_threads (wall ns/call)",
        "admitted 1",
        "2",
        "speedup",
        "alone",
        "refused 1",
        "2",
        "speedup",
        "alone"
    );
    for subject in subjects {
        let cells = |threads: Option<Threads>| {
            [
                cell(threads.map(|threads| threads.one), 1),
                cell(threads.map(|threads| threads.two), 1),
                cell(threads.map(|threads| threads.one / threads.two), 2),
                cell(threads.map(|threads| threads.alone), 2),
            ]
        };
        let ([a, b, c, d], [e, f, g, h]) = (cells(Some(subject.admitted)), cells(subject.refused));
        let _ = writeln!(
            out,
            "  {:<38} {a:>10} {b:>9} {c:>8} {d:>6}   {e:>10} {f:>9} {g:>8} {h:>6}",
            subject.name
        );
    }
    out.push('\n');
}

fn table_of_memory(out: &mut String, layers: &[Memory]) {
    let _ = writeln!(
        out,
        "{:<40} {:>26} {:>10} {:>10} {:>10}",
        "memory of one layer (bytes)", "", "built", "filled", "by calls"
    );
    for layer in layers {
        let _ = writeln!(
            out,
            "  {:<38} {:>26} {:>10} {:>10} {:>10}",
            layer.name, layer.window, layer.built, layer.filled, layer.calls
        );
    }
    out.push('\n');
}
