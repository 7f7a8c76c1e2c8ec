//! Goals, and whether a figure meets them.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use std::fmt;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// How many times as much.
    Ratio,
    /// Milliseconds.
    Milliseconds,
    /// Events in a second.
    PerSecond,
    /// Millions of bytes.
    Megabytes,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
}

impl Unit {
    /// A value with its unit, with three significant digits at least.
    pub(crate) fn show(self, value: f64) -> String {
        let digits = match value.abs() {
            large if large >= 100.0 => 0,
            ten if ten >= 10.0 => 1,
            one if one >= 1.0 => 2,
            _ if value == 0.0 => 0,
            _ => 3,
        };
        let suffix = match self {
            Self::Ratio => "×",
            Self::Milliseconds => " ms",
            Self::PerSecond => "/s",
            Self::Megabytes => " MB",
            Self::Bytes => " B",
            Self::Count => "",
        };
        format!("{value:.digits$}{suffix}")
    }
}

/// What a figure has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// Not above.
    AtMost(f64),
    /// Not below.
    AtLeast(f64),
}

/// A goal, and the figure that decides it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// What was measured.
    pub(crate) what: String,
    /// The goal.
    pub(crate) bound: Bound,
    /// What was found.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: Unit,
}

impl Verdict {
    /// Whether the goal is met. What is not a number meets none.
    pub(crate) fn met(&self) -> bool {
        match self.bound {
            Bound::AtMost(limit) => self.value <= limit,
            Bound::AtLeast(limit) => self.value >= limit,
        }
    }

    /// The goal, as text.
    pub(crate) fn goal(&self) -> String {
        let (sign, limit) = match self.bound {
            Bound::AtMost(limit) => ('≤', limit),
            Bound::AtLeast(limit) => ('≥', limit),
        };
        let (number, suffix) = split(&self.unit.show(limit));
        let number =
            if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
        format!("{sign} {number}{suffix}")
    }

    /// "met" or "missed".
    pub(crate) fn word(&self) -> &'static str {
        if self.met() { "met" } else { "missed" }
    }
}

fn split(shown: &str) -> (String, String) {
    let end = shown.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(shown.len());
    (shown[..end].to_owned(), shown[end..].to_owned())
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}): {}", self.what, self.unit.show(self.value), self.goal(), self.word())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, limit) = match self.bound {
            Bound::AtMost(limit) => ("at_most", limit),
            Bound::AtLeast(limit) => ("at_least", limit),
        };
        let mut fields = serializer.serialize_struct("Verdict", 5)?;
        fields.serialize_field("what", &self.what)?;
        fields.serialize_field(kind, &limit)?;
        fields.serialize_field("value", &self.value)?;
        fields.serialize_field("unit", &self.unit)?;
        fields.serialize_field("met", &self.met())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bound: Bound, value: f64, unit: Unit) -> Verdict {
        Verdict { what: "it".to_owned(), bound, value, unit }
    }

    #[test]
    fn a_goal_is_met_up_to_its_limit() {
        for (bound, value, met) in [
            (Bound::AtMost(2.0), 2.0, true),
            (Bound::AtMost(2.0), 2.000_1, false),
            (Bound::AtLeast(3.0), 3.0, true),
            (Bound::AtLeast(3.0), 2.999, false),
            (Bound::AtMost(2.0), f64::NAN, false),
            (Bound::AtLeast(2.0), f64::NAN, false),
        ] {
            assert_eq!(verdict(bound, value, Unit::Ratio).met(), met, "{bound:?} {value}");
        }
    }

    #[test]
    fn is_told_in_words() {
        let missed = verdict(Bound::AtMost(0.4), 0.404, Unit::Ratio);
        assert_eq!(missed.to_string(), "it: 0.404× (≤ 0.4×): missed");
        let met = verdict(Bound::AtLeast(5_000.0), 7_123.4, Unit::PerSecond);
        assert_eq!(met.to_string(), "it: 7123/s (≥ 5000/s): met");
        assert_eq!(verdict(Bound::AtMost(0.0), 0.0, Unit::Count).goal(), "≤ 0");
        assert_eq!(verdict(Bound::AtMost(15.0), 1.0, Unit::Megabytes).goal(), "≤ 15 MB");
        assert_eq!(verdict(Bound::AtMost(1_000.0), 1.0, Unit::Milliseconds).goal(), "≤ 1000 ms");
    }

    #[test]
    fn small_values_keep_their_digits() {
        assert_eq!(Unit::Milliseconds.show(0.0432), "0.043 ms");
        assert_eq!(Unit::Megabytes.show(1.7154), "1.72 MB");
        assert_eq!(Unit::Count.show(0.0), "0");
    }
}
