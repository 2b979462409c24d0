//! What every disk must do, checked on each of them; and what only the folder or only the memory can do.

use std::io::ErrorKind;
use std::sync::Arc;

use steward_cluster::log::disk::{Disk, FolderDisk, MemoryDisk};

fn conforms(disk: &dyn Disk) {
    assert!(disk.list().unwrap().is_empty());
    let mut file = disk.create("a").unwrap();
    file.write(0, b"one").unwrap();
    file.write(3, b" two").unwrap();
    file.sync().unwrap();
    assert!(disk.create("a").is_err(), "a name is taken once");
    assert_eq!(disk.len("a").unwrap(), 7);
    assert_eq!(disk.read("a", 4, 3).unwrap(), b"two");
    assert!(disk.read("a", 4, 4).is_err(), "a read beyond the end fails whole");
    drop(file);

    let mut file = disk.open("a").unwrap();
    file.write(4, b"2").unwrap();
    assert_eq!(disk.read("a", 0, 7).unwrap(), b"one 2wo");
    file.cut(3).unwrap();
    assert_eq!(disk.len("a").unwrap(), 3);
    file.write(3, b"!").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read("a", 0, 4).unwrap(), b"one!");

    disk.rename("a", "c").unwrap();
    assert_eq!(disk.read("c", 0, 4).unwrap(), b"one!");
    file.write(0, b"?").unwrap();
    assert_eq!(disk.read("c", 0, 1).unwrap(), b"?", "an open file keeps its handle under another name");
    assert_eq!(disk.read("a", 0, 1).err().unwrap().kind(), ErrorKind::NotFound, "and the one before reads nothing");
    disk.rename("c", "a").unwrap();

    drop(disk.create("b").unwrap());
    disk.sync_dir().unwrap();
    let mut names = disk.list().unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    disk.remove("a").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.list().unwrap(), ["b"]);
    let (read, renamed) = (disk.read("a", 0, 1).err(), disk.rename("a", "d").err());
    for missing in [read, renamed, disk.len("a").err(), disk.remove("a").err(), disk.open("a").err()] {
        assert_eq!(missing.unwrap().kind(), ErrorKind::NotFound);
    }
    assert!(disk.free_bytes().unwrap() > 0);
}

#[test]
fn the_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(&FolderDisk::open(&folder.path().join("new/log")).unwrap());
}

#[test]
fn the_memory_conforms() {
    conforms(&MemoryDisk::new());
}

#[test]
fn a_folder_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let held = FolderDisk::open(folder.path()).unwrap();
    assert_eq!(FolderDisk::open(folder.path()).err().unwrap().kind(), ErrorKind::WouldBlock);
    drop(held);
    FolderDisk::open(folder.path()).unwrap();
}

#[test]
fn a_crash_of_the_memory_takes_only_what_no_sync_covered() {
    let disk = MemoryDisk::new();
    let mut named = disk.create("named").unwrap();
    named.write(0, b"synced").unwrap();
    named.sync().unwrap();
    disk.sync_dir().unwrap();
    named.write(6, b" and not").unwrap();
    let mut nameless = disk.create("nameless").unwrap();
    nameless.write(0, b"synced in vain").unwrap();
    nameless.sync().unwrap();
    disk.crash(|_, _, tail| tail.truncate(4), |_| false);
    assert_eq!(disk.list().unwrap(), ["named"]);
    assert_eq!(disk.read("named", 0, 10).unwrap(), b"synced and");
    assert!(named.write(10, b"x").is_err(), "the process that held it is gone");

    // A cut, another name and a removal that no sync covered are undone.
    disk.open("named").unwrap().cut(2).unwrap();
    disk.rename("named", "renamed").unwrap();
    disk.crash(|_, _, _| (), |name| name == "named");
    assert_eq!(disk.len("named").unwrap(), 10);
    disk.remove("named").unwrap();
    disk.crash(|_, _, _| (), |_| true);
    assert_eq!(disk.len("named").unwrap(), 10);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    shared.remove("named").unwrap();
    shared.sync_dir().unwrap();
    disk.crash(|_, _, _| (), |_| true);
    assert!(disk.list().unwrap().is_empty());
}

#[test]
fn a_crash_of_the_memory_puts_older_bytes_back() {
    let disk = MemoryDisk::new();
    let mut file = disk.create("a").unwrap();
    file.write(0, b"older bytes").unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    file.write(6, b"BYTES and more").unwrap();
    let mut were = Vec::new();
    let mut torn = |_: &str, was: &[u8], bytes: &mut Vec<u8>| {
        were.push(was.to_vec());
        bytes.truncate(2);
    };
    disk.crash(&mut torn, |_| true);
    assert_eq!(were, [b"bytes"]);
    assert_eq!(disk.read("a", 0, 11).unwrap(), b"older BYtes");
    assert_eq!(disk.len("a").unwrap(), 11);
}

#[test]
fn a_sync_of_the_memory_that_failed_leaves_bytes_only_reads_see() {
    let disk = MemoryDisk::new();
    let mut file = disk.create("a").unwrap();
    disk.sync_dir().unwrap();
    file.write(0, b"lost").unwrap();
    disk.fail_next_sync();
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(disk.read("a", 0, 4).unwrap(), b"lost");
    disk.crash(|_, _, _| (), |_| true);
    assert_eq!(disk.len("a").unwrap(), 0);
}
