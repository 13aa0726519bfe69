//! Telling open tabs: they are right again after a recovery, without a reload by hand.
//!
//! A browser asks nothing about what it has cached, so that it must be told. Server-sent events
//! ([WHATWG HTML](https://html.spec.whatwg.org/multipage/server-sent-events.html)) rather than web sockets: plain HTTP, one way is enough, and
//! browsers reconnect by themselves and say what they heard last.

mod stream;
mod subscribers;

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
    request,
};
use tower::{
    Service,
    util::rng::{HasherRng, Rng},
};

pub use self::stream::EventStream;
use self::subscribers::{Full, Known, Room};
use super::{notices::script, setting_error::setting_error};
use crate::{base::jitter::scaled, operator::handle::MaintenanceHandle};

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
    room: Arc<Room>,
}

type NameClient = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;

/// What is set up for a [`Push`].
pub(super) struct Options {
    max_subscribers: usize,
    max_of_client: usize,
    client: Option<Arc<NameClient>>,
    heartbeat: Duration,
    retry: Duration,
    spread: Duration,
    /// What a heartbeat says.
    beat: Bytes,
}

impl Push {
    /// With the defaults of [`PushBuilder`]. It keeps no layer alive.
    ///
    /// # Panics
    ///
    /// Never: the defaults are allowed.
    #[must_use]
    pub fn new(handle: &MaintenanceHandle) -> Self {
        Self::builder(handle)
            .build()
            .expect("the defaults are allowed")
    }

