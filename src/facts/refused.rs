//! What a refusal says.

use std::{
    error::Error as StdError,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    base::{
        clock::{Hands, Reading},
        one_line::OneLine,
        span::Span,
        spare::Spare,
    },
    facts::mode::{Cause, Mode},
};

/// What a call through the layer fails with: a refusal, or the inner service's own error.
///
/// There is no blanket `From<E>`: a refusal must never be mistaken for the partner's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The call was refused. It did not reach the partner and may be repeated safely.
    #[error("the call was not processed")]
    Refused(#[source] Refused),
    /// The inner service failed.
    #[error("the call to the partner failed")]
    Inner(#[source] E),
}

impl<E> Error<E> {
    /// The refusal, if it is one.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Inner(_) => None,
        }
    }

    /// The inner service's error, if it is one.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Refused(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

/// A request was refused: it was **not processed**, and may be repeated safely.
///
/// Making one allocates nothing; cloning shares what all refusals of one maintenance have in
/// common.
#[derive(Clone, PartialEq, Eq)]
pub struct Refused {
    /// `None` only while it is dropped.
    notice: Option<Arc<Notice>>,
}

impl Drop for Refused {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(notice) = self.notice.take() {
            Notice::leave(notice);
        }
    }
}

thread_local! {
    /// Left by the last refusal that was dropped on this thread.
    static NOTICE: Spare<Notice> = const { Spare::new() };
}

/// What all refusals between two changes have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) partner: Arc<str>,
    /// Read when a caller asks how long is left.
    pub(crate) clock: Hands,
    pub(crate) mode: Mode,
    pub(crate) cause: Cause,
    pub(crate) since: SystemTime,
    pub(crate) generation: u64,
    /// When the last cause ends; `None` if that is not known.
    pub(crate) until: Option<Reading>,
    /// When the machine is to be asked again; `None` if time alone changes nothing.
    pub(crate) deadline: Option<Reading>,
    pub(crate) until_wall: Option<SystemTime>,
    /// Whether the last cause ends maintenance for certain: a hold with an expiry and no trip
    /// beneath.
    pub(crate) is_promised: bool,
    pub(crate) read_only: bool,
    /// The operator's message to customers.
    pub(crate) message: Option<Arc<str>>,
    /// The causes that are active.
    pub(crate) causes: Vec<Cause>,
    /// The number of the episode under way.
    pub(crate) episode: Option<u64>,
    /// When it was published, by the layer's clock and by the wall clock.
    pub(crate) published: (Option<Reading>, SystemTime),
}

impl Notice {
    /// Makes the notice of a refusal that no gate made.
    #[cfg(feature = "http")]
    pub(crate) fn sample(partner: &str, mode: Mode, cause: Cause) -> Self {
        Self {
            partner: partner.into(),
            clock: crate::base::clock::Clock::start().hands(),
            mode,
            cause,
            since: SystemTime::UNIX_EPOCH,
            generation: 0,
            until: None,
            deadline: None,
            until_wall: None,
            is_promised: false,
            read_only: false,
            message: None,
            causes: vec![cause],
            episode: None,
            published: (None, SystemTime::UNIX_EPOCH),
        }
    }

    /// Takes the notice that the last refusal left on this thread.
    #[inline]
    pub(crate) fn spare() -> Option<Arc<Self>> {
        Spare::take(&NOTICE)
    }

    /// Leaves the notice to the next refusal on this thread.
    #[inline]
    pub(crate) fn leave(notice: Arc<Self>) {
        Spare::leave(&NOTICE, notice);
    }
}

impl Refused {
    #[inline]
    pub(crate) fn new(notice: Arc<Notice>) -> Self {
        Self {
            notice: Some(notice),
        }
    }

    /// Makes a refusal that no gate made: to try a user's template on, and for tests.
    #[cfg(feature = "http")]
    pub(crate) fn sample(notice: Notice, retry_after: Option<Duration>) -> Self {
        let clock = crate::base::clock::Clock::start();
        let until = retry_after.and_then(|left| clock.reading(clock.now().after(left)));
        let clock = clock.hands();
        Self::new(Arc::new(Notice {
            until,
            clock,
            ..notice
        }))
    }

    fn notice(&self) -> &Notice {
        match &self.notice {
            Some(notice) => notice,
            None => unreachable!("only its drop takes it"),
        }
    }

    /// The name the layer was given for its partner.
    #[must_use]
    pub fn partner(&self) -> &str {
        &self.notice().partner
    }

    /// Returns the cause of maintenance: an operator's hold is named before a trip.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.notice().cause
    }

    /// [`Mode::Maintenance`], or [`Mode::Probing`] where the partner is being tried.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.notice().mode
    }

    /// When the episode began.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.notice().since
    }

    /// The generation of what the caller may have cached: that of the last recovery.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.notice().generation
    }

    /// Returns how long until it is worth trying again, counted from now; `None` where that is not
    /// known.
    ///
    /// A hold without expiry has no known end, and neither has `Probing`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let notice = self.notice();
        let left = notice.until?.nanos_since(notice.clock.read());
        Some(Duration::from_nanos(left))
    }

    /// Until when it lasts at least: a hold's expiry, or the end of a wait, after which the partner
    /// is tried again; `None` where that is not known.
    #[must_use]
    pub fn until(&self) -> Option<SystemTime> {
        self.notice().until_wall
    }

    /// When it will be over, where an operator said so: the expiry of a hold with nothing beneath.
    /// A trip has no such end, since the partner has to prove itself first.
    #[must_use]
    pub fn promised_end(&self) -> Option<SystemTime> {
        self.until().filter(|_| self.notice().is_promised)
    }

    /// Whether reads pass, and only what may change something is refused: a
    /// [read-only hold](crate::Hold::read_only).
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.notice().read_only
    }

    /// Returns the message to customers of the operator's hold
    /// ([`Hold::with_message`](crate::Hold::with_message)).
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.notice().message.as_deref()
    }

    /// Finds a refusal under any wrapping: in a `BoxError`, under `Error::Inner`, behind
    /// `source()`.
    ///
    /// ```
    /// use tower::{BoxError, Service, ServiceExt, service_fn};
    /// use tower_maintenance::{Hold, MaintenanceLayer, Refused};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let mut billing = tower::ServiceBuilder::new()
    ///     .map_err(|error| BoxError::from(error)) // wrapped once
    ///     .layer(layer)
    ///     .service(service_fn(async |()| Ok::<_, std::io::Error>(())));
    ///
    /// let error = billing.ready().await?.call(()).await.unwrap_err();
    /// assert_eq!(Refused::find(&*error).unwrap().partner(), "zuora");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn find<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref::<Self>() {
                return Some(refused);
            }
            // A shared error forwards `source()` to what lies below what it wraps: look inside.
            if let Some(shared) = error.downcast_ref::<Arc<dyn StdError + Send + Sync>>()
                && let Some(refused) = Self::find(&**shared)
            {
                return Some(refused);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("partner", &self.partner())
            .field("mode", &self.mode())
            .field("cause", &self.cause())
            .field("since", &self.since())
            .field("generation", &self.generation())
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.is_read_only() {
            "read-only"
        } else {
            "in maintenance"
        };
        write!(f, "{} is {mode}", OneLine(self.partner()))?;
        match self.retry_after() {
            Some(wait) => write!(f, ", retry after {}", Span(wait)),
            None => Ok(()),
        }
    }
}

impl StdError for Refused {}
