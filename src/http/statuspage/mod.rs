//! The partner's public status page, read as what the partner says of itself.
//!
//! Most partners have theirs from Statuspage, or speak its dialect, version 2. The page is shown beside
//! what was measured and decides nothing; so whatever goes wrong with it is a line in the status.

use std::{
    error::Error as StdError,
    fmt,
    future::poll_fn,
    pin::pin,
    time::{Duration, SystemTime},
};

use bytes::Buf;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, ETAG, IF_NONE_MATCH, LOCATION, USER_AGENT},
    uri::Scheme,
};
use http_body::Body;
use serde_json::Value;
use tower::{BoxError, Service, ServiceExt, util::rng::Rng};

use super::calls::retry_after;
use crate::{
    base::{
        clock::Clock,
        jitter::{Seeded, jittered, scaled, seeded},
        one_line::OneLine,
        span::Span,
    },
    facts::partner_word::{Indicator, PartnerSays},
    operator::{handle::MaintenanceHandle, partner_feed::Notes},
};

/// More than any summary needs; a real one has 300 bytes.
const LONGEST_BODY: usize = 64 * 1024;

/// A page that fails is asked ever less often, down to this, or to the interval if that is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// By how much a pause is longer or shorter, so that replicas do not ask in step.
const JITTER: f64 = 0.2;

/// Below this a page is hammered: it is somebody else's, and cached for longer anyway.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

/// For how many intervals a word is fresh.
const FRESH_INTERVALS: u32 = 5;

const PATH: &str = "/api/v2/status.json";
const AGENT: &str = concat!("tower-maintenance/", env!("CARGO_PKG_VERSION"));

/// A partner's status page that speaks Statuspage's API, version 2, for [`MaintenanceHandle::follow_statuspage`].
///
/// The client is any tower service that takes HTTP requests; TLS is its matter, and so is following
/// redirects. It must not stand behind the layer.
#[derive(Clone)]
#[must_use = "a page is not read until `follow_statuspage`"]
pub struct Statuspage<S> {
    client: S,
    url: String,
    interval: Duration,
    timeout: Duration,
    seed: Option<u64>,
}

impl<S> Statuspage<S> {
    /// The page at `url`, as `https://status.zuora.com`, without the API's path.
    pub fn new(client: S, url: impl Into<String>) -> Self {
        Self {
            client,
            url: url.into(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            seed: None,
        }
    }

    /// Sets how often it is read, at least every 5 s. Default: 60 s, as status pages are cached for about that long.
    ///
    /// Each pause is up to a fifth longer or shorter, and the first reading comes after up to a fifth of an interval (12 s by
    /// default): replicas that start together do not ask together. A word is stale after five intervals.
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets how long one reading may take, from the client's readiness to the end of the body.
    /// Default: 10 s, as nobody waits for it.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Makes the jitter the same in every run. Default: another one each time.
    pub fn with_seed(self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    fn checked(&self) -> Result<Uri, StatuspageError> {
        let too_short = |field, span: Duration, allowed| StatuspageError::TooShort {
            field,
            value: Span(span).to_string(),
            allowed,
        };
        if self.interval < SHORTEST_INTERVAL {
            return Err(too_short("interval", self.interval, "5 s or longer"));
        }
        if self.timeout.is_zero() {
            return Err(too_short("timeout", self.timeout, "any time longer than 0"));
        }
        let invalid = |why: &str| StatuspageError::Url {
            url: redacted(&self.url),
            why: why.to_owned(),
        };
        let page: Uri = self
            .url
            .parse()
            .map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))?;
        let scheme = page.scheme();
        if scheme != Some(&Scheme::HTTP) && scheme != Some(&Scheme::HTTPS) {
            return Err(invalid("it does not begin with `https://` or `http://`"));
        }
        if page.authority().is_none_or(|it| it.as_str().contains('@')) {
            return Err(invalid("it names a user, and would be shown in the status"));
        }
        if page.query().is_some() || self.url.contains('#') {
            return Err(invalid("it has a query or a fragment"));
        }
        format!("{}{PATH}", self.url.trim_end_matches('/'))
            .parse()
            .map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))
    }
}

