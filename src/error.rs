//! The errors of building a layer and of commanding it.

use crate::{exemptions::ExemptionError, policy::error::PolicyError};

/// An error from building a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The policy is invalid.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// An exemption is invalid.
    #[error("exemptions: {0}")]
    Exemption(#[from] ExemptionError),
    /// The generation does not fit 42 bits.
    #[error("generation is {0}: allowed is 0 to 4398046511103, which fits 42 bits")]
    Generation(u64),
}

/// A command that was not carried out.
///
/// Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no operator's hold to end.
    #[error("no operator holds maintenance")]
    NotHeld,
    /// There is no trip whose wait could end.
    #[error("the layer has not tripped")]
    NotTripped,
    /// Bypass is on. A trip and a verified release would have no effect while nothing is refused.
    #[error("bypass is on: end it first, or use `engage` and `release`")]
    Bypassed,
    /// The actor, the reason or the message is blank or too long.
    #[error("the {field} has {length} bytes: allowed is 1 to {most}")]
    #[non_exhaustive]
    Text {
        /// The name of the text: `actor`, `reason` or `message`.
        field: &'static str,
        /// Its length in bytes; 0 for a text that consists of white space only.
        length: usize,
        /// The largest allowed length in bytes.
        most: usize,
    },
    /// The hold would expire at once.
    #[error("the hold's expiry is 0 s: allowed is any time longer than 0")]
    NoTime,
    /// The new policy is invalid. The old one stays in force.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// One of the new exemptions is invalid. The old ones stay in force.
    #[error("exemptions: {0}")]
    Exemption(#[from] ExemptionError),
}
