//! What an operator may do and see.

use std::{sync::Arc, time::SystemTime};

use crate::{
    error::CommandError,
    exemptions::{Exemption, ExemptionTable, Table},
    facts::{
        audit::AuditEntry,
        episode::Episode,
        mode::Mode,
        partner_word::{PartnerSays, plain},
        status::Status,
    },
    machine::{Command, Signature},
    operator::{
        hold::Hold,
        receipt::Receipt,
        subscribe::{CacheBusts, Events, next_news},
    },
    policy::Policy,
    state::{journal::Journal, root::Root},
};

/// The operator's side of a layer: a cheap clone, usable from any thread, that outlives every service.
///
/// Commands act locally and at once, and each bears an actor and a reason for the audit trail. An
/// actor has 1 to 256 bytes, a reason 1 to 2048.
///
/// ```
/// use tower_maintenance::{CommandError, Hold, MaintenanceLayer, Mode};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// handle.engage(Hold::new("on-call", "Zuora degraded, ticket 4711"))?;
/// assert_eq!(handle.mode(), Mode::Maintenance);
///
/// let receipt = handle.release("on-call", "partner reports recovery")?;
/// assert!(receipt.changed());
/// assert_eq!(handle.mode(), Mode::Serving);
/// assert_eq!(handle.release("on-call", "again"), Err(CommandError::NotHeld));
/// assert_eq!(handle.audit().len(), 2);
/// # Ok::<(), CommandError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MaintenanceHandle {
    shared: Arc<Root>,
}

impl MaintenanceHandle {
    pub(crate) fn new(shared: Arc<Root>) -> Self {
        Self { shared }
    }

    /// The name the layer was given for its partner.
    #[must_use]
    pub fn partner(&self) -> &str {
        self.shared.partner()
    }

    // ---- verbs ------------------------------------------------------------------------------

    /// Puts the layer into maintenance until [`release`](Self::release), or until the hold expires.
    ///
    /// There is one operator's hold a layer: engaging again replaces actor, reason and expiry.
    ///
    /// # Errors
    ///
    /// If actor, reason or message is empty or too long, or the expiry is zero.
    pub fn engage(&self, hold: Hold) -> Result<Receipt, CommandError> {
        let (command, by) = hold.into_command()?;
        self.command(command, by)
    }

