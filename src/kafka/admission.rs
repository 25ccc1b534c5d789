//! Who may be connected: so many clients in total, so many from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts the connections of all listeners; clones count together.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    per_address: usize,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place for one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    address: IpAddr,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _room: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(total: usize, per_address: usize) -> Self {
        let places = Arc::new(Semaphore::new(total.min(Semaphore::MAX_PERMITS)));
        Self { places, per_address, addresses: Arc::default() }
    }

    /// Waits until one more client may be accepted, whoever it is.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(permit) => permit,
            // Never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives the room to a client, or back if there are too many from its address.
    pub(super) fn admit(
        &self,
        room: OwnedSemaphorePermit,
        address: IpAddr,
    ) -> Result<Place, OwnedSemaphorePermit> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_default();
        if *count >= self.per_address {
            return Err(room);
        }
        *count += 1;
        Ok(Place { address, addresses: Arc::clone(&self.addresses), _room: room })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let admission = Admission::new(4, 2);
        let enter = |last: u8| {
            let room = admission.room().now_or_never()?;
            admission.admit(room, IpAddr::from([127, 0, 0, last])).ok()
        };
        let first = enter(1).unwrap();
        let _second = enter(1).unwrap();
        assert!(enter(1).is_none(), "two are from there");
        let _other = enter(2).unwrap();
        drop(first);
        let _again = enter(1).unwrap();
        let _last = enter(3).unwrap();
        assert!(enter(4).is_none(), "four are there");
        assert_eq!(admission.addresses.lock().unwrap().len(), 3);
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let admission = Admission::new(1, 1);
        for last in 0..3 {
            let room = admission.room().now_or_never().unwrap();
            admission.admit(room, IpAddr::from([127, 0, 0, last])).unwrap();
        }
        assert!(admission.addresses.lock().unwrap().is_empty());
    }
}
