//! Nodes that ask each other over real sockets; consensus and membership are stood in for.

mod blobs;
mod spare;
mod work;
mod world;
