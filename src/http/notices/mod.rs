//! The notice within the product: before and during maintenance, where the product stays usable.
//!
//! A page that replaces everything is wrong where one component is down and its siblings work: a chat goes on
//! while billing rests. There a small script asks a small endpoint, and shows a banner.

mod announcement;
mod notice_json;
mod notice_script;
mod script_response;

pub(super) use self::script_response::script;
pub use self::{
    announcement::Announcement,
    notice_json::{NoticeJson, Notices},
    notice_script::NoticeScript,
};
