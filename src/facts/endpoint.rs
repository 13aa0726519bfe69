//! The placement of a view, and what the gate must know about a request.

use std::{any::Any, fmt};

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

/// The head of a request, for the exemptions that ask more than a name or a path.
///
/// It is the seam between the exemptions, which know no protocol, and the wings, which know one. A
/// wing makes the conditions, and its own heads answer them.
pub(crate) trait Head {
    /// Returns the method.
    fn method(&self) -> &str;

    /// Returns whether the request meets `condition`. A condition of another wing is not met.
    fn meets(&self, condition: &(dyn Any + Send + Sync)) -> bool;
}

/// A reference to the head of a request. It is equal to itself only.
#[derive(Clone, Copy)]
pub(crate) struct HeadRef<'r>(pub(crate) &'r dyn Head);

impl fmt::Debug for HeadRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.method())
    }
}

impl PartialEq for HeadRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.0, other.0)
    }
}

impl Eq for HeadRef<'_> {}

/// A path for which the view knows no route, although it is a view that is told the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unrouted<'r> {
    pub(crate) path: &'r str,
    /// Whether a router has seen the request: then a fallback may serve it, as it should.
    pub(crate) by_router: bool,
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
    /// For exemptions that ask more than a name or a path.
    pub(crate) head: Option<HeadRef<'r>>,
    /// Set if the view should have been told a route.
    pub(crate) unrouted: Option<Unrouted<'r>>,
    /// Whether the request passes before routes in every mode, and is not counted.
    pub(crate) passes: bool,
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
            head: None,
            unrouted: None,
            passes: false,
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

    /// Whether there is a name, a path or a head to find an exemption by.
    #[inline]
    pub(crate) fn may_be_exempt(&self) -> bool {
        self.name.is_some() || self.path.is_some() || self.head.is_some()
    }

    /// Sets the head, for exemptions that ask for a method or have a condition.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "the seam for wings whose requests have a head")
    )]
    pub(crate) fn with_head(self, head: &'r dyn Head) -> Self {
        let head = Some(HeadRef(head));
        Self { head, ..self }
    }

    /// Sets the class.
    ///
    /// Default: [`Class::Write`].
    #[must_use]
    pub fn with_class(self, class: Class) -> Self {
        Self { class, ..self }
    }
}
