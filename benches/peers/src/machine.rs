//! The machine and the build that the numbers are of.

use std::{env, fs, thread};

use serde_json::{Value, json};
use tokio::runtime::Builder;

/// Says what a number cannot be compared without.
#[derive(Debug)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    rustc: &'static str,
    /// The mean number of busy tasks in the minute before the run. More than 0 is noise.
    load: Option<f64>,
}

impl Machine {
    pub(crate) fn here() -> Self {
        Self {
            processor: processor().unwrap_or_else(|| format!("unknown {}", env::consts::ARCH)),
            cores: thread::available_parallelism().map_or(1, Into::into),
            rustc: env!("PEERS_RUSTC"),
            load: load(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "processor": self.processor,
            "cores": self.cores,
            "rustc": self.rustc,
            "load": self.load,
            "tokio_test_util": has_test_util(),
        })
    }

    pub(crate) fn to_line(&self) -> String {
        let load = self
            .load
            .map_or_else(|| "-".into(), |load| load.to_string());
        let test_util = if has_test_util() { "with" } else { "without" };
        format!(
            "{}, {} cores, {}; load {load}; tokio {test_util} test-util",
            self.processor, self.cores, self.rustc
        )
    }
}

/// As Linux names it. Family and model tell apart the processors that a hypervisor gives one name.
fn processor() -> Option<String> {
    let all = fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| {
        let mut fields = all.lines().filter_map(|line| line.split_once(':'));
        let value = fields.find(|(field, _)| field.trim_end() == name);
        value.map(|(_, value)| value.trim())
    };
    let name = field("model name")?;
    Some(match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name.into(),
    })
}

fn load() -> Option<f64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split(' ').next()?.parse().ok()
}

/// Whether tokio was built with its feature `test-util`. With it each reading of tokio's clock asks
/// whether time is paused, which a user's build does not do.
///
/// The program is built without it by `cargo run -p peers`, since cargo joins the features of the
/// packages that it builds, and no dependency here asks for that one:
/// `cargo tree -p peers -e features -i tokio` names what each asks for. A build of the whole
/// workspace with its tests has it.
pub(crate) fn has_test_util() -> bool {
    // An inherent method comes before a trait's. `Builder` has this one with `test-util` only.
    Builder::new_current_thread().start_paused(true).is_there()
}

/// Stands in for a method that tokio has with `test-util` only.
trait StartPaused {
    #[allow(dead_code, reason = "with `test-util` tokio's own method is called")]
    fn start_paused(&mut self, paused: bool) -> Missing;
}

struct Missing;

impl StartPaused for Builder {
    fn start_paused(&mut self, _: bool) -> Missing {
        Missing
    }
}

trait IsThere {
    fn is_there(&self) -> bool;
}

impl IsThere for Missing {
    fn is_there(&self) -> bool {
        false
    }
}

impl IsThere for &mut Builder {
    fn is_there(&self) -> bool {
        true
    }
}
