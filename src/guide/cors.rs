//! How a page on another origin sees a refusal.
//!
//! The shop is at `https://shop.example`, the API at `https://api.example`. For the browser each
//! request of the shop is cross-origin. It hides every answer that has no CORS headers, refusals
//! too. Then the shop does not see "503, try again in 30 s", but a network error.
//!
//! Three rules:
//!
//! 1. *`CorsLayer` stands outside the gate*, so that refusals have its headers. In axum the layer
//!    that is added last stands outermost.
//! 2. *`Retry-After` is exposed.* A script may not read it otherwise.
//! 3. *Preflights pass.* A preflight is the browser's question whether it may send the request. The
//!    gate lets it pass in every mode and does not count it, so this needs no setting. A
//!    `CorsLayer` outside the gate answers it before the gate in any case.
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use axum::{Router, body::Body, http::{HeaderValue, Method, Request, header}, routing::get};
//! use tower::ServiceExt;
//! use tower_http::cors::CorsLayer;
//! use tower_maintenance::{Hold, MaintenanceLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shop = HeaderValue::from_static("https://shop.example");
//! let cors = CorsLayer::new()
//!     .allow_origin(shop.clone())
//!     .allow_methods([Method::GET, Method::POST])
//!     .expose_headers([header::RETRY_AFTER]);
//! let layer = MaintenanceLayer::new("zuora");
//! let prices = Router::new().route("/prices", get(async || "12 EUR"));
//! let app: Router = prices.clone()
//!     .layer(layer.routes())
//!     .layer(cors.clone()); // added last: outside
//!
//! layer.handle().engage(Hold::new("on-call", "ticket 4711"))?;
//! let ask = || Request::get("/prices").header(header::ORIGIN, &shop).body(Body::empty());
//! let refused = app.clone().oneshot(ask()?).await?;
//! assert_eq!(refused.status(), 503);
//! assert_eq!(refused.headers()["access-control-allow-origin"], shop);
//! assert_eq!(refused.headers()["access-control-expose-headers"], "retry-after");
//! assert!(refused.headers().contains_key("retry-after"));
//!
//! // The preflight of a POST passes, and is no refusal.
//! let preflight = Request::options("/prices")
//!     .header(header::ORIGIN, &shop)
//!     .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
//!     .body(Body::empty())?;
//! assert_eq!(app.oneshot(preflight).await?.status(), 200);
//! assert_eq!(layer.handle().status().calls.refused, 1);
//!
//! // The other way round the browser hides the refusal.
//! let wrong: Router = prices.layer(cors).layer(layer.routes());
//! let hidden = wrong.oneshot(ask()?).await?;
//! assert!(!hidden.headers().contains_key("access-control-allow-origin"));
//! # Ok(())
//! # }
//! ```
//!
//! # Pitfalls
//!
//! - *A handler that serves OPTIONS itself*, such as a route of axum's `any()`, runs for preflights
//!   if no `CorsLayer` answers them before. If it calls the partner, that call is gated like any
//!   other, by the layer around the calls. To refuse the preflight instead:
//!   `MaintenanceLayer::with_gated_preflights`. Its refusal then hides the request's own.
//! - *Around calls there is no CORS.* A browser does not stand behind your client.
//! - *`Maintenance-Generation`*, which `http::CacheBustLayer` sets, must be exposed too if scripts
//!   read it.
