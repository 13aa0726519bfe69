//! What operators and listeners do with the state.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Shared, harmless,
    journal::Journal,
    trace::{trace_unnamed, trace_unrouted},
};
use crate::{
    base::{moment::Moment, one_line::OneLine, target::TARGET},
    error::CommandError,
    exemptions::Table,
    facts::{audit::AuditEntry, partner_word::PartnerStatus, status::Status},
    machine::{Command, Machine, Signature},
    policy::Policy,
};

impl Shared {
    /// Carries out a command. `table` holds the exemptions that it puts in force.
    pub(crate) fn command(
        &self,
        command: Command,
        table: Option<Table>,
        by: Signature,
    ) -> Result<(bool, Status), CommandError> {
        let now = self.now();
        let action = command.action();
        let (changed, status) = self.locked_at(now, |machine| {
            let policy_changes = machine.policy_changes(&command);
            let changed = machine.command(command, &by)?;
            // Published under the lock, so that the last table in the audit trail is in force.
            if let Some(mut table) = table
                && !mutant!("new exemptions are not taken up")
            {
                self.with_exemptions(|replaced| table.succeed(replaced));
                self.exemptions.publish(Arc::new(table));
            }
            let entry = AuditEntry {
                number: 0,
                at: machine.wall_now(),
                actor: by.actor,
                reason: by.reason,
                action,
                changed,
                policy_changes,
            };
            // Written under both locks, so that commands and events stand in one order.
            if !mutant!("commands are not written down") {
                self.journal().write_command(entry);
            }
            Ok::<_, CommandError>((changed, machine.status()))
        })?;
        Ok((changed, self.with_partners_word(status, now)))
    }

    pub(crate) fn policy(&self) -> Policy {
        self.read_at(self.now(), |machine| Policy::clone(&machine.rules().policy))
    }

    pub(crate) fn status(&self) -> Status {
        let now = self.now();
        let status = self.read_at(now, |machine| machine.status());
        self.with_partners_word(status, now)
    }

    /// Reads under the lock. Calls that try the lock wait for a reading.
    fn read_at<T>(&self, now: Moment, look: impl FnOnce(&Machine) -> T) -> T {
        self.readings.fetch_add(1, Ordering::Relaxed);
        let seen = self.locked_at(now, |machine| look(machine));
        self.readings.fetch_sub(1, Ordering::Relaxed);
        seen
    }

    fn with_partners_word(&self, mut status: Status, now: Moment) -> Status {
        status.add_partners_word(&self.heard.load(), now);
        status
    }

    /// Notes the partner's statement about itself, and traces it if it differs from the last one.
    pub(crate) fn report_partner_status(&self, says: PartnerStatus) {
        let now = self.now();
        let before = self
            .heard
            .rcu(|heard| Arc::new(heard.with_word(says.clone(), now)));
        if !before.is_same_word(&says) {
            let indicator = says.indicator().as_str();
            let description = says.description();
            harmless(|| {
                tracing::info!(target: TARGET, partner = %OneLine(&self.partner),
                    indicator,
                    description,
                    "the partner says"
                );
            });
        }
    }

    /// Notes that the partner's statement could not be read, and traces it if the reason is new.
    pub(crate) fn partner_unreadable(&self, error: Arc<str>) {
        let now = self.now();
        let before = self
            .heard
            .rcu(|heard| Arc::new(heard.with_error(error.clone(), now)));
        if !before.is_same_error(&error) {
            let error = &*error;
            harmless(|| {
                tracing::warn!(target: TARGET, partner = %OneLine(&self.partner),
                    error,
                    "the partner's word cannot be read"
                );
            });
        }
    }

    /// Applies deadlines that have passed, and returns the next one.
    pub(crate) fn look(&self) -> Moment {
        self.locked(|machine| machine.next_deadline())
    }

    /// Reads the journal under the machine's lock, as writers do. So a call that got that lock by
    /// trying finds the journal's lock free, and does not wait (R3).
    pub(crate) fn read_journal<T>(&self, f: impl FnOnce(&Journal) -> T) -> T {
        if mutant!("a reader holds the lock of the journal alone") {
            return f(&self.journal());
        }
        self.read_at(self.now(), |_| f(&self.journal()))
    }

    /// Runs `look` on the exemptions in force.
    #[inline]
    pub(crate) fn with_exemptions<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        Table::look(&self.exemptions, look)
    }

    /// Warns that a view before routes is not told the route of a request.
    #[cold]
    pub(crate) fn warn_of_unrouted(&self) {
        harmless(|| trace_unrouted(&self.partner));
    }

    /// Notes that a view gives names to calls, so that exemptions by name can apply.
    #[inline]
    pub(crate) fn calls_have_names(&self) {
        // Relaxed: the flag decides only whether a warning is traced. Read first, because every
        // call of `run` comes here, and a store would move the cache line from core to core.
        if !self.named.load(Ordering::Relaxed) {
            self.named.store(true, Ordering::Relaxed);
        }
    }

    /// Warns once of exemptions by name in a layer whose calls have no names.
    #[cold]
    pub(super) fn warn_if_calls_have_no_names(&self) {
        let name = self.with_exemptions(|table| table.first_name().cloned());
        if let Some(name) = name
            && !self.named.swap(true, Ordering::Relaxed)
        {
            harmless(|| trace_unnamed(&self.partner, &name));
        }
    }
}
