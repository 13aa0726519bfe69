//! The audit trail: the commands that were carried out.

use std::{fmt, sync::Arc, time::SystemTime};

use crate::policy::changes::PolicyChange;

/// A command that was carried out.
///
/// [`MaintenanceHandle::audit`](crate::MaintenanceHandle::audit) returns the last 256.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// The number of the command. Commands of one layer are numbered from 1 without gaps.
    pub number: u64,
    /// When it was carried out.
    pub at: SystemTime,
    /// The operator that gave it, 1 to 256 bytes.
    pub actor: Arc<str>,
    /// Why it was given, 1 to 2048 bytes.
    pub reason: Arc<str>,
    /// The verb.
    pub action: Action,
    /// Whether it changed anything.
    pub changed: bool,
    /// The settings of the policy that it changed, old and new. Only
    /// [`replace_policy`](crate::MaintenanceHandle::replace_policy) has some.
    pub policy_changes: Arc<[PolicyChange]>,
}

/// The verbs of an operator: each is a method of [`MaintenanceHandle`](crate::MaintenanceHandle).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// [`engage`](crate::MaintenanceHandle::engage)
    Engage,
    /// [`release`](crate::MaintenanceHandle::release)
    Release,
    /// [`release_verified`](crate::MaintenanceHandle::release_verified)
    ReleaseVerified,
    /// [`trip`](crate::MaintenanceHandle::trip)
    Trip,
    /// [`probe_now`](crate::MaintenanceHandle::probe_now)
    ProbeNow,
    /// [`clear`](crate::MaintenanceHandle::clear)
    Clear,
    /// [`reset`](crate::MaintenanceHandle::reset)
    Reset,
    /// [`dry_run`](crate::MaintenanceHandle::dry_run)
    DryRun,
    /// [`arm`](crate::MaintenanceHandle::arm)
    Arm,
    /// [`bypass`](crate::MaintenanceHandle::bypass)
    Bypass,
    /// [`end_bypass`](crate::MaintenanceHandle::end_bypass)
    EndBypass,
    /// [`replace_policy`](crate::MaintenanceHandle::replace_policy)
    ReplacePolicy,
    /// [`replace_exemptions`](crate::MaintenanceHandle::replace_exemptions)
    ReplaceExemptions,
}

impl Action {
    /// Returns the name of the method on the handle: `release_verified`, for instance.
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
