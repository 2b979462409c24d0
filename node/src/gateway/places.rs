//! Places for the connections of a port, so that peers who are slow on purpose cannot hold all of them.
//!
//! Both servers seat each connection they accept ([`Places::seat`]) and serve the [`Seated`] stream.
//!
//! # Invariants
//! - **C1 bounded**: no more connections are served than there are places; those that are not spared hold no more bytes
//!   than allowed, but for a little each, and count until they have ended.
//! - **C2 no hostage**: who waits for a place gets that of the connection that has waited longest for its peer, unless all
//!   of them are spared.
//! - **C3 deaf**: a connection whose peer takes nothing of what is sent to it for a while is cut.
//! - **C4 spared**: a connection whose request is whole, or whose caller is known, is not cut for others.
//!
//! # Decisions
//! - A full node cuts rather than lets newcomers wait: ten thousand peers that drip a byte every few seconds would
//!   otherwise keep everybody out for as long as they like. An idle connection that is cut is opened again by its client.
//! - By how long a peer keeps us waiting, not by its address: behind a proxy all of them have one.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use metrics::Counter;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::metrics::{self as named, Listener};

/// Bytes of requests that are not whole yet: of a port, and of a connection that is not worth cutting for them.
const HELD_BYTES_MAX: usize = 16 << 20;
const HELD_BYTES_SMALL: usize = 4 << 10;
/// How long a peer may take nothing of what is sent to it.
const TAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// One of so many is cut at once when there is no place left: looking for them takes a while.
const CUT_SHARE: usize = 128;

/// The places of a port.
pub(crate) struct Places {
    max: usize,
    held_bytes_max: usize,
    take_timeout: Duration,
    permits: Arc<Semaphore>,
    seated: Mutex<HashMap<u64, Arc<Place>>>,
    /// Numbers connections, and their waits, in the order they begin.
    turn: AtomicU64,
    held: AtomicUsize,
    /// Connections that were cut and have not ended yet, and what they hold.
    leaving: AtomicUsize,
    leaving_bytes: AtomicUsize,
    /// Connections that read on when there are bytes free, by their numbers.
    stalled: Mutex<HashMap<u64, Waker>>,
    /// Somebody has no place.
    is_wanted: AtomicBool,
    someone_waits: Notify,
    cut: Counter,
}

/// The place of one connection.
pub(crate) struct Place {
    /// When its wait for the peer began.
    since: AtomicU64,
    is_spared: AtomicBool,
    is_cut: AtomicBool,
    /// Bytes that came since then, and how many they were when it was cut.
    held: AtomicUsize,
    held_when_cut: AtomicUsize,
    serving: AtomicWaker,
}

impl Places {
    /// So many places.
    pub(crate) fn new(max: usize, listener: Listener) -> Arc<Self> {
        Self::with(max, HELD_BYTES_MAX, TAKE_TIMEOUT, named::connections_cut(listener))
    }

    fn with(max: usize, held_bytes_max: usize, take_timeout: Duration, cut: Counter) -> Arc<Self> {
        Arc::new(Self {
            max,
            held_bytes_max,
            take_timeout,
            permits: Arc::new(Semaphore::new(max)),
            seated: Mutex::default(),
            turn: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            leaving_bytes: AtomicUsize::new(0),
            stalled: Mutex::default(),
            is_wanted: AtomicBool::new(false),
            someone_waits: Notify::new(),
            cut,
        })
    }

    /// Gives a connection a place, as soon as there is one.
    pub(crate) async fn seat<S>(self: &Arc<Self>, stream: S) -> Seated<S> {
        let permit = self.permit().await;
        let number = self.next();
        let place = Arc::new(Place {
            since: AtomicU64::new(number),
            is_spared: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            held_when_cut: AtomicUsize::new(0),
            serving: AtomicWaker::new(),
        });
        self.seated.lock().insert(number, Arc::clone(&place));
        let seat = Seat { places: Arc::clone(self), place, number, _permit: permit };
        Seated { stream, seat: Arc::new(seat), opening: None, untaken: None }
    }

    /// Waits until the last connection has ended.
    pub(crate) async fn empty(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        drop(self.permits.acquire_many(all).await);
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return permit;
            }
            self.is_wanted.store(true, Ordering::SeqCst);
            self.make_room();
            let permit = tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit.expect("the semaphore is never closed"),
                () = self.someone_waits.notified() => continue,
            };
            self.is_wanted.store(false, Ordering::SeqCst);
            return permit;
        }
    }

    fn next(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Those that may be cut, the longest wait first.
    fn waiting(&self) -> Vec<Arc<Place>> {
        let seated = self.seated.lock();
        // Waits begin and end meanwhile: what they are sorted by is read once.
        let since = |place: &Arc<Place>| (place.since.load(Ordering::Relaxed), Arc::clone(place));
        let mut waiting: Vec<_> = seated.values().filter(|place| place.may_be_cut()).map(since).collect();
        drop(seated);
        waiting.sort_unstable_by_key(|(since, _)| *since);
        waiting.into_iter().map(|(_, place)| place).collect()
    }

    fn make_room(&self) {
        if self.leaving.load(Ordering::SeqCst) > 0 {
            return; // Their places are enough.
        }
        let share = (self.max / CUT_SHARE).max(1);
        let waiting = self.waiting();
        // One that got something whole meanwhile is not cut.
        waiting.iter().filter(|place| place.may_be_cut()).take(share).for_each(|place| self.cut(place));
    }

    /// Cuts until a quarter of what may be held is free.
    fn relieve(&self) {
        for place in self.waiting() {
            if self.held_by_the_rest() <= self.held_bytes_max / 4 * 3 {
                return;
            }
            if place.may_be_cut() && place.held.load(Ordering::Relaxed) >= HELD_BYTES_SMALL {
                self.cut(&place);
            }
        }
    }

    fn cut(&self, place: &Place) {
        let _no_seat_ends = self.seated.lock();
        if place.is_cut.swap(true, Ordering::SeqCst) {
            return; // Or it has ended meanwhile.
        }
        self.leaving.fetch_add(1, Ordering::SeqCst);
        let held = place.held.load(Ordering::Relaxed);
        place.held_when_cut.store(held, Ordering::Relaxed);
        self.leaving_bytes.fetch_add(held, Ordering::Relaxed);
        place.serving.wake();
        self.cut.increment(1);
    }

    fn let_go(&self, place: &Place) {
        let held = place.held.swap(0, Ordering::Relaxed);
        if held > 0 && self.held.fetch_sub(held, Ordering::Relaxed) > self.held_bytes_max {
            std::mem::take(&mut *self.stalled.lock()).into_values().for_each(Waker::wake);
        }
    }

    fn is_over(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.held_bytes_max
    }

    fn held_by_the_rest(&self) -> usize {
        self.held.load(Ordering::Relaxed).saturating_sub(self.leaving_bytes.load(Ordering::Relaxed))
    }
}

