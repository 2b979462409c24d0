//! Reads delivery times in the three forms platforms write them. Called by `verify` with bytes off the wire.

use steward_cluster::clock::Timestamp;

use super::scheme::StampForm;

const DAY_SECONDS: i64 = 86_400;

/// The time in milliseconds, or nothing when the text is not exactly of that form.
pub(super) fn parse(text: &[u8], form: StampForm) -> Option<Timestamp> {
    let ms = match form {
        StampForm::UnixSeconds => digits(text)?.checked_mul(1000)?,
        StampForm::UnixMillis => digits(text)?,
        StampForm::Rfc3339 => rfc3339(text)?,
    };
    u64::try_from(ms).ok().map(Timestamp)
}

/// The clock as coarse as the sender's timestamps: senders that sign whole seconds judge in whole seconds,
/// and a delivery exactly as old as the limit is still accepted.
pub(super) fn round(now: Timestamp, form: StampForm) -> Timestamp {
    match form {
        StampForm::UnixSeconds | StampForm::Rfc3339 => Timestamp(now.0 / 1000 * 1000),
        StampForm::UnixMillis => now,
    }
}

/// Digits only: `+5`, ` 5` and `5.0` are what lenient parsers accept and signers never write.
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `2026-09-21T14:13:13Z`, with an optional fraction (dropped) and an optional numeric offset.
fn rfc3339(text: &[u8]) -> Option<i64> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let separators = [4, 7, 10, 13, 16].map(|at: usize| date_time.get(at).copied());
    if separators != [b'-', b'-', b'T', b':', b':'].map(Some) {
        return None;
    }
    let field = |from: usize, to: usize| digits(date_time.get(from..to)?);
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range {
        return None;
    }
    let seconds = days_from_epoch(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Some((seconds - offset_seconds(rest)?) * 1000)
}

/// The zone after the time, behind an optional fraction.
fn offset_seconds(rest: &[u8]) -> Option<i64> {
    let zone = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction.get(digits..)?
        }
        None => rest,
    };
    match zone {
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let seconds = digits(&[*h1, *h2])? * 3600 + digits(&[*m1, *m2])? * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years start in March here, so that the
/// leap day is the last of its year.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, form: StampForm, expected: Option<u64>) {
        assert_eq!(parse(text.as_bytes(), form), expected.map(Timestamp), "{text}");
    }

    #[test]
    fn reads_what_platforms_write_and_nothing_else() {
        check("1790000000", StampForm::UnixSeconds, Some(1_790_000_000_000));
        check("1790000000123", StampForm::UnixMillis, Some(1_790_000_000_123));
        for bad in ["", "+1", " 1", "1.0", "-1", "99999999999999999999", "9223372036854775807", "not-a-number"] {
            check(bad, StampForm::UnixSeconds, None);
        }
    }

    #[test]
    fn reads_calendar_times() {
        let second = 1_790_000_000_000;
        check("2026-09-21T14:13:20Z", StampForm::Rfc3339, Some(second));
        check("2026-09-21T14:13:20.999999Z", StampForm::Rfc3339, Some(second));
        check("2026-09-21T07:13:20-07:00", StampForm::Rfc3339, Some(second));
        check("2026-09-21T19:43:20+05:30", StampForm::Rfc3339, Some(second));
        check("1970-01-01T00:00:00Z", StampForm::Rfc3339, Some(0));
        check("2000-02-29T00:00:00Z", StampForm::Rfc3339, Some(951_782_400_000));
        for bad in [
            "",
            "2026-09-21",
            "2026-09-21 14:13:20Z",
            "2026-13-01T00:00:00Z",
            "2026-09-21T14:13:20",
            "1969-12-31T23:59:59Z",
            "2026-09-21T14:13:20+5:30",
        ] {
            check(bad, StampForm::Rfc3339, None);
        }
    }
}
