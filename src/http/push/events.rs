//! The endpoint that streams the events.

use std::{fmt, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
    request,
};
use tower::util::rng::{HasherRng, Rng};

use super::{
    options::millis,
    registry::{Denied, Known, PushCounts, retry_field},
    script::PushScript,
    stream::EventStream,
    subscribers::Subscribers,
};
use crate::{base::jitter::scaled, http::always_ready::always_ready};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx reads this header, and so do other proxies that follow nginx.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Tells open browser tabs of each recovery, by server-sent events and a script that refetches.
///
/// Serve both where the gate does not refuse them: outside the layer, or as exempt routes.
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
/// let generation = handle.generation();
/// let data = format!(
///     r#"{{"generation":{generation},"spread_ms":5000,"urls":["/billing/prices"]}}"#,
/// );
/// assert_eq!(recovered, format!("event: recovered\nid: {generation}\ndata: {data}\n\n"));
/// # Ok(())
/// # }
/// ```
///
/// # The stream
///
/// | event | when | data |
/// |---|---|---|
/// | `hello` | at once, if the request has no `Last-Event-ID` | `generation`, `urls`, `spread_ms` |
/// | `recovered` | at each recovery | the same |
/// | `beat` | every [heartbeat](super::PushBuilder::heartbeat) | milliseconds until the next beat |
///
/// `generation` is the present generation, and also the event's `id`. `urls` are the layer's
/// [`cache_urls`](crate::Builder::cache_urls). `spread_ms` is the
/// [spread](super::PushBuilder::spread).
///
/// If `Last-Event-ID` is lower than the present generation, `recovered` is sent at once. If it is
/// the present generation, a higher one, or not a number, no event is sent: this process does not
/// know such a generation, and the browser refetches nothing for it.
///
/// A generation is wall-clock milliseconds unless it is [kept](crate::Builder::generation). So a
/// server that restarts has a higher one, and a browser that reconnects to it is told to refetch.
/// The server cannot know whether a recovery happened while it was down.
///
/// A subscriber that lags over several recoveries gets the newest. Streams end when the layer is
/// gone, and when the push is [closed](Self::close). Only a GET opens one: a HEAD gets the headers,
/// and any other method a 405. While there is a subscriber, time moves: a wait or an expiry that
/// falls due is applied without a call.
///
/// # The script
///
/// The script is a classic script of less than 3 KB, not a module: it reads its settings from its
/// own element. It does its work once, however often a page runs it. It uses no library, no inline
/// script and no `eval`, so it works under a `Content-Security-Policy` of
/// `script-src 'self'; connect-src 'self'`.
///
/// Its [name](PushScript::NAME) changes with its contents. Under that name it is served as
/// immutable; under any other name browsers revalidate it each time. It connects to `events` beside
/// itself. The attributes of its element are:
///
/// - `data-generation`: the generation that the page was rendered with. A page that comes out of a
///   cache is then healed as soon as it is opened. Default: the first generation that the server
///   sends, so that the page counts as new.
/// - `data-url`: where the events are, on the page's own origin. Default: `events` beside the
///   script.
/// - `data-timeout`: the number of milliseconds after which an unfinished refetch counts as failed.
///   Default: 30000.
/// - `data-reload`: if present, the page is reloaded when no listener handles the event below, at
///   most once per generation and tab. If some URLs could not be fetched then, the page is reloaded
///   once more as soon as they can. Default: nothing is reloaded.
///
/// On a higher generation one tab of the browser waits for a random part of the
/// [spread](super::PushBuilder::spread). Then it runs `fetch(url, {cache: 'reload'})` for each URL
/// of the page's own origin, up to three times if it fails, so that the browser's cache has the new
/// answers. Then each tab gets an event on `document`:
///
/// ```js
/// document.addEventListener("maintenance:recovered", (event) => {
///   event.preventDefault(); // handled: no reload
///   redraw(event.detail); // {generation, urls, failed, healed}
/// });
/// ```
///
/// `failed` lists the URLs that could not be fetched. The script tries them again when it next
/// connects, and at the 1st, 2nd, 4th, 8th and 16th heartbeat, and repeats the event. It does so
/// because the network may fail between the news and the refetch, and because a replica that is
/// still in maintenance may answer. The listener itself handles URLs of other origins.
///
/// One tab holds the connection, by the Web Locks API, and tells the others over a
/// `BroadcastChannel`. When that tab is closed, another one connects. Browsers freeze tabs in the
/// background together with their locks: a visible tab that gets no answer from the connected one
/// within 5 s takes the connection over. Web Locks need a secure context (https, or localhost), and
/// a browser that blocks storage may refuse the channel. Then each tab has a connection of its own,
/// and two tabs may refetch the same URL.
///
/// If the server answers with an error, the script tries again after 0.5 to 1.5 s, doubling up to a
/// minute. A connection that is silent for three heartbeats is made anew, also while it is still
/// being made: a laptop has slept, or a proxy swallows the data. A page that comes back from the
/// back/forward cache connects again.
///
/// # Slow readers
///
/// No subscriber waits for a slow one: there are no queues, and each event is stored once for all
/// of them. At each heartbeat all streams are woken. A stream that is not polled for three
/// heartbeats in a row is stuck: its server has more to write than the reader takes. It loses its
/// place and counts as [`stalled`](PushCounts::stalled), and it ends if it is ever polled again.
/// Until the server drops it, it counts among the [`streams`](PushCounts::streams) that
/// [`max_subscribers`](super::PushBuilder::max_subscribers) bounds.
///
/// The server owns the connection. While it waits for the socket, hyper polls no body, so no body
/// can end the connection. The server also notices late: its own buffers and the kernel's take
/// heartbeats for minutes or hours. On Linux let the kernel end the connection: set
/// `TCP_USER_TIMEOUT` on accepted sockets, with axum by `ListenerExt::tap_io` and socket2's
/// `set_tcp_user_timeout`. A value of one minute ends readers that stopped and machines that
/// disappeared.
///
/// Over HTTP/2 this does not stop a malicious client. With a flow-control window of 0 such a client
/// takes no byte of a stream ([RFC 9113], section 10.5) while its connection stays healthy. Its
/// streams fill the bound until the connection ends. So bound the streams per connection (hyper's
/// `max_concurrent_streams`), the connections per client, and the age of a connection: after that
/// age call hyper's `graceful_shutdown`, and a minute later drop the connection.
///
/// # Proxies, HTTP/1.1 and HTTP/2
///
/// Over HTTP/1.1 browsers open at most six connections to a host for all their tabs, and a stream
/// occupies one of them. For that reason the script opens one stream per browser: with one per tab
/// the seventh tab would hang. Over HTTP/2 a stream is one of about a hundred on one connection.
///
/// Proxies must not buffer small pieces. `X-Accel-Buffering: no` says so to nginx, and
/// `no-transform` to proxies that compress. Other proxies need their own configuration. A proxy
/// that closes quiet connections usually does so after a minute, which heartbeats prevent. No
/// timeout of your own stack may wrap the route of the events. tower-http's compression leaves
/// event streams alone.
///
/// # One client can take all places
///
/// The bound is on all clients together. This endpoint cannot tell clients apart by itself: behind
/// proxies any client can claim any address, and sessions belong to your application. So a client
/// that opens as many streams as the bound allows keeps all others at their 503. Those are not told
/// of recoveries; nothing else happens to them. [`refused`](PushCounts::refused) shows it.
///
/// Where that matters, name the client by [`max_of_client`](super::PushBuilder::max_of_client):
/// beyond its share a client gets a 429. Or limit the connections and requests of a client in front
/// of this server (nginx: `limit_conn`, `limit_req`).
///
/// # Costs
///
/// `tests/push_many.rs` measures ten thousand clients in another process, a hundred of which do not
/// read. Each subscriber takes 15 KB of memory. All others are told within 0.25 to 1 s, on two
/// cores that also run the clients, without optimisation. The test fails above 32 KB and 15 s.
///
/// Over HTTP/1.1 a subscriber costs a file descriptor, here and in each proxy; over HTTP/2 only
/// each connection does.
///
/// [RFC 9113]: https://www.rfc-editor.org/rfc/rfc9113#section-10.5
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

    /// Returns the endpoint of the events. All endpoints of one `Push` and its clones share its
    /// bounds.
    #[must_use]
    pub fn events(&self) -> PushEvents {
        PushEvents(self.clone())
    }

    /// Returns the endpoint of the script.
    #[must_use]
    pub fn script(&self) -> PushScript {
        PushScript {}
    }

    /// Returns how many subscribers there are, and how many were refused or dropped.
    #[must_use]
    pub fn counts(&self) -> PushCounts {
        self.subscribers.counts()
    }

    /// Ends all streams, and every one that is asked for from now on, so that a server can shut
    /// down gracefully.
    ///
    /// A graceful shutdown waits for the responses that are on their way, and an open tab's stream
    /// has no end of its own. A stream that is ended here ends as a whole response. Its browser
    /// reconnects after the time that it was told ([`retry`](super::PushBuilder::retry)), tells the
    /// newest generation that it knows, and so misses no recovery.
    ///
    /// Until the listener is closed, a request for events gets a 200 with a new time to reconnect
    /// after and without a stream. After an error status such as 503 an `EventSource` would never
    /// reconnect by itself.
    ///
    /// A reader that takes no data keeps its connection open, as with any other response. So a
    /// graceful shutdown needs a time limit of its own. A closed push stays closed.
    pub fn close(&self) {
        self.subscribers.close();
    }

    /// Waits for `shutdown`, then [closes](Self::close) this push, for `with_graceful_shutdown`.
    ///
    #[cfg_attr(feature = "axum", doc = "```")]
    #[cfg_attr(not(feature = "axum"), doc = "```ignore")]
    /// use axum::Router;
    /// use tokio::{net::TcpListener, sync::oneshot};
    /// use tower_maintenance::{MaintenanceLayer, http::Push};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let push = Push::new(&layer.handle());
    /// let app = Router::new().route_service("/maintenance/events", push.events());
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// // Usually `tokio::signal::ctrl_c()`.
    /// let (stop, stopped) = oneshot::channel::<()>();
    /// let shutdown = push.close_after(async { stopped.await.unwrap_or_default() });
    /// let served = axum::serve(listener, app).with_graceful_shutdown(shutdown);
    /// # let _ = stop.send(());
    /// served.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_after<F: Future>(&self, shutdown: F) -> impl Future<Output = F::Output> + use<F> {
        let push = self.clone();
        async move {
            let output = shutdown.await;
            push.close();
            output
        }
    }

    fn answer(&self, asked: &request::Parts) -> Response<EventStream> {
        let options = self.subscribers.options();
        if asked.method == Method::HEAD {
            return with_headers(Response::default());
        }
        let draw = HasherRng::new().next_f64();
        // From half of it to three halves, so that browsers that lose a server together do not
        // reconnect together.
        let retry = scaled(options.retry, 0.5 + draw);
        let client = options.client.as_ref();
        let client = client.and_then(|client| client(asked)).map(Into::into);
        let known = known(&asked.headers);
        let subscribed = self.subscribers.subscribe(known, client, millis(retry));
        let retry_after = scaled(options.retry, 1.0 + 2.0 * draw);
        with_headers(match subscribed {
            Ok(subscription) => Response::new(EventStream::new(subscription)),
            Err(Denied::Closed) => Response::new(EventStream::only(retry_field(millis(retry)))),
            Err(Denied::FullForAll) => refused(StatusCode::SERVICE_UNAVAILABLE, retry_after),
            Err(Denied::FullForClient) => refused(StatusCode::TOO_MANY_REQUESTS, retry_after),
        })
    }
}

/// Adds the headers that every answer of the endpoint has.
fn with_headers(mut response: Response<EventStream>) -> Response<EventStream> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("private, no-store, no-transform"),
    );
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns the answer to a client that gets no stream. It is never a 204: after a 204 a browser
/// never reconnects.
fn refused(status: StatusCode, retry_after: Duration) -> Response<EventStream> {
    let mut response = Response::new(EventStream::default());
    *response.status_mut() = status;
    let seconds = retry_after.as_secs().max(1);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

/// Returns the generation that the client knows, by its `Last-Event-ID`.
fn known(headers: &HeaderMap) -> Known {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Known::Nothing;
    };
    // `parse` would accept a leading `+`.
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

/// Answers with the stream of events. [`Push::events`] makes it.
#[derive(Debug, Clone)]
pub struct PushEvents(Push);

impl PushEvents {
    fn answer(&self, request: &request::Parts) -> Response<EventStream> {
        self.0.answer(request)
    }
}

always_ready!(PushEvents, EventStream);
