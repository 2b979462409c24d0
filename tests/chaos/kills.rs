//! A node that is killed again and again under load.

use steward_tests::harness::{Address, Load, Node, Nodes, Outcome, Plan, Run, WAIT_MAX, eventually};

const KILLS: u64 = 5;
const COMMANDS_PER_CLIENT: u64 = 120;
const PLAN: Plan = Plan {
    seed: 7,
    accounts: 20,
    clients: 8,
    load: Load::Commands(COMMANDS_PER_CLIENT),
    subscribers: 6,
    readers: 2,
    receiver: "127.0.0.1",
};
/// Acknowledged commands from one kill to the next; the last kill still has load behind it.
const COMMANDS_A_LIFE: u64 = PLAN.clients * COMMANDS_PER_CLIENT / (KILLS + 1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_lose_double_and_misorder_nothing() {
    let mut node = Node::builder().reaching_loopback().start();
    let nodes = Nodes::new(vec![Address::of(&node)]);
    let run = Run::start(PLAN, nodes.clone()).await;
    for life in 1..=KILLS {
        let enough = async || (run.acknowledged() >= life * COMMANDS_A_LIFE).then_some(());
        eventually(WAIT_MAX, "commands to be acknowledged", enough).await;
        node.kill();
        nodes.are(vec![]);
        node.restart();
        nodes.are(vec![Address::of(&node)]);
    }
    let history = run.finish().await;
    history.check().unwrap_or_else(|violation| panic!("seed {}: {violation}", PLAN.seed));
    // A run that gets nowhere breaks no promise.
    let sent = history.commands.len();
    assert_eq!(u64::try_from(sent).unwrap(), PLAN.clients * COMMANDS_PER_CLIENT);
    let refused = history.commands.iter().filter(|command| command.outcome == Outcome::Refused).count();
    assert!(refused > 0 && refused < sent / 5, "{refused} of {sent} were refused");
    assert!(history.subscribers.iter().all(|subscriber| !subscriber.events.is_empty()));
    assert!(history.reads.len() > 10, "{} reads", history.reads.len());
}
