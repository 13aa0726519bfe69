//! The layer: one value with views for the placements, all sharing one state.

use std::{fmt, sync::Arc, time::SystemTime};

use tower::Layer;

#[cfg(feature = "coarse-clock")]
use crate::base::clock_coarse::CoarseClock;
#[cfg(feature = "metrics")]
use crate::operator::metrics::CallHistogram;
use crate::{
    base::{
        clock::{Clock, WallAnchor},
        moment::Moment,
        names,
    },
    call::{
        admission::{Decision, Stay, decide, decide_now},
        by_name::RunProtocol,
        inner::CloneService,
        nested::Nested,
        plain::{BoxedCalls, Calls, JudgedBy, JudgedErrors, MayProbe, Named, Plain, Reads},
        protocol::Protocol,
        ticket::Ticket,
    },
    error::BuildError,
    exemptions::{Exemption, Table},
    facts::{
        endpoint::{Endpoint, Placement},
        extras::Extras,
        mode::Switches,
        outcome::{CallTimes, Verdict},
        refused::Refused,
    },
    machine::{Birth, word::MAX_GENERATION},
    operator::{borrowed_handle::BorrowedHandle, handle::MaintenanceHandle},
    policy::Policy,
    run::Run,
    service::Maintenance,
    state::{Parts, root::Root},
};

/// Puts the service behind it into maintenance when the partner degrades, and brings it back.
///
/// One value stands for one partner. It is a layer around plain calls. Its *views* are layers for
/// other placements and protocols. All views, services and handles of one value share one state.
///
/// Put it around a call once. If it stands around the same call twice, the two layers compete for
/// the slots of probes, and probing does not end ([layers within layers](crate::guide::stack)).
///
/// ```
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use tower_maintenance::{Error, Hold, MaintenanceLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let handle = layer.handle();
/// let mut billing = ServiceBuilder::new()
///     .layer(layer)
///     .service(service_fn(async |amount: u32| Ok::<_, std::io::Error>(amount)));
///
/// assert_eq!(billing.ready().await?.call(42).await?, 42);
///
/// handle.engage(Hold::new("on-call", "Zuora degraded, ticket 4711"))?;
/// let refused = billing.ready().await?.call(42).await.unwrap_err();
/// assert!(matches!(refused, Error::Refused(_)));
/// # Ok(())
/// # }
/// ```
pub struct MaintenanceLayer<P = Calls> {
    shared: Arc<Root>,
    protocol: P,
}

impl MaintenanceLayer {
    /// Makes a layer for this partner with the default [`Policy`], around plain calls.
    ///
    /// It works outside a runtime too.
    #[must_use]
    pub fn new(partner: &str) -> Self {
        let built = Self::builder(partner).build();
        built.unwrap_or_else(|_| unreachable!("the defaults are valid"))
    }

    /// Returns a builder that configures a layer for this partner.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_maintenance::{MaintenanceLayer, Policy};
    ///
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .policy(Policy::default().with_wait(Duration::from_secs(10)))
    ///     .cache_tags(["prices"])
    ///     .build()?;
    /// assert_eq!(layer.handle().partner(), "zuora");
    /// # Ok::<(), tower_maintenance::BuildError>(())
    /// ```
    pub fn builder(partner: &str) -> Builder {
        Builder {
            partner: partner.into(),
            extras: Extras::default(),
            policy: Policy::default(),
            exemptions: Vec::new(),
            tags: Arc::default(),
            urls: Arc::default(),
            times: None,
            generation: None,
            seed: None,
            wall: None,
            clock: Clock::start,
            switches: Switches::default(),
        }
    }

    /// Returns the layer of this partner that this process has already, around plain calls.
    ///
    /// Two layers of one partner have two states: each sees half of the calls and trips for itself,
    /// and an operator's hold on one leaves the other open. So one layer is built for each partner,
    /// and is cloned, or found here. A layer that is built while another has its name is told of
    /// by one warning.
    ///
    /// Of several layers of one name this is the one that was built first. It is found as long as
    /// one of its views, services or handles is left. Then the name is free. The layers of a
    /// [`KeyedLayer`](crate::KeyedLayer) are found by [`Keys`](crate::Keys), and not here.
    ///
    /// ```
    /// use tower_maintenance::{Hold, MaintenanceLayer, Mode};
    ///
    /// let layer = MaintenanceLayer::new("zuora");
    /// // In another part of the program:
    /// let same = MaintenanceLayer::existing("zuora").ok_or("no layer of zuora is built yet")?;
    /// same.handle().engage(Hold::new("on-call", "ticket 4711"))?;
    /// assert_eq!(layer.handle().mode(), Mode::Maintenance);
    ///
    /// drop((layer, same));
    /// assert!(MaintenanceLayer::existing("zuora").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn existing(partner: &str) -> Option<Self> {
        let shared = Root::named(partner)?;
        Some(Self {
            shared,
            protocol: Calls(Plain),
        })
    }

    /// Runs `make`. The layers that it builds on this thread take no name.
    pub(crate) fn without_names<T>(make: impl FnOnce() -> T) -> T {
        names::without(make)
    }
}

