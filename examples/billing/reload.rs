//! Taking up a changed file while the server runs.
//!
//! The file is looked at once a second. A watcher of the operating system (the crate `notify`)
//! would tell sooner, but it adds several crates to the build of every example. It also has cases
//! of its own: editors that replace the file, mounts without events, Kubernetes' chains of symbolic
//! links. SIGHUP takes the file up at once.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use tower::BoxError;
use tower_maintenance::{CommandError, MaintenanceHandle, http::LiveRefusals};

use super::{
    config::{Config, ConfigError},
    load::{checked, read},
    shop::Setup,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What `GET /maintenance` shows of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Loaded(Arc<Mutex<(SystemTime, Option<ConfigError>)>>);

impl Loaded {
    pub(crate) fn at(now: SystemTime) -> Self {
        Self(Arc::new(Mutex::new((now, None))))
    }

    /// Notes at `now` a file that was taken up, or why it was not.
    fn note(&self, taken_up: Result<(), ConfigError>, now: SystemTime) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = match taken_up {
            Ok(()) => (now, None),
            Err(error) => (noted.0, Some(error)),
        };
    }

    pub(crate) fn to_json(&self) -> Value {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (loaded_at, error) = &*noted;
        json!({
            "loaded_at": humantime::format_rfc3339_millis(*loaded_at).to_string(),
            "error": error,
        })
    }
}

/// Where a new configuration takes effect.
pub(crate) struct Reload {
    pub(crate) path: PathBuf,
    pub(crate) setup: Setup,
    pub(crate) handle: MaintenanceHandle,
    pub(crate) refusals: LiveRefusals,
    pub(crate) loaded: Loaded,
}

/// What a look at the file finds: its text.
type Found = Result<String, ConfigError>;

impl Reload {
    /// Follows the file from now on, in a task of its own. `text` is what it had at the start.
    ///
    /// SIGHUP is registered when this returns: before, it ends the process.
    pub(crate) fn begin(self, text: String) -> std::io::Result<()> {
        let hangups = Hangups::register()?;
        tokio::spawn(self.follow(text, hangups));
        Ok(())
    }

    async fn follow(self, text: String, mut hangups: Hangups) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut taken: Found = Ok(text);
        let mut seen: Option<Found> = None;
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                () = hangups.next() => true,
            };
            let path = self.path.clone();
            // Away from the threads that serve: a file may lie on a network.
            let found = tokio::task::spawn_blocking(move || read(&path)).await;
            let found = found.unwrap_or_else(|error| Err(error.to_string()));
            // A changed file is taken up at the second look that finds it so: at the first it may
            // be half written.
            let rests = seen.as_ref() == Some(&found);
            if asked || (rests && found != taken) {
                self.take(&found);
                taken = found.clone();
            }
            seen = Some(found);
        }
    }

    /// Takes up what was found, as a whole or not at all.
    fn take(&self, found: &Found) {
        let path = &self.path;
        let taken_up = found.clone().and_then(|text| {
            let config = checked(&text, path, &self.setup)?;
            self.put_in_force(&config)
                .map_err(|error| format!("{}: {error}", path.display()))
        });
        match &taken_up {
            Ok(()) => eprintln!("billing: {} is in force", path.display()),
            Err(error) => {
                eprintln!("billing: {error}; what was in force before stays in force");
            }
        }
        // By the clock of the layer, as every other time in `GET /maintenance`.
        self.loaded.note(taken_up, self.handle.status().at);
    }

    fn put_in_force(&self, config: &Config) -> Result<(), BoxError> {
        let refusals = config.texts.refusals()?;
        let why = || reason(&self.path);
        self.replace(config, &why)?;
        self.refusals.replace(refusals);
        Ok(())
    }

    /// Replaces what differs. All of it was checked when it was parsed.
    fn replace(&self, config: &Config, why: &dyn Fn() -> String) -> Result<(), CommandError> {
        const ACTOR: &str = "configuration file";
        let exempt = config.exempt.iter().cloned();
        if !self.handle.exemptions().iter().eq(&config.exempt) {
            self.handle.replace_exemptions(exempt, ACTOR, why())?;
        }
        if self.handle.policy() != config.policy {
            self.handle.replace_policy(&config.policy, ACTOR, why())?;
        }
        Ok(())
    }
}

fn reason(path: &Path) -> String {
    format!("{} has changed", path.display())
}

/// The signals SIGHUP. Elsewhere than on Unix there are none.
struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangups {
    fn register() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}
