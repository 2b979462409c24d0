//! What the leader of an account does about its uploads: knows who asks, begins them, and makes whole ones the account's.

use ::http::header::{CACHE_CONTROL, LOCATION};
use ::http::request::Parts;
use ::http::{HeaderValue, Method, StatusCode};
use steward_actors::blob::{Progress, UploadId};
use steward_actors::domain::account::{BlobUploaded, Command, Idempotency, Rejection};
use steward_actors::domain::ids::AccountId;
use steward_cluster::format::Format;

use super::{pass, path_of, tus};
use crate::gateway::Gateway;
use crate::gateway::auth::AccountWriter;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::forward::Body;
use crate::gateway::http::reply::{JSON, Reply, whole};

pub(super) async fn answer(
    gateway: &Gateway,
    head: Parts,
    body: Body,
    correlation: &CorrelationId,
) -> Result<Reply, Refused> {
    let caller = gateway.auth.authenticate(&head.headers)?;
    let path = head.uri.path().to_owned();
    let (account, upload) =
        path_of(&path).ok_or_else(|| Refused::new(Code::RouteUnknown, "nothing is at this path"))?;
    let writer = caller.account_writer(&gateway.auth, account)?;
    if upload.is_empty() {
        return match head.method {
            Method::POST => create(gateway, &writer, &head).await,
            _ => Err(Refused::new(Code::MethodNotAllowed, "this path answers to POST and OPTIONS")),
        };
    }
    let id = UploadId::parse(upload).ok_or_else(|| Refused::absent("upload", upload))?;
    let method = head.method.clone();
    if ![Method::HEAD, Method::PATCH, Method::DELETE].contains(&method) {
        return Err(Refused::new(Code::MethodNotAllowed, "this path answers to HEAD, PATCH, DELETE and OPTIONS"));
    }
    let progress = if id.node() == gateway.uploads.node() {
        pass::work(gateway, writer.account(), &id, &head, body).await?
    } else {
        pass::to_holder(gateway, &id, head, body, correlation).await?
    };
    let Some(progress) = progress else { return Ok(whole(StatusCode::NO_CONTENT, JSON, "")) };
    if let Some(uploaded) = &progress.whole {
        record(gateway, &writer, &id, uploaded.clone(), correlation).await?;
    }
    Ok(told(&method, &progress))
}

fn told(method: &Method, progress: &Progress) -> Reply {
    let status = if *method == Method::HEAD { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let mut reply = whole(status, JSON, "");
    tus::put_progress(reply.headers_mut(), progress);
    if *method == Method::HEAD {
        tus::put_metadata(reply.headers_mut(), &progress.metadata);
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    reply
}

async fn create(gateway: &Gateway, writer: &AccountWriter, head: &Parts) -> Result<Reply, Refused> {
    let new = tus::new_upload(&head.headers)?;
    check_format(gateway, writer.account())?;
    let (id, progress) = gateway.uploads.create(writer.account(), new).await?;
    let mut reply = whole(StatusCode::CREATED, JSON, "");
    let location = format!("/v1/accounts/{}/uploads/{id}", writer.account());
    reply.headers_mut().insert(LOCATION, HeaderValue::from_str(&location).expect("ids are visible ASCII"));
    tus::put_progress(reply.headers_mut(), &progress);
    Ok(reply)
}

/// The event at the end would be refused: better now than after all the bytes.
fn check_format(gateway: &Gateway, account: &AccountId) -> Result<(), Refused> {
    let shard = gateway.router.shard_of(account);
    let row = gateway.router.shards().into_iter().find(|row| row.shard == shard);
    if row.is_some_and(|row| row.format >= Format::WORK) {
        return Ok(());
    }
    Err(Rejection::NotYet { format: Format::WORK.0 }.into())
}

/// Under the upload's name, so that it happens once however often it is asked for.
async fn record(
    gateway: &Gateway,
    writer: &AccountWriter,
    id: &UploadId,
    uploaded: BlobUploaded,
    correlation: &CorrelationId,
) -> Result<(), Refused> {
    let idempotency = Idempotency { key: format!("upload:{id}"), fingerprint: 0 };
    let command = Command::RecordUpload(uploaded);
    gateway.router.execute(writer, command, correlation, Some(idempotency)).await?;
    Ok(())
}
