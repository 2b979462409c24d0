//! Who is the controller: the node whose key stands in etcd, under a lease of its own.

use std::time::Duration;

use crate::ids::{NodeId, ShardId};
use crate::membership::{Etcd, EtcdError, Guard, Key, Keys, Placement, Write};

/// A controller that says nothing for so long is replaced.
pub(super) const OFFICE_TTL: Duration = Duration::from_secs(10);

/// The right to write placements, as long as the key stands.
#[derive(Debug)]
pub(super) struct Office {
    lease: i64,
    /// Where in etcd's history the key was created. A later controller has a later one.
    revision: i64,
}

impl Office {
    /// Takes the office when nobody holds it.
    pub(super) async fn take(etcd: &Etcd, keys: &Keys, node: NodeId) -> Result<Option<Self>, EtcdError> {
        let lease = etcd.grant(OFFICE_TTL).await?;
        let key = keys.name(Key::Controller);
        // A cluster that was wiped needs no controller.
        let guards = [Guard::Absent(key.clone()), Guard::Exists(keys.name(Key::Known(node)))];
        let value = node.0.to_string().into_bytes();
        let taken = etcd.write(&guards, &[Write::PutLeased(key, value, lease)]).await;
        match taken {
            Ok(Some(revision)) => Ok(Some(Self { lease, revision })),
            // Lost, or unknown: without the lease a key that got there after all is gone, too.
            Ok(None) => etcd.revoke(lease).await.map(|()| None),
            Err(error) => {
                etcd.revoke(lease).await.ok(); // Else it runs out.
                Err(error)
            }
        }
    }

    /// Says that the controller is alive. [`EtcdError::Refused`] when it has been replaced.
    pub(super) async fn keep(&self, etcd: &Etcd) -> Result<(), EtcdError> {
        etcd.keep_alive(self.lease).await
    }

    /// Gives the office back.
    pub(super) async fn resign(self, etcd: &Etcd) -> Result<(), EtcdError> {
        etcd.revoke(self.lease).await
    }

    /// Writes a placement over the one of this revision, 0 for none; says whether both it and the office still stood.
    pub(super) async fn place(
        &self,
        etcd: &Etcd,
        keys: &Keys,
        shard: ShardId,
        over: i64,
        placement: &Placement,
    ) -> Result<bool, EtcdError> {
        let key = keys.name(Key::Placement(shard));
        let in_office = Guard::CreatedAt(keys.name(Key::Controller), self.revision);
        let guards = [in_office, Guard::Unchanged(key.clone(), over)];
        let value = serde_json::to_vec(placement).expect("a placement has nothing that JSON lacks");
        Ok(etcd.write(&guards, &[Write::Put(key, value)]).await?.is_some())
    }
}
