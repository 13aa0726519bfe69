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
    facts::{
        extras::Extras,
        mode::{Cause, Mode},
    },
};

/// What a call through the layer fails with: a refusal, or the inner service's own error.
///
/// There is no blanket `From<E>`: a refusal must never be mistaken for the partner's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error<E> {
    /// The call was refused: it was not made. What the caller did before stands.
    Refused(Refused),
    /// The inner service failed.
    Inner(E),
}

/// An error that [`Error::Inner`] may wrap and still be an error: every `Error + 'static`.
///
/// It is a trait of its own so that the compiler's message can name the cure.
#[diagnostic::on_unimplemented(
    message = "`Error<{Self}>` is no `std::error::Error`, because `{Self}` is none",
    label = "the errors of this service are `{Self}`",
    note = "in a stack whose errors are `BoxError` (timeout, buffer, load shedding), use `layer.boxed()` in place of `layer`, or `.boxed()` on a view: callers then get a `BoxError`, and `Refused::find` finds a refusal in it"
)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "its only impl is below")]
pub trait InnerError: StdError + 'static {}

#[diagnostic::do_not_recommend]
impl<E: StdError + 'static> InnerError for E {}

impl<E> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(_) => "the call to the partner was not made",
            Self::Inner(_) => "the call to the partner failed",
        })
    }
}

impl<E: InnerError> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Inner(error) => Some(error),
        }
    }
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

/// A request was refused: it did not pass the gate.
///
/// What that means depends on where the gate stands. Before one's own routes nothing of the request
/// was processed, and it may be repeated safely. Around calls to the partner *one call was not
/// made*: that call may be repeated safely, but what its caller did before stands. So a handler
/// that charges, then reads and is refused, must not tell its customer that nothing was processed.
///
/// Its texts ([`Display`](fmt::Display), [`Debug`](fmt::Debug), [`partner`](Self::partner)) name
/// the partner. They are for logs, not for customers.
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
    /// What the layer was given for the wings, which is also its identity.
    pub(crate) extras: Arc<Extras>,
}

impl Notice {
    /// Makes the notice of a refusal that no gate made.
    #[cfg(any(feature = "page-templates", all(test, feature = "grpc")))]
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
            extras: Arc::default(),
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
    #[cfg(any(feature = "page-templates", all(test, feature = "grpc")))]
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

    /// Returns what the layer was given for a wing.
    #[cfg(feature = "http")]
    pub(crate) fn extra<T: std::any::Any + Send + Sync>(&self) -> Option<&T> {
        self.notice().extras.get()
    }

    /// Returns the address of what all refusals of the layer share between two changes.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.notice
            .as_ref()
            .map_or(0, |notice| Arc::as_ptr(notice).addr())
    }

    /// The name the layer was given for its partner. It is for logs and operators, not for
    /// customers.
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
