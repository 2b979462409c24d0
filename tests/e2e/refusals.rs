//! Refusals say which field breaks which rule, in both protocols, with the same code.

use steward_proto::account::v1::{
    CreateAccountRequest, CreateApiKeyRequest, GetAccountRequest, ListAccountsRequest, Playbook, PutPlaybookRequest,
};
use steward_proto::event::v1::ListEventsRequest;
use steward_proto::job::v1::{CreateJobRequest, GetJobRequest, ListJobsRequest, RestartJobRequest};
use steward_proto::webhook::v1::{CreateEndpointRequest, CreateSourceRequest, EndpointExtras};
use steward_tests::harness::{Api, Node, headers};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

/// Checks a status with its details.
#[track_caller]
fn check<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, code: Code, reason: &str) -> Status {
    let status = answer.expect_err("the request is refused");
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("a refusal has a reason");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "steward"), "{status:?}");
    assert!(status.metadata().contains_key("x-request-id"), "{status:?}");
    status
}

/// Checks that a field is named, and that the rule says what it should.
#[track_caller]
fn check_field<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, field: &str, rule: &str) {
    let status = check(answer, Code::InvalidArgument, "invalid_argument");
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("a violation is named").field_violations;
    assert_eq!(violations[0].field, field, "{status:?}");
    assert!(violations[0].description.contains(rule), "{field}: {}", violations[0].description);
}

async fn node_with_acme() -> (Node, Api) {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    (node, api)
}

#[tokio::test]
async fn accounts_and_pages() {
    let (_node, api) = node_with_acme().await;
    let get = |account_id: &str| GetAccountRequest { account_id: account_id.to_owned() };
    let mut accounts = api.accounts();
    check(accounts.get_account(get("nobody")).await, Code::NotFound, "not_found");
    for malformed in ["", "Acme", "-acme", "a b", &"a".repeat(65)] {
        check_field(accounts.get_account(get(malformed)).await, "account_id", "1 to 64 characters");
    }
    let create = CreateAccountRequest { account_id: "acme".into(), ..CreateAccountRequest::default() };
    check(accounts.create_account(create).await, Code::AlreadyExists, "already_exists");
    let long_name = CreateAccountRequest {
        account_id: "other".into(),
        display_name: "x".repeat(201),
        ..CreateAccountRequest::default()
    };
    check_field(accounts.create_account(long_name).await, "display_name", "200");
    let page = |page_size, page_token: &str| ListAccountsRequest { page_size, page_token: page_token.to_owned() };
    check_field(accounts.list_accounts(page(501, "")).await, "page_size", "at most 500");
    check_field(accounts.list_accounts(page(1, "!")).await, "page_token", "next_page_token");
    let role = CreateApiKeyRequest { account_id: "acme".into(), role: 17, ..CreateApiKeyRequest::default() };
    check_field(accounts.create_api_key(role).await, "role", "admin, writer or reader");
    let past =
        CreateApiKeyRequest { account_id: "acme".into(), role: 3, expires_at_ms: 1, ..CreateApiKeyRequest::default() };
    check_field(accounts.create_api_key(past).await, "expires_at_ms", "future");
}

