//! `ctl account` and `ctl playbook`.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use steward_proto::account::v1 as pb;
use steward_proto::admin::v1::ResumeAccountRequest;

use super::budget::BudgetArgs;
use super::client::Client;
use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Makes an account
    Create {
        account: String,
        /// Free text for people
        #[arg(long, default_value = "")]
        name: String,
        /// A retry with the same key gets the first answer
        #[arg(long, default_value = "")]
        idempotency_key: String,
    },
    /// Shows an account
    Get { account: String },
    /// Lists all accounts
    List,
    /// Keys that open an account
    #[command(subcommand)]
    Key(KeyCommand),
    /// Takes an account out of quarantine
    Resume { account: String },
    /// Sets how much work of an account runs at a time, all of it anew
    Limit {
        account: String,
        /// Tasks it gets in a turn where others get one, 1 to 100
        #[arg(long, default_value_t = 1)]
        weight: u32,
        /// Its tasks that run at a time on all nodes; 0 for no limit
        #[arg(long, default_value_t = 0)]
        running_max: u32,
        /// The same for a kind of task, such as normalize=2; may be given several times
        #[arg(long, value_name = "KIND=MAX", value_parser = kind_limit)]
        kind: Vec<pb::KindLimit>,
        /// Its jobs that have not ended, up to 10000; 0 for 1000
        #[arg(long, default_value_t = 0)]
        open_jobs_max: u32,
    },
    /// Sets what an account may use in a period, all of it anew; what is left out has no budget
    Budget(BudgetArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Makes a key and prints its secret, once
    Create {
        account: String,
        #[arg(long, value_enum, default_value = "writer")]
        role: RoleArg,
        #[arg(long, default_value = "")]
        label: String,
        /// When it stops opening the account, in milliseconds since 1970; 0 for never
        #[arg(long, default_value_t = 0)]
        expires_at_ms: u64,
    },
    /// Lists keys, without their secrets
    List { account: String },
    /// Makes a key useless
    Revoke { account: String, key: String },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleArg {
    Admin,
    Writer,
    Reader,
}

#[derive(Debug, Subcommand)]
pub(super) enum PlaybookCommand {
    /// Makes or replaces a playbook
    Put {
        account: String,
        playbook: String,
        /// Event type pattern, such as webhook.zoom.recording.completed
        #[arg(long)]
        on: String,
        /// Kind of the job
        #[arg(long)]
        job: String,
        /// JSON object; "{{/pointer}}" is replaced by what the event has there
        #[arg(long, default_value = "{}")]
        input: String,
    },
    /// Lists playbooks
    List { account: String },
    /// Deletes a playbook
    Delete { account: String, playbook: String },
}

fn kind_limit(text: &str) -> Result<pb::KindLimit, String> {
    let (kind, max) = text.split_once('=').ok_or("must have the form KIND=MAX")?;
    let running_max = max.parse().map_err(|_| "MAX must be a number")?;
    Ok(pb::KindLimit { kind: kind.to_owned(), running_max })
}

pub(super) async fn account(client: &mut Client, command: AccountCommand) -> anyhow::Result<()> {
    let mut accounts = client.accounts();
    match command {
        AccountCommand::Create { account, name, idempotency_key } => {
            let request = pb::CreateAccountRequest { account_id: account, display_name: name, idempotency_key };
            let created = accounts.create_account(request).await?.into_inner().account.unwrap_or_default();
            client.out.one(client.json, &show::account(&created))
        }
        AccountCommand::Get { account } => {
            let request = pb::GetAccountRequest { account_id: account };
            let found = accounts.get_account(request).await?.into_inner().account.unwrap_or_default();
            client.out.one(client.json, &show::account(&found))
        }
        AccountCommand::Limit { account, weight, running_max, kind, open_jobs_max } => {
            let limits = pb::TaskLimits { weight, running_max, running_max_by_kind: kind, open_jobs_max };
            let request = pb::SetTaskLimitsRequest { account_id: account.clone(), task_limits: Some(limits.clone()) };
            accounts.set_task_limits(request).await?;
            client.out.one(client.json, &json!({"account": account, "task_limits": show::task_limits(&limits)}))
        }
        AccountCommand::Budget(args) => {
            accounts.set_budgets(args.request()).await?;
            let request = pb::GetAccountRequest { account_id: args.account };
            let found = accounts.get_account(request).await?.into_inner().account.unwrap_or_default();
            client.out.one(client.json, &show::account(&found))
        }
        AccountCommand::List => {
            let mut rows = vec![];
            let mut page_token = String::new();
            loop {
                let request = pb::ListAccountsRequest { page_size: 0, page_token };
                let page = accounts.list_accounts(request).await?.into_inner();
                rows.extend(page.accounts.iter().map(show::account));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            client.out.rows(client.json, &rows, &["account", "name", "created", "last_seq", "quarantine"])
        }
        AccountCommand::Key(command) => key(client, command).await,
        AccountCommand::Resume { account } => {
            client.admin().resume_account(ResumeAccountRequest { account_id: account.clone() }).await?;
            client.out.one(client.json, &json!({"account": account, "state": "resumed"}))
        }
    }
}

async fn key(client: &mut Client, command: KeyCommand) -> anyhow::Result<()> {
    let mut accounts = client.accounts();
    match command {
        KeyCommand::Create { account, role, label, expires_at_ms } => {
            let role = match role {
                RoleArg::Admin => pb::Role::Admin,
                RoleArg::Writer => pb::Role::Writer,
                RoleArg::Reader => pb::Role::Reader,
            };
            let role = role.into();
            let request = pb::CreateApiKeyRequest { account_id: account, role, label, expires_at_ms };
            let created = accounts.create_api_key(request).await?.into_inner();
            let mut shown = show::api_key(&created.key.unwrap_or_default());
            shown["secret"] = json!(created.secret);
            client.out.one(client.json, &shown)
        }
        KeyCommand::List { account } => {
            let keys = accounts.list_api_keys(pb::ListApiKeysRequest { account_id: account }).await?.into_inner().keys;
            let rows: Vec<Value> = keys.iter().map(show::api_key).collect();
            client.out.rows(client.json, &rows, &["key", "role", "label", "created", "expires"])
        }
        KeyCommand::Revoke { account, key } => {
            accounts.revoke_api_key(pb::RevokeApiKeyRequest { account_id: account, key_id: key.clone() }).await?;
            client.out.one(client.json, &json!({"key": key, "state": "revoked"}))
        }
    }
}

pub(super) async fn playbook(client: &mut Client, command: PlaybookCommand) -> anyhow::Result<()> {
    let mut accounts = client.accounts();
    match command {
        PlaybookCommand::Put { account, playbook, on, job, input } => {
            let playbook = pb::Playbook { playbook_id: playbook, on, job_kind: job, input_json: input };
            let shown = show::playbook(&playbook);
            accounts.put_playbook(pb::PutPlaybookRequest { account_id: account, playbook: Some(playbook) }).await?;
            client.out.one(client.json, &shown)
        }
        PlaybookCommand::List { account } => {
            let listed = accounts.list_playbooks(pb::ListPlaybooksRequest { account_id: account }).await?.into_inner();
            let rows: Vec<Value> = listed.playbooks.iter().map(show::playbook).collect();
            client.out.rows(client.json, &rows, &["playbook", "on", "job", "input"])
        }
        PlaybookCommand::Delete { account, playbook } => {
            let request = pb::DeletePlaybookRequest { account_id: account, playbook_id: playbook.clone() };
            accounts.delete_playbook(request).await?;
            client.out.one(client.json, &json!({"playbook": playbook, "state": "deleted"}))
        }
    }
}
