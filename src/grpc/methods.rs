//! The methods that only read, by name.

use std::{collections::HashSet, sync::Arc};

use crate::endpoint::{Class, Endpoint};

/// A method's name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the method `{name}` is not valid: write it as on the wire, `/package.Service/Method`")]
pub struct MethodError {
    name: String,
}

impl MethodError {
    /// The name as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Methods by their exact path: a spelling that only some server takes for the same is not in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Methods(Option<Arc<HashSet<String>>>);

impl Methods {
    pub(super) fn and<M: Into<String>>(
        self,
        more: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let mut all = self.0.map(Arc::unwrap_or_clone).unwrap_or_default();
        for name in more {
            let name = name.into();
            if !is_method(&name) {
                return Err(MethodError { name });
            }
            all.insert(name);
        }
        Ok(Self(Some(Arc::new(all))))
    }

    /// What the gate must know of a call: whether it reads, and by that whether it may probe.
    pub(super) fn endpoint<'r>(&self, path: &'r str) -> Endpoint<'r> {
        let reads = self.0.as_ref().is_some_and(|all| all.contains(path));
        let class = if reads { Class::Read } else { Class::Write };
        Endpoint::at_path(path, reads).with_class(class)
    }
}

/// Whether it is `/package.Service/Method`, with or without a package.
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
            .and(["/billing.v1.Billing/GetPrices"])
            .unwrap()
            .and(["/Health/Check".to_owned()])
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
            let error = Methods::default().and([name]).unwrap_err();
            assert_eq!(error.name(), name);
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }
}
