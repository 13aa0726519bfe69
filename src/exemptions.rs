//! Which endpoints pass even in maintenance, and why: the table for the runbook.
//!
//! An exemption belongs to a placement: our own `/billing/invoices/{id}` and the partner's
//! `/v1/invoices/{id}` are different names. Each bears its reason, because a list nobody can explain
//! is a list nobody dares to shorten.
//!
//! How endpoints are recognised is a seam: plain names here, path patterns where the `http` wing
//! brings a matcher.

use std::{fmt, sync::Arc};

use crate::{
    base::{
        one_line::{OneLine, is_treacherous},
        published::Published,
        spare::Spare,
    },
    facts::endpoint::{Endpoint, Placement},
};

/// An exemption that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExemptionError {
    /// The name is empty.
    #[error(
        "the {place} exemption number {position} has no name: give the endpoint's name or pattern"
    )]
    #[non_exhaustive]
    Nameless {
        /// The placement's table.
        place: &'static str,
        /// Which one, counted from 1.
        position: usize,
    },
    /// The reason is empty.
    #[error("the exemption of `{}` has no reason: say why maintenance must not touch it", OneLine(.name))]
    #[non_exhaustive]
    Reasonless {
        /// The exempt endpoint.
        name: String,
    },
    /// The same endpoint twice at one placement.
    #[error("`{}` is exempt twice {place}: list it once", OneLine(.name))]
    #[non_exhaustive]
    Twice {
        /// The exempt endpoint.
        name: String,
        /// The placement's table.
        place: &'static str,
    },
    /// A pattern that the router would not take.
    #[error("the pattern `{}` is not valid: {}", OneLine(.pattern), OneLine(.why))]
    #[non_exhaustive]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the router says.
        why: String,
    },
    /// Calls are exempt, but nothing gives them names.
    #[error(
        "the call `{}` is exempt, but calls have no names here: call `named(|request| ...)` on the builder or the layer first",
        OneLine(.name)
    )]
    #[non_exhaustive]
    CallsHaveNoNames {
        /// The exempt call.
        name: String,
    },
}

/// An endpoint that passes in every mode, and why.
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

/// How the endpoint is recognised.
#[derive(Clone, Copy)]
enum Form {
    /// By the name that the protocol gives it.
    Name,
    /// By its path, with the matcher of the wing that made it.
    Pattern(Compile),
}

/// Makes a matcher of numbered patterns.
pub(crate) type Compile = fn(&[(usize, &str)]) -> Result<Box<dyn Paths>, ExemptionError>;

/// Finds the pattern that a path matches.
pub(crate) trait Paths: fmt::Debug + Send + Sync {
    fn find(&self, path: &str) -> Option<usize>;
}

impl Exemption {
    /// Exempts calls to the partner that are named so, by [`named`](crate::MaintenanceLayer::named) or a
    /// [`Judge`](crate::Judge).
    #[must_use]
    pub fn call(name: &str, why: &str) -> Self {
        Self::new(Placement::AroundCalls, name, why, Form::Name)
    }

    /// Exempts a path pattern at `placement`; for the wing that knows paths.
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

    /// Lets its calls count in the window while `Serving`. Default: they are not counted, so that a
    /// failing exempt endpoint does not take the others down with it.
    #[must_use]
    pub fn counted(self) -> Self {
        Self {
            counted: true,
            ..self
        }
    }

    /// Where it passes.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// The endpoint's name, or its pattern.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why maintenance must not touch it.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Whether its calls count while `Serving`.
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

/// The exemptions in force, in the order they were listed. Its `Display` is a Markdown table for the runbook.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExemptionTable {
    entries: Arc<[Exemption]>,
}

impl ExemptionTable {
    /// The exemptions, in the order they were listed.
    pub fn iter(&self) -> std::slice::Iter<'_, Exemption> {
        self.entries.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is exempt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The table as Markdown; the same as `to_string()`.
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

/// Text as it may stand in one cell of a Markdown table.
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

/// The exemptions, ready to be looked up.
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

/// The numbers of what is listed, by name. Sorted by length and then by what the name says: most names are told apart
/// without a look at them, and none is hashed.
#[derive(Debug, Default)]
struct Names(Vec<(Arc<str>, usize)>);

impl Names {
    #[inline]
    fn get(&self, name: &str) -> Option<usize> {
        let place = self.place(name).ok()?;
        Some(self.0[place].1)
    }

    /// Says whether there is none of that name yet.
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

/// Whether plain calls are given names somewhere.
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

    /// The exemption of an endpoint, if it has one.
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
        for (number, entry) in entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.placement == placement)
        {
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
    fn each_name_is_found_whatever_came_before_it_and_no_other_is() {
        let mut names = Names::default();
        // In no order, of many lengths, and many of each.
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
