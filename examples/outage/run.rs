//! One run: a partner, a billing app, a crowd, and what is left of them in the books afterwards.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    body::Bytes,
    http::{Response, Uri},
};
use tokio::time::Instant;
use tower::BoxError;
use tower_maintenance::{
    Episode, EventKind, Events, Hold, MaintenanceHandle, MaintenanceLayer, Mode, Status,
    http::HttpCalls,
    testing::{CallRecord, PartnerServer, Phase, SimulatedPartner},
};

use crate::{
    app::{Billing, Site, by_what_they_say, maintenance},
    args::Stand,
    crowd::{Account, Crowd, Visit},
    ledger::{Ledger, Sent},
    timeline::{BACK, ENDS, Pace, now},
};

/// What the partner's basic plan costs before the outage, and after it.
pub(crate) const OLD_PRICE: u64 = 19;
const NEW_PRICE: u64 = 21;

/// What both runs have in common.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) pace: Pace,
    pub(crate) seed: u64,
    pub(crate) visits: Arc<[Visit]>,
    /// The real partner, if there is one.
    pub(crate) partner: Option<Uri>,
}

/// A run under way.
pub(crate) struct Run {
    pub(crate) crowd: Crowd,
    pub(crate) layer: Option<MaintenanceHandle>,
    ledger: Ledger,
    billing: Billing,
    server: Option<PartnerServer>,
    /// What happens to the layer from the beginning, and the generation it begins with.
    beginning: Option<(Events, u64)>,
}

impl Run {
    /// Opens partner and app, with `stand` in the layer's place, or without any layer.
    pub(crate) async fn open(plan: &Plan, stand: Option<Stand>) -> Result<Self, BoxError> {
        let (server, site, ledger) = match &plan.partner {
            None => {
                let server = simulated(plan).await?;
                let site = Site::Simulated(server.url());
                (Some(server), site, Ledger::numbered())
            }
            Some(url) => (None, Site::Real(url.clone()), Ledger::silent()),
        };
        let layer = match stand {
            Some(stand) => Some(layer(plan.pace, stand)?),
            None => None,
        };
        let handle = layer.as_ref().map(MaintenanceLayer::handle);
        let beginning = handle
            .as_ref()
            .map(|handle| (handle.events(), handle.status().generation));
        if let (Some(handle), Some(Stand::AlwaysRefuse)) = (&handle, stand) {
            handle.engage(Hold::new("--layer", "always-refuse"))?;
        }
        let wired = match stand {
            // It is there to be asked, and nothing goes through it.
            Some(Stand::Identity) => None,
            _ => layer.as_ref(),
        };
        let calls = match stand {
            Some(Stand::ByStatus) => HttpCalls::new(),
            _ => by_what_they_say()?,
        };
        Ok(Self {
            crowd: Crowd::default(),
            beginning,
            layer: handle,
            billing: Billing::open(wired, calls, site, plan.pace.partner_timeout(), &ledger)
                .await?,
            ledger,
            server,
        })
    }

    /// Lets the outage and the customers begin; over when the last customer is.
    pub(crate) fn begin(&self, plan: &Plan, began: Instant) -> impl Future<Output = ()> + use<> {
        if let Some(server) = &self.server {
            server.partner().restart();
        }
        let crowd = self.crowd.clone().visit(
            self.billing.addr,
            Arc::clone(&plan.visits),
            began,
            plan.pace.patience(),
        );
        let ends = began + plan.pace.real(ENDS);
        let job = self.billing.report_usage(plan.pace.job_every(), ends);
        async {
            tokio::join!(crowd, job);
        }
    }

    /// The phase the simulated partner is in.
    pub(crate) fn phase(&self) -> Option<Phase> {
        Some(self.server.as_ref()?.partner().phase())
    }

    /// How many calls have left for the partner.
    pub(crate) fn calls(&self) -> usize {
        self.ledger.calls().len()
    }

    /// Stops everything, and takes the books along.
    pub(crate) async fn close(self, began: Instant) -> Result<Books, BoxError> {
        let told = Arc::clone(&self.billing.told);
        let job_refused = self.billing.job_refused();
        self.billing.close().await;
        let log = match self.server {
            Some(server) => {
                let partner = server.partner().clone();
                server.shutdown().await?;
                Some(partner.log())
            }
            None => None,
        };
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let layer = self
            .layer
            .zip(self.beginning)
            .map(|(handle, beginning)| LayerBook::close(&handle, beginning, told, began));
        Ok(Books {
            began,
            ended: now(),
            accounts: self.crowd.accounts(),
            job_refused,
            sent: self.ledger.calls(),
            log,
            layer,
        })
    }
}

