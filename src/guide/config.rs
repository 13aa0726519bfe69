//! A configuration file: the policy, the exemptions and the texts, read at the start and again when
//! the file changes.
//!
//! With the feature `serde` a [`Policy`](crate::Policy) is data. With `http` as well, so are
//! exemptions and the words of the page. `examples/billing` has such a file
//! (`examples/billing.toml`), and takes it up while it runs: `--config FILE`.
//!
//! ```
//! use std::time::Duration;
//! use serde::Deserialize;
//! use tower_maintenance::{Exemption, MaintenanceLayer, Policy, Rate, Window};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct File {
//!     policy: Policy,
//!     exempt: Vec<Exemption>,
//! }
//!
//! let file: File = toml::from_str(
//!     r#"
//!     [policy]
//!     window = "30s"
//!     min_calls = 20
//!     failure_rate = "40%"
//!     wait = "10s"
//!     wait_growing = { factor = 2.0, longest = "5min" }
//!
//!     [[exempt]]
//!     route = "/billing/invoices/{id}"
//!     why = "customers may always see what they owe"
//!     "#,
//! )?;
//! let built = Policy::new(Window::time(Duration::from_secs(30)), Rate::percent(40.0)?)
//!     .with_min_calls(20)
//!     .with_wait(Duration::from_secs(10))
//!     .with_wait_growing(2.0, Duration::from_secs(300));
//! assert_eq!(file.policy, built);
//!
//! let builder = MaintenanceLayer::builder("zuora").policy(file.policy);
//! let exempt = file.exempt.into_iter();
//! let layer = exempt.fold(builder, |builder, one| builder.exempt(one)).build()?;
//! assert_eq!(layer.handle().policy().min_calls(), 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The keys of a policy
//!
//! Each key has the name of the setter: `min_calls` is
//! [`with_min_calls`](crate::Policy::with_min_calls), which says what the setting does. A key that
//! is left out has its default.
//!
//! | key | value | default | range |
//! |---|---|---|---|
//! | `window` | window | `"60s"` | see below |
//! | `min_calls` | calls | 10 | from 1, at most the calls of the window |
//! | `failure_rate` | share, or `"off"` | `"50%"` | above 0 %, at most 100 % |
//! | `consecutive_failures` | calls, or `"off"` | 5 | as `min_calls` |
//! | `slow_calls` | `{ longer_than, rate }`, or `"off"` | `"off"` | a time above 0 s, a share |
//! | `given_up` | `{ calls, after }`, or `"off"` | see below | from 1 call, any time |
//! | `hang_limit` | time | `"5s"` | above 0 s |
//! | `wait` | time | `"30s"` | above 0 s |
//! | `wait_growing` | `{ factor, longest }` | 2.0, `"5min"` | from 1, a time of at least `wait` |
//! | `jitter` | number, or percentage | 0.2 | 0 to less than 1 |
//! | `probes` | probes at once | 1 | 1 to 10 000 |
//! | `successes_needed` | probes in a row | 3 | 1 to 10 000 |
//! | `lease` | time | `"30s"` | above 0 s |
//! | `ramp` | time, or `"off"` | `"off"` | above 0 s |
//! | `ramp_start` | share | `"10%"` | above 0 %, at most 100 % |
//! | `ping_every` | time | `"1s"` | above 0 s |
//!
//! - A **time** is a number with its unit, in quotes: `"250ms"`, `"30s"`, `"5min"`, `"1h 30min"`.
//!   The units are those of the crate [humantime](https://docs.rs/humantime); `m` is a minute. A
//!   number without a unit is an error: it may be of seconds or of milliseconds.
//! - A **share** is a percentage with its sign, in quotes, or a ratio with a point: `"50%"` and
//!   `0.5` are the same. A whole number is an error, because `1` may be 1 % or all.
//! - A **window** is a time (in 10 buckets), `{ time = "60s", buckets = 20 }` with 1 to 3600
//!   buckets of at least 1 ns, or `{ calls = 100 }` with 1 to 10 000 000 calls.
//! - **`"off"`** turns a rule off, as `without_failure_rate` does. `false` does the same. One of
//!   `failure_rate`, `consecutive_failures`, `slow_calls` and `given_up` must be on.
//! - `given_up` is by default the larger of `min_calls` and 10, after `"1s"`. Of `wait_growing` one
//!   part is enough; the longest wait is by default at least `wait`.
//!
//! ```
//! use tower_maintenance::{Policy, Rate};
//!
//! let rate = |line: &str| toml::from_str(line).map(|policy: Policy| policy.failure_rate());
//! assert_eq!(rate("failure_rate = '50%'")?, Some(Rate::HALF));
//! assert_eq!(rate("failure_rate = 0.5")?, Some(Rate::HALF));
//! assert_eq!(rate("failure_rate = 'off'")?, None);
//! assert!(rate("failure_rate = 50").is_err());
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! # The keys of an exemption
//!
//! | key | value | default |
//! |---|---|---|
//! | `route` | pattern of a route of your own | one of the three |
//! | `http_call` | pattern of the path of a call | one of the three |
//! | `call` | name of a call | one of the three |
//! | `why` | the reason, for the runbook | none: it is needed |
//! | `methods` | list of methods in capitals, `["GET"]` | all methods |
//! | `counted` | whether the calls count in `Serving` | `false` |
//!
//! They stand for [`Exemption::route`](crate::Exemption::route),
//! [`http_call`](crate::Exemption::http_call), [`call`](crate::Exemption::call),
//! [`for_methods`](crate::Exemption::for_methods) and [`counted`](crate::Exemption::counted). An
//! exemption by a condition cannot stand in a file.
//!
//! The texts of the page are a [`PageTexts`](crate::http::PageTexts): each field is a key, and its
//! default is the English text.
//!
//! # Mistakes
//!
//! A route that no router has is no mistake that a file can show. Before the server starts,
//! `MaintenanceLayer::check_routes` with `RouteList::of(&router)` finds it: look at
//! `RouteGaps::without_effect` of its error. Without `#[serde(flatten)]`, which loses the line, and
//! with `deny_unknown_fields` on each struct of your own, no typo is taken in silence.
//!
//! An unknown key, a value of another kind or out of range, and settings that do not go together
//! are errors. Each names the setting, its value and what is allowed. The library knows nothing of
//! the file around a policy. The path of the key comes from the crate [serde_path_to_error], and
//! the line from the format.
//!
//! ```
//! use serde::Deserialize;
//! use tower_maintenance::Policy;
//!
//! #[derive(Debug, Deserialize)]
//! struct File {
//!     policy: Policy,
//! }
//! let text = "[policy]\nprobes = 0\n";
//! let file = toml::Deserializer::parse(text)?;
//! let error = serde_path_to_error::deserialize::<_, File>(file).unwrap_err();
//! assert_eq!(error.path().to_string(), "policy.probes");
//! assert_eq!(error.inner().message(), "probes is 0: allowed is 1 to 10000 probes");
//! assert_eq!(error.inner().span(), Some(18..19)); // of the second line
//!
//! let unknown = toml::from_str::<Policy>("fialure_rate = '50%'").unwrap_err();
//! let said = "`fialure_rate` is no setting of a policy: allowed is window, min_calls, ";
//! assert!(unknown.message().starts_with(said));
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! [serde_path_to_error]: https://docs.rs/serde_path_to_error
//!
//! # Taking up a changed file
//!
//! Parse the whole file first. Then give the parts to
//! [`replace_policy`](crate::MaintenanceHandle::replace_policy),
//! [`replace_exemptions`](crate::MaintenanceHandle::replace_exemptions) and
//! [`LiveRefusals::replace`](crate::http::LiveRefusals::replace). A file with a mistake then
//! changes nothing.
//!
//! - A new policy judges the outcomes from then on. A wait that is running keeps its end. `Probing`
//!   and a ramp end under the policy that they began with. The window keeps its contents if its
//!   size and its buckets do not change.
//! - A request that was let in as exempt stays exempt.
//! - A hold and a trip stay. The era, the mode and the generation do not change, and no signal is
//!   given.
//! - The event, the log line `policy replaced` and the audit trail say what changed, setting by
//!   setting. `Status::policy` and [`handle.policy()`](crate::MaintenanceHandle::policy) show the
//!   policy in force.
//!
//! ```
//! use tower_maintenance::{EventKind, MaintenanceLayer, Mode, Policy};
//!
//! let handle = MaintenanceLayer::new("zuora").handle();
//! let mut events = handle.events();
//! handle.trip("on-call", "drill")?;
//! while events.try_recv().is_some() {}
//! let before = handle.status();
//!
//! let new: Policy = toml::from_str("min_calls = 20\ngiven_up = 'off'")?;
//! handle.replace_policy(&new, "configuration file", "billing.toml has changed")?;
//! let Some(EventKind::PolicyReplaced { changes, .. }) = events.try_recv().map(|it| it.kind) else {
//!     panic!("a changed policy is one event")
//! };
//! let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
//! assert_eq!(changes, ["min_calls 10 -> 20", "given_up 10 after 1s -> off"]);
//! assert_eq!(handle.policy(), new);
//!
//! let after = handle.status();
//! assert_eq!(after.mode, Mode::Maintenance);
//! assert_eq!((after.era, after.generation), (before.era, before.generation));
//! assert_eq!(after.causes, before.causes); // the wait keeps its end
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Three things about the file itself, which `examples/billing` heeds:
//!
//! - An editor may leave a file empty or half written for a moment. The example takes a changed
//!   file up at the second look that finds it so, one second later, and refuses an empty one.
//! - A mistake at the start ends the program. Later it must not: it is told on stderr, and the
//!   status shows it until the file is mended, as `config: {loaded_at, error}`.
//! - Each replica reads its own file. Until the last one has read it, replicas differ.
//!
//! # Writing
//!
//! A policy is written in the same form. What it leaves to other settings, the default of
//! `given_up` and of the longest wait, stays left out, so that reading gives the same policy. The
//! JSON of a [`Status`](crate::Status) writes these out too, because it shows what is in force.
//!
//! ```
//! use tower_maintenance::{MaintenanceLayer, Policy};
//!
//! let policy = Policy::default();
//! let text = toml::to_string(&policy)?;
//! assert!(text.contains("wait = \"30s\"") && !text.contains("given_up"));
//! assert_eq!(toml::from_str::<Policy>(&text)?, policy);
//!
//! let status = serde_json::to_value(MaintenanceLayer::new("zuora").handle().status())?;
//! assert_eq!(status["policy"]["given_up"]["calls"], 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
