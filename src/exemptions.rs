//! The endpoints that pass even in maintenance, each with its reason: the table for the runbook.
//!
//! An exemption belongs to a placement: `/billing/invoices/{id}` of this service and
//! `/v1/invoices/{id}` of the partner are different endpoints. Each exemption has a reason, because
//! a list without reasons is never shortened.
//!
//! This file finds exemptions by name. The `http` wing adds path patterns with a matcher of its own
//! ([`Paths`]).

use std::{fmt, sync::Arc};

use crate::{
    base::{
        one_line::{OneLine, is_treacherous},
        published::Published,
        spare::Spare,
    },
    facts::endpoint::{Endpoint, Placement},
};

/// An invalid exemption.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExemptionError {
    /// The name is empty.
    #[error(
        "exemption {position} ({place}) has no name: give the name or the pattern of the endpoint"
    )]
    #[non_exhaustive]
    Nameless {
        /// The placement: `around calls` or `before routes`.
        place: &'static str,
        /// The position in the list of exemptions, counted from 1.
        position: usize,
    },
    /// The reason is empty.
    #[error("the exemption of `{}` has no reason: say why maintenance must not affect it", OneLine(.name))]
    #[non_exhaustive]
    Reasonless {
        /// The exempt endpoint.
        name: String,
    },
    /// The same endpoint is listed twice at one placement.
    #[error("`{}` is exempt twice {place}: list it once", OneLine(.name))]
    #[non_exhaustive]
    Twice {
        /// The exempt endpoint.
        name: String,
        /// The placement: `around calls` or `before routes`.
        place: &'static str,
    },
    /// The router rejects the pattern.
    #[error("the pattern `{}` is not valid: {}", OneLine(.pattern), OneLine(.why))]
    #[non_exhaustive]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the router says about it.
        why: String,
    },
    /// A call is exempt, but no view gives calls names.
    #[error(
        "the call `{}` is exempt, but calls have no names: call `named(|request| ...)` on the builder or the layer first",
        OneLine(.name)
    )]
    #[non_exhaustive]
    CallsHaveNoNames {
        /// The exempt call.
        name: String,
    },
}

/// An endpoint that passes in every mode, with the reason for that.
///
/// ```
/// use tower_maintenance::{Exemption, MaintenanceLayer};
///
/// let layer = MaintenanceLayer::builder("zuora")
///     .named(|operation: &String| operation.as_str())
///     .exempt(Exemption::call("invoice.read", "customers may always see what they owe"))
///     .build()?;
/// assert_eq!(
///     layer.handle().exemptions().to_string(),
///     "| placement | endpoint | counted | why |\n\
///      |---|---|---|---|\n\
///      | around calls | `invoice.read` | no | customers may always see what they owe |\n",
/// );
/// # Ok::<(), tower_maintenance::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Exemption {
    placement: Placement,
    name: Arc<str>,
    why: Arc<str>,
    counted: bool,
    form: Form,
}

/// How a request of the endpoint is recognised.
#[derive(Clone, Copy)]
enum Form {
    /// By the name that the protocol gives it.
    Name,
    /// By its path, with a matcher of the wing that built the exemption.
    Pattern(Compile),
}

/// Compiles numbered patterns into a matcher.
pub(crate) type Compile = fn(&[(usize, &str)]) -> Result<Box<dyn Paths>, ExemptionError>;

/// A matcher of paths.
pub(crate) trait Paths: fmt::Debug + Send + Sync {
    /// Returns the number of the pattern that `path` matches.
    fn find(&self, path: &str) -> Option<usize>;
}

impl Exemption {
    /// Exempts the calls to the partner that have this name.
    ///
    /// [`named`](crate::MaintenanceLayer::named) or a [`Judge`](crate::Judge) gives calls their
    /// names.
    #[must_use]
    pub fn call(name: &str, why: &str) -> Self {
        Self::new(Placement::AroundCalls, name, why, Form::Name)
    }

