//! Small trees, each with one violation, and one without any.

use std::collections::BTreeMap;

use crate::{Broken, Counts, Report, Rules, Tree, check};

const RULES: &str = r#"
src = "src"
entries = 9
face = ["lib.rs"]
wings = ["wing", "other"]
cfg_feature_in = ["lib.rs", "wing", "base/clock*.rs"]

[wings_see_no]
imports = ["state"]
calls = ["root"]

[[layer]]
name = "wings"
holds = ["wing", "other"]
apart = true
may = [["other", "wing"]]

[[layer]]
name = "call"
holds = ["call"]

[[layer]]
name = "state"
holds = ["state"]

[[layer]]
name = "base"
holds = ["base"]

[limits]
function_lines = 5
longer_in_core = 0
longer_in_wings = 1
longer_outside = 1
nesting = 2
deeper = 0
comment_columns = 40
wider = 0
words = ["who", "nobody"]
with_words = 0
"#;

/// The tree that every test changes. It keeps every rule, some of them narrowly.
const CLEAN: [(&str, &str); 13] = [
    (
        "Cargo.toml",
        "[workspace]\nmembers = [\"member\"]\n[package]\nname = \"house\"\n",
    ),
    (
        "src/lib.rs",
        "mod base;\nmod call;\nmod other;\nmod state;\nmod wing;\n\
         pub use crate::{call::Ticket, wing::Wing};\n",
    ),
    (
        "src/wing/mod.rs",
        "mod inner;\npub use self::inner::Wing;\nuse crate::call::Ticket;\n\
         fn f(t: Ticket) { #[cfg(feature = \"x\")] t.land(); }\n",
    ),
    (
        "src/wing/inner.rs",
        "use crate::base::Span;\npub struct Wing(Span);\n",
    ),
    (
        "src/other.rs",
        "use crate::wing::Wing;\nuse std::sync::Arc;\nfn f(w: Arc<Wing>) { w.land() }\n",
    ),
    (
        "src/call/mod.rs",
        "mod ticket;\npub use self::ticket::Ticket;\npub struct Call;\n",
    ),
    (
        "src/call/ticket.rs",
        "use super::Call;\nuse crate::state::State;\npub struct Ticket(Call, State);\n",
    ),
    (
        "src/state/mod.rs",
        "use crate::base::{self, Span};\npub struct State(Span, base::Moment);\n\
         #[cfg(test)]\nmod tests;\n#[cfg(all(test, loom))]\nmod loom { use crate::call::Ticket; }\n",
    ),
    (
        "src/state/tests.rs",
        "use crate::{Wing, call::Call};\nuse super::*;\n",
    ),
    (
        "src/base/mod.rs",
        "mod clock_coarse;\nmod span;\npub use self::span::{Moment, Span};\n\
         #[cfg(feature = \"x\")]\npub fn coarse() {}\n",
    ),
    ("src/base/span.rs", "pub struct Span;\npub struct Moment;\n"),
    (
        "src/base/clock_coarse.rs",
        "fn f() {\n    #[cfg(feature = \"x\")]\n    g();\n}\n",
    ),
    ("member/Cargo.toml", "[package]\nname = \"member\"\n"),
];

/// The clean tree with some files in place of its own, or beside them.
fn tree(changes: &[(&str, &str)]) -> Tree {
    let files: BTreeMap<_, _> = CLEAN.into_iter().chain(changes.iter().copied()).collect();
    files.into_iter().collect()
}

fn rules() -> Rules {
    Rules::parse(RULES).unwrap()
}

fn report(changes: &[(&str, &str)]) -> Report {
    check(&tree(changes), &rules()).unwrap()
}

/// Checks that the changes are found as exactly this.
#[track_caller]
fn found(changes: &[(&str, &str)], expected: &[&str]) {
    let lines = report(changes)
        .violations
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    assert_eq!(lines, expected);
}

#[test]
fn a_clean_tree_has_no_violation() {
    let report = report(&[]);
    assert_eq!(report.violations, []);
    let counts = Counts {
        entries: 6,
        ..Counts::default()
    };
    assert_eq!(report.counts, counts);
}

