//! The views before one's own HTTP service, which gate and measure nothing.
//!
//! From bottom to top: `path_ambiguity` and `path_pattern` match paths, `route_classes` gives
//! routes a class, `route_gate` is the protocol, and `by_path` and `axum` find the endpoint of a
//! request.

#[cfg(feature = "axum")]
pub(crate) mod axum;
mod by_path;
mod path_ambiguity;
pub(crate) mod path_pattern;
mod route_classes;
mod route_gate;

pub use self::{
    by_path::{ByPath, Paths},
    route_classes::{ClassError, RouteClasses},
    route_gate::RouteGate,
};
