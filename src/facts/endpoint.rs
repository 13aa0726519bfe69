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

/// What a request does to what stands behind it: a read-only hold goes by it.
///
/// A fourth class, *always*, is an [`Exemption`](crate::Exemption): it bears its reason.
///
/// | class | `Serving` | `Probing` | ramp | read-only hold | `Maintenance` |
/// |---|---|---|---|---|---|
/// | `Read` | passes | as it may probe | its share | passes | refused |
/// | `Write` | passes | as it may probe | its share | refused | refused |
/// | `Never` | passes | refused | refused | refused | refused |
/// | exempt | passes | passes | passes | passes | passes |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Class {
    /// It changes nothing: a read-only hold lets it pass.
    Read,
    /// It may change something, the default: where nobody said what a request does, this is the safe guess.
    #[default]
    Write,
    /// It passes in `Serving` alone, and has no part in proving that the partner is back: a yearly
    /// settlement, an export that takes an hour.
    Never,
}

impl Class {
    /// The class in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Never => "never",
        }
    }
}

impl fmt::Display for Class {
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
    /// What the request does; a read-only hold lets reads pass. [`Class::Write`] unless somebody says otherwise.
    pub class: Class,
}

impl<'r> Endpoint<'r> {
    /// An endpoint without a name, hence never exempt.
    #[must_use]
    pub fn unnamed(may_probe: bool) -> Self {
        Self {
            name: None,
            path: None,
            may_probe,
            class: Class::default(),
        }
    }

    /// An endpoint that is known by its name.
    #[must_use]
    pub fn named(name: &'r str, may_probe: bool) -> Self {
        Self {
            name: Some(name),
            ..Self::unnamed(may_probe)
        }
    }

    /// An endpoint that is known by its path.
    #[must_use]
    pub fn at_path(path: &'r str, may_probe: bool) -> Self {
        Self {
            path: Some(path),
            ..Self::unnamed(may_probe)
        }
    }

    /// Whether there is anything to find an exemption by.
    #[inline]
    pub(crate) fn may_be_exempt(&self) -> bool {
        self.name.is_some() || self.path.is_some()
    }

    /// The same endpoint in this class.
    #[must_use]
    pub fn with_class(self, class: Class) -> Self {
        Self { class, ..self }
    }
}
