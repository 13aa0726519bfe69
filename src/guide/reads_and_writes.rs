//! Reads do not vouch for writes.
//!
//! Many partners fail in one half: prices are read as always, and every charge is answered 500. One
//! layer around both sees a mixture, and what it makes of it depends on the mixture alone:
//!
//! - *More reads than charges.* With three reads per charge a quarter of the calls fails, and no
//!   five of them in a row. The layer never trips, and every charge fails.
//! - *More charges than reads.* The layer trips. Then reads probe, because a charge is not a probe,
//!   and they succeed. `Serving` returns with its signal to caches, the charges fail, and the layer
//!   trips again: with the default policy 13 to 17 times an hour, while no charge succeeds.
//!
//! A read says nothing about a charge. There are two cures.
//!
//! # A ramp
//!
//! With a [ramp](crate::Policy::with_ramp) a recovery is not complete until a growing share of
//! *all* requests has passed, charges too. The charges fail on the ramp, and the layer returns to
//! maintenance without a signal. This cures the second mixture. It does not help with the first,
//! and it refuses the reads that work.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_maintenance::{MaintenanceLayer, Policy};
//!
//! #[derive(Debug, Clone, Copy, PartialEq)]
//! enum Call { Read, Charge }
//!
//! /// Returns the number of recovery signals in an hour of two charges per read.
//! async fn signals(policy: Policy) -> Result<u64, Box<dyn std::error::Error>> {
//!     let layer = MaintenanceLayer::builder("zuora").policy(policy).build()?;
//!     let partner = layer.may_probe(|call: &Call| *call == Call::Read).layer(service_fn(
//!         async |call| match call {
//!             Call::Read => Ok("12 EUR"),
//!             Call::Charge => Err(std::io::Error::other("500")),
//!         },
//!     ));
//!     for _ in 0..1200 {
//!         for call in [Call::Charge, Call::Read, Call::Charge] {
//!             let _ = partner.clone().oneshot(call).await;
//!         }
//!         tokio::time::sleep(Duration::from_secs(3)).await;
//!     }
//!     Ok(layer.handle().cache_bust().try_recv().map_or(0, |bust| bust.episode))
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! assert!((13..=17).contains(&signals(Policy::default()).await?));
//! let ramp = Policy::default().with_ramp(Duration::from_secs(60));
//! assert_eq!(signals(ramp).await?, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # A key per class
//!
//! A [`KeyedLayer`](crate::KeyedLayer) with a key for reads and one for charges has a state for
//! each, so that only what fails is refused. It cures both mixtures. The charges need a
//! [ping](crate::Keys::ping): no request of a customer may prove that they work again. The ping
//! must take the way that charges take and move no money: a charge of nothing, a validation, or a
//! charge of a test account.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_maintenance::{KeyedLayer, MaintenanceLayer, Mode};
//!
//! #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
//! enum Call { Read, Charge }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! async fn answer(call: Call) -> Result<&'static str, std::io::Error> {
//!     match call {
//!         Call::Read => Ok("12 EUR"),
//!         Call::Charge => Err(std::io::Error::other("500")),
//!     }
//! }
//!
//! let layer = KeyedLayer::builder(
//!     |call: &Call| *call,
//!     |call: &Call| MaintenanceLayer::new(&format!("zuora {call:?}")),
//! )
//! .build()?;
//! let keys = layer.keys();
//! tokio::spawn(keys.ping(|call: &Call| answer(*call))); // once, for all keys
//!
//! let partner = layer.layer(service_fn(answer));
//! let (mut reads, mut failed_charges) = (0, 0);
//! for _ in 0..1200 {
//!     for call in [Call::Read, Call::Read, Call::Read, Call::Charge] {
//!         match partner.clone().oneshot(call).await {
//!             Ok(_) => reads += 1,
//!             Err(error) => failed_charges += u32::from(error.refused().is_none()),
//!         }
//!     }
//!     tokio::time::sleep(Duration::from_secs(3)).await;
//! }
//! assert_eq!(reads, 3600); // every one
//! assert_eq!(failed_charges, 5); // those that tripped; the others were refused
//! let charges = keys.get(&Call::Charge).unwrap();
//! assert_ne!(charges.mode(), Mode::Serving);
//! assert!(charges.cache_bust().try_recv().is_none()); // no signal in that hour
//! # Ok(())
//! # }
//! ```
//!
//! Over HTTP the key is the method: `|request| request.method().is_safe()`, and each layer's calls
//! are judged by `http_calls()`.
