//! A judge for a payment provider's SDK, as `tower_maintenance::guide::sdks` shows it.
//!
//! The tests of this member guard the SDK itself, unmodified, through a whole outage.

use stripe::StripeError;
use tower_maintenance::{Class, Judge, Origin, Outcome, Verdict};

/// Judges calls through `async-stripe`, whatever they return. The request is the call's name.
#[derive(Debug, Clone, Copy)]
pub struct Stripe;

impl<T> Judge<str, T, StripeError> for Stripe {
    fn may_probe(&self, name: &str) -> bool {
        name.ends_with(".retrieve") // a charge is not a probe
    }

    fn class(&self, name: &str) -> Class {
        match name.ends_with(".retrieve") {
            true => Class::Read,
            false => Class::Write,
        }
    }

    fn judge_error(&self, error: &StripeError) -> Option<Verdict> {
        let is_ours = matches!(error, StripeError::ConfigError(_)); // it was never sent
        is_ours.then(|| Origin::Ourselves.into())
    }

    fn verdict(&self, result: Result<&T, &StripeError>) -> Verdict {
        match result {
            Ok(_) => Outcome::Success.into(),
            Err(StripeError::Stripe(_, status)) => {
                let outcome = match status {
                    401 | 403 | 429 => Outcome::Neutral, // our key, our rate
                    408 | 500.. => Outcome::Failure,
                    _ => Outcome::Success, // the partner answered: 402 is a declined card
                };
                Verdict::from(outcome).with_code(*status)
            }
            Err(_) => Outcome::Failure.into(), // no connection, no answer in time, no JSON
        }
    }
}
