//! A billing server to try by hand, in front of a partner that you break and repair.
//!
//! ```sh
//! cargo run --example billing --features axum,last-good,metrics,serde,testing
//! ```
//!
//! It listens on 127.0.0.1:8080, or on the loopback address of `--listen ADDR`; port 0 takes a free
//! port. It prints its address on stdout in one line, and the layer's changes on stderr. Ctrl-C
//! ends it.
//!
//! # With a browser
//!
//! 1. Open <http://localhost:8080/shop>. The prices come from the partner. Buy a plan; the page
//!    then shows which one you have.
//! 2. Break the partner: `curl -X POST localhost:8080/partner/failing`.
//! 3. Open a second tab of the same page, and buy: the partner's failure shows. Go back and buy
//!    again. After the third failure the maintenance page appears.
//! 4. Repair the partner: `curl -X POST localhost:8080/partner/healthy`. Its prices are now higher
//!    by 1 EUR, under the same `ETag`.
//! 5. Watch both tabs for about ten seconds, and touch nothing. The first tab shows the new prices.
//!    The second tab says that the service works again, and returns to the shop. Buy there: your
//!    session has survived.
//!
//! Each cure has a flag, so that you can see its effect (`--help` lists them). Repeat the steps
//! with these flags:
//!
//! - `--without-push`: the first tab keeps the old prices until you reload it.
//! - `--without-push --without-salted-etags`: a reload does not help either. The partner's tag is
//!   the same, so a 304 confirms the old prices.
//! - `--without-push --max-age 600`: a reload does not help either. For ten minutes the browser
//!   does not revalidate at all.
//! - `--without-push --max-age 600 --clear-site-data`: a reload shows the new prices. The browser
//!   has emptied its cache.
//! - `--last-good`: in maintenance a page that is reloaded still shows prices, with their age.
//!   Purchases are refused.
//! - `--expire-cookie`: the offer below the prices, which is stored in a cookie, is a new one after
//!   a reload.
//! - `--ramp 20`: for 20 s after the partner has proved itself, a growing share of all requests is
//!   let in. Reload the page several times, or send requests by curl. The tabs are told after the
//!   ramp.
//!
//! `crates/browser/tests/incident.rs` does this in a real browser.
//!
//! # With curl
//!
//! While the partner is healthy, the prices come from it:
//!
//! ```sh
//! curl -i localhost:8080/billing/prices
//! curl -i localhost:8080/billing/subscriptions -d '{"plan": "basic"}'
//! ```
//!
//! Break the partner (`failing`, `slow`, `hanging` or `down`). Request prices until the answer is a
//! 503 with `Retry-After` in place of the partner's failure. Invoices still work:
//!
//! ```sh
//! curl -X POST localhost:8080/partner/failing
//! for _ in 1 2 3 4 5; do curl -i localhost:8080/billing/prices; echo; done
//! curl -i localhost:8080/billing/invoices/7
//! curl localhost:8080/maintenance
//! ```
//!
//! Two numbers show how many requests have passed the gate to a route that calls the partner, and
//! how many calls the partner got. In maintenance neither grows, except for probes:
//!
//! ```sh
//! curl localhost:8080/partner
//! ```
//!
//! Repair the partner, and wait up to ten seconds. No call is needed, because a synthetic ping
//! probes the partner. Then `generation` has grown, and caches are told the new one:
//!
//! ```sh
//! curl -X POST localhost:8080/partner/healthy
//! curl localhost:8080/maintenance
//! ```
//!
//! An operator can engage maintenance in any state of the partner:
//!
//! ```sh
//! curl localhost:8080/maintenance/engage -d '{"actor": "me", "reason": "ticket 4711"}'
//! curl localhost:8080/maintenance/release -d '{"actor": "me", "reason": "it was a drill"}'
//! ```
//!
//! Prometheus scrapes <http://localhost:8080/metrics>. `examples/observability` has a dashboard and
//! alert rules for it:
//!
//! ```sh
//! curl localhost:8080/metrics
//! ```
//!
//! # The file
//!
//! `--config FILE` reads the policy, the exemptions and the texts of the page from a TOML file.
//! `examples/billing.toml` is a sample, and what the server has without a file. Change a copy of
//! it while the server runs. Within two seconds, or at once on SIGHUP, it is in force, and stderr
//! and the audit trail say what changed. A file with a mistake changes nothing. `GET /maintenance`
//! shows the policy in force as `policy`, and the file as `config: {loaded_at, error}`.
//!
//! The policy there is quick and has no jitter, for trying it by hand. A real policy waits longer:
//!
//! - It trips at 3 failures in a row, or if half of at least 4 calls in 10 s failed or took more
//!   than 1 s. So a few requests by hand are enough.
//! - The timeout is 3 s and the hang limit 1 s. A hanging partner trips, because the limit is below
//!   the timeout.
//! - The wait is 5 s each time.
//! - While probing, a ping is sent every second and given up after 1 s. Three successes in a row
//!   are needed. So the layer recovers without calls.
//!
//! The exit code is 2 if the command line or the file is wrong at the start, and 1 if the server
//! fails.
//!
//! `docs/exempt-endpoints.md` lists the endpoints that maintenance does not touch, and the reasons.
//! A test (`tests/examples/billing.rs`) compares that page with the layer.
//!
//! The server speaks HTTP/1, and HTTP/2 to clients that begin with it
//! (`curl --http2-prior-knowledge`).
//!
//! There is no authentication, so the server listens on loopback addresses only.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tower::BoxError;
use tower_maintenance::{
    EventKind, MaintenanceHandle,
    http::{LiveRefusals, Push},
};

