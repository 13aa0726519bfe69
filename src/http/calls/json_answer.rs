//! Rules about the JSON of an answer, for partners that fail with a 200.

use std::{fmt, sync::Arc};

use http::{HeaderMap, StatusCode, header::CONTENT_ENCODING};

use super::{
    answer_prefix::{AnswerPrefix, worse},
    json_pointer::{Pointer, PointerError, is_json},
    json_scalar::JsonScalar,
    media_type::promises_text,
};
use crate::facts::outcome::{Outcome, Verdict};

/// Judges answers by values in their JSON. Rules apply in order, and the first match decides.
///
/// Without a match the status decides. The same holds if the body is not JSON up to the value: if
/// it is cut off before the value, compressed, nested deeper than 127, or not UTF-8. If a key
/// occurs twice, the first one counts.
/// [`HttpCalls::judged_by_json`](super::HttpCalls::judged_by_json) takes the rules.
///
/// # An answer that is no JSON
///
/// A 2xx that is no JSON is a failure where JSON was to be expected: a page that announces
/// maintenance, the text of a proxy, an empty body, half of a document. It is so whatever the rules
/// say, unless [`when_no_json`](Self::when_no_json) sets another outcome.
///
/// | the answer | judged |
/// |---|---|
/// | `Content-Type` of JSON (`application/json`, `text/json`, any `+json`) | must be JSON |
/// | HTML (`text/html`, `application/xhtml+xml`), `text/plain` | must be JSON |
/// | no `Content-Type`, or one that cannot be read | must be JSON |
/// | any other `Content-Type`: PDF, CSV, XML, an image | by the rules and the status |
/// | 204, 205, 206; a status that is no 2xx; an answer to HEAD | by the rules and the status |
/// | with a `Content-Encoding` | by the rules and the status |
/// | longer than [the prefix](super::HttpCalls::with_body_prefix) | by the rules and the status |
///
/// JSON is what RFC 8259 defines: one value of any kind, with white space around it. A byte order
/// mark before it is accepted.
///
/// # An example
///
/// The example is Zuora, which sends `"success": false` under a 200, with a code of eight digits.
/// The last two digits are the category. Zuora's newer answers also give each category a status,
/// and the rules below judge a category as its status would be judged:
///
/// ```
/// use tower_maintenance::{MaintenanceLayer, Outcome, http::{HttpCalls, JsonAnswer}};
///
/// let category = |wanted: &[u64]| {
///     let wanted = wanted.to_vec();
///     move |code| wanted.contains(&(code % 100))
/// };
/// let answers = [20, 21, 22, 23, 30, 40, 45, 50, 90];
/// let zuora = JsonAnswer::new()
///     // Permission, authentication, too many requests: our own, as 401, 403 and 429.
///     .when_code("/reasons/0/code", category(&[10, 11, 70]), Outcome::Neutral)?
///     // A wrong or missing field, a broken rule, an unknown or a locked object: an answer.
///     .when_code("/reasons/0/code", category(&answers), Outcome::Success)?
///     // An internal (60) or a temporary (61) error, a gateway's error (99), or an unknown code.
///     .failure_when("/success", false)?;
///
/// let outcome = |body: &str| zuora.verdict(body.as_bytes()).map(|verdict| verdict.outcome);
/// let failed = |code: u64| format!(r#"{{"success": false, "reasons": [{{"code": {code}}}]}}"#);
/// assert_eq!(outcome(r#"{"success": true, "id": "A-1"}"#), None); // the status decides
/// assert_eq!(outcome(&failed(53100061)), Some(Outcome::Failure));
/// assert_eq!(outcome(&failed(53100320)), Some(Outcome::Success));
/// assert_eq!(outcome(&failed(90000011)), Some(Outcome::Neutral));
/// let cut_off_after_the_value = r#"{"success": false, "rea"#;
/// assert_eq!(outcome(cut_off_after_the_value), Some(Outcome::Failure));
///
/// let calls = HttpCalls::new().judged_by_json(zuora);
/// let view = MaintenanceLayer::new("zuora").with_protocol(calls);
/// # let _ = view;
/// # Ok::<(), tower_maintenance::http::PointerError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "rules judge nothing until `judged_by_json` gives them to `HttpCalls`"]
pub struct JsonAnswer {
    rules: Vec<Rule>,
    no_json: NoJson,
}

