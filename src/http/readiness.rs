//! The readiness of a layer, for health checks.

use std::{fmt, time::SystemTime};

use axum::{
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::shared_caches::KEPT_NOWHERE;
use crate::{base::rfc3339::rfc3339, facts::glance::Glance, operator::handle::MaintenanceHandle};

impl MaintenanceHandle {
    /// Returns what a readiness check says of this layer.
    ///
    /// It takes no lock, as a [`glance`](Self::glance).
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let glance = self.glance();
        Readiness {
            at: glance.wall_now(),
            glance,
        }
    }

    /// Returns a route for readiness checks: GET answers 200 with the [`Readiness`] as JSON, in
    /// every mode.
    ///
    /// It is *always 200*. An orchestrator takes a pod that is not ready out of rotation. When the
    /// partner is down it is down for every pod, so that would take the whole product down: the
    /// invoices that are exempt, the page that explains, and everything that does without the
    /// partner. The pod is fine, and answers refusals as it should. To be told of maintenance, read
    /// the JSON, or alert on events ([`guide::watching`](crate::guide::watching)).
    ///
    /// The JSON names the partner and shows what an operator wrote for customers. Serve it where
    /// only the orchestrator and operators read it. Add it *after* `.layer(layer.routes())`: axum's
    /// `layer` gates only the routes that were added before.
    ///
    /// ```
    /// use axum::{Router, body::Body, http::Request, routing::get};
    /// use tower::ServiceExt;
    /// use tower_maintenance::{Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let app: Router = Router::new()
    ///     .route("/prices", get(async || "12 EUR"))
    ///     .layer(layer.routes())
    ///     .route("/health/ready", layer.handle().readiness_route());
    ///
    /// layer.handle().engage(Hold::new("on-call", "ticket 4711"))?;
    /// let ready = app.oneshot(Request::get("/health/ready").body(Body::empty())?).await?;
    /// assert_eq!(ready.status(), 200);
    /// let body = axum::body::to_bytes(ready.into_body(), 4096).await?;
    /// let ready: serde_json::Value = serde_json::from_slice(&body)?;
    /// assert_eq!(ready["mode"], "maintenance");
    /// assert_eq!(ready["causes"], serde_json::json!(["operator"]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn readiness_route<S>(&self) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let handle = self.clone();
        get(async move || handle.readiness())
    }
}

/// What a readiness check says of a layer: the state at one moment.
///
/// It is a response (200, JSON) and can be serialized as a part of a larger answer. It says why and
/// since when, and never that the process is not ready: see
/// [`readiness_route`](MaintenanceHandle::readiness_route).
///
/// | member | value |
/// |---|---|
/// | `partner` | the name that the layer was given |
/// | `mode` | `serving`, `maintenance`, `probing` |
/// | `since` | when the episode began, or the mode if there is none; RFC 3339 |
/// | `causes` | of `operator` and `tripped` those that are active |
/// | `read_only` | whether reads pass although the mode is `maintenance` |
/// | `until` | the end at the earliest, or `null` if it is not known |
/// | `retry_after_seconds` | the seconds until then, rounded up, or `null` |
/// | `message` | the message for customers of an operator's hold, or `null` |
/// | `generation` | that of what callers may have cached |
#[derive(Clone)]
pub struct Readiness {
    glance: Glance,
    at: SystemTime,
}

impl Readiness {
    /// Returns the state of which it speaks.
    #[must_use]
    pub fn glance(&self) -> &Glance {
        &self.glance
    }
}

impl Serialize for Readiness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let glance = &self.glance;
        let until = glance.until();
        let left = until.map(|until| until.duration_since(self.at).unwrap_or_default());
        let left = left.map(|left| left.as_millis().div_ceil(1000) as u64);
        let causes: Vec<String> = glance.causes().iter().map(ToString::to_string).collect();
        let mut members = serializer.serialize_struct("Readiness", 9)?;
        members.serialize_field("partner", glance.partner())?;
        members.serialize_field("mode", &glance.mode().to_string())?;
        members.serialize_field("since", &rfc3339(glance.since()))?;
        members.serialize_field("causes", &causes)?;
        members.serialize_field("read_only", &glance.is_read_only())?;
        members.serialize_field("until", &until.map(rfc3339))?;
        members.serialize_field("retry_after_seconds", &left)?;
        members.serialize_field("message", &glance.message())?;
        members.serialize_field("generation", &glance.generation())?;
        members.end()
    }
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let body = serde_json::to_string(&self);
        let body = body.unwrap_or_else(|_| unreachable!("every member can be written"));
        let json = HeaderValue::from_static("application/json");
        let headers = [(CONTENT_TYPE, json), (CACHE_CONTROL, KEPT_NOWHERE)];
        (headers, body).into_response()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("glance", &self.glance)
            .finish_non_exhaustive()
    }
}
