//! The task that reads a status page at intervals and notes what it says.

use http::{Request, Response};
use http_body::Body;
use tower::{BoxError, Service};

use super::{
    pauses::Pauses,
    read::Reader,
    settings::{Statuspage, StatuspageError},
};
use crate::operator::{handle::MaintenanceHandle, partner_feed::Notes};

/// The number of intervals after which a report is stale.
const FRESH_INTERVALS: u32 = 5;

impl MaintenanceHandle {
    /// Returns a future that reads the partner's public status page at intervals and notes its
    /// [report](Self::report_partner_status). Spawn it: it ends when no layer, service or handle is
    /// left.
    ///
    /// It requests `/api/v2/status.json`, first after a short pause and then at each
    /// [interval](Statuspage::with_interval). The requests have an `If-None-Match`, and an answer
    /// 304 confirms the last report.
    ///
    /// A reading fails if there is no connection, no 200, no end within the timeout, a body of more
    /// than 64 KiB, or a body in another format. A failed reading is noted as
    /// [unreadable](Self::partner_unreadable), and the pauses grow up to 15 min. A `Retry-After` of
    /// the page is respected up to that length, and lengthened by up to a fifth, because all
    /// replicas get the same value.
    ///
    /// The report is shown and decides nothing. A page that says "critical", and a page that cannot
    /// be read, neither trip the layer nor refuse a call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels a reading in progress. The last report stays and becomes stale.
    ///
    /// # Errors
    ///
    /// If the URL is not that of a status page, the interval is shorter than 5 s, or the timeout is
    /// zero.
    ///
    /// # Panics
    ///
    /// The future panics if the client panics, or outside a tokio runtime with time enabled.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::{Empty, Full};
    /// use tower::service_fn;
    /// use tower_maintenance::{Indicator, MaintenanceLayer, Mode, http::Statuspage};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let handle = layer.handle();
    /// // In production this is the `Client` of hyper-util with TLS. Here the page never changes.
    /// let client = service_fn(async |request: Request<Empty<&[u8]>>| {
    ///     assert_eq!(request.uri(), "https://status.zuora.com/api/v2/status.json");
    ///     let page = r#"{"status": {"indicator": "critical", "description": "Major Outage"}}"#;
    ///     Ok::<_, std::io::Error>(Response::new(Full::new(page.as_bytes())))
    /// });
    /// let page = Statuspage::new(client, "https://status.zuora.com");
    /// tokio::spawn(handle.follow_statuspage(page)?);
    ///
    /// tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    /// let says = handle.status().partner_says.unwrap().says;
    /// assert_eq!(says.indicator(), Indicator::Critical);
    /// assert_eq!(says.source(), Some("https://status.zuora.com/api/v2/status.json"));
    /// assert_eq!(handle.mode(), Mode::Serving); // it decides nothing
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow_statuspage<S, A, B>(
        &self,
        page: Statuspage<S>,
    ) -> Result<impl Future<Output = ()> + use<S, A, B>, StatuspageError>
    where
        S: Service<Request<A>, Response = Response<B>, Error: Into<BoxError>>,
        A: Default,
        B: Body<Error: Into<BoxError>>,
    {
        let uri = page.checked()?;
        let fresh_for = page.interval.saturating_mul(FRESH_INTERVALS);
        let reader = Reader::new(page.client, uri, page.timeout, fresh_for);
        let pauses = Pauses::new(page.interval, page.seed);
        Ok(follow(Notes::of(self), reader, pauses))
    }
}

async fn follow<S, A, B>(mut notes: Notes, mut reader: Reader<S>, mut pauses: Pauses)
where
    S: Service<Request<A>, Response = Response<B>, Error: Into<BoxError>>,
    A: Default,
    B: Body<Error: Into<BoxError>>,
{
    let rest = tokio::time::sleep(pauses.before_the_first());
    if notes.unless_gone(rest).await.is_none() {
        return;
    }
    loop {
        let Some(read) = notes.unless_gone(reader.read()).await else {
            return;
        };
        let pause = match read {
            Ok(says) => {
                notes.note(Ok(says));
                pauses.after_a_word()
            }
            Err(unread) => {
                notes.note(Err(format!("{}: {}", reader.uri(), unread.why)));
                pauses.after_an_error(unread.asked)
            }
        };
        let rest = tokio::time::sleep(pause);
        if notes.unless_gone(rest).await.is_none() {
            return;
        }
    }
}
