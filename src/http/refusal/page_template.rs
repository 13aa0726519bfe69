//! The setting of a template of the user's.

use super::{
    error::RefusalsError, page::Page, refusals::Refusals, samples::try_template, template::Template,
};

impl Refusals {
    /// Replaces the page by a template in the syntax of [minijinja] (which is that of Jinja2).
    /// Every value in it is escaped as HTML, unless the template marks it `|safe`.
    ///
    /// A template may use these names: `component`, `partner` (not for customers), `title`,
    /// `message`, `since`, `until` and `next_try` (each of the three with `.human` and `.machine`),
    /// `works` (a list), `support` (`.contact`, `.href`, `.hours`), `status_url`, `retry_after`
    /// (seconds), `cause`, `mode`, `read_only`, `nothing_processed`, `generation`, `lang`, `dir`,
    /// `returns`, `texts.*`, `check.*`, and the built-in page's `style` and `script`.
    ///
    /// The built-in page is such a template too: `src/http/refusal/page.html`.
    ///
    /// The page is sent without a `Content-Security-Policy`. [`header`](Self::header) can add one.
    ///
    /// ```
    /// use tower_maintenance::http::Refusals;
    ///
    /// let page = "<h1>{{ component }} is unavailable</h1><p>{{ message }}</p>";
    /// let refusals = Refusals::new().page_template(page)?;
    /// # let _ = refusals;
    /// let error = Refusals::new().page_template("<h1>{{ comonent }}</h1>").unwrap_err();
    /// let expected = "page_template is `<h1>{{ comonent }}</h1>` in line 1: undefined value";
    /// assert!(error.to_string().starts_with(expected), "{error}");
    /// # Ok::<(), tower_maintenance::http::RefusalsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the source is no template or uses an unknown name. The template is tried here with sample
    /// refusals. Also if [`page`](Self::page) makes the page already.
    pub fn page_template(self, source: &str) -> Result<Self, RefusalsError> {
        if let Page::Closure(_) = self.page {
            let allowed = "one way to make the page; `page` is set already";
            return Err(RefusalsError::quoting("page_template", source, allowed));
        }
        let template = Template::new(source)?;
        try_template(&template, &self.looks, source)?;
        Ok(Self {
            page: Page::Template(Box::new(template)),
            ..self
        })
    }
}