    /// For what is to be other than the default.
    pub fn builder(handle: &MaintenanceHandle) -> PushBuilder {
        PushBuilder {
            handle: handle.clone(),
            max_subscribers: 10_000,
            max_of_client: usize::MAX,
            client: None,
            heartbeat: Duration::from_secs(20),
            retry: Duration::from_secs(5),
            spread: Duration::from_secs(5),
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
        self.room.counts()
    }

    fn answer(&self, asked: &request::Parts) -> Response<EventStream> {
        let draw = HasherRng::new().next_f64();
        // From half of it to three halves: browsers that lose a server together come back one by one.
        let retry = scaled(self.room.options.retry, 0.5 + draw);
        let client = self.room.options.client.as_ref();
        let client = client.and_then(|client| client(asked)).map(Into::into);
        let known = known(&asked.headers);
        let mut response = match self.room.subscribe(known, client, millis(retry)) {
            Ok(subscription) => Response::new(EventStream::new(subscription)),
            Err(full) => {
                let mut response = Response::new(EventStream::empty());
                *response.status_mut() = match full {
                    // Not 204: after that a browser never comes back.
                    Full::ForAll => StatusCode::SERVICE_UNAVAILABLE,
                    Full::ForClient => StatusCode::TOO_MANY_REQUESTS,
                };
                let seconds = scaled(self.room.options.retry, 1.0 + 2.0 * draw).as_secs();
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, seconds.max(1).into());
                response
            }
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

fn known(headers: &HeaderMap) -> Known {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Known::Nothing;
    };
    let digits = value.to_str().ok().filter(|value| !value.starts_with('+'));
    digits
        .and_then(|digits| digits.parse().ok())
        .map_or(Known::Nonsense, Known::Generation)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Builds a [`Push`]; made by [`Push::builder`].
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{MaintenanceLayer, http::Push};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// let push = Push::builder(&handle)
///     .max_subscribers(50_000)
///     .spread(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(push.counts().subscribers, 0);
///
/// let error = Push::builder(&handle).heartbeat(Duration::ZERO).build().unwrap_err();
/// assert_eq!(error.to_string(), "heartbeat is 0ns: allowed is 100 ms to 10 min");
/// # Ok::<(), tower_maintenance::http::PushError>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing is pushed until `build`"]
pub struct PushBuilder {
    handle: MaintenanceHandle,
    max_subscribers: usize,
    max_of_client: usize,
    client: Option<Arc<NameClient>>,
    heartbeat: Duration,
    retry: Duration,
    spread: Duration,
}

impl PushBuilder {
    /// How many streams there may be at a time, at least 1; who comes after gets a 503 with a jittered `Retry-After`. Default: 10 000.
    ///
    /// A stream counts until its server drops it, also after a stuck reader has lost its place: [`PushCounts::streams`].
    ///
    /// Over HTTP/1.1 a subscriber costs a file descriptor and, measured with hyper (`tests/push_many.rs`), some 15 KB of memory with 4 KB of URLs, nearly all of it hyper's. So ten
    /// thousand fit into 150 MB; the system's limit on open files must be higher than this bound.
    pub fn max_subscribers(self, max_subscribers: usize) -> Self {
        Self {
            max_subscribers,
            ..self
        }
    }

    /// How many streams one client may have at a time, at least 1, and who it is; `None` for one that has no name, which the bound on all
    /// holds alone. Beyond it a client gets a 429 with a jittered `Retry-After`, and counts as [`over_share`](PushCounts::over_share). Default: no such bound.
    ///
    /// The name must be one that a client cannot make up: a session that a layer outside has checked, or an address that your own proxy has
    /// set. A browser needs one stream; without Web Locks (plain http) one for each tab; a browser that lost its network may for a while have
    /// an old one besides. So 10 is ample for a session. An address needs as many as browsers may share it: an office, or a mobile network.
    ///
    /// ```
    /// use tower_maintenance::{MaintenanceLayer, http::Push};
    ///
    /// /// Left in the extensions by the layer that knows the session.
    /// #[derive(Clone)]
    /// struct Account(u64);
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// let push = Push::builder(&handle)
    ///     .max_of_client(10, |request| request.extensions.get().map(|Account(id)| id.to_string()))
    ///     .build()?;
    /// assert_eq!(push.counts().over_share, 0);
    /// # Ok::<(), tower_maintenance::http::PushError>(())
    /// ```
    pub fn max_of_client(
        self,
        most: usize,
        client: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            max_of_client: most,
            client: Some(Arc::new(client)),
            ..self
        }
    }

    /// How often each subscriber is sent a sign, from 100 ms to 10 min. Default: 20 s, for proxies close connections that
    /// were quiet for a minute (nginx `proxy_read_timeout`, load balancers of AWS), and one lost sign must not matter.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    /// How long a browser that lost its connection waits before it comes back, from 100 ms to 10 min. Default: 5 s. Each is told another
    /// number, from half of it to three halves, so that not all come in the instant a server is back. The [script](Push#the-script) comes back after three heartbeats at the latest.
    pub fn retry(self, retry: Duration) -> Self {
        Self { retry, ..self }
    }

    /// Over how long browsers spread their refetches after a recovery, at most 10 min; 0 is: all at once. Default: 5 s. Ten thousand browsers are
    /// then two thousand refetches of each URL a second, and an open tab is right again after 2.5 s on average.
    pub fn spread(self, spread: Duration) -> Self {
        Self { spread, ..self }
    }

    /// What has been set up. It keeps no layer alive.
    ///
    /// # Errors
    ///
    /// If a bound is 0, or a duration is shorter or longer than its setter says. The error says which, and what would be allowed.
    pub fn build(self) -> Result<Push, PushError> {
        let bounds = [
            ("max_subscribers", self.max_subscribers),
            ("max_of_client", self.max_of_client),
        ];
        if let Some((field, _)) = bounds.into_iter().find(|(_, most)| *most == 0) {
            return Err(PushError::new(field, "0", "1 or more"));
        }
        let least = Duration::from_millis(100);
        check("heartbeat", self.heartbeat, least)?;
        check("retry", self.retry, least)?;
        check("spread", self.spread, Duration::ZERO)?;
        let heartbeat = millis(self.heartbeat);
        let options = Options {
            max_subscribers: self.max_subscribers,
            max_of_client: self.max_of_client,
            client: self.client,
            heartbeat: self.heartbeat,
            retry: self.retry,
            spread: self.spread,
            beat: format!("event: beat\ndata: {heartbeat}\n\n").into(),
        };
        Ok(Push {
            room: Arc::new(Room::new(self.handle.shared(), options)),
        })
    }
}

impl fmt::Debug for PushBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushBuilder")
            .field("handle", &self.handle)
            .field("max_subscribers", &self.max_subscribers)
            .field(
                "max_of_client",
                &self.client.as_ref().map(|_| self.max_of_client),
            )
            .field("heartbeat", &self.heartbeat)
            .field("retry", &self.retry)
            .field("spread", &self.spread)
            .finish()
    }
}

