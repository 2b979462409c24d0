//! Histories written by hand: a clean one, and one with a violation for each rule.

use std::collections::BTreeMap;

use steward_tests::harness::{Command, History, Outcome, Read, SeenEvent, Subscriber, Violation};

const ACCOUNT: &str = "acme";

fn feed(ids: &[&str]) -> Vec<SeenEvent> {
    let from_commands = ids.iter().map(|id| Some((*id).to_owned()));
    // Every feed starts with an event that came from no command of the run.
    (1..).zip([None].into_iter().chain(from_commands)).map(|(seq, id)| SeenEvent { seq, id }).collect()
}

fn feeds(ids: &[&str]) -> BTreeMap<String, Vec<SeenEvent>> {
    BTreeMap::from([(ACCOUNT.to_owned(), feed(ids))])
}

fn command(id: &str, sent: u64, ended: u64, outcome: Outcome) -> Command {
    Command { account: ACCOUNT.to_owned(), id: id.to_owned(), sent, ended, outcome }
}

fn read(asked: u64, answered: u64, last_seq: u64) -> Read {
    Read { account: ACCOUNT.to_owned(), asked, answered, last_seq }
}

/// `a` and `b` one after the other, `c` beside `b` with an unknown outcome and on the feed, `d` unknown and nowhere,
/// `e` refused.
fn clean() -> History {
    let ids = ["a", "b", "c"];
    History {
        commands: vec![
            command("a", 0, 1, Outcome::Accepted { seq: 2 }),
            command("b", 4, 7, Outcome::Accepted { seq: 3 }),
            command("c", 5, 12, Outcome::Unknown),
            command("d", 8, 13, Outcome::Unknown),
            command("e", 9, 10, Outcome::Refused),
        ],
        reads: vec![read(2, 3, 2), read(6, 11, 2), read(14, 15, 4)],
        subscribers: vec![
            Subscriber { account: ACCOUNT.to_owned(), events: feed(&ids) },
            Subscriber { account: ACCOUNT.to_owned(), events: feed(&ids).split_off(2) },
            Subscriber { account: ACCOUNT.to_owned(), events: vec![] },
        ],
        replicas: vec![feeds(&ids), feeds(&ids[..2])],
        effects: Some(BTreeMap::from([(ACCOUNT.to_owned(), ["a", "b", "a", "c"].map(str::to_owned).to_vec())])),
    }
}

#[track_caller]
fn assert_found(plant: impl FnOnce(&mut History), expected: fn(String) -> Violation, id: &str) {
    let mut history = clean();
    plant(&mut history);
    assert_eq!(history.check(), Err(expected(id.to_owned())));
}

/// Replaces the feed everywhere, so that only the rule in question is broken.
fn refeed(history: &mut History, ids: &[&str]) {
    history.replicas = vec![feeds(ids)];
    history.subscribers.clear();
    history.reads.clear();
    history.effects = None;
}

fn account() -> String {
    ACCOUNT.to_owned()
}

#[test]
fn a_clean_history_passes() {
    assert_eq!(clean().check(), Ok(()));
    assert_eq!(History::default().check(), Ok(()));
}

#[test]
fn a_lost_command_is_found() {
    let lost = |id| Violation::Lost { account: account(), id };
    assert_found(|history| refeed(history, &["a", "c"]), lost, "b");
    let elsewhere = |history: &mut History| history.commands[0].outcome = Outcome::Accepted { seq: 4 };
    assert_found(elsewhere, lost, "a");
}

#[test]
fn a_doubled_command_is_found() {
    let doubled = |id| Violation::Doubled { account: account(), id };
    assert_found(|history| refeed(history, &["a", "b", "a"]), doubled, "a");
    assert_found(|history| refeed(history, &["a", "b", "d", "d"]), doubled, "d");
}

#[test]
fn an_invented_command_is_found() {
    let invented = |id| Violation::Invented { account: account(), id };
    assert_found(|history| refeed(history, &["a", "b", "x"]), invented, "x");
    assert_found(|history| refeed(history, &["a", "b", "e"]), invented, "e");
}

#[test]
fn a_feed_with_a_hole_is_found() {
    let mut history = clean();
    let feed = history.replicas[0].get_mut(ACCOUNT).unwrap();
    feed[3].seq = 5;
    history.replicas.truncate(1);
    assert_eq!(history.check(), Err(Violation::NotDense { account: account(), seq: 4 }));
}

#[test]
fn a_command_before_what_was_acknowledged_earlier_is_found() {
    let out_of_order = |id| Violation::OutOfOrder { account: account(), id };
    let swap = |history: &mut History| {
        refeed(history, &["b", "a", "c"]);
        history.commands[0].outcome = Outcome::Accepted { seq: 3 };
        history.commands[1].outcome = Outcome::Accepted { seq: 2 };
    };
    assert_found(swap, out_of_order, "b");
    // One whose outcome is unknown may be anywhere after what was known when it was sent, not before.
    let unknown_first = |history: &mut History| {
        refeed(history, &["c", "a", "b"]);
        history.commands[0].outcome = Outcome::Accepted { seq: 3 };
        history.commands[1].outcome = Outcome::Accepted { seq: 4 };
    };
    assert_found(unknown_first, out_of_order, "c");
}

#[test]
fn a_misled_subscriber_is_found() {
    let misled = |events: Vec<SeenEvent>| {
        let mut history = clean();
        history.subscribers[0].events = events;
        history.check()
    };
    let at = |seq| Err(Violation::Subscription { account: account(), seq });
    let (mut missing, mut twice) = (feed(&["a", "b", "c"]), feed(&["a", "b", "c"]));
    missing.remove(1);
    twice.insert(2, twice[1].clone());
    assert_eq!(misled(missing), at(3));
    assert_eq!(misled(twice), at(2));
    assert_eq!(misled(feed(&["a", "c", "b"])), at(3), "in another order");
    assert_eq!(misled(feed(&["a", "b", "c", "d"])), at(5), "more than there is");
}

#[test]
fn a_read_that_went_back_is_found() {
    let mut history = clean();
    history.reads.push(read(16, 17, 3));
    assert_eq!(history.check(), Err(Violation::ReadWentBack { account: account(), last_seq: 3 }));
    // An acknowledged command is known to all reads after it.
    let mut history = clean();
    history.reads = vec![read(8, 9, 2)];
    assert_eq!(history.check(), Err(Violation::ReadWentBack { account: account(), last_seq: 2 }));
}

#[test]
fn a_fork_is_found() {
    let mut history = clean();
    history.replicas[1] = feeds(&["a", "c"]);
    assert_eq!(history.check(), Err(Violation::Forked { account: account(), seq: 3 }));
}

#[test]
fn effects_that_are_not_those_of_the_feed_are_found() {
    let of = |ids: &[&str]| {
        let mut history = clean();
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        history.effects = Some(BTreeMap::from([(account(), ids)]));
        history.check()
    };
    let wrong = |id: &str| Err(Violation::Effects { account: account(), id: id.to_owned() });
    assert_eq!(of(&["a", "b"]), wrong("c"));
    assert_eq!(of(&["a", "b", "c", "d"]), wrong("d"));
}
