//! A judge of the simulated partner's plain answers.

use super::{Answer, PartnerError};
use crate::{
    call::plain::Judge,
    facts::outcome::{Outcome, Verdict},
};

/// Judges a [`SimulatedPartner`](super::SimulatedPartner) by status, as the `http` wing judges a
/// real one, and by what the answer says: a 200 with `"success": false` is a failure.
///
/// ```
/// use tower::{Layer, ServiceExt};
/// use tower_maintenance::{
///     MaintenanceLayer,
///     testing::{ByAnswer, Phase, SimulatedPartner, assert_tripped},
/// };
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora").judged(ByAnswer);
/// let partner = SimulatedPartner::healthy();
/// partner.switch_to(Phase::failing_with_200(1.0))?;
///
/// for _ in 0..5 {
///     let answer = layer.layer(partner.clone()).oneshot("a call").await?;
///     assert_eq!(answer.status, 200);
/// }
/// assert_tripped(&layer.handle());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ByAnswer;

impl<Req> Judge<Req, Answer, PartnerError> for ByAnswer {
    fn verdict(&self, result: Result<&Answer, &PartnerError>) -> Verdict {
        let (status, success, retry_after) = match result {
            Ok(answer) => (Some(answer.status), answer.success, answer.retry_after),
            Err(error) => (error.status(), false, error.retry_after()),
        };
        let outcome = match status {
            Some(401 | 403 | 407 | 429) => Outcome::Neutral,
            Some(408 | 500..=599) | None => Outcome::Failure,
            Some(200..=299) if !success => Outcome::Failure,
            Some(304) => Outcome::Success,
            Some(300..=399) => Outcome::Neutral,
            Some(_) => Outcome::Success,
        };
        Verdict {
            retry_after,
            code: status,
            ..outcome.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_is_judged_by_its_status_and_keeps_its_retry_after() {
        let verdict = |error: PartnerError| Judge::<(), _, _>::verdict(&ByAnswer, Err(&error));
        assert_eq!(
            verdict(PartnerError::ConnectionRefused),
            Outcome::Failure.into()
        );
        let busy = PartnerError::Status {
            status: 503,
            retry_after: Some(Duration::from_secs(7)),
        };
        assert_eq!(
            verdict(busy),
            Verdict::from(Outcome::Failure)
                .with_code(503)
                .with_retry_after(Duration::from_secs(7))
        );
    }

    fn outcome(status: u16, success: bool) -> Outcome {
        let answer = Answer {
            number: 1,
            status,
            success,
            retry_after: None,
        };
        Judge::<(), Answer, PartnerError>::verdict(&ByAnswer, Ok(&answer)).outcome
    }

    /// Tests that pass with the simulated partner must hold for a real one.
    #[cfg(feature = "http")]
    #[test]
    fn every_status_is_judged_as_around_an_http_client() {
        let headers = http::HeaderMap::new();
        for status in 100..1000 {
            let real = http::StatusCode::from_u16(status).unwrap();
            let real = crate::http::HttpCalls::by_status(real, &headers);
            assert_eq!(outcome(status, true), real.outcome, "{status}");
        }
    }

    #[test]
    fn an_answer_is_judged_by_its_status_and_what_it_says() {
        assert_eq!(outcome(200, true), Outcome::Success);
        assert_eq!(outcome(200, false), Outcome::Failure);
        assert_eq!(outcome(404, false), Outcome::Success);
        assert_eq!(outcome(429, false), Outcome::Neutral);
    }
}
