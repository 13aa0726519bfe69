//! What the books of a run come to, and whether they agree.
//!
//! The customers' accounts and the partner's own log are what counts. The layer's numbers are only
//! compared with them: a layer that miscounts must not be able to hide it here.

use std::{
    ops::{Range, RangeInclusive},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use tower_maintenance::{
    Cause, Mode,
    testing::{CallEnd, CallRecord},
};

use crate::{
    crowd::{Account, Fault, Met},
    ledger::{self, By},
    run::{Books, Change, LayerBook, OLD_PRICE},
    timeline::{BACK, BROKEN, BY_HAND, Pace, SLOW},
};

/// One run in numbers.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: usize,
    pub(crate) served: usize,
    pub(crate) refused: usize,
    pub(crate) failed: usize,
    pub(crate) error_pages: usize,
    pub(crate) timeouts: usize,
    pub(crate) broken: usize,
    /// The requests that never got an answer of the app.
    pub(crate) unanswered: usize,
    pub(crate) exempt_requests: usize,
    pub(crate) exempt_served: usize,
    pub(crate) exempt_refused: usize,
    pub(crate) refused_while_healthy: usize,
    pub(crate) stale_prices: usize,
    /// The median wait of the requests that needed the partner, during the outage.
    pub(crate) median_wait: Duration,
    pub(crate) job_refused: usize,
    /// The app's calls in the partner's log; those that left for a partner without a log.
    pub(crate) partner_calls: usize,
    pub(crate) partner_calls_during_outage: usize,
    pub(crate) partner_calls_during_maintenance: usize,
    pub(crate) probes: usize,
    /// How late the latest visit began: what the machine was too busy for.
    pub(crate) latest: Duration,
    /// The time from the partner's return until it served a customer.
    pub(crate) recovered_after: Option<Duration>,
}

/// What only a run with the layer has.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Since the partner broke; before it did if negative.
    pub(crate) after_ms: Option<i64>,
    pub(crate) after_failures: Option<usize>,
    pub(crate) automatically: bool,
    /// What it tripped on, in the layer's words.
    pub(crate) evidence: Option<String>,
    /// The status of the last failure it tripped on.
    pub(crate) last_status: Option<u16>,
    pub(crate) recovered: bool,
    pub(crate) signals: usize,
    pub(crate) generation_before: u64,
    pub(crate) generation: u64,
    pub(crate) episodes: usize,
}

/// The stretches in which the layer was in maintenance.
///
/// Where it never was, those in which people had put billing into maintenance on the day: a layer
/// that does nothing must not pass for one that let nothing through.
pub(crate) fn maintenance(books: &Books, pace: Pace) -> Vec<Range<Instant>> {
    let stretches: Vec<_> = books.layer.as_ref().map_or_else(Vec::new, |layer| {
        stretches(&layer.changes, books.ended, |mode| {
            mode == Mode::Maintenance
        })
    });
    // With a real partner it is unknown whether there should have been one.
    if !stretches.is_empty() || books.log.is_none() {
        return stretches;
    }
    let at = |story| books.began + pace.real(story);
    vec![at(BY_HAND)..at(BACK)]
}

/// The stretches spent in modes that are `wanted`, each surely within.
fn stretches(
    changes: &[Change],
    end: Instant,
    wanted: impl Fn(Mode) -> bool,
) -> Vec<Range<Instant>> {
    let mut stretches = Vec::new();
    let mut open = None;
    for change in changes {
        match (wanted(change.from), wanted(change.to)) {
            (false, true) => open = Some(change.at.latest),
            (true, false) => stretches.extend(open.take().map(|from| from..change.at.earliest)),
            (true, true) | (false, false) => {}
        }
    }
    stretches.extend(open.map(|from| from..end));
    stretches
}

impl Counts {
    /// Counts one run. `maintenance` are the stretches of the run with the layer, for both.
    pub(crate) fn of(books: &Books, pace: Pace, maintenance: &[Range<Instant>]) -> Self {
        let at = |story| books.began + pace.real(story);
        let mut counts = Self {
            job_refused: books.job_refused,
            ..Self::default()
        };
        let mut waits = Vec::new();
        for account in &books.accounts {
            counts.customer(account, &at);
            let late = account.sent - (books.began + account.visit.at);
            counts.latest = counts.latest.max(late);
            if !account.visit.errand.is_exempt() && (at(BROKEN)..at(BACK)).contains(&account.sent) {
                waits.push(account.ended - account.sent);
            }
        }
        waits.sort();
        counts.median_wait = waits.get(waits.len() / 2).copied().unwrap_or_default();

        // A call passed the gate in maintenance if it came there and left there within one stretch.
        let gated = |number: usize| {
            let sent = &books.sent[number];
            let within = |stretch: &Range<Instant>| {
                stretch.contains(&sent.entered) && stretch.contains(&sent.left)
            };
            usize::from(maintenance.iter().any(within))
        };
        match &books.log {
            Some(log) => {
                let outage = pace.real(BROKEN)..pace.real(BACK);
                for record in log {
                    match by(books, record) {
                        Some((_, By::Ping)) => counts.probes += 1,
                        Some((number, By::App)) => {
                            counts.partner_calls += 1;
                            counts.partner_calls_during_outage +=
                                usize::from(outage.contains(&record.began));
                            counts.partner_calls_during_maintenance += gated(number);
                        }
                        // Told by `disagreements`.
                        None => counts.partner_calls += 1,
                    }
                }
            }
            None => {
                for (number, sent) in books.sent.iter().enumerate() {
                    match sent.by {
                        By::Ping => counts.probes += 1,
                        By::App => {
                            counts.partner_calls += 1;
                            counts.partner_calls_during_maintenance += gated(number);
                        }
                    }
                }
            }
        }
        counts
    }

