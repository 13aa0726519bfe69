//! Around an HTTP client: how calls are judged, by the head of an answer, its body and what that
//! says.

pub(crate) mod answer_prefix;
mod body;
mod boxed_http_calls;
mod http_calls;
mod json_answer;
mod json_pointer;
mod json_scalar;
pub(crate) mod judged_errors;
pub(crate) mod measured_body;
mod media_type;
mod reader_wait;
pub(crate) mod retry_after;
pub(crate) mod streamed;
mod upload_body;
mod watching_uploads;

pub use self::{
    answer_prefix::AnswerPrefix,
    body::CallBody,
    boxed_http_calls::BoxedHttpCalls,
    http_calls::HttpCalls,
    json_answer::JsonAnswer,
    json_pointer::PointerError,
    json_scalar::JsonScalar,
    retry_after::retry_after,
    upload_body::UploadBody,
    watching_uploads::{UploadWatched, WatchingUploads, WatchingUploadsLayer},
};