/// A partner that goes through the outage, and changes its prices meanwhile.
async fn simulated(plan: &Plan) -> Result<PartnerServer, BoxError> {
    let partner = SimulatedPartner::new(plan.pace.outage()?, plan.seed);
    let back = plan.pace.real(BACK);
    let clock = partner.clone();
    let server = partner
        .over_http()
        .healthy_with(move |_request| {
            let price = if clock.elapsed() < back {
                OLD_PRICE
            } else {
                NEW_PRICE
            };
            Response::new(Bytes::from(format!(r#"{{"basic": {price}}}"#)))
        })
        .listen()
        .await?;
    Ok(server)
}

/// The layer, or what is put in its place to see that the promises notice.
fn layer(pace: Pace, stand: Stand) -> Result<MaintenanceLayer, BoxError> {
    let policy = pace.policy()?;
    let hour = Duration::from_secs(3600);
    match stand {
        Stand::Maintenance | Stand::Identity | Stand::AlwaysRefuse | Stand::ByStatus => {
            maintenance(policy)
        }
        Stand::NeverRecover => maintenance(policy.with_wait(hour).with_wait_growing(1.0, hour)),
    }
}

/// What the witnesses of a run wrote down.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// The customers.
    pub(crate) accounts: Vec<Account>,
    /// The background job: how many of its calls were refused.
    pub(crate) job_refused: usize,
    /// The place where calls leave for the partner.
    pub(crate) sent: Vec<Sent>,
    /// The simulated partner. Its times are counted from the beginning.
    pub(crate) log: Option<Vec<CallRecord>>,
    /// The layer.
    pub(crate) layer: Option<LayerBook>,
}

#[derive(Debug)]
pub(crate) struct LayerBook {
    pub(crate) status: Status,
    pub(crate) episodes: Vec<Episode>,
    pub(crate) changes: Vec<Change>,
    /// The generations that the app's cache was told of.
    pub(crate) told: Vec<u64>,
    /// Whether any operator's command was given.
    pub(crate) commanded: bool,
    pub(crate) generation_before: u64,
}

/// A change of mode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) from: Mode,
    pub(crate) to: Mode,
    pub(crate) at: Between,
}

/// An instant of the layer's time line, as exactly as it can be told on this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Between {
    pub(crate) earliest: Instant,
    pub(crate) latest: Instant,
}

impl LayerBook {
    fn close(
        handle: &MaintenanceHandle,
        (mut events, generation_before): (Events, u64),
        told: Vec<u64>,
        began: Instant,
    ) -> Self {
        let clocks = Clocks::compare(handle);
        let mut changes = Vec::new();
        while let Some(event) = events.try_recv() {
            if let EventKind::ModeChanged { from, to, .. } = event.kind {
                let at = clocks.here(event.at).unwrap_or(Between {
                    earliest: began,
                    latest: began,
                });
                changes.push(Change { from, to, at });
            }
        }
        Self {
            status: handle.status(),
            episodes: handle.episodes(),
            changes,
            told,
            commanded: !handle.audit().is_empty(),
            generation_before,
        }
    }
}

/// The layer tells wall-clock time, this example keeps instants: one reading of both tells how they
/// relate, to within the time that the reading took.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    wall: SystemTime,
    read: Between,
}

impl Clocks {
    fn compare(handle: &MaintenanceHandle) -> Self {
        let reading = || {
            let earliest = now();
            let wall = handle.status().at;
            let latest = now();
            Self {
                wall,
                read: Between { earliest, latest },
            }
        };
        let width = |clocks: &Self| clocks.read.latest - clocks.read.earliest;
        // The narrowest of a few: any one may have been interrupted.
        let first = reading();
        (0..20).fold(first, |best, _| {
            let next = reading();
            if width(&next) < width(&best) {
                next
            } else {
                best
            }
        })
    }

    /// `None` for what lies before this process's clock begins.
    fn here(self, wall: SystemTime) -> Option<Between> {
        let ago = self.wall.duration_since(wall).unwrap_or_default();
        Some(Between {
            earliest: self.read.earliest.checked_sub(ago)?,
            latest: self.read.latest.checked_sub(ago)?,
        })
    }
}
