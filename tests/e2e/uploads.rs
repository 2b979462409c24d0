//! Files that clients bring, over tus and gRPC, and links to them.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use serde_json::{Value, json};
use steward_proto::account::v1::Role;
use steward_proto::blob::v1::upload_blob_request::Part;
use steward_proto::blob::v1::{
    CreateBlobLinkRequest, CreateUploadRequest, GetUploadRequest, UploadBegin, UploadBlobRequest,
};
use steward_proto::job::v1::JobState;
use steward_tests::harness::{Api, Headers, Http, Node, Reply, WAIT_MAX, data, eventually, headers};
use tonic::Code;

use crate::pipeline::recording;

const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

fn with_key(key: &str, pairs: &[(&str, &str)]) -> Headers {
    let key = format!("Bearer {key}");
    headers(&[&[("authorization", key.as_str()), ("tus-resumable", "1.0.0")], pairs].concat())
}

/// Begins an upload; its path comes back. A node that is new raises the formats of its shards by itself, in a moment.
async fn begin(node: &Node, account: &str, pairs: &[(&str, &str)]) -> Reply {
    let path = format!("/v1/accounts/{account}/uploads");
    let begun = async || {
        let reply = node.post(&path, &with_key(node.key(), pairs), b"").await;
        (!reply.text().contains("needs format")).then_some(reply)
    };
    eventually(WAIT_MAX, "the formats to be raised", begun).await
}

/// An upload of so many bytes.
pub(crate) async fn upload(node: &Node, account: &str, bytes: usize) -> String {
    let reply = begin(node, account, &[("upload-length", &bytes.to_string())]).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.header("location").expect("it says where it is").to_owned()
}

pub(crate) async fn patch(node: &Node, path: &str, offset: usize, bytes: &[u8]) -> Reply {
    let pairs = [("content-type", OFFSET_OCTET_STREAM), ("upload-offset", &offset.to_string())];
    node.request("PATCH", path, &with_key(node.key(), &pairs), bytes).await
}

pub(crate) async fn head(node: &Node, path: &str) -> Reply {
    node.request("HEAD", path, &with_key(node.key(), &[]), b"").await
}

fn number(reply: &Reply, name: &str) -> usize {
    reply.header(name).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name}: {reply:?}"))
}

pub(crate) async fn bring(node: &Node, account: &str, bytes: &[u8]) -> String {
    let path = upload(node, account, bytes.len()).await;
    let reply = patch(node, &path, 0, bytes).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    reply.header("upload-blob").expect("it is whole").to_owned()
}

pub(crate) async fn ended(api: &Api, account: &str, job: &str) -> steward_proto::job::v1::Job {
    let ended = async || Some(api.job(account, job).await).filter(|job| job.state() != JobState::Running);
    eventually(WAIT_MAX, "the job to end", ended).await
}

#[tokio::test]
async fn a_file_goes_on_after_a_kill_and_jobs_of_its_account_work_on_it() {
    let mut node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    api.create_account("other").await;
    let bytes = fs::read(recording("meeting_360p_25s.mp4")).expect("the recording is there");
    let path = upload(&node, "acme", bytes.len()).await;
    let half = bytes.len() / 2;
    assert_eq!(number(&patch(&node, &path, 0, &bytes[..half]).await, "upload-offset"), half);

    // A second request is on its way when the node dies; what was told before counts.
    let mut http = Http::connect(node.http()).await.unwrap();
    let (length, offset) = ((bytes.len() - half).to_string(), half.to_string());
    let pairs = [
        ("content-type", OFFSET_OCTET_STREAM),
        ("upload-offset", offset.as_str()),
        ("content-length", length.as_str()),
    ];
    http.send_head("PATCH", &path, &with_key(node.key(), &pairs)).await.unwrap();
    http.send_raw(&bytes[half..half + 1_000]).await.unwrap();
    node.kill();
    node.restart();
    let api = node.api().await;
    let asked = head(&node, &path).await;
    assert_eq!((asked.status, number(&asked, "upload-length")), (200, bytes.len()));
    let offset = number(&asked, "upload-offset");
    assert!((half..=half + 1_000).contains(&offset), "{offset}");
    let whole = patch(&node, &path, offset, &bytes[offset..]).await;
    assert_eq!((whole.status, number(&whole, "upload-offset")), (204, bytes.len()));
    let hash = blake3::hash(&bytes).to_hex().to_string();
    assert_eq!(whole.header("upload-blob"), Some(hash.as_str()));

    // An answer that was lost is given again, and it happened once.
    for again in [patch(&node, &path, bytes.len(), b"").await, head(&node, &path).await] {
        assert_eq!(again.header("upload-blob"), Some(hash.as_str()), "{again:?}");
    }
    let uploaded = api.feed_of("acme", "blob.uploaded").await;
    assert_eq!(uploaded.iter().map(data).collect::<Vec<_>>().len(), 1);
    assert_eq!(data(&uploaded[0])["blob"], hash.as_str());
    assert_eq!(api.blob("acme", &hash).await, bytes);

    let job = api.create_job("acme", "probe", &json!({"blob": hash})).await;
    let probed = ended(&api, "acme", &job).await;
    assert_eq!(probed.state(), JobState::Succeeded, "{probed:?}");
    let job = api.create_job("other", "probe", &json!({"blob": hash})).await;
    let refused = ended(&api, "other", &job).await;
    assert_eq!(refused.state(), JobState::Failed, "a hash that leaked opens nothing: {refused:?}");
}

