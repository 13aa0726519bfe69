//! What happens at 3 a.m., and what an operator can do.
//!
//! An outage with the default policy:
//!
//! | time | what happens | where you see it |
//! |---|---|---|
//! | 03:00:00 | the partner begins to answer 502 | failures in `status().window` |
//! | 03:00:04 | **tripped** | warning `tripped`, with the evidence in one sentence |
//! | 03:00:04 | refusals begin | `calls.refused` and `calls.exempt` grow |
//! | 03:00:34 | **probing**: the wait is over | `mode changed`, `status().probing` |
//! | 03:00:35 | maintenance again: the probe failed | warning `tripped`: a probe failed |
//! | 03:41:10 | **serving**: three probes in a row succeeded | `recovered`, one cache-bust signal |
//!
//! - *The trip* follows from the fifth failure in a row, or from failures in half of at least ten
//!   calls.
//! - *During maintenance* customers get a 503 with `Retry-After`. Exempt endpoints pass: invoices,
//!   webhooks and health checks, if you exempted them.
//! - *While probing*, one call at a time passes as a probe. A ping of your own can probe in its
//!   place.
//! - *Each failed probe* doubles the wait: 60 s, then 120 s, up to 5 min, each with a jitter of 20
//!   % up or down.
//! - *The cache-bust signal* carries a new generation.
//!
//! All of this happens without an operator. If you are awake:
//!
//! - *You want to know the state.* `handle.status()` says it in one sentence. `handle.episodes()`
//!   and `handle.audit()` have the details.
//! - *The partner says that it is back.* Call [`probe_now`](crate::MaintenanceHandle::probe_now):
//!   it ends the wait, and probes still verify the recovery.
//! - *Billing must stay down, whatever the probes say.* Call
//!   [`engage`](crate::MaintenanceHandle::engage). Set an expiry if you want to go back to bed. An
//!   operator's hold takes precedence over every automatic decision.
//! - *The partner is up, and you can prove it.* Call [`clear`](crate::MaintenanceHandle::clear).
//! - *The breaker itself is wrong.* Call [`bypass`](crate::MaintenanceHandle::bypass). No call is
//!   refused until [`end_bypass`](crate::MaintenanceHandle::end_bypass). The layer still reports
//!   what it would have done.
//! - *The status says `waiting_for_probe`.* No request that may probe has arrived for a whole wait.
//!   Give the layer a [ping](crate::MaintenanceHandle::ping), let more requests
//!   [probe](crate::MaintenanceLayer::may_probe), or call `clear`.
//!
//! What does *not* happen:
//!
//! - No charge is sent as a probe, unless you allow it.
//! - A request that the gate before your routes refuses was not processed. The client can repeat it
//!   safely. If a handler is refused a call to the partner, what it did before stands.
//! - A request that timed out at the partner is **unknown**, not failed. Reconcile it.
