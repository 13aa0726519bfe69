//! What happens at 3 a.m.
//!
//! | time | what happens | what you see |
//! |---|---|---|
//! | 03:00:00 | the partner begins to answer 502 | failures in `status().window` |
//! | 03:00:04 | the fifth failure in a row, or half of at least ten calls: **tripped** | warning `tripped`, with the evidence in one sentence |
//! | 03:00:04 | customers get 503 with `Retry-After`; invoices, webhooks and health checks pass | `calls.refused`, `calls.exempt` grow |
//! | 03:00:34 | the wait is over: **probing**; one probe at a time, or your ping | `mode changed`, `status().probing` |
//! | 03:00:35 | the probe fails: maintenance again, for 60 s, then 120 s, at most 5 min (each +-20 %) | warning `tripped`, "a probe failed, last: 502" |
//! | 03:41:10 | three probes in a row succeed: **serving** | `recovered`, one cache-bust signal with a new generation |
//!
//! You may sleep through all of it. If you are up:
//!
//! - *What is going on?* `handle.status()` says it in one sentence; `handle.episodes()` and
//!   `handle.audit()` have the rest.
//! - *The partner says it is back.* [`probe_now`](crate::MaintenanceHandle::probe_now): do not wait, but verify.
//! - *It must stay down, whatever the probes say.* [`engage`](crate::MaintenanceHandle::engage), with an expiry if
//!   you want to go back to bed. An operator beats everything automatic.
//! - *It is up, and I can prove it.* [`clear`](crate::MaintenanceHandle::clear).
//! - *The breaker itself is wrong.* [`bypass`](crate::MaintenanceHandle::bypass): nothing is refused until
//!   [`end_bypass`](crate::MaintenanceHandle::end_bypass), and it goes on telling what it would have done.
//! - *It says `waiting_for_probe`.* Nobody who may probe has come for a whole wait. Give it a
//!   [ping](crate::MaintenanceHandle::ping), let more requests [probe](crate::MaintenanceLayer::may_probe), or `clear`.
//!
//! What does *not* happen: no charge is sent as a probe unless you say so; a refused request was not
//! processed, and may be repeated safely; a request that timed out at the partner is **unknown**, not failed: reconcile it.
