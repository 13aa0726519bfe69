//! The live display: both runs side by side while they go on.
//!
//! It is lines of text and a few escape sequences, because each example compiles all
//! dev-dependencies of its package. Where standard error is no terminal, it prints plain lines
//! instead.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _, stderr},
    time::Duration,
};

use tokio::time::{Instant, interval};
use tower_maintenance::{EventKind, Events, Mode, testing::Phase};

use crate::{
    crowd::{Account, Met},
    run::{Plan, Run},
    style::Style,
    timeline::{ENDS, clock, now},
};

/// Into how many columns the day is cut: one for a minute and a half.
const COLUMNS: usize = 50;
const LABEL: usize = 20;

/// What is shown while the runs go on.
pub(crate) struct Display {
    plan: Plan,
    screen: Screen,
    events: Option<Events>,
    /// When the layer was in which mode.
    modes: Vec<(Duration, Mode)>,
    told_phase: Option<Phase>,
}

enum Screen {
    /// Redrawn in place; how many lines stand there.
    Live { lines: usize, style: Style },
    /// One line whenever something happens.
    Plain,
}

impl Display {
    pub(crate) fn new(plan: &Plan, with: &Run) -> Self {
        let screen = if stderr().is_terminal() {
            // Without wrapping: a line that is too long for a narrow window must not become two.
            eprint!("\x1b[?25l\x1b[?7l");
            Screen::Live {
                lines: 0,
                style: Style::of(&stderr()),
            }
        } else {
            Screen::Plain
        };
        Self {
            plan: plan.clone(),
            screen,
            events: with.layer.as_ref().map(|layer| layer.events()),
            modes: Vec::new(),
            told_phase: None,
        }
    }

    /// Shows how things stand until it is dropped.
    pub(crate) async fn show(&mut self, with: &Run, without: Option<&Run>, began: Instant) {
        let mut frame = interval(Duration::from_millis(match self.screen {
            Screen::Live { .. } => 100,
            Screen::Plain => 20,
        }));
        loop {
            frame.tick().await;
            self.look(with, without, began);
        }
    }

    /// One look: a frame, or a line if there is news.
    pub(crate) fn look(&mut self, with: &Run, without: Option<&Run>, began: Instant) {
        let story = self.plan.pace.story(now() - began).min(ENDS);
        self.news(story, with);
        if let Screen::Live { lines, style } = &mut self.screen {
            let frame = frame(*style, story, &self.plan, with, without, &self.modes);
            let mut out = String::new();
            if *lines > 0 {
                let _ = write!(out, "\x1b[{lines}A");
            }
            for line in frame.lines() {
                let _ = writeln!(out, "\r{line}\x1b[K");
            }
            *lines = frame.lines().count();
            let mut stderr = stderr().lock();
            // A display that cannot be drawn is no reason to stop the run.
            let _ = stderr.write_all(out.as_bytes());
            let _ = stderr.flush();
        }
    }

    fn news(&mut self, story: Duration, with: &Run) {
        let phase = with.phase();
        if phase != self.told_phase {
            self.told_phase = phase;
            if let Some(phase) = phase {
                self.line(story, &told(phase));
            }
        }
        let Some(mut events) = self.events.take() else {
            return;
        };
        let mut trip = None;
        while let Some(event) = events.try_recv() {
            match event.kind {
                EventKind::Tripped { evidence, .. } => trip = Some(evidence),
                EventKind::ModeChanged { from, to, .. } => {
                    self.modes.push((story, to));
                    match (from, to) {
                        // The event that says why comes before.
                        (Mode::Serving, _) => {
                            let why = trip.map(|why| format!(": {why}")).unwrap_or_default();
                            self.line(story, &format!("the layer enters maintenance{why}"));
                        }
                        (_, Mode::Serving) => {
                            self.line(story, "the layer is serving again, and tells the caches");
                        }
                        // It looks every other minute whether the partner is back.
                        (_, Mode::Probing | Mode::Maintenance) => {}
                    }
                }
                _ => {}
            }
        }
        self.events = Some(events);
    }