    /// Ends the operator's hold, and nothing else: if the layer is tripped beneath it, that shows again.
    ///
    /// # Errors
    ///
    /// [`CommandError::NotHeld`] without a hold; or if actor or reason is empty or too long.
    pub fn release(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Release, Signature::new(actor, reason)?)
    }

    /// Ends the operator's hold and leaves through `Probing`: the partner must prove itself first.
    ///
    /// # Errors
    ///
    /// [`CommandError::NotHeld`] without a hold; [`CommandError::Bypassed`] under bypass; or if actor or
    /// reason is empty or too long.
    pub fn release_verified(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::ReleaseVerified, Signature::new(actor, reason)?)
    }

    /// Trips as if a rule had fired, with the next wait; called while a wait is running it restarts that wait.
    ///
    /// A command is not a rule: it is real under dry run too.
    ///
    /// # Errors
    ///
    /// [`CommandError::Bypassed`] under bypass; or if actor or reason is empty or too long.
    pub fn trip(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Trip, Signature::new(actor, reason)?)
    }

    /// Ends the wait of a trip, so that probing begins now (beneath a hold: when the hold ends).
    ///
    /// # Errors
    ///
    /// [`CommandError::NotTripped`] without a trip; or if actor or reason is empty or too long.
    pub fn probe_now(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::ProbeNow, Signature::new(actor, reason)?)
    }

    /// Ends a trip and the operator's hold without any proof, and lets the waits start anew.
    ///
    /// # Errors
    ///
    /// If actor or reason is empty or too long.
    pub fn clear(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Clear, Signature::new(actor, reason)?)
    }

    /// [`clear`](Self::clear), and in every mode forgets what the window holds: a new era begins.
    ///
    /// # Errors
    ///
    /// If actor or reason is empty or too long.
    pub fn reset(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Reset, Signature::new(actor, reason)?)
    }

    /// Begins dry run: rules judge and tell, but do not act. A trip in force ends.
    ///
    /// # Errors
    ///
    /// If actor or reason is empty or too long.
    pub fn dry_run(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::DryRun, Signature::new(actor, reason)?)
    }

    /// Ends dry run: from now on the rules act.
    ///
    /// # Errors
    ///
    /// If actor or reason is empty or too long.
    pub fn arm(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Arm, Signature::new(actor, reason)?)
    }

    /// Begins bypass: nothing is refused, not even under a hold. A trip in force ends; a hold shows
    /// again when the bypass ends.
    ///
    /// # Errors
    ///
    /// If actor or reason is empty or too long.
    pub fn bypass(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Bypass, Signature::new(actor, reason)?)
    }

    /// Ends bypass.
    ///
    /// # Errors
    ///
    /// If actor or reason is empty or too long.
    pub fn end_bypass(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::EndBypass, Signature::new(actor, reason)?)
    }

    /// Replaces the policy while running.
    ///
    /// Results that land from now on are judged by it. A wait that is running keeps its end, probing and
    /// ramp end under the numbers they began with, and the window's contents survive if its shape is unchanged.
    ///
    /// # Errors
    ///
    /// If the policy makes no sense, the old one stays in force; or if actor or reason is empty or too long.
    pub fn replace_policy(
        &self,
        policy: &Policy,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        let rules = Box::new(policy.rules()?);
        self.command(
            Command::ReplacePolicy(rules),
            Signature::new(actor, reason)?,
        )
    }

    /// Replaces the exemptions while running. Requests that were let in as exempt stay so.
    ///
    /// # Errors
    ///
    /// If an exemption makes no sense, the old ones stay in force; or if actor or reason is empty or too long.
    pub fn replace_exemptions(
        &self,
        exemptions: impl IntoIterator<Item = Exemption>,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        let table = Table::new(exemptions.into_iter().collect(), self.shared.call_names())?;
        let by = Signature::new(actor, reason)?;
        self.carry_out(Command::ReplaceExemptions, Some(table), by)
    }

    fn command(&self, command: Command, by: Signature) -> Result<Receipt, CommandError> {
        self.carry_out(command, None, by)
    }

    fn carry_out(
        &self,
        command: Command,
        table: Option<Table>,
        by: Signature,
    ) -> Result<Receipt, CommandError> {
        let action = command.action();
        let (changed, status) = self.shared.command(command, table, by)?;
        Ok(Receipt {
            action,
            changed,
            status,
        })
    }

    // ---- looking ----------------------------------------------------------------------------

    /// The state at this moment; looking moves time.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The mode at this moment; looking moves time.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.locked(|machine| machine.mode())
    }

    /// The generation of what callers may have cached, without the lock: cheap enough for an `ETag` a response.
    ///
    /// It is the one last published; [`status`](Self::status) also moves time.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// The exemptions in force, printable for the runbook.
    #[must_use]
    pub fn exemptions(&self) -> ExemptionTable {
        self.shared.with_exemptions(Table::listed)
    }

    /// The last 256 commands, the oldest first.
    #[must_use]
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.shared.read_journal(Journal::audit)
    }

    /// The last 64 episodes that ended, the oldest first.
    #[must_use]
    pub fn episodes(&self) -> Vec<Episode> {
        self.shared.look();
        self.shared.read_journal(Journal::episodes)
    }

    /// Subscribes to what happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(&self.shared)
    }

    /// Subscribes to the recovery signal. A subscriber that comes late gets the last one there was, at once.
    #[must_use]
    pub fn cache_bust(&self) -> CacheBusts {
        CacheBusts::new(&self.shared)
    }

    /// Waits until the mode is `Serving`; at once if it is.
    ///
    /// While it waits it also moves time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it holds nothing.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled, if a deadline is pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_maintenance::{Hold, MaintenanceLayer, Mode};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// handle.engage(Hold::new("on-call", "drill").for_at_most(Duration::from_millis(10)))?;
    /// handle.wait_until_serving().await;
    /// assert_eq!(handle.mode(), Mode::Serving);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_until_serving(&self) {
        let mut news = self.shared.subscribe();
        let weak = Arc::downgrade(&self.shared);
        loop {
            news.mark_unchanged();
            if self.mode() == Mode::Serving {
                return;
            }
            // `None` would mean that nobody is left, but this handle is.
            let _ = next_news(&weak, &mut news).await;
        }
    }

    /// Tells the layer that the system's wall clock was stepped, and what it reads now.
    ///
    /// Waits, windows and leases do not care; what is displayed does. The generation never goes back.
    pub fn wall_clock_stepped(&self, now: SystemTime) {
        self.shared.locked(|machine| machine.wall_clock_reads(now));
    }

    // ---- the partner's word -----------------------------------------------------------------

    /// Notes what the partner says of itself, to be shown in the [`Status`] beside what was measured.
    ///
    /// It is information and no command: whatever it says, no mode changes, nothing is refused for it,
    /// and the audit trail does not hold it. The last word replaces the one before, and stands for a
    /// reading now: note it again when it was read again unchanged. `http::Statuspage` is a source.
    ///
    /// ```
    /// use tower_maintenance::{Indicator, MaintenanceLayer, Mode, PartnerSays};
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// handle.partner_says(PartnerSays::new(Indicator::Critical, "Major System Outage"));
    /// assert_eq!(handle.mode(), Mode::Serving);
    /// assert_eq!(
    ///     handle.status().to_string(),
    ///     "zuora is serving: no calls in 60 s; the partner says: Major System Outage (critical)"
    /// );
    /// ```
    pub fn partner_says(&self, says: PartnerSays) {
        self.shared.partner_says(says);
    }

    /// Notes that the partner's word could not be read and why, until it is read again. What it said
    /// before stays, and ages. The text is made safe to show, as in [`PartnerSays`].
    ///
    /// ```
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// handle.partner_unreadable("status.zuora.com: connection refused");
    /// assert_eq!(
    ///     handle.status().to_string(),
    ///     "zuora is serving: no calls in 60 s; its word cannot be read: status.zuora.com: connection refused"
    /// );
    /// ```
    pub fn partner_unreadable(&self, error: &str) {
        self.shared.partner_unreadable(plain(error));
    }

    pub(crate) fn shared(&self) -> &Arc<Root> {
        &self.shared
    }
}
