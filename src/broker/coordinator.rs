//! Runs the consumer groups of a broker: finds the group of a request, lets the request wait for
//! its answer, and watches the deadlines. It decides nothing about a group (that is `group`) and
//! stores nothing (that is the broker): it says what of a group is to be on disk, and takes it back
//! after a restart, so that the members go on.
//!
//! Everything but [`Coordinator::run`] is synchronous: a simulation can make requests, turn the
//! clock and call [`Coordinator::expire`] in one thread without a runtime.
//!
//! Locks are taken in this order and never held across an await: the registry, one group, the
//! timers.

mod answer;
mod saving;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

pub use self::answer::Pending;
use self::answer::{Answer, Delivery, Waiter, deliver};
use super::group::{
    Group, GroupDescription, GroupError, GroupListing, GroupState, JoinRequest, JoinResponse,
    LeavingMember, Reply, SyncRequest, SyncResponse, Token,
};
use crate::clock::Clock;
use crate::limits::{
    GROUP_INITIAL_REBALANCE_DELAY_MS, GROUPS, GROUPS_BYTES, MEMBER_ID_PREFIX_BYTES,
};
use crate::types::GroupId;

/// The groups of one broker. Clones share them.
#[derive(Debug, Clone)]
pub struct Coordinator(Arc<Core>);

