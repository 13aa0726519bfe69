//! The settings of methods, by name: their classes, and which of them stream.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::facts::endpoint::{Class, Endpoint};

/// The method name is invalid, or two settings for the method conflict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the method `{name}` {wrong}")]
pub struct MethodError {
    name: String,
    wrong: Wrong,
}

impl MethodError {
    /// Returns the name as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wrong {
    Form,
    TwoClasses { first: Class, second: Class },
    TwoStreams,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => {
                f.write_str("is not valid: write it as on the wire, `/package.Service/Method`")
            }
            Self::TwoClasses { first, second } => {
                write!(f, "has two classes, {first} and {second}: give it one")
            }
            Self::TwoStreams => f.write_str("is both a stream and a subscription: give it one"),
        }
    }
}

/// Settings of methods, by exact path. Another spelling of a path finds nothing, even if a server
/// takes it for the same method.
#[derive(Debug, Clone, Default)]
pub(super) struct Methods(Option<Arc<HashMap<String, Said>>>);

/// The settings of one method.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    class: Option<Class>,
    stream: Option<Stream>,
}

/// A setting that a method can have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting {
    Class(Class),
    Stream(Stream),
}

/// A method whose answers are long streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// The first message comes soon.
    Speaks,
    /// The first message may come late, or never.
    MayBeSilent,
}

impl Said {
    /// Adds a setting, unless it conflicts with one that is there.
    fn set(&mut self, setting: Setting) -> Result<(), Wrong> {
        match setting {
            Setting::Class(second) => match self.class.replace(second) {
                Some(first) if first != second => Err(Wrong::TwoClasses { first, second }),
                Some(_) | None => Ok(()),
            },
            Setting::Stream(second) => match self.stream.replace(second) {
                Some(first) if first != second => Err(Wrong::TwoStreams),
                Some(_) | None => Ok(()),
            },
        }
    }
}

/// Declares a method of a builder that gives a setting to methods of gRPC.
///
/// Both protocols have the same builder methods, which differ in name, setting and documentation.
macro_rules! sets_methods {
    ($(#[$about:meta])* $name:ident: $setting:expr) => {
        $(#[$about])*
        pub fn $name<M: Into<String>>(
            self,
            methods: impl IntoIterator<Item = M>,
        ) -> Result<Self, $crate::grpc::MethodError> {
            let methods = self.methods.with($setting, methods)?;
            Ok(Self { methods, ..self })
        }
    };
}

pub(super) use sets_methods;

impl Methods {
    /// Returns the settings with one more for each of the methods.
    pub(super) fn with<M: Into<String>>(
        self,
        setting: Setting,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let mut all = self.0.map(Arc::unwrap_or_clone).unwrap_or_default();
        for name in methods {
            let name = name.into();
            let set = if is_method(&name) {
                all.entry(name.clone()).or_default().set(setting)
            } else {
                Err(Wrong::Form)
            };
            if let Err(wrong) = set {
                return Err(MethodError { name, wrong });
            }
        }
        Ok(Self(Some(Arc::new(all))))
    }

    fn said(&self, path: &str) -> Said {
        let said = self.0.as_ref().and_then(|all| all.get(path));
        said.copied().unwrap_or_default()
    }

    /// Returns what the gate must know of a call: its class, and whether it may probe.
    pub(super) fn endpoint<'r>(&self, path: &'r str) -> Endpoint<'r> {
        let Said { class, stream } = self.said(path);
        let class = class.unwrap_or_default();
        // A call that may be silent would hold its probe slot until the lease ends, and then count
        // as a hang.
        let may_probe = class == Class::Read && stream != Some(Stream::MayBeSilent);
        Endpoint::at_path(path, may_probe).with_class(class)
    }

    pub(super) fn stream_of(&self, path: &str) -> Option<Stream> {
        self.said(path).stream
    }
}

/// Returns whether `path` is `/package.Service/Method`, with or without a package.
fn is_method(path: &str) -> bool {
    let identifier = |name: &str| {
        let mut chars = name.chars();
        chars
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let parts = path.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(service, method)| service.split('.').all(identifier) && identifier(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_found_by_its_exact_path() {
        let methods = Methods::default()
            .with(
                Setting::Class(Class::Read),
                ["/billing.v1.Billing/GetPrices"],
            )
            .unwrap()
            .with(Setting::Class(Class::Read), ["/Health/Check".to_owned()])
            .unwrap();
        let reads = |methods: &Methods, path| {
            let endpoint = methods.endpoint(path);
            assert_eq!(endpoint.path, Some(path));
            assert_eq!(endpoint.may_probe, endpoint.class == Class::Read);
            endpoint.may_probe
        };
        assert!(reads(&methods, "/billing.v1.Billing/GetPrices"));
        assert!(reads(&methods, "/Health/Check"));
        for other in [
            "/billing.v1.Billing/getprices",
            "/billing.v1.Billing/GetPrices/",
            "/billing.v1.Billing//GetPrices",
            "/x/../billing.v1.Billing/GetPrices",
            "/billing.v1.Billing/Get%50rices",
            "/billing.v1.Billing/Charge",
        ] {
            assert!(!reads(&methods, other), "{other}");
        }
        assert!(!reads(&Methods::default(), "/Health/Check"));
    }

    #[test]
    fn a_name_that_is_none_is_an_error_that_names_it() {
        for name in [
            "",
            "/",
            "billing.v1.Billing/GetPrices",
            "/billing.v1.Billing",
            "/billing.v1.Billing/",
            "/billing..Billing/GetPrices",
            "/billing.v1.Billing/Get/Prices",
            "/billing.v1.Billing/{method}",
            "/1/2",
        ] {
            let read = Methods::default().with(Setting::Class(Class::Read), [name]);
            let stream = Methods::default().with(Setting::Stream(Stream::Speaks), [name]);
            for error in [read.unwrap_err(), stream.unwrap_err()] {
                assert_eq!(error.name(), name);
                assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
            }
        }
    }

    #[test]
    fn a_method_has_one_class_whatever_else_is_said_of_it() {
        let named = "/billing.v1.Billing/Settle";
        let methods = Methods::default()
            .with(Setting::Class(Class::Never), [named])
            .unwrap()
            .with(Setting::Class(Class::Never), [named])
            .unwrap()
            .with(
                Setting::Stream(Stream::Speaks),
                [named, "/billing.v1.Billing/Watch"],
            )
            .unwrap();
        let class = |path| methods.endpoint(path).class;
        assert_eq!(class(named), Class::Never);
        for streams in [named, "/billing.v1.Billing/Watch"] {
            assert_eq!(methods.stream_of(streams), Some(Stream::Speaks));
        }
        assert_eq!(class("/billing.v1.Billing/Watch"), Class::Write);
        assert_eq!(methods.stream_of("/billing.v1.Billing/Charge"), None);
        let error = methods
            .with(Setting::Class(Class::Read), [named])
            .unwrap_err();
        assert_eq!(error.name(), named);
        assert_eq!(
            error.to_string(),
            "the method `/billing.v1.Billing/Settle` has two classes, never and read: give it one"
        );
    }
}
