//! The first bytes of a body, copied for a judge while the frames pass to the reader.
//!
//! It is a copy, because only the reader may consume a body. Holding frames back until the judge
//! has run would make every answer as slow as its slowest part. The copy is bounded, because a body
//! is not.

use std::{fmt, io::IoSlice, sync::Arc};

use bytes::Buf;
use http::{HeaderMap, StatusCode};

use super::retry_after;
use crate::{
    base::clock::Clock,
    facts::outcome::{Outcome, Verdict},
};

/// The largest number of bytes that a judge sees of a body, and the default: 64 KiB.
pub(in crate::http) const MOST: usize = 64 * 1024;

/// The head of an answer and the beginning of its body, as a judge of bodies sees them.
#[derive(Clone, Copy)]
pub struct AnswerPrefix<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    bytes: &'a [u8],
    whole: bool,
}

impl<'a> AnswerPrefix<'a> {
    /// Returns an answer with its whole body. An answer to HEAD has no body to judge: use
    /// [`cut`](Self::cut) with no bytes.
    #[must_use]
    pub const fn whole(status: StatusCode, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self {
            status,
            headers,
            bytes: body,
            whole: true,
        }
    }

    /// Returns an answer whose body may continue after these bytes.
    #[must_use]
    pub const fn cut(status: StatusCode, headers: &'a HeaderMap, bytes: &'a [u8]) -> Self {
        Self {
            status,
            headers,
            bytes,
            whole: false,
        }
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the first bytes of the body, as they came: a `Content-Encoding` is not decoded.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns whether the bytes are known to be the whole body.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }
}

impl fmt::Debug for AnswerPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without headers and body: they may hold secrets, and debug output goes to logs.
        f.debug_struct("AnswerPrefix")
            .field("status", &self.status)
            .field("len", &self.bytes.len())
            .field("whole", &self.whole)
            .finish_non_exhaustive()
    }
}

/// A judge of the beginning of a body.
pub(in crate::http) type JudgePrefix = dyn Fn(&AnswerPrefix<'_>) -> Option<Verdict> + Send + Sync;

/// Returns the worse of what two judges say. `None` says nothing.
pub(super) fn worse(one: Option<Verdict>, other: Option<Verdict>) -> Option<Verdict> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.or_worse(other)),
        (one, other) => one.or(other),
    }
}

/// A prefix that is being collected for its judge.
pub(in crate::http) struct Gathering {
    judge: Arc<JudgePrefix>,
    status: StatusCode,
    headers: HeaderMap,
    limit: usize,
    bytes: Vec<u8>,
    /// Whether data is missing after `bytes`, so that no more can be added.
    torn: bool,
}

impl Gathering {
    /// Starts with no bytes. `hint` is the length of the body, if the body tells it.
    pub(in crate::http) fn new(
        judge: Arc<JudgePrefix>,
        status: StatusCode,
        headers: HeaderMap,
        limit: usize,
        hint: Option<u64>,
    ) -> Self {
        let hint = hint.map_or(0, |hint| usize::try_from(hint).unwrap_or(usize::MAX));
        Self {
            judge,
            status,
            headers,
            limit,
            bytes: Vec::with_capacity(hint.min(limit)),
            torn: false,
        }
    }

    /// Copies as much of `data` as there is room for. The frame is not consumed.
    pub(in crate::http) fn copy(&mut self, data: &impl Buf) {
        if self.torn {
            return;
        }
        // A frame has more than one slice only if it consists of several buffers.
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = data.chunks_vectored(&mut slices);
        let mut copied = 0;
        for slice in &slices[..filled] {
            let part = &slice[..slice.len().min(self.limit - self.bytes.len())];
            self.make_room(part.len());
            self.bytes.extend_from_slice(part);
            copied += part.len();
        }
        // Some of the data did not fit, or cannot be seen without consuming it.
        self.torn = copied < data.remaining();
    }

    /// Grows as a `Vec` does, but never beyond the limit.
    fn make_room(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        let capacity = self.bytes.capacity();
        if needed > capacity {
            let wanted = needed.max(capacity.saturating_mul(2)).min(self.limit);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }

    pub(in crate::http) fn is_full(&self) -> bool {
        self.torn || self.bytes.len() >= self.limit
    }

    /// Runs the judge. `ended` says whether the body has come to its end.
    pub(in crate::http) fn verdict(self, ended: bool) -> Option<Verdict> {
        let Self {
            judge,
            status,
            headers,
            bytes,
            torn,
            ..
        } = self;
        let answer = AnswerPrefix {
            status,
            headers: &headers,
            bytes: &bytes,
            whole: ended && !torn,
        };
        ask(&*judge, &answer)
    }
}

/// Runs a judge, and adds the status and the wait of the head to its verdict.
pub(in crate::http) fn ask(judge: &JudgePrefix, answer: &AnswerPrefix<'_>) -> Option<Verdict> {
    let verdict = judge(answer)?;
    // As for a 503: a partner that says "too many requests" in a 200 may send the same header.
    let asked = || retry_after::asked(answer.headers, Clock::wall);
    Some(Verdict {
        code: verdict.code.or(Some(answer.status.as_u16())),
        retry_after: match verdict.outcome {
            Outcome::Success => verdict.retry_after,
            Outcome::Failure | Outcome::Neutral => verdict.retry_after.or_else(asked),
        },
        ..verdict
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A buffer that shows one byte at a time.
    pub(crate) struct Shy(pub(crate) &'static [u8]);

    impl Buf for Shy {
        fn remaining(&self) -> usize {
            self.0.len()
        }
        fn chunk(&self) -> &[u8] {
            &self.0[..1]
        }
        fn advance(&mut self, n: usize) {
            self.0 = &self.0[n..];
        }
    }

    fn gathering(limit: usize, hint: Option<u64>) -> Gathering {
        let judge: Arc<JudgePrefix> = Arc::new(|_: &AnswerPrefix<'_>| None);
        Gathering::new(judge, StatusCode::OK, HeaderMap::new(), limit, hint)
    }

    proptest! {
        #[test]
        fn the_copy_is_the_bodys_beginning_and_never_larger_than_its_limit(
            frames in proptest::collection::vec((0_usize..40, 0_usize..40), 0..30),
            limit in 1_usize..300,
            hint in proptest::option::of(any::<u64>()),
        ) {
            let mut gathering = gathering(limit, hint);
            let mut body = Vec::new();
            for (one, other) in frames {
                // Numbered bytes show one byte too many or too few. Two pieces test several slices.
                let bytes: Vec<u8> = (0..one + other).map(|n| (body.len() + n) as u8).collect();
                body.extend_from_slice(&bytes);
                gathering.copy(&bytes[..one].chain(&bytes[one..]));
                prop_assert!(gathering.bytes.capacity() <= limit);
                prop_assert_eq!(&gathering.bytes[..], &body[..body.len().min(limit)]);
                prop_assert_eq!(gathering.is_full(), body.len() >= limit);
                prop_assert_eq!(gathering.torn, body.len() > limit);
            }
        }
    }

    #[test]
    fn what_a_frame_does_not_show_ends_the_copy() {
        let mut gathering = gathering(100, None);
        gathering.copy(&Shy(b"{}"));
        assert!(gathering.is_full());
        gathering.copy(&&b"}"[..]);
        assert_eq!(gathering.bytes, b"{", "not what comes after a gap");
    }
}
