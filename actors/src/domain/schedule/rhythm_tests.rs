//! When schedules tick, also where clocks are put on and back.

use super::*;

fn at(text: &str) -> Timestamp {
    let moment: Moment = text.parse().unwrap();
    timestamp(moment).unwrap()
}

/// The ticks after a time, as the clocks of the zone show them.
fn ticks(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let rhythm = Rhythm::parse(expression, zone).unwrap();
    let ticks = std::iter::successors(rhythm.next_after(at(after)), |tick| rhythm.next_after(*tick));
    ticks.take(count).map(|tick| rhythm.local(tick)).collect()
}

#[track_caller]
fn check(expression: &str, zone: &str, after: &str, want: &[&str]) {
    assert_eq!(ticks(expression, zone, after, want.len()), want, "{expression} in {zone}");
}

#[test]
fn expressions_say_what_they_say_everywhere() {
    let after = "2026-11-23T20:15:30Z"; // A Monday.
    for (expression, want) in [
        ("* * * * *", ["2026-11-23T20:16:00+00:00", "2026-11-23T20:17:00+00:00"]),
        ("*/20 9-17 * * *", ["2026-11-24T09:00:00+00:00", "2026-11-24T09:20:00+00:00"]),
        ("0 9 * * MON-FRI", ["2026-11-24T09:00:00+00:00", "2026-11-25T09:00:00+00:00"]),
        ("30 4 1,15 * 5", ["2026-11-27T04:30:00+00:00", "2026-12-01T04:30:00+00:00"]), // Either of the days.
        ("0 0 L * *", ["2026-11-30T00:00:00+00:00", "2026-12-31T00:00:00+00:00"]),
        ("0 12 * * FRI#2", ["2026-12-11T12:00:00+00:00", "2027-01-08T12:00:00+00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"]),
        ("@daily", ["2026-11-24T00:00:00+00:00", "2026-11-25T00:00:00+00:00"]),
    ] {
        check(expression, "", after, &want);
    }
    check("0 9 * * *", "asia/tokyo", after, &["2026-11-24T09:00:00+09:00"]);
    assert_eq!(Rhythm::parse("0 9 * * *", "asia/tokyo").unwrap().zone_name(), "Asia/Tokyo");
    assert_eq!(Rhythm::parse("0 9 * * *", "").unwrap().zone_name(), "UTC");
    assert_eq!(Rhythm::parse("0 0 30 2 *", "").unwrap().next_after(at(after)), None);
}

/// Berlin puts its clocks on from 2:00 to 3:00; New York did on 8 March, and Lord Howe by half an hour only.
#[test]
fn a_time_that_the_clocks_skip_is_taken_at_the_end_of_the_gap() {
    let berlin = |expression, want: &[&str]| check(expression, "Europe/Berlin", "2026-03-28T23:30:00Z", want);
    berlin("30 2 * * *", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
    berlin("0 3 * * *", &["2026-03-29T03:00:00+02:00", "2026-03-30T03:00:00+02:00"]);
    berlin("*/20 2 * * *", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]);
    berlin("0 1-3 * * *", &["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T01:00:00+02:00"]);
    // A rate goes on: the hour before and the one behind the gap are neighbours.
    berlin("0 * * * *", &["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]);
    berlin("*/30 * * * *", &["2026-03-29T01:00:00+01:00", "2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"]);
    let want = ["2026-03-08T03:00:00-04:00", "2026-03-09T02:15:00-04:00"];
    check("15 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", &want);
    let want = ["2026-10-04T02:30:00+11:00", "2026-10-05T02:10:00+11:00"];
    check("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", &want);
    // A whole day that Samoa never had.
    let want = ["2011-12-29T05:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T05:00:00+14:00"];
    check("0 5 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", &want);
}

#[test]
fn a_time_that_comes_twice_is_taken_once() {
    let berlin = |expression, want: &[&str]| check(expression, "Europe/Berlin", "2026-10-24T22:30:00Z", want);
    berlin("30 2 * * *", &["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
    berlin(
        "0,30 1-3 * * *",
        &[
            "2026-10-25T01:00:00+02:00",
            "2026-10-25T01:30:00+02:00",
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T03:00:00+01:00",
        ],
    );
    // Asked for in the second pass, what came in the first is over.
    check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", &["2026-10-26T02:30:00+01:00"]);
    // A rate goes on: an hour is an hour.
    berlin(
        "0 * * * *",
        &[
            "2026-10-25T01:00:00+02:00",
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T03:00:00+01:00",
        ],
    );
    let want = ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"];
    check("30 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", &want);
}

/// Every local minute of a year, in zones with changes of every kind.
#[test]
fn no_local_time_is_taken_twice_and_none_is_left_out_over_a_year() {
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata"] {
        let rhythm = Rhythm::parse("17,43 0-23 * * *", zone).unwrap();
        let (mut tick, end) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        let mut seen = std::collections::BTreeSet::new();
        let mut gaps = 0;
        while let Some(next) = rhythm.next_after(tick).filter(|next| *next <= end) {
            assert!(next > tick);
            let local = rhythm.local(next);
            let is_named = ["17:00", "43:00"].contains(&&local[14..19]);
            gaps += usize::from(!is_named);
            assert!(seen.insert(local[..19].to_owned()), "{local} comes twice in {zone}");
            tick = next;
        }
        // A gap of an hour swallows two ticks and gives one; the half hour of Lord Howe swallows one.
        let want = match zone {
            "Asia/Kolkata" => (365 * 48, 0),
            "Australia/Lord_Howe" => (365 * 48, 1),
            _ => (365 * 48 - 1, 1),
        };
        assert_eq!((seen.len(), gaps), want, "{zone}");
    }
}

#[test]
fn what_is_no_expression_or_no_zone_is_refused_by_name() {
    for (expression, rule) in [
        ("", "must have five fields"),
        ("0 0 * * * *", "must have five fields"),
        ("* * * *", "it ticks once a minute at most"),
        ("@reboot", "must be a cron expression"),
        ("61 * * * *", "must be a cron expression: Component error: Number out of bounds."),
        ("*/0 * * * *", "must be a cron expression"),
        ("a b c d e", "must be a cron expression"),
        (&format!("{} * * * *", "1,".repeat(80)), "must have at most 128 characters"),
    ] {
        let refused = Rhythm::parse(expression, "").unwrap_err();
        assert_eq!(refused.field, "expression");
        assert!(refused.rule.contains(rule), "{expression:?}: {refused}");
    }
    for zone in ["Europe/Atlantis", "CEST", "../UTC", "+02:00"] {
        let refused = Rhythm::parse("* * * * *", zone).unwrap_err();
        assert_eq!(refused.field, "time_zone", "{zone}");
    }
}
