//! Places when they run out: who keeps one, and how much all may hold.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const HELD_MAX: usize = 64 << 10;
const SHORT: Duration = Duration::from_millis(50);

fn places(max: usize) -> Arc<Places> {
    Places::with(max, HELD_MAX, SHORT, Counter::noop())
}

/// A connection with a place, and its peer.
async fn connect(places: &Arc<Places>) -> (Seated<DuplexStream>, DuplexStream) {
    let (here, there) = duplex(HELD_MAX);
    (places.seat(here).await, there)
}

async fn is_cut(seated: &mut Seated<DuplexStream>) -> bool {
    let mut taken = [0];
    match tokio::time::timeout(SHORT, seated.read(&mut taken)).await {
        Ok(Err(error)) => error.kind() == io::ErrorKind::ConnectionAborted,
        Ok(Ok(_)) | Err(_) => false,
    }
}

#[tokio::test]
async fn the_longest_wait_loses_its_place() {
    let places = places(3);
    let [mut first, mut second, mut third] = [connect(&places).await, connect(&places).await, connect(&places).await];
    first.0.seat().spare();
    second.0.seat().spare();
    second.0.seat().wait();
    let seated = tokio::join!(connect(&places), async {
        assert!(is_cut(&mut third.0).await);
        drop(third);
    });
    assert!(!is_cut(&mut first.0).await && !is_cut(&mut second.0).await);
    drop(seated);
}

#[tokio::test]
async fn who_finds_everybody_spared_waits_until_one_waits_for_its_peer() {
    let places = places(1);
    let (mut seated, _peer) = connect(&places).await;
    seated.seat().spare();
    let mut newcomer = Box::pin(connect(&places));
    let too_early = tokio::time::timeout(SHORT, &mut newcomer).await;
    assert!(too_early.is_err() && !is_cut(&mut seated).await);
    seated.seat().wait();
    let placed = tokio::join!(newcomer, async {
        assert!(is_cut(&mut seated).await);
        drop(seated);
    });
    drop(placed);
}

#[tokio::test]
async fn bytes_of_requests_that_are_not_whole_have_a_limit() {
    let places = places(100);
    let mut connections = vec![];
    for _ in 0..9 {
        let (mut seated, mut peer) = connect(&places).await;
        peer.write_all(&[b'x'; 8 << 10]).await.unwrap();
        seated.read_exact(&mut [0; 8 << 10]).await.unwrap();
        connections.push((seated, peer));
    }
    let mut cut = vec![];
    for (seated, _) in &mut connections {
        cut.push(is_cut(seated).await);
    }
    assert_eq!(cut, [true, true, true, false, false, false, false, false, false]);
}

#[tokio::test]
async fn more_bytes_wait_until_those_who_were_cut_have_ended() {
    let places = places(100);
    let mut connections = vec![];
    for _ in 0..9 {
        let (mut seated, mut peer) = connect(&places).await;
        peer.write_all(&[b'x'; 12 << 10]).await.unwrap();
        seated.read_exact(&mut [0; 8 << 10]).await.unwrap();
        connections.push((seated, peer));
    }
    let (mut last, _peer) = connections.pop().unwrap();
    let mut more = [0; 4 << 10];
    assert!(
        tokio::time::timeout(SHORT, last.read(&mut more)).await.is_err(),
        "it reads on beside those it has no room for"
    );
    let (read, ()) = tokio::join!(last.read_exact(&mut more), async { drop(connections.drain(..3)) }); // Those that were cut.
    assert_eq!(read.unwrap(), more.len());
}

#[tokio::test]
async fn one_that_ended_is_not_cut_any_more() {
    let places = places(1);
    let seated = connect(&places).await;
    let ended = places.waiting();
    drop(seated);
    places.cut(&ended[0]);
    assert_eq!(places.leaving.load(Ordering::SeqCst), 0, "nobody would be cut from now on");
    let _seated = connect(&places).await;
    assert!(tokio::time::timeout(SHORT * 20, connect(&places)).await.is_err(), "nobody serves the first");
    assert_eq!(places.leaving.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_begin_is_cut() {
    let (seated, mut peer) = connect(&places(1)).await;
    let mut seated = seated.opening_within(3, SHORT);
    peer.write_all(b"ab").await.unwrap();
    seated.read_exact(&mut [0; 2]).await.unwrap();
    assert_eq!(seated.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut() {
    let (mut seated, mut peer) = connect(&places(1)).await;
    seated.write_all(&[0; HELD_MAX]).await.unwrap();
    peer.read_exact(&mut [0; 4]).await.unwrap();
    seated.write_all(&[0; 4]).await.unwrap();
    assert_eq!(seated.write_all(&[0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}
