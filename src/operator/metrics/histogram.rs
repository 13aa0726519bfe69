//! The histogram of how long calls take, by outcome.

use std::{fmt, sync::Arc, time::Duration};

use metrics::Key;

use super::{
    contract,
    figures::{METADATA, key},
};
use crate::facts::outcome::{CallTimes, Ended};

const ENDS: [Ended; 6] = [
    Ended::Succeeded,
    Ended::Failed,
    Ended::Neutral,
    Ended::Ours,
    Ended::RefusedWithin,
    Ended::Abandoned,
];

/// Records the time of each call.
///
/// The histogram is asked of the recorder for each call, and not once when the layer is built: the
/// layer may be built before a recorder is installed. The keys are made once, with their hashes.
pub(crate) struct CallHistogram([Key; ENDS.len()]);

impl CallHistogram {
    pub(crate) fn new(partner: Arc<str>) -> Self {
        Self(ENDS.map(|ended| key(&contract::CALL_SECONDS, &partner, Some(ended.as_str()))))
    }
}

impl CallTimes for CallHistogram {
    fn ended(&self, how: Ended, took: Duration) {
        let [succeeded, failed, neutral, ours, refused_within, abandoned] = &self.0;
        let key = match how {
            Ended::Succeeded => succeeded,
            Ended::Failed => failed,
            Ended::Neutral => neutral,
            Ended::Ours => ours,
            Ended::RefusedWithin => refused_within,
            Ended::Abandoned => abandoned,
        };
        metrics::with_recorder(|recorder| {
            let histogram = recorder.register_histogram(key, &METADATA);
            histogram.record(took.as_secs_f64());
        });
    }
}

impl fmt::Debug for CallHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHistogram").finish_non_exhaustive()
    }
}
