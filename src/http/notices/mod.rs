//! The notice within a product that stays usable, before and during maintenance.
//!
//! A page that replaces the whole product is wrong if one component is unavailable and others work:
//! the chat goes on while billing is in maintenance. There a small script polls a small endpoint
//! and shows a banner.

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
