//! Colours, where they are wanted.

use std::io::IsTerminal;

/// Whether text is coloured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Coloured,
    Bare,
}

impl Style {
    /// Coloured on a terminal, unless the user has said no (<https://no-color.org>).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !declined {
            Self::Coloured
        } else {
            Self::Bare
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Bare => text.to_owned(),
        }
    }
}
