//! The contact that helps customers while a request of theirs is refused.

use http::Uri;

use super::error::RefusalsError;

/// A contact, the link to it if there is one, and its hours.
#[derive(Debug, Clone)]
pub(super) struct Support {
    pub(super) contact: String,
    pub(super) href: Option<String>,
    pub(super) hours: String,
}

impl Support {
    fn new(contact: &str, href: Option<String>, hours: &str) -> Self {
        Self {
            contact: contact.to_owned(),
            href,
            hours: hours.trim().to_owned(),
        }
    }

    pub(super) fn email(address: &str, hours: &str) -> Result<Self, RefusalsError> {
        let address = address.trim();
        let is_address = address.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !address.contains(char::is_whitespace)
        });
        if !is_address {
            let allowed = "an e-mail address such as `billing@example.com`";
            return Err(RefusalsError::quoting("support_email", address, allowed));
        }
        Ok(Self::new(address, Some(format!("mailto:{address}")), hours))
    }

    pub(super) fn phone(number: &str, hours: &str) -> Result<Self, RefusalsError> {
        let number = number.trim();
        let dialled: String = number
            .chars()
            .filter(|c| c.is_ascii_digit() || *c == '+')
            .collect();
        let is_number = number
            .chars()
            .all(|c| c.is_ascii_digit() || " +()-./".contains(c));
        if !is_number || !dialled.contains(|c: char| c.is_ascii_digit()) {
            let allowed = "digits, blanks and any of `+ ( ) - . /`, as in `+49 30 123-456`";
            return Err(RefusalsError::quoting("support_phone", number, allowed));
        }
        Ok(Self::new(number, Some(format!("tel:{dialled}")), hours))
    }

    pub(super) fn link(url: &str, hours: &str) -> Result<Self, RefusalsError> {
        let url = absolute_url("support_link", url.trim())?;
        Ok(Self::new(&url, Some(url.clone()), hours))
    }

    pub(super) fn text(text: &str, hours: &str) -> Result<Self, RefusalsError> {
        let text = text.trim();
        if text.is_empty() {
            let allowed = "a text that is not empty";
            return Err(RefusalsError::quoting("support_text", text, allowed));
        }
        Ok(Self::new(text, None, hours))
    }
}

/// Returns `url` if it is an absolute URL with the scheme https or http.
pub(super) fn absolute_url(field: &'static str, url: &str) -> Result<String, RefusalsError> {
    let parsed: Option<Uri> = url.parse().ok();
    let scheme = parsed.as_ref().and_then(Uri::scheme_str);
    if !matches!(scheme, Some("https" | "http")) {
        let allowed = "an absolute https or http URL";
        return Err(RefusalsError::quoting(field, url, allowed));
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_checked_by_its_kind() {
        let email = |address| Support::email(address, "").map(|support| support.href.unwrap());
        let phone = |number| Support::phone(number, "").map(|support| support.href.unwrap());
        assert_eq!(email(" a@b ").as_deref(), Ok("mailto:a@b"));
        assert_eq!(phone("(030) 1.2/3").as_deref(), Ok("tel:030123"));
        for address in ["", "a", "@b", "a@", "a b@c", "javascript:alert(1)"] {
            let error = email(address).unwrap_err();
            assert_eq!(error.field(), "support_email", "{error}");
        }
        for number in ["", "+", "( )", "0800-CALL", "tel:0800", "٠٨٠٠"] {
            let error = phone(number).unwrap_err();
            assert_eq!(error.field(), "support_phone", "{error}");
        }
        for url in ["", "/help", "javascript:alert(1)", "mailto:a@b", "https://"] {
            let error = Support::link(url, "").unwrap_err();
            assert_eq!(error.field(), "support_link", "{error}");
        }
        assert_eq!(Support::text("\n", "").unwrap_err().field(), "support_text");
    }
}
