//! The endpoints that pass even in maintenance, each with its reason: the table for the runbook.
//!
//! An exemption belongs to a placement: `/billing/invoices/{id}` of this service and
//! `/v1/invoices/{id}` of the partner are different endpoints. Each exemption has a reason, because
//! a list without reasons is never shortened.
//!
//! This file finds exemptions by name, and by method. The `http` wing adds path patterns with a
//! matcher of its own ([`Paths`]), and conditions that it asks of a request's head
//! ([`Head`](crate::facts::endpoint::Head)).

use std::{
    any::Any,
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    base::{
        one_line::{OneLine, is_treacherous},
        published::Published,
        spare::Spare,
    },
    facts::endpoint::{Endpoint, HeadRef, Placement},
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
    /// The exemption is for certain methods, and none is named.
    #[error(
        "the exemption of `{}` is for no method: name one, or leave `for_methods` out for all of them",
        OneLine(.name)
    )]
    #[non_exhaustive]
    NoMethods {
        /// The exempt endpoint.
        name: String,
    },
    /// The exemption of a call by its name is for certain methods, and such a call has none.
    #[error(
        "the call `{}` is exempt by its name, and has no HTTP method: leave `for_methods` out, or exempt a path",
        OneLine(.name)
    )]
    #[non_exhaustive]
    CallsHaveNoMethods {
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
///     .exempt(Exemption::call("invoice.read", "customers may always see what they owe"))
///     .build()?
///     .named(|operation: &String| operation.as_str());
/// assert_eq!(
///     layer.handle().exemptions().to_string(),
///     "| placement | endpoint | methods | counted | why |\n\
///      |---|---|---|---|---|\n\
///      | around calls | `invoice.read` | all | no | customers may always see what they owe |\n",
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
    /// The methods that are exempt; `None` if all are.
    methods: Option<Arc<[Box<str>]>>,
}

/// How a request of the endpoint is recognised.
#[derive(Clone)]
enum Form {
    /// By the name that the protocol gives it.
    Name,
    /// By its path, with a matcher of the wing that built the exemption.
    Pattern(Compile),
    /// By its head, which a wing asks. The name is for people.
    Condition(Condition),
}

/// What a wing asks of a request's head.
pub(crate) type Condition = Arc<dyn Any + Send + Sync>;

/// Compiles numbered patterns into a matcher.
pub(crate) type Compile = fn(&[(usize, &str)]) -> Result<Box<dyn Paths>, ExemptionError>;

/// A matcher of paths.
pub(crate) trait Paths: fmt::Debug + Send + Sync {
    /// Returns the number of the pattern that `path` matches.
    fn find(&self, path: &str) -> Option<usize>;

    /// Returns the number of the pattern that has the shape of `pattern`: the names of parameters
    /// do not matter.
    fn find_alike(&self, pattern: &str) -> Option<usize>;
}

impl Exemption {
    /// Exempts the calls to the partner that have this name.
    ///
    /// [`run`](crate::MaintenanceLayer::run), [`named`](crate::MaintenanceLayer::named) or a
    /// [`Judge`](crate::Judge) gives calls their names. One warning is traced if the layer leaves
    /// `Serving` and no call or view has had a name so far.
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

    /// Exempts the requests at `placement` that meet `condition`, which a wing asks of their heads.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "the seam for wings whose requests have a head")
    )]
    pub(crate) fn condition(
        placement: Placement,
        name: &str,
        why: &str,
        condition: Condition,
    ) -> Self {
        Self::new(placement, name, why, Form::Condition(condition))
    }

    /// Adds methods to those that are exempt.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "the seam for wings whose requests have a method")
    )]
    pub(crate) fn with_methods(self, methods: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut named: Vec<Box<str>> = self.methods.as_deref().unwrap_or_default().to_vec();
        for method in methods {
            if !named.contains(&method) {
                named.push(method);
            }
        }
        let methods = Some(named.into());
        Self { methods, ..self }
    }

    fn new(placement: Placement, name: &str, why: &str, form: Form) -> Self {
        Self {
            placement,
            name: name.into(),
            why: why.into(),
            counted: false,
            form,
            methods: None,
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

    /// Returns the methods that are exempt; `None` if all are.
    #[must_use]
    pub fn methods(&self) -> Option<impl Iterator<Item = &str>> {
        let methods = self.methods.as_deref()?;
        Some(methods.iter().map(|method| &**method))
    }

    /// Returns whether a condition recognises the requests. The name is then that of the condition.
    #[must_use]
    pub fn is_condition(&self) -> bool {
        matches!(self.form, Form::Condition(_))
    }

    /// Returns whether a request that the name, the path or the placement finds is exempt.
    fn applies_to(&self, head: Option<HeadRef<'_>>) -> bool {
        let of_method = match (&self.methods, head) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(methods), Some(HeadRef(head))) => {
                let method = head.method();
                methods.iter().any(|exempt| **exempt == *method)
            }
        };
        of_method
            && match &self.form {
                Form::Name | Form::Pattern(_) => true,
                Form::Condition(condition) => {
                    head.is_some_and(|HeadRef(head)| head.meets(&**condition))
                }
            }
    }

    /// Returns a method for which both are exempt: `Some("")` if that is every method.
    fn shared_method<'e>(&'e self, other: &'e Self) -> Option<&'e str> {
        match (&self.methods, &other.methods) {
            (None, None) => Some(""),
            (None, Some(some)) | (Some(some), None) => some.first().map(|method| &**method),
            (Some(one), Some(other)) => {
                let shared = one.iter().find(|method| other.contains(method));
                shared.map(|method| &**method)
            }
        }
    }
}

