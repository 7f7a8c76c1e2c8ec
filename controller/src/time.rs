//! Times as people and programs read them: RFC 3339 in UTC.

use jiff::Timestamp;

/// A time in milliseconds since the Unix epoch, to the second.
pub fn rfc3339(millis: u64) -> String {
    let time = i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    format!("{:.0}", time.unwrap_or(Timestamp::MAX))
}

/// A time in nanoseconds since the Unix epoch, to the nanosecond.
pub fn rfc3339_nanos(nanos: u64) -> String {
    format!("{:.9}", Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_704_067_199, "2023-12-31T23:59:59"),
            (1_709_251_200, "2024-03-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000 + 999), format!("{text}Z"));
            assert_eq!(rfc3339_nanos(seconds * 1_000_000_000 + 7), format!("{text}.000000007Z"));
        }
    }
}