#[test]
fn an_import_put_upward_on_purpose_is_found_with_its_file_and_line() {
    let base = "\nuse std::fmt;\nuse crate::{\n    state::State,\n};\npub struct Span;\npub struct Moment;\n";
    // From `state` to `base` the import runs down: together they are a circle, too.
    let changes = [("src/base/span.rs", base)];
    let report = report(&changes);
    assert_eq!(report.counts.upward, 1);
    let [circle, upward] = report.violations.as_slice() else {
        panic!("{:?}", report.violations);
    };
    assert_eq!(circle.rule, "circle");
    assert_eq!(
        upward.to_string(),
        "src/base/span.rs:4: imports `crate::state::State` of src/state/mod.rs, \
         upward: `base` stands below `state` [direction]"
    );
}

const SPAN: &str = "pub struct Span;\npub struct Moment;\n";

/// `base/span.rs` with a third line.
#[track_caller]
fn found_upward_in_line_3(line: &str, path: &str, to: &str) {
    let text = format!("{SPAN}{line}\n");
    let expected = format!(
        "src/base/span.rs:3: imports `{path}` of {to}, upward: `base` stands below `call` [direction]"
    );
    // Without the import that runs down from there, there is no circle.
    let ticket = ("src/call/ticket.rs", "pub struct Ticket;\n");
    found(&[("src/base/span.rs", &text), ticket], &[&expected]);
}

#[test]
fn a_path_in_code_is_an_import() {
    let (path, to) = ("crate::call::Call", "src/call/mod.rs");
    found_upward_in_line_3("pub fn f(_: crate::call::Call) {}", path, to);
    found_upward_in_line_3(
        "pub fn f() { crate::call::Call::new(); }",
        "crate::call::Call::new",
        to,
    );
    found_upward_in_line_3("impl crate::call::Call {}", path, to);
}

#[test]
fn an_import_that_repeats_its_name_ends() {
    // The paths of both lead to themselves.
    let text = format!("{SPAN}use pin::pin;\nuse map;\nfn f() {{ pin::a(); map::b(); }}\n");
    found(&[("src/base/span.rs", &text)], &[]);
    let each_other = [
        (
            "src/base/span.rs",
            &*format!("{SPAN}pub use super::clock_coarse::*;\n"),
        ),
        (
            "src/base/clock_coarse.rs",
            "pub use super::span::*;\nfn f(_: Gone) {}\n",
        ),
    ];
    assert_eq!(report(&each_other).counts.circles, 1);
}

#[test]
fn a_module_and_a_function_of_one_name_are_told_apart() {
    let call = "mod ticket;\npub mod land;\npub use self::{land::land, ticket::Ticket};\npub struct Call;\n";
    let changes = [
        ("src/call/mod.rs", call),
        ("src/call/land.rs", "pub fn land() {}\npub struct Landed;\n"),
        ("src/call/ticket.rs", "pub struct Ticket;\n"),
        (
            "src/base/span.rs",
            "pub struct Span;\npub struct Moment;\nuse crate::call::land::Landed;\n",
        ),
    ];
    found(
        &changes,
        &[
            "src/base/span.rs:3: imports `crate::call::land::Landed` of src/call/land.rs, \
           upward: `base` stands below `call` [direction]",
        ],
    );
}

#[test]
fn super_and_self_are_followed() {
    let to = "src/call/mod.rs";
    found_upward_in_line_3(
        "use super::super::call::Call;",
        "super::super::call::Call",
        to,
    );
    found_upward_in_line_3(
        "use self::super::super::call::Call;",
        "self::super::super::call::Call",
        to,
    );
    found_upward_in_line_3(
        "mod inner { use super::super::super::call::Call; }",
        "super::super::super::call::Call",
        to,
    );
}

#[test]
fn a_path_in_a_macro_is_an_import() {
    let (path, to) = ("crate::call::Call", "src/call/mod.rs");
    found_upward_in_line_3("pin! { struct A { call: crate::call::Call } }", path, to);
    found_upward_in_line_3(
        "macro_rules! m { () => { use $crate::call::{Call}; } }",
        path,
        to,
    );
}