    fn line(&self, story: Duration, what: &str) {
        if let Screen::Plain = self.screen {
            eprintln!("{}  {what}", time(&self.plan, story));
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Screen::Live { .. } = self.screen {
            eprint!("\x1b[?25h\x1b[?7h");
        }
    }
}

fn frame(
    style: Style,
    story: Duration,
    plan: &Plan,
    with: &Run,
    without: Option<&Run>,
    modes: &[(Duration, Mode)],
) -> String {
    let mut out = String::new();
    let title = match &plan.partner {
        None => format!(
            "The billing outage of 31 July 2024, {:.0} times as fast",
            plan.pace.factor()
        ),
        Some(url) => format!("The layer around {url}"),
    };
    let time = time(plan, story);
    let gap = 76_usize.saturating_sub(title.len() + time.len());
    let _ = writeln!(
        out,
        "\n  {}{:gap$}{}\n",
        style.bold(&title),
        "",
        style.bold(&time)
    );

    if let Some(phase) = with.phase() {
        let ticks = (0..5).map(|tick| format!("{:<10}", clock(ENDS * tick / 5)));
        row(&mut out, "", &ticks.collect::<String>(), &clock(ENDS));
        let outage = plan.pace.outage().ok();
        let ribbon = ribbon(story, |at| match &outage {
            Some(outage) => phase_mark(style, outage.phase_at(plan.pace.real(at))),
            None => " ".into(),
        });
        row(&mut out, "the partner", &ribbon, short(phase));
        out.push('\n');
    }

    let mode = with.layer.as_ref().map(|layer| layer.mode());
    let ribbon = ribbon(story, |at| {
        let began = modes.partition_point(|(since, _)| *since <= at);
        let mode = began
            .checked_sub(1)
            .map_or(Mode::Serving, |last| modes[last].1);
        mode_mark(style, mode)
    });
    row(&mut out, "with the layer", &ribbon, &shown(style, mode));
    let accounts = with.crowd.accounts();
    failures(&mut out, style, story, plan, &accounts);
    if let Some(without) = without {
        row(&mut out, "without it", "", "");
        failures(&mut out, style, story, plan, &without.crowd.accounts());
    }

    let _ = writeln!(
        out,
        "\n  {:LABEL$}{:>8}{:>9}{:>8}{:>12}{:>16}",
        "", "served", "refused", "failed", "exempt", "partner called",
    );
    counters(&mut out, style, "with the layer", &accounts, with.calls());
    if let Some(without) = without {
        counters(
            &mut out,
            style,
            "without it",
            &without.crowd.accounts(),
            without.calls(),
        );
    }
    if let Some(layer) = &with.layer {
        let sentence: String = layer.status().to_string().chars().take(76).collect();
        let _ = writeln!(out, "\n  {}", style.dim(&sentence));
    }
    out
}

/// The time of the day that is replayed; of a real partner, how long it has been going on.
fn time(plan: &Plan, story: Duration) -> String {
    match plan.partner {
        None => format!("{} UTC", clock(story)),
        Some(_) => format!("{:4.1} s", plan.pace.real(story).as_secs_f64()),
    }
}

fn row(out: &mut String, label: &str, ribbon: &str, end: &str) {
    let _ = writeln!(out, "  {label:<LABEL$}{ribbon} {end}");
}

/// One mark a column, up to now.
fn ribbon(story: Duration, mark: impl Fn(Duration) -> String) -> String {
    let middle = |column: usize| ENDS.mul_f64((column as f64 + 0.5) / COLUMNS as f64);
    (0..COLUMNS)
        .map(|column| {
            if middle(column) <= story {
                mark(middle(column))
            } else {
                "·".into()
            }
        })
        .collect()
}

fn phase_mark(style: Style, phase: Phase) -> String {
    match phase {
        Phase::Healthy => style.green("─"),
        Phase::Slow { .. } => style.yellow("░"),
        Phase::Flapping { .. } => style.red("▒"),
        Phase::Failing { .. } | Phase::FailingWith200 { .. } => style.red("▓"),
        _ => style.red("█"),
    }
}

/// In words.
fn told(phase: Phase) -> String {
    match phase {
        Phase::Healthy => "the partner is well".into(),
        Phase::Slow { .. } => "the partner is slow".into(),
        Phase::Failing { share, status } => {
            format!(
                "the partner answers {:.0} % of calls with {status}",
                share * 100.0
            )
        }
        Phase::FailingWith200 { share } => {
            format!(
                "the partner answers {:.0} % of calls with 200, and `success: false`",
                share * 100.0
            )
        }
        Phase::Flapping { .. } => "the partner flaps: well, failing, well again".into(),
        Phase::Hanging => "the partner hangs: it takes calls, and never answers".into(),
        Phase::ResetMidBody => "the partner breaks off amid its answers".into(),
        other => format!("the partner: {other}"),
    }
}

/// In a word.
fn short(phase: Phase) -> &'static str {
    match phase {
        Phase::Healthy => "healthy",
        Phase::Slow { .. } => "slow",
        Phase::Flapping { .. } => "flapping",
        Phase::Failing { .. } => "failing",
        Phase::FailingWith200 { .. } => "200, failing",
        Phase::Hanging => "hanging",
        Phase::ResetMidBody => "resetting",
        _ => "down",
    }
}

