//! `AccountService`: accounts, the keys that open them, and the playbooks that act for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng as _;
use steward_actors::domain::account::{Account, ApiKeyCreated, Command, Playbook, Role};
use steward_actors::domain::ids::{AccountId, KeyId};
use steward_actors::domain::job::JobKind;
use steward_actors::domain::pattern::Pattern;
use steward_actors::domain::task::{TaskKind, TaskLimits};
use steward_cluster::clock::Timestamp;
use steward_proto::account::v1::account_service_server::AccountService;
use steward_proto::account::v1::{self as pb};
use tonic::{Request, Response, Status};

use super::{budget, view, wire};
use crate::gateway::auth::{AccountReader, new_account_key};
use crate::gateway::error::Refused;
use crate::gateway::{Gateway, page};

/// Random bytes of a key's id: enough to be unique within one account.
const KEY_ID_BYTES: usize = 5;

pub(super) struct Accounts(pub(super) Arc<Gateway>);

impl Accounts {
    /// The account behind a proof. It was there a moment ago.
    fn state(&self, reader: &AccountReader) -> Result<Account, Refused> {
        self.existing(reader.account())
    }

    fn existing(&self, account: &AccountId) -> Result<Account, Refused> {
        let found = self.0.router.account(account)?;
        found.ok_or_else(|| Refused::absent("account", account.as_str()))
    }

    fn view(&self, account: &Account) -> pb::Account {
        let mut shown = view::account(account, self.0.router.quarantine_reason(&account.id));
        shown.budgets = budget::states(account, self.0.clock.now());
        shown
    }
}

