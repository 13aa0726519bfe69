//! Sample refusals, with which a template is tried when it is given.

use std::time::UNIX_EPOCH;

use http::{HeaderMap, Method};

use super::{
    error::RefusalsError,
    in_handler::Processed,
    looks::Looks,
    one_refusal::{Asked, Refusal},
    support::Support,
    template::Template,
};
use crate::facts::{
    endpoint::Class,
    mode::{Cause, Mode},
    refused::{Notice, Refused},
};

/// Renders the template in every language, once with each optional value and once without.
///
/// # Errors
///
/// If the template fails. The error quotes the line of `source`.
pub(super) fn try_template(
    template: &Template,
    looks: &Looks,
    source: &str,
) -> Result<(), RefusalsError> {
    in_samples(looks, &Method::GET, |refusal| {
        template
            .render(refusal)
            .map(drop)
            .map_err(|error| RefusalsError::template(&error, source))
    })
}

/// Shows `each` every sample, in every language, until it fails.
pub(super) fn in_samples<E>(
    looks: &Looks,
    method: &Method,
    mut each: impl FnMut(&Refusal<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let asked = Asked {
        method,
        uri: None,
        path: None,
        headers: &HeaderMap::new(),
        class: Class::Read,
    };
    let full = full(looks);
    let samples = [looks, &full]
        .into_iter()
        .flat_map(|looks| samples().map(move |(refused, processed)| (looks, refused, processed)));
    for (looks, refused, processed) in samples {
        for (lang, texts) in &looks.languages {
            each(&Refusal {
                looks,
                refused: &refused,
                asked: &asked,
                processed,
                component: looks.component(texts),
                seconds: 1,
                lang,
                texts,
            })?;
        }
    }
    Ok(())
}

/// Returns the same looks with every optional value set.
fn full(looks: &Looks) -> Looks {
    Looks {
        support: Some(Support {
            contact: "sample".to_owned(),
            href: Some("tel:0".to_owned()),
            hours: "sample".to_owned(),
        }),
        works: vec!["sample".to_owned()],
        status_url: Some("https://sample".to_owned()),
        ..looks.clone()
    }
}

/// Returns one refusal of each kind.
fn samples() -> impl Iterator<Item = (Refused, Processed)> {
    let modes = [Mode::Maintenance, Mode::Probing].into_iter();
    let kinds = modes.flat_map(|mode| [false, true].map(|is_set| (mode, is_set)));
    kinds.map(|(mode, is_set)| {
        let time = is_set.then_some(UNIX_EPOCH);
        let notice = Notice {
            until_wall: time,
            is_promised: mode == Mode::Maintenance,
            read_only: is_set,
            message: time.map(|_| "sample".into()),
            ..Notice::sample("sample", mode, Cause::Operator)
        };
        let processed = if is_set {
            Processed::Nothing
        } else {
            Processed::Unknown
        };
        (Refused::sample(notice, None), processed)
    })
}
