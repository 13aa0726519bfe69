//! The problem document (RFC 9457) that programs get.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::one_refusal::Refusal;
use crate::base::rfc3339::rfc3339;

/// A closure of the user's that edits the problem document.
pub(super) type EditProblem = dyn Fn(&Refusal<'_>, &mut Map<String, Value>) + Send + Sync;

/// Returns the problem document of a refusal.
pub(super) fn document(refusal: &Refusal<'_>, edit: Option<&EditProblem>) -> String {
    let (refused, looks) = (refusal.refused, refusal.looks);
    let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
    // Without the query: it may hold private data.
    let instance = refusal.asked.path.map(Value::from);
    let next = refused.until().map(|next| json!(rfc3339(next)));
    let support = looks.support.as_ref();
    let members = [
        ("type", Some(json!(looks.problem_type))),
        ("title", Some(json!("Service Unavailable"))),
        ("status", Some(json!(status))),
        ("detail", Some(json!(detail(refusal)))),
        ("instance", instance),
        ("component", Some(json!(refusal.component()))),
        ("since", Some(json!(rfc3339(refused.since())))),
        ("generation", Some(json!(refused.generation()))),
        ("retry_after", Some(json!(refusal.seconds))),
        ("read_only", Some(json!(refused.is_read_only()))),
        ("next_update", next),
        ("message", refused.message().map(Value::from)),
        ("status_url", looks.status_url.as_deref().map(Value::from)),
        (
            "support",
            support.map(|it| json!({ "contact": it.contact, "hours": it.hours })),
        ),
        // Absent where it is not known.
        (
            "processed",
            refusal.nothing_processed().then_some(json!(false)),
        ),
    ];
    let mut document: Map<String, Value> = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    if let Some(edit) = edit {
        edit(refusal, &mut document);
    }
    Value::Object(document).to_string()
}

fn detail(refusal: &Refusal<'_>) -> String {
    let state = if refusal.refused.is_read_only() {
        "can be viewed but not changed during maintenance"
    } else {
        "is temporarily unavailable for maintenance"
    };
    let component = refusal.component();
    let outcome = if refusal.nothing_processed() {
        "The request was not processed, and it is safe to repeat it."
    } else {
        "A call that the request needs was not made. Other parts of the request may have been done."
    };
    format!("{component} {state}. {outcome}")
}