    fn customer(&mut self, account: &Account, at: &impl Fn(Duration) -> Instant) {
        let exempt = account.visit.errand.is_exempt();
        self.requests += 1;
        self.exempt_requests += usize::from(exempt);
        match account.met {
            Met::Served { price } => {
                self.served += 1;
                self.exempt_served += usize::from(exempt);
                let since_back = account.sent.checked_duration_since(at(BACK));
                if let (Some(since_back), false) = (since_back, exempt) {
                    self.stale_prices += usize::from(price == Some(OLD_PRICE));
                    let before = self.recovered_after.unwrap_or(Duration::MAX);
                    self.recovered_after = Some(before.min(since_back));
                }
            }
            Met::Refused => {
                self.refused += 1;
                self.exempt_refused += usize::from(exempt);
                self.refused_while_healthy += usize::from(account.ended < at(SLOW));
            }
            Met::Failed(fault) => {
                self.failed += 1;
                match fault {
                    Fault::ErrorPage => self.error_pages += 1,
                    Fault::TimedOut => self.timeouts += 1,
                    Fault::Unanswered => {
                        self.timeouts += 1;
                        self.unanswered += 1;
                    }
                    Fault::Broken => {
                        self.broken += 1;
                        self.unanswered += 1;
                    }
                }
            }
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "served": self.served,
            "refused": self.refused,
            "failed": self.failed,
            "failed_with_error_page": self.error_pages,
            "failed_with_timeout": self.timeouts,
            "failed_with_broken_connection": self.broken,
            "exempt_requests": self.exempt_requests,
            "exempt_served": self.exempt_served,
            "exempt_refused": self.exempt_refused,
            "refused_while_healthy": self.refused_while_healthy,
            "background_job_refused": self.job_refused,
            "stale_prices": self.stale_prices,
            "median_wait_in_outage_ms": self.median_wait.as_secs_f64() * 1e3,
            "latest_visit_late_by_ms": self.latest.as_millis() as u64,
            "partner_calls": self.partner_calls,
            "partner_calls_during_outage": self.partner_calls_during_outage,
            "partner_calls_during_maintenance": self.partner_calls_during_maintenance,
            "probes": self.probes,
            "recovered_after_ms": self.recovered_after.map(|after| after.as_millis() as u64),
            // The rest is overwritten where there is a layer.
            "entered_automatically": false,
            "entered_after_failures": null,
            "recovered": self.recovered_after.is_some(),
            "cache_bust_signals": 0,
            "generation": null,
        })
    }
}

/// The maker of a call in the partner's log, and its number; `None` if the ledger has no such call.
fn by(books: &Books, record: &CallRecord) -> Option<(usize, By)> {
    let number = ledger::number(record)?;
    Some((number, books.sent.get(number)?.by))
}

impl Entry {
    pub(crate) fn of(books: &Books, layer: &LayerBook, counts: &Counts, pace: Pace) -> Self {
        let left_serving = layer
            .changes
            .iter()
            .find(|change| change.from == Mode::Serving);
        let entered = left_serving.map(|change| change.at.latest);
        let episode = layer.episodes.first().or(layer.status.episode.as_ref());
        let failures = |log: &Vec<CallRecord>, entered: Instant| {
            let until = entered - books.began;
            let failed = |record: &&CallRecord| {
                let succeeded = matches!(record.end, Some(CallEnd::Answered { success: true, .. }));
                !succeeded && record.ended.is_some_and(|ended| ended <= until)
            };
            log.iter().filter(failed).count()
        };
        // It is unknown when a real partner breaks, so this counts from the beginning.
        let broke = books.log.as_ref().map_or(Duration::ZERO, |_| BROKEN);
        let serving = layer.status.mode == Mode::Serving;
        Self {
            after_ms: entered.map(|entered| {
                let since_began = (entered - books.began).as_millis() as i64;
                since_began - pace.real(broke).as_millis() as i64
            }),
            after_failures: books
                .log
                .as_ref()
                .zip(entered)
                .map(|(log, at)| failures(log, at)),
            automatically: !layer.commanded
                && episode.is_some_and(|episode| episode.causes == [Cause::Tripped]),
            evidence: episode
                .and_then(|episode| episode.evidence)
                .map(|evidence| evidence.to_string()),
            last_status: episode
                .and_then(|episode| episode.evidence)
                .and_then(|evidence| evidence.last_code),
            // That it says so is not enough, where customers can tell.
            recovered: serving
                && !layer.episodes.is_empty()
                && (books.log.is_none() || counts.recovered_after.is_some()),
            signals: layer.told.len(),
            generation_before: layer.generation_before,
            generation: layer.status.generation,
            episodes: layer.episodes.len() + usize::from(layer.status.episode.is_some()),
        }
    }

