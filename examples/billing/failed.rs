//! The errors of the example `billing`, and the answers to them.

use std::{error::Error, fmt::Display, io};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tower::{BoxError, timeout::error::Elapsed};
use tower_maintenance::{CommandError, Refused};

/// Why a request failed. Each reason becomes a problem document.
pub(crate) enum Failed {
    /// The partner failed, or the layer refused the call.
    Partner(BoxError),
    Command(CommandError),
    NoSuchPhase(String),
    NoSuchPlan(String),
    NoSession,
}

impl From<BoxError> for Failed {
    fn from(error: BoxError) -> Self {
        Self::Partner(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Partner(error.into())
    }
}

impl From<CommandError> for Failed {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Self::Partner(error) => match Refused::find(&*error) {
                // The same 503 as that of the gate before the routes. This call is the first thing
                // that a handler here does, so nothing was processed before.
                Some(refused) => refused.clone().nothing_processed().into_response(),
                None if error.is::<Elapsed>() => problem(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the partner did not answer in time; it may have processed the request",
                ),
                None => problem(StatusCode::BAD_GATEWAY, in_full(&*error)),
            },
            Self::Command(error @ CommandError::Text { .. }) => {
                problem(StatusCode::UNPROCESSABLE_ENTITY, error)
            }
            Self::Command(error) => problem(StatusCode::CONFLICT, error),
            Self::NoSuchPlan(plan) => problem(
                StatusCode::NOT_FOUND,
                format_args!("there is no plan `{plan}`, only basic and pro"),
            ),
            Self::NoSession => problem(
                StatusCode::FORBIDDEN,
                "the cookie `session` is missing: open /shop first, which sets it",
            ),
            Self::NoSuchPhase(phase) => problem(
                StatusCode::NOT_FOUND,
                format_args!(
                    "the partner cannot be `{phase}`, only healthy, failing, slow, hanging or down"
                ),
            ),
        }
    }
}

/// Joins the texts of an error and of its sources.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn problem(status: StatusCode, detail: impl Display) -> Response {
    let problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail.to_string(),
    });
    let json = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, json, problem.to_string()).into_response()
}

/// A JSON body with any `Content-Type`: `curl -d` declares each body as a form.
pub(crate) struct AnyJson<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for AnyJson<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|error| problem(error.status(), error.body_text()))?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            // 422 for JSON with wrong contents, 400 for text that is not JSON.
            let status = if error.is_data() {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::BAD_REQUEST
            };
            problem(status, error)
        })
    }
}
