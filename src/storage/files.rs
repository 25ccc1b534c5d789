//! The seam to the file system: every file operation of the storage goes through [`Files`], so
//! that a simulation can crash between any two of them.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::direct::DirectFile;
use super::eager::EagerFile;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It must not be there yet.
    New,
    /// It must be there.
    Existing,
}

/// A folder of files, names relative to it with `/` between folder and file.
///
/// What is durable: a file's bytes after its backend's `sync_data`; the creation, renaming or
/// removal of a name after `sync_dir` of its folder.
pub trait Files: Debug + Send + Sync {
    /// Opens a file for reading and writing.
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn StorageBackend>>;
    /// Opens a file that is there, to write whole blocks of 4 KiB and sync each of them.
    fn open_direct(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.open(name, OpenMode::Existing)
    }
    /// Opens a file that is there, to write much at a time and then sync it.
    fn open_eager(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.open(name, OpenMode::Existing)
    }
    /// Names of the files in a folder, without the folder, in no order.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Makes a folder; it may be there.
    fn create_dir(&self, dir: &str) -> io::Result<()>;
    /// Gives a file another name in the same folder, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names of a folder durable; "" is the folder itself.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Reads a file beside whoever has it open; returns how much there was, 0 at its end.
    fn read_at(&self, name: &str, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Size of the file system and what is free of it, bytes, as far as it is known.
    fn room(&self) -> Option<(u64, u64)> {
        None
    }
    /// Where all this is, as far as it is known.
    fn place(&self) -> Place {
        Place { path: String::new(), room: self.room() }
    }
}

/// A folder and the room on its file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The folder's absolute path.
    pub path: String,
    /// Size of the file system and what is free of it, bytes.
    pub room: Option<(u64, u64)>,
}

/// A folder on the machine's file system, held by an exclusive lock.
#[derive(Debug)]
pub struct DiskFiles {
    root: PathBuf,
    _lock: File,
}

impl DiskFiles {
    /// Takes the folder, making it if it is missing.
    ///
    /// Errors: `ErrorKind::WouldBlock` when another process holds it.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(root.join("LOCK"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("the data folder {} is in use by another process", root.display()),
            ),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }
}

impl Files for DiskFiles {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn StorageBackend>> {
        let new = mode == OpenMode::New;
        let file =
            OpenOptions::new().read(true).write(true).create_new(new).open(self.root.join(name))?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn open_direct(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        match DirectFile::open(&self.root.join(name))? {
            Some(file) => Ok(Box::new(file)),
            None => self.open(name, OpenMode::Existing),
        }
    }

    fn open_eager(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(EagerFile::open(&self.root.join(name))?))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(dir))? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        fs::create_dir_all(self.root.join(dir))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.root.join(dir))?.sync_all()
    }

    fn read_at(&self, name: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.root.join(name))?;
        let mut read = 0;
        while read < out.len() {
            match file.read_at(&mut out[read..], offset + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        Ok(read)
    }

    fn room(&self) -> Option<(u64, u64)> {
        let room = rustix::fs::statvfs(&self.root).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
        Some((bytes(room.f_blocks), bytes(room.f_bavail)))
    }

    fn place(&self) -> Place {
        let path = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        Place { path: path.display().to_string(), room: self.room() }
    }
}

/// How much of a file is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Copies a file that nobody writes, under another name or into another folder, and returns its
/// bytes. They are durable when it returns, the new name is not.
pub(super) fn copy_file(
    from: &dyn Files,
    name: &str,
    to: &dyn Files,
    new: &str,
) -> io::Result<u64> {
    let file = to.open(new, OpenMode::New)?;
    let (mut at, mut block) = (0, vec![0; COPY_BYTES]);
    loop {
        let read = from.read_at(name, at, &mut block)?;
        if read == 0 {
            break;
        }
        file.write(at, &block[..read])?;
        at += read as u64;
    }
    file.sync_data()?;
    file.close()?;
    Ok(at)
}

/// redb takes its backend by value; this gives it the one that [`Files`] made.
#[derive(Debug)]
pub(super) struct Backend(pub(super) Box<dyn StorageBackend>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = DiskFiles::open(dir.path()).unwrap();
        let second = DiskFiles::open(dir.path()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        DiskFiles::open(dir.path()).unwrap();
    }

    #[test]
    fn new_and_existing_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let files = DiskFiles::open(dir.path()).unwrap();
        files.create_dir("segments").unwrap();
        let missing = files.open("segments/a", OpenMode::Existing).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        files.open("segments/a", OpenMode::New).unwrap().write(0, b"x").unwrap();
        let there = files.open("segments/a", OpenMode::New).unwrap_err();
        assert_eq!(there.kind(), io::ErrorKind::AlreadyExists);
        files.rename("segments/a", "segments/b").unwrap();
        assert_eq!(files.list("segments").unwrap(), ["b"]);
        let place = files.place();
        assert_eq!(Path::new(&place.path), dir.path().canonicalize().unwrap());
        let (total, free) = place.room.unwrap();
        assert!(0 < free && free <= total, "{place:?}");
    }
}
