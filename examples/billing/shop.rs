//! The shop of the example `billing`: its page, its customers, and the cures with their flags.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use axum::{
    http::{HeaderMap, header},
    response::{Html, IntoResponse, Response},
};
use tower::util::rng::{HasherRng, Rng};
use tower_maintenance::{
    MaintenanceHandle,
    http::{CacheBustError, CacheBustLayer, LastGoodError, LastGoodLayer, NamedCookie},
};

/// A cure against data from before a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cure {
    Push,
    SaltedEtags,
    LastGood,
    ExpireCookie,
    ClearSiteData,
}

impl Cure {
    const ALL: [Self; 5] = [
        Self::Push,
        Self::SaltedEtags,
        Self::LastGood,
        Self::ExpireCookie,
        Self::ClearSiteData,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::SaltedEtags => "salted-etags",
            Self::LastGood => "last-good",
            Self::ExpireCookie => "expire-cookie",
            Self::ClearSiteData => "clear-site-data",
        }
    }

    fn does(self) -> &'static str {
        match self {
            Self::Push => "open tabs are told of a recovery, and redraw",
            Self::SaltedEtags => "after a recovery no 304 confirms an old price",
            Self::LastGood => "prices are still shown while purchases are refused",
            Self::ExpireCookie => "the first visit after a recovery removes the cookie `offer`",
            Self::ClearSiteData => "the first visit after a recovery empties the browser's cache",
        }
    }

    /// Whether the cure is on by default. The cheap ones are.
    fn is_default(self) -> bool {
        matches!(self, Self::Push | Self::SaltedEtags)
    }
}

/// The settings of the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    cures: Vec<Cure>,
    /// How many seconds a browser may show prices without revalidation.
    pub(crate) max_age: u32,
    /// How many seconds traffic grows after the partner has proved itself.
    pub(crate) ramp: u32,
    /// The file of the policy, the exemptions and the texts.
    pub(crate) config: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        let mut cures = Cure::ALL.to_vec();
        cures.retain(|cure| cure.is_default());
        Self {
            cures,
            max_age: 0,
            ramp: 0,
            config: None,
        }
    }
}

impl Setup {
    pub(crate) fn has(&self, cure: Cure) -> bool {
        self.cures.contains(&cure)
    }

    /// Applies a flag such as `--last-good` or `--without-push`; `false` if it is not a flag.
    pub(crate) fn flag(&mut self, flag: &str) -> bool {
        let Some(name) = flag.strip_prefix("--") else {
            return false;
        };
        let without = name.strip_prefix("without-");
        let named = without.unwrap_or(name);
        let Some(cure) = Cure::ALL.into_iter().find(|cure| cure.name() == named) else {
            return false;
        };
        self.cures.retain(|one| *one != cure);
        if without.is_none() {
            self.cures.push(cure);
        }
        true
    }

    /// Returns the flags for the usage text, one per line.
    pub(crate) fn flags() -> String {
        let lines = Cure::ALL.map(|cure| {
            let is = if cure.is_default() { "on" } else { "off" };
            format!(
                "  --[without-]{:<16} {} [default: {is}]\n",
                cure.name(),
                cure.does()
            )
        });
        lines.concat()
    }

    /// Builds the layer that makes browsers revalidate. It stands outside of the gate.
    pub(crate) fn cache_bust(
        &self,
        handle: &MaintenanceHandle,
    ) -> Result<CacheBustLayer, CacheBustError> {
        let mut builder = CacheBustLayer::builder(handle).carried_by(["/shop"]);
        if !self.has(Cure::SaltedEtags) {
            builder = builder.except(["/billing/prices"]);
        }
        if self.has(Cure::ExpireCookie) {
            builder = builder.expire_cookie(NamedCookie::new("offer"));
        }
        if self.has(Cure::ClearSiteData) {
            builder = builder.clear_site_data(["cache"]);
        }
        builder.build()
    }

    /// Builds the layer that serves prices in maintenance. It stands directly outside of the gate.
    pub(crate) fn last_good(&self) -> Result<Option<LastGoodLayer>, LastGoodError> {
        let prices = || LastGoodLayer::builder().path("/billing/prices").build();
        self.has(Cure::LastGood).then(prices).transpose()
    }
}

/// The plans that customers have bought, by session. No entry is ever removed.
#[derive(Debug, Default)]
pub(crate) struct Customers(Mutex<HashMap<String, String>>);

impl Customers {
    pub(crate) fn plan(&self, session: &str) -> Option<String> {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.get(session).cloned()
    }

    pub(crate) fn bought(&self, session: String, plan: String) {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.insert(session, plan);
    }
}

/// Returns the value of the session cookie.
pub(crate) fn session(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split("; "));
    pairs.find_map(|pair| pair.strip_prefix("session=").map(str::to_owned))
}

/// Returns the page, and sets a session cookie if there is none.
///
/// This session is only an example. A real one is signed and hard to guess.
pub(crate) fn page(session: Option<&str>, plan: Option<&str>, push: &str) -> Response {
    let html = include_str!("shop.html")
        .replace("{push}", push)
        .replace("{plan}", plan.unwrap_or("nothing yet"));
    let headers = [
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'"),
    ];
    let cookie = session.is_none().then(|| {
        let id = HasherRng::new().next_u64();
        let session = format!("session={id:016x}; Path=/; HttpOnly; SameSite=Lax");
        [(header::SET_COOKIE, session)]
    });
    match cookie {
        Some(cookie) => (headers, cookie, Html(html)).into_response(),
        None => (headers, Html(html)).into_response(),
    }
}

pub(crate) async fn script() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/javascript")],
        include_str!("shop.js"),
    )
}
