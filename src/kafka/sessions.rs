//! The fetch sessions of all clients (KIP-227): ids, epochs, bounds. What a session holds is not
//! looked at here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::errors::ErrorCode;
use crate::limits::{FETCH_SESSION_IDLE_MS, FETCH_SESSION_PARTITIONS, FETCH_SESSIONS};

const IDLE: Duration = Duration::from_millis(FETCH_SESSION_IDLE_MS);

/// Whether the topics of a session have names or ids (KIP-516). That never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    Names,
    Ids,
}

/// All sessions. Clones share them.
#[derive(Debug)]
pub(super) struct Sessions<S>(Arc<Mutex<Table<S>>>);

#[derive(Debug)]
struct Table<S> {
    entries: HashMap<i32, Entry<S>>,
    /// Of all entries together.
    partitions: usize,
}

#[derive(Debug)]
struct Entry<S> {
    /// What the next fetch must say.
    epoch: i32,
    naming: Naming,
    used: Duration,
    partitions: usize,
    /// Absent while a fetch works with it.
    session: Option<S>,
}

/// A session that one fetch works with. Dropped instead of [`Lease::put_back`], it is closed: its
/// client has left in the middle and cannot know how far it came.
#[derive(Debug)]
pub(super) struct Lease<S> {
    sessions: Sessions<S>,
    id: i32,
    /// Taken when it is put back.
    session: Option<S>,
}

impl<S> Clone for Sessions<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Default for Sessions<S> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Table { entries: HashMap::new(), partitions: 0 })))
    }
}

impl<S> Sessions<S> {
    /// Begins a session of so many partitions. `None` if there is no room; then there is none
    /// either among those that are in use, and the client does without.
    pub(super) fn open(
        &self,
        naming: Naming,
        partitions: usize,
        now: Duration,
        session: impl FnOnce() -> S,
    ) -> Option<Lease<S>> {
        let mut table = self.table();
        if !table.make_room(partitions, now) {
            return None;
        }
        let id = table.unused_id();
        let entry = Entry { epoch: 1, naming, used: now, partitions, session: None };
        table.entries.insert(id, entry);
        table.partitions += partitions;
        drop(table);
        Some(Lease { sessions: self.clone(), id, session: Some(session()) })
    }

    /// The session that a client goes on with.
    pub(super) fn take(
        &self,
        id: i32,
        epoch: i32,
        naming: Naming,
        now: Duration,
    ) -> Result<Lease<S>, ErrorCode> {
        let mut table = self.table();
        let entry = table.entries.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if entry.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if entry.naming != naming {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        // Another fetch has it: whoever sends two at a time has lost count.
        let session = entry.session.take().ok_or(ErrorCode::InvalidFetchSessionEpoch)?;
        entry.epoch = epoch.checked_add(1).unwrap_or(1);
        entry.used = now;
        Ok(Lease { sessions: self.clone(), id, session: Some(session) })
    }

    /// Ends a session, if there is one of that id.
    pub(super) fn close(&self, id: i32) {
        let removed = self.table().remove(id);
        // Not under the lock: a session is a large thing.
        drop(removed);
    }

    fn table(&self) -> MutexGuard<'_, Table<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Table<S> {
    /// Makes room for a further session by closing the one that was left alone for longest, if
    /// that is long enough.
    fn make_room(&mut self, partitions: usize, now: Duration) -> bool {
        if partitions > FETCH_SESSION_PARTITIONS {
            return false;
        }
        while self.entries.len() >= FETCH_SESSIONS
            || self.partitions.saturating_add(partitions) > FETCH_SESSION_PARTITIONS
        {
            let idle = self.entries.iter().filter(|(_, entry)| entry.used + IDLE <= now);
            let Some(longest) = idle.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) else {
                return false;
            };
            self.remove(longest);
        }
        true
    }

    fn remove(&mut self, id: i32) -> Option<Entry<S>> {
        let entry = self.entries.remove(&id)?;
        self.partitions -= entry.partitions;
        Some(entry)
    }

    /// A random one, so that a client of before a restart does not find somebody else's session.
    fn unused_id(&self) -> i32 {
        loop {
            let random = uuid::Uuid::new_v4().as_fields().0 >> 1;
            match i32::try_from(random) {
                Ok(id) if id > 0 && !self.entries.contains_key(&id) => return id,
                _ => {}
            }
        }
    }
}

impl<S> Lease<S> {
    /// The id that the client is told.
    pub(super) fn id(&self) -> i32 {
        self.id
    }

    pub(super) fn session(&mut self) -> Option<&mut S> {
        self.session.as_mut()
    }

