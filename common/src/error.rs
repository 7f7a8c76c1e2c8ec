//! How errors are told to people.

use std::error::Error;
use std::fmt::Write;

/// An error and what caused it, in one line: `outer: cause: cause of the cause`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Writing to a string can't fail.
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn causes_follow() {
        #[derive(Debug, thiserror::Error)]
        #[error("can't read the file")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(
            super::chain(&Outer(std::io::Error::other("it is gone"))),
            "can't read the file: it is gone"
        );
    }
}