// A condition changes nothing here, so its panic leaves nothing half done.
impl UnwindSafe for Exemption {}
impl RefUnwindSafe for Exemption {}

impl fmt::Debug for Exemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exemption")
            .field("placement", &self.placement)
            .field("name", &self.name)
            .field("why", &self.why)
            .field("counted", &self.counted)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Exemption {
    fn eq(&self, other: &Self) -> bool {
        let same_form = match (&self.form, &other.form) {
            (Form::Name, Form::Name) | (Form::Pattern(_), Form::Pattern(_)) => true,
            (Form::Condition(one), Form::Condition(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let facts = |it: &Self| (it.placement, it.counted);
        same_form
            && facts(self) == facts(other)
            && self.name == other.name
            && self.why == other.why
            && self.methods == other.methods
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
        f.write_str("| placement | endpoint | methods | counted | why |\n|---|---|---|---|---|\n")?;
        for exemption in self {
            let counted = if exemption.counted { "yes" } else { "no" };
            let (name, why) = (cell(&exemption.name), cell(&exemption.why));
            let methods = match &exemption.methods {
                None => "all".to_owned(),
                Some(methods) => cell(&methods.join(", ")),
            };
            let kind = match exemption.form {
                Form::Name | Form::Pattern(_) => "",
                Form::Condition(_) => "requests that meet ",
            };
            writeln!(
                f,
                "| {} | {kind}`{name}` | {methods} | {counted} | {why} |",
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
    /// `None` if nothing is exempt there.
    around_calls: Option<Box<Index>>,
    before_routes: Option<Box<Index>>,
    /// Whether it was said that a request came without its route.
    warned: AtomicBool,
}

#[derive(Debug, Default)]
struct Index {
    names: Names,
    /// The numbers of the listed exemptions with one name: each is for other methods.
    groups: Vec<Vec<usize>>,
    paths: Option<Box<dyn Paths>>,
    /// The numbers of the conditions, in the order in which they were listed.
    conditions: Vec<usize>,
}

/// The numbers of the groups of exemptions, by name.
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

    /// Returns the number of the group of `name`, which is `fresh` if there is none yet.
    fn get_or_insert(&mut self, name: &Arc<str>, fresh: usize) -> usize {
        match self.place(name) {
            Ok(place) => self.0[place].1,
            Err(place) => {
                self.0.insert(place, (name.clone(), fresh));
                fresh
            }
        }
    }

    #[inline]
    fn place(&self, name: &str) -> Result<usize, usize> {
        let asked = (name.len(), name);
        self.0
            .binary_search_by(|(listed, _)| (listed.len(), &**listed).cmp(&asked))
    }
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

    pub(crate) fn new(entries: Vec<Exemption>) -> Result<Self, ExemptionError> {
        let around_calls = Index::new(&entries, Placement::AroundCalls)?;
        let before_routes = Index::new(&entries, Placement::BeforeRoutes)?;
        Ok(Self {
            listed: ExemptionTable {
                entries: entries.into(),
            },
            around_calls,
            before_routes,
            warned: AtomicBool::new(false),
        })
    }

    pub(crate) fn listed(&self) -> ExemptionTable {
        self.listed.clone()
    }

    /// Returns the name of the first call that is exempt by its name alone.
    pub(crate) fn first_name(&self) -> Option<&Arc<str>> {
        let by_name = |entry: &&Exemption| {
            entry.placement == Placement::AroundCalls && matches!(entry.form, Form::Name)
        };
        let first = self.listed.entries.iter().find(by_name);
        first.map(|entry| &entry.name)
    }

    /// Returns the exemption of an endpoint, if it has one.
    pub(crate) fn find(&self, placement: Placement, endpoint: &Endpoint<'_>) -> Option<&Exemption> {
        let index = match placement {
            Placement::AroundCalls => self.around_calls.as_deref()?,
            Placement::BeforeRoutes => self.before_routes.as_deref()?,
        };
        let group = index
            .named(endpoint.name)
            .or_else(|| index.paths.as_ref()?.find(endpoint.path?));
        let listed = group.and_then(|group| self.first(&index.groups[group], endpoint));
        listed.or_else(|| self.first(&index.conditions, endpoint))
    }

    /// Returns the first of these exemptions that applies.
    #[inline]
    fn first(&self, numbers: &[usize], endpoint: &Endpoint<'_>) -> Option<&Exemption> {
        let mut listed = numbers.iter().map(|number| &self.listed.entries[*number]);
        listed.find(|exemption| exemption.applies_to(endpoint.head))
    }

    /// Takes over from the table that this one replaces what was warned of.
    pub(crate) fn succeed(&mut self, replaced: &Self) {
        *self.warned.get_mut() = replaced.warned.load(Ordering::Relaxed);
    }

    /// Returns whether to warn that a view before routes was told no route for the request, so
    /// that no exemption by route applies. It is `true` once.
    ///
    /// A request that a router has seen may belong to its fallback. It is a fault if its path is
    /// exempt: then no route has the pattern.
    pub(crate) fn warns_of_unrouted(&self, endpoint: &Endpoint<'_>) -> bool {
        let paths = self
            .before_routes
            .as_ref()
            .and_then(|index| index.paths.as_ref());
        let (Some(unrouted), Some(paths)) = (endpoint.unrouted, paths) else {
            return false;
        };
        let is_fault = !unrouted.by_router || paths.find(unrouted.path).is_some();
        // Read first: the flag shares its cache line with what every request reads.
        is_fault
            && !self.warned.load(Ordering::Relaxed)
            && !self.warned.swap(true, Ordering::Relaxed)
    }
}

impl Index {
    fn new(
        entries: &[Exemption],
        placement: Placement,
    ) -> Result<Option<Box<Self>>, ExemptionError> {
        let mut index = Self::default();
        let mut compile = None;
        let mut patterns: Vec<(usize, &str)> = Vec::new();
        for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| {
            entry.placement == placement || mutant!("an exemption holds at both placements")
        }) {
            check(entry, number + 1)?;
            if let Form::Condition(_) = entry.form {
                once(entries, &index.conditions, entry)?;
                index.conditions.push(number);
                continue;
            }
            let group = index.names.get_or_insert(&entry.name, index.groups.len());
            if group == index.groups.len() {
                index.groups.push(Vec::new());
                if let Form::Pattern(with) = entry.form {
                    patterns.push((group, &entry.name));
                    compile = Some(with);
                }
            }
            once(entries, &index.groups[group], entry)?;
            index.groups[group].push(number);
        }
        index.paths = compile.map(|compile| compile(&patterns)).transpose()?;
        let is_empty = index.groups.is_empty() && index.conditions.is_empty();
        Ok((!is_empty).then(|| Box::new(index)))
    }

    #[inline]
    fn named(&self, name: Option<&str>) -> Option<usize> {
        let name = name?;
        self.names
            .get(name)
            .or_else(|| self.paths.as_ref()?.find_alike(name))
    }
}

/// Checks an exemption by itself. `position` counts from 1.
fn check(entry: &Exemption, position: usize) -> Result<(), ExemptionError> {
    let name = || entry.name.to_string();
    if entry.name.is_empty() {
        return Err(ExemptionError::Nameless {
            place: entry.placement.as_str(),
            position,
        });
    }
    if entry.why.trim().is_empty() {
        return Err(ExemptionError::Reasonless { name: name() });
    }
    match &entry.methods {
        Some(methods) if methods.is_empty() => Err(ExemptionError::NoMethods { name: name() }),
        Some(_) if matches!(entry.form, Form::Name) => {
            Err(ExemptionError::CallsHaveNoMethods { name: name() })
        }
        _ => Ok(()),
    }
}

/// Checks that no exemption among `numbers` has the name of `entry` and a method of it.
fn once(entries: &[Exemption], numbers: &[usize], entry: &Exemption) -> Result<(), ExemptionError> {
    let mut others = numbers.iter().map(|number| &entries[*number]);
    let shared = others.find_map(|other| {
        let same = other.name == entry.name;
        same.then(|| other.shared_method(entry)).flatten()
    });
    match shared {
        None => Ok(()),
        Some(method) => Err(ExemptionError::Twice {
            name: format!("{method} {}", entry.name).trim_start().to_owned(),
            place: entry.placement.as_str(),
        }),
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
        for exemptions in [vec![call("")], vec![call("why"), call("why")]] {
            let error = Table::new(exemptions).unwrap_err().to_string();
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
            assert_eq!(names.get_or_insert(&name(n).into(), n), n);
            assert_eq!(
                names.get_or_insert(&name(n).into(), 1_000),
                n,
                "it is there"
            );
        }
        for n in order() {
            assert_eq!(names.get(&name(n)), Some(n));
            assert_eq!(names.get(&format!("{}/", name(n))), None);
            assert_eq!(names.get(&name(n + 500)), None);
        }
    }
}