impl<P> MaintenanceLayer<P> {
    /// Returns the operator's handle. It is cheap to clone, and outlives every service.
    #[must_use]
    pub fn handle(&self) -> MaintenanceHandle {
        MaintenanceHandle::new(self.shared.clone())
    }

    /// Returns a view of the same state with another [`Protocol`](crate::Protocol).
    #[must_use]
    #[doc(alias = "speaking")]
    pub fn with_protocol<Q>(&self, protocol: Q) -> MaintenanceLayer<Q> {
        // A protocol of the user may name its calls.
        self.shared.calls_have_names();
        self.view(protocol)
    }

    /// Returns the same view for an inner service whose errors may carry the refusal of another
    /// layer of this crate over a channel or a task.
    ///
    /// Such a call is neutral, because the partner of this layer was not asked. Every view knows a
    /// refusal that a layer further in made in the same poll in which the call ended. Behind a
    /// `tower::buffer` or a spawned task the refusal must be found in the error. So this view needs
    /// an [`Error`](std::error::Error), and follows its sources
    /// ([`Refused::find`](crate::Refused::find)). A [`KeyedLayer`](crate::KeyedLayer) takes this
    /// view like every other.
    ///
    /// ```
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::{Error, Hold, MaintenanceLayer};
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// #[error("billing failed")]
    /// struct Failed(#[source] Error<std::io::Error>);
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let account = MaintenanceLayer::new("zuora account 7");
    /// let zuora = MaintenanceLayer::new("zuora");
    /// let mut billing = ServiceBuilder::new()
    ///     .layer(account.nested())
    ///     .map_err(Failed)
    ///     .layer(zuora.clone())
    ///     .service(service_fn(async |()| Ok::<_, std::io::Error>("paid")));
    ///
    /// zuora.handle().engage(Hold::new("on-call", "drill"))?;
    /// assert!(billing.ready().await?.call(()).await.is_err());
    /// let calls = account.handle().status().calls;
    /// assert_eq!((calls.failed, calls.refused_within), (0, 1));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn nested(&self) -> MaintenanceLayer<Nested<P>>
    where
        P: Clone,
    {
        self.view(Nested(self.protocol.clone()))
    }

    /// Returns a view around plain calls that `judge` judges.
    ///
    /// Names, probes, classes and verdicts all come from the judge. The new view keeps none of
    /// those that this view has.
    #[must_use]
    pub fn judged<J>(&self, judge: J) -> MaintenanceLayer<Calls<J>> {
        self.with_protocol(Calls(judge))
    }

