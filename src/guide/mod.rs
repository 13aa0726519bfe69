//! The user's guide: where the layer belongs, how to roll it out, what happens at 3 a.m., how to watch it.
//!
//! Nothing in here is code; every example is compiled and asserts what it says.

pub mod stack;
pub mod rollout;
pub mod at_3_am;
pub mod coming_from;
pub mod watching;
pub mod costs;