#[test]
fn a_use_within_a_function_is_an_import() {
    let (path, to) = ("crate::call::Call", "src/call/mod.rs");
    found_upward_in_line_3("fn f() { use crate::call::Call; }", path, to);
}

#[test]
fn a_use_of_a_module_or_of_everything_in_it_is_an_import() {
    found_upward_in_line_3("use crate::call;", "crate::call", "src/call/mod.rs");
    found_upward_in_line_3("use crate::call::*;", "crate::call", "src/call/mod.rs");
}

#[test]
fn a_re_export_is_followed_to_the_file_that_defines() {
    found_upward_in_line_3(
        "use crate::call::Ticket as T;",
        "crate::call::Ticket",
        "src/call/ticket.rs",
    );
}

#[test]
fn a_name_that_a_macro_defines_belongs_to_the_file_that_is_named() {
    found_upward_in_line_3(
        "use crate::call::ticket::ByMacro;",
        "crate::call::ticket::ByMacro",
        "src/call/ticket.rs",
    );
}

#[test]
fn another_crates_name_that_is_re_exported_belongs_to_the_file_that_re_exports() {
    let changes = [
        (
            "src/base/span.rs",
            "pub struct Span;\npub struct Moment;\nuse crate::call::Arc;\n",
        ),
        (
            "src/call/mod.rs",
            "pub use std::sync::Arc;\npub struct Ticket;\npub struct Call;\n",
        ),
    ];
    let mut files: BTreeMap<_, _> = CLEAN.into_iter().chain(changes).collect();
    files.remove("src/call/ticket.rs");
    let report = check(&files.into_iter().collect(), &rules()).unwrap();
    let [violation] = report.violations.as_slice() else {
        panic!("{:?}", report.violations);
    };
    assert_eq!((violation.line, violation.rule), (3, "direction"));
    assert!(
        violation
            .what
            .starts_with("imports `crate::call::Arc` of src/call/mod.rs")
    );
}

#[test]
fn a_path_attribute_is_followed() {
    let lib = "mod base;\nmod call;\nmod other;\nmod state;\nmod wing;\n#[path = \"call/extra.rs\"]\nmod extra;\n";
    found(
        &[
            ("src/lib.rs", lib),
            ("src/call/extra.rs", "use crate::wing::Wing;\n"),
        ],
        &[
            "src/call/extra.rs:1: imports `crate::wing::Wing` of src/wing/inner.rs, \
           upward: `call` stands below `wings` [direction]",
        ],
    );
}

#[test]
fn only_code_for_tests_may_import_upward() {
    let to = "src/call/mod.rs";
    let import = "use crate::call::Call;";
    for cfg in [
        "not(test)",
        "any(test, feature = \"x\")",
        "all(unix)",
        "loom",
    ] {
        found_upward_in_line_3(&format!("#[cfg({cfg})] {import}"), "crate::call::Call", to);
    }
    for cfg in [
        "test",
        "doctest",
        "all(test, loom)",
        "all(unix, all(loom, test))",
    ] {
        let text =
            format!("{SPAN}#[cfg({cfg})] {import}\n#[cfg({cfg})] mod tests {{ {import} }}\n");
        found(&[("src/base/span.rs", &text)], &[]);
    }
}

#[test]
fn nothing_but_tests_imports_through_the_face() {
    let text = "pub struct State;\n#[cfg(test)] mod tests;\nuse crate::Ticket;\n";
    let ticket = ("src/call/ticket.rs", "pub struct Ticket;\n");
    found(
        &[("src/state/mod.rs", text), ticket],
        &[
            "src/state/mod.rs:3: imports `crate::Ticket` of src/call/ticket.rs, \
             upward: `state` stands below `call` [direction]",
            "src/state/mod.rs:3: imports `crate::Ticket` through src/lib.rs: \
             use `crate::call::Ticket` [face]",
        ],
    );
    found(
        &[("src/other.rs", "fn f() {\n    crate::Wing::new();\n}\n")],
        &[
            "src/other.rs:2: imports `crate::Wing::new` through src/lib.rs: \
           use `crate::wing::Wing::new` [face]",
        ],
    );
    let with_glob =
        "mod base;\nmod call;\nmod other;\nmod state;\nmod wing;\npub use crate::wing::*;\n";
    let instead = "use the path of the file that defines it";
    found(
        &[
            ("src/lib.rs", with_glob),
            ("src/other.rs", "use super::*;\nuse super::Wing;\n"),
        ],
        &[
            &format!("src/other.rs:1: imports `super` through src/lib.rs: {instead} [face]"),
            &format!("src/other.rs:2: imports `super::Wing` through src/lib.rs: {instead} [face]"),
        ],
    );
}