impl<S> fmt::Debug for Statuspage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statuspage")
            .field("url", &redacted(&self.url))
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A URL without what may be a secret: who it names, and what it asks.
///
/// By hand, as it is for what no parser takes: a password may bear any of `/`, `?`, `#` and `@` unescaped, so everything
/// up to the last `@` goes, wherever that stands.
fn redacted(url: &str) -> String {
    let (user, rest) = match url.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, url),
    };
    let shown = match user {
        Some(user) => {
            let schemes = ["https://", "http://"];
            let scheme = schemes.into_iter().find(|scheme| user.starts_with(scheme));
            format!("{}***@{rest}", scheme.unwrap_or_default())
        }
        None => rest.to_owned(),
    };
    match shown.find(['?', '#']) {
        Some(at) => format!("{}***", &shown[..=at]),
        None => shown,
    }
}

/// A status page that cannot be followed as it is described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatuspageError {
    /// The URL is not that of a page.
    #[error("the status page's url `{}` is not like `https://status.example.com`: {}", OneLine(.url), OneLine(.why))]
    #[non_exhaustive]
    Url {
        /// The URL; who it names and what it asks are written as `***`.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A span is too short.
    #[error("the status page's {field} is {value}: allowed is {allowed}")]
    #[non_exhaustive]
    TooShort {
        /// Which span: `interval` or `timeout`.
        field: &'static str,
        /// How long it is.
        value: String,
        /// What would be allowed.
        allowed: &'static str,
    },
}

impl MaintenanceHandle {
    /// A future that reads the partner's public status page again and again, and notes what it
    /// [says](Self::partner_says). Spawn it; it ends by itself when no layer, service or handle is left.
    ///
    /// It asks for `/api/v2/status.json`, soon and then every [interval](Statuspage::with_interval).
    /// With `If-None-Match`: an answer 304 confirms the last word. What cannot be read (no connection, no
    /// 200, no end within the timeout, more than 64 KiB, not what Statuspage writes) is noted as
    /// [unreadable](Self::partner_unreadable), and asked for ever less often, down to once in 15 min;
    /// a `Retry-After` of the page is heeded up to that, and lengthened by up to a fifth: all replicas are told the same.
    ///
    /// It is shown and decides nothing: neither a page that says "critical" nor one that cannot be read
    /// trips or refuses anything.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends a reading under way. The last word stays, and ages.
    ///
    /// # Errors
    ///
    /// If the URL is not that of a page, the interval is shorter than 5 s, or the timeout is zero.
    ///
    /// # Panics
    ///
    /// The future: if the client panics, or outside a tokio runtime with time enabled.
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
    /// // Somewhere hyper-util's `Client` with TLS; here a page that is always the same.
    /// let client = service_fn(async |request: Request<Empty<&[u8]>>| {
    ///     assert_eq!(request.uri(), "https://status.zuora.com/api/v2/status.json");
    ///     let page = r#"{"status": {"indicator": "critical", "description": "Major System Outage"}}"#;
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
        let reader = Reader {
            client: page.client,
            uri,
            timeout: page.timeout,
            fresh_for: page.interval.saturating_mul(FRESH_INTERVALS),
            last: None,
        };
        let pauses = Pauses {
            interval: page.interval,
            failures: 0,
            random: seeded(page.seed),
        };
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
                notes.note(Err(format!("{}: {}", reader.uri, unread.why)));
                pauses.after_an_error(unread.asked)
            }
        };
        let rest = tokio::time::sleep(pause);
        if notes.unless_gone(rest).await.is_none() {
            return;
        }
    }
}

/// Reads the page once more each time.
struct Reader<S> {
    client: S,
    uri: Uri,
    timeout: Duration,
    fresh_for: Duration,
    /// The last word, and the tag of the answer that bore it.
    last: Option<(HeaderValue, PartnerSays)>,
}

/// Why there is no word.
struct Unread {
    why: String,
    /// For how long the page asked to be left alone.
    asked: Option<Duration>,
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self { why, asked: None }
    }
}

