//! What can go wrong when a layer is built or commanded.

use crate::{exemptions::ExemptionError, policy::error::PolicyError};

/// A layer that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The policy makes no sense.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// The exemptions make no sense.
    #[error("exemptions: {0}")]
    Exemption(#[from] ExemptionError),
    /// A generation that does not fit 42 bits.
    #[error("generation is {0}: allowed is 0 to 4398046511103, which fits 42 bits")]
    Generation(u64),
}

/// A command that was not carried out; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no operator's hold to end.
    #[error("no operator holds maintenance")]
    NotHeld,
    /// There is no trip whose wait could end.
    #[error("the layer has not tripped")]
    NotTripped,
    /// Nothing can be tripped or verified while nothing is refused.
    #[error("bypass is on: end it first, or use `engage` and `release`")]
    Bypassed,
    /// The actor, the reason or the message is empty or too long.
    #[error("the {field} has {length} bytes: allowed is 1 to {most}")]
    #[non_exhaustive]
    Text {
        /// `actor`, `reason` or `message`.
        field: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        most: usize,
    },
    /// A hold that would end at once.
    #[error("the hold's expiry is 0 s: allowed is any time longer than 0")]
    NoTime,
    /// The new policy makes no sense; the old one stays in force.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// The new exemptions make no sense; the old ones stay in force.
    #[error("exemptions: {0}")]
    Exemption(#[from] ExemptionError),
}

#[cfg(test)]
mod tests {
    use crate::{Exemption, MaintenanceLayer};

    #[test]
    fn what_an_error_names_stands_on_one_line() {
        let evil = "prices\nWARN \u{1b}[31mrecovered\u{202e}";
        let shown = "prices\\u{a}WARN \\u{1b}[31mrecovered\\u{202e}";
        let call = |why| Exemption::call(evil, why);
        let refused = |exemptions: &[Exemption]| {
            let builder = MaintenanceLayer::builder("zuora").named(|name: &String| name.as_str());
            let exemptions = exemptions.iter().cloned();
            let builder = exemptions.fold(builder, |b, exemption| b.exempt(exemption));
            builder.build().unwrap_err().to_string()
        };
        for error in [
            refused(&[call("")]),
            refused(&[call("why"), call("why")]),
            MaintenanceLayer::builder("zuora")
                .exempt(call("why"))
                .build()
                .unwrap_err()
                .to_string(),
        ] {
            assert!(error.contains(shown), "{error}");
            assert!(!error.contains(char::is_control), "{error}");
        }
    }
}
