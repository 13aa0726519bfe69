//! Background jobs that run only while the partner is served.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use crate::{
    base::one_line::OneLine,
    facts::{glance::Glance, mode::Mode},
    operator::{handle::MaintenanceHandle, subscribe::next_news},
};

impl MaintenanceHandle {
    /// Waits until the mode is `Serving`, then runs `job`, and drops it when the mode is no longer
    /// `Serving`.
    ///
    /// It is for background jobs: an invoice run or a nightly sync. The job ends with its output,
    /// or with [`Interrupted`], which says why. To go on where the job stopped, call it again with
    /// the rest of the work: it waits until the mode is `Serving` again.
    ///
    /// The job is *dropped*, not paused. A job that is paused in the middle of a call would keep
    /// that call's connection and every lock that it holds, perhaps for hours, and the call would
    /// end as given up. So what is under way at the partner when the gate shuts is not waited for,
    /// and its result is unknown. If that must not happen, for example for a charge, do not wrap
    /// the charge: wait between two charges with
    /// [`wait_until_serving`](Self::wait_until_serving), and let each end. The guide has both
    /// ([`background_jobs`](crate::guide::background_jobs)).
    ///
    /// An answer that has come is not thrown away: the job is polled once more before it is
    /// dropped. A call that it begins then is refused, so that it may end with that refusal in
    /// place of `Interrupted`. Maintenance that is over before the job is polled does not interrupt
    /// it.
    ///
    /// A job runs in `Serving` alone and so never probes. If nothing else calls the partner, give
    /// the layer a [ping](Self::ping). The future keeps the layer alive.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the job. Whether the job may be dropped at each of its awaits is
    /// the job's own promise.
    ///
    /// # Errors
    ///
    /// [`Interrupted`] if the mode is no longer `Serving`. The job is dropped before this returns.
    ///
    /// # Panics
    ///
    /// Panics if the job panics, and outside a tokio runtime with time enabled, if a deadline is
    /// pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_maintenance::{Cause, Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// assert_eq!(handle.while_serving(async { "synced" }).await?, "synced");
    ///
    /// let hour = Duration::from_secs(3600);
    /// let job = tokio::spawn(handle.while_serving(tokio::time::sleep(hour)));
    /// tokio::time::sleep(hour / 2).await;
    /// handle.engage(Hold::new("on-call", "ticket 4711"))?;
    /// let interrupted = job.await?.unwrap_err();
    /// assert_eq!(interrupted.glance().causes(), [Cause::Operator]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a job does nothing until it is awaited or spawned"]
    pub fn while_serving<F: Future>(
        &self,
        job: F,
    ) -> impl Future<Output = Result<F::Output, Interrupted>> + use<F> {
        let handle = self.clone();
        async move {
            handle.wait_until_serving().await;
            let weak = Arc::downgrade(handle.shared());
            let mut news = handle.shared().subscribe();
            // Here, so that it is dropped before this future returns.
            let mut job = pin!(job);
            loop {
                // Before the mode is read, so that a change after that is not missed.
                news.mark_unchanged();
                let glance = handle.glance();
                let is_serving = glance.mode() == Mode::Serving;
                let mut changed = pin!(next_news(&weak, &mut news));
                let polled = poll_fn(|cx| match job.as_mut().poll(cx) {
                    Poll::Ready(output) => Poll::Ready(Some(output)),
                    Poll::Pending if !is_serving => Poll::Ready(None),
                    Poll::Pending => changed.as_mut().poll(cx).map(|_| None),
                });
                match polled.await {
                    Some(output) => return Ok(output),
                    None if !is_serving => return Err(Interrupted(glance)),
                    None => {}
                }
            }
        }
    }
}

/// A job of [`MaintenanceHandle::while_serving`] was dropped, because the mode was no longer
/// `Serving`.
#[derive(Clone)]
pub struct Interrupted(Glance);

impl Interrupted {
    /// Returns the state that interrupted the job: mode, causes, until when.
    #[must_use]
    pub fn glance(&self) -> &Glance {
        &self.0
    }
}

impl fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupted").field(&self.0).finish()
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partner = OneLine(self.0.partner());
        let mode = self.0.mode();
        write!(
            f,
            "the job was interrupted, because {partner} is no longer serving: {mode}"
        )
    }
}

impl std::error::Error for Interrupted {}