impl<S> Reader<S> {
    async fn read<A, B>(&mut self) -> Result<PartnerSays, Unread>
    where
        S: Service<Request<A>, Response = Response<B>, Error: Into<BoxError>>,
        A: Default,
        B: Body<Error: Into<BoxError>>,
    {
        let timeout = self.timeout;
        let limited = tokio::time::timeout(timeout, self.ask()).await;
        limited.unwrap_or_else(|_elapsed| Err(format!("no answer within {timeout:?}").into()))
    }

    async fn ask<A, B>(&mut self) -> Result<PartnerSays, Unread>
    where
        S: Service<Request<A>, Response = Response<B>, Error: Into<BoxError>>,
        A: Default,
        B: Body<Error: Into<BoxError>>,
    {
        let client = self.client.ready().await.map_err(failed)?;
        let mut request = Request::new(A::default());
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some((tag, _)) = &self.last {
            headers.insert(IF_NONE_MATCH, tag.clone());
        }
        let (head, body) = client.call(request).await.map_err(failed)?.into_parts();
        match (head.status, &self.last) {
            (StatusCode::OK, _) => {}
            (StatusCode::NOT_MODIFIED, Some((_, says))) => return Ok(says.clone()),
            (status, _) => {
                let hint = if head.headers.contains_key(LOCATION) {
                    "; give the address it leads to, or a client that follows"
                } else {
                    ""
                };
                return Err(Unread {
                    why: format!("answered {status} instead of 200 OK{hint}"),
                    asked: retry_after::asked(&head.headers, Clock::wall),
                });
            }
        }
        let says = parse(&whole(body).await?)?
            .with_source(&self.uri.to_string())
            .fresh_for(self.fresh_for);
        let tag = head.headers.get(ETAG);
        self.last = tag.map(|tag| (tag.clone(), says.clone()));
        Ok(says)
    }
}

/// An error of the client with all that lies beneath it: the outermost alone rarely says why.
fn failed(error: impl Into<BoxError>) -> Unread {
    let error = error.into();
    let mut why = error.to_string();
    let mut beneath = error.source();
    while let Some(error) = beneath {
        why = format!("{why}: {error}");
        beneath = StdError::source(error);
    }
    why.into()
}

async fn whole<B: Body<Error: Into<BoxError>>>(body: B) -> Result<Vec<u8>, Unread> {
    let too_long = || Unread::from(format!("the body is longer than {LONGEST_BODY} bytes"));
    if body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(too_long());
    }
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(mut data) = frame.map_err(failed)?.into_data() else {
            continue; // trailers
        };
        if data.remaining() > LONGEST_BODY - bytes.len() {
            return Err(too_long());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            bytes.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    Ok(bytes)
}

/// What `status.json` says.
fn parse(body: &[u8]) -> Result<PartnerSays, String> {
    let page: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let field = |path: &'static str, expected: &'static str| match page.pointer(path) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(format!("`{path}` is not {expected}: {other}")),
        None => Err(format!("`{path}` is missing; it should be {expected}")),
    };
    let words = "one of none, minor, major, critical, maintenance";
    let word = field("/status/indicator", words)?;
    let indicator = Indicator::from_word(word)
        .ok_or_else(|| format!("`/status/indicator` is not {words}: {word:?}"))?;
    let says = PartnerSays::new(indicator, field("/status/description", "text")?);
    // Nice to have: a page without it, or with it in another form, is read all the same.
    let changed = page.pointer("/page/updated_at").and_then(Value::as_str);
    Ok(match changed.and_then(instant) {
        Some(at) => says.changed_at(at),
        None => says,
    })
}

/// A time as Statuspage writes it: RFC 3339 in the page's own time zone, `2024-07-31T13:57:12.345-07:00`.
fn instant(text: &str) -> Option<SystemTime> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, offset) = match offset.as_bytes()[0] {
        b'+' => (1, &offset[1..]),
        b'-' => (-1, &offset[1..]),
        _ => return humantime::parse_rfc3339(text).ok(),
    };
    let two = |digits: &str| {
        let number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| digits.parse::<u64>().ok())?
    };
    let (hours, minutes) = offset.split_once(':')?;
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    if hours > 23 || minutes > 59 || local.ends_with('Z') {
        return None;
    }
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let offset = Duration::from_secs((hours * 60 + minutes) * 60);
    // East of Greenwich clocks are ahead.
    if sign > 0 {
        local.checked_sub(offset)
    } else {
        local.checked_add(offset)
    }
}

