//! A call in flight, and the wait for the moment when the partner acts on it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::{
    record::CallEnd,
    reply::Reply,
    run::{Begun, Shared, now},
};

/// A call in flight. It ends its record exactly once, on drop at the latest.
pub(crate) struct Call {
    partner: Arc<Shared>,
    begun: Begun,
    settled: bool,
    /// Set while a server drops its calls itself.
    cut: Option<Arc<AtomicBool>>,
}

impl Call {
    pub(super) fn begin(partner: Arc<Shared>, target: Option<String>) -> Self {
        let begun = partner.begin(target);
        Self {
            partner,
            begun,
            settled: false,
            cut: None,
        }
    }

    /// Sets the flag by which a drop tells a call that the server cut from one that the caller
    /// left.
    pub(crate) fn cut_by(mut self, cut: Option<Arc<AtomicBool>>) -> Self {
        self.cut = cut;
        self
    }

    pub(crate) fn number(&self) -> u64 {
        self.begun.number
    }

    pub(crate) fn reply(&self) -> Reply {
        self.begun.reply
    }

    pub(crate) fn settle(&mut self, end: CallEnd) {
        if !self.settled {
            self.settled = true;
            self.partner.end(&self.begun, end);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Relaxed: the server sets the flag and then drops the call through the runtime, which
        // synchronises.
        let cut = self
            .cut
            .as_ref()
            .is_some_and(|cut| cut.load(Ordering::Relaxed));
        self.settle(match self.reply() {
            _ if cut => CallEnd::ConnectionReset,
            Reply::Hang => CallEnd::Hung,
            _ => CallEnd::Dropped,
        });
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("number", &self.number())
            .field("reply", &self.reply())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// Resolves to the call when the partner acts on it. It never resolves for a call that hangs.
    #[derive(Debug)]
    pub(crate) struct Due {
        call: Option<Call>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Due {
    pub(crate) fn new(call: Call) -> Self {
        Self {
            call: Some(call),
            sleep: None,
        }
    }
}

impl Future for Due {
    type Output = Call;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Call> {
        let mut this = self.project();
        let call = this.call.as_ref().expect("not polled after it was ready");
        if call.reply() == Reply::Hang {
            return Poll::Pending;
        }
        // Made on the first poll and only if there is latency, so that `call` works outside a
        // runtime and a partner without latency needs no timer.
        if this.sleep.is_none() && !call.begun.latency.is_zero() {
            let passed = now().saturating_duration_since(call.begun.at);
            let rest = call.begun.latency.saturating_sub(passed);
            this.sleep.set(Some(tokio::time::sleep(rest)));
        }
        if let Some(sleep) = this.sleep.as_pin_mut() {
            ready!(sleep.poll(cx));
        }
        Poll::Ready(this.call.take().expect("seen above"))
    }
}
