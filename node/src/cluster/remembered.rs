//! What a node remembers of its cluster in files of the data folder: where other nodes were reached last, which it starts
//! from when etcd is away, and the highest format, which is written back into an etcd that was wiped.

use std::collections::BTreeMap;
use std::sync::Arc;

use steward_cluster::format::Format;
use steward_cluster::ids::NodeId;

use crate::data_dir::DataDir;

const FILE: &str = "peers.json";
const FORMAT_FILE: &str = "format.json";

/// The addresses of all nodes ever seen, by the newest word. A node that is gone stays: it may come back, and its links
/// must not break while others believe so.
pub(crate) struct Remembered {
    addresses: BTreeMap<NodeId, String>,
}

impl Remembered {
    /// What the file says. One that cannot be read is as good as none: etcd tells it again.
    pub(crate) fn load(data_dir: &DataDir) -> Self {
        let text = std::fs::read_to_string(data_dir.join(FILE)).unwrap_or_default();
        let addresses: BTreeMap<u64, String> = serde_json::from_str(&text).unwrap_or_default();
        Self { addresses: addresses.into_iter().map(|(node, address)| (NodeId(node), address)).collect() }
    }

    pub(crate) fn addresses(&self) -> &BTreeMap<NodeId, String> {
        &self.addresses
    }

    /// Takes in what is known now and keeps it; says whether anything is new.
    pub(crate) fn learn(&mut self, data_dir: &DataDir, known: impl Iterator<Item = (NodeId, String)>) -> bool {
        let before = self.addresses.clone();
        self.addresses.extend(known);
        if self.addresses == before {
            return false;
        }
        let by_number: BTreeMap<u64, &String> =
            self.addresses.iter().map(|(node, address)| (node.0, address)).collect();
        let text = serde_json::to_string_pretty(&by_number).expect("numbers and text are JSON");
        if let Err(error) = data_dir.keep(FILE, &text) {
            tracing::warn!(%error, "the addresses of the other nodes are not kept");
        }
        true
    }
}

/// The highest format that was seen in force, by the barriers of the shards here or the word of their leaders.
pub(crate) struct RememberedFormat {
    data_dir: Arc<DataDir>,
    format: Format,
}

impl RememberedFormat {
    pub(crate) fn load(data_dir: Arc<DataDir>) -> Self {
        let format = remembered_format(&data_dir);
        Self { data_dir, format }
    }

    /// Keeps a format that is higher than all before.
    pub(crate) fn learn(&mut self, format: Format) {
        if format <= self.format {
            return;
        }
        let text = serde_json::to_string(&format).expect("a number is JSON");
        match self.data_dir.keep(FORMAT_FILE, &text) {
            Ok(()) => self.format = format,
            Err(error) => tracing::warn!(%error, "the format in force is not kept"),
        }
    }
}

/// The format a folder remembers. Without a file leaders tell it again.
pub(super) fn remembered_format(data_dir: &DataDir) -> Format {
    let text = std::fs::read_to_string(data_dir.join(FORMAT_FILE)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_and_a_missing_node_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let mut remembered = Remembered::load(&data_dir);
        assert!(
            remembered.learn(&data_dir, [(NodeId(1), "a:1".to_owned()), (NodeId(2), "b:1".to_owned())].into_iter())
        );
        assert!(!remembered.learn(&data_dir, [(NodeId(1), "a:1".to_owned())].into_iter()));
        assert!(remembered.learn(&data_dir, [(NodeId(2), "b:2".to_owned())].into_iter()));
        let again = Remembered::load(&data_dir);
        let expected = [(NodeId(1), "a:1".to_owned()), (NodeId(2), "b:2".to_owned())];
        assert_eq!(again.addresses(), &expected.into_iter().collect());
    }
    #[test]
    fn the_highest_format_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = Arc::new(DataDir::open(dir.path()).unwrap());
        let mut remembered = RememberedFormat::load(Arc::clone(&data_dir));
        assert_eq!(remembered_format(&data_dir), Format::FIRST);
        remembered.learn(Format::CHECKS);
        remembered.learn(Format::FIRST);
        assert_eq!(remembered_format(&data_dir), Format::CHECKS);
        assert_eq!(RememberedFormat::load(data_dir).format, Format::CHECKS);
    }
}
