//! A wire that a test can cut, stop or disturb: it stands between a node and its address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::spawn::spawn;

/// What the wire does to the bytes that come back from the server.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Through,
    /// Each connection is cut after so many.
    CutAfter(u64),
    /// Flips a bit in the byte at this place of each connection.
    FlipAt(u64),
    /// Nothing passes, but the connection stays.
    Stalled,
}

pub(super) struct Relay {
    pub(super) address: String,
    pub(super) connections: Arc<AtomicU64>,
    /// Bytes that came back from the server and were passed on.
    pub(super) passed: Arc<AtomicU64>,
    pub(super) mode: watch::Sender<Mode>,
}

impl Relay {
    pub(super) async fn to(server: &str, mode: Mode) -> Self {
        let server: SocketAddr = server.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, modes) = watch::channel(mode);
        let (connections, passed) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (counted, bytes) = (Arc::clone(&connections), Arc::clone(&passed));
        spawn("relay", async move {
            let mut wires = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (modes, bytes) = (modes.clone(), Arc::clone(&bytes));
                wires.spawn(async move {
                    let far = TcpStream::connect(server).await.ok()?;
                    near.set_nodelay(true).ok()?;
                    far.set_nodelay(true).ok()?;
                    wire(near, far, modes, &bytes).await
                });
            }
        });
        Self { address, connections, passed, mode }
    }
}

async fn wire(near: TcpStream, far: TcpStream, mut modes: watch::Receiver<Mode>, bytes: &AtomicU64) -> Option<()> {
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let there = async {
        tokio::io::copy(&mut near_in, &mut far_out).await.ok();
    };
    let back = async {
        let (mut buffer, mut at) = (vec![0; 16 * 1024], 0_u64);
        while let Ok(len @ 1..) = far_in.read(&mut buffer).await {
            let mode = *modes.wait_for(|mode| !matches!(mode, Mode::Stalled)).await.ok()?;
            let mut end = len;
            match mode {
                Mode::Through | Mode::Stalled => {}
                Mode::CutAfter(limit) => end = end.min(usize::try_from(limit - at).unwrap()),
                Mode::FlipAt(place) => {
                    if let Some(byte) =
                        place.checked_sub(at).and_then(|at| buffer[..len].get_mut(usize::try_from(at).unwrap()))
                    {
                        *byte ^= 1;
                    }
                }
            }
            near_out.write_all(&buffer[..end]).await.ok()?;
            at += u64::try_from(end).unwrap();
            bytes.fetch_add(u64::try_from(end).unwrap(), Ordering::SeqCst);
            if end < len {
                return None;
            }
        }
        Some(())
    };
    tokio::select! {
        () = there => Some(()),
        end = back => end,
    }
}
