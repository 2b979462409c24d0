//! What clients, readers, subscribers and receivers of a run saw, held against what the product promises.
//!
//! The check looks at every record a bounded number of times, so a run may be as long as one likes. It knows nothing of
//! processes: the same check serves one node, several, and histories written by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// A place in the order of a run. Drawn before something is sent and after its answer came, from one counter.
pub type Moment = u64;

/// What became of a command, over all of its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged with this event number.
    Accepted { seq: u64 },
    /// Refused for good, each time it was sent.
    Refused,
    /// Nobody knows: an answer was lost, and no later attempt was acknowledged.
    Unknown,
}

/// One command of one client.
#[derive(Clone, Debug)]
pub struct Command {
    pub account: String,
    pub id: String,
    pub sent: Moment,
    pub ended: Moment,
    pub outcome: Outcome,
}

/// One read of how far an account is.
#[derive(Clone, Debug)]
pub struct Read {
    pub account: String,
    pub asked: Moment,
    pub answered: Moment,
    pub last_seq: u64,
}

/// An event as somebody saw it; the id of the command it came from, when it came from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenEvent {
    pub seq: u64,
    pub id: Option<String>,
}

/// What one subscriber got of one account, over all its connections.
#[derive(Clone, Debug)]
pub struct Subscriber {
    pub account: String,
    pub events: Vec<SeenEvent>,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub commands: Vec<Command>,
    pub reads: Vec<Read>,
    pub subscribers: Vec<Subscriber>,
    /// Every account's feed at the end, as each replica has it.
    pub replicas: Vec<BTreeMap<String, Vec<SeenEvent>>>,
    /// Ids of the effects a receiver got, by account; none when the run has no receiver.
    pub effects: Option<BTreeMap<String, Vec<String>>>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An acknowledged command is not on the feed where it was said to be.
    Lost { account: String, id: String },
    /// A command is on the feed more than once.
    Doubled { account: String, id: String },
    /// The feed has a command that nobody sent there, or that was refused.
    Invented { account: String, id: String },
    /// The numbers of a feed are not 1, 2, 3 ….
    NotDense { account: String, seq: u64 },
    /// A command that was acknowledged before another was sent stands behind it.
    OutOfOrder { account: String, id: String },
    /// A subscriber missed an event, got one twice, or got another than the feed has.
    Subscription { account: String, seq: u64 },
    /// A read went back behind what was known before it was asked.
    ReadWentBack { account: String, last_seq: u64 },
    /// Replicas have different events in one place.
    Forked { account: String, seq: u64 },
    /// The effects of an account are not those of its events.
    Effects { account: String, id: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { account, id } => write!(f, "{account}: {id} was acknowledged and is not on the feed"),
            Self::Doubled { account, id } => write!(f, "{account}: {id} is on the feed twice"),
            Self::Invented { account, id } => write!(f, "{account}: {id} is on the feed and was never accepted"),
            Self::NotDense { account, seq } => write!(f, "{account}: the feed breaks off at {seq}"),
            Self::OutOfOrder { account, id } => {
                write!(f, "{account}: {id} stands before what was acknowledged earlier")
            }
            Self::Subscription { account, seq } => write!(f, "{account}: a subscriber was misled at {seq}"),
            Self::ReadWentBack { account, last_seq } => write!(f, "{account}: a read went back to {last_seq}"),
            Self::Forked { account, seq } => write!(f, "{account}: replicas differ at {seq}"),
            Self::Effects { account, id } => write!(f, "{account}: the effect {id} is missing or has no event"),
        }
    }
}

impl std::error::Error for Violation {}

impl History {
    /// Checks all promises; the first that is broken is named.
    ///
    /// # Errors
    /// The broken promise.
    pub fn check(&self) -> Result<(), Violation> {
        let nothing = BTreeMap::new();
        let feeds = self.replicas.iter().max_by_key(|feeds| feeds.values().map(Vec::len).sum::<usize>());
        let feeds = feeds.unwrap_or(&nothing);
        self.replicas.iter().try_for_each(|replica| not_forked(feeds, replica))?;
        for (account, feed) in feeds {
            dense(account, feed)?;
        }
        let places = places(feeds)?;
        self.commands_are_there(&places)?;
        self.nothing_is_invented(feeds)?;
        self.in_order(&places)?;
        self.subscribers.iter().try_for_each(|subscriber| not_misled(subscriber, feeds))?;
        self.effects_match(feeds)
    }

    fn commands_are_there(&self, places: &Places<'_>) -> Result<(), Violation> {
        for command in &self.commands {
            if let Outcome::Accepted { seq } = command.outcome
                && places.get(&(command.account.as_str(), command.id.as_str())) != Some(&seq)
            {
                return Err(Violation::Lost { account: command.account.clone(), id: command.id.clone() });
            }
        }
        Ok(())
    }

    fn nothing_is_invented(&self, feeds: &BTreeMap<String, Vec<SeenEvent>>) -> Result<(), Violation> {
        let sent = self.commands.iter().filter(|command| command.outcome != Outcome::Refused);
        let sent: BTreeSet<(&str, &str)> =
            sent.map(|command| (command.account.as_str(), command.id.as_str())).collect();
        for (account, feed) in feeds {
            let ids = feed.iter().filter_map(|seen| seen.id.as_deref());
            if let Some(id) = ids.into_iter().find(|id| !sent.contains(&(account.as_str(), *id))) {
                return Err(Violation::Invented { account: account.clone(), id: id.to_owned() });
            }
        }
        Ok(())
    }

