//! The file of `--config`: what it says, and what is wrong with it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Deserialize;
use serde_path_to_error::Segment;
use toml::de::DeTable;
use tower_maintenance::{
    Exemption, Policy,
    http::{PageTexts, Refusals, RefusalsError},
};

/// What the server has without a file, and in place of a section that a file leaves out.
pub(crate) const BUILT_IN: &str = include_str!("../billing.toml");
pub(crate) const BUILT_IN_PATH: &str = "examples/billing.toml";

/// A whole configuration, in which nothing is left out.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) exempt: Vec<Exemption>,
    pub(crate) texts: Texts,
}

/// The sections of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    policy: Option<Policy>,
    exempt: Option<Vec<Exemption>>,
    texts: Option<Texts>,
}

/// What customers read when the gate, or a handler's call to the partner, refuses.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Texts {
    component: Option<String>,
    still_works: Vec<String>,
    /// The words of the page by the tag of their language. English is built in.
    language: BTreeMap<String, PageTexts>,
}

impl Texts {
    pub(crate) fn refusals(&self) -> Result<Refusals, RefusalsError> {
        let mut refusals = Refusals::new()
            .still_works(&self.still_works)
            .notice_url("/maintenance/notice.json")?
            .page_checks_every(Duration::from_secs(2))?;
        if let Some(component) = &self.component {
            refusals = refusals.component(component);
        }
        for (tag, texts) in &self.language {
            refusals = refusals.language(tag, texts.clone())?;
        }
        Ok(refusals)
    }
}

/// A file that is not taken up: its path, the place in it, and what would be right.
pub(crate) type ConfigError = String;

impl Config {
    /// Parses a file. `path` is for errors. What only shows in the whole is not checked here.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        // An editor that is writing leaves a file empty for a moment.
        if text.trim().is_empty() {
            return Err(format!(
                "{}: the file is empty: allowed are the sections [policy], [[exempt]] and [texts]",
                path.display()
            ));
        }
        let given = sections(text, path)?;
        let built_in = sections(BUILT_IN, Path::new(BUILT_IN_PATH))?;
        Ok(Self {
            policy: given.policy.or(built_in.policy).unwrap_or_default(),
            exempt: given.exempt.or(built_in.exempt).unwrap_or_default(),
            texts: given.texts.or(built_in.texts).unwrap_or_default(),
        })
    }
}

fn sections(text: &str, path: &Path) -> Result<Sections, ConfigError> {
    let parsed = toml::Deserializer::parse(text).map_err(|error| {
        let place = place(text, start(&error));
        format!("{}:{place}: {}", path.display(), error.message())
    })?;
    serde_path_to_error::deserialize(parsed).map_err(|error| {
        let at = entry(text, error.path()).unwrap_or_else(|| start(error.inner()));
        let key = error.path().to_string();
        let message = with_path(&key, error.inner().message());
        format!("{}:{}: {message}", path.display(), place(text, at))
    })
}

/// Returns where an error of TOML begins.
fn start(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// Returns where an entry of a list begins, such as the second `[[exempt]]`. The error itself names
/// the beginning of the list.
fn entry(text: &str, path: &serde_path_to_error::Path) -> Option<usize> {
    let mut segments = path.iter();
    let (Some(Segment::Map { key }), Some(Segment::Seq { index }), None) =
        (segments.next(), segments.next(), segments.next())
    else {
        return None;
    };
    let document = DeTable::parse(text).ok()?.into_inner();
    let (_, list) = document.iter().find(|(name, _)| name.get_ref() == key)?;
    let entry = list.get_ref().as_array()?.get(*index)?;
    Some(entry.span().start)
}

/// Returns the line and the column, both from 1.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("{line}:{column}")
}

/// Joins the path of a key and the message about it. The library's messages begin with the name of
/// the setting, which is the end of the path.
fn with_path(key: &str, message: &str) -> String {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let rest = message.strip_prefix(name);
    let is_named = rest.is_some_and(|rest| rest.starts_with([' ', '.']));
    match (key, section) {
        ("." | "", _) => message.to_owned(),
        // A check of several settings, which belongs to their table.
        ("policy", _) if message.contains(": allowed is ") => format!("policy.{message}"),
        (_, section) if is_named && !section.is_empty() => format!("{section}.{message}"),
        _ => format!("{key}: {message}"),
    }
}