/// The outcome of an answer that is no JSON where JSON was to be expected.
#[derive(Debug, Clone, Copy)]
struct NoJson(Outcome);

impl Default for NoJson {
    fn default() -> Self {
        Self(Outcome::Failure)
    }
}

#[derive(Debug, Clone)]
struct Rule {
    pointer: Pointer,
    test: Test,
    outcome: Outcome,
}

#[derive(Clone)]
enum Test {
    OneOf(Vec<JsonScalar>),
    Code(Arc<dyn Fn(u64) -> bool + Send + Sync>),
}

impl JsonAnswer {
    /// Returns a judge without rules: the status of every answer that is JSON decides.
    pub const fn new() -> Self {
        Self {
            rules: Vec::new(),
            no_json: NoJson(Outcome::Failure),
        }
    }

    /// Sets the outcome of a 2xx that is no JSON where JSON was to be expected. Default:
    /// [`Outcome::Failure`]. Called again, the last value counts.
    ///
    /// It is for partners that also send other bodies with the `Content-Type` of JSON, HTML or
    /// plain text, or with none: a 202 with an empty body, a `pong`. Of this outcome and that of a
    /// rule the worse one counts.
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tower_maintenance::{Outcome, http::{AnswerPrefix, JsonAnswer}};
    ///
    /// let headers = HeaderMap::new();
    /// let pong = AnswerPrefix::whole(StatusCode::OK, &headers, b"pong");
    /// let strict = JsonAnswer::new().failure_when("/success", false)?;
    /// assert_eq!(strict.judge(&pong).unwrap().outcome, Outcome::Failure);
    /// let lenient = strict.when_no_json(Outcome::Success);
    /// assert_eq!(lenient.judge(&pong).unwrap().outcome, Outcome::Success);
    /// # Ok::<(), tower_maintenance::http::PointerError>(())
    /// ```
    pub const fn when_no_json(mut self, outcome: Outcome) -> Self {
        self.no_json = NoJson(outcome);
        self
    }

    /// Adds a rule: if the value at `pointer` is `value`, the call is `outcome`.
    ///
    /// # Errors
    ///
    /// If `pointer` is no JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)), or if
    /// an earlier rule decides on the same value.
    pub fn when(
        self,
        pointer: &str,
        value: impl Into<JsonScalar>,
        outcome: Outcome,
    ) -> Result<Self, PointerError> {
        self.codes(pointer, [value], outcome)
    }

    /// Adds a rule: if the value at `pointer` is `value`, the call has failed.
    ///
    /// # Errors
    ///
    /// If `pointer` is no JSON pointer, or if an earlier rule decides on the same value.
    pub fn failure_when(
        self,
        pointer: &str,
        value: impl Into<JsonScalar>,
    ) -> Result<Self, PointerError> {
        self.when(pointer, value, Outcome::Failure)
    }

    /// Adds a rule: if the value at `pointer` is one of `values`, the call is `outcome`. Values on
    /// which an earlier rule decides change nothing.
    ///
    /// ```
    /// use tower_maintenance::{Outcome, http::JsonAnswer};
    ///
    /// let down = ["maintenance", "overloaded"];
    /// let judge = JsonAnswer::new().codes("/error/code", down, Outcome::Failure)?;
    /// let verdict = judge.verdict(br#"{"error": {"code": "overloaded"}}"#);
    /// assert_eq!(verdict.unwrap().outcome, Outcome::Failure);
    ///
    /// let error = judge.codes("error/code", [7], Outcome::Failure).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "JSON pointer `error/code`: it must be empty or begin with `/`, as in `/error/code`"
    /// );
    /// # Ok::<(), tower_maintenance::http::PointerError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `pointer` is no JSON pointer, or if the rule can never decide: there is no value, or
    /// earlier rules decide on every one.
    pub fn codes<V: Into<JsonScalar>>(
        self,
        pointer: &str,
        values: impl IntoIterator<Item = V>,
        outcome: Outcome,
    ) -> Result<Self, PointerError> {
        let values = values.into_iter().map(Into::into).collect();
        self.rule(pointer, Test::OneOf(values), outcome)
    }

    /// Adds a rule: if the value at `pointer` is a whole number that is not negative, and `is`
    /// returns `true` for it, the call is `outcome`.
    ///
    /// It is for codes in which some digits have a meaning of their own.
    ///
    /// # Errors
    ///
    /// If `pointer` is no JSON pointer.
    pub fn when_code(
        self,
        pointer: &str,
        is: impl Fn(u64) -> bool + Send + Sync + 'static,
        outcome: Outcome,
    ) -> Result<Self, PointerError> {
        self.rule(pointer, Test::Code(Arc::new(is)), outcome)
    }