#[tokio::test]
async fn what_is_not_as_was_said_is_refused() {
    let node = Node::start();
    let api = node.api().await;
    for account in ["acme", "other"] {
        api.create_account(account).await;
    }
    let path = upload(&node, "acme", 5).await;
    let (_, reader) = api.create_key("acme", Role::Reader, 0).await;
    let (_, other) = api.create_key("other", Role::Admin, 0).await;
    let piece = [("content-type", OFFSET_OCTET_STREAM), ("upload-offset", "0")];
    let asked =
        async |key: &str, pairs: &[(&str, &str)]| node.request("PATCH", &path, &with_key(key, pairs), b"he").await;
    asked(&reader, &piece).await.problem(403, "forbidden");
    asked(&other, &piece).await.problem(404, "not_found");
    asked("stw_operator.00", &piece).await.problem(401, "unauthenticated");
    asked(node.key(), &[("content-type", "text/plain"), ("upload-offset", "0")])
        .await
        .problem(415, "unsupported_encoding");
    asked(node.key(), &[("content-type", OFFSET_OCTET_STREAM)]).await.problem(400, "invalid_argument");
    patch(&node, &path, 1, b"he").await.problem(409, "upload_offset");
    patch(&node, &path, 0, b"hello!").await.problem(413, "body_too_large");
    let sum = [piece[0], piece[1], ("upload-checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")];
    assert_eq!(asked(node.key(), &sum).await.status, 460);
    assert_eq!(number(&head(&node, &path).await, "upload-offset"), 0, "nothing of it counts");
    let plain =
        node.request("HEAD", &path, &headers(&[("authorization", &format!("Bearer {}", node.key()))]), b"").await;
    assert_eq!((plain.status, plain.header("tus-version")), (412, Some("1.0.0")));
    let elsewhere = path.replace("acme", "other");
    assert_eq!(head(&node, &elsewhere).await.status, 404, "it is of another account");

    let hash = STANDARD.encode(blake3::hash(b"hello").to_hex().as_str());
    let said = format!("filename YQ==,hash {hash}");
    let begun = begin(&node, "acme", &[("upload-length", "5"), ("upload-metadata", &said)]).await;
    let wrong = begun.header("location").expect("it says where it is").to_owned();
    assert_eq!(head(&node, &wrong).await.header("upload-metadata"), Some(said.as_str()));
    let refused = patch(&node, &wrong, 0, b"hullo").await;
    assert_eq!((refused.status, &refused.json()["code"]), (460, &json!("checksum_mismatch")), "{}", refused.text());
    assert_eq!(head(&node, &wrong).await.status, 404, "nothing is left of it");
    assert_eq!(api.feed_of("acme", "blob.uploaded").await, []);

    for length in ["0", "8589934593"] {
        begin(&node, "acme", &[("upload-length", length)]).await.problem(400, "invalid_argument");
    }
    let gone = node.request("DELETE", &path, &with_key(node.key(), &[]), b"").await;
    assert_eq!((gone.status, head(&node, &path).await.status), (204, 404));
    let left = fs::read_dir(node.data_dir().join("blobs/uploads")).unwrap().count();
    assert_eq!(left, 0, "files of uploads are left");
    let told = node.request("OPTIONS", "/v1/accounts/acme/uploads", &Headers::new(), b"").await;
    assert_eq!((told.status, told.header("tus-extension")), (204, Some("creation,checksum,termination,expiration")));
}

/// What a link says when it is asked for.
async fn link(api: &Api, hash: &str, ttl_s: u32) -> Result<String, tonic::Status> {
    let request = CreateBlobLinkRequest { account_id: "acme".to_owned(), hash: hash.to_owned(), ttl_s };
    Ok(api.blobs().create_blob_link(request).await?.into_inner().path)
}

