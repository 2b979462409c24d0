//! What every disk must do, checked on each of them; and what only the folder or only the memory can do.

use std::sync::Arc;

use steward_cluster::log::disk::{Disk, FolderDisk, MemoryDisk};

fn conforms(disk: &dyn Disk) {
    assert!(disk.list().unwrap().is_empty());
    let mut file = disk.create("a").unwrap();
    file.append(b"one").unwrap();
    file.append(b" two").unwrap();
    file.sync().unwrap();
    assert!(disk.create("a").is_err(), "a name is taken once");
    assert_eq!(disk.len("a").unwrap(), 7);
    assert_eq!(disk.read("a", 4, 3).unwrap(), b"two");
    assert!(disk.read("a", 4, 4).is_err(), "a read beyond the end fails whole");
    drop(file);

    let mut file = disk.reopen("a", 3).unwrap();
    assert_eq!(disk.len("a").unwrap(), 3);
    file.append(b"!").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read("a", 0, 4).unwrap(), b"one!");

    drop(disk.create("b").unwrap());
    disk.sync_dir().unwrap();
    let mut names = disk.list().unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    disk.remove("a").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.list().unwrap(), ["b"]);
    for missing in [disk.read("a", 0, 1).err(), disk.len("a").err(), disk.remove("a").err(), disk.reopen("a", 0).err()]
    {
        assert_eq!(missing.unwrap().kind(), std::io::ErrorKind::NotFound);
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
    assert_eq!(FolderDisk::open(folder.path()).err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
    drop(held);
    FolderDisk::open(folder.path()).unwrap();
}

#[test]
fn a_crash_of_the_memory_takes_only_what_no_sync_covered() {
    let disk = MemoryDisk::new();
    let mut named = disk.create("named").unwrap();
    named.append(b"synced").unwrap();
    named.sync().unwrap();
    disk.sync_dir().unwrap();
    named.append(b" and not").unwrap();
    let mut nameless = disk.create("nameless").unwrap();
    nameless.append(b"synced in vain").unwrap();
    nameless.sync().unwrap();
    disk.crash(|_, tail| tail.truncate(4), |_| false);
    assert_eq!(disk.list().unwrap(), ["named"]);
    assert_eq!(disk.read("named", 0, 10).unwrap(), b"synced and");
    assert!(named.append(b"x").is_err(), "the process that held it is gone");

    // A cut and a removal that no sync covered come back.
    drop(disk.reopen("named", 2).unwrap());
    disk.crash(|_, _| (), |_| true);
    assert_eq!(disk.len("named").unwrap(), 10);
    disk.remove("named").unwrap();
    disk.crash(|_, _| (), |_| true);
    assert_eq!(disk.len("named").unwrap(), 10);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    shared.remove("named").unwrap();
    shared.sync_dir().unwrap();
    disk.crash(|_, _| (), |_| true);
    assert!(disk.list().unwrap().is_empty());
}
