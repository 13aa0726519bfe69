//! The placement of a view, and what the gate must know about a request.

use std::fmt;

/// Where a view of the layer is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Around calls to the partner. The view refuses calls and measures them.
    AroundCalls,
    /// Before the routes of this service. The view refuses requests, but takes no probe slot and
    /// measures nothing.
    BeforeRoutes,
}

impl Placement {
    /// Returns the placement as text: `around calls` or `before routes`.
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

/// What a request does to the data behind it.
///
/// A read-only hold decides by it.
///
/// A request that must pass always has an [`Exemption`](crate::Exemption) instead of a class,
/// because an exemption has a reason.
///
/// | class | `Serving` | `Probing` | ramp | read-only hold | `Maintenance` |
/// |---|---|---|---|---|---|
/// | `Read` | passes | passes if it may probe | its share passes | passes | refused |
/// | `Write` | passes | passes if it may probe | its share passes | refused | refused |
/// | `Never` | passes | refused | refused | refused | refused |
/// | exempt | passes | passes | passes | passes | passes |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Class {
    /// Changes nothing. A read-only hold lets it pass.
    Read,
    /// May change something. The default, because it is the safe assumption about an unknown
    /// request.
    #[default]
    Write,
    /// Passes in `Serving` only, and is never a probe: a yearly settlement, or an export that takes
    /// an hour.
    Never,
}

impl Class {
    /// Returns the class as text: `read`, `write` or `never`.
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

/// What the gate must know about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint<'r> {
    /// The name of the endpoint. The request is exempt if an exemption has exactly this name.
    pub name: Option<&'r str>,
    /// The path of the request. The request is exempt if the path matches the pattern of an
    /// exemption.
    pub path: Option<&'r str>,
    /// Whether the request may be used as a probe. A charge should not be.
    pub may_probe: bool,
    /// What the request does. Default: [`Class::Write`], because a read-only hold refuses writes.
    pub class: Class,
}

impl<'r> Endpoint<'r> {
    /// Builds an endpoint without a name and a path.
    ///
    /// It is never exempt.
    #[must_use]
    pub fn unnamed(may_probe: bool) -> Self {
        Self {
            name: None,
            path: None,
            may_probe,
            class: Class::default(),
        }
    }

    /// Builds an endpoint that is known by its name.
    #[must_use]
    pub fn named(name: &'r str, may_probe: bool) -> Self {
        Self {
            name: Some(name),
            ..Self::unnamed(may_probe)
        }
    }

    /// Builds an endpoint that is known by its path.
    #[must_use]
    pub fn at_path(path: &'r str, may_probe: bool) -> Self {
        Self {
            path: Some(path),
            ..Self::unnamed(may_probe)
        }
    }

    /// Whether there is a name or a path to find an exemption by.
    #[inline]
    pub(crate) fn may_be_exempt(&self) -> bool {
        self.name.is_some() || self.path.is_some()
    }

    /// Sets the class.
    ///
    /// Default: [`Class::Write`].
    #[must_use]
    pub fn with_class(self, class: Class) -> Self {
        Self { class, ..self }
    }
}
