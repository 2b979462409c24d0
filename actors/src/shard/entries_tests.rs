//! A shard read by its log from any place: everything kept, in order, and the accounts named that forgot something.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::store::{Direction, Engine, StateStore, open};

use super::Reads;
use super::entries::{Bygone, STEP_ENTRIES_MAX, Standing};
use super::projection::Projection;
use super::rows::{Family, family_range};
use super::tips::Tips;
use crate::codec::Decision;
use crate::domain::account::{Event, Mark};
use crate::domain::ids::{AccountId, Id};

const SHARD: ShardId = ShardId(0);
const CACHE_BYTES: u64 = 8 << 20;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An account gets so many events.
    Happens {
        account: u8,
        events: u8,
    },
    /// An account forgets so many of those it has.
    Forgets {
        account: u8,
        events: u8,
    },
    EntryEnds,
    BatchEnds,
    /// The sweep comes by.
    Sweeps,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8, 1..4_u8).prop_map(|(account, events)| Step::Happens { account, events }),
        1 => (0..3_u8, 1..6_u8).prop_map(|(account, events)| Step::Forgets { account, events }),
        3 => Just(Step::EntryEnds),
        2 => Just(Step::BatchEnds),
        1 => Just(Step::Sweeps),
    ];
    prop::collection::vec(step, 1..60)
}

fn account(number: u8) -> AccountId {
    AccountId::parse(&format!("account-{number}")).unwrap()
}

fn decision(account: &AccountId, first_seq: u64, events: u8, marks: Vec<Mark>) -> Decision {
    let event = Event::PlaybookFailed { playbook: Id::parse("p").unwrap(), reason: String::new() };
    Decision {
        account: account.clone(),
        first_seq,
        at: Timestamp(1),
        actor: "test".to_owned(),
        correlation_id: String::new(),
        causation_seq: 0,
        events: (0..events).map(|_| event.clone()).collect(),
        marks,
        answered: None,
    }
}

/// A shard and what it should hold.
struct World {
    store: Arc<dyn StateStore>,
    /// Entries that the batch under way holds: decisions each, the last one open.
    batch: Vec<Vec<Decision>>,
    index: u64,
    /// The entry of each event of each account, from number 1 on.
    brought: BTreeMap<AccountId, Vec<u64>>,
    /// How many events each account has in the store, and how many of these it forgot.
    stored: BTreeMap<AccountId, usize>,
    forgotten: BTreeMap<AccountId, usize>,
}

impl World {
    fn new(folder: &std::path::Path) -> Self {
        let store = open(Engine::Memory, folder, CACHE_BYTES).unwrap();
        let (brought, stored, forgotten) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { store, batch: vec![vec![]], index: 1, brought, stored, forgotten }
    }

