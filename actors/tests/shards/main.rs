//! Shards over a real log and store in temporary folders.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod blobs;
#[cfg(test)]
mod divergence;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod log_feed;
#[cfg(test)]
mod upkeep;
#[cfg(test)]
mod work;
