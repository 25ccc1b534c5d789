//! Bytes that redb did not write may make it panic. Here that becomes an error of the file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::StorageError;

/// Runs what works on a file that may be damaged. What was shared with it must not be trusted
/// after a panic: callers open the file again.
pub(super) fn guarded<T>(
    file: &str,
    work: impl FnOnce() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        let reason = text.unwrap_or("redb panicked").to_owned();
        Err(StorageError::Damaged { file: file.to_owned(), reason })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_file() {
        let error = guarded::<()>("a", || panic!("no such page")).unwrap_err();
        assert_eq!(error.to_string(), "a is damaged: no such page");
    }
}
