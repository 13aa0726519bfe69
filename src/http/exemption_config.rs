//! `Deserialize` for an exemption, so that it can stand in a configuration file.
//!
//! It stands in this wing, because an exemption of a path needs the wing's matcher.

use http::Method;
use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    base::one_line::OneLine,
    exemptions::{Exemption, Table},
};

/// An exemption as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table that exempts one endpoint")]
struct Form {
    route: Option<String>,
    http_call: Option<String>,
    call: Option<String>,
    why: Option<String>,
    methods: Option<Vec<String>>,
    #[serde(default)]
    counted: bool,
}

/// Read from a table (features `http` and `serde`): one of `route`, `http_call` and `call`, which
/// stand for the constructors of these names, and `why`. `methods` is a list as for
/// [`for_methods`](Self::for_methods), and `counted = true` stands for [`counted`](Self::counted).
/// An exemption by a condition cannot stand in a file.
///
/// ```
/// use tower_maintenance::{Exemption, http};
/// # use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct File {
///     exempt: Vec<Exemption>,
/// }
/// let file: File = toml::from_str(
///     r#"
///     [[exempt]]
///     route = "/billing/invoices/{id}"
///     methods = ["GET"]
///     why = "customers may see what they owe"
///     "#,
/// )?;
/// let invoices = Exemption::route("/billing/invoices/{id}", "customers may see what they owe");
/// assert_eq!(file.exempt, [invoices.for_methods([::http::Method::GET])]);
/// # let _ = http::Refusals::new();
/// # Ok::<(), toml::de::Error>(())
/// ```
///
/// # Errors
///
/// Each error names the endpoint: if there is none or more than one, if `why` is missing, if the
/// pattern is one that no path can match, or if a method is not a method in capitals. That an
/// endpoint is exempt twice is an error of the layer that takes the list.
impl<'de> Deserialize<'de> for Exemption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Form::deserialize(deserializer)?
            .exemption()
            .map_err(D::Error::custom)
    }
}

impl Form {
    fn exemption(self) -> Result<Exemption, String> {
        type Exempt = fn(&str, &str) -> Exemption;
        let endpoints: [(Option<String>, Exempt); 3] = [
            (self.route, Exemption::route),
            (self.http_call, Exemption::http_call),
            (self.call, Exemption::call),
        ];
        let mut named = endpoints
            .into_iter()
            .filter_map(|(name, exempt)| Some((name?, exempt)));
        let (name, exempt) = match (named.next(), named.next()) {
            (Some(one), None) => one,
            (None, _) => {
                let why = self.why.unwrap_or_default();
                return Err(format!(
                    "the exemption with the reason `{}` has no endpoint: give one of `route`, `http_call` and `call`",
                    OneLine(&why)
                ));
            }
            (Some((one, _)), Some((other, _))) => {
                return Err(format!(
                    "the exemption of `{}` and of `{}` has two endpoints: give one of `route`, `http_call` and `call`",
                    OneLine(&one),
                    OneLine(&other)
                ));
            }
        };
        let mut exemption = exempt(&name, &self.why.unwrap_or_default());
        if let Some(methods) = self.methods {
            let methods = methods.iter().map(|text| method(&name, text));
            exemption = exemption.for_methods(methods.collect::<Result<Vec<_>, _>>()?);
        }
        if self.counted {
            exemption = exemption.counted();
        }
        // Here, where the file's line is known, and not only when the layer takes the whole list.
        Table::new(vec![exemption.clone()]).map_err(|error| error.to_string())?;
        Ok(exemption)
    }
}

/// Methods are case-sensitive: in small letters none would ever match.
fn method(name: &str, text: &str) -> Result<Method, String> {
    let in_capitals = !text.bytes().any(|byte| byte.is_ascii_lowercase());
    let method = Method::from_bytes(text.as_bytes()).ok();
    method.filter(|_| in_capitals).ok_or_else(|| {
        format!(
            "the exemption of `{}` is for the method `{}`: allowed are methods in capitals such as `GET`",
            OneLine(name),
            OneLine(text)
        )
    })
}