/// How long to wait before the next reading.
struct Pauses {
    interval: Duration,
    /// Errors in a row.
    failures: u32,
    random: Seeded,
}

impl Pauses {
    fn before_the_first(&mut self) -> Duration {
        let part = JITTER * self.random.next_f64();
        scaled(self.interval, part)
    }

    fn after_a_word(&mut self) -> Duration {
        self.failures = 0;
        jittered(self.interval, JITTER, &mut self.random)
    }

    fn after_an_error(&mut self, asked: Option<Duration>) -> Duration {
        let longest = LONGEST_PAUSE.max(self.interval);
        let growth = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let pause = self.interval.saturating_mul(growth).min(longest);
        let asked = asked.unwrap_or_default().min(longest);
        // Never earlier than asked.
        let asked = scaled(asked, 1.0 + JITTER * self.random.next_f64());
        jittered(pause, JITTER, &mut self.random).max(asked)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::base::property_cases::cases;

    /// As status pages of Statuspage answer it.
    const PAGE: &str = r#"{
        "page": {"id": "x", "name": "Zuora", "url": "https://status.zuora.com", "time_zone": "America/Los_Angeles",
                 "updated_at": "2024-07-31T13:57:12.345-07:00"},
        "status": {"indicator": "major", "description": "Partial System Outage"}}"#;

