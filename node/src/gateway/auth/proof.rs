//! Callers and the proofs they can get. The fields are private: only this file makes a proof.

use std::sync::Arc;

use steward_actors::domain::account::Role;
use steward_actors::domain::ids::AccountId;

use super::cache::KnownKey;
use super::{Authenticator, role_word};
use crate::gateway::error::{Code, Refused};

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Who);

#[derive(Clone, Debug)]
enum Who {
    Operator,
    Key(Arc<KnownKey>),
}

/// May do what is not within one account.
#[derive(Clone, Debug)]
pub(crate) struct Operator(());

/// May read this account, which exists.
#[derive(Clone, Debug)]
pub(crate) struct AccountReader(AccountId);

/// May change this account, other than its keys.
#[derive(Clone, Debug)]
pub(crate) struct AccountWriter {
    account: AccountId,
    actor: String,
}

/// May change this account and its keys.
#[derive(Clone, Debug)]
pub(crate) struct AccountAdmin(AccountWriter);

impl Caller {
    pub(super) fn operator() -> Self {
        Self(Who::Operator)
    }

    pub(super) fn key(known: Arc<KnownKey>) -> Self {
        Self(Who::Key(known))
    }

    /// The caller's name in events.
    fn actor(&self) -> String {
        match &self.0 {
            Who::Operator => "operator".to_owned(),
            Who::Key(known) => format!("key:{}", known.key),
        }
    }

    /// A proof that the caller is the operator.
    pub(crate) fn operator_proof(&self) -> Result<Operator, Refused> {
        match &self.0 {
            Who::Operator => Ok(Operator(())),
            Who::Key(_) => Err(Refused::new(Code::Forbidden, "only the operator's key may do this")),
        }
    }

    /// A proof that the caller may read the account.
    pub(crate) fn account_reader(&self, auth: &Authenticator, account_id: &str) -> Result<AccountReader, Refused> {
        Ok(AccountReader(self.opens(auth, account_id, Role::Reader)?))
    }

    /// A proof that the caller may change the account.
    pub(crate) fn account_writer(&self, auth: &Authenticator, account_id: &str) -> Result<AccountWriter, Refused> {
        let account = self.opens(auth, account_id, Role::Writer)?;
        Ok(AccountWriter { account, actor: self.actor() })
    }

    /// A proof that the caller may change the account and its keys.
    pub(crate) fn account_admin(&self, auth: &Authenticator, account_id: &str) -> Result<AccountAdmin, Refused> {
        let account = self.opens(auth, account_id, Role::Admin)?;
        Ok(AccountAdmin(AccountWriter { account, actor: self.actor() }))
    }

    fn opens(&self, auth: &Authenticator, account_id: &str, needed: Role) -> Result<AccountId, Refused> {
        let account = AccountId::parse(account_id).map_err(|rule| Refused::field("account_id", rule))?;
        let (opens, role) = match &self.0 {
            Who::Operator => (auth.exists(&account)?, Role::Admin),
            Who::Key(known) => (known.account == account, known.role),
        };
        if !opens {
            return Err(Refused::absent("account", account.as_str()));
        }
        if role < needed {
            let message = format!("this needs the role {}, the key has {}", role_word(needed), role_word(role));
            return Err(Refused::new(Code::Forbidden, message));
        }
        Ok(account)
    }
}

impl Operator {
    /// A proof for an account that is about to be made.
    pub(crate) fn account_founder(&self, account: AccountId) -> AccountWriter {
        AccountWriter { account, actor: "operator".to_owned() }
    }
}

impl AccountReader {
    /// For whoever brings a link that the account signed.
    pub(super) fn of_link(account: AccountId) -> Self {
        Self(account)
    }

    pub(crate) fn account(&self) -> &AccountId {
        &self.0
    }
}

impl AccountWriter {
    pub(crate) fn account(&self) -> &AccountId {
        &self.account
    }

    /// The caller's name in events.
    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }
}

impl AccountAdmin {
    /// Whoever may change keys may change the rest.
    pub(crate) fn writer(&self) -> &AccountWriter {
        &self.0
    }
}
