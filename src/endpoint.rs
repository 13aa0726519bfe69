//! Where a view stands, and what the gate must know of a request there.

use std::fmt;

/// Where a view of the layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Around calls to the partner: gates and measures.
    AroundCalls,
    /// Before one's own routes: gates only, takes no slot, measures nothing.
    BeforeRoutes,
}

impl Placement {
    /// The placement in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AroundCalls => "around calls",
            Self::BeforeRoutes => "before routes",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the gate must know of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint<'r> {
    /// The endpoint's name: exempt if it is listed exactly so.
    pub name: Option<&'r str>,
    /// The request's path: exempt if it matches a listed pattern.
    pub path: Option<&'r str>,
    /// Whether the request may be used to learn whether the partner is back. A charge may not.
    pub may_probe: bool,
}

impl<'r> Endpoint<'r> {
    /// An endpoint without a name, hence never exempt.
    #[must_use]
    pub fn unnamed(may_probe: bool) -> Self {
        Self {
            name: None,
            path: None,
            may_probe,
        }
    }

    /// An endpoint that is known by its name.
    #[must_use]
    pub fn named(name: &'r str, may_probe: bool) -> Self {
        Self {
            name: Some(name),
            path: None,
            may_probe,
        }
    }

    /// An endpoint that is known by its path.
    #[must_use]
    pub fn at_path(path: &'r str, may_probe: bool) -> Self {
        Self {
            name: None,
            path: Some(path),
            may_probe,
        }
    }
}