#[test]
fn a_wing_does_not_see_what_is_hidden_from_wings() {
    let wing = "mod inner;\npub use self::inner::Wing;\nuse crate::state::State;\n";
    found(
        &[("src/wing/mod.rs", wing)],
        &[
            "src/wing/mod.rs:3: imports `crate::state::State` of src/state/mod.rs, \
           which no wing may see [wings]",
        ],
    );
}

#[test]
fn a_wing_does_not_call_what_is_hidden_from_wings() {
    let said =
        |line| format!("src/other.rs:{line}: calls `root()`, which no wing may call [wings]");
    let other = "fn f(layer: &Layer) {\n    layer.root().lock();\n    assert!(layer.root().is_locked());\n}\n";
    found(&[("src/other.rs", other)], &[&said(2), &said(3)]);
    // A field of that name is no call, and below the wings the call is fine.
    found(&[("src/other.rs", "fn f(a: &A) { a.root.lock(); }\n")], &[]);
    found(
        &[(
            "src/base/span.rs",
            &format!("{SPAN}fn f(a: &A) {{ a.root(); }}\n"),
        )],
        &[],
    );
}

#[test]
fn wings_stand_apart() {
    found(
        &[
            (
                "src/wing/inner.rs",
                "pub struct Wing(crate::other::Other);\n",
            ),
            ("src/other.rs", "pub struct Other;\n"),
        ],
        &[
            "src/wing/inner.rs:1: imports `crate::other::Other` of src/other.rs, \
           aside: what `wings` holds stands apart [direction]",
        ],
    );
}

#[test]
fn a_circle_is_found_by_its_shortest_way() {
    // a -> b -> c -> a, and b -> a.
    let files = [
        (
            "src/state/mod.rs",
            "mod a;\nmod b;\nmod c;\npub struct State;\n#[cfg(test)] mod tests;\n",
        ),
        ("src/state/a.rs", "use super::b::B;\npub struct A(B);\n"),
        (
            "src/state/b.rs",
            "use super::c::C;\npub struct B(C, super::a::A);\n",
        ),
        ("src/state/c.rs", "\nuse super::a::A;\npub struct C(A);\n"),
    ];
    found(
        &files,
        &[
            "src/state/a.rs:1: circle of 3 files: src/state/a.rs -> src/state/b.rs \
           (`super::b::B`, line 1) -> src/state/a.rs (`super::a::A`, line 2) [circle]",
        ],
    );
    let counts = report(&files).counts;
    assert_eq!((counts.circles, counts.largest_circle), (1, 3));
}

#[test]
fn a_child_uses_its_parent_only_if_the_parent_does_not_use_it() {
    let child = "use super::Call;\npub struct Ticket(Call);\n";
    let with_parent = |parent| [("src/call/mod.rs", parent), ("src/call/ticket.rs", child)];
    found(
        &with_parent("mod ticket;\npub use self::ticket::Ticket;\npub struct Call;\n"),
        &[],
    );
    let said = |path: &str, line| {
        format!(
            "src/call/mod.rs:{line}: circle of 2 files: src/call/mod.rs -> src/call/ticket.rs \
             (`{path}`, line {line}) -> src/call/mod.rs (`super::Call`, line 1) [circle]"
        )
    };
    let private = "mod ticket;\npub struct Call;\nuse self::ticket::Ticket;\nuse Ticket as T;\n";
    found(&with_parent(private), &[&said("self::ticket::Ticket", 3)]);
    let re_exported =
        "mod ticket;\npub use self::ticket::Ticket;\npub struct Call;\nfn f() -> Ticket {}\n";
    found(&with_parent(re_exported), &[&said("Ticket", 4)]);
    let by_path =
        "mod ticket;\npub use ticket::Ticket;\npub struct Call;\n\nfn f() -> ticket::Ticket {}\n";
    found(&with_parent(by_path), &[&said("ticket::Ticket", 5)]);
}