#[tokio::test]
async fn a_link_opens_one_blob_until_its_time_is_over() {
    let mut node = Node::start();
    let api = node.api().await;
    for account in ["acme", "other"] {
        api.create_account(account).await;
    }
    let hash = bring(&node, "acme", b"0123456789").await;
    let of_other = bring(&node, "other", b"abc").await;
    let absent = link(&api, &of_other, 60).await.expect_err("it is of another account");
    assert_eq!(absent.code(), Code::NotFound, "{absent}");
    for ttl_s in [0, 7 * 24 * 3_600 + 1] {
        assert_eq!(link(&api, &hash, ttl_s).await.expect_err("it is no time").code(), Code::InvalidArgument);
    }
    let short = link(&api, &hash, 1).await.unwrap();
    let path = link(&api, &hash, 600).await.unwrap();
    node.kill();
    node.restart();
    let get = async |pairs: &[(&str, &str)]| node.request("GET", &path, &headers(pairs), b"").await;
    assert_eq!(get(&[]).await.text(), "0123456789", "it holds after a restart");
    let part = get(&[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let beyond = get(&[("range", "bytes=10-")]).await;
    beyond.problem(416, "range_unsatisfiable");
    assert_eq!(beyond.header("content-range"), Some("bytes */10"));
    assert_eq!(get(&[("range", "bytes=2-4"), ("if-range", "\"x\"")]).await.status, 200);
    let head = node.request("HEAD", &path, &Headers::new(), b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert_eq!(head.header("etag"), Some(format!("\"{hash}\"").as_str()));

    let (before, signature) = path.split_once("signature=").unwrap();
    let other_digit = if signature.starts_with('0') { "1" } else { "0" };
    for wrong in [
        format!("{before}signature={other_digit}{}", &signature[1..]),
        format!("{before}signature={}", &signature[2..]),
        format!("{before}signature=zz"),
        before.trim_end_matches('&').to_owned(),
        path.replace("acme", "other"),
        path.replace(&hash, &of_other),
        path.replace("expires=", "expires=1"),
        path.replace("expires=", "expires=0"),
    ] {
        node.get(&wrong).await.problem(403, "link_invalid");
    }
    let over = async || Some(node.get(&short).await).filter(|reply| reply.status != 200);
    eventually(WAIT_MAX, "the link's time to be over", over).await.problem(403, "link_expired");
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_and_ctl_brings_files() {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    upload(&node, "acme", 1).await; // The formats are raised.
    let (account_id, bytes) = ("acme".to_owned(), 5);
    let asked =
        CreateUploadRequest { account_id: account_id.clone(), bytes, name: "ü".to_owned(), ..Default::default() };
    let upload_id = api.blobs().create_upload(asked.clone()).await.unwrap().into_inner().upload_id;
    let send = async |offset: u64, chunks: &[&str]| {
        let begin = UploadBegin { account_id: account_id.clone(), upload_id: upload_id.clone(), offset };
        let chunks = chunks.iter().map(|chunk| Part::Chunk(chunk.as_bytes().to_vec()));
        let parts: Vec<_> = [Part::Begin(begin)].into_iter().chain(chunks).collect();
        let messages = stream::iter(parts.into_iter().map(|part| UploadBlobRequest { part: Some(part) }));
        api.blobs().upload_blob(messages).await.map(tonic::Response::into_inner)
    };
    let first = send(0, &["h", "el"]).await.unwrap();
    assert_eq!((first.offset, first.hash.as_str()), (3, ""));
    let refused = send(0, &["h"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let get = GetUploadRequest { account_id: account_id.clone(), upload_id: upload_id.clone() };
    assert_eq!(api.blobs().get_upload(get.clone()).await.unwrap().into_inner().offset, 3);
    let whole = send(3, &["lo"]).await.unwrap();
    let hash = blake3::hash(b"hello").to_hex().to_string();
    assert_eq!((whole.offset, &whole.hash), (5, &hash));
    assert_eq!(api.blobs().get_upload(get).await.unwrap().into_inner().hash, hash);
    assert_eq!(data(&api.feed_of("acme", "blob.uploaded").await[0])["name"], "ü");
    let unknown = CreateUploadRequest { account_id: "nobody".to_owned(), ..asked };
    assert_eq!(api.blobs().create_upload(unknown).await.unwrap_err().code(), Code::NotFound);

    let file = recording("meeting_360p_25s.mp4");
    let put = node.ctl_json(&["blob", "put", "acme", file.to_str().unwrap(), "--content-type", "video/mp4"]);
    let bytes = fs::read(&file).unwrap();
    assert_eq!(put, json!({"blob": blake3::hash(&bytes).to_hex().as_str(), "bytes": bytes.len()}));
    let made: Value = node.ctl_json(&["blob", "link", "acme", put["blob"].as_str().unwrap(), "--ttl", "1m"]);
    assert_eq!(node.get(made["path"].as_str().unwrap()).await.body, bytes);
}
