//! A simulated partner for your own tests: it degrades by script or on command, the same way each
//! time.
//!
//! Maintenance mode shows its worth only while the partner is failing, and a real partner does not
//! fail when a test needs it. [`SimulatedPartner`] does, in every [`Phase`] that matters: slow,
//! failing with a share of calls, failing with 200 and `{"success": false}`, flapping, hanging,
//! refusing connections, resetting them in the middle of a body, and asking callers to wait.
//!
//! One partner has three faces. They may be used side by side:
//!
//! | face | made by | time | for |
//! |---|---|---|---|
//! | a tower service of any request | [`SimulatedPartner`] | tokio's, may be paused | most tests |
//! | a tower service of HTTP requests | [`over_http`] | tokio's, may be paused | judging HTTP |
//! | an HTTP server on loopback | [`listen`] | real | a whole stack with a real client |
//!
//! Beside the partner stand assertions that quote the layer's own explanation when they fail
//! ([`assert_serving`], [`assert_refused`], [`assert_trips_within`] and others).
//! [`assert_runbook_is_current`] compares a committed table of exempt endpoints with the exemptions
//! in force.
//!
//! [`over_http`]: SimulatedPartner::over_http
//! [`listen`]: SimulatedPartner::listen
//!
//! # Examples
//!
//! A test of one thing breaks the partner and mends it by hand:
//!
//! ```
//! use tower::ServiceExt;
//! use tower_maintenance::testing::SimulatedPartner;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let partner = SimulatedPartner::healthy();
//! assert!(partner.clone().oneshot("a call").await.is_ok());
//! partner.break_down();
//! assert!(partner.clone().oneshot("a call").await.is_err());
//! partner.mend();
//! assert!(partner.clone().oneshot("a call").await.is_ok());
//!
//! assert_eq!(partner.counts().failed, 1);
//! # Ok(())
//! # }
//! ```
//!
//! A test that replays an outage gives the partner a [`Script`] of timed phases:
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceExt;
//! use tower_maintenance::testing::{Phase, Script, SimulatedPartner};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let minutes = |n: u64| Duration::from_secs(60 * n);
//! let outage = Script::builder()
//!     .then(Phase::Healthy, minutes(5))
//!     .then(Phase::failing(0.6), minutes(10))
//!     .then(Phase::ConnectionRefused, minutes(5))
//!     .finally(Phase::Healthy)?
//!     .with_latency(Duration::from_millis(40));
//! let partner = SimulatedPartner::new(outage, 42);
//!
//! // A call every two seconds for half an hour. The paused clock makes it instant.
//! while partner.elapsed() < minutes(30) {
//!     let _ = partner.clone().oneshot("a call").await;
//!     tokio::time::sleep(Duration::from_secs(2)).await;
//! }
//! let counts = partner.counts();
//! assert_eq!((counts.calls, counts.failed, counts.refused), (886, 173, 150));
//! # Ok(())
//! # }
//! ```
//!
//! # Pitfalls
//!
//! - Do not pause tokio's clock around a server of [`listen`]: with real sockets, time jumps
//!   whenever every task waits for a socket.
//! - Make the partner inside the runtime whose clock it shall follow: a script counts from the
//!   moment at which the partner was made.

mod assertions;
mod http;
mod judge;
mod partner;
mod runbook;
mod script;
mod server;

pub use self::{
    assertions::{
        assert_held_by, assert_in_maintenance, assert_let_through, assert_probing,
        assert_recovers_within, assert_refusal, assert_refused, assert_serving, assert_tripped,
        assert_trips_within,
    },
    http::{HttpAnswerFuture, HttpPartner, body::PartnerBody},
    judge::ByAnswer,
    partner::{Answer, AnswerFuture, CallEnd, CallRecord, Counts, PartnerError, SimulatedPartner},
    runbook::assert_runbook_is_current,
    script::{Phase, Script, ScriptBuilder, ScriptError},
    server::PartnerServer,
};
