//! Settings of blobs: where they are beside the data folder, and how much of them there may be.

use serde::{Deserialize, Serialize};
use steward_actors::blob::BucketPlace;

use super::secret::{self, SecretReference};

/// The largest cache, in MiB: a pebibyte.
const MIB_MAX: u64 = 1 << 30;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blobs {
    /// Empty: the data folders of the nodes.
    pub(crate) store: String,
    /// Empty: Amazon's.
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) path_style: bool,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: SecretReference,
    pub(crate) cache_mib: u64,
}

impl Default for Blobs {
    fn default() -> Self {
        Self {
            store: String::new(),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            path_style: false,
            access_key_id: String::new(),
            secret_access_key: SecretReference::default(),
            cache_mib: 10_240,
        }
    }
}

/// Limits that the types cannot express.
pub(super) fn check(blobs: &Blobs, need: &mut impl FnMut(bool, &str, &str)) {
    need((1..=MIB_MAX).contains(&blobs.cache_mib), "blobs.cache_mib", "must be 1 to 1073741824");
    let keys = [blobs.access_key_id.is_empty(), blobs.secret_access_key.is_empty()];
    if blobs.store.is_empty() {
        let unused = keys == [true, true] && blobs.endpoint.is_empty();
        let names = "blobs.endpoint, blobs.access_key_id and blobs.secret_access_key";
        need(unused, names, "must be empty while blobs.store is");
        return;
    }
    if let Err(rule) = BucketPlace::parse(&blobs.store) {
        need(false, "blobs.store", rule);
    }
    let http = ["http://", "https://"].iter().any(|scheme| blobs.endpoint.starts_with(scheme));
    need(blobs.endpoint.is_empty() || http, "blobs.endpoint", "must be an http or https URL, or empty");
    need(!blobs.region.is_empty(), "blobs.region", "must not be empty while blobs.store is set");
    need(keys == [false, false], "blobs.access_key_id and blobs.secret_access_key", "must be set while blobs.store is");
    let formed = blobs.secret_access_key.is_empty() || blobs.secret_access_key.is_well_formed();
    need(formed, "blobs.secret_access_key", secret::RULE);
}