    fn rule(mut self, given: &str, test: Test, outcome: Outcome) -> Result<Self, PointerError> {
        let pointer = Pointer::parse(given)?;
        if let Test::OneOf(values) = &test
            && values.iter().all(|value| self.decides(&pointer, value))
        {
            let fault = match values.is_empty() {
                true => "the rule has no value, so it can never decide",
                false => "an earlier rule decides on the same value, so this one never can",
            };
            return Err(PointerError::new(given, fault));
        }
        self.rules.push(Rule {
            pointer,
            test,
            outcome,
        });
        Ok(self)
    }

    /// Returns whether a rule so far decides on this value.
    fn decides(&self, pointer: &Pointer, value: &JsonScalar) -> bool {
        self.rules.iter().any(|rule| {
            let covers = matches!(&rule.test, Test::OneOf(values) if values.contains(value));
            covers && rule.pointer == *pointer
        })
    }

    /// Judges a whole body by the rules alone. Returns `None` if no rule matches.
    #[must_use]
    pub fn verdict(&self, body: &[u8]) -> Option<Verdict> {
        self.look(body)
    }

    /// Judges the beginning of an answer's body, by the rules and by whether it is JSON. Returns
    /// `None` if neither decides.
    #[must_use]
    pub fn judge(&self, answer: &AnswerPrefix<'_>) -> Option<Verdict> {
        let said = self.by_rules(answer);
        if must_be_json(answer) && !is_json(without_mark(answer.bytes())) {
            return worse(said, Some(self.no_json.0.into()));
        }
        said
    }

    fn by_rules(&self, answer: &AnswerPrefix<'_>) -> Option<Verdict> {
        let bytes = answer.bytes();
        if answer.is_whole() {
            return self.look(bytes);
        }
        // A number at the end of the prefix may be incomplete: 531 may be the start of 53100061.
        let part_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let before = bytes.iter().rposition(|byte| !part_of_number(byte));
        let (rest, tail) = bytes.split_at(before.map_or(0, |last| last + 1));
        // A number starts with a sign or a digit. The `e` of `false` starts none.
        let halved = tail.starts_with(b"-") || tail.first().is_some_and(u8::is_ascii_digit);
        self.look(if halved { rest } else { bytes })
    }

    fn look(&self, bytes: &[u8]) -> Option<Verdict> {
        let bytes = without_mark(bytes);
        // Rules about one value usually follow each other. The value is then looked up once.
        let mut last: Option<(&Pointer, Option<JsonScalar>)> = None;
        for rule in &self.rules {
            let found = match last.take() {
                Some((pointer, found)) if *pointer == rule.pointer => found,
                _ => rule.pointer.find(bytes),
            };
            if found.as_ref().is_some_and(|found| rule.test.holds(found)) {
                return Some(rule.outcome.into());
            }
            last = Some((&rule.pointer, found));
        }
        None
    }
}

/// Some senders write a byte order mark, although RFC 8259, 8.1, forbids it.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Returns whether JSON is to be expected of the bytes: they are the whole body of a 2xx, in no
/// encoding, and the answer does not declare another kind of content.
fn must_be_json(answer: &AnswerPrefix<'_>) -> bool {
    // These have no body, or a part of one.
    let partial = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::PARTIAL_CONTENT,
    ];
    answer.is_whole()
        && answer.status().is_success()
        && !partial.contains(&answer.status())
        && !is_encoded(answer.headers())
        && promises_text(answer.headers())
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

impl Test {
    fn holds(&self, found: &JsonScalar) -> bool {
        match self {
            Self::OneOf(values) => values.contains(found),
            Self::Code(is) => found.as_code().is_some_and(|code| is(code)),
        }
    }
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(values) => f.debug_tuple("OneOf").field(values).finish(),
            Self::Code(_) => f.debug_tuple("Code").finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::*;
    use crate::http::calls::json_pointer::tests::{found, json};

    fn outcome(judge: &JsonAnswer, body: &[u8]) -> Option<Outcome> {
        judge.verdict(body).map(|verdict| verdict.outcome)
    }

