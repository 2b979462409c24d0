//! Networks of their own for nodes, with links that can be cut in one direction or both. For tests that run as root.
//!
//! The test runs itself again in a network namespace that ends with it, so that nothing is left behind however it ends and
//! tests run side by side. In there stands a bridge; the test and etcd have its address, each node has a namespace and a
//! link to the bridge. What is cut is dropped by the node that would get it.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::delay::{BEGIN, Distance, END, Holder};
use super::wait::skipped;

const BRIDGE: &str = "steward0";
/// The address of the bridge; nodes have lower ones.
const OUTSIDE: &str = "10.7.0.254";
/// What makes the inner network, and then becomes the test.
const ENTER: &str = "ip link set lo up && ip link add steward0 type bridge && ip addr add 10.7.0.254/24 dev steward0 \
                     && ip link set steward0 up && exec \"$0\" \"$@\"";
/// What drops packets in a node's namespace; empty at first.
const FILTER: &str = "nft add table inet cut && nft add chain inet cut in '{ type filter hook input priority 0; }'";

/// The network of this test.
#[derive(Debug)]
pub struct Network {
    hosts: RefCell<Vec<Host>>,
}

/// A namespace with one address, held by a process that only waits.
#[derive(Debug)]
struct Host {
    number: u64,
    holder: Child,
    /// Keeps its packets waiting.
    delay: Option<Holder>,
}

impl Network {
    /// The network, when this is the inner run of the test of this name. The outer run starts the inner one and has
    /// nothing else to do.
    ///
    /// # Panics
    /// When the inner run fails.
    #[must_use]
    pub fn enter(test: &str) -> Option<Self> {
        let links = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        if links.contains(BRIDGE) {
            return Some(Self { hosts: RefCell::default() });
        }
        let possible = Command::new("unshare").args(["-n", "true"]).output();
        if !possible.is_ok_and(|output| output.status.success()) {
            skipped(&format!("{test}: a network of its own needs root"));
            return None;
        }
        let own = std::env::current_exe().expect("a running test has a path");
        let mut inner = Command::new("unshare");
        inner.args(["-n", "sh", "-c", ENTER]).arg(own).args(["--exact", test, "--nocapture"]);
        let ended = inner.status().expect("unshare was there a moment ago");
        assert!(ended.success(), "{test} failed in its network: {ended}");
        None
    }

    /// Where the test, etcd and receivers are.
    #[must_use]
    pub fn outside() -> &'static str {
        OUTSIDE
    }

    /// Makes a namespace for the node of this number: the command that starts something in it, and its address.
    pub(super) fn host(&self, number: u64) -> (Vec<String>, String) {
        let mut holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo here && exec cat"])
            // Ends with the test: nothing ever comes in, and then it closes.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there");
        let mut here = String::new();
        let out = holder.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut here).expect("the holder says when it is there");
        let (pid, address) = (holder.id(), address(number));
        sh(&format!("ip link add to{number} type veth peer name in{number}"));
        sh(&format!("ip link set to{number} master {BRIDGE} up"));
        sh(&format!("ip link set in{number} netns {pid}"));
        let host = Host { number, holder, delay: None };
        host.sh("ip link set lo up");
        host.sh(&format!("ip addr add {address}/24 dev in{number}"));
        host.sh(&format!("ip link set in{number} up"));
        host.sh(FILTER);
        self.hosts.borrow_mut().push(host);
        (vec!["nsenter".to_owned(), "-n".to_owned(), "-t".to_owned(), pid.to_string()], address)
    }

    /// From now on nothing that one node sends reaches the other.
    pub fn cut(&self, from: u64, to: u64) {
        let hosts = self.hosts.borrow();
        let host = hosts.iter().find(|host| host.number == to).expect("the node has a namespace");
        host.sh(&format!("nft add rule inet cut in ip saddr {} drop", address(from)));
    }

    /// The same in both directions.
    pub fn part(&self, one: u64, other: u64) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// From now on so many of a hundred packets are lost on their way to any node.
    pub fn lose(&self, percent: u8) {
        let rule = format!("nft add rule inet cut in 'numgen random mod 100 < {percent} drop'");
        self.hosts.borrow().iter().for_each(|host| host.sh(&rule));
    }

    /// From now on whatever reaches a node takes so long; the reason when that is not possible here.
    pub fn stretch(&self, distance: Distance) -> Result<(), String> {
        for host in &mut *self.hosts.borrow_mut() {
            host.delay = Some(Holder::begin(host.holder.id(), distance, host.number)?);
            host.sh(BEGIN);
        }
        Ok(())
    }

    /// Everything reaches everybody again, at once.
    pub fn heal(&self) {
        for host in &mut *self.hosts.borrow_mut() {
            host.sh("nft flush chain inet cut in");
            if host.delay.is_some() {
                host.sh(END);
                host.delay = None;
            }
        }
    }
}

impl Host {
    fn sh(&self, script: &str) {
        let pid = self.holder.id().to_string();
        done(Command::new("nsenter").args(["-n", "-t", &pid, "sh", "-c", script]));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.holder.kill().ok(); // It may have ended.
        self.holder.wait().ok();
    }
}

fn address(number: u64) -> String {
    format!("10.7.0.{number}")
}

fn sh(script: &str) {
    done(Command::new("sh").args(["-c", script]));
}

fn done(command: &mut Command) {
    let output = command.output().expect("tools of networks are installed by `scripts/setup --tests`");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
