//! An allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's, with a count of what is taken.
pub(crate) struct Counting {
    taken: AtomicUsize,
    most: AtomicUsize,
}

impl Counting {
    pub(crate) const fn new() -> Self {
        Self { taken: AtomicUsize::new(0), most: AtomicUsize::new(0) }
    }

    /// The most bytes that are taken at one time while this runs, beside what was taken before. Of
    /// all threads, so there must be one.
    pub(crate) fn most<T>(&self, run: impl FnOnce() -> T) -> (T, usize) {
        let before = self.taken.load(Relaxed);
        self.most.store(before, Relaxed);
        let value = run();
        (value, self.most.load(Relaxed).saturating_sub(before))
    }

    fn took(&self, bytes: usize) {
        let taken = self.taken.fetch_add(bytes, Relaxed) + bytes;
        self.most.fetch_max(taken, Relaxed);
    }
}

// SAFETY: all is done by the system's allocator; what is counted beside it changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.taken.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both are there while the bytes are moved.
        self.took(new_size);
        self.taken.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
