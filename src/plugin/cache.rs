//! Compiled components on disk, so that one is compiled once for good: JavaScript and Python take
//! seconds of it, and a few milliseconds to load.
//!
//! What is loaded from here is run as machine code, unchecked. So nothing is, unless this data
//! folder's broker made it: each file carries a keyed hash over itself, the component it was made
//! of, and wasmtime's version and settings. The key lies beside them, readable by the broker's
//! user only. Trusted is thus whoever can read that key, that is the broker's own user, who could
//! replace the broker as well; not trusted is whoever can merely write files here, or carries them
//! over from elsewhere.
//!
//! All of it may be lost at any time and costs nothing but time. It is written without a sync, and
//! not through `storage`: it holds no record.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::limits::{PLUGIN_CACHE_BYTES, PLUGIN_COMPILED_BYTES};

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = blake3::KEY_LEN;
const MAC_BYTES: usize = blake3::OUT_LEN;

/// A folder of compiled components.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    /// Of wasmtime: other versions and settings make other code.
    settings: u64,
}

impl Cache {
    /// Makes the folder and the key if there are none.
    pub(super) fn open(folder: &Path, engine: &wasmtime::Engine) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let key = read_key(&folder.join(KEY_FILE)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData => make_key(folder),
            _ => Err(error),
        })?;
        // Not the same in every build of this program, which costs a compilation at worst.
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder: folder.to_owned(), key, settings: hasher.finish() })
    }

    /// The compiled component of this digest, if there is one that was made here.
    pub(super) fn load(&self, digest: &str) -> Option<Vec<u8>> {
        let path = self.path(digest);
        let mut file = File::open(&path).ok()?;
        let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
        if !(MAC_BYTES..=PLUGIN_COMPILED_BYTES).contains(&length) {
            return None;
        }
        let mut mac = [0; MAC_BYTES];
        let mut compiled = Vec::with_capacity(length - MAC_BYTES);
        file.read_exact(&mut mac).ok()?;
        file.take((PLUGIN_COMPILED_BYTES) as u64).read_to_end(&mut compiled).ok()?;
        // Compared in constant time.
        if self.mac(digest, &compiled) != blake3::Hash::from_bytes(mac) {
            tracing::warn!("{} is not of this broker or damaged; compiling anew", path.display());
            return None;
        }
        // The longest unused ones go first. Only a wish.
        let _ = OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()));
        Some(compiled)
    }

    /// Keeps a compiled component. Says in the log if it cannot.
    pub(super) fn store(&self, digest: &str, compiled: &[u8]) {
        if compiled.len() + MAC_BYTES > PLUGIN_COMPILED_BYTES {
            return;
        }
        if let Err(error) = self.write(digest, compiled).and_then(|()| self.shrink()) {
            let folder = self.folder.display();
            tracing::warn!("a compiled plugin cannot be kept in {folder}: {error}");
        }
    }

    fn write(&self, digest: &str, compiled: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(self.mac(digest, compiled).as_bytes())?;
        file.write_all(compiled)?;
        file.persist(self.path(digest))?;
        Ok(())
    }

    /// Removes the longest unused ones until the rest fits.
    fn shrink(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_file() && entry.file_name() != KEY_FILE {
                files.push((about.modified()?, about.len(), entry.path()));
            }
        }
        files.sort_unstable();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= PLUGIN_CACHE_BYTES {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }

    pub(super) fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}", self.settings))
    }

    fn mac(&self, digest: &str, compiled: &[u8]) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        mac.update(digest.as_bytes());
        mac.update(&self.settings.to_le_bytes());
        mac.update(compiled);
        mac.finalize()
    }
}

fn read_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let key = fs::read(path)?;
    key.try_into().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a key"))
}

/// A new key: whatever lies in the folder is worth nothing from now on.
fn make_key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    for half in key.chunks_mut(16) {
        half.copy_from_slice(crate::random::id().as_bytes());
    }
    let new = folder.join("key.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&key)?;
    drop(file);
    fs::rename(new, folder.join(KEY_FILE))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{FILTER, record, with};
    use super::super::{Compiling, Engine};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn cache(folder: &Path) -> Cache {
        Cache::open(folder, &wasmtime::Engine::default()).unwrap()
    }

    /// The one compiled component in the folder.
    fn file(folder: &Path) -> PathBuf {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files = files.filter(|path| !path.ends_with(KEY_FILE));
        let file = files.next().unwrap();
        assert_eq!(files.next(), None);
        file
    }

    #[test]
    fn what_was_kept_comes_back_to_whoever_has_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        cache(&a).store("00", b"compiled");
        assert_eq!(cache(&a).load("00"), Some(b"compiled".to_vec()));
        assert_eq!(cache(&a).load("01"), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&a), mode(&a.join(KEY_FILE))), (0o700, 0o600));

        // Another broker's, put under the right name.
        let other = cache(&b);
        fs::copy(file(&a), other.path("00")).unwrap();
        assert_eq!(other.load("00"), None);
        // Another component's.
        fs::rename(file(&a), cache(&a).path("01")).unwrap();
        assert_eq!(cache(&a).load("01"), None);
    }

    #[test]
    fn a_damaged_file_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        cache.store("00", b"compiled");
        let path = file(folder.path());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.load("00"), None, "bit of byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.load("00"), None, "cut to {at}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(cache.load("00").is_some());
        // A key that is none is replaced, and nothing made with the one before is believed.
        fs::write(folder.path().join(KEY_FILE), b"short").unwrap();
        assert_eq!(super::tests::cache(folder.path()).load("00"), None);
    }

    #[test]
    fn the_longest_unused_ones_go_when_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let age = |digest: &str, seconds| {
            let file = OpenOptions::new().append(true).open(cache.path(digest)).unwrap();
            file.set_len(PLUGIN_CACHE_BYTES / 2).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
                .unwrap();
        };
        for (digest, seconds) in [("00", 30), ("01", 10), ("02", 20)] {
            cache.write(digest, b"compiled").unwrap();
            age(digest, seconds);
        }
        cache.store("03", b"compiled");
        let there = ["00", "01", "02", "03"].map(|digest| cache.path(digest).exists());
        assert_eq!(there, [true, false, false, true]);
    }

    #[test]
    fn an_engine_loads_what_an_engine_before_has_compiled() {
        let folder = tempfile::tempdir().unwrap();
        // Its own bytes, so that no other test has it loaded.
        let text = with(FILTER, "(component\n", "(component (core module)\n");
        let bytes = wat::parse_str(text).unwrap();
        for compiled in [1, 0] {
            let engine = Engine::with_cache(folder.path(), Compiling::Here).unwrap();
            let plugin = engine.load(&bytes).unwrap();
            assert_eq!(engine.compiled(), compiled);
            let verdicts =
                plugin.instance(super::super::Settings::default()).process(&[record("x")]);
            assert_eq!(verdicts, [Ok(super::super::Verdict::Keep)]);
        }
        fs::write(file(folder.path()), b"no machine code of ours, but long enough for a mac")
            .unwrap();
        let engine = Engine::with_cache(folder.path(), Compiling::Here).unwrap();
        engine.load(&bytes).unwrap();
        assert_eq!(engine.compiled(), 1);
    }
}
