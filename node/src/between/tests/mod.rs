//! Nodes that ask each other over real sockets; consensus and membership are stood in for.

mod blobs;
mod work;
mod world;
