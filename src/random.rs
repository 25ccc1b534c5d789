//! The one source of random ids. A test may seed it for its thread, so that a simulation runs the
//! same way again.

use uuid::Uuid;

/// A new id, different from all others.
pub fn id() -> Uuid {
    #[cfg(test)]
    if let Some(id) = seeded::next() {
        return id;
    }
    Uuid::new_v4()
}

#[cfg(test)]
pub(crate) use self::seeded::seed;

#[cfg(test)]
mod seeded {
    use std::cell::RefCell;

    use uuid::{Builder, Uuid};

    thread_local! {
        static RANDOM: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
    }

    /// From here on the ids of this thread follow from a seed; `None`: they are random again.
    pub(crate) fn seed(seed: Option<u64>) {
        RANDOM.with_borrow_mut(|random| *random = seed.map(fastrand::Rng::with_seed));
    }

    pub(super) fn next() -> Option<Uuid> {
        RANDOM.with_borrow_mut(|random| {
            let bytes = random.as_mut()?.u128(..).to_be_bytes();
            Some(Builder::from_random_bytes(bytes).into_uuid())
        })
    }
}