#[test]
fn a_member_and_its_tests_have_no_circle_either() {
    let said = |folder: &str, root: &str| {
        format!(
            "{folder}/a.rs:1: circle of 2 files: {folder}/a.rs -> {root} \
             (`crate::Root`, line 1) -> {folder}/a.rs (`a::A`, line 3) [circle]"
        )
    };
    let root = "mod a;\npub struct Root;\nuse a::A;\n";
    let a = "use crate::Root;\npub struct A;\n";
    found(
        &[("member/src/lib.rs", root), ("member/src/a.rs", a)],
        &[&said("member/src", "member/src/lib.rs")],
    );
    found(
        &[("tests/rules/main.rs", root), ("tests/rules/a.rs", a)],
        &[&said("tests/rules", "tests/rules/main.rs")],
    );
    let manifest = "[package]\nname = \"member\"\n[[bench]]\nname = \"b\"\npath = \"speed/b.rs\"\n";
    found(
        &[
            ("member/Cargo.toml", manifest),
            ("member/speed/b.rs", root),
            ("member/speed/a.rs", a),
        ],
        &[&said("member/speed", "member/speed/b.rs")],
    );
}

#[test]
fn a_member_is_found_by_a_pattern() {
    let root = "[workspace]\nmembers = [\"crates/*\"]\n[package]\nname = \"house\"\n";
    found(
        &[
            ("Cargo.toml", root),
            ("crates/one/Cargo.toml", "[package]\nname = \"one\"\n"),
            (
                "crates/one/src/main.rs",
                "mod a;\nuse a::A;\nstruct Root;\n",
            ),
            ("crates/one/src/a.rs", "use super::Root;\npub struct A;\n"),
        ],
        &[
            "crates/one/src/a.rs:1: circle of 2 files: crates/one/src/a.rs -> \
           crates/one/src/main.rs (`super::Root`, line 1) -> crates/one/src/a.rs \
           (`a::A`, line 2) [circle]",
        ],
    );
}

#[test]
fn a_feature_is_asked_for_on_items_only() {
    let wrong = [
        "fn f() {\n    #[cfg(feature = \"x\")]\n    g();\n}",
        "fn f() {\n    #[cfg(all(unix, feature = \"x\"))] let a = 1;\n}",
        "fn f() {\n    #[cfg(not(feature = \"x\"))] use std::fmt;\n}",
        "struct A {\n    #[cfg(feature = \"x\")] a: u8,\n}",
        "enum A {\n    #[cfg(feature = \"x\")] B,\n}",
        "fn f() { match a {\n    #[cfg(feature = \"x\")] _ => {}\n} }",
        "fn f() { A {\n    #[cfg(feature = \"x\")] a: 1,\n}; }",
        "fn f() { if\n    cfg!(feature = \"x\") {}\n}",
        "pin! { struct A {\n    #[cfg(feature = \"x\")] pub(crate) a: u8,\n} }",
        "fn f() { assert!(\n    cfg!(feature = \"x\")); }",
    ];
    for text in wrong {
        let text = format!("{SPAN}{text}\n");
        let said = "src/base/span.rs:4: tests a feature within an item [features]";
        found(&[("src/base/span.rs", &text)], &[said]);
    }
    let right = [
        "#[cfg(feature = \"x\")] fn f() {}",
        "#[cfg(feature = \"x\")] use std::fmt;",
        "#[cfg_attr(feature = \"x\", derive(Debug))] struct A;",
        "impl A { #[cfg(feature = \"x\")] fn f() {} }",
        "trait A { #[cfg(feature = \"x\")] fn f() {} }",
        "pin! { #[cfg(feature = \"x\")] #[derive(Debug)] pub(crate) struct A; }",
        "fn f() { #[cfg(unix)] g(); }",
        "#![cfg(feature = \"x\")]",
    ];
    for text in right {
        found(&[("src/base/span.rs", &format!("{text}\n{SPAN}"))], &[]);
    }
}

