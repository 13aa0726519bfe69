//! The judge of a gRPC status.

use std::{fmt, sync::Arc};

use http::HeaderMap;

use super::{Code, wire};
use crate::facts::outcome::{Outcome, Verdict};

type JudgeCode = dyn Fn(Code, &HeaderMap) -> Verdict + Send + Sync;

/// Judges a status: by the user's closure, or by default.
#[derive(Clone, Default)]
pub(super) struct JudgeStatus(Option<Arc<JudgeCode>>);

impl JudgeStatus {
    /// Adds a judge. Of several judges the worst verdict counts.
    pub(super) fn and(
        self,
        verdict: impl Fn(Code, &HeaderMap) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self(Some(match self.0 {
            None => Arc::new(verdict),
            Some(before) => Arc::new(move |code, metadata: &HeaderMap| {
                before(code, metadata).or_worse(verdict(code, metadata))
            }),
        }))
    }

    pub(super) fn verdict(&self, code: Code, metadata: &HeaderMap) -> Verdict {
        match &self.0 {
            Some(judge) => judge(code, metadata),
            None => by_code(code, metadata),
        }
    }
}

impl fmt::Debug for JudgeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "given" } else { "by_code" })
    }
}

/// Returns the default verdict; see [`GrpcCalls::by_code`](super::GrpcCalls::by_code).
pub(super) fn by_code(code: Code, metadata: &HeaderMap) -> Verdict {
    let outcome = match code {
        // Received, so the caller still waits, and the partner gave up. A call that the caller
        // cancels is dropped and has no status.
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Outcome::Failure,
        Code::ResourceExhausted | Code::PermissionDenied | Code::Unauthenticated => {
            Outcome::Neutral
        }
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented => Outcome::Success,
    };
    let verdict = Verdict::from(outcome).with_code(code.http_status().as_u16());
    if outcome == Outcome::Success {
        return verdict;
    }
    match wire::retry_after(metadata) {
        Some(span) => verdict.with_retry_after(span),
        None => verdict,
    }
}