    /// Guards any future that ends with a `Result`: every `Err` is a failure of the partner, unless
    /// the view judges it in another way.
    ///
    /// It is for clients that are no tower service, such as the `async fn` of a payment provider's
    /// SDK. The call is refused, exempt, counted and probed as a call through a service is. `name`
    /// is what [`Exemption::call`](crate::Exemption::call) names; a name that says what the call
    /// does (`charge`, `invoice.read`) serves best.
    ///
    /// The call begins when it is awaited. If it is refused, `future` is dropped and was never
    /// polled.
    ///
    /// # Judging
    ///
    /// The closures of the view apply, with the name as their request:
    /// [`judged_by`](MaintenanceLayer::judged_by),
    /// [`judged_errors`](MaintenanceLayer::judged_errors),
    /// [`may_probe`](MaintenanceLayer::may_probe) and [`reads`](MaintenanceLayer::reads), or a
    /// [`Judge<str, T, E>`](crate::Judge). Without them every call may probe. Give a charge's name
    /// to `may_probe`: a charge is not a probe. A [`nested`](Self::nested) view opens errors and
    /// sees refusals in them. [The guide](crate::guide::sdks) has a judge for which a declined card
    /// is an answer.
    ///
    /// # Time limits
    ///
    /// A call that is dropped while it waits is judged by the policy's
    /// [`hang_limit`](crate::Policy::with_hang_limit). Around `run` a time limit must be at least
    /// `hang_limit`. Inside `future` it may have any length, because its error is judged like every
    /// other.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops `future` and ends the call: as a failure if it had waited
    /// for at least `hang_limit`, otherwise as neutral. A probe gives its slot back. Before its
    /// first poll there is no call to end.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`](crate::Error::Refused) if the call was not made.
    /// - [`Error::Inner`](crate::Error::Inner) with the error of `future`.
    ///
    /// In a [boxed](MaintenanceLayer::boxed) view both are a `BoxError`.
    ///
    /// # Panics
    ///
    /// If `future` panics, which is a failure, or if a judge panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_maintenance::{Error, Exemption, MaintenanceLayer, Mode};
    ///
    /// /// The partner's SDK.
    /// struct Sdk { is_down: bool }
    ///
    /// impl Sdk {
    ///     async fn charge(&self, cents: u32) -> Result<u32, std::io::Error> {
    ///         match self.is_down {
    ///             true => Err(std::io::Error::other("503")),
    ///             false => Ok(cents),
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::call("webhook.ack", "the partner retries for days what we drop"))
    ///     .build()?
    ///     .may_probe(|name: &str| name != "charge");
    /// let mut sdk = Sdk { is_down: false };
    ///
    /// assert_eq!(layer.run("charge", sdk.charge(42)).await?, 42);
    ///
    /// sdk.is_down = true;
    /// for _ in 0..5 {
    ///     assert!(matches!(layer.run("charge", sdk.charge(42)).await, Err(Error::Inner(_))));
    /// }
    /// assert_eq!(layer.handle().mode(), Mode::Maintenance);
    ///
    /// // The call is not made, and the exempt one is.
    /// sdk.is_down = false;
    /// assert!(matches!(layer.run("charge", sdk.charge(42)).await, Err(Error::Refused(_))));
    /// assert_eq!(layer.run("webhook.ack", sdk.charge(0)).await?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<'l, T, E, F>(
        &'l self,
        name: &'l str,
        future: F,
    ) -> impl Future<Output = Result<T, P::Error>> + use<'l, P, T, E, F>
    where
        P: RunProtocol<T, E>,
        F: Future<Output = Result<T, E>>,
    {
        let protocol = self.protocol.by_name();
        let root = &*self.shared;
        Run::new(name, future, move |name| {
            let admitted = decide_now(root, &protocol.endpoint(&name));
            (protocol, admitted)
        })
    }

    pub(crate) fn borrowed_handle(&self) -> BorrowedHandle<'_> {
        BorrowedHandle::new(&self.shared)
    }

    /// Decides on a request for `endpoint`. `ready` tells whether the polled inner instance is
    /// ready.
    #[inline]
    pub(crate) fn decide(
        &self,
        placement: Placement,
        endpoint: &Endpoint<'_>,
        ready: bool,
    ) -> Decision {
        decide(&self.shared, placement, endpoint, ready)
    }

    /// Decides on a call for `endpoint` that has no inner instance to wait for.
    #[inline]
    pub(crate) fn decide_now(&self, endpoint: &Endpoint<'_>) -> Result<Ticket, Refused> {
        decide_now(&self.shared, endpoint)
    }

    /// Returns a stay with the state that it lasts in.
    pub(crate) fn staying(&self, stay: Stay) -> (Stay, Arc<Root>) {
        (stay, self.shared.clone())
    }

    #[cfg(all(test, not(maintenance_loom)))]
    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.shared
    }

    /// Returns the clock that calls look at.
    #[cfg(feature = "http")]
    pub(crate) fn clock(&self) -> Clock {
        self.shared.clock()
    }

    pub(crate) fn protocol(&self) -> &P {
        &self.protocol
    }

    pub(crate) fn view<Q>(&self, protocol: Q) -> MaintenanceLayer<Q> {
        MaintenanceLayer {
            shared: self.shared.clone(),
            protocol,
        }
    }
}

