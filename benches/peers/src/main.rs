//! What a call through tower-maintenance costs, beside its peers, measured here and now.
//!
//! ```text
//! cargo run --release -p peers [-- --quick] [--json]
//! cargo run --release -p peers -- --check-instructions
//! ```
//!
//! The cases, and what the calls of each do:
//!
//! - `waiting`: they pass, and are answered at the second poll, as every call over a network is
//!   answered at a later poll. Every breaker has just tripped and recovered, and has 10,000 calls
//!   behind it.
//! - `waiting_coarse`: the same with a coarser clock, where a crate lets the user choose one.
//! - `waiting_http`: HTTP calls that pass. The headers are waited for, and then each of the two
//!   frames of the body. `bare` is the client alone. No peer follows a body, so none stands beside.
//! - `cold`: as `waiting`, through 1,000 breakers in turn, each with 20 calls behind it. `bare` is
//!   1,000 partners in turn.
//! - `refused`: they are refused by a breaker that failing calls have tripped. Its wait is pending.
//! - `refused_held`: they are refused by an operator's hold without expiry. No deadline is pending.
//! - `admitted`: they pass, and are answered at the first poll.
//! - `admitted_coarse`: the same with a coarser clock.
//! - `http`: HTTP calls that pass, answered at the first poll and judged by the head alone, because
//!   the answer has no body.
//! - `exempt`: they are exempt by one of 1,000 path patterns. `bare` is the bare matcher before the
//!   partner.
//! - `axum`: requests through an axum router with the layer before its routes. `bare` is the router
//!   without; a layer that does nothing stands beside.
//! - `axum_served`: the same in a real server, over a connection that is kept, on one core. The
//!   client is not measured. The kernel takes most of the time.
//! - `growth`: as `waiting`, with larger windows, subscribers, readers.
//! - `two_threads`: two threads on one layer against one, by wall clock. `bare` shows the limit of
//!   the machine, at most 2. `alone` is the share of time in which only one of them ran, 0 where
//!   the machine is idle.
//! - `memory`: the bytes of one layer; no calls are timed.
//!
//! The partner is always ready. A call goes from `poll_ready` to the answer on one thread. Only
//! `waiting_http` is in a tokio runtime, because a body that is waited for has a timer there. Every
//! breaker must first trip and recover; one that does not ends the program.
//!
//! Subjects of a case are measured in turns, many short times each, and the median counts. All
//! cases run five times, each time with new subjects, and the medians of the five are printed. A
//! ratio is taken within a run. The time is the thread's CPU time; that of two threads is wall
//! time. Other load on the machine changes both, because it takes cache space. It hardly changes
//! the number of instructions.
//!
//! Instructions are counted in this build, by cargo's default release profile, and in one by fat
//! LTO in one codegen unit (profile `release-lto`), which this program lets cargo make. Neither has
//! tokio's feature `test-util`. Every breaker is used with two partners here, so the compiler
//! inlines less of it than in a program with one: recloser counts 252 instructions in `waiting`
//! without the at-once cases, 276 with them. A program that calls several services is compiled in
//! the same way.
//!
//! JSON: `{case: {subject: {ns, ratio_to_bare, ratio_to_best_peer, instructions, instructions_lto,
//! allocations}}}`, each of one call; unknown values are null. `growth` has `{"tower-maintenance":
//! {shape: {the same}}}`, `two_threads` `{subject: {waiting, admitted, refused: {one_thread_ns,
//! two_threads_ns, speedup, alone}}}`, `memory` `{subject: {window: {bytes_built, bytes_filled,
//! calls}}}`, and `machine` `{processor, cores, rustc, load, tokio_test_util}`.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures real time, and waits for real breakers to recover"
)]

#[path = "../../support/alloc.rs"]
mod alloc;
mod baseline;
mod cases;
mod cold;
mod http_calls;
mod instructions;
mod lto;
mod machine;
mod measure;
mod memory;
mod ours;
mod partner;
mod peers;
mod proof;
mod report;
mod router;
mod served;
mod subject;
mod threads;

use std::{env, process::ExitCode};

use crate::{
    cases::Case,
    machine::Machine,
    measure::Effort,
    report::{Instructions, Report, Rows},
};

const USAGE: &str = "usage: peers [--quick] [--json]
       peers --check-instructions | --write-instructions

Prints what a call through tower-maintenance costs beside its peers, measured now.

  --quick               less exact, within a minute, without a build by fat LTO
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
            unknown => return Err(format!("unknown argument `{unknown}`\n{USAGE}")),
        }
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
    if cfg!(debug_assertions) {
        eprintln!("peers: not a release build: its numbers mean nothing");
    }
    if machine::has_test_util() {
        eprintln!(
            "peers: built with tokio's feature `test-util`: a user's build has other numbers"
        );
    }
    let machine = Machine::here();
    // First, so that no memory of an earlier case is freed meanwhile.
    let memory = memory::measured();
    let mut cases = cases::cases();
    cases.push(cases::growth());
    let (mut costs, mut two_threads) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        let run = cases.iter().map(|case| measure::calls(case, effort));
        costs.push(run.collect::<Result<Vec<_>, _>>()?);
        two_threads.push(threads::run(effort)?);
    }
    let (instructions, left_out) = counted(&cases, effort)?;
    let mut rows = Vec::new();
    for (number, (case, instructions)) in cases.iter().zip(&instructions).enumerate() {
        let runs: Vec<_> = costs.iter().map(|run| run[number].clone()).collect();
        rows.push(Rows::new(case, &runs, instructions));
    }
    Ok(Report {
        machine,
        runs: effort.runs,
        growth: rows.pop().expect("the growth case is the last"),
        cases: rows,
        two_threads: report::threads(&two_threads),
        memory,
        left_out,
    })
}

/// The instructions of each case, and the counts that are missing with the reason.
fn counted(cases: &[Case], effort: Effort) -> Result<(Vec<Instructions>, Vec<String>), String> {
    let mut all: Vec<_> = cases.iter().map(|_| Instructions::default()).collect();
    if !instructions::can_be_counted() {
        return Ok((all, vec!["instructions: valgrind is not installed".into()]));
    }
    let program = instructions::this_program()?;
    let (lto, left_out) = match effort.lto.then(lto::build) {
        None => (None, vec!["fat LTO: a quick run has none".into()]),
        Some(Err(error)) => (None, vec![format!("fat LTO: {error}")]),
        Some(Ok(program)) => (Some(program), Vec::new()),
    };
    for (case, counted) in cases.iter().zip(&mut all) {
        counted.release = Some(instructions::calls(&program, case, effort)?);
        let lto = lto
            .as_deref()
            .map(|program| instructions::calls(program, case, effort));
        counted.lto = lto.transpose()?;
    }
    Ok((all, left_out))
}
