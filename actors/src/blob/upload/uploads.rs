//! The uploads of a node: begins them, finds them, and lets those go whose time is over.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use steward_cluster::clock::Clock;
use steward_cluster::ids::NodeId;
use tokio::time::sleep;

use super::folder::{Description, Folder, Mark};
use super::session::{Session, State, Tools};
use super::{
    Checksum, METADATA_BYTES_MAX, NewUpload, Progress, SWEEP_EVERY, UPLOAD_BYTES_MAX, UPLOAD_LIFE, UPLOADS_OF_NODE_MAX,
    UPLOADS_OPEN_BYTES_MAX, UPLOADS_OPEN_MAX, UploadError, UploadId, WHOLE_KEPT_MAX,
};
use crate::blob::BlobStore;
use crate::domain::account::check_upload;
use crate::domain::ids::AccountId;
use crate::supervisor;

/// The uploads that this node has. Cheap to clone.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    node: NodeId,
    tools: Tools,
    sessions: Mutex<BTreeMap<UploadId, Arc<Session>>>,
    /// One upload begins at a time, so that limits hold.
    beginning: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").field("node", &self.0.node).finish_non_exhaustive()
    }
}

impl Uploads {
    /// Finds what an earlier run left beside the blobs.
    pub fn open(node: NodeId, blobs: BlobStore, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let folder = Folder::open(blobs.uploads())?;
        let session = |(id, description, mark): (UploadId, _, _)| {
            let state = State { description, mark, is_spread: false, is_over: false };
            (id.clone(), Arc::new(Session::new(id, state)))
        };
        let sessions = Mutex::new(folder.list()?.into_iter().map(session).collect());
        let tools = Tools { folder, blobs, clock };
        Ok(Self(Arc::new(Inner { node, tools, sessions, beginning: tokio::sync::Mutex::default() })))
    }

    /// The node they lie on.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Begins an upload.
    pub async fn create(&self, account: &AccountId, new: NewUpload) -> Result<(UploadId, Progress), UploadError> {
        check(&new)?;
        let _one = self.0.beginning.lock().await;
        self.make_room(account, new.bytes).await?;
        let id = UploadId::new(self.0.node);
        let description = Description {
            account: account.clone(),
            bytes: new.bytes,
            expected: new.hash.map(|hash| hash.as_str().to_owned()).unwrap_or_default(),
            content_type: new.content_type,
            name: new.name,
            metadata: new.metadata,
            hash: String::new(),
        };
        let mark = Mark { offset: 0, expires_at: self.0.tools.clock.now().plus(UPLOAD_LIFE) };
        let (folder, name, written) = (self.0.tools.folder.clone(), id.clone(), description.clone());
        let begun = tokio::task::spawn_blocking(move || folder.begin(&name, &written, mark)).await;
        begun.expect("making files does not panic")?;
        let state = State { description, mark, is_spread: false, is_over: false };
        let progress = state.progress();
        self.0.sessions.lock().insert(id.clone(), Arc::new(Session::new(id.clone(), state)));
        Ok((id, progress))
    }

    /// How far it has come. Tries again what failed after its last byte came.
    pub async fn progress(&self, account: &AccountId, id: &UploadId) -> Result<Progress, UploadError> {
        self.append(account, id, None, None, futures_util::stream::empty::<io::Result<Bytes>>()).await
    }

    /// Takes the bytes of one request that begins at `offset`. It goes on when the caller does not wait for it.
    pub async fn append<E: Send + 'static>(
        &self,
        account: &AccountId,
        id: &UploadId,
        offset: impl Into<Option<u64>>,
        checksum: Option<Checksum>,
        body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<Progress, UploadError> {
        let (uploads, session, offset) = (self.clone(), self.find(account, id)?, offset.into());
        let work = async move {
            let mut turn = session.take_turn().await?;
            let tools = &uploads.0.tools;
            let outcome = async {
                if let Some(asked) = offset {
                    let offset = turn.state.mark.offset;
                    if asked != offset {
                        return Err(UploadError::Offset { offset, asked });
                    }
                    if !turn.state.is_complete() {
                        turn.append(tools, &session.id, checksum, body).await?;
                    }
                }
                turn.finish(tools, &session).await?;
                Ok(turn.state.progress())
            };
            let outcome = outcome.await;
            if turn.state.is_over {
                uploads.0.sessions.lock().remove(&session.id);
            }
            outcome
        };
        supervisor::spawn("upload", work).await.expect("an upload does not panic")
    }

