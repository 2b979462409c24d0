//! Runs the real `steward` binary and plays the world around it. Called by `e2e/` and the demo.
//!
//! # Invariants
//! - **N1 real**: a node is the process that operators run; it is reached over its sockets and files, never from inside.
//! - **N2 alone**: every node has its own folder and free ports, so tests run side by side.
//! - **N3 quiet**: a test fails when its node logged a `warn` or `error` that the test did not announce.
//! - **N4 gone**: dropping a thing of this module ends its processes, threads and mounts, whatever the test did.
//! - **N5 no naps**: waiting is for a condition, with a limit; a wait that runs out says what it waited for.

mod api;
mod bystander;
mod cluster;
mod delay;
mod disk;
#[expect(dead_code, reason = "the tests of membership use the rest of it")]
#[path = "../../../cluster/tests/membership/etcd.rs"]
mod etcd;
mod everything;
mod faults;
mod feed;
mod frozen;
mod history;
mod hostile;
mod http;
mod log_watch;
mod meter;
mod network;
mod node;
mod object_store;
mod outside;
mod picture;
mod process;
mod replicas;
mod sign;
mod strace;
mod throttle;
mod tools;
mod wait;
mod wall_clock;
mod whereabouts;
mod workload;

pub use api::{Api, Line};
pub use bystander::{Bystander, receiver};
pub use cluster::{Cluster, Shape};
pub use delay::Distance;
pub use disk::Disk;
pub use feed::{Follow, data};
pub use frozen::Frozen;
pub use history::{Command, History, Moment, Outcome, Read, SeenEvent, Subscriber, Violation};
pub use hostile::{Behaviour, Hostile};
pub use http::{Headers, Http, Reply, headers};
pub use meter::Measured;
pub use network::Network;
pub use node::{Node, NodeBuilder};
pub use object_store::ObjectStore;
pub use outside::{Answer, Outside, Seen};
pub use process::{Build, Launch, NodeProcess, steward_beside};
pub use sign::{Delivery, Platform, standard_signature};
pub use strace::Tracer;
pub use throttle::Throttle;
pub use tools::{Media, children_of, looped, probe, workspace};
pub use wait::{WAIT_MAX, eventually, now_ms, skipped, within};
pub use wall_clock::WallClock;
pub use whereabouts::{Address, Nodes};
pub use workload::{Load, Plan, Run};
