//! Metrics and `tracing` events: the names that dashboards, alerts and log searches rest on.
//!
//! A change of a name, a unit, a label or a field in this page is a breaking change, and stands in
//! the changelog. A test compares the page with what is published, in both directions.
//!
//! # Metrics
//!
//! With feature `metrics`, `MaintenanceHandle::publish_metrics` writes the state of one layer into
//! the recorder of the crate [`metrics`](https://docs.rs/metrics/0.24), and `Keys::publish_metrics`
//! the sums over the keys of a [`KeyedLayer`](crate::KeyedLayer). Nothing is written while calls
//! run. Publish before the exporter renders:
//!
//! ```ignore
#![doc = include_str!("metrics/recipe.rs")]
//! ```
//!
//! If the exporter pushes, or serves the page by itself, publish from a task:
//!
//! ```ignore
#![doc = include_str!("metrics/recipe_task.rs")]
//! ```
//!
//! Each metric has the label `partner`: the name of the layer, or the name that is given for the
//! keys. Two layers of one name would overwrite each other.
//!
//! | metric | type | unit | more labels | meaning | over keys |
//! |---|---|---|---|---|---|
//! | `maintenance_mode` | gauge | count | `mode` | 1 in the present mode, 0 in the others | keys in the mode |
//! | `maintenance_mode_seconds_total` | counter | seconds | `mode` | time in the mode, in whole seconds | sum |
//! | `maintenance_calls_total` | counter | count | `outcome` | admitted calls that have ended, each in one outcome | sum |
//! | `maintenance_refused_total` | counter | count | | requests that were refused, at both placements | sum |
//! | `maintenance_exempt_total` | counter | count | | requests that passed because they are exempt, at both placements | sum |
//! | `maintenance_reads_total` | counter | count | | reads that passed under a read-only hold | sum |
//! | `maintenance_late_total` | counter | count | | calls that ended in a later era than they began in; they are in `maintenance_calls_total` too | sum |
//! | `maintenance_in_flight` | gauge | count | | admitted calls that have not ended | sum |
//! | `maintenance_failure_rate` | gauge | count | | share of failures in the window, 0 to 1; NaN below `min_calls` | share in all windows that have a rate |
//! | `maintenance_slow_rate` | gauge | count | | share of slow calls in the window, 0 to 1; NaN below `min_calls` | share in all windows that have a rate |
//! | `maintenance_trips_total` | counter | count | `rule` | trips, by the rule that fired | sum |
//! | `maintenance_episodes_total` | counter | count | | episodes that began | sum |
//! | `maintenance_generation` | gauge | count | | the generation of what callers may have cached | highest |
//! | `maintenance_hold_seconds` | gauge | seconds | | age of the operator's hold; 0 without a hold | longest |
//! | `maintenance_hold_remaining_seconds` | gauge | seconds | | time until the hold expires; `+Inf` without expiry, 0 without a hold | longest |
//! | `maintenance_probes_total` | counter | count | `outcome` | probes that have ended, each in one outcome; pings are among them | sum |
//! | `maintenance_waiting_for_probe` | gauge | count | | 1 if a whole wait has passed in `Probing` without a request that may probe | keys that wait |
//! | `maintenance_switch` | gauge | count | `switch` | 1 if the switch is on | keys with the switch on |
//! | `maintenance_keys` | gauge | count | | absent | keys |
//! | `maintenance_keys_evicted_total` | counter | count | | absent | keys that were dropped because they were idle |
//! | `maintenance_keys_overflowed_total` | counter | count | | absent | calls that passed unmeasured because there was no place for their key |
//! | `maintenance_call_seconds` | histogram | seconds | `outcome` | how long the callers waited for the partner; only with `Builder::latency_histogram` | all keys whose layers have it |
//!
//! The values of the labels:
//!
//! | label | of | values |
//! |---|---|---|
//! | `mode` | `maintenance_mode`, `maintenance_mode_seconds_total` | `serving`, `maintenance`, `probing` |
//! | `outcome` | `maintenance_calls_total`, `maintenance_call_seconds` | `succeeded`, `failed`, `neutral`, `ours`, `refused_within`, `abandoned` |
//! | `outcome` | `maintenance_probes_total` | `succeeded`, `failed`, `without_evidence`, `cut_off` |
//! | `rule` | `maintenance_trips_total` | `failure_rate`, `consecutive_failures`, `slow_calls`, `given_up`, `probe_failed`, `probe_hung`, `partner_asked`, `partner_limits`, `command` |
//! | `switch` | `maintenance_switch` | `dry_run`, `bypass` |
//!
//! - **Counters** begin with the layer, and include everything since. So a trip of 2 s between two
//!   scrapes shows in `maintenance_trips_total` and in `maintenance_mode_seconds_total`, although
//!   `maintenance_mode` says serving at both.
//! - **Seconds** of a counter are whole, because the crate `metrics` counts in whole numbers. The
//!   layer keeps the fractions, so that many short times add up.
//! - **Outcomes** are a partition: over a span, the sum of `maintenance_calls_total` is the number of
//!   calls that ended. [`CallCounts`](crate::CallCounts) and
//!   [`ProbeCounts`](crate::ProbeCounts) say what each means.
//! - **Of keys** there are only sums, because a label per key has no bound. Keys that were dropped
//!   stay in the counters.
//! - **The rates** in `Maintenance` are those of the moment at which it began.
//!
//! `examples/observability` has a dashboard for Grafana and alert rules for Prometheus. Tests run
//! them by `promtool`.
//!
//! # Tracing
//!
//! All events have the target `tower_maintenance`. None is emitted on the way of a call that passes
//! or is refused. The level is WARN if an operator should look at it, and ERROR if customers do not
//! see the page that was meant. `number` counts the events of a layer, as in
//! [`Event::number`](crate::Event). There are no spans.
//!
//! | level | message | fields |
//! |---|---|---|
//! | warn | mode changed | `partner`, `number`, `from`, `to` |
//! | info | serving again | `partner`, `number`, `from` |
//! | warn | tripped | `partner`, `number`, `evidence`, `wait` |
//! | warn | would have entered maintenance | `partner`, `number`, `evidence`, `wait` |
//! | info | would be serving again | `partner`, `number` |
//! | warn | episode began | `partner`, `number`, `episode`, `cause` |
//! | info | recovered: caches are told | `partner`, `number`, `episode`, `generation` |
//! | info | traffic grows | `partner`, `number`, `duration` |
//! | warn | no request that may probe has come for a whole wait | `partner`, `number` |
//! | warn | callers give up and nothing comes from the partner | `partner`, `number`, `calls`, `longest_wait`, `hang_limit` |
//! | warn | a whole wait of probes proved nothing | `partner`, `number`, `ended`, `last_code` |
//! | warn | held by an operator | `partner`, `number`, `actor`, `reason`, `read_only` |
//! | warn | the operator's hold ended | `partner`, `number`, `expired` |
//! | warn | switched | `partner`, `number`, `dry_run`, `bypass` |
//! | info | policy replaced | `partner`, `number` |
//! | info | exemptions replaced | `partner`, `number` |
//! | info | window reset | `partner`, `number` |
//! | info | the partner says | `partner`, `indicator`, `description` |
//! | warn | the partner's word cannot be read | `partner`, `error` |
//! | warn | the layer stands twice around a call | `partner` |
//! | warn | the wall clock stands before 1970 or after 2109, so that the first generation is 1 | `partner` |
//! | warn | a request came without a `MatchedPath`, so no exemption by route applies to it | `partner` |
//! | warn | all keys are taken and none is idle | `max_keys`, `idle_after` |
//! | warn | no closure of `judged_errors` takes the client's errors, so none has an effect | `closures` |
//! | warn | `page` replaces the page of `page_template`, which has no effect | |
//! | error | rendering the page template failed | `error` |
//! | error | rendering the built-in page failed | `error` |
//!
//! Some messages go on after a colon and say what to do. The part before it is fixed.
