//! The command line. By hand, because an example compiles every dev-dependency of its package.

use std::str::FromStr;

use axum::http::Uri;

pub(crate) const HELP: &str = "\
The billing outage of 31 July 2024, replayed with and without tower-maintenance.

A real HTTP partner, a real billing app, and a crowd of real HTTP customers over loopback: once with
the layer, once without, side by side, with the same seed and the same arrivals. It prints what the
customers met, and exits with 1 if a promise of the crate was broken.

Usage: cargo run --example outage --features axum,testing -- [OPTIONS]

  --speed N        how fast, 0.1 to 5. Default: 1, which replays 75 minutes in 20 seconds
  --seed N         which calls fail, who comes when and for what. Default: 20240731
  --json           print one JSON object and nothing else; progress goes to standard error
  --partner URL    wrap a real partner (http://...) instead of the simulated outage: a small crowd
                   reads from this URL for as long as the replay takes. Nothing is ever written to
                   it, it need not fail, and there is no run without the layer
  --layer NAME     put something else in the layer's place, to see that the promises notice:
                     maintenance     the real one (default)
                     identity        nothing at all
                     always-refuse   refuses from the beginning
                     never-recover   trips, and never looks whether the partner is back
                     by-status       judges answers by their status, and not by what they say
  --help           print this
";

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) speed: f64,
    pub(crate) seed: u64,
    pub(crate) json: bool,
    pub(crate) partner: Option<Uri>,
    pub(crate) layer: Stand,
}

/// What stands where the layer belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    Maintenance,
    Identity,
    AlwaysRefuse,
    NeverRecover,
    ByStatus,
}

impl Stand {
    const ALL: [Self; 5] = [
        Self::Maintenance,
        Self::Identity,
        Self::AlwaysRefuse,
        Self::NeverRecover,
        Self::ByStatus,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::Identity => "identity",
            Self::AlwaysRefuse => "always-refuse",
            Self::NeverRecover => "never-recover",
            Self::ByStatus => "by-status",
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Wish {
    Run(Args),
    Help,
}

/// Reads the arguments after the program's name.
///
/// The error names the argument, what was given, and what would be right.
pub(crate) fn parse(given: impl IntoIterator<Item = String>) -> Result<Wish, String> {
    let mut args = Args {
        speed: 1.0,
        seed: 20_240_731,
        json: false,
        partner: None,
        layer: Stand::Maintenance,
    };
    let mut given = given.into_iter();
    while let Some(argument) = given.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let flag = |inline: &Option<String>| match inline {
            None => Ok(()),
            Some(value) => Err(format!("{name} takes no value, but is given `{value}`")),
        };
        match name {
            "--help" | "-h" => return flag(&inline).map(|()| Wish::Help),
            "--json" => {
                flag(&inline)?;
                args.json = true;
            }
            "--speed" | "--seed" | "--partner" | "--layer" => {
                let value = inline
                    .or_else(|| given.next())
                    .ok_or_else(|| format!("{name} is the last word: its value is missing"))?;
                match name {
                    "--speed" => args.speed = speed(&value)?,
                    "--seed" => args.seed = number(name, &value, "a whole number, 0 to 2^64 - 1")?,
                    "--partner" => args.partner = Some(partner(&value)?),
                    _ => args.layer = layer(&value)?,
                }
            }
            _ => return Err(format!("`{argument}` is not an argument of this example")),
        }
    }
    if args.partner.is_some() && args.layer != Stand::Maintenance {
        return Err(format!(
            "--layer is {}, which goes only with the simulated outage: leave out --partner",
            args.layer.name()
        ));
    }
    Ok(Wish::Run(args))
}

fn number<T: FromStr>(name: &str, value: &str, allowed: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} is `{value}`: allowed is {allowed}"))
}

fn speed(value: &str) -> Result<f64, String> {
    let allowed = "0.1 to 5 (1 takes 20 seconds, 2 takes 10)";
    let speed = number("--speed", value, allowed)?;
    if !(0.1..=5.0).contains(&speed) {
        return Err(format!("--speed is `{value}`: allowed is {allowed}"));
    }
    Ok(speed)
}

fn partner(value: &str) -> Result<Uri, String> {
    let wrong = |why: &str| {
        format!("--partner is `{value}`: {why}; right would be http://127.0.0.1:8080/v1/prices")
    };
    let uri: Uri = value
        .parse()
        .map_err(|error| wrong(&format!("not a URL ({error})")))?;
    match uri.scheme_str() {
        Some("http") => Ok(uri),
        Some("https") => Err(wrong("this example speaks plain http only")),
        _ => Err(wrong("it must begin with http://")),
    }
}

fn layer(value: &str) -> Result<Stand, String> {
    Stand::ALL
        .into_iter()
        .find(|stand| stand.name() == value)
        .ok_or_else(|| {
            let names = Stand::ALL.map(Stand::name).join(", ");
            format!("--layer is `{value}`: allowed is one of {names}")
        })
}