    /// Whatever was known before something was sent stands before it.
    fn in_order(&self, places: &Places<'_>) -> Result<(), Violation> {
        let mut steps: Vec<(Moment, Step<'_>)> = vec![];
        for command in &self.commands {
            let account = command.account.as_str();
            // Also of a command whose outcome is unknown, when it is on the feed after all.
            if let Some(&seq) = places.get(&(account, command.id.as_str())) {
                steps.push((command.sent, Step::Sent { account, id: &command.id, seq }));
                if let Outcome::Accepted { .. } = command.outcome {
                    steps.push((command.ended, Step::Known { account, seq }));
                }
            }
        }
        for read in &self.reads {
            let (account, seq) = (read.account.as_str(), read.last_seq);
            steps.push((read.asked, Step::Asked { account, seq }));
            steps.push((read.answered, Step::Known { account, seq }));
        }
        steps.sort_by_key(|(moment, _)| *moment);
        let mut known: HashMap<&str, u64> = HashMap::new();
        for (_, step) in steps {
            match step {
                Step::Known { account, seq } => {
                    let known = known.entry(account).or_default();
                    *known = seq.max(*known);
                }
                Step::Sent { account, id, seq } if known.get(account).is_some_and(|known| seq <= *known) => {
                    return Err(Violation::OutOfOrder { account: account.to_owned(), id: id.to_owned() });
                }
                Step::Asked { account, seq } if known.get(account).is_some_and(|known| seq < *known) => {
                    return Err(Violation::ReadWentBack { account: account.to_owned(), last_seq: seq });
                }
                Step::Sent { .. } | Step::Asked { .. } => {}
            }
        }
        Ok(())
    }

    /// A receiver may get an effect again, so only the distinct ones count.
    fn effects_match(&self, feeds: &BTreeMap<String, Vec<SeenEvent>>) -> Result<(), Violation> {
        let Some(effects) = &self.effects else { return Ok(()) };
        for (account, feed) in feeds {
            let wanted: BTreeSet<&str> = feed.iter().filter_map(|seen| seen.id.as_deref()).collect();
            let got: BTreeSet<&str> = effects.get(account).into_iter().flatten().map(String::as_str).collect();
            if let Some(id) = wanted.symmetric_difference(&got).next() {
                return Err(Violation::Effects { account: account.clone(), id: (*id).to_owned() });
            }
        }
        Ok(())
    }
}

/// Where each command stands, by account and id.
type Places<'h> = HashMap<(&'h str, &'h str), u64>;

enum Step<'h> {
    /// From here on everybody may know the account to be this far.
    Known { account: &'h str, seq: u64 },
    /// A command that stands here was first sent.
    Sent { account: &'h str, id: &'h str, seq: u64 },
    /// A read that answered this was asked.
    Asked { account: &'h str, seq: u64 },
}

fn not_forked(
    feeds: &BTreeMap<String, Vec<SeenEvent>>,
    replica: &BTreeMap<String, Vec<SeenEvent>>,
) -> Result<(), Violation> {
    for (account, events) in replica {
        // The longest replica may lack an account that another one has.
        let longest = feeds.get(account).map(Vec::as_slice).unwrap_or_default();
        if let Some((seen, _)) = events.iter().zip(longest).find(|(seen, known)| seen != known) {
            return Err(Violation::Forked { account: account.clone(), seq: seen.seq });
        }
    }
    Ok(())
}

fn dense(account: &str, feed: &[SeenEvent]) -> Result<(), Violation> {
    match (1..).zip(feed).find(|(wanted, seen)| seen.seq != *wanted) {
        Some((seq, _)) => Err(Violation::NotDense { account: account.to_owned(), seq }),
        None => Ok(()),
    }
}

fn places(feeds: &BTreeMap<String, Vec<SeenEvent>>) -> Result<Places<'_>, Violation> {
    let mut places = Places::new();
    for (account, feed) in feeds {
        for seen in feed {
            let Some(id) = &seen.id else { continue };
            if places.insert((account, id), seen.seq).is_some() {
                return Err(Violation::Doubled { account: account.clone(), id: id.clone() });
            }
        }
    }
    Ok(places)
}

/// A subscriber's events follow each other without a hole, and are those of the feed.
fn not_misled(subscriber: &Subscriber, feeds: &BTreeMap<String, Vec<SeenEvent>>) -> Result<(), Violation> {
    let account = &subscriber.account;
    let feed = feeds.get(account).map(Vec::as_slice).unwrap_or_default();
    let Some(first) = subscriber.events.first() else { return Ok(()) };
    let from = feed.iter().position(|seen| seen.seq == first.seq).unwrap_or(feed.len());
    let of_feed = feed.iter().skip(from).map(Some).chain(std::iter::repeat(None));
    match subscriber.events.iter().zip(of_feed).find(|(seen, known)| Some(*seen) != *known) {
        Some((seen, _)) => Err(Violation::Subscription { account: account.clone(), seq: seen.seq }),
        None => Ok(()),
    }
}