impl<J: Clone> MaintenanceLayer<Calls<J>> {
    /// Returns a view whose calls are named by `name`, so that some of them can be exempt.
    ///
    /// If it is called again, the last closure counts.
    ///
    /// ```
    /// use tower_maintenance::{Exemption, MaintenanceLayer};
    ///
    /// struct Call { operation: &'static str }
    ///
    /// let layer = MaintenanceLayer::new("zuora").named(|call: &Call| call.operation);
    /// layer.handle().replace_exemptions(
    ///     [Exemption::call("invoice.read", "customers may always see what they owe")],
    ///     "on-call",
    ///     "ticket 4711",
    /// )?;
    /// assert_eq!(layer.handle().exemptions().len(), 1);
    /// # Ok::<(), tower_maintenance::CommandError>(())
    /// ```
    #[must_use]
    pub fn named<Req: ?Sized, F>(&self, name: F) -> MaintenanceLayer<Calls<Named<F, J>>>
    where
        F: for<'r> Fn(&'r Req) -> &'r str + Clone,
    {
        self.with_protocol(self.protocol.clone().named(name))
    }

    /// Returns a view whose calls are judged by `verdict`: an [`Outcome`](crate::Outcome) or a
    /// [`Verdict`].
    ///
    /// If it is called again, all closures are asked, and the [worst](Verdict::or_worse) verdict
    /// counts. They replace the verdict of a [`Judge`](crate::Judge). Its names, probes and classes
    /// stay.
    ///
    /// ```
    /// use tower_maintenance::{MaintenanceLayer, Outcome};
    ///
    /// enum Failed { BadRequest, Down }
    ///
    /// let judge = |result: Result<&(), &Failed>| match result {
    ///     Ok(()) => Outcome::Success,
    ///     // Our own mistake says nothing about the partner.
    ///     Err(Failed::BadRequest) => Outcome::Neutral,
    ///     Err(Failed::Down) => Outcome::Failure,
    /// };
    /// let layer = MaintenanceLayer::new("zuora").judged_by(judge);
    /// # let _ = layer; let _ = (Failed::BadRequest, Failed::Down);
    /// ```
    #[must_use]
    pub fn judged_by<T, E, V, F>(&self, verdict: F) -> MaintenanceLayer<Calls<JudgedBy<F, J>>>
    where
        F: Fn(Result<&T, &E>) -> V + Clone,
        V: Into<Verdict>,
    {
        self.view(self.protocol.clone().judged_by(verdict))
    }

    /// A view in which `judge` says whose fault an error is: an [`Origin`](crate::Origin), an
    /// [`Outcome`](crate::Outcome) or a [`Verdict`], or `None` if it does not know. An error that
    /// is not the partner's gives no evidence against it.
    ///
    /// What `judge` leaves open is told by the error's [type](crate::fault) if it can be, and else
    /// by the other closures and judges of the view. Of several such closures, the first that
    /// answers counts, in the order in which they are given. A panic in `judge` makes the call
    /// neutral and goes on to the caller. In a [boxed](Self::boxed) view `judge` gets a
    /// [`BoxError`](tower::BoxError), which [`fault::find`](crate::fault::find) opens.
    ///
    /// ```
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::{MaintenanceLayer, Origin};
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// enum Failed {
    ///     #[error("the amount cannot be written as JSON")]
    ///     NeverSent,
    ///     #[error("the partner does not answer")]
    ///     Down,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora").judged_errors(|error: &Failed| match error {
    ///     Failed::NeverSent => Some(Origin::Ourselves),
    ///     Failed::Down => None,
    /// });
    /// let client = service_fn(async |amount: f64| match amount.is_nan() {
    ///     true => Err::<(), _>(Failed::NeverSent),
    ///     false => Err(Failed::Down),
    /// });
    /// let mut billing = ServiceBuilder::new().layer(layer.clone()).service(client);
    ///
    /// billing.ready().await?.call(f64::NAN).await.unwrap_err();
    /// billing.ready().await?.call(12.0).await.unwrap_err();
    /// let calls = layer.handle().status().calls;
    /// assert_eq!((calls.ours, calls.failed), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn judged_errors<E, V, F>(&self, judge: F) -> MaintenanceLayer<Calls<JudgedErrors<F, J>>>
    where
        F: Fn(&E) -> Option<V> + Clone,
        V: Into<Verdict>,
    {
        self.view(self.protocol.clone().judged_errors(judge))
    }

    /// Returns a view in which only the requests for which `may_probe` returns `true` may be used
    /// as probes.
    ///
    /// A charge, for example, must not be a probe. If it is called again, the last closure counts.
    #[must_use]
    pub fn may_probe<Req: ?Sized, F>(&self, may_probe: F) -> MaintenanceLayer<Calls<MayProbe<F, J>>>
    where
        F: Fn(&Req) -> bool + Clone,
    {
        self.view(self.protocol.clone().may_probe(may_probe))
    }

    /// Returns a view in which the requests for which `reads` returns `true` are
    /// [`Class::Read`](crate::Class::Read).
    ///
    /// A [read-only hold](crate::Hold::read_only) lets them pass. Without this method no request is
    /// a read. If it is called again, a request is a read if one of the closures returns `true`.
    #[must_use]
    pub fn reads<Req: ?Sized, F>(&self, reads: F) -> MaintenanceLayer<Calls<Reads<F, J>>>
    where
        F: Fn(&Req) -> bool + Clone,
    {
        self.view(self.protocol.clone().reads(reads))
    }

    /// Returns the same view for stacks whose errors are `BoxError`: those with a timeout, a buffer
    /// or load shedding.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::{Hold, MaintenanceLayer, Refused};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let mut billing = ServiceBuilder::new()
    ///     .layer(layer.boxed())
    ///     .timeout(Duration::from_secs(10))
    ///     .service(service_fn(async |()| Ok::<_, BoxError>("paid")));
    /// assert_eq!(billing.ready().await?.call(()).await?, "paid");
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let error = billing.ready().await?.call(()).await.unwrap_err();
    /// assert!(Refused::find(&*error).is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn boxed(&self) -> MaintenanceLayer<BoxedCalls<J>> {
        self.view(self.protocol.clone().boxed())
    }
}

