//! The commands that were carried out, as the audit trail shows them.

use std::{fmt, sync::Arc, time::SystemTime};

/// One command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Numbers the commands of one layer from 1 on.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// Who.
    pub actor: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// What.
    pub action: Action,
    /// Whether it changed anything.
    pub changed: bool,
}

/// The verbs of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// `engage`
    Engage,
    /// `release`
    Release,
    /// `release_verified`
    ReleaseVerified,
    /// `trip`
    Trip,
    /// `probe_now`
    ProbeNow,
    /// `clear`
    Clear,
    /// `reset`
    Reset,
    /// `dry_run`
    DryRun,
    /// `arm`
    Arm,
    /// `bypass`
    Bypass,
    /// `end_bypass`
    EndBypass,
    /// `replace_policy`
    ReplacePolicy,
    /// `replace_exemptions`
    ReplaceExemptions,
}

impl Action {
    /// The verb as it is called on the handle.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Engage => "engage",
            Self::Release => "release",
            Self::ReleaseVerified => "release_verified",
            Self::Trip => "trip",
            Self::ProbeNow => "probe_now",
            Self::Clear => "clear",
            Self::Reset => "reset",
            Self::DryRun => "dry_run",
            Self::Arm => "arm",
            Self::Bypass => "bypass",
            Self::EndBypass => "end_bypass",
            Self::ReplacePolicy => "replace_policy",
            Self::ReplaceExemptions => "replace_exemptions",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
