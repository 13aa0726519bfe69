//! The views before one's own HTTP service, which gate and measure nothing.
//!
//! From bottom to top: `path_ambiguity`, `pattern_check` and `path_pattern` match paths,
//! `lenient_reading` and `readings` match them as lenient readers do, `route_classes` gives routes
//! a class, `route_gate` is the protocol, `by_path` and `axum` find the endpoint of a request, and
//! `route_check` compares all of that with the routes of a `route_list`.

#[cfg(feature = "axum")]
pub(crate) mod axum;
#[cfg(feature = "axum")]
mod by_path;
#[cfg(feature = "axum")]
mod lenient_reading;
#[cfg(feature = "axum")]
mod original_path;
mod path_ambiguity;
pub(crate) mod path_pattern;
mod pattern_check;
#[cfg(feature = "axum")]
mod readings;
#[cfg(feature = "axum")]
mod route_check;
#[cfg(feature = "axum")]
mod route_classes;
#[cfg(feature = "axum")]
mod route_gate;
#[cfg(feature = "axum")]
mod route_list;

#[cfg(feature = "axum")]
pub use self::{
    by_path::{ByPath, Paths},
    route_check::{RouteGaps, StrayEntry},
    route_classes::{ClassError, RouteClasses},
    route_gate::RouteGate,
    route_list::{RouteList, UnreadableRouter},
};