    /// Writes itself over what `Counts::json` says of a run without a layer.
    pub(crate) fn json(&self, pace: Pace, report: &mut Value) {
        let by_hand = (pace.real(BY_HAND) - pace.real(BROKEN)).as_millis() as i64;
        report["entered_automatically"] = self.automatically.into();
        report["entered_after_ms"] = self.after_ms.into();
        report["entered_before_people_did"] = self.after_ms.map(|after| after < by_hand).into();
        report["entered_after_failures"] = self.after_failures.into();
        report["evidence"] = self.evidence.clone().into();
        report["entered_on_status"] = self.last_status.into();
        report["recovered"] = self.recovered.into();
        report["cache_bust_signals"] = self.signals.into();
        report["generation_before"] = self.generation_before.into();
        report["generation"] = self.generation.into();
        report["episodes"] = self.episodes.into();
    }
}

/// Where the layer's numbers are not those of the customers, of the ledger, of the partner.
pub(crate) fn disagreements(books: &Books, layer: &LayerBook, counts: &Counts) -> Vec<String> {
    let calls = layer.status.calls;
    let sent = |by| books.sent.iter().filter(|sent| sent.by == by).count();
    let under_way = layer.status.episode.iter();
    let probes: u64 = layer
        .episodes
        .iter()
        .chain(under_way)
        .map(|episode| episode.probes)
        .sum();
    let last_told = layer.told.last().copied();
    let last_generation = layer.episodes.last().and_then(|episode| episode.generation);

    let mut found = Vec::new();
    let mut within = |what: &str, ours: RangeInclusive<usize>, layers: u64| {
        let (least, most) = (*ours.start(), *ours.end());
        if !(least as u64..=most as u64).contains(&layers) {
            let ours = if least == most {
                format!("{least}")
            } else {
                format!("{least} to {most}")
            };
            found.push(format!("{what}: {ours}, and the layer says {layers}"));
        }
    };
    // A request without an answer may have been refused, or passed as exempt, or neither.
    let unanswered = counts.unanswered;
    let (refused, exempt) = (counts.refused + counts.job_refused, counts.exempt_requests);
    within(
        "refusals that customers and the background job got",
        refused..=refused + unanswered,
        calls.refused,
    );
    within(
        "exempt requests of customers",
        exempt.saturating_sub(unanswered)..=exempt,
        calls.exempt,
    );
    let mut same = |what: &str, ours: usize, layers: u64| within(what, ours..=ours, layers);
    same(
        "calls that left for the partner",
        books.sent.len(),
        calls.admitted,
    );
    same("probes that left for the partner", sent(By::Ping), probes);
    same(
        "times the cache was told",
        layer.told.len(),
        layer.episodes.len() as u64,
    );
    let closed = stretches(&layer.changes, books.ended, |mode| mode != Mode::Serving);
    let early_or_late = books.accounts.iter().filter(|account| {
        let while_closed =
            |closed: &Range<Instant>| account.ended >= closed.start && account.sent <= closed.end;
        account.met == Met::Refused && !closed.iter().any(while_closed)
    });
    same(
        "customers refused though the layer said that it was serving",
        early_or_late.count(),
        0,
    );
    if last_told != last_generation {
        found.push(format!(
            "the generation the cache was told last: {last_told:?}, and the layer says {last_generation:?}"
        ));
    }
    if let Some(log) = &books.log {
        found.extend(strangers(books, log));
    }
    found
}

/// Calls that only one of ledger and partner knows. One that left and got no answer need not have
/// arrived.
fn strangers(books: &Books, log: &[CallRecord]) -> Option<String> {
    let mut arrived = vec![0_usize; books.sent.len()];
    let mut unknown = 0;
    for record in log {
        match ledger::number(record).and_then(|number| arrived.get_mut(number)) {
            Some(times) => *times += 1,
            None => unknown += 1,
        }
    }
    let twice = arrived.iter().filter(|times| **times > 1).count();
    let lost = books.sent.iter().zip(&arrived);
    let lost = lost
        .filter(|(sent, times)| sent.answered && **times == 0)
        .count();
    (unknown + twice + lost > 0).then(|| {
        format!(
            "calls in the partner's log: {unknown} that never left the app, {twice} that arrived \
             more than once, {lost} missing though they were answered"
        )
    })
}
