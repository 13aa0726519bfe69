//! The headers of a request that say on whose behalf it is made, besides `Cookie`.
//!
//! The list goes by the words in a name, because each product has names of its own. A header that
//! is taken for a credential by mistake costs a stored answer. A credential that is missed shows
//! the answer of one customer to another.

use http::{HeaderMap, HeaderName};

/// Text that occurs in no other header than one with a credential.
const TEXTS: [&str; 14] = [
    "accesskey",
    "apikey",
    "assertion",
    "authoriz",
    "client-cert",
    "clientcert",
    "credential",
    "jwt",
    "passwd",
    "password",
    "secret",
    "session",
    "ssl-client",
    "token",
];

/// Words of credentials, and of the identities that a proxy passes on in place of a credential.
const WORDS: [&str; 13] = [
    "auth",
    "dpop",
    "email",
    "identity",
    "oidc",
    "otp",
    "passcode",
    "principal",
    "saml",
    "sid",
    "signature",
    "user",
    "username",
];

/// Keys that are no credentials. Every other header that ends in `-key` counts.
const OTHER_KEYS: [&str; 5] = ["cache", "idempotency", "partition", "routing", "surrogate"];

/// Whether the request has a credential that is not a part of the key.
pub(super) fn bears_credentials(headers: &HeaderMap, keyed: &[HeaderName]) -> bool {
    headers
        .keys()
        .any(|name| is_credential(name) && !keyed.contains(name))
}

fn is_credential(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Browsers send `Sec-Fetch-User` with every visit.
    if name.starts_with("sec-") || name.starts_with("accept-") {
        return false;
    }
    let words = || name.split(['-', '_']);
    let mut last_two = words().rev();
    let is_key = last_two.next() == Some("key")
        && last_two
            .next()
            .is_none_or(|which| !OTHER_KEYS.contains(&which));
    is_key
        || name.starts_with("cf-access-")
        || TEXTS.iter().any(|text| name.contains(text))
        || (words().any(|word| WORDS.contains(&word)) && !words().any(|word| word == "agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: [&str; 47] = [
        "Api-Key",
        "apiAccessKeyId",
        "ApiKey",
        "apiSecretAccessKey",
        "Authorization",
        "CF-Access-Client-Id",
        "Cf-Access-Jwt-Assertion",
        "DD-API-KEY",
        "DPoP",
        "Fastly-Key",
        "Ocp-Apim-Subscription-Key",
        "Private-Token",
        "Proxy-Authorization",
        "Remote-User",
        "Signature",
        "Signature-Input",
        "X-Access-Token",
        "X-Amz-Security-Token",
        "X-Amzn-Oidc-Data",
        "X-Api-Key",
        "X-Api-Token",
        "X-Apikey",
        "X-Auth-Email",
        "X-Auth-Key",
        "X-Auth-Request-User",
        "X-Auth-Token",
        "X-CSRF-Token",
        "X-Client-Cert",
        "X-Forwarded-Access-Token",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Email",
        "X-Forwarded-User",
        "X-Functions-Key",
        "X-Goog-Api-Key",
        "X-Goog-IAP-JWT-Assertion",
        "X-Hasura-Admin-Secret",
        "X-MS-Client-Principal",
        "X-RapidAPI-Key",
        "X-Serverless-Authorization",
        "X-Session-Id",
        "X-Shopify-Access-Token",
        "X-SSL-Client-S-DN",
        "X-Token",
        "X-User-Id",
        "X-Vault-Token",
        "X-XSRF-Token",
        "x_api_key",
    ];

    const OTHERS: [&str; 46] = [
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Access-Control-Request-Headers",
        "Cache-Control",
        "CF-Connecting-IP",
        "CF-Ray",
        "Connection",
        "Content-Type",
        "Cookie",
        "DNT",
        "Forwarded",
        "Host",
        "Idempotency-Key",
        "If-None-Match",
        "Keep-Alive",
        "Last-Event-ID",
        "Origin",
        "Pragma",
        "Priority",
        "Purpose",
        "Range",
        "Referer",
        "Sec-CH-UA",
        "Sec-Fetch-Site",
        "Sec-Fetch-User",
        "Sec-GPC",
        "Sec-WebSocket-Key",
        "TE",
        "traceparent",
        "Upgrade-Insecure-Requests",
        "User-Agent",
        "Via",
        "X-Amz-User-Agent",
        "X-Amzn-Trace-Id",
        "X-B3-TraceId",
        "X-Client-Version",
        "X-Correlation-Id",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Plan",
        "X-Real-IP",
        "X-Request-Id",
        "X-Requested-With",
        "X-User-Agent",
    ];

    fn name(text: &str) -> HeaderName {
        text.parse().unwrap()
    }

    #[test]
    fn well_known_credentials_are_recognised() {
        for credential in CREDENTIALS {
            assert!(is_credential(&name(credential)), "{credential}");
        }
    }

    #[test]
    fn what_every_browser_and_proxy_sends_is_no_credential() {
        for other in OTHERS {
            assert!(!is_credential(&name(other)), "{other}");
        }
    }
}