impl<S: CloneService, P: Clone> Layer<S> for MaintenanceLayer<P> {
    type Service = Maintenance<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Maintenance::new(inner, self.protocol.clone(), self.shared.clone())
    }
}

impl<P: Clone> Clone for MaintenanceLayer<P> {
    fn clone(&self) -> Self {
        self.view(self.protocol.clone())
    }
}

impl<P> fmt::Debug for MaintenanceLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaintenanceLayer")
            .field("shared", &**self.shared)
            .finish_non_exhaustive()
    }
}

/// Configures a [`MaintenanceLayer`]. [`build`](Self::build) checks all settings.
///
/// A setting that holds one value keeps the last value that it was given. Exemptions, tags and URLs
/// add up.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    partner: Arc<str>,
    extras: Extras,
    policy: Policy,
    exemptions: Vec<Exemption>,
    tags: Arc<[String]>,
    urls: Arc<[String]>,
    times: Option<Arc<dyn CallTimes>>,
    generation: Option<u64>,
    seed: Option<u64>,
    wall: Option<SystemTime>,
    /// Starts the clock.
    clock: fn() -> Clock,
    switches: Switches,
}

impl Builder {
    /// Sets the policy. Default: [`Policy::default`].
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Gives the layer a value that a wing reads from its refusals.
    #[cfg(feature = "http")]
    pub(crate) fn extra<T: std::any::Any + Send + Sync>(mut self, value: Arc<T>) -> Self {
        self.extras.set(value);
        self
    }

    /// Adds an endpoint that passes even in maintenance. Default: none.
    pub fn exempt(mut self, exemption: Exemption) -> Self {
        self.exemptions.push(exemption);
        self
    }

