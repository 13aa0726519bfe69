//! The billing outage of 31 July 2024, replayed with and without the layer.
//!
//! ```text
//! cargo run --example outage --features axum,testing
//! cargo run --example outage --features axum,testing -- --json --speed 2
//! ```
//!
//! A real HTTP partner that degrades by script, a real billing app in front of it, and many real
//! HTTP customers, all on loopback. Two runs go on side by side, with the same seed and the same
//! visits. In one the app has the layer in both places, in the other it has none.
//!
//! To see how the layer is put into an app, read `app.rs`; the rest is the stage:
//!
//! | file | what |
//! |---|---|
//! | `app.rs` | the billing app, and the layer in it |
//! | `timeline.rs` | the day, its pace, the policy |
//! | `crowd.rs` | the customers |
//! | `ledger.rs` | the calls that left for the partner |
//! | `run.rs` | one run of all these |
//! | `report.rs`, `promises.rs` | what came of it, and whether it is what the crate promises |
//! | `display.rs`, `table.rs`, `style.rs` | what is shown |
//! | `args.rs` | the command line |

mod app;
mod args;
mod crowd;
mod display;
mod ledger;
mod promises;
mod report;
mod run;
mod style;
mod table;
mod timeline;

use std::{
    io::{Write, stdout},
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use tower::BoxError;

use crate::{
    args::{Args, HELP, Stand, Wish},
    crowd::{Manners, visits},
    display::Display,
    report::{Counts, Entry},
    run::{Books, Plan, Run},
    style::Style,
    timeline::{ENDS, Pace, now},
};

/// How many requests the customers make in 75 minutes, whatever the speed.
const VISITS: usize = 1200;
/// The same where a real partner answers them: politely few.
const VISITS_TO_A_REAL_PARTNER: usize = 200;
/// A machine on which customers come later than this does not replay what was planned.
const TOO_LATE: Duration = Duration::from_millis(250);

#[tokio::main]
async fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(Wish::Run(args)) => args,
        Ok(Wish::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}\nFor more: --help");
            return ExitCode::from(2);
        }
    };
    let ended = tokio::select! {
        ended = replay(&args) => ended,
        _ = tokio::signal::ctrl_c() => {
            eprintln!();
            return ExitCode::from(130);
        }
    };
    match ended {
        Ok(broken) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(broken) => {
            for promise in broken {
                eprintln!("BROKEN: {promise}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the day, tells what came of it, and returns the promises that were broken.
async fn replay(args: &Args) -> Result<Vec<String>, BoxError> {
    let pace = Pace::new(args.speed);
    let (count, manners) = match args.partner {
        None => (VISITS, Manners::ReadAndWrite),
        Some(_) => (VISITS_TO_A_REAL_PARTNER, Manners::ReadOnly),
    };
    let plan = Plan {
        pace,
        seed: args.seed,
        visits: visits(args.seed, count, pace.real(ENDS), manners).into(),
        partner: args.partner.clone(),
    };
    let (with, without) = play(&plan, args.layer).await?;

    let maintenance = report::maintenance(&with, pace);
    let counts = Counts::of(&with, pace, &maintenance);
    let without = without.map(|books| Counts::of(&books, pace, &maintenance));
    let layer = with
        .layer
        .as_ref()
        .ok_or("the run with the layer has one")?;
    let entry = Entry::of(&with, layer, &counts, pace);

    let mut report = counts.json();
    entry.json(pace, &mut report);
    report["without"] = without.as_ref().map_or(Value::Null, Counts::json);
    report["disagreements"] = report::disagreements(&with, layer, &counts).into();
    report["speed"] = args.speed.into();
    report["seed"] = args.seed.into();
    report["layer"] = args.layer.name().into();
    report["partner"] = match &args.partner {
        None => "simulated".into(),
        Some(url) => url.to_string().into(),
    };
    report["took_ms"] = json!((with.ended - with.began).as_millis() as u64);
    let broken = promises::broken(&report);
    if !broken.is_empty() && counts.latest > TOO_LATE {
        eprintln!(
            "This machine was too busy to tell: customers came up to {} ms late. Try again, or \
             with a smaller --speed.",
            counts.latest.as_millis()
        );
    }
    report["broken_promises"] = json!(broken);

    let mut out = stdout().lock();
    if args.json {
        writeln!(out, "{report}")?;
    } else {
        let style = Style::of(&stdout());
        let table = table::table(style, pace, (&counts, &entry), without.as_ref());
        writeln!(out, "\n{table}")?;
        if let Some(evidence) = &entry.evidence {
            writeln!(out, "  It entered maintenance because {evidence}.\n")?;
        }
        for line in pace.describe().lines() {
            writeln!(out, "  {}", style.dim(line))?;
        }
    }
    Ok(broken)
}

/// Both runs at the same time, so that neither has the machine to itself.
async fn play(plan: &Plan, stand: Stand) -> Result<(Books, Option<Books>), BoxError> {
    let with = Run::open(plan, Some(stand)).await?;
    let without = match plan.partner {
        None => Some(Run::open(plan, None).await?),
        Some(_) => None,
    };

    let began: Instant = now();
    let mut display = Display::new(plan, &with);
    let crowds = async {
        match &without {
            Some(without) => {
                tokio::join!(with.begin(plan, began), without.begin(plan, began));
            }
            None => with.begin(plan, began).await,
        }
    };
    tokio::select! {
        () = crowds => {}
        () = display.show(&with, without.as_ref(), began) => {}
    }
    display.look(&with, without.as_ref(), began);
    drop(display);

    let without = match without {
        Some(without) => Some(without.close(began).await?),
        None => None,
    };
    Ok((with.close(began).await?, without))
}
