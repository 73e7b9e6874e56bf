//! When output has colors.

use console::{set_colors_enabled, set_colors_enabled_stderr};

/// When output has colors.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`; with `CLICOLOR_FORCE`, everywhere.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Colors {
    /// Sets when the messages and results of this process have colors.
    pub fn apply(self) {
        let enabled = match self {
            Colors::Auto => return,
            Colors::Always => true,
            Colors::Never => false,
        };
        set_colors_enabled(enabled);
        set_colors_enabled_stderr(enabled);
    }

    /// Returns whether standard output has colors and bold words.
    pub fn are_on_stdout() -> bool {
        console::colors_enabled()
    }
}
