//! Refusals in the log, for what sends log events on: error trackers and tracers.

use std::{error::Error as StdError, fmt::Debug};

use tracing::{
    Event,
    field::{Field, Visit},
};

use crate::facts::refused::Refused;

impl Refused {
    /// Whether a `tracing` event logs a refusal: one of its fields is an error in which
    /// [`find`](Self::find) finds one.
    ///
    /// It is for what sends events on to an error tracker, to which a refusal is no error. The
    /// error must be logged as a value, `error = &error as &dyn Error`. An error that is logged as
    /// text (`%error`) has lost its type and is not recognised.
    ///
    /// Sentry's layer asks it in `event_mapper`. For every other layer the feature
    /// `tracing-subscriber` has a filter, `NoRefusals`.
    ///
    /// ```
    /// use std::error::Error;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_maintenance::{Hold, MaintenanceLayer, Refused};
    /// # use tracing::{Event, Metadata, Subscriber, span};
    /// #
    /// # struct Tracker;
    /// # static SENT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    /// # fn send() { SENT.fetch_add(1, std::sync::atomic::Ordering::Relaxed); }
    /// # impl Subscriber for Tracker {
    /// #     fn enabled(&self, _: &Metadata<'_>) -> bool { true }
    /// #     fn new_span(&self, _: &span::Attributes<'_>) -> span::Id { span::Id::from_u64(1) }
    /// #     fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    /// #     fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    /// #     fn enter(&self, _: &span::Id) {}
    /// #     fn exit(&self, _: &span::Id) {}
    /// #     fn event(&self, event: &Event<'_>) { on_event(event) }
    /// # }
    ///
    /// /// What an error tracker does with an event of the log.
    /// fn on_event(event: &Event<'_>) {
    ///     if *event.metadata().level() == tracing::Level::ERROR && !Refused::is_in_event(event) {
    ///         send();
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn Error>> {
    /// # let _tracker = tracing::subscriber::set_default(Tracker);
    /// let layer = MaintenanceLayer::new("zuora");
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let partner = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
    /// let refused = partner.oneshot(()).await.unwrap_err();
    ///
    /// tracing::error!(error = &refused as &dyn Error, "no account");
    /// # assert_eq!(SENT.load(std::sync::atomic::Ordering::Relaxed), 0);
    /// let broken = std::io::Error::other("the disk is full");
    /// tracing::error!(error = &broken as &dyn Error, "no account"); // only this is sent
    /// # assert_eq!(SENT.load(std::sync::atomic::Ordering::Relaxed), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_in_event(event: &Event<'_>) -> bool {
        let mut errors = Errors { refused: false };
        event.record(&mut errors);
        errors.refused
    }
}

struct Errors {
    refused: bool,
}

impl Visit for Errors {
    fn record_error(&mut self, _: &Field, error: &(dyn StdError + 'static)) {
        self.refused |= Refused::find(error).is_some();
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// Drops log events whose error is a refusal, under any wrapping: a filter for a layer of
/// `tracing-subscriber` that sends events to an error tracker or a tracer.
///
/// `ErrorLayer::new().with_filter(NoRefusals)` for Sentry,
/// `tracing_opentelemetry::layer().with_filter(NoRefusals)` for OpenTelemetry. Spans pass.
/// [`Refused::is_in_event`] says which events are dropped.
#[cfg(feature = "tracing-subscriber")]
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRefusals;

#[cfg(feature = "tracing-subscriber")]
impl<S> tracing_subscriber::layer::Filter<S> for NoRefusals {
    fn enabled(
        &self,
        _: &tracing::Metadata<'_>,
        _: &tracing_subscriber::layer::Context<'_, S>,
    ) -> bool {
        true
    }

    fn event_enabled(
        &self,
        event: &Event<'_>,
        _: &tracing_subscriber::layer::Context<'_, S>,
    ) -> bool {
        !Refused::is_in_event(event)
    }
}
