//! Links that open one blob without a key: signed by a key of the account that every node of the cluster derives.

use std::time::Duration;

use steward_actors::blob::BlobHash;
use steward_actors::domain::ids::AccountId;
use steward_actors::seal::Sealer;
use steward_cluster::clock::Timestamp;

use super::{AccountReader, Authenticator};
use crate::gateway::error::{Code, Refused};

/// The longest time of a link.
pub(crate) const LINK_TTL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Keeps signatures of links apart from all others of an account.
const PURPOSE: &str = "steward 2026-11 link to a blob";

/// What a link opens, and until when.
#[derive(Clone, Copy)]
pub(crate) struct Link<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) hash: &'a BlobHash,
    pub(crate) expires_at: Timestamp,
}

impl Link<'_> {
    fn text(&self) -> String {
        format!("{}\n{}\n{}", self.account, self.hash.as_str(), self.expires_at.0)
    }

    /// The path that opens the blob.
    pub(crate) fn path(&self, auth: &Authenticator, sealer: &Sealer) -> Result<String, Refused> {
        let Self { account, hash, expires_at } = *self;
        let absent = || Refused::absent("account", account.as_str());
        let wrapped_key = auth.router.reads().outline(account)?.ok_or_else(absent)?.wrapped_key;
        let signature = sealer.sign(&wrapped_key, PURPOSE, self.text().as_bytes()).map_err(|_| {
            tracing::error!(%account, "the key of an account does not open");
            Refused::new(Code::Internal, "the link cannot be signed; the node's log says more")
        })?;
        let (hash, signature) = (hash.as_str(), hex::encode(signature));
        Ok(format!("/v1/accounts/{account}/blobs/{hash}?expires={}&signature={signature}", expires_at.0))
    }

    /// A proof for whoever brings the link. What is wrong with a signature is not told, nor whether the account is there.
    pub(crate) fn reader(
        &self,
        auth: &Authenticator,
        sealer: &Sealer,
        signature: &str,
        now: Timestamp,
    ) -> Result<AccountReader, Refused> {
        let invalid = || Refused::new(Code::LinkInvalid, "the signature of the link does not hold");
        let wrapped_key = auth.router.reads().outline(self.account)?.ok_or_else(invalid)?.wrapped_key;
        let signature = hex::decode(signature).map_err(|_| invalid())?;
        let vouched = sealer.vouched(&wrapped_key, PURPOSE, self.text().as_bytes(), &signature);
        if !vouched.map_err(|_| invalid())? {
            return Err(invalid());
        }
        if self.expires_at <= now {
            return Err(Refused::new(Code::LinkExpired, "the time of the link is over"));
        }
        Ok(AccountReader::of_link(self.account.clone()))
    }
}
