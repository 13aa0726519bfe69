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
    table.row("", "with the layer", "without it", Tone::Head);

    let entered = match entry.after_ms {
        Some(after) => spoken(pace, after),
        None => "never".into(),
    };
    let by_hand = format!("by hand: {} min", (BY_HAND - BROKEN).as_secs() / 60);
    table.row("until maintenance", &entered, &by_hand, Tone::Plain);
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
        both("typical wait in the outage", Tone::Plain, &|it| {
            format!("{:.1} ms", it.median_wait.as_secs_f64() * 1e3)
        });
        both("calls to the failing partner", Tone::Strong, &|it| {
            it.partner_calls_during_outage.to_string()
        });
    }
    both("  during maintenance", Tone::Plain, &|it| {
        it.partner_calls_during_maintenance.to_string()
    });
    both("  pings instead", Tone::Plain, &|it| it.probes.to_string());
    if without.is_some() {
        both("partner back, until served", Tone::Plain, &|it| {
            it.recovered_after.map_or("never".into(), |after| {
                spoken(pace, after.as_millis() as i64)
            })
        });
        both("stale prices shown then", Tone::Strong, &|it| {
            it.stale_prices.to_string()
        });
    }
    let told = match entry.signals {
        1 => "once".into(),
        times => format!("{times} times"),
    };
    table.row("caches told", &told, "never", Tone::Plain);
    table.row(
        "  generation",
        &entry.generation.to_string(),
        "",
        Tone::Plain,
    );
    table.out
}

/// In real time, and in that of the day.
fn spoken(pace: Pace, ms: i64) -> String {
    let story = pace
        .story(Duration::from_millis(ms.unsigned_abs()))
        .as_secs();
    let story = format!("{}:{:02} min", story / 60, story % 60);
    let sign = if ms < 0 { "-" } else { "" };
    format!(
        "{sign}{:.2} s = {sign}{story}",
        ms.unsigned_abs() as f64 / 1e3
    )
}

struct Table {
    out: String,
    style: Style,
}

#[derive(Clone, Copy)]
enum Tone {
    Head,
    Plain,
    Strong,
}

impl Table {
    fn row(&mut self, label: &str, with: &str, without: &str, tone: Tone) {
        let line = format!("  {label:<30}{with:>20}{without:>20}");
        let line = match tone {
            Tone::Head => format!("{}\n  {}", self.style.bold(&line), "─".repeat(70)),
            Tone::Plain => line,
            Tone::Strong => self.style.bold(&line),
        };
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    fn gap(&mut self) {
        self.out.push('\n');
    }
}
