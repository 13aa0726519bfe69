//! How a refusal looks over HTTP: a problem document for programs, a page for people.
//!
//! Each file imports only from files above it in this list:
//!
//! | file | holds |
//! |---|---|
//! | `error` | the error of an invalid setting |
//! | `texts` | the words of the page and of the notice, per language |
//! | `negotiate` | the form and the language that a client accepts |
//! | `support` | the contact that helps customers meanwhile |
//! | `looks` | the settings that are plain values |
//! | `in_handler` | what a handler says of its own request |
//! | `retry_hint` | how long a refusal asks its client to wait |
//! | `one_refusal` | one refusal: the settings, the request and the answer of the gate |
//! | `problem` | the problem document |
//! | `page` | the page, and the ways to replace it |
//! | `page_values` | what the page says |
//! | `built_in` | the built-in page |
//! | `template`, `page_template` | a page by a template of the user's (feature `page-templates`) |
//! | `samples` | sample refusals that a new template is tried with |
//! | `refusals` | the settings as the user gives them |
//! | `live` | settings that are replaced while the layer runs |
//! | `response` | the response |

mod built_in;
mod error;
mod in_handler;
mod live;
mod looks;
mod negotiate;
mod one_refusal;
mod page;
#[cfg(feature = "page-templates")]
mod page_template;
mod page_values;
mod problem;
mod refusals;
mod response;
mod retry_hint;
#[cfg(feature = "page-templates")]
mod samples;
mod support;
#[cfg(feature = "page-templates")]
mod template;
mod texts;

#[cfg(feature = "axum")]
pub(in crate::http) use self::one_refusal::Asked;
pub use self::{
    error::RefusalsError, in_handler::HandlerRefusal, live::LiveRefusals, one_refusal::Refusal,
    refusals::Refusals, response::refusal, texts::PageTexts,
};
#[cfg(feature = "grpc")]
pub(crate) use self::{in_handler::Processed, response::mark, retry_hint::delays};
