//! The command line of the example `billing`.

use super::{misuse::Misuse, shop::Setup};

pub(crate) fn usage() -> String {
    format!(
        "usage: billing [--listen ADDR] [--config FILE] [--max-age SECONDS] [--ramp SECONDS] [--[without-]CURE]...\n\n  \
        --listen ADDR       a loopback address; port 0 takes a free one [default: 127.0.0.1:8080]\n  \
        --config FILE       policy, exemptions and texts in TOML, such as examples/billing.toml, read again when\n                      \
        it changes and on SIGHUP [default: the contents of that file]\n  \
        --max-age SECONDS   how long browsers may show prices without revalidation [default: 0]\n  \
        --ramp SECONDS      how long traffic grows after the partner is back [default: 0, all at once]\n\n\
        Cures for data that customers have from before a recovery:\n{}",
        Setup::flags()
    )
}

pub(crate) enum Arguments {
    Listen(String, Setup),
    Help,
}

impl Arguments {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Misuse> {
        let mut address = "127.0.0.1:8080".to_owned();
        let mut setup = Setup::default();
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (&*argument, None),
            };
            let mut needs = |what| {
                let value = value.clone().or_else(|| arguments.next());
                value.ok_or_else(|| Misuse(format!("`{name}` lacks its {what}\n{}", usage())))
            };
            match name {
                "--listen" => address = needs("address")?,
                "--config" => setup.config = Some(needs("file")?.into()),
                "--max-age" | "--ramp" => {
                    let given = needs("seconds")?;
                    let seconds = given.parse().map_err(|_| {
                        Misuse(format!(
                            "`{name} {given}`: a whole number of seconds is needed, such as 600"
                        ))
                    })?;
                    match name {
                        "--ramp" => setup.ramp = seconds,
                        _ => setup.max_age = seconds,
                    }
                }
                "--help" | "-h" if value.is_none() => return Ok(Self::Help),
                flag if value.is_none() && setup.flag(flag) => {}
                _ => {
                    let said = format!("`{argument}` is not an option\n{}", usage());
                    return Err(Misuse(said));
                }
            }
        }
        Ok(Self::Listen(address, setup))
    }
}
