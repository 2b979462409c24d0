//! Who belongs to the cluster, over etcd: ids, addresses, wishes, and hints about who leads what.
//!
//! A node [`join`]s, writes what [`Joined`] says into its data folder, and then [`Joined::register`]s. From then on
//! [`Membership`] keeps it registered and publishes a [`View`]. `crate::placement` decides on top of it.
//!
//! # Invariants
//! - **M1 one founder**: of any number of nodes that join an empty etcd, exactly one creates the cluster.
//! - **M2 ids**: an id belongs to one data folder for ever. A folder is known by an id of its own, made before it joins,
//!   so a crash anywhere in a join neither loses nor doubles an id.
//! - **M3 no mixing**: a folder never enters a cluster it does not belong to, and no second cluster is founded over
//!   data of a first one.
//! - **M4 bounded**: every call of etcd has a deadline and a bounded number of tries. Nothing on a data path waits for
//!   one.
//! - **M5 outages change nothing**: while etcd is away, or holds another cluster, the last view stays; nodes whose
//!   leases ran out meanwhile have [`RETURN_GRACE`] to come back before they leave the view.
//! - **M6 absence**: nothing here is needed for safety. Terms, votes and members of a shard live in its Raft group; a
//!   view may be old, and a leader in it is a hint.
//!
//! # Keys
//! Under `/steward/<cluster>/`; values are JSON, see `record.rs`.
//!
//! | key | value | lease |
//! |---|---|---|
//! | `config` | what all nodes must agree on; created once | |
//! | `nodes/<id>` | a running node | 10 s |
//! | `known/<id>` | the data folder an id belongs to | |
//! | `next_node` | the next id that is free | |
//! | `placement/<shard>` | where the shard should be | |
//! | `members/<shard>` | where it is, as its leader says | |
//! | `leaders/<shard>` | who leads it: a hint | |
//! | `controller` | the node that places shards | 10 s |
//! | `format` | the highest format that shards may have, once an operator said so | |
//! | `drains/<id>` | an operator's wish to empty a node | |
//!
//! # Decisions
//! - **TLS towards etcd, and no password**: etcd can take a node's certificate for a user's name, and a password would be
//!   one more secret to renew.
//! - **Ids jump after a rebuild.** Nobody knows which ids an etcd that was wiped had given out, and an empty node under
//!   an old id would vote for entries it never had. So new ids start far above the highest one remembered, and lower
//!   ones are for the folders that had them. Rejected: waiting until every old node is back.

mod announce;
mod error;
mod etcd;
mod handle;
mod join;
mod keys;
pub(crate) mod metrics;
mod picture;
mod rebuild;
mod record;
mod register;
mod trust;
mod view;
mod watching;

#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod picture_tests;

pub(crate) use announce::Announcements;
pub use error::{EtcdError, FinalizeError, JoinError};
pub(crate) use etcd::{Etcd, Guard, Write};
pub use handle::Membership;
pub use join::{DataState, JoinConfig, Joined, join};
pub(crate) use keys::{Key, Keys};
pub(crate) use picture::Picture;
pub use picture::RETURN_GRACE;
pub use rebuild::rebuild;
pub use record::{Members, NodeInfo, Placement};
pub use register::LEASE_TTL;
pub(crate) use register::OwnWord;
pub use trust::{EtcdTls, EtcdTlsError};
pub use view::View;
