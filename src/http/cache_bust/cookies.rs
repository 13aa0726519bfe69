//! Cookies by name: the generation cookie of a client, and the cookies to expire.

use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::error::CacheBustError;

/// The lifetime of the generation cookie: 400 days, the longest that browsers allow
/// (draft-ietf-httpbis-rfc6265bis, 5.5). The cookie must outlive the browser's stored answers.
const LIFETIME: &str = "34560000";

/// Identifies a cookie as browsers do: by name, path and domain.
///
/// ```
/// use tower_maintenance::http::NamedCookie;
///
/// let cookie = NamedCookie::new("__Secure-prices").path("/billing").secure();
/// # let _ = cookie;
/// ```
///
/// Path and domain must be those that the cookie was set with. For a browser, a cookie with another
/// path is another cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a cookie does nothing until it is given to a builder"]
pub struct NamedCookie {
    name: String,
    path: String,
    domain: Option<String>,
    secure: bool,
    partitioned: bool,
}

impl NamedCookie {
    /// Names a cookie at path `/` of this host only.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            path: "/".to_owned(),
            domain: None,
            secure: false,
            partitioned: false,
        }
    }

    /// Sets `Path`. Default: `/`.
    pub fn path(self, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..self
        }
    }

    /// Sets `Domain`. Default: none, so that the cookie belongs to this host only.
    pub fn domain(self, domain: impl Into<String>) -> Self {
        Self {
            domain: Some(domain.into()),
            ..self
        }
    }

    /// Sets `Secure`, which the prefixes `__Secure-` and `__Host-` require. Default: off.
    pub fn secure(self) -> Self {
        Self {
            secure: true,
            ..self
        }
    }

    /// Sets `Partitioned` and `SameSite=None`, for a page that is embedded in another site's page.
    /// Default: off.
    ///
    /// For a browser, a partitioned cookie is another cookie than the one without. It must be
    /// [`secure`](Self::secure), as browsers require (CHIPS,
    /// draft-cutler-httpbis-partitioned-cookies).
    pub fn partitioned(self) -> Self {
        Self {
            partitioned: true,
            ..self
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Checks the cookie by RFC 6265, 4.1.1, and the name prefixes of its successor
    /// (draft-ietf-httpbis-rfc6265bis, 4.1.3).
    pub(super) fn check(&self, field: &'static str) -> Result<(), CacheBustError> {
        let bad = |value: &str, allowed: &str| Err(CacheBustError::new(field, value, allowed));
        let is_name = (1..=256).contains(&self.name.len()) && self.name.bytes().all(is_tchar);
        if !is_name {
            return bad(
                &self.name,
                "a cookie name of 1 to 256 letters, digits and characters of !#$%&'*+-.^_`|~",
            );
        }
        let in_path = |byte| matches!(byte, 0x21..=0x7e) && byte != b';';
        if !self.path.starts_with('/') || self.path.len() > 1024 || !self.path.bytes().all(in_path)
        {
            return bad(
                &self.path,
                "a path of at most 1024 bytes of visible ASCII that begins with `/` and has no `;`",
            );
        }
        if let Some(domain) = &self.domain {
            let is_label = |label: &str| {
                let in_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                (1..=63).contains(&label.len()) && label.bytes().all(in_label)
            };
            if domain.len() > 253 || !domain.split('.').all(is_label) {
                return bad(domain, "a host name such as `example.com`");
            }
        }
        if self.partitioned && !self.secure {
            return bad(
                &self.name,
                "a partitioned cookie that is `secure`: browsers reject others",
            );
        }
        // Browsers compare the prefixes without regard to case.
        let name = self.name.to_ascii_lowercase();
        let is_host = name.starts_with("__host-");
        if (is_host || name.starts_with("__secure-")) && !self.secure {
            return bad(
                &self.name,
                "a cookie with this prefix that is `secure`: browsers reject others",
            );
        }
        if is_host && (self.path != "/" || self.domain.is_some()) {
            return bad(
                &self.name,
                "a cookie with this prefix at path `/` without a domain: browsers reject others",
            );
        }
        Ok(())
    }

    /// Returns the header that makes the browser drop the cookie.
    pub(super) fn expired(&self) -> Result<HeaderValue, CacheBustError> {
        let same_site = if self.partitioned {
            "; SameSite=None"
        } else {
            ""
        };
        self.set("", "0", same_site)
    }

    /// Returns the header that makes the browser store a generation.
    ///
    /// Scripts cannot read the cookie. From other sites browsers send it with top-level navigation
    /// only.
    pub(super) fn of_generation(&self, generation: u64) -> Result<HeaderValue, CacheBustError> {
        // Browsers never send a `Lax` cookie from a page that is embedded in another site's page.
        let attributes = if self.partitioned {
            "; HttpOnly; SameSite=None"
        } else {
            "; HttpOnly; SameSite=Lax"
        };
        self.set(&generation.to_string(), LIFETIME, attributes)
    }

    fn set(&self, value: &str, max_age: &str, more: &str) -> Result<HeaderValue, CacheBustError> {
        let Self { name, path, .. } = self;
        let domain = match &self.domain {
            Some(domain) => format!("; Domain={domain}"),
            None => String::new(),
        };
        let secure = if self.secure { "; Secure" } else { "" };
        let partitioned = if self.partitioned {
            "; Partitioned"
        } else {
            ""
        };
        let line = format!(
            "{name}={value}; Max-Age={max_age}; Path={path}{domain}{secure}{more}{partitioned}"
        );
        HeaderValue::try_from(line).map_err(|_| {
            CacheBustError::new("cookie", name, "a cookie that is a valid header value")
        })
    }
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The generation that a client was last told, by its cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The client has no such cookie: it is a first visit, or a client without cookies.
    Never,
    /// An earlier generation than the present one.
    Before(u64),
    /// The present generation, a later one (of another replica), or no generation: nothing is to be
    /// done.
    Enough,
}

/// Reads what the client was last told.
pub(super) fn told(headers: &HeaderMap, name: &str, generation: u64) -> Told {
    // HTTP/2 may split cookies over several lines.
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    let values = pairs.filter_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        (key == name.as_bytes()).then_some(value)
    });
    let mut told = Told::Never;
    for value in values {
        // The same name may occur for several paths and domains. The newest generation counts.
        match parsed(value) {
            Some(said) if said < generation => {
                told = match told {
                    Told::Before(known) => Told::Before(known.max(said)),
                    Told::Never | Told::Enough => Told::Before(said),
                }
            }
            Some(_) => return Told::Enough,
            None if told == Told::Never => told = Told::Enough,
            None => {}
        }
    }
    told
}

