//! A folder that is looked at and not changed: what is written to it stays in memory. The store
//! can be opened in it, repaired, and read, while the folder is left as it is.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::files::{Files, OpenMode, Place};

const PAGE_BYTES: u64 = 4096;

/// [`Files`] over others.
#[derive(Debug)]
pub(super) struct OverlayFiles {
    below: Arc<dyn Files>,
    /// Files that were opened, made, renamed; `None`: removed.
    files: Mutex<BTreeMap<String, Option<Arc<Layer>>>>,
}

impl OverlayFiles {
    pub(super) fn new(below: Arc<dyn Files>) -> Self {
        Self { below, files: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<Layer>>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of that name, opened below if nobody has.
    fn layer(
        &self,
        files: &mut BTreeMap<String, Option<Arc<Layer>>>,
        name: &str,
    ) -> io::Result<Arc<Layer>> {
        if let Some(known) = files.get(name) {
            return known.clone().ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let layer = Arc::new(Layer::over(self.below.open(name, OpenMode::Existing)?)?);
        files.insert(name.to_owned(), Some(Arc::clone(&layer)));
        Ok(layer)
    }
}

/// A file of a folder, opened so that what is written to it stays in memory.
pub(super) fn one(files: &dyn Files, name: &str) -> io::Result<Box<dyn StorageBackend>> {
    Ok(Box::new(OpenLayer(Arc::new(Layer::over(files.open(name, OpenMode::Existing)?)?))))
}

impl Files for OverlayFiles {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn StorageBackend>> {
        let mut files = self.lock();
        let layer = match (mode, self.layer(&mut files, name)) {
            (OpenMode::New, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::New, Err(_)) => {
                let layer = Arc::new(Layer { below: None, written: Mutex::default() });
                files.insert(name.to_owned(), Some(Arc::clone(&layer)));
                layer
            }
            (OpenMode::Existing, layer) => layer?,
        };
        Ok(Box::new(OpenLayer(layer)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let files = self.lock();
        let full = |name: &str| match dir {
            "" => name.to_owned(),
            dir => format!("{dir}/{name}"),
        };
        let mut names = match self.below.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        names.retain(|name| !files.contains_key(&full(name)));
        for name in files.iter().filter(|(_, layer)| layer.is_some()).map(|(name, _)| name) {
            let (folder, short) = name.rsplit_once('/').unwrap_or(("", name));
            if folder == dir {
                names.push(short.to_owned());
            }
        }
        Ok(names)
    }

    fn create_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.lock();
        let layer = self.layer(&mut files, from)?;
        files.insert(from.to_owned(), None);
        files.insert(to.to_owned(), Some(layer));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut files = self.lock();
        self.layer(&mut files, name)?;
        files.insert(name.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let file = self.open(name, OpenMode::Existing)?;
        let rest = file.len()?.saturating_sub(offset);
        let read = usize::try_from(rest).unwrap_or(usize::MAX).min(out.len());
        file.read(offset, &mut out[..read])?;
        Ok(read)
    }

    fn room(&self) -> Option<(u64, u64)> {
        self.below.room()
    }

    fn place(&self) -> Place {
        self.below.place()
    }
}

/// A file, and what was written over it.
#[derive(Debug)]
struct Layer {
    below: Option<Box<dyn StorageBackend>>,
    written: Mutex<Written>,
}

impl Layer {
    fn over(below: Box<dyn StorageBackend>) -> io::Result<Self> {
        let (len, pages) = (below.len()?, BTreeMap::new());
        let written = Mutex::new(Written { len, below: len, pages });
        Ok(Self { below: Some(below), written })
    }
}

#[derive(Debug, Default)]
struct Written {
    len: u64,
    /// Up to where the file below counts.
    below: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

#[derive(Debug)]
struct OpenLayer(Arc<Layer>);

impl OpenLayer {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is below, filled up with zeros.
    fn page_below(&self, page: u64, below: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PAGE_BYTES as usize];
        let from = page * PAGE_BYTES;
        let there = usize::try_from(below.saturating_sub(from).min(PAGE_BYTES)).unwrap_or(0);
        if let Some(file) = &self.0.below
            && there > 0
        {
            file.read(from, &mut bytes[..there])?;
        }
        Ok(bytes)
    }
}

/// The pages that a stretch touches: number, where in the page it begins, and where in the stretch.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= len {
            return None;
        }
        let place = offset + at as u64;
        let within = usize::try_from(place % PAGE_BYTES).unwrap_or(0);
        let end = len.min(at + PAGE_BYTES as usize - within);
        let range = at..end;
        at = end;
        Some((place / PAGE_BYTES, within, range))
    })
}

impl StorageBackend for OpenLayer {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, within, range) in pages(offset, out.len()) {
            let end = within + range.len();
            match written.pages.get(&page) {
                Some(bytes) => out[range].copy_from_slice(&bytes[within..end]),
                None => {
                    let bytes = self.page_below(page, written.below)?;
                    out[range].copy_from_slice(&bytes[within..end]);
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.lock();
        if len < written.len {
            written.below = written.below.min(len);
            written.pages.retain(|page, _| page * PAGE_BYTES < len);
            let within = usize::try_from(len % PAGE_BYTES).unwrap_or(0);
            if let Some(bytes) = written.pages.get_mut(&(len / PAGE_BYTES)) {
                bytes[within..].fill(0);
            }
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.lock();
        for (page, within, range) in pages(offset, data.len()) {
            let below = written.below;
            let bytes = match written.pages.entry(page) {
                std::collections::btree_map::Entry::Occupied(bytes) => bytes.into_mut(),
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(self.page_below(page, below)?)
                }
            };
            let end = within + range.len();
            bytes[within..end].copy_from_slice(&data[range]);
        }
        written.len = written.len.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryFiles;

    #[test]
    fn what_is_written_is_read_and_not_below() {
        let below = MemoryFiles::new();
        let file = below.open("a", OpenMode::New).unwrap();
        file.write(0, &[1; 10_000]).unwrap();
        let over = OverlayFiles::new(Arc::new(below.clone()));
        let layer = over.open("a", OpenMode::Existing).unwrap();
        layer.write(4_000, &[2; 200]).unwrap();
        layer.set_len(4_150).unwrap();
        layer.set_len(20_000).unwrap();
        let mut bytes = vec![0; 20_000];
        layer.read(0, &mut bytes).unwrap();
        assert!(bytes[..4_000].iter().all(|byte| *byte == 1));
        assert!(bytes[4_000..4_150].iter().all(|byte| *byte == 2));
        assert!(bytes[4_150..].iter().all(|byte| *byte == 0));
        over.rename("a", "b").unwrap();
        over.open("c", OpenMode::New).unwrap();
        assert_eq!(over.list("").unwrap(), ["b", "c"]);
        assert!(over.open("a", OpenMode::Existing).is_err());
        assert_eq!(below.list("").unwrap(), ["a"]);
        let mut bytes = vec![0; 10_000];
        below.open("a", OpenMode::Existing).unwrap().read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 1));
    }
}
