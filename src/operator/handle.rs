//! What an operator may do and see.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    error::CommandError,
    exemptions::{Exemption, ExemptionTable, Table},
    facts::{
        audit::{Action, AuditEntry},
        episode::Episode,
        mode::Mode,
        status::Status,
    },
    machine::Command,
    operator::{
        hold::Hold,
        receipt::Receipt,
        subscribe::{CacheBusts, Events, next_news},
    },
    policy::Policy,
    state::{journal::Journal, root::Root},
};

/// How long an actor's name and a reason may be, in bytes: the audit trail is bounded in memory.
const LONGEST_ACTOR: usize = 256;
const LONGEST_REASON: usize = 2048;
const LONGEST_MESSAGE: usize = 2048;

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

    // ---- verbs --------------------------------------------------------------------------------

    /// Puts the layer into maintenance until [`release`](Self::release), or until the hold expires.
    ///
    /// There is one operator's hold a layer: engaging again replaces actor, reason and expiry.
    ///
    /// # Errors
    ///
    /// If actor, reason or message is empty or too long, or the expiry is zero.
    pub fn engage(&self, hold: Hold) -> Result<Receipt, CommandError> {
        if hold.expiry == Some(Duration::ZERO) {
            return Err(CommandError::NoTime);
        }
        if let Some(message) = &hold.message {
            check_text("message", message, LONGEST_MESSAGE)?;
        }
        self.command(
            Action::Engage,
            Command::Engage {
                expiry: hold.expiry,
                passing: hold.passing,
                message: hold.message,
            },
            hold.actor,
            hold.reason,
        )
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
        self.command(
            Action::Release,
            Command::Release,
            actor.into(),
            reason.into(),
        )
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
        self.command(
            Action::ReleaseVerified,
            Command::ReleaseVerified,
            actor.into(),
            reason.into(),
        )
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
        self.command(Action::Trip, Command::Trip, actor.into(), reason.into())
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
        self.command(
            Action::ProbeNow,
            Command::ProbeNow,
            actor.into(),
            reason.into(),
        )
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
        self.command(Action::Clear, Command::Clear, actor.into(), reason.into())
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
        self.command(Action::Reset, Command::Reset, actor.into(), reason.into())
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
        self.command(
            Action::DryRun,
            Command::DryRun(true),
            actor.into(),
            reason.into(),
        )
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
        self.command(
            Action::Arm,
            Command::DryRun(false),
            actor.into(),
            reason.into(),
        )
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
        self.command(
            Action::Bypass,
            Command::Bypass(true),
            actor.into(),
            reason.into(),
        )
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
        self.command(
            Action::EndBypass,
            Command::Bypass(false),
            actor.into(),
            reason.into(),
        )
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
            Action::ReplacePolicy,
            Command::ReplacePolicy(rules),
            actor.into(),
            reason.into(),
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
        self.carry_out(
            Action::ReplaceExemptions,
            Command::ReplaceExemptions,
            Some(table),
            actor.into(),
            reason.into(),
        )
    }

    fn command(
        &self,
        action: Action,
        command: Command,
        actor: Arc<str>,
        reason: Arc<str>,
    ) -> Result<Receipt, CommandError> {
        self.carry_out(action, command, None, actor, reason)
    }

    fn carry_out(
        &self,
        action: Action,
        command: Command,
        table: Option<Table>,
        actor: Arc<str>,
        reason: Arc<str>,
    ) -> Result<Receipt, CommandError> {
        check_texts(&actor, &reason)?;
        let (changed, status) = self.shared.command(action, command, table, actor, reason)?;
        Ok(Receipt {
            action,
            changed,
            status,
        })
    }

    // ---- looking ------------------------------------------------------------------------------

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

    pub(crate) fn shared(&self) -> &Arc<Root> {
        &self.shared
    }
}

fn check_texts(actor: &str, reason: &str) -> Result<(), CommandError> {
    check_text("actor", actor, LONGEST_ACTOR)?;
    check_text("reason", reason, LONGEST_REASON)
}

fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), CommandError> {
    let length = if text.trim().is_empty() {
        0
    } else {
        text.len()
    };
    if (1..=most).contains(&length) {
        return Ok(());
    }
    Err(CommandError::Text {
        field,
        length,
        most,
    })
}