/// Parses a generation in the form that this crate writes, and in no other.
pub(super) fn parsed(value: &[u8]) -> Option<u64> {
    let canonical =
        value.iter().all(u8::is_ascii_digit) && (value == b"0" || value.first() != Some(&b'0'));
    let text = std::str::from_utf8(value).ok()?;
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_by(cookies: &[&str]) -> Told {
        let mut headers = HeaderMap::new();
        for line in cookies {
            headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
        }
        told(&headers, "gen", 100)
    }

    #[test]
    fn a_client_is_behind_only_if_its_generation_is_lower() {
        assert_eq!(told_by(&[]), Told::Never);
        assert_eq!(told_by(&["session=1; other=99"]), Told::Never);
        assert_eq!(told_by(&["session=1; gen=99"]), Told::Before(99));
        assert_eq!(told_by(&["session=1", "gen=0"]), Told::Before(0));
        assert_eq!(told_by(&["gen=100"]), Told::Enough);
        for ignored in [
            "101",
            "18446744073709551616",
            "-1",
            "+1",
            "007",
            "9 9",
            "",
            "x",
            "99x",
            "\"99\"",
        ] {
            assert_eq!(
                told_by(&[&format!("gen={ignored}")]),
                Told::Enough,
                "{ignored}"
            );
        }
    }

    #[test]
    fn of_several_cookies_of_the_name_the_newest_counts() {
        assert_eq!(told_by(&["gen=99; gen=100"]), Told::Enough);
        assert_eq!(told_by(&["gen=100; gen=99"]), Told::Enough);
        assert_eq!(told_by(&["gen=98; gen=99"]), Told::Before(99));
        assert_eq!(told_by(&["gen=99; gen=98"]), Told::Before(99));
        assert_eq!(told_by(&["gen=x; gen=99"]), Told::Before(99));
        assert_eq!(told_by(&["gen=99; gen=x"]), Told::Before(99));
        assert_eq!(told_by(&["GEN=99"]), Told::Never, "names have a case");
    }

    #[test]
    fn a_partitioned_cookie_is_set_and_expired_in_its_partition() {
        let cookie = NamedCookie::new("__Host-a").secure().partitioned();
        assert_eq!(
            cookie.expired().unwrap(),
            "__Host-a=; Max-Age=0; Path=/; Secure; SameSite=None; Partitioned"
        );
        assert_eq!(
            cookie.of_generation(7).unwrap(),
            "__Host-a=7; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
        );
        let error = NamedCookie::new("a").partitioned().check("expire_cookie");
        assert!(error.unwrap_err().to_string().contains("`secure`"));
    }

    #[test]
    fn cookies_that_browsers_would_refuse_are_refused() {
        let name = |name: &str| NamedCookie::new(name);
        for good in [
            name("prices"),
            name("prices").path("/billing/").domain("shop.example.com"),
            name("__Secure-prices").path("/billing").secure(),
            name("__Host-prices").secure(),
            name("__Host-prices").secure().partitioned(),
        ] {
            good.check("expire").unwrap();
        }
        for bad in [
            name(""),
            name("a b"),
            name("a=b"),
            name("a;b"),
            name("a\r\nb"),
            name("é"),
            name(&"a".repeat(257)),
            name("a").path("billing"),
            name("a").path("/a;b"),
            name("a").path("/a\nb"),
            name("a").domain(""),
            name("a").domain("a..b"),
            name("a").domain("example.com; Secure"),
            name("a").partitioned(),
            name("__Secure-a"),
            name("__secure-a"),
            name("__Host-a"),
            name("__Host-a").secure().path("/billing"),
            name("__hOST-a").secure().domain("example.com"),
        ] {
            bad.check("expire").expect_err(&format!("{bad:?}"));
        }
    }
}