fn check(field: &'static str, span: Duration, least: Duration) -> Result<(), PushError> {
    if span < least || span > Duration::from_secs(600) {
        let allowed = if least.is_zero() {
            "0 s to 10 min"
        } else {
            "100 ms to 10 min"
        };
        return Err(PushError::new(field, format!("{span:?}"), allowed));
    }
    Ok(())
}

setting_error! {
    /// A push that makes no sense.
    PushError, "The value that it has.", "{} is {}: allowed is {}"
}

/// Who subscribes, and who does not any more: [`Push::counts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushCounts {
    /// How many subscribe at this moment.
    pub subscribers: usize,
    /// How many streams the server has not dropped yet: those who subscribe, and those who lost their place because they were
    /// stuck. This is what [`max_subscribers`](PushBuilder::max_subscribers) bounds.
    pub streams: usize,
    /// How many have lost their place because they were stuck, ever.
    pub stalled: u64,
    /// How many got a 503, ever: there were as many streams as may be, or the layer was gone.
    pub refused: u64,
    /// How many got a 429, ever: their client had as many streams as [it may have](PushBuilder::max_of_client).
    pub over_share: u64,
}

/// Answers with the stream of events; made by [`Push::events`].
#[derive(Debug, Clone)]
pub struct PushEvents(Push);

impl<A> Service<Request<A>> for PushEvents {
    type Response = Response<EventStream>;
    type Error = Infallible;
    type Future = Ready<Result<Response<EventStream>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (asked, _) = request.into_parts();
        ready(Ok(self.0.answer(&asked)))
    }
}

/// The script without its comments, and without the spaces and line ends that only make it readable.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let lines = include_str!("push.js").lines().map(str::trim);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    code.flat_map(|line| {
        // After these the language needs none.
        let end = if line.ends_with(['{', ',', ';']) {
            ""
        } else {
            "\n"
        };
        [tight(line), end.to_owned()]
    })
    .collect()
});

/// A line of the script without the spaces beside its punctuation. Text in quotes stays as it is.
fn tight(line: &str) -> String {
    let is_loose = |c: Option<char>| c.is_some_and(|c| "{}()[],;:=<>!&|?*".contains(c));
    let mut tight = String::with_capacity(line.len());
    let mut quote = None;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '"' | '`') {
            quote = Some(c);
        }
        let parts_words = !is_loose(tight.chars().last()) && !is_loose(rest.peek().copied());
        if c != ' ' || quote.is_some() || parts_words {
            tight.push(c);
        }
    }
    tight
}

/// The first 16 digits of the script's SHA-256; a test says what it has to be.
macro_rules! hash {
    () => {
        "f2d2142c43015d09"
    };
}

/// Serves the script that heals the tab; made by [`Push::script`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PushScript {}

impl PushScript {
    /// The name to serve it under, beside the events: `push-<hash>.js`. It changes whenever the script does.
    pub const NAME: &'static str = concat!("push-", hash!(), ".js");

    /// The script's `integrity` ([Subresource Integrity](https://www.w3.org/TR/SRI/)), for pages that want browsers to verify it.
    pub const INTEGRITY: &'static str = "sha256-8tIULEMBXQkodvbEWg2/NBSJ5XPqJPC7vFlF5PQT+/E=";
}

impl<A> Service<Request<A>> for PushScript {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let named = request.uri().path().rsplit('/').next() == Some(Self::NAME);
        let cache = if named {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let tag = concat!("\"", hash!(), "\"");
        ready(Ok(script(request.headers(), &SCRIPT, tag, cache)))
    }
}