    /// Adds cache tags (surrogate keys) that the recovery signal carries. Default: none.
    pub fn cache_tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        let tags = tags.into_iter().map(Into::into);
        Self {
            tags: self.tags.iter().cloned().chain(tags).collect(),
            ..self
        }
    }

    /// Adds URLs that the recovery signal carries. Default: none.
    pub fn cache_urls<T: Into<String>>(self, urls: impl IntoIterator<Item = T>) -> Self {
        let urls = urls.into_iter().map(Into::into);
        Self {
            urls: self.urls.iter().cloned().chain(urls).collect(),
            ..self
        }
    }

    /// Sets the first generation, 0 to 4398046511103, for a service that keeps it over restarts.
    /// Default: milliseconds since the Unix epoch, so that a restart does not lower it.
    ///
    /// Pass the last generation before the restart, not a new one: a client with an older
    /// generation counts as behind a recovery.
    pub fn generation(self, generation: u64) -> Self {
        Self {
            generation: Some(generation),
            ..self
        }
    }

    /// Seeds the jitter of the waits. Default: at random.
    pub fn seed(self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    /// Sets what the wall clock reads now. Default: the system's clock, read once when the layer is
    /// built.
    pub fn wall_clock(self, now: SystemTime) -> Self {
        Self {
            wall: Some(now),
            ..self
        }
    }

    /// Sets the clock that calls read. Default: tokio's, which is exact and can be paused in tests.
    #[cfg(feature = "coarse-clock")]
    pub fn clock(self, clock: CoarseClock) -> Self {
        let CoarseClock = clock;
        Self {
            clock: Clock::start_coarse,
            ..self
        }
    }

    /// Records how long each call takes in the histogram `maintenance_call_seconds`, with
    /// `partner` as its label. Default: no histogram.
    ///
    /// The time of a call is the sum of its waits for the partner, up to its end: with the body
    /// where a view follows it. The label `outcome` has the values of
    /// [`CallCounts::by_outcome`]. A call whose judge panicked has no time, and is not recorded.
    /// All layers of a [`KeyedLayer`](crate::KeyedLayer) are best given the same `partner`: a label
    /// per key has no bound.
    ///
    /// Each call then asks the recorder in force on its thread for the histogram and records its
    /// time, which costs some hundred instructions. A layer without the histogram pays nothing
    /// while it serves. The recorder decides on the buckets: `guide::metrics` has a recipe.
    ///
    /// [`CallCounts::by_outcome`]: crate::CallCounts::by_outcome
    ///
    /// ```
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// let layer = MaintenanceLayer::builder("zuora").latency_histogram("zuora").build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_maintenance::BuildError>(())
    /// ```
    #[cfg(feature = "metrics")]
    pub fn latency_histogram(self, partner: impl Into<Arc<str>>) -> Self {
        Self {
            times: Some(Arc::new(CallHistogram::new(partner.into()))),
            ..self
        }
    }

    /// Begins in dry run: the rules are evaluated and report, but do not act. Default: armed.
    pub fn dry_run(mut self) -> Self {
        self.switches.dry_run = true;
        self
    }

    /// Builds the layer.
    ///
    /// If the process has a layer of this partner, one warning says so: see
    /// [`existing`](MaintenanceLayer::existing).
    ///
    /// # Errors
    ///
    /// Returns an error if the policy, an exemption or the generation is invalid. The error names
    /// the field, its value and what is allowed.
    pub fn build(self) -> Result<MaintenanceLayer, BuildError> {
        let rules = self.policy.rules()?;
        let exemptions = Table::new(self.exemptions)?;
        if let Some(generation) = self
            .generation
            .filter(|generation| *generation > MAX_GENERATION)
        {
            return Err(BuildError::Generation(generation));
        }
        let wall = WallAnchor::so_that(Moment::ORIGIN, self.wall.unwrap_or_else(Clock::wall));
        let birth = Birth {
            partner: self.partner,
            rules,
            wall,
            generation: self.generation,
            seed: self.seed,
            switches: self.switches,
        };
        let parts = Parts {
            birth,
            clock: (self.clock)(),
            extras: self.extras,
            exemptions,
            tags: self.tags,
            urls: self.urls,
            times: self.times,
        };
        let shared = Root::new(parts);
        Root::take_name(&shared);
        Ok(MaintenanceLayer {
            shared,
            protocol: Calls(Plain),
        })
    }
}

/// A service that a builder could stand around: none.
#[diagnostic::on_unimplemented(
    message = "a `Builder` is not a layer yet: `.build()?` is missing",
    label = "the builder before it must be built",
    note = "`MaintenanceLayer::builder(\"..\")....build()?` returns the layer"
)]
trait BuiltFirst {}

/// Never applies. It exists so that the compiler's message names the cure.
#[doc(hidden)]
impl<S: BuiltFirst> Layer<S> for Builder {
    type Service = S;

    fn layer(&self, _: S) -> S {
        unreachable!("no service is `BuiltFirst`")
    }
}
