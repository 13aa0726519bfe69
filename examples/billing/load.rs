//! Reading the file of `--config` and checking it as a whole.

use std::{path::Path, time::Duration};

use super::{
    config::{BUILT_IN, BUILT_IN_PATH, Config, ConfigError},
    layer::layer,
    shop::Setup,
};

/// Returns what the server has without a file.
pub(crate) fn built_in(setup: &Setup) -> Result<Config, ConfigError> {
    checked(BUILT_IN, Path::new(BUILT_IN_PATH), setup)
}

/// Reads the file of the setup, or what is built in. Returns the text of the file, too.
pub(crate) fn load(setup: &Setup) -> Result<(Config, String), ConfigError> {
    match &setup.config {
        None => Ok((built_in(setup)?, String::new())),
        Some(path) => {
            let text = read(path)?;
            Ok((checked(&text, path, setup)?, text))
        }
    }
}

/// Parses and checks a file. `path` is for errors.
pub(crate) fn checked(text: &str, path: &Path, setup: &Setup) -> Result<Config, ConfigError> {
    let mut config = Config::parse(text, path)?;
    // The flag stands over the file.
    if setup.ramp > 0 {
        let ramp = Duration::from_secs(setup.ramp.into());
        config.policy = config.policy.with_ramp(ramp);
    }
    // What is wrong with the whole shows when a layer is built of it.
    let refusals = config.texts.refusals();
    let refusals = refusals.map_err(|error| format!("{}: texts.{error}", path.display()))?;
    layer(&config, refusals).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(config)
}

/// Reads a file that is there and is text.
pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        format!(
            "{path}: cannot be read: {error}; give the path of a TOML file such as {BUILT_IN_PATH}"
        )
    })
}