    /// The rules for Zuora, shortened.
    fn judge() -> JsonAnswer {
        JsonAnswer::new()
            .when_code("/reasons/0/code", |code| code % 100 == 20, Outcome::Success)
            .and_then(|judge| judge.failure_when("/success", false))
            .unwrap()
    }

    fn outcome_of_prefix(judge: &JsonAnswer, bytes: &[u8]) -> Option<Outcome> {
        let headers = HeaderMap::new();
        let verdict = judge.judge(&AnswerPrefix::cut(StatusCode::OK, &headers, bytes));
        verdict.map(|verdict| verdict.outcome)
    }

    #[test]
    fn a_bad_pointer_is_an_error_that_names_it() {
        for (pointer, fault) in [
            (
                "success",
                "it must be empty or begin with `/`, as in `/success`",
            ),
            (
                "#/success",
                "it must be empty or begin with `/`, as in `/#/success`",
            ),
            (
                "/a~2b",
                "`~` must be followed by 0, for `~` itself, or by 1, for `/`",
            ),
            (
                "/a~",
                "`~` must be followed by 0, for `~` itself, or by 1, for `/`",
            ),
            (
                "/a~~0",
                "`~` must be followed by 0, for `~` itself, or by 1, for `/`",
            ),
        ] {
            let error = JsonAnswer::new().failure_when(pointer, true).unwrap_err();
            let told = format!("JSON pointer `{pointer}`: {fault}");
            assert_eq!(error.to_string(), told);
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let judge = JsonAnswer::new()
            .codes("/code", [1, 2], Outcome::Neutral)
            .and_then(|judge| judge.codes("/code", [2, 3], Outcome::Failure))
            .and_then(|judge| judge.when("/text", "down", Outcome::Failure))
            .and_then(|judge| judge.when("/code", 4.0, Outcome::Success))
            .unwrap();
        for (body, wanted) in [
            (r#"{"code": 1}"#, Some(Outcome::Neutral)),
            (r#"{"code": 2}"#, Some(Outcome::Neutral)),
            (r#"{"code": 3}"#, Some(Outcome::Failure)),
            (r#"{"code": 4}"#, Some(Outcome::Success)),
            (r#"{"code": 4e0, "text": "up"}"#, Some(Outcome::Success)),
            (r#"{"code": 4, "text": "down"}"#, Some(Outcome::Failure)),
            (r#"{"code": "1"}"#, None),
            (r#"{"code": true}"#, None),
            (r#"{"code": -1}"#, None),
            ("{}", None),
        ] {
            assert_eq!(outcome(&judge, body.as_bytes()), wanted, "{body}");
        }
    }

    #[test]
    fn a_rule_that_can_never_decide_is_an_error() {
        let judge = || {
            JsonAnswer::new()
                .codes("/a", [1, 2], Outcome::Neutral)
                .unwrap()
        };
        let earlier =
            "JSON pointer `/a`: an earlier rule decides on the same value, so this one never can";
        let two = [
            judge().when("/a", 2, Outcome::Failure),
            judge().when("/a", 2.0, Outcome::Failure),
            judge().codes("/a", [2, 1], Outcome::Neutral),
            judge().codes("/a", [3], Outcome::Failure).unwrap().codes(
                "/a",
                [3, 1],
                Outcome::Neutral,
            ),
        ];
        for judge in two {
            assert_eq!(judge.unwrap_err().to_string(), earlier);
        }
        let none = judge()
            .codes("/a", [0_u64; 0], Outcome::Failure)
            .unwrap_err();
        let empty = "JSON pointer `/a`: the rule has no value, so it can never decide";
        assert_eq!(none.to_string(), empty);
        assert!(
            judge().codes("/a", [2, 3], Outcome::Failure).is_ok(),
            "it decides on 3"
        );
        assert!(
            judge().when("/a", "2", Outcome::Failure).is_ok(),
            "a text is no number"
        );
        assert!(judge().when("/b", 2, Outcome::Failure).is_ok());
        assert!(judge().when_code("/a", |_| true, Outcome::Failure).is_ok());
    }

    #[test]
    fn of_a_key_that_comes_twice_the_first_counts() {
        let twice = br#"{"success": false, "success": true}"#;
        assert_eq!(outcome(&judge(), twice), Some(Outcome::Failure));
        let twice = br#"{"a": {}, "a": {"b": 1}}"#;
        assert_eq!(found("/a/b", twice), None);
    }

    #[test]
    fn a_number_that_the_cut_has_halved_is_not_read() {
        let body = br#"{"success": false, "reasons": [{"code": 53100061}]}"#;
        let comma = body.iter().position(|byte| *byte == b',').unwrap();
        for end in 0..body.len() {
            // No cut leaves a code that ends in 20.
            let wanted = (end >= comma).then_some(Outcome::Failure);
            assert_eq!(outcome_of_prefix(&judge(), &body[..end]), wanted, "{end}");
        }
        let halved = br#"{"reasons": [{"code": 53100320"#;
        assert_eq!(outcome_of_prefix(&judge(), halved), None);
        assert_eq!(
            outcome(&judge(), halved),
            Some(Outcome::Success),
            "as a whole"
        );
        assert_eq!(
            outcome_of_prefix(&judge(), br#"{"reasons": [{"code": 53100320,"#),
            Some(Outcome::Success)
        );
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        let deep = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
        let before = |junk: &[u8]| [br#"{"junk": "#, junk, br#", "success": false}"#].concat();
        let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV*.MNN-.V\xb2JK\xcc)N\xad\x05\x00";
        for (body, wanted) in [
            (&b""[..], None),
            (b"<html>503</html>", None),
            (gzip, None),
            (b"\xff\xfe{\x00}\x00", None),
            (b"{\"success\": fals", None),
            (b"{\"success\": \"\xff\"}", None),
            (b"{success: false}", None),
            (b"\xef\xbb\xbf{\"success\": false}", Some(Outcome::Failure)),
            // Junk is skipped at any depth and not built. Invalid JSON ends the search.
            (&before(&deep(30_000)), Some(Outcome::Failure)),
            (&before(&vec![b'['; 30_000]), None),
            (&before(b"1e999999"), Some(Outcome::Failure)),
            (&before(&vec![b'9'; 60_000]), Some(Outcome::Failure)),
            (&before(b"\"\\ud800\""), Some(Outcome::Failure)),
            (&before(b"nil"), None),
        ] {
            let start = String::from_utf8_lossy(&body[..body.len().min(40)]);
            assert_eq!(outcome(&judge(), body), wanted, "{start}");
        }
        // Junk as the value itself, which must be read.
        for code in [
            "1e999999",
            "-1",
            "1.5",
            "\"53100020\"",
            "null",
            "{}",
            &"9".repeat(60_000),
        ] {
            let body = format!(r#"{{"reasons": [{{"code": {code}}}]}}"#);
            assert_eq!(
                outcome(&judge(), body.as_bytes()),
                None,
                "{}",
                &code[..4.min(code.len())]
            );
        }
        assert_eq!(found("/0", &deep(30_000)), None);
        let pointer = "/0".repeat(10_000);
        assert_eq!(found(&pointer, &deep(30_000)), None);
    }

    proptest! {
        #[test]
        fn a_cut_takes_words_away_and_never_changes_them(
            before in json(),
            code in any::<u64>(),
            after in json(),
            cut in any::<prop::sample::Index>(),
        ) {
            let document = serde_json::json!({ "a": before, "m": [before, { "code": code }], "z": after });
            let text = serde_json::to_vec(&document).unwrap();
            let judge = JsonAnswer::new()
                .codes("/m/1/code", [code], Outcome::Success)
                .and_then(|judge| judge.when_code("/m/1/code", |_| true, Outcome::Failure))
                .unwrap();
            prop_assert_eq!(outcome(&judge, &text), Some(Outcome::Success));
            // One cut anywhere, and every cut within the number and next to it.
            let digits = format!("\"code\":{code}");
            let at = text.windows(digits.len()).position(|part| part == digits.as_bytes()).unwrap();
            for end in (at..at + digits.len() + 2).chain([cut.index(text.len() + 1)]) {
                let said = outcome_of_prefix(&judge, &text[..end]);
                let there = end > at + digits.len();
                prop_assert_eq!(said, there.then_some(Outcome::Success), "{}", end);
            }
        }

        #[test]
        fn no_body_makes_it_panic(
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..2000),
                proptest::collection::vec(prop::sample::select(&b"[]{}\":,-+.eE0129truefalsnu\\ \xff\x1f"[..]), 0..2000),
            ],
            pointer in "(/([a-c01]|~0|~1){0,3}){0,5}",
        ) {
            let judge = judge().when(&pointer, "a", Outcome::Failure).unwrap();
            let _ = judge.verdict(&body);
            let _ = outcome_of_prefix(&judge, &body);
        }
    }
}