#[test]
fn src_has_a_limit_of_entries() {
    let rules = Rules::parse(&RULES.replace("entries = 9", "entries = 6")).unwrap();
    assert_eq!(check(&tree(&[]), &rules).unwrap().violations, []);
    let with_one_more = check(&tree(&[("src/page.html", "")]), &rules).unwrap();
    let lines: Vec<_> = with_one_more
        .violations
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lines, ["src:1: has 7 entries: allowed are 6 [entries]"]);
    assert_eq!(with_one_more.counts.entries, 7);
}

/// A function of so many lines, docs and attributes not counted.
fn function(name: &str, lines: usize) -> String {
    let body = "    g();\n".repeat(lines - 2);
    format!("/// Docs.\n#[inline]\npub fn {name}() {{\n{body}}}\n")
}

#[test]
fn a_function_of_the_core_has_a_limit_of_lines() {
    let text = format!("{SPAN}{}{}", function("five", 5), function("six", 6));
    found(
        &[("src/base/span.rs", &text)],
        &[
            "src/base/span.rs:12: `six` has 6 lines; of these there are 1, allowed are 0 \
           [function_lines]",
        ],
    );
    let methods = format!("{SPAN}impl Span {{\n{}}}\n", function("six", 6));
    let in_macro = format!("{SPAN}tests! {{\n{}}}\n", function("six", 6));
    for text in [methods, in_macro] {
        assert_eq!(
            report(&[("src/base/span.rs", &text)]).counts.longer_in_core,
            1
        );
    }
}

#[test]
fn wings_tests_and_members_have_limits_of_their_own() {
    let (one, two) = (function("a", 6), function("a", 6) + &function("b", 6));
    let counts = |file: &str, text: &str| {
        let report = report(&[(file, text)]);
        let Counts {
            longer_in_core,
            longer_in_wings,
            longer_outside,
            ..
        } = report.counts;
        (
            longer_in_core,
            longer_in_wings,
            longer_outside,
            report.violations.len(),
        )
    };
    assert_eq!(counts("src/other.rs", &one), (0, 1, 0, 0));
    assert_eq!(counts("src/other.rs", &two), (0, 2, 0, 2));
    assert_eq!(counts("tests/a.rs", &one), (0, 0, 1, 0));
    assert_eq!(counts("tests/a.rs", &two), (0, 0, 2, 2));
    assert_eq!(counts("member/src/lib.rs", &two), (0, 0, 2, 2));
    assert_eq!(counts("src/state/tests.rs", &two), (0, 0, 2, 2));
    let inline = format!("{SPAN}#[cfg(test)]\nmod tests {{\n{two}}}\n");
    assert_eq!(counts("src/base/span.rs", &inline), (0, 0, 2, 2));
}

#[test]
fn a_function_has_a_limit_of_nesting() {
    let said = "src/base/span.rs:5: `f` is nested 3 deep here; of these there are 1, allowed are 0 \
                [nesting]";
    let wrong = [
        "fn f() { if a {\n for b in c {\n while d {} } } }",
        "fn f() { loop {\n match a {\n _ => if b {} } } }",
        "fn f() { if a {} else {\n if b {\n if c {} } } }",
        "fn f() { g(|| {\n async {\n loop {} } }) }",
        "fn f() { if a {\n if b {\n assert!(if c { d } else { e }) } } }",
        "tests! { fn f(a in b) { if let A { a } = c {\n for d in e {\n match f {} } } } }",
    ];
    for text in wrong {
        found(&[("src/base/span.rs", &format!("{SPAN}{text}\n"))], &[said]);
    }
    let right = [
        "fn f() { if a {} else if b {} else if c { if d {} } }",
        "fn f() { if a { g(|b| b.c(|d| e(|| d))) } }",
        "fn f() { if a { if b { { unsafe { g() } } } } }",
        "fn f() { if a { if b { fn g() { if c { if d {} } } } } }",
        "pin! { impl A for B { fn f() { if a { if b {} } } } }",
    ];
    for text in right {
        found(&[("src/base/span.rs", &format!("{SPAN}{text}\n"))], &[]);
    }
}

