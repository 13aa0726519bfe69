//! The ready-made protocols around plain calls: any `Result`, judged by a [`Judge`].

use std::{any::Any, error::Error as StdError};

use tower::BoxError;

use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement},
        fault,
        outcome::{Outcome, Verdict},
        refused::{Error, Refused},
    },
};

/// Judges plain calls: their names, which of them may probe, and what their ends say.
///
/// Every method has a default, so a judge overrides only the methods that differ. The request of a
/// call that is a future is its name: a `Judge<str, T, E>` judges
/// [`run`](crate::MaintenanceLayer::run). For one of the methods a closure is enough:
/// [`named`](crate::MaintenanceLayer::named), [`judged_by`](crate::MaintenanceLayer::judged_by),
/// [`may_probe`](crate::MaintenanceLayer::may_probe), [`reads`](crate::MaintenanceLayer::reads).
///
/// ```
/// use tower_maintenance::{Judge, MaintenanceLayer, Outcome, Verdict};
///
/// enum Declined { CardExpired, PartnerDown }
/// struct Charge { read_only: bool }
///
/// #[derive(Debug, Clone, Copy)]
/// struct Billing;
///
/// impl Judge<Charge, (), Declined> for Billing {
///     fn may_probe(&self, charge: &Charge) -> bool {
///         charge.read_only // a charge is not a probe
///     }
///     fn verdict(&self, result: Result<&(), &Declined>) -> Verdict {
///         match result {
///             // The partner answered.
///             Ok(()) | Err(Declined::CardExpired) => Outcome::Success.into(),
///             Err(Declined::PartnerDown) => Outcome::Failure.into(),
///         }
///     }
/// }
///
/// let layer = MaintenanceLayer::new("zuora").judged(Billing);
/// # let _ = layer;
/// assert_eq!(Billing.verdict(Err(&Declined::CardExpired)).outcome, Outcome::Success);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge calls that take `{Req}` and end with `Result<{T}, {E}>`",
    label = "this judge does not fit the service",
    note = "the types of the judge, or of the arguments of its closure, must be those of the service: `Judge<{Req}, {T}, {E}>`",
    note = "in a view by `boxed()` the error is `tower::BoxError`"
)]
pub trait Judge<Req: ?Sized, T, E>: Clone {
    /// Returns the endpoint's name. Without a name it is never exempt. Default: none.
    fn name<'r>(&self, request: &'r Req) -> Option<&'r str> {
        let _ = request;
        None
    }

    /// Tells whether the request may be used as a probe. Default: every request may.
    fn may_probe(&self, request: &Req) -> bool {
        let _ = request;
        true
    }

    /// Returns what the request does: a read-only hold lets reads pass. Default: [`Class::Write`],
    /// the safe choice.
    fn class(&self, request: &Req) -> Class {
        let _ = request;
        Class::Write
    }

    /// Returns what the end of the call says about the partner. Default: `Ok` is a success, `Err` a
    /// failure.
    fn verdict(&self, result: Result<&T, &E>) -> Verdict {
        match result {
            Ok(_) => Outcome::Success.into(),
            Err(_) => Outcome::Failure.into(),
        }
    }

    /// Returns the verdict of the closures that
    /// [`judged_by`](crate::MaintenanceLayer::judged_by) has added to this judge; `None` without
    /// one.
    #[doc(hidden)]
    fn closures_verdict(&self, result: Result<&T, &E>) -> Option<Verdict> {
        let _ = result;
        None
    }

    /// Says whose fault an error is, before [`verdict`](Self::verdict) is asked: `None` leaves it
    /// to the [type of the error](crate::fault), and then to `verdict`. Default: `None`.
    fn judge_error(&self, error: &E) -> Option<Verdict> {
        let _ = error;
        None
    }
}

/// Judges by the defaults: no names, every call may probe, `Ok` is a success and `Err` a failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl<Req: ?Sized, T, E> Judge<Req, T, E> for Plain {}

/// Implements methods of [`Judge`] by those of the judge that a wrapper has.
macro_rules! as_the_judge {
    ($($method:ident),+) => { $( as_the_judge!(@ $method); )+ };
    (@ name) => {
        fn name<'r>(&self, request: &'r Req) -> Option<&'r str> {
            self.judge.name(request)
        }
    };
    (@ may_probe) => {
        fn may_probe(&self, request: &Req) -> bool {
            self.judge.may_probe(request)
        }
    };
    (@ class) => {
        fn class(&self, request: &Req) -> Class {
            self.judge.class(request)
        }
    };
    (@ verdict) => {
        fn verdict(&self, result: Result<&T, &E>) -> Verdict {
            self.judge.verdict(result)
        }
    };
    (@ closures_verdict) => {
        fn closures_verdict(&self, result: Result<&T, &E>) -> Option<Verdict> {
            self.judge.closures_verdict(result)
        }
    };
    (@ judge_error) => {
        fn judge_error(&self, error: &E) -> Option<Verdict> {
            self.judge.judge_error(error)
        }
    };
}

