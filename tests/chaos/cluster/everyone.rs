//! More nodes than a shard has replicas, so that none holds everything: what is asked about all accounts is whole whichever
//! node is asked, or refused, and never a part.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use steward_proto::account::v1::{Account, CreateAccountRequest, ListAccountsRequest, Playbook, PutPlaybookRequest};
use steward_proto::event::v1::subscribe_all_request::From as Start;
use steward_proto::event::v1::subscribe_all_response::Item;
use steward_proto::event::v1::{SubscribeAllRequest, SubscribeAllResponse};
use steward_tests::harness::{Api, Cluster, Shape, WAIT_MAX, eventually};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

const ACCOUNTS: usize = 40;
/// Small, so that a list has many pages.
const PAGE: u32 = 7;
/// How often every node is asked right after a leader was killed.
const ROUNDS: usize = 3;

/// How many events each account has.
type Counts = BTreeMap<String, u64>;

/// All accounts as one node lists them, page by page.
async fn listed(api: &Api, page_size: u32) -> Result<Vec<Account>, Status> {
    let (mut found, mut page_token) = (vec![], String::new());
    loop {
        let page = api.accounts().list_accounts(ListAccountsRequest { page_size, page_token }).await?.into_inner();
        found.extend(page.accounts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// The shards that a node holds, or of which it says that it has this role.
fn shards(cluster: &Cluster, node: u64, role: Option<&str>) -> BTreeSet<u64> {
    let rows = cluster.node(node).ctl_json(&["shards"]);
    let rows = rows.as_array().expect("shards are a list").iter();
    let wanted = rows.filter(|row| role.is_none_or(|role| row["role"] == role));
    wanted.filter_map(|row| row["shard"].as_u64()).collect()
}

/// A stream of everything, and what came of it.
struct Watch {
    stream: Streaming<SubscribeAllResponse>,
    seen: Counts,
    /// Every cursor, and what came before it.
    cursors: Vec<(String, Counts)>,
}

impl Watch {
    async fn open(api: &Api, from: Option<(String, Counts)>, until_now: bool) -> Self {
        let (from, seen) = from.map_or((None, Counts::new()), |(cursor, seen)| (Some(Start::Cursor(cursor)), seen));
        let request = SubscribeAllRequest { from, types: vec![], until_now };
        let stream = api.events().subscribe_all(request).await.expect("the subscription is taken").into_inner();
        Self { stream, seen, cursors: vec![] }
    }

    /// The next of what comes, false at the end; every event must be the next one of its account.
    async fn next(&mut self) -> bool {
        let answer = timeout(WAIT_MAX, self.stream.message()).await.expect("a node says something of everything");
        let Some(answer) = answer.expect("the stream goes on") else { return false };
        match answer.item {
            Some(Item::Event(event)) => {
                let last = self.seen.entry(event.account_id.clone()).or_default();
                assert_eq!(event.seq, *last + 1, "{} misses an event or got one twice", event.account_id);
                *last = event.seq;
            }
            Some(Item::Cursor(cursor)) => self.cursors.push((cursor, self.seen.clone())),
            Some(Item::Gap(gap)) => panic!("nothing was forgotten: {gap:?}"),
            None => {}
        }
        true
    }

    /// Reads until a cursor covers all that is wanted, and nothing else.
    async fn until(&mut self, wanted: &Counts) {
        let is_covered = |watch: &Self| watch.cursors.last().is_some_and(|(_, covered)| covered == wanted);
        let reading = async { while !is_covered(self) && self.next().await {} };
        let in_time = timeout(WAIT_MAX, reading).await.is_ok();
        assert!(in_time && is_covered(self), "{:?} instead of {wanted:?}", self.seen);
    }
}

/// Tries until a node that is up has done it: on a busy machine leaders change now and then.
async fn tried<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T, Status>) -> T {
    let attempt = async || match call().await {
        Ok(done) => Some(done),
        Err(status) => {
            assert_eq!(status.code(), Code::Unavailable, "{what}: {status}");
            None
        }
    };
    eventually(WAIT_MAX, what, attempt).await
}

async fn make(api: &Api, account: &str) {
    let (account_id, idempotency_key) = (account.to_owned(), account.to_owned());
    let request = CreateAccountRequest { account_id, idempotency_key, display_name: String::new() };
    tried("an account to be made", async || api.accounts().create_account(request.clone()).await).await;
}

/// Something happens to an account.
async fn happen(api: &Api, account: &str) {
    let playbook = Playbook {
        playbook_id: "playbook".to_owned(),
        on: "webhook.**".to_owned(),
        job_kind: "call".to_owned(),
        input_json: String::new(),
    };
    let request = PutPlaybookRequest { account_id: account.to_owned(), playbook: Some(playbook) };
    tried("a playbook to be put", async || api.accounts().put_playbook(request.clone()).await).await;
}

/// Asks a node once, which says everything or that it cannot.
async fn whole(api: &Api, page_size: u32, accounts: &BTreeSet<String>) -> Result<Counts, Status> {
    let said = listed(api, page_size).await;
    match &said {
        Ok(found) => {
            let ids: Vec<&String> = found.iter().map(|account| &account.account_id).collect();
            assert!(ids.iter().copied().eq(accounts), "{ids:?} instead of {accounts:?}");
        }
        Err(status) => assert!(status.message().contains("shards just now"), "{status}"),
    }
    Ok(said?.into_iter().map(|account| (account.account_id, account.last_seq)).collect())
}

/// The same, until it can.
async fn whole_in_the_end(api: &Api, page_size: u32, accounts: &BTreeSet<String>) -> Counts {
    tried("all accounts to be listed", async || whole(api, page_size, accounts).await).await
}

/// Every account is made through one node and listed through another, which must know it then.
async fn make_accounts(apis: &BTreeMap<u64, Api>) -> BTreeSet<String> {
    let apis: Vec<&Api> = apis.values().collect();
    let mut made = BTreeSet::new();
    for number in 0..ACCOUNTS {
        let account = format!("account-{number}");
        make(apis[number % apis.len()], &account).await;
        made.insert(account);
        whole_in_the_end(apis[(number + 2) % apis.len()], 0, &made).await;
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_node_holds_alone_is_told_whole_by_each() {
    let mut cluster = Cluster::start(Shape { nodes: 5, ..Shape::default() }).await;
    let mut apis = BTreeMap::new();
    for node in 1..=5 {
        apis.insert(node, cluster.node(node).api().await);
    }
    let victim = cluster.leader().await;
    let led = shards(&cluster, victim, Some("leader"));
    let lacks_some = |node: &u64| !led.is_subset(&shards(&cluster, *node, None));
    let watcher = cluster.all_but(victim).into_iter().find(lacks_some).expect("a shard has three replicas");
    let mut watch = Watch::open(&apis[&watcher], None, false).await;

    let accounts = make_accounts(&apis).await;
    for api in apis.values() {
        let counts = whole_in_the_end(api, PAGE, &accounts).await;
        watch.until(&counts).await;
    }

    apis.remove(&victim);
    cluster.kill(victim);
    for _ in 0..ROUNDS {
        let asked = apis.values().map(|api| whole(api, PAGE, &accounts));
        for said in join_all(asked).await {
            assert!(said.is_ok() || said.is_err_and(|status| status.code() == Code::Unavailable));
        }
    }
    for (account, api) in accounts.iter().zip(apis.values().cycle()) {
        happen(api, account).await;
    }
    let mut all = Counts::new();
    for api in apis.values() {
        all = whole_in_the_end(api, PAGE, &accounts).await;
        assert!(all.values().all(|last_seq| *last_seq > 1), "{all:?}");
    }
    watch.until(&all).await;

    // Any of its cursors goes on anywhere with exactly the rest.
    let cursors = std::mem::take(&mut watch.cursors);
    for (api, from) in apis.values().cycle().zip(cursors) {
        Watch::open(api, Some(from), true).await.until(&all).await;
    }
    cluster.restart(victim);
    cluster.stop_and_compare().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_of_a_replica_that_leaves_are_sent_elsewhere() {
    let mut cluster = Cluster::start(Shape { nodes: 4, ..Shape::default() }).await;
    let api = cluster.node(1).api().await;
    make(&api, "acme").await;
    let shard = u64::from(api.feed("acme").await[0].shard);
    let holds = |node: &u64| shards(&cluster, *node, None).contains(&shard);
    let leaving = (1..=4).find(holds).expect("three nodes hold it");
    let api = cluster.node(leaving).api().await;
    let mut follow = api.follow("acme", 0).await;
    follow.next().await.expect("the account was created");
    let mut watch = Watch::open(&api, None, false).await;
    cluster.drain(leaving).await;
    let ended = timeout(WAIT_MAX, follow.next()).await.expect("nobody waits for what does not come").unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    assert!(ended.message().contains("not to be read on this node"), "{ended}");
    // The stream of everything finds another source by itself, and the one that ended goes on through the same node.
    let mut follow = api.follow("acme", follow.seq).await;
    happen(&api, "acme").await;
    assert_eq!(follow.next().await.expect("it goes on").seq, 2);
    let all = whole_in_the_end(&api, PAGE, &BTreeSet::from(["acme".to_owned()])).await;
    watch.until(&all).await;
    cluster.stop_and_compare().await;
}