#[test]
fn a_comment_has_a_limit_of_columns() {
    let wide = "x".repeat(38);
    let wrong = [
        format!("// {wide}"),
        format!("/// {wide}\nfn f() {{}}"),
        format!("fn f() {{}} // {}", &wide[10..]),
        format!("/* */ /*\n\n {wide}é */").replace("\n\n", ""),
    ];
    for text in wrong {
        let found = report(&[("src/base/span.rs", &format!("{SPAN}{text}\n"))]);
        assert_eq!(found.counts.wider, 1, "{text}");
        assert_eq!(
            (found.violations[0].line, found.violations[0].rule),
            (3, "comment_columns")
        );
    }
    let right = [
        format!("// {}", "é".repeat(37)),
        format!("const A: &str = \"// {wide}\";"),
        format!("const A: &str = r#\"\"// {wide}\"#;"),
        format!("fn f<'a>() {{ g('\"', '\\'', \"\\\"// {wide}\"); }}"),
    ];
    for text in right {
        found(&[("src/base/span.rs", &format!("{SPAN}{text}\n"))], &[]);
    }
}

#[test]
fn a_comment_does_without_certain_words() {
    let said = |line, text| {
        format!(
            "src/base/span.rs:{line}: a word to avoid: {text}; of these there are 1, allowed are 0 \
             [words]"
        )
    };
    let span = |text| format!("{SPAN}{text}\n");
    found(
        &[("src/base/span.rs", &span("// Who asks"))],
        &[&said(3, "// Who asks")],
    );
    let block = span("/* one\n   who's two\n*/");
    found(&[("src/base/span.rs", &block)], &[&said(4, "who's two")]);
    for text in [
        "// whole",
        "fn who() {}",
        "const A: &str = \"// who\";",
        "// whoever",
    ] {
        found(&[("src/base/span.rs", &span(text))], &[]);
    }
    let member = report(&[("member/src/lib.rs", "//! For nobody.\n")]);
    assert_eq!(member.counts.with_words, 1);
}

#[test]
fn an_entry_that_does_not_exist_is_found() {
    let rules = Rules::parse(&RULES.replace("\"other\"]\napart", "\"other\", \"gone\"]\napart"));
    let report = check(&tree(&[]), &rules.unwrap()).unwrap();
    let lines: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["src:1: the rules file names src/gone, which does not exist [rules]"]
    );
}

#[test]
fn a_file_that_is_in_no_layer_or_no_crate_is_found() {
    let lib = "mod base;\nmod call;\nmod extra;\nmod other;\nmod state;\nmod wing;\n";
    found(
        &[
            ("src/lib.rs", lib),
            ("src/extra.rs", ""),
            ("src/base/lost.rs", ""),
        ],
        &[
            "src/base/lost.rs:1: no `mod` names this file [rules]",
            "src/extra.rs:1: no layer of the rules file holds this file [direction]",
        ],
    );
}

#[test]
fn a_tree_that_cannot_be_checked_is_an_error_with_its_place() {
    let error = |changes: &[(&str, &str)]| check(&tree(changes), &rules()).unwrap_err().to_string();
    let unparsed = error(&[("src/base/span.rs", "pub struct Span;\nfn {\n")]);
    assert!(
        unparsed.starts_with("src/base/span.rs:2: cannot be parsed: "),
        "{unparsed}"
    );
    let no_file = error(&[("src/base/span.rs", "\nmod gone;\n")]);
    assert_eq!(no_file, "src/base/span.rs:2: module `gone` has no file");
    let no_member = error(&[("Cargo.toml", "[workspace]\nmembers = [\"gone\"]\n")]);
    assert_eq!(no_member, "gone/Cargo.toml: no such file");
    let unknown: Result<_, Broken> = Rules::parse(&format!("sources = 1\n{RULES}"));
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("unknown field `sources`")
    );
}