#[tonic::async_trait]
impl AccountService for Accounts {
    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::CreateAccountResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let account = wire::id("account_id", &request.account_id)?;
        let founder = caller.operator_proof()?.account_founder(account);
        let idempotency = wire::idempotency("CreateAccount", &request.idempotency_key, retry_key, &request);
        let wrapped_key = self.0.sealer.new_data_key();
        let command = Command::CreateAccount { display_name: request.display_name, wrapped_key };
        self.0.router.execute(&founder, command, &correlation, idempotency).await?;
        let created = self.existing(founder.account())?;
        Ok(Response::new(pb::CreateAccountResponse { account: Some(self.view(&created)) }))
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::GetAccountResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let account = self.state(&reader)?;
        Ok(Response::new(pb::GetAccountResponse { account: Some(self.view(&account)) }))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        caller.operator_proof()?;
        let size = page::page_size(request.page_size)?;
        let after = page::start(&request.page_token)?;
        let after = after.map(|id| AccountId::parse(&id).map_err(|_| page::unknown_token())).transpose()?;
        let listed = self.0.everything.accounts(after.as_ref(), size).await?;
        let next_page_token = listed.next.map(|id| page::token(&id)).unwrap_or_default();
        Ok(Response::new(pb::ListAccountsResponse { accounts: listed.accounts, next_page_token }))
    }

    async fn set_task_limits(
        &self,
        request: Request<pb::SetTaskLimitsRequest>,
    ) -> Result<Response<pb::SetTaskLimitsResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let account = wire::id("account_id", &request.account_id)?;
        let founder = caller.operator_proof()?.account_founder(account);
        let limits = task_limits(&request.task_limits.unwrap_or_default())?;
        self.0.router.execute(&founder, Command::SetTaskLimits { limits }, &correlation, None).await?;
        Ok(Response::new(pb::SetTaskLimitsResponse {}))
    }

    async fn set_budgets(
        &self,
        request: Request<pb::SetBudgetsRequest>,
    ) -> Result<Response<pb::SetBudgetsResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let account = wire::id("account_id", &request.account_id)?;
        let founder = caller.operator_proof()?.account_founder(account);
        let budgets = budget::budgets(&request)?;
        self.0.router.execute(&founder, Command::SetBudgets { budgets }, &correlation, None).await?;
        Ok(Response::new(pb::SetBudgetsResponse {}))
    }

    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let admin = caller.account_admin(&self.0.auth, &request.account_id)?;
        let role = match request.role() {
            pb::Role::Admin => Role::Admin,
            pb::Role::Writer => Role::Writer,
            pb::Role::Reader => Role::Reader,
            pb::Role::Unspecified => return Err(Refused::field("role", "must be admin, writer or reader").into()),
        };
        let expires_at = (request.expires_at_ms > 0).then_some(Timestamp(request.expires_at_ms));
        if expires_at.is_some_and(|at| at <= self.0.clock.now()) {
            return Err(Refused::field("expires_at_ms", "must be in the future, or 0 for never").into());
        }
        let key = new_key_id();
        let (secret, hash) = new_account_key(admin.writer().account(), &key);
        let created = ApiKeyCreated { key: key.clone(), role, label: request.label.clone(), hash, expires_at };
        let command = Command::CreateApiKey(created);
        self.0.router.execute(admin.writer(), command, &correlation, None).await?;
        let key = pb::ApiKey {
            key_id: key.to_string(),
            role: request.role,
            label: request.label,
            created_at_ms: self.0.clock.now().0,
            expires_at_ms: request.expires_at_ms,
        };
        Ok(Response::new(pb::CreateApiKeyResponse { key: Some(key), secret }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let admin = caller.account_admin(&self.0.auth, &request.account_id)?;
        let account = self.existing(admin.writer().account())?;
        let keys = account.keys.iter().map(|(id, key)| view::api_key(id, key)).collect();
        Ok(Response::new(pb::ListApiKeysResponse { keys }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let admin = caller.account_admin(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("RevokeApiKey", "", retry_key, &request);
        let command = Command::RevokeApiKey { key: wire::id("key_id", &request.key_id)? };
        self.0.router.execute(admin.writer(), command, &correlation, idempotency).await?;
        Ok(Response::new(pb::RevokeApiKeyResponse {}))
    }

    async fn put_playbook(
        &self,
        request: Request<pb::PutPlaybookRequest>,
    ) -> Result<Response<pb::PutPlaybookResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("PutPlaybook", "", retry_key, &request);
        let given = request.playbook.ok_or_else(|| Refused::field("playbook", "must be set"))?;
        let playbook = wire::id("playbook.playbook_id", &given.playbook_id)?;
        let on = Pattern::parse(&given.on).map_err(|rule| Refused::field("playbook.on", rule))?;
        let job = JobKind::parse(&given.job_kind)
            .ok_or_else(|| Refused::field("playbook.job_kind", "must be the kind of a job, such as call"))?;
        let input = wire::object("playbook.input_json", &given.input_json)?;
        let command = Command::PutPlaybook { playbook, rule: Playbook { on, job, input } };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::PutPlaybookResponse {}))
    }

    async fn list_playbooks(
        &self,
        request: Request<pb::ListPlaybooksRequest>,
    ) -> Result<Response<pb::ListPlaybooksResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let account = self.state(&reader)?;
        let playbooks = account.playbooks.iter().map(|(id, playbook)| view::playbook(id, playbook)).collect();
        Ok(Response::new(pb::ListPlaybooksResponse { playbooks }))
    }

    async fn delete_playbook(
        &self,
        request: Request<pb::DeletePlaybookRequest>,
    ) -> Result<Response<pb::DeletePlaybookResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("DeletePlaybook", "", retry_key, &request);
        let command = Command::DeletePlaybook { playbook: wire::id("playbook_id", &request.playbook_id)? };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::DeletePlaybookResponse {}))
    }
}

fn new_key_id() -> KeyId {
    let mut bytes = [0_u8; KEY_ID_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    KeyId::parse(&format!("k{}", hex::encode(bytes))).expect("a letter and hex digits make an id")
}

fn task_limits(asked: &pb::TaskLimits) -> Result<TaskLimits, Refused> {
    let mut running_max_by_kind = BTreeMap::new();
    for limit in &asked.running_max_by_kind {
        let field = "running_max_by_kind";
        let kind = TaskKind::parse(&limit.kind)
            .ok_or_else(|| Refused::field(field, "must be about kinds of task, such as normalize".to_owned()))?;
        if running_max_by_kind.insert(kind, limit.running_max).is_some() {
            return Err(Refused::field(field, format!("must have one limit for {}", kind.as_str())));
        }
    }
    let running_max = Some(asked.running_max).filter(|max| *max != 0);
    let open_jobs_max = Some(asked.open_jobs_max).filter(|max| *max != 0);
    Ok(TaskLimits { weight: asked.weight.max(1), running_max, running_max_by_kind, open_jobs_max })
}
