//! What a call through tower-maintenance costs, beside its peers, as measured here and now.
//!
//! ```text
//! cargo run --release -p peers [-- --quick] [--json]
//! cargo run --release -p peers -- --check-instructions
//! ```
//!
//! | case | what |
//! |---|---|
//! | `admitted` | a call that passes; every breaker has 10,000 calls behind it, and has just tripped and recovered |
//! | `refused` | a call to a breaker that failing calls have tripped: its wait is pending |
//! | `refused_held` | a call refused by an operator's hold without expiry: no deadline is pending |
//! | `exempt` | a call exempt by one of 1,000 path patterns; `bare` is the bare matcher before the partner |
//! | `http` | an HTTP call that passes and is judged by its head, for its answer has no body |
//! | `axum` | a request through an axum router with the layer before its routes; `bare` is the router without, beside it with a layer that does nothing |
//! | `axum_served` | the same in a real server, over a connection that is kept, on one core; most of its time is the kernel's |
//! | `growth` | an admitted call with larger windows, subscribers, readers |
//! | `two_threads` | two threads on one layer against one, by wall clock: `bare` shows what the machine allows, at most 2; `alone` is the share of time in which only one of them ran, 0 where the machine is idle |
//! | `memory` | the bytes of one layer |
//!
//! The partner is a ready future. One call goes from `poll_ready` to the answer on one thread, without a runtime.
//! Subjects of a case are measured in turns, many short times each, and the median counts. Nanoseconds move with
//! whatever else the machine does; instructions hardly do. Every breaker must first trip and recover; one that
//! does not ends the run.
//!
//! JSON: `{case: {subject: {ns, ratio_to_bare, ratio_to_best_peer, instructions, allocations}}}`, each of one call;
//! what is not known is null. `growth` has `{"tower-maintenance": {what: {..as above..}}}`, `two_threads`
//! `{subject: {admitted, refused: {one_thread_ns, two_threads_ns, speedup, alone}}}`, and `memory`
//! `{subject: {window: {bytes_built, bytes_filled, calls}}}`.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures real time, and waits for real breakers to recover"
)]

#[path = "../../support/alloc.rs"]
mod alloc;
mod baseline;
mod cases;
mod instructions;
mod measure;
mod ours;
mod peers;
mod proof;
mod report;
mod router;
mod served;
mod subject;

use std::{env, process::ExitCode};

use crate::{
    measure::Effort,
    report::{Report, Rows},
};

const USAGE: &str = "usage: peers [--quick] [--json]
       peers --check-instructions | --write-instructions

Prints what a call through tower-maintenance costs beside its peers, as measured now.

  --quick               less exact, within a minute
  --json                {case: {subject: {ns, ratio_to_bare, instructions, allocations}}}, and more

  --check-instructions  fails if a call takes more instructions than benches/peers/instructions.json allows
  --write-instructions  writes that file anew; both need valgrind, and a release build";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    if let [command, rest @ ..] = arguments {
        match command.as_str() {
            instructions::COMMAND => return instructions::run(rest),
            served::COMMAND => return served::client(rest),
            _ => {}
        }
    }
    match arguments {
        [only] if only == baseline::CHECK => return baseline::check(),
        [only] if only == baseline::WRITE => return baseline::write(),
        _ => {}
    }
    let (mut effort, mut as_json) = (Effort::FULL, false);
    for argument in arguments {
        match argument.as_str() {
            "--quick" => effort = Effort::QUICK,
            "--json" => as_json = true,
            "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            unknown => return Err(format!("what is `{unknown}`?\n{USAGE}")),
        }
    }
    if cfg!(debug_assertions) {
        eprintln!("peers: not a release build: the numbers say nothing");
    }
    let report = measured(effort)?;
    if as_json {
        println!("{:#}", report.to_json());
        for left_out in &report.left_out {
            eprintln!("peers: left out: {left_out}");
        }
    } else {
        print!("{}", report.to_table());
    }
    Ok(())
}

fn measured(effort: Effort) -> Result<Report, String> {
    let mut left_out = Vec::new();
    let counting = instructions::can_be_counted();
    if !counting {
        left_out.push("instructions: valgrind is not installed");
    }
    let rows = |case: &cases::Case| {
        let costs = measure::calls(case, effort)?;
        let counted = counting
            .then(|| instructions::calls(case, effort))
            .transpose()?;
        Ok::<_, String>(Rows::new(case, &costs, counted.as_deref()))
    };
    // First, so that nobody frees what an earlier case left behind.
    let memory = measure::memory();
    Ok(Report {
        memory,
        cases: cases::cases().iter().map(rows).collect::<Result<_, _>>()?,
        growth: rows(&cases::growth())?,
        two_threads: measure::two_threads(effort)?,
        left_out,
    })
}