/// A judge that gets its names from a closure.
#[derive(Debug, Clone, Copy)]
pub struct Named<F, J> {
    name: F,
    judge: J,
}

impl<F, J, Req: ?Sized, T, E> Judge<Req, T, E> for Named<F, J>
where
    F: for<'r> Fn(&'r Req) -> &'r str + Clone,
    J: Judge<Req, T, E>,
{
    as_the_judge!(may_probe, class, verdict, closures_verdict, judge_error);

    fn name<'r>(&self, request: &'r Req) -> Option<&'r str> {
        Some((self.name)(request))
    }
}

/// A judge that gets its verdicts from a closure.
#[derive(Debug, Clone, Copy)]
pub struct JudgedBy<F, J> {
    verdict: F,
    judge: J,
}

impl<F, J, V, Req: ?Sized, T, E> Judge<Req, T, E> for JudgedBy<F, J>
where
    F: Fn(Result<&T, &E>) -> V + Clone,
    V: Into<Verdict>,
    J: Judge<Req, T, E>,
{
    as_the_judge!(name, may_probe, class, judge_error);

    #[inline]
    fn verdict(&self, result: Result<&T, &E>) -> Verdict {
        let verdict = (self.verdict)(result).into();
        match self.judge.closures_verdict(result) {
            None => verdict,
            Some(before) => before.or_worse(verdict),
        }
    }

    fn closures_verdict(&self, result: Result<&T, &E>) -> Option<Verdict> {
        Some(Judge::<Req, T, E>::verdict(self, result))
    }
}

/// A judge that learns from a closure whose fault an error is.
#[derive(Debug, Clone, Copy)]
pub struct JudgedErrors<F, J> {
    judge_error: F,
    judge: J,
}

impl<F, J, V, Req: ?Sized, T, E> Judge<Req, T, E> for JudgedErrors<F, J>
where
    F: Fn(&E) -> Option<V> + Clone,
    V: Into<Verdict>,
    J: Judge<Req, T, E>,
{
    as_the_judge!(name, may_probe, class, verdict, closures_verdict);

    fn judge_error(&self, error: &E) -> Option<Verdict> {
        let first = self.judge.judge_error(error);
        first.or_else(|| Some((self.judge_error)(error)?.into()))
    }
}

/// A judge that learns from a closure which requests may probe.
#[derive(Debug, Clone, Copy)]
pub struct MayProbe<F, J> {
    may_probe: F,
    judge: J,
}

impl<F, J, Req: ?Sized, T, E> Judge<Req, T, E> for MayProbe<F, J>
where
    F: Fn(&Req) -> bool + Clone,
    J: Judge<Req, T, E>,
{
    as_the_judge!(name, class, verdict, closures_verdict, judge_error);

    fn may_probe(&self, request: &Req) -> bool {
        (self.may_probe)(request)
    }
}

/// A judge that learns from a closure which requests read.
#[derive(Debug, Clone, Copy)]
pub struct Reads<F, J> {
    reads: F,
    judge: J,
}

impl<F, J, Req: ?Sized, T, E> Judge<Req, T, E> for Reads<F, J>
where
    F: Fn(&Req) -> bool + Clone,
    J: Judge<Req, T, E>,
{
    as_the_judge!(name, may_probe, verdict, closures_verdict, judge_error);

    fn class(&self, request: &Req) -> Class {
        if (self.reads)(request) {
            Class::Read
        } else {
            self.judge.class(request)
        }
    }
}

/// The protocol around calls that return any `Result`. A refusal is [`Error::Refused`].
///
/// A call is neutral if another layer of this crate *further in* refused it in the poll in which it
/// ended. The error may be of any type. Behind a channel or a task the refusal must be found in the
/// error: the views [`boxed`](crate::MaintenanceLayer::boxed) and
/// [`nested`](crate::MaintenanceLayer::nested) do that.
///
/// An error of a type of your own is the partner's, whatever it wraps, unless a closure says whose
/// fault it is: [`judged_errors`](crate::MaintenanceLayer::judged_errors).
#[derive(Debug, Clone, Copy, Default)]
pub struct Calls<J = Plain>(pub(crate) J);

/// The protocol around calls in stacks whose errors are [`BoxError`] (timeout, buffer, retry).
/// [`Refused::find`] finds a refusal in the error.
///
/// A call that another layer *within* the stack refused is neutral: this partner did not fail
/// ([`Verdict::refused_within`]).
#[derive(Debug, Clone, Copy, Default)]
pub struct BoxedCalls<J = Plain>(pub(crate) J);

