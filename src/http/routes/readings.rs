//! Patterns that are matched as strict and as lenient readers would.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use super::{
    lenient_reading::LenientPattern,
    path_pattern::{BadPattern, Matcher, shape},
};

/// Numbered patterns that are matched both strictly and leniently.
///
/// A path matches only if both readings choose the same pattern.
#[derive(Debug)]
pub(super) struct Readings {
    /// The patterns as they are, by their numbers.
    strict: Matcher,
    /// The folded patterns (see [`fold`]), by their index in `spellings`.
    lenient: Matcher,
    /// The numbers of the patterns that fold to the same one, such as `/a` and `/A/`.
    spellings: Vec<Vec<usize>>,
    /// Each pattern with its number, for readers that change a path by more than folding it.
    readings: Vec<(usize, LenientPattern)>,
}

impl Readings {
    pub(super) fn new<'p>(
        patterns: impl Iterator<Item = (usize, &'p str)> + Clone,
    ) -> Result<Self, BadPattern> {
        let strict = Matcher::of_routes(patterns.clone())?;
        let readings = patterns
            .clone()
            .map(|(number, pattern)| (number, LenientPattern::new(pattern)))
            .collect();
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut spellings: Vec<Vec<usize>> = Vec::new();
        let mut folded = Vec::new();
        for (number, pattern) in patterns {
            let pattern = fold(pattern);
            let place = *places.entry(shape(&pattern).collect()).or_insert_with(|| {
                folded.push(pattern);
                spellings.push(Vec::new());
                spellings.len() - 1
            });
            spellings[place].push(number);
        }
        let lenient = Matcher::of_readings(folded.iter().map(String::as_str).enumerate())?;
        Ok(Self {
            strict,
            lenient,
            spellings,
            readings,
        })
    }

    /// Returns the number of the pattern that `path` matches.
    ///
    /// It is `None` if the path is ambiguous, or if a lenient reader would choose another pattern.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        let number = self.strict.find(path)?;
        let alike = &self.spellings[self.lenient.find(&fold(path))?];
        if !alike.contains(&number) {
            return None;
        }
        let is_certain = is_plain(path) || !self.may_be_another(number, path);
        is_certain.then_some(number)
    }

    /// Iterates over the numbers of the patterns that some lenient reader may find for `path`.
    pub(super) fn may_be(&self, path: &str) -> impl Iterator<Item = usize> {
        let path = LenientPattern::segments(path);
        let readings = self.readings.iter();
        readings.filter_map(move |(number, pattern)| pattern.may_match(&path).then_some(*number))
    }

    /// Returns whether some lenient reader may find a more specific pattern for the path.
    fn may_be_another(&self, number: usize, path: &str) -> bool {
        let chosen = self.readings.iter().find(|(listed, _)| *listed == number);
        let Some((_, chosen)) = chosen else {
            return false;
        };
        let path = LenientPattern::segments(path);
        let mut others = self.readings.iter();
        others.any(|(_, other)| other.is_preferred_to(chosen) && other.may_match(&path))
    }
}

/// Returns whether every reader takes the path as it is, apart from case and a slash at its end.
fn is_plain(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~".contains(&byte);
    path.bytes().all(is_plain)
}

/// Returns a path or a pattern as a lenient reader takes it: decoded, in lower case, without a
/// slash or white space at the end.
pub(super) fn fold(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy().to_lowercase();
    let folded = decoded.trim_end_matches(|c: char| c == '/' || c.is_whitespace());
    if folded.is_empty() {
        "/".to_owned()
    } else {
        folded.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_only_where_all_readings_choose_it() {
        let patterns = [
            "/users/{id}",
            "/Users/{name}/",
            "/users/export",
            "/files/{*path}",
            "/{{a}}",
        ];
        let readings = Readings::new(patterns.into_iter().enumerate()).unwrap();
        for (path, found) in [
            ("/users/7", Some(0)),
            ("/users/INV%207", Some(0)),
            ("/Users/7/", Some(1)),
            ("/users/export", Some(2)),
            ("/users/%65xport", None),
            ("/users/Export", None),
            ("/users/export/", None),
            ("/files/a/b/", Some(3)),
            ("/files/../users/export", None),
            ("/{a}", Some(4)),
            ("/prices", None),
        ] {
            assert_eq!(readings.find(path), found, "{path}");
        }
    }
}
