//! Before one's own HTTP service: which endpoint a request is for, what it does, and what passes.

#[cfg(feature = "axum")]
pub(crate) mod axum;
mod before_routes;
mod by_path;
mod path_ambiguity;
pub(crate) mod path_pattern;
mod route_classes;

pub use self::{
    before_routes::BeforeRoutes,
    by_path::{ByPath, Paths},
    route_classes::{ClassError, RouteClasses},
};
