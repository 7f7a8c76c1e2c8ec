//! Times as people and programs read them: RFC 3339 in UTC.

/// A time in milliseconds since the Unix epoch, to the second.
pub fn rfc3339(millis: u64) -> String {
    format!("{}Z", date_time(millis / 1_000))
}

/// A time in nanoseconds since the Unix epoch, to the nanosecond.
pub fn rfc3339_nanos(nanos: u64) -> String {
    format!("{}.{:09}Z", date_time(nanos / 1_000_000_000), nanos % 1_000_000_000)
}

fn date_time(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Years of 365.2425 days that begin in March, so that a leap day is the last one of a year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", time / 3_600, time / 60 % 60, time % 60)
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