    /// Forgets an upload. A blob that came of it stays.
    pub async fn end(&self, account: &AccountId, id: &UploadId) -> Result<(), UploadError> {
        let session = self.find(account, id)?;
        self.remove(&session).await
    }

    /// Lets those go whose time is over.
    pub async fn sweep(&self) -> Result<(), UploadError> {
        let now = self.0.tools.clock.now();
        let sessions: Vec<_> = self.0.sessions.lock().values().cloned().collect();
        let mut swept = Ok(());
        for session in sessions {
            // One that cannot be removed keeps no other.
            if session.look().is_some_and(|state| state.mark.expires_at <= now)
                && let Err(error) = self.remove(&session).await
            {
                swept = Err(error);
            }
        }
        swept
    }

    async fn remove(&self, session: &Session) -> Result<(), UploadError> {
        let mut turn = session.take_turn().await?;
        turn.end(&self.0.tools, &session.id).await?;
        self.0.sessions.lock().remove(&session.id);
        Ok(())
    }

    fn find(&self, account: &AccountId, id: &UploadId) -> Result<Arc<Session>, UploadError> {
        let found = self.0.sessions.lock().get(id).cloned();
        found.filter(|session| session.account == *account).ok_or_else(|| UploadError::absent(id))
    }

    async fn make_room(&self, account: &AccountId, bytes: u64) -> Result<(), UploadError> {
        let sessions: Vec<_> = self.0.sessions.lock().values().cloned().collect();
        let is_whole = |session: &Arc<Session>| session.look().is_some_and(|state| state.is_complete());
        let (whole, open): (Vec<_>, Vec<_>) = sessions.into_iter().partition(is_whole);
        let of_account: Vec<_> = open.iter().filter(|session| session.account == *account).collect();
        if of_account.len() >= UPLOADS_OPEN_MAX {
            return Err(UploadError::limit("open uploads", UPLOADS_OPEN_MAX));
        }
        let said: u64 = of_account.iter().map(|session| session.bytes).sum();
        if said + bytes > UPLOADS_OPEN_BYTES_MAX {
            let max = usize::try_from(UPLOADS_OPEN_BYTES_MAX).unwrap_or(usize::MAX);
            return Err(UploadError::limit("bytes of open uploads", max));
        }
        let kept = whole.iter().filter(|session| session.account == *account);
        // The names of uploads are in the order in which they began.
        if kept.clone().count() >= WHOLE_KEPT_MAX
            && let Some(oldest) = kept.clone().next()
        {
            return self.remove(oldest).await;
        }
        if whole.len() + open.len() >= UPLOADS_OF_NODE_MAX {
            let oldest = whole.first().ok_or(UploadError::NodeFull { max: UPLOADS_OF_NODE_MAX })?;
            return self.remove(oldest).await;
        }
        Ok(())
    }
}

/// Sweeps for ever.
pub async fn sweep_uploads(uploads: Uploads) {
    loop {
        if let Err(error) = uploads.sweep().await {
            let cause: &dyn std::error::Error = &error;
            tracing::warn!(error = cause, "an upload whose time is over could not be removed");
        }
        sleep(SWEEP_EVERY).await;
    }
}

fn check(new: &NewUpload) -> Result<(), UploadError> {
    if new.bytes == 0 || new.bytes > UPLOAD_BYTES_MAX {
        return Err(UploadError::invalid("bytes", format!("must be 1 to {UPLOAD_BYTES_MAX}")));
    }
    if new.metadata.len() > METADATA_BYTES_MAX {
        return Err(UploadError::invalid("metadata", format!("must have at most {METADATA_BYTES_MAX} bytes")));
    }
    Ok(check_upload(&new.content_type, &new.name)?)
}
