//! The endpoint of the events.

use std::{fmt, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
    request,
};
use tower::util::rng::{HasherRng, Rng};

use super::{
    options::millis,
    registry::{Full, Known, PushCounts},
    script::PushScript,
    stream::EventStream,
    subscribers::Subscribers,
};
use crate::{base::jitter::scaled, http::always_ready::always_ready};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx heeds it, and those who learnt from nginx.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Tells open tabs of each recovery: an endpoint of server-sent events, and a script that heals the tab.
///
/// Serve both where the gate does not stand (outside the layer, or as exempt routes):
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use axum::{Router, body::Body};
/// use http::Request;
/// use http_body_util::BodyExt;
/// use tower::ServiceExt;
/// use tower_maintenance::{Hold, MaintenanceLayer, http::{Push, PushScript}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::builder("zuora").cache_urls(["/billing/prices"]).build()?;
/// let handle = layer.handle();
/// let push = Push::new(&handle);
/// let app: Router = Router::new()
///     .route_service("/maintenance/events", push.events())
///     .route_service(&format!("/maintenance/{}", PushScript::NAME), push.script());
/// // On every page:
/// let on_every_page = format!(
///     r#"<script src="/maintenance/{}" integrity="{}" data-generation="{}" defer></script>"#,
///     PushScript::NAME, PushScript::INTEGRITY, handle.generation(),
/// );
/// # assert!(on_every_page.contains(r#"integrity="sha256-"#));
///
/// let request = Request::get("/maintenance/events").body(Body::empty())?;
/// let mut stream = app.oneshot(request).await?.into_body();
/// let hello = stream.frame().await.unwrap()?.into_data().unwrap();
/// assert!(hello.starts_with(b"retry: "));
///
/// handle.engage(Hold::new("on-call", "ticket 4711"))?;
/// handle.release("on-call", "partner is back")?;
/// let recovered = stream.frame().await.unwrap()?.into_data().unwrap();
/// let expected = format!(
///     "event: recovered\nid: {0}\ndata: {{\"generation\":{0},\"spread_ms\":5000,\"urls\":[\"/billing/prices\"]}}\n\n",
///     handle.generation(),
/// );
/// assert_eq!(recovered, expected);
/// # Ok(())
/// # }
/// ```
///
/// # The stream
///
/// | event | when | data |
/// |---|---|---|
/// | `hello` | at once, to whoever sends no `Last-Event-ID` | the present `generation` (also the event's `id`), the layer's [`cache_urls`](crate::Builder::cache_urls) as `urls`, `spread_ms` |
/// | `recovered` | at each recovery; at once if `Last-Event-ID` is lower than the present generation | the same |
/// | `beat` | every [heartbeat](PushBuilder::heartbeat) | how many milliseconds until the next |
///
/// A `Last-Event-ID` that is the present generation, higher, or no number gets no event: it is unknown here, and nobody refetches for it.
/// A generation is wall-clock milliseconds unless it is [kept](crate::Builder::generation), so that a server that restarts has a
/// higher one, and whoever comes back to it is told to refetch: what was recovered while it was down, nobody knows.
///
/// A subscriber that lags over several recoveries gets the newest. Streams end when the layer is gone.
/// While anybody subscribes, time moves: a wait or an expiry that falls due is applied even if nobody calls.
///
/// # The script
///
/// It has 4 KB, is a classic script (no module; how it was included it reads from its own element), and does its work once however often a page runs it. It needs no library, no inline script and no `eval`: a `Content-Security-Policy` of `script-src 'self'; connect-src 'self'` lets it work.
/// Its [name](PushScript::NAME) changes with its contents, so that it is served as immutable under that name;
/// under any other it is asked for again each time. It connects to `events` beside itself. Attributes of its element:
///
/// | attribute | value | default |
/// |---|---|---|
/// | `data-generation` | the generation that the page was rendered with; a page out of a cache is then healed as soon as it is opened | what the server first says: the page is taken to be new |
/// | `data-url` | where the events are, on the page's own origin | `events`, beside the script |
/// | `data-timeout` | after how many milliseconds a refetch that has not ended counts as failed | 30000 |
/// | `data-reload` | if there, the page is reloaded when nobody handles the event below, at most once a generation and tab; if not all could be fetched then, once more as soon as it is | nothing is reloaded |
///
/// On a higher generation one tab of the browser waits a random part of [`spread`](PushBuilder::spread), then runs `fetch(url, {cache: 'reload'})` for
/// each URL of the page's own origin, up to three times if it fails. So the browser's cache has the new. Then each tab gets an event on `document`:
///
/// ```js
/// document.addEventListener("maintenance:recovered", (event) => {
///   event.preventDefault(); // handled: no reload
///   redraw(event.detail); // {generation, urls, failed, healed}
/// });
/// ```
///
/// `failed` lists the URLs that could not be fetched. They are tried again, and the event comes again, when the connection is next made, and
/// at the 1st, 2nd, 4th, 8th and 16th heartbeat: the network may have gone between the news and the refetch, or another replica answer than the one that told,
/// and be in maintenance still. URLs of other origins are left to the listener.
///
/// One tab holds the connection, by the Web Locks API, and tells the others over a `BroadcastChannel`; when it is closed, the next
/// one connects. Browsers freeze tabs in the background, with what they hold: a tab that is looked at, and gets no answer from the one that has the connection within
/// 5 s, takes it over. Web Locks need a secure context (https, or localhost), and a browser that blocks storage may refuse the channel: there each tab has a connection of its own, and two may
/// refetch the same. Should the server answer with an error, the script tries again after 0.5 to 1.5 s, doubling to a minute.
/// A connection without a sign for three heartbeats is made anew, also one that is only being made: a laptop has slept, or
/// something in between swallows what is sent. A page that comes back out of
/// the back/forward cache connects again.
///
/// # Slow readers
///
/// Nobody waits for one: a subscriber has no queue, and what everybody is told is kept once. Each heartbeat has everybody polled;
/// whoever has not been for three heartbeats in a row is stuck, because its server has more to write than the reader takes. It loses its
/// place, counts as [`stalled`](PushCounts::stalled), and its stream ends should it ever be polled again. Until the server
/// drops it, it counts among the [`streams`](PushCounts::streams) that [`max_subscribers`](PushBuilder::max_subscribers) bounds.
///
/// The connection beneath is the server's: while it waits for the socket, hyper polls no body, and no body can end it. Nor does
/// it notice early: its own buffers and the kernel's take heartbeats for minutes or hours. On Linux let the kernel end it: set
/// `TCP_USER_TIMEOUT` on accepted sockets, with axum by `ListenerExt::tap_io` and socket2's `set_tcp_user_timeout`. A minute is
/// fine: it ends readers who stopped and machines that have gone.
///
/// Over HTTP/2 that does not help against a client that means harm: with a flow-control window of 0 it takes no byte of a stream
/// ([RFC 9113](https://www.rfc-editor.org/rfc/rfc9113#section-10.5), section 10.5), while its connection is well. Such streams fill the bound until
/// the connection ends. So bound the streams of a connection (hyper's `max_concurrent_streams`), the
/// connections of a client, and a connection's age, after which hyper's `graceful_shutdown` and, a minute later, dropping it.
///
/// # Proxies, HTTP/1.1 and HTTP/2
///
/// Over HTTP/1.1 browsers open six connections to a host for all their tabs, and a stream takes one for good: hence one a browser. Where
/// each tab has its own, the seventh tab hangs; over HTTP/2 a stream is one of a hundred or so on one connection.
///
/// Proxies must not hold back what is small: `X-Accel-Buffering: no` says so to nginx, `no-transform` to those that compress. Others are told in
/// their own configuration. A proxy that closes quiet connections usually does so after a minute, which heartbeats prevent. A
/// timeout in your own stack must not stand around the events' route. tower-http's compression leaves event streams alone.
///
/// # One client can take all places
///
/// The bound is on all together. Who a client is this endpoint does not know by itself: behind proxies an address is anybody's claim, and
/// a session is your application's. So one client that opens as many streams as may be keeps all others at their 503,
/// which then are not told of recoveries, and nothing worse. [`refused`](PushCounts::refused) says whether it happens.
///
/// Where that matters, name the client by [`max_of_client`](PushBuilder::max_of_client): beyond its share it gets a 429. Or limit the
/// connections and requests of a client in front (nginx: `limit_conn`, `limit_req`).
///
/// # What a subscriber costs, and how soon all are told
///
/// `tests/push_many.rs` measures both with ten thousand clients in another process, a hundred of whom do not read: 15 KB of memory each, and all others
/// told within 0.25 to 1 s on two cores that also run the clients, without optimisation (it fails above 32 KB and 15 s).
///
/// Over HTTP/1.1 a subscriber costs a file descriptor, here and in each proxy; over HTTP/2 only each connection does.
#[derive(Clone)]
pub struct Push {
    subscribers: Arc<Subscribers>,
}