#[derive(Debug)]
struct Core {
    clock: Arc<dyn Clock>,
    registry: Mutex<Registry>,
    /// Deadlines of groups; at most one of each, and never later than the group's own.
    timers: Mutex<BTreeSet<(Duration, GroupId)>>,
    /// An earlier deadline than all others was set.
    earlier: Notify,
    next_token: AtomicU64,
    /// What all groups hold in memory.
    bytes: AtomicUsize,
    /// Of groups that are made from now on, milliseconds.
    initial_delay_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Registry {
    groups: BTreeMap<GroupId, Arc<Mutex<Slot>>>,
    /// Saved groups that had to give way and are still on disk.
    evicted: BTreeSet<GroupId>,
    stopped: bool,
}

/// A group and who waits for it.
#[derive(Debug)]
struct Slot {
    group: Group,
    waiters: HashMap<Token, Waiter>,
    /// The group's entry in the timers.
    armed: Option<Duration>,
    /// The group's share of [`Core::bytes`].
    bytes: usize,
    /// The version of the group that is on disk.
    saved: u64,
    /// Who saves it; one at a time.
    saving: Arc<tokio::sync::Mutex<()>>,
}

impl Slot {
    fn new(group: Group) -> Self {
        Self {
            group,
            waiters: HashMap::new(),
            armed: None,
            bytes: 0,
            saved: 0,
            saving: Arc::default(),
        }
    }
}

impl Coordinator {
    /// A coordinator without groups. Someone must run [`Coordinator::run`], or call
    /// [`Coordinator::expire`] at each [`Coordinator::next_deadline`].
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Core {
            clock,
            registry: Mutex::default(),
            timers: Mutex::default(),
            earlier: Notify::new(),
            next_token: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            initial_delay_ms: AtomicU64::new(GROUP_INITIAL_REBALANCE_DELAY_MS),
        }))
    }

    /// Sets how long a group that was empty waits for further members before it begins; Kafka's
    /// `group.initial.rebalance.delay.ms`. For groups that are made from now on.
    pub fn set_initial_rebalance_delay(&self, delay_ms: u64) {
        self.0.initial_delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// A member joins; answered when the group's next generation begins, or at once if it takes
    /// part in the present one or is refused.
    pub fn join(&self, group: &GroupId, request: JoinRequest) -> Pending<JoinResponse> {
        let (sender, answer) = oneshot::channel();
        let token = self.token();
        let member_id = request.member_id.clone();
        let started = self.check_memory(request.bytes()).and_then(|()| {
            let fresh_id = make_member_id(&request);
            // Only a member without an id can begin a group.
            self.on_group(group, member_id.is_empty(), |slot, now| {
                slot.waiters.insert(token, Waiter::Join(sender));
                ((), slot.group.join(token, request, fresh_id, now))
            })
        });
        self.pending(started, member_id, group, token, answer)
    }

    /// A member asks for its assignment; answered when the leader has brought it.
    pub fn sync(&self, group: &GroupId, request: SyncRequest) -> Pending<SyncResponse> {
        let (sender, answer) = oneshot::channel();
        let token = self.token();
        let member_id = request.member_id.clone();
        let started = self.check_memory(request.bytes()).and_then(|()| {
            self.on_group(group, false, |slot, now| {
                slot.waiters.insert(token, Waiter::Sync(sender));
                ((), slot.group.sync(token, request, now))
            })
        });
        self.pending(started, member_id, group, token, answer)
    }

    /// A member says that it is alive.
    pub fn heartbeat(
        &self,
        group: &GroupId,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        let beaten = self.on_group(group, false, |slot, now| {
            (slot.group.heartbeat(member_id, instance_id, generation, now), Vec::new())
        })?;
        beaten.unwrap_or_else(|| Err(unknown(member_id)))
    }

    /// Members leave. One result for each, in order; the outer error concerns all of them.
    pub fn leave(
        &self,
        group: &GroupId,
        leaving: &[LeavingMember],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let left = self.on_group(group, false, |slot, now| slot.group.leave(leaving, now))?;
        let none = || leaving.iter().map(|one| Err(unknown(&one.member_id))).collect();
        Ok(left.unwrap_or_else(none))
    }

    /// Whether this member may commit offsets now. Generation -1 with an empty member id stands
    /// for a consumer that is in no group.
    pub fn check_commit(
        &self,
        group: &GroupId,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        let checked = self.on_group(group, false, |slot, now| {
            (slot.group.check_commit(member_id, instance_id, generation, now), Vec::new())
        })?;
        checked.unwrap_or(match generation < 0 {
            true => Ok(()),
            false => Err(GroupError::IllegalGeneration { given: generation, current: -1 }),
        })
    }

    /// Removes a group that has no members. Says whether there was one.
    pub(super) fn remove(&self, group: &GroupId) -> Result<bool, GroupError> {
        let mut state = GroupState::Dead;
        let removed = self.drop_if(group, |group| {
            state = group.state();
            state == GroupState::Empty
        });
        match state {
            GroupState::Empty | GroupState::Dead => Ok(removed),
            _ => Err(GroupError::NonEmpty),
        }
    }

    /// Drops a group that has neither members nor offsets. Says whether it did.
    pub(super) fn forget(&self, group: &GroupId) -> bool {
        self.drop_if(group, Group::is_disposable)
    }

    /// All groups with how long each has been without members; `None` for one that has some.
    pub(super) fn empty_for(&self) -> HashMap<GroupId, Option<Duration>> {
        let now = self.0.clock.monotonic();
        let slots = self.slots().into_iter();
        slots.map(|(id, slot)| (id, lock(&slot).group.empty_for(now))).collect()
    }

    /// All groups that have or had members, or expect some, by id. Groups that only have committed
    /// offsets are not here.
    pub fn list(&self) -> Vec<GroupListing> {
        let listings = self.slots().into_iter().map(|(group, slot)| {
            let slot = lock(&slot);
            let protocol_type = slot.group.protocol_type().to_owned();
            GroupListing { group, state: slot.group.state(), protocol_type }
        });
        listings.filter(|listing| listing.state != GroupState::Dead).collect()
    }

    /// One group in full; `None` if it never had members and expects none.
    pub fn describe(&self, group: &GroupId) -> Option<GroupDescription> {
        let slot = lock(&self.0.registry).groups.get(group).cloned()?;
        let description = lock(&slot).group.describe();
        (description.state != GroupState::Dead).then_some(description)
    }

    /// When [`Coordinator::expire`] has something to do next, in the clock's monotonic time.
    pub fn next_deadline(&self) -> Option<Duration> {
        lock(&self.0.timers).first().map(|(at, _)| *at)
    }

    /// Lets every group whose time has come give up whom it waits for.
    pub fn expire(&self, now: Duration) {
        let mut due = BTreeSet::new();
        {
            let mut timers = lock(&self.0.timers);
            while timers.first().is_some_and(|(at, _)| *at <= now) {
                due.extend(timers.pop_first());
            }
        }
        for (at, id) in due {
            // An error means that the coordinator has stopped: nobody is left to be told.
            let _ = self.on_group(&id, false, |slot, _| {
                if slot.armed == Some(at) {
                    slot.armed = None;
                }
                ((), slot.group.expire(now))
            });
        }
    }

    /// Watches the deadlines until `shutdown`, then stops.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let deadline = self.next_deadline();
            let now = self.0.clock.monotonic();
            let due = async {
                match deadline {
                    Some(at) => tokio::time::sleep(at.saturating_sub(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut shutdown => break,
                () = self.0.earlier.notified() => {}
                () = due => self.expire(self.0.clock.monotonic()),
            }
        }
        self.stop();
    }

    /// Answers all who wait, and every later request, with [`GroupError::Stopped`].
    pub fn stop(&self) {
        let groups = {
            let mut registry = lock(&self.0.registry);
            registry.stopped = true;
            std::mem::take(&mut registry.groups)
        };
        for (id, slot) in groups {
            let mut slot = lock(&slot);
            let replies = slot.group.kill();
            let deliveries = self.settle(&id, &mut slot, replies);
            drop(slot);
            deliveries.into_iter().for_each(deliver);
        }
        lock(&self.0.timers).clear();
    }

    /// Lets `work` change a group and carries out what follows: timers, memory, replies. `None`
    /// if there is no such group and none is to be made.
    fn on_group<T>(
        &self,
        id: &GroupId,
        create: bool,
        work: impl FnOnce(&mut Slot, Duration) -> (T, Vec<Reply>),
    ) -> Result<Option<T>, GroupError> {
        loop {
            let Some(slot) = self.slot(id, create)? else { return Ok(None) };
            let mut slot = lock(&slot);
            if slot.group.state() == GroupState::Dead {
                // Dropped between the look-up and the lock; the registry has it no more.
                continue;
            }
            let (result, replies) = work(&mut slot, self.0.clock.monotonic());
            let deliveries = self.settle(id, &mut slot, replies);
            let blank = slot.group.is_blank();
            drop(slot);
            // Not under the lock: a receiver may drop other requests of the same group.
            deliveries.into_iter().for_each(deliver);
            if blank {
                self.drop_if(id, Group::is_blank);
            }
            return Ok(Some(result));
        }
    }

    fn slot(&self, id: &GroupId, create: bool) -> Result<Option<Arc<Mutex<Slot>>>, GroupError> {
        let mut registry = lock(&self.0.registry);
        if registry.stopped {
            return Err(GroupError::Stopped);
        }
        if let Some(slot) = registry.groups.get(id) {
            return Ok(Some(Arc::clone(slot)));
        }
        if !create {
            return Ok(None);
        }
        if registry.groups.len() >= GROUPS {
            self.drop_empty(&mut registry);
        }
        if registry.groups.len() >= GROUPS {
            return Err(GroupError::TooManyGroups { max: GROUPS });
        }
        let delay = self.initial_delay();
        let slot = Slot::new(Group::new(self.0.clock.monotonic(), delay));
        let slot = Arc::new(Mutex::new(slot));
        registry.evicted.remove(id);
        registry.groups.insert(id.clone(), Arc::clone(&slot));
        Ok(Some(slot))
    }

    /// After an event: timer, share of memory, and whom to answer.
    fn settle(&self, id: &GroupId, slot: &mut Slot, replies: Vec<Reply>) -> Vec<Delivery> {
        if let Some(next) = slot.group.next_deadline()
            && slot.armed.is_none_or(|armed| next < armed)
        {
            // Heartbeats move deadlines back; the timer then fires too early and is set anew,
            // which is cheaper than moving it with each heartbeat.
            let mut timers = lock(&self.0.timers);
            if let Some(armed) = slot.armed.replace(next) {
                timers.remove(&(armed, id.clone()));
            }
            timers.insert((next, id.clone()));
            if timers.first().is_some_and(|(at, first)| *at == next && first == id) {
                self.0.earlier.notify_one();
            }
        }
        let gone = slot.group.is_blank() || slot.group.state() == GroupState::Dead;
        let bytes = if gone { 0 } else { slot.group.bytes() + id.as_str().len() };
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.bytes.fetch_sub(slot.bytes, Ordering::Relaxed);
        slot.bytes = bytes;
        let delivery = |reply: Reply| {
            let (Reply::Join(token, _) | Reply::Sync(token, _)) = &reply;
            slot.waiters.remove(token)?.delivery(reply)
        };
        replies.into_iter().filter_map(delivery).collect()
    }

    /// Drops a group without members for which `condition` holds. Says whether it did.
    fn drop_if(&self, id: &GroupId, condition: impl FnOnce(&Group) -> bool) -> bool {
        let mut registry = lock(&self.0.registry);
        let Some(slot) = registry.groups.get(id).cloned() else { return false };
        let mut slot = lock(&slot);
        if !condition(&slot.group) {
            return false;
        }
        self.bury(id, &mut slot);
        registry.groups.remove(id);
        true
    }

    /// Drops all groups that nobody would miss: what they know is their generation.
    fn drop_empty(&self, registry: &mut Registry) {
        let Registry { groups, evicted, .. } = registry;
        if evicted.len() >= GROUPS {
            // Until the next sweep has forgotten these.
            return;
        }
        groups.retain(|id, slot| {
            let mut slot = lock(slot);
            let empty = slot.group.is_disposable();
            if empty {
                self.bury(id, &mut slot);
                evicted.insert(id.clone());
            }
            !empty
        });
    }

    /// Ends a group that nobody waits for: it has no members.
    fn bury(&self, id: &GroupId, slot: &mut Slot) {
        slot.group.kill();
        if let Some(armed) = slot.armed.take() {
            lock(&self.0.timers).remove(&(armed, id.clone()));
        }
        self.0.bytes.fetch_sub(std::mem::take(&mut slot.bytes), Ordering::Relaxed);
    }

    fn initial_delay(&self) -> Duration {
        Duration::from_millis(self.0.initial_delay_ms.load(Ordering::Relaxed))
    }

    fn slots(&self) -> Vec<(GroupId, Arc<Mutex<Slot>>)> {
        let registry = lock(&self.0.registry);
        registry.groups.iter().map(|(id, slot)| (id.clone(), Arc::clone(slot))).collect()
    }

    fn cancel(&self, id: &GroupId, token: Token) {
        // An error means that the coordinator has stopped and forgotten the request.
        let _ = self.on_group(id, false, |slot, now| {
            slot.waiters.remove(&token);
            ((), slot.group.cancel(token, now))
        });
    }

    fn pending<T>(
        &self,
        started: Result<Option<()>, GroupError>,
        member_id: String,
        group: &GroupId,
        token: Token,
        answer: oneshot::Receiver<Answer<T>>,
    ) -> Pending<T> {
        match started {
            Ok(Some(())) => Pending::new(answer, self.clone(), group.clone(), token),
            Ok(None) => Pending::refused(GroupError::UnknownMember { member_id }),
            Err(error) => Pending::refused(error),
        }
    }

    fn check_memory(&self, more: usize) -> Result<(), GroupError> {
        let full = || self.0.bytes.load(Ordering::Relaxed).saturating_add(more) > GROUPS_BYTES;
        // Who brings nothing may always come: the followers' syncs end a rebalance.
        if more > 0 && full() {
            self.drop_empty(&mut lock(&self.0.registry));
        }
        if more > 0 && full() {
            return Err(GroupError::OutOfMemory { max: GROUPS_BYTES });
        }
        Ok(())
    }

    fn token(&self) -> Token {
        self.0.next_token.fetch_add(1, Ordering::Relaxed)
    }
}

fn unknown(member_id: &str) -> GroupError {
    GroupError::UnknownMember { member_id: member_id.to_owned() }
}

/// `<client id>-<uuid>`, for static members `<instance id>-<uuid>`, as Kafka makes them: the name
/// is for people who read logs.
fn make_member_id(request: &JoinRequest) -> String {
    let name = request.instance_id.as_deref().unwrap_or(&request.client_id);
    let end = name.floor_char_boundary(MEMBER_ID_PREFIX_BYTES);
    format!("{}-{}", &name[..end], Uuid::new_v4())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