    fn open_entry(&mut self) -> &mut Vec<Decision> {
        self.batch.last_mut().unwrap()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Happens { account: number, events } => {
                let (account, index) = (account(number), self.index);
                let brought = self.brought.entry(account.clone()).or_default();
                let first = u64::try_from(brought.len()).unwrap() + 1;
                brought.extend((0..events).map(|_| index));
                self.open_entry().push(decision(&account, first, events, vec![]));
            }
            Step::Forgets { account: number, events } => {
                let account = account(number);
                let stored = self.stored.get(&account).copied().unwrap_or_default();
                let forgotten = self.forgotten.entry(account.clone()).or_default();
                let to = (*forgotten + usize::from(events)).min(stored.saturating_sub(1));
                if to > *forgotten {
                    *forgotten = to;
                    let first_seq = u64::try_from(to).unwrap() + 1;
                    let next = u64::try_from(self.brought[&account].len()).unwrap() + 1;
                    self.open_entry().push(decision(&account, next, 0, vec![Mark::FeedTrimmed { first_seq }]));
                }
            }
            Step::EntryEnds => {
                self.batch.push(vec![]);
                self.index += 1;
            }
            Step::BatchEnds => self.write(),
            Step::Sweeps => {
                self.write();
                self.sweep();
            }
        }
    }

    fn write(&mut self) {
        let entries = std::mem::replace(&mut self.batch, vec![vec![]]);
        let first = self.index + 1 - u64::try_from(entries.len()).unwrap();
        let mut projection = Projection::new(&*self.store);
        for (index, decisions) in (first..).map(LogIndex).zip(entries) {
            decisions.iter().for_each(|decision| projection.add(SHARD, index, decision).unwrap());
            projection.applied(SHARD, index, false).unwrap();
        }
        self.store.write(projection.finish()).unwrap();
        self.index += 1;
        self.stored = self.brought.iter().map(|(account, brought)| (account.clone(), brought.len())).collect();
    }

    fn sweep(&self) {
        let (bygone, mut place) = (Bygone::default(), LogIndex(0));
        while bygone.look(&*self.store, SHARD, &mut place).unwrap() == STEP_ENTRIES_MAX {}
        let mut projection = Projection::new(&*self.store);
        bygone.forget_into(&mut projection);
        self.store.write(projection.finish()).unwrap();
    }

    /// Reads on from a place to the end and compares with what there is.
    fn check_from(&self, tips: &Tips, after: u64) {
        let reads = Reads::new(Arc::clone(&self.store), 1);
        let mut standing = Standing { after: LogIndex(after), named: LogIndex(0) };
        let mut seen: BTreeMap<AccountId, Vec<u64>> = BTreeMap::new();
        let mut lost: BTreeMap<AccountId, usize> = BTreeMap::new();
        let mut indices = vec![];
        while standing.after < LogIndex(self.index - 1) {
            let read = reads.entries(tips, SHARD, standing).unwrap().unwrap();
            assert!(read.then.after > standing.after, "it goes on");
            lost.extend(read.lost.into_iter().map(|(account, seq)| (account, usize::try_from(seq).unwrap())));
            for (account, entry) in read.events {
                indices.push(entry.index);
                seen.entry(account).or_default().push(entry.seq);
            }
            standing = read.then;
        }
        assert!(indices.is_sorted(), "after {after}: {indices:?}");
        for (account, brought) in &self.brought {
            let forgotten = self.forgotten.get(account).copied().unwrap_or_default();
            let kept = (1..).zip(brought).filter(|(seq, index)| *seq > forgotten && **index > after);
            let kept: Vec<u64> = kept.map(|(seq, _)| u64::try_from(seq).unwrap()).collect();
            assert_eq!(seen.remove(account).unwrap_or_default(), kept, "{account} after {after}");
            let is_lost = brought[..forgotten].last().is_some_and(|index| *index > after);
            assert_eq!(lost.remove(account), is_lost.then_some(forgotten), "{account} after {after}");
        }
        assert!(seen.is_empty() && lost.is_empty(), "{seen:?} {lost:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn from_any_place_everything_comes_or_is_named(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path());
        steps.into_iter().for_each(|step| world.take(step));
        world.write();
        let tips = Tips::new(1);
        tips.tell([(SHARD, LogIndex(world.index - 1))].into_iter());
        (0..world.index).for_each(|after| world.check_from(&tips, after));
    }
}

#[test]
fn rows_that_point_at_nothing_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    for _ in 0..10 {
        world.take(Step::Happens { account: 0, events: 1 });
        world.take(Step::EntryEnds);
    }
    world.take(Step::Happens { account: 1, events: 1 });
    world.write();
    world.take(Step::Forgets { account: 0, events: 7 });
    world.write();
    let rows = || world.store.scan(&family_range(SHARD, Family::Entry), Direction::Forward, 100).unwrap().len();
    assert_eq!(rows(), 11);
    world.sweep();
    assert_eq!(rows(), 4);
}

/// The applied index shows before the rest of its batch does; a reader that believed it would pass over what is not there yet.
#[test]
fn a_reader_goes_no_further_than_what_is_known_to_be_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    (0..3).for_each(|_| world.take(Step::EntryEnds));
    world.write();
    let (tips, reads) = (Tips::new(1), Reads::new(Arc::clone(&world.store), 1));
    let through = || reads.entries(&tips, SHARD, Standing::default()).unwrap().unwrap().then.after;
    assert_eq!(through(), LogIndex(0));
    tips.tell([(SHARD, LogIndex(2))].into_iter());
    assert_eq!(through(), LogIndex(2));
}

#[test]
fn a_state_that_is_being_replaced_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.take(Step::Happens { account: 0, events: 2 });
    world.write();
    let (tips, reads) = (Tips::new(1), Reads::new(Arc::clone(&world.store), 1));
    let entries = || reads.entries(&tips, SHARD, Standing::default()).unwrap();
    assert_eq!(entries().unwrap().events.len(), 2);
    tips.replacing(SHARD);
    assert!(entries().is_none());
    world.store.begin_load(SHARD).unwrap();
    assert!(entries().is_none());
    tips.replaced(SHARD, LogIndex(1));
    assert!(entries().is_none(), "a store that is not whole is not believed");
}