    /// Exempts the paths that match `pattern` at `placement`. A wing that knows paths gives the
    /// matcher.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "the seam for wings that know paths")
    )]
    pub(crate) fn pattern(
        placement: Placement,
        pattern: &str,
        why: &str,
        compile: Compile,
    ) -> Self {
        Self::new(placement, pattern, why, Form::Pattern(compile))
    }

    fn new(placement: Placement, name: &str, why: &str, form: Form) -> Self {
        Self {
            placement,
            name: name.into(),
            why: why.into(),
            counted: false,
            form,
        }
    }

    /// Counts the calls of the endpoint in the window while the mode is `Serving`.
    ///
    /// Default: they are not counted, so that a failing exempt endpoint does not trip the layer for
    /// all others.
    #[must_use]
    pub fn counted(self) -> Self {
        Self {
            counted: true,
            ..self
        }
    }

    /// Returns the placement at which the endpoint passes.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Returns the name or the pattern of the endpoint.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns why maintenance must not affect the endpoint.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Returns whether the calls of the endpoint count while the mode is `Serving`.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.counted
    }
}

impl fmt::Debug for Exemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exemption")
            .field("placement", &self.placement)
            .field("name", &self.name)
            .field("why", &self.why)
            .field("counted", &self.counted)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Exemption {
    fn eq(&self, other: &Self) -> bool {
        let form = |form| matches!(form, Form::Name);
        (
            self.placement,
            &self.name,
            &self.why,
            self.counted,
            form(self.form),
        ) == (
            other.placement,
            &other.name,
            &other.why,
            other.counted,
            form(other.form),
        )
    }
}

/// The exemptions in force, in the order in which they were listed.
///
/// Its `Display` is a Markdown table for the runbook.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExemptionTable {
    entries: Arc<[Exemption]>,
}

impl ExemptionTable {
    /// Iterates over the exemptions in the order in which they were listed.
    pub fn iter(&self) -> std::slice::Iter<'_, Exemption> {
        self.entries.iter()
    }

    /// Returns the number of exemptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether nothing is exempt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the table as Markdown, like `to_string()`.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        self.to_string()
    }
}

impl<'a> IntoIterator for &'a ExemptionTable {
    type Item = &'a Exemption;
    type IntoIter = std::slice::Iter<'a, Exemption>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ExemptionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| placement | endpoint | counted | why |\n|---|---|---|---|\n")?;
        for exemption in self {
            let counted = if exemption.counted { "yes" } else { "no" };
            let (name, why) = (cell(&exemption.name), cell(&exemption.why));
            writeln!(
                f,
                "| {} | `{name}` | {counted} | {why} |",
                exemption.placement
            )?;
        }
        Ok(())
    }
}

/// Escapes `text` for one cell of a Markdown table.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' => out.push_str("\\|"),
            '\\' => out.push_str("\\\\"),
            c if is_treacherous(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

thread_local! {
    /// Left by the last call on this thread for which an exemption was looked up.
    static TABLE: Spare<Table> = const { Spare::new() };
}

/// The exemptions, indexed by placement.
#[derive(Debug, Default)]
pub(crate) struct Table {
    listed: ExemptionTable,
    around_calls: Index,
    before_routes: Index,
}

#[derive(Debug, Default)]
struct Index {
    names: Names,
    paths: Option<Box<dyn Paths>>,
}

/// The numbers of the listed exemptions, by name.
///
/// The names are sorted by length first and then by their bytes. So a lookup compares most names by
/// their length alone, and hashes none.
#[derive(Debug, Default)]
struct Names(Vec<(Arc<str>, usize)>);

impl Names {
    #[inline]
    fn get(&self, name: &str) -> Option<usize> {
        let place = self.place(name).ok()?;
        Some(self.0[place].1)
    }

    /// Adds `name`. Returns `false` if the name is already there.
    fn insert(&mut self, name: Arc<str>, number: usize) -> bool {
        let place = self.place(&name);
        if let Err(place) = place {
            self.0.insert(place, (name, number));
        }
        place.is_err()
    }

    #[inline]
    fn place(&self, name: &str) -> Result<usize, usize> {
        let asked = (name.len(), name);
        self.0
            .binary_search_by(|(listed, _)| (listed.len(), &**listed).cmp(&asked))
    }
}

/// Whether a view gives names to plain calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallNames {
    Given,
    Unknown,
}

