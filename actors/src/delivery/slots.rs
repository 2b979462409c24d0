//! Who may post when. Called by the tasks of endpoints, for each post.
//!
//! # Invariants
//! - **S1 bounded**: at most so many posts are under way on a node, and a part of them for one account.
//! - **S2 no hostage**: a post that is not answered at once leaves its slot to others while there is room to wait; so
//!   receivers that hang cost an endpoint that answers [`PROMPT`], not the time they are given.
//! - **S3 in turn**: a slot that gets free goes to the next account in turn, and there to the next endpoint in turn. So
//!   a backlog of one endpoint costs another the time of a slot, not that of the backlog.
//! - **S4 nothing leaks**: a post that is given up, before its turn or after, leaves nothing behind.
//!
//! # Decisions
//! - Two numbers instead of one large: the small one bounds what is at work, the large one what only waits. One large
//!   number would let a backlog open hundreds of connections at once, and a few hundred hung posts use it up as well.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::board::EndpointKey;
use crate::domain::ids::{AccountId, EndpointId};

/// How long a post may hold a slot that others wait for.
const PROMPT: Duration = Duration::from_millis(100);
/// Posts that wait for slow receivers, for each slot.
const WAITING_SHARE: usize = 4;
/// Posts of one account under way, for each slot.
const ACCOUNT_SHARE: usize = 2;

/// The slots of a node.
pub(super) struct Slots {
    state: Mutex<State>,
}

struct State {
    account_max: usize,
    /// Slots nobody holds, and room for posts that only wait for their receivers.
    prompt: usize,
    waiting: usize,
    accounts: HashMap<AccountId, Account>,
    /// Accounts with a post that could start, each once.
    turns: VecDeque<AccountId>,
    tickets: u64,
}

/// What one account has under way or wants to start.
#[derive(Default)]
struct Account {
    under_way: usize,
    has_turn: bool,
    lines: HashMap<EndpointId, VecDeque<Ticket>>,
    /// The endpoints of `lines`, each once.
    turns: VecDeque<EndpointId>,
}

/// A post that waits for its turn.
struct Ticket {
    number: u64,
    turn: oneshot::Sender<()>,
}

impl Account {
    fn next(&mut self) -> Option<Ticket> {
        let endpoint = self.turns.pop_front()?;
        let line = self.lines.get_mut(&endpoint)?;
        let ticket = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&endpoint);
        } else {
            self.turns.push_back(endpoint);
        }
        ticket
    }

    fn leave(&mut self, endpoint: &EndpointId, number: u64) {
        let Some(line) = self.lines.get_mut(endpoint) else { return };
        line.retain(|ticket| ticket.number != number);
        if line.is_empty() {
            self.lines.remove(endpoint);
            self.turns.retain(|other| other != endpoint);
        }
    }
}

impl State {
    fn enter(&mut self, key: &EndpointKey, ticket: Ticket) {
        let account = self.accounts.entry(key.0.clone()).or_default();
        let line = account.lines.entry(key.1.clone()).or_default();
        if line.is_empty() {
            account.turns.push_back(key.1.clone());
        }
        line.push_back(ticket);
        self.settle(&key.0);
    }

    /// Gives an account its turn when it has a use for it, and forgets it when it has nothing at all.
    fn settle(&mut self, id: &AccountId) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        if account.lines.is_empty() && account.under_way == 0 && !account.has_turn {
            self.accounts.remove(id);
        } else if !account.lines.is_empty() && account.under_way < self.account_max && !account.has_turn {
            account.has_turn = true;
            self.turns.push_back(id.clone());
        }
    }

    /// Starts what can be started.
    fn grant(&mut self) {
        while self.prompt > 0
            && let Some(id) = self.turns.pop_front()
        {
            if let Some(account) = self.accounts.get_mut(&id) {
                account.has_turn = false;
                if let Some(ticket) = account.next() {
                    account.under_way += 1;
                    self.prompt -= 1;
                    // Whoever gives up leaves the line first, so somebody hears it or gives the slot back.
                    ticket.turn.send(()).ok();
                }
            }
            self.settle(&id);
        }
    }
}

/// A post from when it asks until it ended, whichever way.
struct Place<'s> {
    slots: &'s Slots,
    key: &'s EndpointKey,
    holds: Holds,
}

enum Holds {
    Ticket { number: u64, turn: oneshot::Receiver<()> },
    Slot,
    Room,
}

impl Place<'_> {
    async fn turn(&mut self) {
        if let Holds::Ticket { turn, .. } = &mut self.holds {
            turn.await.expect("a ticket stays in line as long as somebody waits for it");
            self.holds = Holds::Slot;
        }
    }

    /// Leaves the slot to others if there is room to wait.
    fn step_aside(&mut self) {
        let mut state = self.slots.state.lock();
        if state.waiting > 0 {
            state.waiting -= 1;
            state.prompt += 1;
            self.holds = Holds::Room;
            state.grant();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        let ended = |state: &mut State| {
            if let Some(account) = state.accounts.get_mut(&self.key.0) {
                account.under_way -= 1;
            }
        };
        match &mut self.holds {
            Holds::Ticket { number, turn } => {
                if turn.try_recv().is_ok() {
                    state.prompt += 1;
                    ended(&mut state);
                } else if let Some(account) = state.accounts.get_mut(&self.key.0) {
                    account.leave(&self.key.1, *number);
                }
            }
            Holds::Slot => {
                state.prompt += 1;
                ended(&mut state);
            }
            Holds::Room => {
                state.waiting += 1;
                ended(&mut state);
            }
        }
        state.settle(&self.key.0);
        state.grant();
    }
}

impl Slots {
    pub(super) fn new(slots: usize) -> Self {
        let state = State {
            account_max: slots * ACCOUNT_SHARE,
            prompt: slots,
            waiting: slots * WAITING_SHARE,
            accounts: HashMap::new(),
            turns: VecDeque::new(),
            tickets: 0,
        };
        Self { state: Mutex::new(state) }
    }

    /// Posts when it is the endpoint's turn.
    pub(super) async fn post<T>(&self, key: &EndpointKey, post: impl Future<Output = T>) -> T {
        let mut place = self.line_up(key);
        place.turn().await;
        let mut post = pin!(post);
        tokio::select! {
            done = &mut post => return done,
            () = tokio::time::sleep(PROMPT) => place.step_aside(),
        }
        post.await
    }

    fn line_up<'s>(&'s self, key: &'s EndpointKey) -> Place<'s> {
        let (sender, turn) = oneshot::channel();
        let mut state = self.state.lock();
        state.tickets += 1;
        let number = state.tickets;
        state.enter(key, Ticket { number, turn: sender });
        state.grant();
        Place { slots: self, key, holds: Holds::Ticket { number, turn } }
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
