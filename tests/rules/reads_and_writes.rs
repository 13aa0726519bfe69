//! Writes fail and reads work: what one layer makes of that in an hour, and the two cures.

use std::{
    io,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use test_support::now;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{Error, KeyedLayer, MaintenanceLayer, Mode, Policy};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    Read,
    Charge,
}

/// A partner whose charges fail, and which counts them.
#[derive(Clone, Default)]
struct Partner {
    charges: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl Partner {
    async fn answers(self, call: Call) -> Result<(), io::Error> {
        match call {
            Call::Read => {
                self.reads.fetch_add(1, Relaxed);
                Ok(())
            }
            Call::Charge => {
                self.charges.fetch_add(1, Relaxed);
                Err(io::Error::other("500"))
            }
        }
    }

    fn charges(&self) -> u64 {
        self.charges.load(Relaxed)
    }

    fn service(
        &self,
    ) -> impl Service<Call, Response = (), Error = io::Error, Future: Send> + Clone + use<> {
        let partner = self.clone();
        service_fn(move |call| partner.clone().answers(call))
    }
}

/// Sends these calls every three seconds for an hour. Returns how many were refused.
async fn an_hour_of<S>(calls: &[Call], service: S) -> [u64; 2]
where
    S: Service<Call, Response = (), Error = Error<io::Error>> + Clone,
{
    let begin = now();
    let mut refused = [0, 0];
    while begin.elapsed() < HOUR {
        for call in calls {
            let answer = service.clone().oneshot(*call).await;
            refused[*call as usize] += u64::from(matches!(answer, Err(Error::Refused(_))));
        }
        sleep(Duration::from_secs(3)).await;
    }
    refused
}

/// Reads may probe, charges may not.
fn one_layer(policy: Policy) -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder("zuora").policy(policy).seed(7);
    layer.build().unwrap()
}

/// Returns how many recoveries an hour has with these calls.
async fn recoveries(calls: &[Call], policy: Policy) -> usize {
    let layer = one_layer(policy);
    let handle = layer.handle();
    let service = layer
        .may_probe(|call: &Call| *call == Call::Read)
        .layer(Partner::default().service());
    an_hour_of(calls, service).await;
    let ended = handle
        .episodes()
        .iter()
        .filter(|episode| episode.ended.is_some())
        .count();
    let signals = handle
        .cache_bust()
        .try_recv()
        .map_or(0, |bust| bust.episode);
    assert_eq!(ended as u64, signals, "each recovery had its signal");
    ended
}

#[tokio::test(start_paused = true)]
async fn three_reads_a_charge_hide_that_every_charge_fails() {
    let partner = Partner::default();
    let layer = one_layer(Policy::default());
    let service = layer
        .may_probe(|call: &Call| *call == Call::Read)
        .layer(partner.service());
    let calls = [Call::Read, Call::Read, Call::Read, Call::Charge];
    assert_eq!(an_hour_of(&calls, service).await, [0, 0]);
    assert_eq!(
        partner.charges(),
        1200,
        "each failed, and the layer stood by"
    );
    assert_eq!(layer.handle().mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn more_charges_than_reads_and_reads_that_probe_recover_again_and_again() {
    let calls = [Call::Charge, Call::Read, Call::Charge];
    let without = recoveries(&calls, Policy::default()).await;
    assert!((13..=17).contains(&without), "{without}");
    let ramp = Policy::default().with_ramp(Duration::from_secs(60));
    assert_eq!(
        recoveries(&calls, ramp).await,
        0,
        "charges take part in the ramp"
    );
}

#[tokio::test(start_paused = true)]
async fn with_a_key_per_class_only_what_fails_is_refused() {
    let partner = Partner::default();
    let layer = KeyedLayer::builder(
        |call: &Call| *call,
        |call: &Call| MaintenanceLayer::new(&format!("zuora {call:?}")),
    );
    let layer = layer.build().unwrap();
    let keys = layer.keys();
    let (pinged, checks) = (partner.clone(), Arc::new(AtomicU64::new(0)));
    let checked = checks.clone();
    tokio::spawn(keys.ping(move |call: &Call| {
        checked.fetch_add(1, Relaxed);
        pinged.clone().answers(*call)
    }));

    let calls = [Call::Read, Call::Read, Call::Read, Call::Charge];
    let [reads, charges] = an_hour_of(&calls, layer.layer(partner.service())).await;
    assert_eq!(
        (reads, charges),
        (0, 1195),
        "all but the five charges that tripped"
    );
    assert_eq!(
        partner.charges(),
        5 + checks.load(Relaxed),
        "no charge of a customer probed"
    );
    assert!((10..=25).contains(&checks.load(Relaxed)), "{checks:?}");
    let charge = keys.get(&Call::Charge).unwrap();
    assert_ne!(charge.mode(), Mode::Serving);
    assert!(
        charge.cache_bust().try_recv().is_none(),
        "no signal in that hour"
    );
    let read = keys.get(&Call::Read).unwrap();
    assert_eq!((read.mode(), read.episodes().len()), (Mode::Serving, 0));
}