impl Table {
    /// Looks at the published table without counting a reference.
    #[inline]
    pub(crate) fn look<T>(published: &Published<Self>, look: impl FnOnce(&Self) -> T) -> T {
        let table = published.get(Spare::take(&TABLE));
        let seen = look(&table);
        Spare::leave(&TABLE, table);
        seen
    }

    pub(crate) fn new(entries: Vec<Exemption>, names: CallNames) -> Result<Self, ExemptionError> {
        let around_calls = Index::new(&entries, Placement::AroundCalls)?;
        let before_routes = Index::new(&entries, Placement::BeforeRoutes)?;
        let plain = |entry: &&Exemption| {
            entry.placement == Placement::AroundCalls && matches!(entry.form, Form::Name)
        };
        if let (CallNames::Unknown, Some(entry)) = (names, entries.iter().find(plain)) {
            return Err(ExemptionError::CallsHaveNoNames {
                name: entry.name.to_string(),
            });
        }
        Ok(Self {
            listed: ExemptionTable {
                entries: entries.into(),
            },
            around_calls,
            before_routes,
        })
    }

    pub(crate) fn listed(&self) -> ExemptionTable {
        self.listed.clone()
    }

    /// Returns the exemption of an endpoint, if it has one.
    pub(crate) fn find(&self, placement: Placement, endpoint: &Endpoint<'_>) -> Option<&Exemption> {
        let index = match placement {
            Placement::AroundCalls => &self.around_calls,
            Placement::BeforeRoutes => &self.before_routes,
        };
        let by_name = endpoint.name.and_then(|name| index.names.get(name));
        let found = by_name.or_else(|| index.paths.as_ref()?.find(endpoint.path?))?;
        self.listed.entries.get(found)
    }
}

impl Index {
    fn new(entries: &[Exemption], placement: Placement) -> Result<Self, ExemptionError> {
        let place = placement.as_str();
        let mut index = Self::default();
        let mut patterns = Vec::new();
        let mut compile = None;
        for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| {
            entry.placement == placement || mutant!("an exemption holds at both placements")
        }) {
            if entry.name.is_empty() {
                return Err(ExemptionError::Nameless {
                    place,
                    position: number + 1,
                });
            }
            if entry.why.trim().is_empty() {
                return Err(ExemptionError::Reasonless {
                    name: entry.name.to_string(),
                });
            }
            if !index.names.insert(entry.name.clone(), number) {
                return Err(ExemptionError::Twice {
                    name: entry.name.to_string(),
                    place,
                });
            }
            if let Form::Pattern(with) = entry.form {
                patterns.push((number, &*entry.name));
                compile = Some(with);
            }
        }
        index.paths = compile.map(|compile| compile(&patterns)).transpose()?;
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_names_stands_on_one_line() {
        let evil = "prices\nWARN \u{1b}[31mrecovered\u{202e}";
        let shown = "prices\\u{a}WARN \\u{1b}[31mrecovered\\u{202e}";
        let call = |why| Exemption::call(evil, why);
        for (exemptions, names) in [
            (vec![call("")], CallNames::Given),
            (vec![call("why"), call("why")], CallNames::Given),
            (vec![call("why")], CallNames::Unknown),
        ] {
            let error = Table::new(exemptions, names).unwrap_err().to_string();
            assert!(error.contains(shown), "{error}");
            assert!(!error.contains(char::is_control), "{error}");
        }
    }

    #[test]
    fn each_name_is_found_whatever_came_before_it_and_no_other_is() {
        let mut names = Names::default();
        // Not sorted, with many lengths and many names of each length.
        let name = |n: usize| format!("{}/{n}", "billing".repeat(n % 7));
        let order = || (0..500).map(|n| n * 317 % 500);
        for n in order() {
            assert!(names.insert(name(n).into(), n));
            assert!(!names.insert(name(n).into(), 1_000), "it is there already");
        }
        for n in order() {
            assert_eq!(names.get(&name(n)), Some(n));
            assert_eq!(names.get(&format!("{}/", name(n))), None);
            assert_eq!(names.get(&name(n + 500)), None);
        }
    }
}