fn mode_mark(style: Style, mode: Mode) -> String {
    match mode {
        Mode::Serving => style.green("─"),
        Mode::Maintenance => style.red("█"),
        Mode::Probing => style.yellow("▒"),
    }
}

fn shown(style: Style, mode: Option<Mode>) -> String {
    match mode {
        Some(Mode::Serving) => style.green("serving"),
        Some(Mode::Maintenance) => style.red("maintenance"),
        Some(Mode::Probing) => style.yellow("probing"),
        None => String::new(),
    }
}

/// The failure rate of the requests that needed the partner, as a sparkline.
fn failures(out: &mut String, style: Style, story: Duration, plan: &Plan, accounts: &[Account]) {
    let mut columns = [(0_u32, 0_u32); COLUMNS];
    for account in accounts
        .iter()
        .filter(|account| !account.visit.errand.is_exempt())
    {
        let share = plan.pace.story(account.visit.at).as_secs_f64() / ENDS.as_secs_f64();
        let column = ((share * COLUMNS as f64) as usize).min(COLUMNS - 1);
        columns[column].0 += 1;
        columns[column].1 += u32::from(matches!(account.met, Met::Failed(_)));
    }
    let mut last = 0.0;
    let sparkline: String = columns
        .iter()
        .enumerate()
        .map(|(column, (total, failed))| {
            let begins = ENDS.mul_f64(column as f64 / COLUMNS as f64);
            if *total == 0 {
                return if begins <= story {
                    " ".into()
                } else {
                    "·".into()
                };
            }
            let rate = f64::from(*failed) / f64::from(*total);
            last = rate;
            let level = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"][(rate * 7.0).round() as usize];
            match rate {
                0.0 => style.green(level),
                rate if rate < 0.5 => style.yellow(level),
                _ => style.red(level),
            }
        })
        .collect();
    row(
        out,
        "  customers failed",
        &sparkline,
        &format!("{:.0} %", last * 100.0),
    );
}

fn counters(out: &mut String, style: Style, label: &str, accounts: &[Account], calls: usize) {
    let count = |wanted: &dyn Fn(&Account) -> bool| accounts.iter().filter(|it| wanted(it)).count();
    let served = |account: &Account| matches!(account.met, Met::Served { .. });
    let exempt = |account: &Account| account.visit.errand.is_exempt();
    let failed = count(&|account| matches!(account.met, Met::Failed(_)));
    let exempt = format!(
        "{}/{}",
        count(&|account| exempt(account) && served(account)),
        count(&exempt),
    );
    let failed = match failed {
        0 => format!("{failed:>8}"),
        _ => style.red(&format!("{failed:>8}")),
    };
    let _ = writeln!(
        out,
        "  {label:<LABEL$}{:>8}{:>9}{failed}{exempt:>12}{:>16}",
        count(&served),
        count(&|account| account.met == Met::Refused),
        format!("{calls} times"),
    );
}