impl Push {
    pub(super) fn over(subscribers: Subscribers) -> Self {
        Self {
            subscribers: Arc::new(subscribers),
        }
    }

    /// The endpoint of the events. All that are made by one `Push` and its clones share its bound.
    #[must_use]
    pub fn events(&self) -> PushEvents {
        PushEvents(self.clone())
    }

    /// The script that heals the tab.
    #[must_use]
    pub fn script(&self) -> PushScript {
        PushScript {}
    }

    /// How many subscribers there are, and what became of others.
    #[must_use]
    pub fn counts(&self) -> PushCounts {
        self.subscribers.counts()
    }

    fn answer(&self, asked: &request::Parts) -> Response<EventStream> {
        let options = self.subscribers.options();
        let draw = HasherRng::new().next_f64();
        // From half of it to three halves: browsers that lose a server together come back one by one.
        let retry = scaled(options.retry, 0.5 + draw);
        let client = options.client.as_ref();
        let client = client.and_then(|client| client(asked)).map(Into::into);
        let known = known(&asked.headers);
        let mut response = match self.subscribers.subscribe(known, client, millis(retry)) {
            Ok(subscription) => Response::new(EventStream::new(subscription)),
            Err(full) => refused(full, scaled(options.retry, 1.0 + 2.0 * draw)),
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        );
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

fn refused(full: Full, retry_after: Duration) -> Response<EventStream> {
    let mut response = Response::new(EventStream::empty());
    *response.status_mut() = match full {
        // Not 204: after that a browser never comes back.
        Full::ForAll => StatusCode::SERVICE_UNAVAILABLE,
        Full::ForClient => StatusCode::TOO_MANY_REQUESTS,
    };
    let seconds = retry_after.as_secs().max(1);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

fn known(headers: &HeaderMap) -> Known {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Known::Nothing;
    };
    let digits = value.to_str().ok().filter(|value| !value.starts_with('+'));
    digits
        .and_then(|digits| digits.parse().ok())
        .map_or(Known::Nonsense, Known::Generation)
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Answers with the stream of events; made by [`Push::events`].
#[derive(Debug, Clone)]
pub struct PushEvents(Push);

impl PushEvents {
    fn answer(&self, request: &request::Parts) -> Response<EventStream> {
        self.0.answer(request)
    }
}

always_ready!(PushEvents, EventStream);
