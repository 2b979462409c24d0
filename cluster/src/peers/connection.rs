//! One connection of the internal port, with or without TLS, and who is at its other end. Accepted and dialed here.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::either::Either;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::directory::Peers;
use super::identity;
use super::link::Refusal;
use super::metrics;
use super::tls::Tls;
use crate::ids::NodeId;

/// Connections of other nodes at the same time; each node has three here.
const CONNECTIONS_MAX: usize = 1024;
/// Handshakes at the same time, and how long one may take.
const HANDSHAKES_MAX: usize = 64;
const HANDSHAKE_MAX: Duration = Duration::from_secs(2);
/// How long accepting rests when the process has no descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// The bytes of a connection.
pub(super) type Transport = Either<TcpStream, TlsStream<TcpStream>>;

/// Who is at the other end, in the extensions of every request on the internal port.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The node its certificate was issued to; unknown without TLS.
    pub node: Option<NodeId>,
    /// Where it called from.
    pub address: SocketAddr,
}

/// An accepted connection and its place among those allowed.
pub(super) struct Connection {
    transport: Transport,
    caller: Caller,
    /// Comes when the node at the other end is no member any more.
    gone: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _permit: OwnedSemaphorePermit,
}

/// Connections whose handshake succeeded, as they come; those beyond the limit wait in the kernel's queue. A certificate
/// outlives the membership of its node: who is no member is not let in, and a connection ends with it.
pub(super) fn incoming(listener: TcpListener, peers: Peers) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accepted = stream::unfold((listener, places), |(listener, places)| async move {
        let permit = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, address) = accept(&listener).await;
        Some(((stream, address, permit), (listener, places)))
    });
    let greeted = accepted.map(move |(stream, address, permit)| {
        let peers = peers.clone();
        async move {
            let greeted = timeout(HANDSHAKE_MAX, greet(stream, peers.cluster(), peers.tls().as_deref())).await;
            let known = greeted.map_err(io::Error::from).flatten().and_then(|(transport, node)| {
                let gone = node.map(|node| gone(&peers, node)).transpose()?;
                Ok(Connection { transport, caller: Caller { node, address }, gone, _permit: permit })
            });
            known.map_or_else(|error| refused(address, &error), |connection| Some(Ok(connection)))
        }
    });
    greeted.buffer_unordered(HANDSHAKES_MAX).filter_map(std::future::ready)
}

/// When a member is none any more.
fn gone(peers: &Peers, node: NodeId) -> io::Result<Pin<Box<WaitForCancellationFutureOwned>>> {
    let stranger = || io::Error::new(io::ErrorKind::PermissionDenied, Refusal::Stranger(node));
    Ok(Box::pin(peers.peer(node).ok_or_else(stranger)?.gone.clone().cancelled_owned()))
}

fn refused(address: SocketAddr, error: &io::Error) -> Option<io::Result<Connection>> {
    tracing::warn!(%address, %error, "a connection of a node was refused");
    metrics::refused();
    None
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a node's connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// The server's side of a handshake.
async fn greet(stream: TcpStream, cluster: &str, tls: Option<&Tls>) -> io::Result<(Transport, Option<NodeId>)> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok((Either::Left(stream), None)) };
    let stream = TlsAcceptor::from(tls.current().server).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let node = shown.ok_or(identity::IdentityError::Unreadable).and_then(|shown| identity::node_of(cluster, shown));
    let node = node.map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?;
    Ok((Either::Right(stream.into()), Some(node)))
}

/// Calls a node. With TLS whoever answers has a certificate with that name.
pub(super) async fn dial(address: String, name: String, tls: Option<Arc<Tls>>) -> io::Result<Transport> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Either::Left(stream)) };
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls.current().client).connect(name, stream).await?;
    Ok(Either::Right(stream.into()))
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.gone.as_mut().is_some_and(|gone| gone.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.transport).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}