    #[test]
    fn a_page_is_read_as_what_the_partner_says() {
        let says = parse(PAGE.as_bytes()).unwrap();
        assert_eq!(says.indicator(), Indicator::Major);
        assert_eq!(says.description(), "Partial System Outage");
        let changed = humantime::parse_rfc3339("2024-07-31T20:57:12.345Z").unwrap();
        assert_eq!(says.changed(), Some(changed));
        for word in ["none", "minor", "major", "critical", "maintenance"] {
            let page = PAGE.replacen("major", word, 1);
            assert_eq!(parse(page.as_bytes()).unwrap().indicator().as_str(), word);
        }
        for page in [
            "null",
            "7",
            r#"{"updated_at": 7}"#,
            r#"{"updated_at": "soon"}"#,
        ] {
            let page =
                format!(r#"{{"page":{page},"status":{{"indicator":"none","description":""}}}}"#);
            let says = parse(page.as_bytes()).unwrap();
            assert_eq!((says.changed(), says.description()), (None, "operational"));
        }
    }

    #[test]
    fn what_is_no_page_is_an_error_that_names_what_is_wrong() {
        let deep = "[".repeat(10_000);
        for (page, why) in [
            ("", "the body is not JSON: EOF"),
            (
                "<html>",
                "the body is not JSON: expected value at line 1 column 1",
            ),
            ("{\"status\":", "the body is not JSON: EOF"),
            (deep.as_str(), "the body is not JSON: recursion limit"),
            ("[]", "`/status/indicator` is missing"),
            ("{}", "`/status/indicator` is missing"),
            (r#"{"status": 7}"#, "`/status/indicator` is missing"),
            (
                r#"{"status": {"indicator": 7}}"#,
                "`/status/indicator` is not one of none, minor, major, critical, maintenance: 7",
            ),
            (
                r#"{"status": {"indicator": "sunny"}}"#,
                r#"`/status/indicator` is not one of none, minor, major, critical, maintenance: "sunny""#,
            ),
            (
                r#"{"status": {"indicator": "None"}}"#,
                "`/status/indicator` is not one of",
            ),
            (
                r#"{"status": {"indicator": "none"}}"#,
                "`/status/description` is missing; it should be text",
            ),
            (
                r#"{"status": {"indicator": "none", "description": ["a"]}}"#,
                r#"`/status/description` is not text: ["a"]"#,
            ),
        ] {
            let error = parse(page.as_bytes()).unwrap_err();
            assert!(error.starts_with(why), "{page:.40}: {error}");
        }
        assert!(
            parse(b"\xff\xfe{}")
                .unwrap_err()
                .starts_with("the body is not JSON")
        );
    }

    #[test]
    fn a_time_is_read_in_whatever_zone_it_is_written() {
        let noon = humantime::parse_rfc3339("2024-07-31T12:00:00Z").unwrap();
        for text in [
            "2024-07-31T12:00:00Z",
            "2024-07-31T12:00:00.000Z",
            "2024-07-31T12:00:00+00:00",
            "2024-07-31T05:00:00.000-07:00",
            "2024-07-31T17:30:00+05:30",
            "2024-08-01T00:00:00+12:00",
        ] {
            assert_eq!(instant(text), Some(noon), "{text}");
        }
        for text in [
            "",
            "Z",
            "2024-07-31",
            "2024-07-31T12:00:00",
            "2024-07-31T12:00:00+24:00",
            "2024-07-31T12:00:00+00:60",
            "2024-07-31T12:00:00+0:000",
            "2024-07-31T12:00:00++1:00",
            "2024-07-31T12:00:00−07:00",
            "2024-07-31T12:00:00Z+00:00",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_that_cannot_be_asked_for_is_an_error() {
        let error = |url: &str| {
            let checked = Statuspage::new((), url).checked();
            checked
                .map(|uri| uri.to_string())
                .map_err(|error| error.to_string())
        };
        for url in ["https://status.zuora.com", "https://status.zuora.com/"] {
            assert_eq!(
                error(url).as_deref(),
                Ok("https://status.zuora.com/api/v2/status.json")
            );
        }
        assert_eq!(
            error("http://127.0.0.1:8080/zuora").as_deref(),
            Ok("http://127.0.0.1:8080/zuora/api/v2/status.json")
        );
        for url in [
            "",
            "status.zuora.com",
            "/status",
            "ftp://status.zuora.com",
            "https://",
            "https://me:secret@status.zuora.com",
            "https://status.zuora.com?page=1",
            "https://status.zuora.com#top",
            "https://status zuora.com",
        ] {
            let error = error(url).unwrap_err();
            assert!(
                error.contains("is not like `https://status.example.com`"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_interval_under_5_s_and_no_timeout_are_errors() {
        let page = || Statuspage::new((), "https://status.zuora.com");
        let error = |page: Statuspage<()>| page.checked().unwrap_err().to_string();
        for (millis, shown) in [(0, "0 s"), (1, "1 ms"), (4_900, "4.9 s")] {
            let interval = Duration::from_millis(millis);
            assert_eq!(
                error(page().with_interval(interval)),
                format!("the status page's interval is {shown}: allowed is 5 s or longer")
            );
        }
        assert!(page().with_interval(SHORTEST_INTERVAL).checked().is_ok());
        assert_eq!(
            error(page().with_timeout(Duration::ZERO)),
            "the status page's timeout is 0 s: allowed is any time longer than 0"
        );
        let brief = page().with_timeout(Duration::from_nanos(1));
        assert!(brief.checked().is_ok());
    }

    #[test]
    fn a_secret_in_a_url_is_not_shown() {
        for (url, shown) in [
            ("https://status.zuora.com", "https://status.zuora.com"),
            (
                "https://me@status.zuora.com",
                "https://***@status.zuora.com",
            ),
            ("http://me:secret@h:8080/x", "http://***@h:8080/x"),
            ("https://me:se/cr?e#t@h", "https://***@h"),
            ("https://me:s@cret@h", "https://***@h"),
            ("https://me:secret@h?page=1", "https://***@h?***"),
            ("https://h/?token=secret", "https://h/?***"),
            ("https://h#secret", "https://h#***"),
            ("me:secret@h", "***@h"),
            ("//me:secret@h", "***@h"),
            ("ftp://me:secret@h", "***@h"),
            ("https:/me:secret@h", "***@h"),
            ("me:https://secret@h", "***@h"),
        ] {
            assert_eq!(redacted(url), shown);
            let page = Statuspage::new((), url);
            let told = format!("{page:?} {:?}", page.checked());
            assert!(!told.contains("secret"), "{told}");
            if let Err(error) = page.checked() {
                assert!(error.to_string().contains(&format!("`{shown}`")), "{error}");
            }
        }
    }

    fn pauses(interval: Duration, seed: u64) -> Pauses {
        Pauses {
            interval,
            failures: 0,
            random: seeded(Some(seed)),
        }
    }

    #[test]
    fn a_pause_is_a_fifth_longer_or_shorter_at_most_and_the_same_for_the_same_seed() {
        let drawn = |seed| {
            let mut pauses = pauses(Duration::from_secs(60), seed);
            (0..1000)
                .map(|_| pauses.after_a_word().as_secs_f64())
                .collect::<Vec<_>>()
        };
        let one = drawn(1);
        assert!(one.iter().all(|pause| (48.0..=72.0).contains(pause)));
        assert!(one.iter().any(|pause| *pause < 50.0) && one.iter().any(|pause| *pause > 70.0));
        assert_eq!(one, drawn(1));
        assert_ne!(one, drawn(2));
    }

    #[test]
    fn a_page_that_fails_is_asked_ever_less_often_until_it_is_read() {
        let minute = Duration::from_secs(60);
        let mut pauses = pauses(minute, 0);
        for minutes in [1, 2, 4, 8, 15, 15, 15] {
            let ratio = pauses.after_an_error(None).as_secs_f64() / (60.0 * f64::from(minutes));
            assert!((0.8..=1.2).contains(&ratio), "{minutes} min: {ratio}");
        }
        for _ in 0..100 {
            assert!(pauses.after_an_error(None) <= minute * 18, "no overflow");
        }
        assert!(pauses.after_a_word() <= minute * 72 / 60);
        assert!(pauses.after_an_error(None) <= minute * 72 / 60, "anew");
    }

    #[test]
    fn what_a_page_asks_for_is_the_least_up_to_a_fifth_more_and_to_the_longest() {
        let minute = Duration::from_secs(60);
        let asked = |secs, seed| {
            let mut pauses = pauses(minute, seed);
            pauses.after_an_error(Some(Duration::from_secs(secs)))
        };
        let mut drawn: Vec<_> = (0..1000).map(|seed| asked(600, seed)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert!(drawn.len() > 900, "spread: {}", drawn.len());
        assert!(drawn[0] >= 10 * minute && drawn[0] < 10 * minute + minute / 6);
        let last = drawn[drawn.len() - 1];
        assert!(last <= 12 * minute && last > 12 * minute - minute / 6);
        for seed in 0..100 {
            assert!((15 * minute..=18 * minute).contains(&asked(1 << 31, seed)));
        }
    }

    #[test]
    fn the_first_reading_comes_within_a_fifth_of_the_interval() {
        let first = |seed| pauses(Duration::from_secs(60), seed).before_the_first();
        let drawn: Vec<_> = (0..1000).map(|seed| first(seed).as_secs_f64()).collect();
        assert!(drawn.iter().all(|pause| (0.0..=12.0).contains(pause)));
        assert!(drawn.iter().any(|pause| *pause < 1.0) && drawn.iter().any(|pause| *pause > 11.0));
        assert_eq!(first(7), first(7));
    }

    #[test]
    fn an_interval_of_any_length_is_an_interval() {
        for interval in [Duration::from_nanos(1), Duration::MAX] {
            let mut pauses = pauses(interval, 0);
            pauses.before_the_first();
            pauses.after_a_word();
            pauses.after_an_error(Some(Duration::MAX));
        }
    }

    proptest! {
        #![proptest_config(cases(1024))]

        #[test]
        fn whatever_a_page_sends_it_does_not_panic(
            body in vec(any::<u8>(), 0..200),
            indicator in any::<String>(),
            description in any::<String>(),
            time in ".{0,4}[-0-9T:.]{0,30}[-+Z].{0,5}",
        ) {
            let _ = parse(&body);
            let _ = instant(&time);
            let page = serde_json::json!({
                "page": { "updated_at": time },
                "status": { "indicator": indicator, "description": description },
            });
            let _ = parse(page.to_string().as_bytes());
            let says = PartnerSays::new(Indicator::Minor, &description);
            prop_assert!(!says.description().contains(char::is_control));
            prop_assert!(says.description().chars().count() <= 257);
        }
    }
}