#[tokio::test]
async fn jobs_and_playbooks() {
    let (_node, api) = node_with_acme().await;
    let job = |kind: &str, input: &str| CreateJobRequest {
        account_id: "acme".into(),
        kind: kind.into(),
        input_json: input.into(),
        ..CreateJobRequest::default()
    };
    let mut jobs = api.jobs();
    check_field(jobs.create_job(job("fry", "{}")).await, "kind", "must be one of call, probe");
    check_field(jobs.create_job(job("call", "[]")).await, "input_json", "JSON object");
    check_field(jobs.create_job(job("call", "{")).await, "input_json", "JSON object");
    for (kind, field) in [
        ("call", "input_json.url"),
        ("summarize", "input_json.text"),
        ("search", "input_json.query"),
        ("answer", "input_json.question"),
        ("chat", "input_json.messages"),
        ("embed", "input_json.input"),
    ] {
        check_field(jobs.create_job(job(kind, "{}")).await, field, "must be");
    }
    for kind in ["call", "transcript"] {
        let unknown = job(kind, r#"{"url": "https://a.example/b", "engine": "cloud"}"#);
        check_field(jobs.create_job(unknown).await, "input_json.engine", "must be one of local");
    }
    let long = format!(r#"{{"text": "{}"}}"#, "x".repeat(65 * 1024));
    check_field(jobs.create_job(job("summarize", &long)).await, "input_json", "65536");
    let urgent = CreateJobRequest { priority: 6, ..job("search", r#"{"query": "q"}"#) };
    check_field(jobs.create_job(urgent).await, "priority", "must be 1 to 5");
    let from = RestartJobRequest { account_id: "acme".into(), job_id: "call-9".into(), from_task: "fry".into() };
    check_field(jobs.restart_job(from).await, "from_task", "must be the name of a task");
    let get = GetJobRequest { account_id: "acme".into(), job_id: "call-99".into() };
    check(jobs.get_job(get).await, Code::NotFound, "not_found");
    let list = ListJobsRequest { account_id: "acme".into(), page_size: 501, ..ListJobsRequest::default() };
    check_field(jobs.list_jobs(list).await, "page_size", "at most 500");
    let playbook = |on: &str, job_kind: &str, input: &str| {
        let (playbook_id, on) = ("calls".into(), on.into());
        let playbook = Playbook { playbook_id, on, job_kind: job_kind.into(), input_json: input.into() };
        PutPlaybookRequest { account_id: "acme".into(), playbook: Some(playbook) }
    };
    let mut accounts = api.accounts();
    check_field(accounts.put_playbook(playbook("a..b", "call", "")).await, "playbook.on", "");
    check_field(accounts.put_playbook(playbook("a.*", "fry", "")).await, "playbook.job_kind", "kind of a job");
    check_field(accounts.put_playbook(playbook("a.*", "call", "7")).await, "playbook.input_json", "JSON object");
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_request() {
    let (_node, api) = node_with_acme().await;
    let job = |text: &str| CreateJobRequest {
        account_id: "acme".into(),
        kind: "probe".into(),
        input_json: format!(r#"{{"url": "https://192.0.2.1/{text}"}}"#),
        idempotency_key: "k1".into(),
        ..CreateJobRequest::default()
    };
    let first = api.jobs().create_job(job("a")).await.unwrap().into_inner();
    assert_eq!(api.jobs().create_job(job("a")).await.unwrap().into_inner(), first);
    check(api.jobs().create_job(job("b")).await, Code::FailedPrecondition, "idempotency_key_reused");
    api.cancel_job("acme", &first.job_id).await;
}

#[tokio::test]
async fn events_sources_and_endpoints() {
    let (_node, api) = node_with_acme().await;
    let list = |after_seq, types: &[&str]| ListEventsRequest {
        account_id: "acme".into(),
        after_seq,
        types: types.iter().map(ToString::to_string).collect(),
        page_size: 0,
    };
    check_field(api.events().list_events(list(99, &[])).await, "after_seq", "at most 1");
    check_field(api.events().list_events(list(0, &["a.*", "A"])).await, "types[1]", "must");
    let source = |scheme: &str, secrets: &[&str]| CreateSourceRequest {
        account_id: "acme".into(),
        source_id: "in".into(),
        scheme: scheme.into(),
        secrets: secrets.iter().map(ToString::to_string).collect(),
        tolerance_s: 0,
        public_url: String::new(),
    };
    let mut webhooks = api.webhooks();
    check_field(webhooks.create_source(source("none", &["s"])).await, "scheme", "steward webhook schemes");
    check_field(webhooks.create_source(source("zoom-v0", &[])).await, "secrets", "1 to 4");
    check_field(webhooks.create_source(source("zoom-v0", &["a", ""])).await, "secrets[1]", "form the scheme needs");
    let endpoint = |url: &str, secret: &str| CreateEndpointRequest {
        account_id: "acme".into(),
        endpoint_id: "out".into(),
        url: url.into(),
        patterns: vec![],
        secret: secret.into(),
        ..CreateEndpointRequest::default()
    };
    check_field(webhooks.create_endpoint(endpoint("ftp://a/", "")).await, "url", "http or https URL");
    check_field(webhooks.create_endpoint(endpoint("https://a/", "short")).await, "secret", "whsec_");
    let plain = || endpoint("https://a/", "");
    let filter = CreateEndpointRequest { filter: "data[".into(), ..plain() };
    check_field(webhooks.create_endpoint(filter).await, "filter", "JMESPath");
    let ordering = CreateEndpointRequest { ordering_key: "data".into(), ..plain() };
    check_field(webhooks.create_endpoint(ordering).await, "ordering_key", "JSON pointer");
    let headers = [("Webhook-Id".to_owned(), "x".to_owned())].into();
    let extras = EndpointExtras { headers, credentials: None };
    let extras = CreateEndpointRequest { extras: Some(extras), ..plain() };
    check_field(webhooks.create_endpoint(extras).await, "extras.headers", "webhook-id");
}

#[tokio::test]
async fn http_problems_carry_the_correlation_id() {
    let (node, _api) = node_with_acme().await;
    let bearer = format!("Bearer {}", node.key());
    let ask = async |path: &str, key: &str, id: &str| {
        let mut given = headers(&[("x-request-id", id)]);
        if !key.is_empty() {
            given.push(("authorization".to_owned(), key.to_owned()));
        }
        let reply = node.request("GET", path, &given, b"").await;
        assert_eq!(reply.header("x-request-id"), Some(id));
        reply
    };
    ask("/nothing/here", "", "r-1").await.problem(404, "route_unknown");
    ask("/v1/accounts/acme/events", "", "r-2").await.problem(401, "unauthenticated");
    ask("/v1/accounts/nobody/events", &bearer, "r-3").await.problem(404, "not_found");
    let problem = ask("/v1/accounts/Acme/events", &bearer, "r-4").await.problem(400, "invalid_argument");
    assert_eq!(problem["violations"][0]["field"], "account_id");
    let problem = ask("/v1/accounts/acme/events?limit=501", &bearer, "r-5").await.problem(400, "invalid_argument");
    assert_eq!(problem["violations"][0]["field"], "limit");
    assert_eq!(ask("/v1/accounts/acme/events", &bearer, "r-6").await.status, 200);
    // Without one, the node makes one.
    node.get("/nothing/here").await.problem(404, "route_unknown");
}