impl<J> Calls<J> {
    /// Makes the protocol whose calls `judge` judges.
    pub const fn new(judge: J) -> Self {
        Self(judge)
    }

    pub(crate) fn named<F>(self, name: F) -> Calls<Named<F, J>> {
        Calls(Named {
            name,
            judge: self.0,
        })
    }

    pub(crate) fn judged_by<F>(self, verdict: F) -> Calls<JudgedBy<F, J>> {
        Calls(JudgedBy {
            verdict,
            judge: self.0,
        })
    }

    pub(crate) fn judged_errors<F>(self, judge_error: F) -> Calls<JudgedErrors<F, J>> {
        Calls(JudgedErrors {
            judge_error,
            judge: self.0,
        })
    }

    pub(crate) fn may_probe<F>(self, may_probe: F) -> Calls<MayProbe<F, J>> {
        Calls(MayProbe {
            may_probe,
            judge: self.0,
        })
    }

    pub(crate) fn reads<F>(self, reads: F) -> Calls<Reads<F, J>> {
        Calls(Reads {
            reads,
            judge: self.0,
        })
    }

    pub(crate) fn boxed(self) -> BoxedCalls<J> {
        BoxedCalls(self.0)
    }
}

#[inline]
fn endpoint<'r, Req, T, E>(judge: &impl Judge<Req, T, E>, request: &'r Req) -> Endpoint<'r> {
    Endpoint {
        name: judge.name(request),
        class: judge.class(request),
        ..Endpoint::unnamed(judge.may_probe(request))
    }
}

/// Returns the verdict on an error whose fault is told: by the judge, or by its type.
fn told<Req, T, E>(
    judge: &impl Judge<Req, T, E>,
    error: &E,
    any: Option<&dyn Any>,
) -> Option<Verdict> {
    let told = judge.judge_error(error);
    told.or_else(|| any.and_then(fault::of_any))
}

impl<J, Req, T, E> Protocol<Req, T, E> for Calls<J>
where
    J: Judge<Req, T, E>,
{
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = T;
    type Error = Error<E>;

    #[inline]
    fn endpoint<'r>(&self, request: &'r Req) -> Endpoint<'r> {
        endpoint(&self.0, request)
    }

    #[inline]
    fn finish(&self, ticket: Ticket, result: Result<T, E>) -> Result<T, Error<E>> {
        // The verdict is taken in each arm, because most judges have one constant verdict per arm.
        match result {
            Ok(answer) => {
                if ticket.is_measured() {
                    ticket.settle(self.0.verdict(Ok(&answer)));
                }
                Ok(answer)
            }
            Err(error) => {
                if ticket.is_measured() {
                    ticket.settle(self.0.verdict(Err(&error)));
                }
                Err(Error::Inner(error))
            }
        }
    }

    #[inline]
    fn refuse(&self, _: Req, refused: Refused) -> Result<T, Error<E>> {
        Err(Error::Refused(refused))
    }

    fn judge_error(&self, error: &E, any: Option<&dyn Any>) -> Option<Verdict> {
        told(&self.0, error, any)
    }

    fn unready(&self, error: E) -> Error<E> {
        Error::Inner(error)
    }
}

impl<J, Req, T, E> Protocol<Req, T, E> for BoxedCalls<J>
where
    J: Judge<Req, T, BoxError>,
    E: Into<BoxError>,
{
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = T;
    type Error = BoxError;

    #[inline]
    fn endpoint<'r>(&self, request: &'r Req) -> Endpoint<'r> {
        endpoint(&self.0, request)
    }

    fn finish(&self, ticket: Ticket, result: Result<T, E>) -> Result<T, BoxError> {
        let result = result.map_err(Into::into);
        if ticket.is_measured() {
            let refused = result
                .as_ref()
                .err()
                .and_then(|error: &BoxError| Refused::find(as_error(error)));
            match (refused, &result) {
                (Some(refused), _) => ticket.settle_refused(refused),
                (None, Ok(_)) => ticket.settle(self.0.verdict(result.as_ref())),
                (None, Err(error)) => {
                    let told = told(&self.0, error, Some(error));
                    ticket.settle(told.unwrap_or_else(|| self.0.verdict(Err(error))));
                }
            }
        }
        result
    }

    fn refuse(&self, _: Req, refused: Refused) -> Result<T, BoxError> {
        Err(refused.into())
    }

    /// The judge knows boxed errors alone: each is judged once it is boxed.
    fn judge_error(&self, _: &E, _: Option<&dyn Any>) -> Option<Verdict> {
        None
    }

    fn unready(&self, error: E) -> BoxError {
        error.into()
    }
}

fn as_error(error: &BoxError) -> &(dyn StdError + 'static) {
    &**error
}
