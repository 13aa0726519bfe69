//! The table at the end: what customers met with the layer and without it, side by side.

use std::{fmt::Write as _, time::Duration};

use crate::{
    report::{Counts, Entry},
    style::Style,
    timeline::{BROKEN, BY_HAND, Pace},
};

/// Renders the table. `without` is missing where a real partner was wrapped.
pub(crate) fn table(
    style: Style,
    pace: Pace,
    (with, entry): (&Counts, &Entry),
    without: Option<&Counts>,
) -> String {
    let mut table = Table {
        out: String::new(),
        style,
    };
    // Only the simulated outage has a day to compare with.
    let compared = |text: &'static str| if without.is_some() { text } else { "" };
    let spoken = |ms| match without {
        Some(_) => format!("{} = {}", seconds(ms), of_the_day(pace, ms)),
        None => seconds(ms),
    };

    table.head("with the layer", compared("without it"));
    let entered = entry.after_ms.map_or("never".into(), spoken);
    let by_hand = format!("by hand: {} min", (BY_HAND - BROKEN).as_secs() / 60);
    let by_hand = without.map_or("", |_| &by_hand);
    table.row("until maintenance", &entered, by_hand, Tone::Plain);
    if let Some(failures) = entry.after_failures {
        table.row(
            "  after failed calls",
            &failures.to_string(),
            "",
            Tone::Plain,
        );
    }
    table.gap();

    let mut both = |label: &str, tone: Tone, of: &dyn Fn(&Counts) -> String| {
        let without = without.map(of).unwrap_or_default();
        table.row(label, &of(with), &without, tone);
    };
    both("customers' requests", Tone::Plain, &|it| {
        it.requests.to_string()
    });
    both("  served", Tone::Plain, &|it| it.served.to_string());
    both("  refused cleanly", Tone::Plain, &|it| {
        it.refused.to_string()
    });
    both("  failed", Tone::Strong, &|it| it.failed.to_string());
    both("    error pages", Tone::Plain, &|it| {
        it.error_pages.to_string()
    });
    both("    time-outs", Tone::Plain, &|it| it.timeouts.to_string());
    both("    broken connections", Tone::Plain, &|it| {
        it.broken.to_string()
    });
    both("exempt traffic served", Tone::Plain, &|it| {
        format!("{} of {}", it.exempt_served, it.exempt_requests)
    });
    if without.is_some() {
        both("background calls refused", Tone::Plain, &|it| {
            it.job_refused.to_string()
        });
        both("typical wait in the outage", Tone::Plain, &|it| {
            format!("{:.1} ms", it.median_wait.as_secs_f64() * 1e3)
        });
        both("calls to the failing partner", Tone::Strong, &|it| {
            it.partner_calls_during_outage.to_string()
        });
    } else {
        both("calls to the partner", Tone::Plain, &|it| {
            it.partner_calls.to_string()
        });
    }
    both("  during maintenance", Tone::Plain, &|it| {
        it.partner_calls_during_maintenance.to_string()
    });
    both("  pings instead", Tone::Plain, &|it| it.probes.to_string());
    if without.is_some() {
        both("partner back, until served", Tone::Plain, &|it| {
            let after = it.recovered_after;
            after.map_or("never".into(), |after| spoken(after.as_millis() as i64))
        });
        both("stale prices shown then", Tone::Strong, &|it| {
            it.stale_prices.to_string()
        });
    }
    let told = match entry.signals {
        0 => "never".into(),
        1 => "once".into(),
        times => format!("{times} times"),
    };
    table.row("caches told", &told, compared("never"), Tone::Plain);
    table.row(
        "  generation",
        &entry.generation.to_string(),
        "",
        Tone::Plain,
    );
    table.out
}

fn seconds(ms: i64) -> String {
    format!("{:.2} s", ms as f64 / 1e3)
}

/// Minutes and seconds of the day that is replayed.
fn of_the_day(pace: Pace, ms: i64) -> String {
    let story = pace
        .story(Duration::from_millis(ms.unsigned_abs()))
        .as_secs();
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}:{:02} min", story / 60, story % 60)
}

struct Table {
    out: String,
    style: Style,
}

#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Strong,
}

impl Table {
    fn head(&mut self, with: &str, without: &str) {
        self.row("", with, without, Tone::Strong);
        let _ = writeln!(self.out, "  {}", "─".repeat(70));
    }

    fn row(&mut self, label: &str, with: &str, without: &str, tone: Tone) {
        let line = format!("  {label:<30}{with:>20}{without:>20}");
        let line = line.trim_end();
        let line = match tone {
            Tone::Plain => line.to_owned(),
            Tone::Strong => self.style.bold(line),
        };
        let _ = writeln!(self.out, "{line}");
    }

    fn gap(&mut self) {
        self.out.push('\n');
    }
}
