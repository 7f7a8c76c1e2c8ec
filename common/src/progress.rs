//! How far a command is, told to whoever waits for it.

use std::io::{IsTerminal, Write};

/// A bar on standard error, if that is a terminal; elsewhere nothing.
#[derive(Debug)]
pub struct Bar {
    visible: bool,
}

impl Bar {
    const WIDTH: usize = 40;

    /// A bar that is seen if standard error is a terminal.
    pub fn on_terminal() -> Self {
        Self { visible: std::io::stderr().is_terminal() }
    }

    /// Whether somebody sees it.
    pub fn is_visible(&self) -> bool {
        self.visible
    }

    /// Shows that `done` steps of `all` are done.
    pub fn show(&mut self, done: usize, all: usize) {
        if self.visible {
            // Who does not see it loses nothing.
            let _ = write!(std::io::stderr().lock(), "{}", Self::line(done, all));
        }
    }

    fn line(done: usize, all: usize) -> String {
        let width = Self::WIDTH;
        let filled = (width * done).checked_div(all).unwrap_or(width).min(width);
        let end = if done >= all { "\n" } else { "" };
        format!("\r[{:<width$}] {done}/{all}{end}", "#".repeat(filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(Bar::line(1, 2), format!("\r[{:<40}] 1/2", "#".repeat(20)));
        assert_eq!(Bar::line(2, 2), format!("\r[{}] 2/2\n", "#".repeat(40)));
        assert_eq!(Bar::line(0, 0), format!("\r[{}] 0/0\n", "#".repeat(40)));
        assert!(!Bar { visible: false }.is_visible());
    }
}