mod arguments;
mod config;
mod exporter;
mod failed;
mod layer;
pub(crate) mod load;
mod misuse;
mod partner;
mod reload;
mod routes;
pub(crate) mod shop;

use arguments::{Arguments, usage};
pub(crate) use layer::layer;
use load::load;
use misuse::Misuse;
use partner::{Partner, simulated_partner};
use reload::{Loaded, Reload};
use routes::{Billing, app};
use shop::Setup;

#[tokio::main]
async fn main() -> ExitCode {
    let done: Result<(), BoxError> = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments::Listen(address, setup)) => match listen(&address).await {
            Ok(listener) => serve(listener, &setup).await,
            Err(error) => Err(error),
        },
        Ok(Arguments::Help) => {
            println!("{}", usage());
            Ok(())
        }
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("billing: {error}");
            if error.is::<Misuse>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// How long requests may take once the server shuts down.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(10);

/// Serves until Ctrl-C. It is not private, because a test with a browser calls it.
pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    setup: &Setup,
) -> Result<(), BoxError> {
    let (config, text) = load(setup).map_err(Misuse)?;
    let refusals = LiveRefusals::new(config.texts.refusals()?);
    let layer = layer(&config, refusals.refusals())?;
    let handle = layer.handle();
    let loaded = Loaded::at(handle.status().at);
    if let Some(path) = setup.config.clone() {
        let reload = Reload {
            path,
            setup: setup.clone(),
            handle: handle.clone(),
            refusals,
            loaded: loaded.clone(),
        };
        reload.begin(text)?;
    }
    let mended = Arc::<AtomicU64>::default();
    let simulated = Arc::new(simulated_partner(mended.clone()).await?);

    tokio::spawn(tell(handle.clone()));
    let direct = Partner::directly(&simulated.url());
    tokio::spawn(handle.ping(move || {
        let direct = direct.clone();
        async move { direct.get("/v1/ping").await }
    }));

    let billing = Billing {
        partner: Partner::behind(&layer, &simulated.url()),
        handle,
        exporter: exporter::exporter()?,
        loaded,
        simulated,
        mended,
        passed: Arc::default(),
        customers: Arc::default(),
        setup: Arc::new(setup.clone()),
    };
    let push = Push::builder(&billing.handle)
        .spread(Duration::from_secs(1))
        .build()?;
    let app = app(&layer, billing, &push)?;
    println!("listening on http://{}", listener.local_addr()?);
    until_ctrl_c(listener, app, &push).await
}

/// Serves until Ctrl-C.
async fn until_ctrl_c(
    listener: tokio::net::TcpListener,
    app: axum::Router,
    push: &Push,
) -> Result<(), BoxError> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // The streams of open tabs have no end of their own, and a graceful shutdown waits for them.
    let shutdown = push.close_after(async { stopped.await.unwrap_or_default() });
    let served = axum::serve(listener, app).with_graceful_shutdown(shutdown);
    let mut served = std::pin::pin!(served.into_future());
    tokio::select! {
        // Ctrl-C is polled first, so that it is registered before the first request is served. If
        // it cannot be registered the server ends at once.
        biased;
        _ = tokio::signal::ctrl_c() => {}
        served = &mut served => return Ok(served?),
    }
    let _ = stop.send(());
    // A client that reads nothing keeps its connection, and must not keep the server.
    match tokio::time::timeout(LONGEST_SHUTDOWN, served).await {
        Ok(served) => Ok(served?),
        Err(_elapsed) => Ok(()),
    }
}

/// Listens on loopback addresses only: every client that reaches this server can stop billing.
async fn listen(address: &str) -> Result<tokio::net::TcpListener, BoxError> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|error| {
            let address = format!("`{address}` is not an address such as 127.0.0.1:8080");
            Misuse(format!("{address}: {error}"))
        })?
        .collect();
    if let Some(public) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        let said = format!(
            "will not listen on {public}: there is no authentication, so it must be a loopback \
             address such as 127.0.0.1:8080"
        );
        return Err(Misuse(said).into());
    }
    let listener = tokio::net::TcpListener::bind(&*addresses).await;
    Ok(listener.map_err(|error| format!("cannot listen on {address}: {error}"))?)
}

/// Prints the changes of the layer's mode, policy and exemptions on stderr.
async fn tell(handle: MaintenanceHandle) {
    let mut events = handle.events();
    while let Some(event) = events.recv().await {
        match event.kind {
            EventKind::ModeChanged { .. } => eprintln!("{}", handle.status()),
            EventKind::PolicyReplaced { changes, .. } => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                eprintln!("policy replaced: {}", changes.join(", "));
            }
            EventKind::ExemptionsReplaced => eprintln!("exemptions replaced"),
            _ => {}
        }
    }
}
