//! Keys, roles and foreign accounts, over the wire.

use steward_proto::account::v1::{
    CreateAccountRequest, GetAccountRequest, ListAccountsRequest, PutPlaybookRequest, RevokeApiKeyRequest, Role,
};
use steward_proto::job::v1::CreateJobRequest;
use steward_proto::job::v1::job_service_client::JobServiceClient;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::harness::{Node, reason, with};

fn get(account: &str) -> GetAccountRequest {
    GetAccountRequest { account_id: account.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_its_account_until_it_is_revoked() {
    let node = Node::start(&[]);
    node.create_account("acme").await;
    node.create_account("other").await;
    let (id, key) = node.create_key("acme", Role::Reader).await;
    let mut accounts = node.accounts().await;
    assert_eq!(accounts.get_account(with(&key, get("acme"))).await.unwrap().into_inner().account.unwrap().last_seq, 2);

    let foreign = accounts.get_account(with(&key, get("other"))).await.unwrap_err();
    let absent = accounts.get_account(with(&key, get("othes"))).await.unwrap_err();
    assert_eq!((foreign.code(), absent.code()), (Code::NotFound, Code::NotFound));
    assert_eq!(foreign.message().replace("other", "othes"), absent.message());

    let listed = accounts.list_accounts(with(&key, ListAccountsRequest::default())).await.unwrap_err();
    assert_eq!((listed.code(), reason(&listed).as_str()), (Code::PermissionDenied, "forbidden"));
    let put = PutPlaybookRequest { account_id: "acme".to_owned(), playbook: None };
    assert_eq!(accounts.put_playbook(with(&key, put)).await.unwrap_err().code(), Code::PermissionDenied);
    let without = accounts.get_account(Request::new(get("acme"))).await.unwrap_err();
    assert_eq!((without.code(), reason(&without).as_str()), (Code::Unauthenticated, "unauthenticated"));

    let revoke = RevokeApiKeyRequest { account_id: "acme".to_owned(), key_id: id };
    accounts.revoke_api_key(with(&node.operator, revoke)).await.unwrap();
    let revoked = accounts.get_account(with(&key, get("acme"))).await.unwrap_err();
    assert_eq!(revoked.code(), Code::Unauthenticated);
    assert!(!node.log().contains(&key), "no key in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_break_a_rule_are_named() {
    let node = Node::start(&[]);
    let mut accounts = node.accounts().await;
    let create = |account: &str| CreateAccountRequest { account_id: account.to_owned(), ..Default::default() };
    let refused = accounts.create_account(with(&node.operator, create("No Id"))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "invalid_argument"));
    let details = refused.get_details_bad_request().unwrap();
    assert_eq!(details.field_violations[0].field, "account_id");
    let page = ListAccountsRequest { page_size: 501, page_token: String::new() };
    let refused = accounts.list_accounts(with(&node.operator, page)).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "page_size");
    let page = ListAccountsRequest { page_size: 0, page_token: "?".to_owned() };
    let refused = accounts.list_accounts(with(&node.operator, page)).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "page_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_gets_the_first_answer_and_no_other_request() {
    let node = Node::start(&[]);
    node.create_account("acme").await;
    let mut jobs = JobServiceClient::new(node.channel().await);
    let create = |query: &str| CreateJobRequest {
        account_id: "acme".to_owned(),
        kind: "search".to_owned(),
        input_json: format!("{{\"query\": \"{query}\"}}"),
        idempotency_key: "once".to_owned(),
        ..CreateJobRequest::default()
    };
    let first = jobs.create_job(with(&node.operator, create("a"))).await.unwrap().into_inner();
    let again = jobs.create_job(with(&node.operator, create("a"))).await.unwrap().into_inner();
    assert_eq!(first, again);
    let other = jobs.create_job(with(&node.operator, create("b"))).await.unwrap_err();
    assert_eq!((other.code(), reason(&other).as_str()), (Code::FailedPrecondition, "idempotency_key_reused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_page_by_page() {
    let node = Node::start(&[]);
    let wanted: Vec<String> = (0..7).map(|n| format!("account-{n}")).collect();
    for account in &wanted {
        node.create_account(account).await;
    }
    let mut accounts = node.accounts().await;
    let (mut found, mut page_token) = (vec![], String::new());
    loop {
        let request = ListAccountsRequest { page_size: 3, page_token };
        let page = accounts.list_accounts(with(&node.operator, request)).await.unwrap().into_inner();
        assert!(page.accounts.len() <= 3);
        found.extend(page.accounts.into_iter().map(|account| account.account_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, wanted, "accounts come by id");
}