    /// Lets the session grow or shrink to so many partitions. `false`: there is no room; it is
    /// closed.
    pub(super) fn resize(&self, partitions: usize) -> bool {
        let mut table = self.sessions.table();
        let others = table.partitions;
        let Some(entry) = table.entries.get_mut(&self.id) else { return false };
        let total = (others - entry.partitions).saturating_add(partitions);
        // Growth alone is refused: who gives something back may go on.
        if total > FETCH_SESSION_PARTITIONS && partitions > entry.partitions {
            let removed = table.remove(self.id);
            drop(table);
            drop(removed);
            return false;
        }
        entry.partitions = partitions;
        table.partitions = total;
        true
    }

    /// Keeps the session for the next fetch, unless it was closed meanwhile.
    pub(super) fn put_back(mut self) {
        let Some(session) = self.session.take() else { return };
        if let Some(entry) = self.sessions.table().entries.get_mut(&self.id) {
            entry.session = Some(session);
        }
    }
}

impl<S> Drop for Lease<S> {
    fn drop(&mut self) {
        if self.session.is_some() {
            self.sessions.close(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn open(sessions: &Sessions<u8>, partitions: usize, now: Duration) -> Option<i32> {
        let lease = sessions.open(Naming::Ids, partitions, now, || 7)?;
        let id = lease.id();
        lease.put_back();
        Some(id)
    }

    fn go_on(sessions: &Sessions<u8>, id: i32, epoch: i32) -> Result<(), ErrorCode> {
        sessions.take(id, epoch, Naming::Ids, NOW).map(Lease::put_back)
    }

    #[test]
    fn epochs_are_counted() {
        let sessions = Sessions::default();
        let id = open(&sessions, 1, NOW).unwrap();
        assert_eq!(go_on(&sessions, id, 0), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(go_on(&sessions, id, 1), Ok(()));
        assert_eq!(go_on(&sessions, id, 1), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(go_on(&sessions, id, 2), Ok(()));
        assert_eq!(go_on(&sessions, id + 1, 3), Err(ErrorCode::FetchSessionIdNotFound));
        sessions.table().entries.get_mut(&id).unwrap().epoch = i32::MAX;
        assert_eq!(go_on(&sessions, id, i32::MAX), Ok(()));
        assert_eq!(go_on(&sessions, id, 1), Ok(()), "after the greatest comes 1");
        sessions.close(id);
        assert_eq!(go_on(&sessions, id, 2), Err(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn names_and_ids_do_not_mix() {
        let sessions = Sessions::default();
        let id = open(&sessions, 1, NOW).unwrap();
        let mixed = sessions.take(id, 1, Naming::Names, NOW).map(Lease::put_back);
        assert_eq!(mixed, Err(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(go_on(&sessions, id, 1), Ok(()), "the session stays as it was");
    }

    #[test]
    fn a_session_belongs_to_one_fetch_at_a_time() {
        let sessions = Sessions::default();
        let id = open(&sessions, 3, NOW).unwrap();
        let lease = sessions.take(id, 1, Naming::Ids, NOW).unwrap();
        assert_eq!(go_on(&sessions, id, 2), Err(ErrorCode::InvalidFetchSessionEpoch));
        drop(lease);
        assert_eq!(go_on(&sessions, id, 2), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(sessions.table().partitions, 0);
        // Closed while a fetch has it, it does not come back.
        let lease = sessions.open(Naming::Ids, 3, NOW, || 7).unwrap();
        let id = lease.id();
        sessions.close(id);
        lease.put_back();
        assert_eq!(go_on(&sessions, id, 1), Err(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn sessions_are_bounded_and_who_left_makes_room() {
        let sessions = Sessions::default();
        let first = open(&sessions, 1, NOW).unwrap();
        let later = NOW + Duration::from_secs(1);
        for _ in 1..FETCH_SESSIONS {
            open(&sessions, 1, later).unwrap();
        }
        assert_eq!(open(&sessions, 1, NOW + IDLE - Duration::from_millis(1)), None);
        assert_eq!(go_on(&sessions, first, 1), Ok(()));
        let next = open(&sessions, 1, NOW + IDLE).unwrap();
        assert_eq!(go_on(&sessions, first, 2), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(go_on(&sessions, next, 1), Ok(()));
        assert_eq!(sessions.table().entries.len(), FETCH_SESSIONS);
    }

    #[test]
    fn partitions_of_all_sessions_are_bounded() {
        let sessions = Sessions::default();
        assert_eq!(open(&sessions, FETCH_SESSION_PARTITIONS + 1, NOW), None);
        let large = open(&sessions, FETCH_SESSION_PARTITIONS - 10, NOW).unwrap();
        let small = open(&sessions, 10, NOW).unwrap();
        assert_eq!(open(&sessions, 1, NOW), None);
        let lease = sessions.take(small, 1, Naming::Ids, NOW).unwrap();
        assert!(lease.resize(9) && lease.resize(10));
        assert!(!lease.resize(11));
        lease.put_back();
        assert_eq!(go_on(&sessions, small, 2), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(go_on(&sessions, large, 1), Ok(()));
        assert_eq!(sessions.table().partitions, FETCH_SESSION_PARTITIONS - 10);
    }
}
