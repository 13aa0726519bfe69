//! The operator's side of a layer: commands, and what an operator reads.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    error::CommandError,
    exemptions::{Exemption, ExemptionTable, Table},
    facts::{
        audit::AuditEntry,
        episode::Episode,
        glance::Glance,
        mode::Mode,
        partner_word::{PartnerStatus, plain},
        status::Status,
    },
    machine::{Command, Signature},
    operator::{
        cache_fill::CacheFill,
        hold::Hold,
        receipt::Receipt,
        subscribe::{CacheBusts, Events, next_news},
    },
    policy::Policy,
    state::{journal::Journal, root::Root},
};

/// How often [`MaintenanceHandle::wait_until_idle`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The operator's side of a layer.
///
/// A handle is cheap to clone, may be used from any thread, and outlives every service. Commands
/// act in this process and at once. Each has an actor (1 to 256 bytes) and a reason (1 to 2048
/// bytes) for the audit trail, because both are kept in memory.
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

    /// Returns the name that the layer was given for its partner.
    #[must_use]
    pub fn partner(&self) -> &str {
        self.shared.partner()
    }

    /// Returns the value of this type that the layer was given for a wing.
    #[cfg(feature = "http")]
    pub(crate) fn extra<T: std::any::Any + Send + Sync>(&self) -> Option<&T> {
        self.shared.extra()
    }

    // ---- commands ------------------------------------------------------------------------------

    /// Puts the layer into maintenance until [`release`](Self::release), or until the hold expires.
    ///
    /// A layer has one operator's hold. Engaging again replaces it as a whole.
    ///
    /// # Errors
    ///
    /// - [`CommandError::NoTime`] if the expiry of the hold is zero.
    /// - [`CommandError::Text`] if the actor, the reason or the message is blank or too long.
    pub fn engage(&self, hold: Hold) -> Result<Receipt, CommandError> {
        let (command, by) = hold.into_command()?;
        self.command(command, by)
    }

    /// Ends the operator's hold, and nothing else.
    ///
    /// If the layer is tripped beneath the hold, the trip takes effect again.
    ///
    /// # Errors
    ///
    /// - [`CommandError::NotHeld`] if there is no hold.
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn release(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Release, Signature::new(actor, reason)?)
    }

    /// Ends the operator's hold and goes on to `Probing`, so that the partner must prove its
    /// recovery.
    ///
    /// # Errors
    ///
    /// - [`CommandError::NotHeld`] if there is no hold.
    /// - [`CommandError::Bypassed`] if bypass is on.
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn release_verified(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::ReleaseVerified, Signature::new(actor, reason)?)
    }

    /// Trips the layer as if a rule had fired, with the next wait.
    ///
    /// If a wait is already running, it starts again with the same length. A trip by command takes
    /// effect under dry run too, because dry run affects only the rules.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Bypassed`] if bypass is on.
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn trip(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Trip, Signature::new(actor, reason)?)
    }

    /// Ends the wait of a trip, so that `Probing` begins now.
    ///
    /// Beneath a hold, `Probing` begins when the hold ends.
    ///
    /// # Errors
    ///
    /// - [`CommandError::NotTripped`] if the layer is not tripped.
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn probe_now(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::ProbeNow, Signature::new(actor, reason)?)
    }

    /// Ends a trip and the operator's hold without any probe.
    ///
    /// The next wait is the base wait again.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn clear(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Clear, Signature::new(actor, reason)?)
    }

    /// Does the same as [`clear`](Self::clear), empties the window in every mode, and begins a new
    /// era.
    ///
    /// Calls that began before no longer count.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn reset(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Reset, Signature::new(actor, reason)?)
    }

    /// Begins dry run: the rules are evaluated and report, but do not act.
    ///
    /// A trip in force ends.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
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
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn arm(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::Arm, Signature::new(actor, reason)?)
    }

    /// Begins bypass: nothing is refused, not even under a hold.
    ///
    /// A trip in force ends. A hold takes effect again when the bypass ends.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
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
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn end_bypass(
        &self,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        self.command(Command::EndBypass, Signature::new(actor, reason)?)
    }

    /// Replaces the policy at run time.
    ///
    /// The new policy judges the outcomes that are recorded from now on. A wait that is running
    /// keeps its end, and `Probing` and a ramp end under the policy that they began with. The
    /// window keeps its contents if its size and its buckets do not change. The event, the log and
    /// the audit trail name each setting that changed, with its old and its new value.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Policy`] if the policy is invalid. The old one stays in force.
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
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

    /// Replaces the exemptions at run time.
    ///
    /// A request that was let in as exempt stays exempt.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Exemption`] if an exemption is invalid. The old ones stay in force.
    /// - [`CommandError::Text`] if the actor or the reason is blank or too long.
    pub fn replace_exemptions(
        &self,
        exemptions: impl IntoIterator<Item = Exemption>,
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Receipt, CommandError> {
        let table = Table::new(exemptions.into_iter().collect())?;
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

    // ---- reading ----------------------------------------------------------------------------

    /// Returns the state at this moment, after applying all deadlines that have passed.
    ///
    /// It takes the lock of the layer.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Returns the state that was last published, after applying all deadlines that have passed:
    /// mode, causes, until when, message, generation, episode.
    ///
    /// For notices, pages, health checks and all code that asks often. It takes no lock, so that it
    /// refuses no call and waits for none: in `Probing` and in a ramp calls only try the lock that
    /// [`status`](Self::status) takes. Where a deadline has passed and no caller has seen it yet,
    /// it tries the lock once to apply it.
    #[must_use]
    pub fn glance(&self) -> Glance {
        self.shared.glance()
    }

    /// Returns the mode at this moment, after applying all deadlines that have passed: that of a
    /// [`glance`](Self::glance).
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.glance().mode()
    }

    /// Returns the generation of what callers may have cached.
    ///
    /// It takes no lock, so it is cheap enough for an `ETag` per response. The value is the one
    /// published last. [`status`](Self::status) applies deadlines first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// Returns the policy in force: what the builder or
    /// [`replace_policy`](Self::replace_policy) was given last.
    ///
    /// It takes the lock of the layer.
    ///
    /// ```
    /// use tower_maintenance::{MaintenanceLayer, Policy};
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// assert_eq!(handle.policy(), Policy::default());
    ///
    /// let stricter = handle.policy().with_min_calls(20);
    /// handle.replace_policy(&stricter, "on-call", "too nervous at night")?;
    /// assert_eq!(handle.policy(), stricter);
    /// # Ok::<(), tower_maintenance::CommandError>(())
    /// ```
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.shared.policy()
    }

    /// Returns the exemptions in force, printable for the runbook.
    #[must_use]
    pub fn exemptions(&self) -> ExemptionTable {
        self.shared.with_exemptions(Table::listed)
    }

    /// Returns the last 256 commands, the oldest first.
    #[must_use]
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.shared.read_journal(Journal::audit)
    }

    /// Returns the last 64 episodes that ended, the oldest first.
    #[must_use]
    pub fn episodes(&self) -> Vec<Episode> {
        self.shared.look();
        self.shared.read_journal(Journal::episodes)
    }

    /// Subscribes to the events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(&self.shared)
    }

    /// Subscribes to the recovery signal.
    ///
    /// A new subscriber receives the last signal at once, if there was one.
    #[must_use]
    pub fn cache_bust(&self) -> CacheBusts {
        CacheBusts::new(&self.shared)
    }

    /// Begins to fill a cache, before the partner is asked for the data.
    ///
    /// [`CacheFill`] tells afterwards whether a recovery has come meanwhile, and shows how to use
    /// it.
    pub fn begin_fill(&self) -> CacheFill {
        CacheFill::begin(&self.shared)
    }

    /// Waits until the mode is `Serving`.
    ///
    /// It returns at once if the mode is `Serving` already. While it waits, it applies deadlines as
    /// they pass.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: dropping the future loses nothing.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time enabled, if a deadline is pending.
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
            // `None` means that the layer is gone. This handle keeps it alive.
            let _ = next_news(&weak, &mut news).await;
        }
    }

    /// Waits until no call is in flight: no admitted call of any service, no probe and no check of
    /// a ping, and no body that still streams. Exempt calls are not counted, and not waited for.
    ///
    /// It is for the end of a process. A server that shuts down gracefully waits for the requests
    /// of its connections, and with them for the calls and probes in their handlers. It does not
    /// wait for tasks that were spawned, nor for a [ping](Self::ping). So wait for this after the
    /// server has ended, with a limit, and then end the ping: between two checks it costs no check.
    ///
    /// Nothing is refused meanwhile: stop what begins calls first. It looks every 50 ms, because a
    /// call that ends wakes no listener.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: dropping the future loses nothing.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time enabled, if a call is in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let handle = layer.handle();
    /// let partner = layer.layer(service_fn(async |()| {
    ///     tokio::time::sleep(Duration::from_secs(3)).await;
    ///     Ok::<_, std::io::Error>("paid")
    /// }));
    /// let ping = tokio::spawn(handle.ping(async || Ok::<_, std::io::Error>(())));
    /// let spawned = tokio::spawn(partner.oneshot(()));
    /// tokio::task::yield_now().await;
    ///
    /// // `axum::serve(..).with_graceful_shutdown(..).await` has returned.
    /// tokio::time::timeout(Duration::from_secs(30), handle.wait_until_idle()).await?;
    /// ping.abort();
    /// assert_eq!(handle.status().calls.succeeded, 1);
    /// # assert_eq!(spawned.await??, "paid");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_until_idle(&self) {
        while self.status().calls.in_flight() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tells the layer that the system's wall clock was stepped, and what it reads now.
    ///
    /// Only times that are shown change. Waits, windows and leases do not, and the generation never
    /// goes back.
    pub fn wall_clock_stepped(&self, now: SystemTime) {
        self.shared.locked(|machine| machine.wall_clock_reads(now));
    }

    // ---- the partner's statement ---------------------------------------------------------------

    /// Notes the partner's statement about its own state, which the [`Status`] then shows.
    ///
    /// A statement is information and no command. It changes no mode, and the audit trail does not
    /// contain it. It replaces the previous statement and counts as read now, so a source notes it
    /// again each time it reads it, even unchanged. `http::Statuspage` is such a source.
    ///
    /// ```
    /// use tower_maintenance::{Indicator, MaintenanceLayer, Mode, PartnerStatus};
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// let says = PartnerStatus::new(Indicator::Critical, "Major System Outage");
    /// handle.report_partner_status(says);
    /// assert_eq!(handle.mode(), Mode::Serving);
    /// assert_eq!(
    ///     handle.status().to_string(),
    ///     "zuora is serving: no calls in 60 s; the partner says: Major System Outage (critical)"
    /// );
    /// ```
    pub fn report_partner_status(&self, says: PartnerStatus) {
        self.shared.report_partner_status(says);
    }

    /// Notes that the partner's statement could not be read, and why.
    ///
    /// The [`Status`] shows the error until a statement is noted again. The previous statement
    /// stays and ages. The text is made safe to show, as in [`PartnerStatus`].
    ///
    /// ```
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// handle.partner_unreadable("status.zuora.com: timeout");
    /// assert_eq!(
    ///     handle.status().to_string(),
    ///     "zuora is serving: no calls in 60 s; \
    ///      its own status cannot be read: status.zuora.com: timeout"
    /// );
    /// ```
    pub fn partner_unreadable(&self, error: &str) {
        self.shared.partner_unreadable(plain(error));
    }

    pub(crate) fn shared(&self) -> &Arc<Root> {
        &self.shared
    }
}