impl Place {
    fn may_be_cut(&self) -> bool {
        !self.is_spared.load(Ordering::SeqCst) && !self.is_cut.load(Ordering::SeqCst)
    }
}

/// A place that is taken; given back when dropped.
pub(crate) struct Seat {
    places: Arc<Places>,
    place: Arc<Place>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// From now on the connection is not cut for others: the node has something in hand for it, or knows who it is.
    pub(crate) fn spare(&self) {
        if !self.place.is_spared.swap(true, Ordering::SeqCst) {
            self.places.let_go(&self.place);
        }
    }

    /// The connection waits for its peer again.
    pub(crate) fn wait(&self) {
        self.places.let_go(&self.place);
        self.place.since.store(self.places.next(), Ordering::Relaxed);
        self.place.is_spared.store(false, Ordering::SeqCst);
        if self.places.is_wanted.load(Ordering::SeqCst) {
            self.places.someone_waits.notify_one();
        }
    }

    fn came(&self, bytes: usize) {
        if !self.place.may_be_cut() {
            return;
        }
        self.place.held.fetch_add(bytes, Ordering::Relaxed);
        self.places.held.fetch_add(bytes, Ordering::Relaxed);
        if self.places.held_by_the_rest() > self.places.held_bytes_max {
            self.places.relieve();
        }
    }

    /// Whether more bytes have to wait until those that were cut have given theirs back.
    fn stalls(&self, cx: &Context<'_>) -> bool {
        let holds_little = || !self.place.may_be_cut() || self.place.held.load(Ordering::Relaxed) < HELD_BYTES_SMALL;
        if !self.places.is_over() || holds_little() {
            return false;
        }
        self.places.stalled.lock().insert(self.number, cx.waker().clone());
        self.places.is_over() // What was given back before the waker was there has woken nobody.
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.let_go(&self.place);
        self.places.stalled.lock().remove(&self.number);
        let mut seated = self.places.seated.lock();
        seated.remove(&self.number);
        if self.place.is_cut.swap(true, Ordering::SeqCst) {
            self.places.leaving.fetch_sub(1, Ordering::SeqCst);
            let held = self.place.held_when_cut.load(Ordering::Relaxed);
            self.places.leaving_bytes.fetch_sub(held, Ordering::Relaxed);
        }
    }
}

/// A connection with its place: it ends with an error when it is cut, or when its peer has not begun in time.
pub(crate) struct Seated<S> {
    stream: S,
    seat: Arc<Seat>,
    opening: Option<Opening>,
    /// Until when the peer has to take something of what is sent to it.
    untaken: Option<Pin<Box<Sleep>>>,
}

/// What a peer still has to send before the connection counts as begun, and until when.
struct Opening {
    bytes: usize,
    until: Pin<Box<Sleep>>,
}

impl<S> Seated<S> {
    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Ends with an error unless so many bytes come within this time.
    #[must_use]
    pub(crate) fn opening_within(self, bytes: usize, limit: Duration) -> Self {
        let until = Box::pin(tokio::time::sleep(limit));
        Self { opening: Some(Opening { bytes, until }), ..self }
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let place = &self.seat.place;
        place.serving.register(cx.waker());
        if place.is_cut.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into()); // Another connection needed the place.
        }
        Ok(())
    }

    fn came(&mut self, bytes: usize) {
        self.seat.came(bytes);
        if let Some(opening) = &mut self.opening {
            opening.bytes = opening.bytes.saturating_sub(bytes);
            if opening.bytes == 0 {
                self.opening = None;
            }
        }
    }
}

impl Seated<TcpStream> {
    /// Waits until something came, or the end. By a look at it: a new connection counts as ready to be read.
    pub(crate) async fn begins(&self) -> io::Result<()> {
        let mut first = [0];
        poll_fn(|cx| {
            self.check(cx)?;
            self.stream.poll_peek(cx, &mut ReadBuf::new(&mut first)).map_ok(drop)
        })
        .await
    }
}

impl<S: AsyncWrite> Seated<S> {
    /// What came of a write; late when nothing does.
    fn taken(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.untaken = None;
            return written;
        }
        let limit = self.seat.places.take_timeout;
        let until = self.untaken.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        until.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Seated<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        if self.seat.stalls(cx) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                self.came(buffer.filled().len() - before);
                Poll::Ready(read)
            }
            Poll::Pending => {
                let late = self.opening.as_mut().is_some_and(|opening| opening.until.as_mut().poll(cx).is_ready());
                if late { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Seated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.taken(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.taken(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
