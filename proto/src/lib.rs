//! The contracts: types and services generated from `proto/steward`. No behaviour.

/// All contracts in descriptor form, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/steward.bin"));

/// Accounts, keys, playbooks.
pub mod account {
    pub mod v1 {
        tonic::include_proto!("steward.account.v1");
    }
}
/// Sources and endpoints.
pub mod webhook {
    pub mod v1 {
        tonic::include_proto!("steward.webhook.v1");
    }
}
/// Jobs.
pub mod job {
    pub mod v1 {
        tonic::include_proto!("steward.job.v1");
    }
}
/// Files of clients.
pub mod blob {
    pub mod v1 {
        tonic::include_proto!("steward.blob.v1");
    }
}

/// Schedules.
pub mod schedule {
    pub mod v1 {
        tonic::include_proto!("steward.schedule.v1");
    }
}
/// The feed.
pub mod event {
    pub mod v1 {
        tonic::include_proto!("steward.event.v1");
    }
}
/// For the operator.
pub mod admin {
    pub mod v1 {
        tonic::include_proto!("steward.admin.v1");
    }
}
/// What the log stores.
pub mod record {
    pub mod v1 {
        tonic::include_proto!("steward.record.v1");
    }
}
/// What nodes tell each other.
pub mod peer {
    pub mod v1 {
        tonic::include_proto!("steward.peer.v1");
    }
}
