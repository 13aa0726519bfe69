//! The address of a status page, and how often it is read.

use std::{fmt, time::Duration};

use http::{Uri, uri::Scheme};

use crate::base::{one_line::OneLine, span::Span};

/// The shortest interval. The page belongs to another company, and its cache lives longer than
/// this.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

const PATH: &str = "/api/v2/status.json";

/// A partner's status page with the API of Statuspage, version 2.
///
/// [`MaintenanceHandle::follow_statuspage`](crate::MaintenanceHandle::follow_statuspage) reads it.
/// The client is any tower service that takes HTTP requests; TLS and redirects are up to the
/// client. It must not be behind the layer, which would refuse its requests during maintenance.
#[derive(Clone)]
#[must_use = "a page is not read until `follow_statuspage` gets it"]
pub struct Statuspage<S> {
    pub(super) client: S,
    url: String,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) seed: Option<u64>,
}

impl<S> Statuspage<S> {
    /// Returns the page at `url`, such as `https://status.zuora.com`, without the path of the API.
    pub fn new(client: S, url: impl Into<String>) -> Self {
        Self {
            client,
            url: url.into(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            seed: None,
        }
    }

    /// Sets the interval between readings, at least 5 s. Default: 60 s, because status pages are
    /// cached for about that long.
    ///
    /// Each pause is up to a fifth longer or shorter. The first reading comes after up to a fifth
    /// of an interval (12 s by default), so that replicas that start together do not read together.
    /// A report is stale after five intervals.
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets the time limit of one reading, from waiting for the client's readiness to the end of
    /// the body. Default: 10 s, because no caller waits for it.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets the seed of the jitter, which makes every run the same. Default: a random seed.
    pub fn with_seed(self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    pub(super) fn checked(&self) -> Result<Uri, StatuspageError> {
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
            return Err(invalid(
                "it has a user name or a password, which the status would show",
            ));
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

/// Returns a URL without the parts that may be secret: the user, the password, the query and the
/// fragment.
///
/// No URL parser is used, because the URL may be invalid: a password may contain `/`, `?`, `#` and
/// `@` unescaped. Everything before the last `@` is therefore removed, wherever the `@` is.
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

/// The settings of a status page are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatuspageError {
    /// The URL is not that of a status page.
    #[error(
        "the status page's url `{}` is not like `https://status.example.com`: {}",
        OneLine(.url),
        OneLine(.why)
    )]
    #[non_exhaustive]
    Url {
        /// The URL. The user, the password, the query and the fragment are replaced by `***`.
        url: String,
        /// The reason.
        why: String,
    },
    /// A time span is too short.
    #[error("the status page's {field} is {value}: allowed is {allowed}")]
    #[non_exhaustive]
    TooShort {
        /// The name of the span: `interval` or `timeout`.
        field: &'static str,
        /// The length of the span.
        value: String,
        /// The allowed range.
        allowed: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
