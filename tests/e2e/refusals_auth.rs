//! Who may do what: no key, wrong keys, roles, and accounts that are none of the caller's business.

use std::time::Duration;

use steward_proto::account::v1::{
    CreateAccountRequest, CreateApiKeyRequest, GetAccountRequest, ListAccountsRequest, ListApiKeysRequest,
    RevokeApiKeyRequest, Role,
};
use steward_proto::admin::v1::GetNodeRequest;
use steward_proto::event::v1::{AckConsumerRequest, ListEventsRequest};
use steward_proto::webhook::v1::ListSourcesRequest;
use steward_tests::harness::{Api, Node, eventually, headers, now_ms};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A revoked key is dead this soon.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

async fn get_account(api: &Api, account: &str) -> Result<(), Status> {
    let request = GetAccountRequest { account_id: account.to_owned() };
    api.accounts().get_account(request).await.map(drop)
}

async fn create_key(api: &Api, account: &str) -> Result<(), Status> {
    let request = CreateApiKeyRequest { account_id: account.into(), role: Role::Reader.into(), ..Default::default() };
    api.accounts().create_api_key(request).await.map(drop)
}

async fn ack(api: &Api, account: &str) -> Result<(), Status> {
    let request = AckConsumerRequest { account_id: account.into(), consumer: "c".into(), seq: 1 };
    api.events().ack_consumer(request).await.map(drop)
}

#[track_caller]
fn code(answer: Result<(), Status>) -> Code {
    answer.map_or_else(|status| status.code(), |()| Code::Ok)
}

#[tokio::test]
async fn no_key_and_wrong_keys_open_nothing() {
    let node = Node::start();
    let operator = node.api().await;
    operator.create_account("acme").await;
    let (_, key) = operator.create_key("acme", Role::Admin, 0).await;
    let other_operator = format!("stw_operator.{}", "0".repeat(64));
    let tampered = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    let renamed = key.replace("stw_acme.", "stw_other.");
    for wrong in ["", "garbage", "stw_", &other_operator, &tampered, &renamed] {
        let api = node.api_as(wrong).await;
        let status = get_account(&api, "acme").await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{wrong}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "unauthenticated", "{wrong}");
        assert_eq!(code(get_account(&api, "nobody").await), Code::Unauthenticated, "{wrong}");
    }
    for (name, value) in [("authorization", "Basic c3R3Og=="), ("x-api-key", key.as_str())] {
        let answer = node.request("GET", "/v1/accounts/acme/events", &headers(&[(name, value)]), b"").await;
        answer.problem(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test]
async fn each_role_may_do_its_own_and_no_more() {
    let node = Node::start();
    let operator = node.api().await;
    operator.create_account("acme").await;
    // What it may: read, write, make keys, and what is the operator's alone.
    for (role, read, write, keys) in [
        (Role::Reader, Code::Ok, Code::PermissionDenied, Code::PermissionDenied),
        (Role::Writer, Code::Ok, Code::Ok, Code::PermissionDenied),
        (Role::Admin, Code::Ok, Code::Ok, Code::Ok),
    ] {
        let (_, key) = operator.create_key("acme", role, 0).await;
        let api = node.api_as(&key).await;
        assert_eq!(code(get_account(&api, "acme").await), read, "{role:?} reads");
        assert_eq!(code(ack(&api, "acme").await), write, "{role:?} writes");
        assert_eq!(code(create_key(&api, "acme").await), keys, "{role:?} makes keys");
        let listed = api.accounts().list_api_keys(ListApiKeysRequest { account_id: "acme".into() }).await;
        assert_eq!(code(listed.map(drop)), keys, "{role:?} lists keys");
        let create = CreateAccountRequest { account_id: "other".into(), ..CreateAccountRequest::default() };
        let only_operator = [
            code(api.accounts().create_account(create).await.map(drop)),
            code(api.accounts().list_accounts(ListAccountsRequest::default()).await.map(drop)),
            code(api.admin().get_node(GetNodeRequest {}).await.map(drop)),
        ];
        assert_eq!(only_operator, [Code::PermissionDenied; 3], "{role:?}");
    }
}

#[tokio::test]
async fn a_foreign_account_answers_like_an_absent_one() {
    let node = Node::start();
    let operator = node.api().await;
    operator.create_account("acme").await;
    operator.create_account("other").await;
    let (_, key) = operator.create_key("acme", Role::Admin, 0).await;
    let api = node.api_as(&key).await;
    let answers = async |account: &str| {
        let list = ListEventsRequest { account_id: account.into(), ..ListEventsRequest::default() };
        let statuses = [
            get_account(&api, account).await.unwrap_err(),
            ack(&api, account).await.unwrap_err(),
            create_key(&api, account).await.unwrap_err(),
            api.events().list_events(list).await.map(drop).unwrap_err(),
            api.webhooks().list_sources(ListSourcesRequest { account_id: account.into() }).await.map(drop).unwrap_err(),
        ];
        statuses.map(|status| (status.code(), status.message().replace(account, "…")))
    };
    let foreign = answers("other").await;
    assert_eq!(foreign, answers("absent").await);
    assert!(foreign.iter().all(|(code, _)| *code == Code::NotFound), "{foreign:?}");
    let bearer = format!("Bearer {key}");
    for account in ["other", "absent"] {
        let path = format!("/v1/accounts/{account}/events");
        node.request("GET", &path, &headers(&[("authorization", &bearer)]), b"").await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_revoked_key_is_dead_at_once_and_an_expired_one_in_time() {
    let mut node = Node::start();
    let operator = node.api().await;
    operator.create_account("acme").await;
    let (key_id, key) = operator.create_key("acme", Role::Reader, 0).await;
    let expires_at_ms = now_ms() + 1_500;
    let (_, mortal_key) = operator.create_key("acme", Role::Reader, expires_at_ms).await;
    let (api, mortal) = (node.api_as(&key).await, node.api_as(&mortal_key).await);
    assert_eq!(code(get_account(&api, "acme").await), Code::Ok);
    assert_eq!(code(get_account(&mortal, "acme").await), Code::Ok);

    let revoke = RevokeApiKeyRequest { account_id: "acme".into(), key_id };
    operator.accounts().revoke_api_key(revoke).await.unwrap();
    let dead = async |api: &Api| (code(get_account(api, "acme").await) == Code::Unauthenticated).then_some(());
    eventually(REVOKED_WITHIN, "the revoked key to be refused", async || dead(&api).await).await;
    eventually(Duration::from_secs(5), "the key to expire", async || dead(&mortal).await).await;
    assert!(now_ms() >= expires_at_ms, "the key died before its time");

    node.kill();
    node.restart();
    for key in [&key, &mortal_key] {
        let api = node.api_as(key).await;
        assert_eq!(code(get_account(&api, "acme").await), Code::Unauthenticated, "still dead after a restart");
    }
}
