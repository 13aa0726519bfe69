//! The first bytes of a body, copied while they pass on to the reader, for a judge to look at.
//!
//! A copy, because a body is read once, and by its reader: holding frames back until the judge has
//! spoken would make every answer as slow as its slowest part. Bounded, because a body is not.

use std::{fmt, io::IoSlice, sync::Arc};

use bytes::Buf;
use http::{HeaderMap, StatusCode};

use super::retry_after;
use crate::{
    base::clock::Clock,
    facts::outcome::{Outcome, Verdict},
};

/// How much of a body a judge is shown at most, and by default: 64 KiB.
pub(in crate::http) const MOST: usize = 64 * 1024;

/// What a judge of bodies is shown of an answer: its head, and the beginning of its body.
#[derive(Clone, Copy)]
pub struct AnswerPrefix<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    bytes: &'a [u8],
    whole: bool,
}

impl<'a> AnswerPrefix<'a> {
    /// An answer with all of its body.
    #[must_use]
    pub const fn whole(status: StatusCode, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self {
            status,
            headers,
            bytes: body,
            whole: true,
        }
    }

    /// An answer whose body may go on after these bytes.
    #[must_use]
    pub const fn cut(status: StatusCode, headers: &'a HeaderMap, bytes: &'a [u8]) -> Self {
        Self {
            status,
            headers,
            bytes,
            whole: false,
        }
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The body's first bytes, as they came: a `Content-Encoding` is still on them.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the bytes are known to be the whole body.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }
}

impl fmt::Debug for AnswerPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither headers nor body: they may bear secrets, and debug output goes to logs.
        f.debug_struct("AnswerPrefix")
            .field("status", &self.status)
            .field("len", &self.bytes.len())
            .field("whole", &self.whole)
            .finish_non_exhaustive()
    }
}

/// What judges the beginning of a body.
pub(in crate::http) type JudgePrefix = dyn Fn(&AnswerPrefix<'_>) -> Option<Verdict> + Send + Sync;

/// A prefix being gathered for its judge.
pub(in crate::http) struct Gathering {
    judge: Arc<JudgePrefix>,
    status: StatusCode,
    headers: HeaderMap,
    limit: usize,
    bytes: Vec<u8>,
    /// Whether something is missing behind `bytes`, so that nothing can be added.
    torn: bool,
}

impl Gathering {
    /// `hint` is how long the body will be, as far as it tells.
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

    /// Copies what there is still room for; the frame itself is left as it is.
    pub(in crate::http) fn copy(&mut self, data: &impl Buf) {
        if self.torn {
            return;
        }
        // More than one slice only where a frame is put together of several buffers.
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = data.chunks_vectored(&mut slices);
        let mut copied = 0;
        for slice in &slices[..filled] {
            let part = &slice[..slice.len().min(self.limit - self.bytes.len())];
            self.make_room(part.len());
            self.bytes.extend_from_slice(part);
            copied += part.len();
        }
        // Some of it did not fit, or is not to be seen without taking it from the reader.
        self.torn = copied < data.remaining();
    }

    /// Grows as a vector does, but never beyond the limit.
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

    /// Asks the judge, at the body's end or before it.
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

/// What a judge says, with what the head adds to it.
pub(in crate::http) fn ask(judge: &JudgePrefix, answer: &AnswerPrefix<'_>) -> Option<Verdict> {
    let verdict = judge(answer)?;
    // As beside a 503: whoever says "too many requests" with a 200 may say until when in the same header.
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

    /// Shows its bytes one by one, to whoever takes them.
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
                // Numbered, so that a byte too many or too few shows; in two pieces, so that all are seen.
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
