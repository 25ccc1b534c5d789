//! What is forgotten because nobody has asked for it in a long time: offsets of groups that are
//! gone (KIP-211) and producers that have fallen silent. Forgetting is a durable change like any
//! other.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use super::{Broker, Commit, CommitError, Committer, OffsetChange};
use crate::limits::{EXPIRY_CHECK_MS, EXPIRY_PRODUCERS};
use crate::storage::{Group, ProducerKey};
use crate::types::{GroupId, OffsetOwner, TimestampMs};

/// How long what nobody uses is kept.
#[derive(Debug, Clone, Copy)]
pub struct Expiry {
    /// Offsets of a group, from when it has neither members nor commits; Kafka's
    /// `offsets.retention.minutes`.
    pub offsets: Duration,
    /// What is known of a producer in a partition, from its last batch there; Kafka's
    /// `producer.id.expiration.ms`.
    pub producers: Duration,
}

impl Broker {
    /// Forgets what has expired, every [`EXPIRY_CHECK_MS`], until `shutdown`. Not at once: after a
    /// restart, members first come back to their groups.
    pub async fn run_expiry(&self, keep: Expiry, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(Duration::from_millis(EXPIRY_CHECK_MS)) => {}
            }
            if let Err(error) = self.expire(keep).await {
                tracing::warn!(%error, "what has expired could not be forgotten");
            }
        }
    }

    /// Forgets what has expired. Durable when it returns.
    pub async fn expire(&self, keep: Expiry) -> Result<(), CommitError> {
        for commit in self.expired_offsets(keep.offsets) {
            match self.commit(commit).await {
                // Somebody has committed meanwhile, so that nothing has expired.
                Ok(_) | Err(CommitError::OffsetFenced { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let forgotten = self.forget_empty_groups();
        if !forgotten.groups.is_empty() {
            self.commit(forgotten).await?;
        }
        // Nobody has waited for these: their members were lost.
        for group in self.groups().all_unsaved() {
            self.save_group(&group).await?;
        }
        let expire = move |committer: &mut Committer| committer.expire_producers(keep.producers);
        self.admin(expire).await.ok_or(CommitError::Stopped)?.map(drop)
    }

    /// A commit for each group that has been without members and commits for so long: it removes
    /// the group's offsets.
    ///
    /// Whose members are not known, perhaps because the broker was started since, is judged by
    /// its last commit alone.
    pub fn expired_offsets(&self, keep: Duration) -> Vec<Commit> {
        let empty_for = self.groups().empty_for();
        let now_ms = self.clock().now_ms();
        let offsets = self.shared.offsets();
        let expired = offsets.iter().filter(|(owner, committed)| {
            let OffsetOwner::Group(group) = owner else { return false };
            let gone = match empty_for.get(group) {
                Some(None) => false,
                Some(Some(empty_for)) => *empty_for >= keep,
                None => true,
            };
            let last = committed.values().map(|committed| committed.commit_time_ms).max();
            gone && last.is_none_or(|last| is_past(last, keep, now_ms))
        });
        let mut commits = Vec::new();
        for (owner, committed) in expired {
            let removals = committed.iter().map(|(partition, committed)| OffsetChange {
                owner: owner.clone(),
                partition: *partition,
                expected: Some(committed.offset),
                committed: None,
            });
            commits.push(Commit { offsets: removals.collect(), ..Commit::default() });
        }
        commits
    }

    /// Forgets groups of which neither members nor offsets are left. What is returned makes that
    /// durable.
    pub fn forget_empty_groups(&self) -> Commit {
        let mut gone = self.groups().take_evicted();
        let with_offsets: HashSet<GroupId> = self.groups_with_offsets().into_iter().collect();
        for (group, empty_for) in self.groups().empty_for() {
            if empty_for.is_some() && !with_offsets.contains(&group) && self.groups().forget(&group)
            {
                gone.push(group);
            }
        }
        let groups = gone.into_iter().map(|group| (group, None)).collect();
        Commit { groups, ..Commit::default() }
    }
}

impl Committer {
    /// Forgets producers that have been silent for so long in a partition, and says how many
    /// that were. Durable when it returns.
    pub fn expire_producers(&mut self, keep: Duration) -> Result<usize, CommitError> {
        let now_ms = self.shared.clock.now_ms();
        let mut expired = Vec::new();
        for (partition, producers) in &self.producers {
            let silent =
                producers.iter().filter(|(_, state)| is_past(state.last_append_ms, keep, now_ms));
            expired.extend(silent.map(|(producer_id, _)| ProducerKey {
                partition: *partition,
                producer_id: *producer_id,
            }));
        }
        for keys in expired.chunks(EXPIRY_PRODUCERS) {
            let mut group = Group::default();
            group.effects.producers = keys.iter().map(|key| (*key, None)).collect();
            self.admin(|store| store.commit(group)).map_err(CommitError::Storage)?;
            for ProducerKey { partition, producer_id } in keys {
                if let Some(producers) = self.producers.get_mut(partition) {
                    producers.remove(producer_id);
                }
            }
        }
        self.producers.retain(|_, producers| !producers.is_empty());
        Ok(expired.len())
    }
}

fn is_past(since_ms: TimestampMs, keep: Duration, now_ms: TimestampMs) -> bool {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    now_ms.saturating_sub(since_ms) >= keep_ms
}

#[cfg(test)]
mod tests {
    use super::super::world::World;
    use super::super::{CommittedOffset, GroupState, JoinRequest, LeavingMember, SyncRequest};
    use super::*;
    use crate::clock::Clock;
    use crate::limits::GROUP_INITIAL_REBALANCE_DELAY_MS;
    use crate::record::{BatchBuilder, Compression, RecordBatch};
    use crate::types::ProducerId;

    const KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);
    const DAY: Duration = Duration::from_secs(24 * 3_600);

    impl World {
        /// Makes a stable group of one member.
        fn join(&self, group: &GroupId) -> String {
            let groups = self.broker.groups();
            let joining = groups.join(group, request());
            self.pass(Duration::from_millis(GROUP_INITIAL_REBALANCE_DELAY_MS));
            let member_id = groups.describe(group).unwrap().members.remove(0).member_id;
            let request = SyncRequest {
                member_id: member_id.clone(),
                instance_id: None,
                generation: 1,
                protocol_type: None,
                protocol_name: None,
                assignments: Vec::new(),
            };
            let syncing = groups.sync(group, request);
            assert_eq!(self.state(group), Some(GroupState::Stable));
            drop((joining, syncing));
            member_id
        }

        /// What [`Broker::save_group`] does.
        fn save(&mut self, group: &GroupId) {
            let (version, row) = self.broker.groups().unsaved(group).unwrap();
            let groups = vec![(group.clone(), Some(row))];
            self.make(Commit { groups, ..Commit::default() }).unwrap();
            self.broker.groups().saved(group, version);
            assert!(self.broker.groups().unsaved(group).is_none());
        }

        fn state(&self, group: &GroupId) -> Option<GroupState> {
            self.broker.describe_group(group).map(|described| described.state)
        }

        fn commit(&mut self, group: &GroupId, partition: i32) {
            self.commit_at(group, partition, 5);
        }

        fn commit_at(&mut self, group: &GroupId, partition: i32, offset: i64) {
            let committed = CommittedOffset {
                offset,
                leader_epoch: 0,
                metadata: "note".to_owned(),
                commit_time_ms: self.clock.now_ms(),
            };
            let change = OffsetChange {
                owner: OffsetOwner::Group(group.clone()),
                partition: self.at(partition),
                expected: None,
                committed: Some(committed),
            };
            self.make(Commit { offsets: vec![change], ..Commit::default() }).unwrap();
        }

        /// What [`Broker::expire`] does about offsets.
        fn sweep(&mut self) {
            for commit in self.broker.expired_offsets(KEEP) {
                self.make(commit).unwrap();
            }
            let forgotten = self.broker.forget_empty_groups();
            self.make(forgotten).unwrap();
        }

        fn offsets(&self, group: &GroupId) -> usize {
            self.broker.committed(&OffsetOwner::Group(group.clone())).len()
        }
    }

    fn group() -> GroupId {
        GroupId::new("g").unwrap()
    }

    fn request() -> JoinRequest {
        JoinRequest {
            member_id: String::new(),
            instance_id: Some("i".to_owned()),
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: 1_800_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), bytes::Bytes::new())],
            require_known_member_id: false,
            supports_skip_assignment: false,
        }
    }

    fn batch(producer_id: i64, base_sequence: i32) -> RecordBatch {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.producer(ProducerId { id: producer_id, epoch: 0 }, base_sequence);
        batch.push(1, None, Some(b"value"), &[]).unwrap();
        batch.build().unwrap()
    }

    #[test]
    fn offsets_of_a_group_that_only_commits_go_with_its_last_commit() {
        let mut world = World::new(2);
        let group = group();
        world.commit(&group, 0);
        world.pass(DAY);
        world.commit(&group, 1);
        world.pass(KEEP - DAY);
        world.sweep();
        assert_eq!(world.offsets(&group), 2, "the group has committed since");
        world.pass(DAY - Duration::from_millis(1));
        world.sweep();
        assert_eq!(world.offsets(&group), 2);
        world.pass(Duration::from_millis(1));
        world.sweep();
        assert_eq!(world.offsets(&group), 0);
        world.reopen();
        assert_eq!(world.offsets(&group), 0, "forgetting is durable");
    }

    #[test]
    fn offsets_stay_as_long_as_the_group_has_members_and_a_while_after() {
        let mut world = World::new(2);
        let group = group();
        let member_id = world.join(&group);
        world.commit(&group, 0);
        // The member lives on without a word to commit.
        for _ in 0..400 {
            world.pass(Duration::from_secs(1_800 - 1));
            world.broker.groups().heartbeat(&group, &member_id, None, 1).unwrap();
        }
        world.sweep();
        assert_eq!(world.offsets(&group), 1, "it has a member");
        let leaving = LeavingMember { member_id, instance_id: None };
        world.broker.groups().leave(&group, &[leaving]).unwrap();
        world.pass(KEEP - Duration::from_millis(1));
        world.sweep();
        assert_eq!(world.offsets(&group), 1, "it had one until just now");
        assert_eq!(world.state(&group), Some(GroupState::Empty));
        world.pass(Duration::from_millis(1));
        world.sweep();
        assert_eq!((world.offsets(&group), world.state(&group)), (0, None));
    }

    #[test]
    fn a_group_without_offsets_goes_once_it_is_empty() {
        let mut world = World::new(2);
        let group = group();
        let member_id = world.join(&group);
        world.sweep();
        assert_eq!(world.state(&group), Some(GroupState::Stable));
        let leaving = LeavingMember { member_id, instance_id: None };
        world.broker.groups().leave(&group, &[leaving]).unwrap();
        assert_eq!(world.state(&group), Some(GroupState::Empty));
        world.sweep();
        assert_eq!(world.state(&group), None);
    }

    #[test]
    fn a_group_goes_on_after_a_restart_and_is_forgotten_for_good() {
        let mut world = World::new(1);
        let group = group();
        let member_id = world.join(&group);
        world.save(&group);
        world.reopen();
        let described = world.broker.describe_group(&group).unwrap();
        assert_eq!((described.state, described.generation), (GroupState::Stable, 1));
        assert_eq!(described.members[0].member_id, member_id);
        assert_eq!(world.broker.groups().heartbeat(&group, &member_id, Some("i"), 1), Ok(()));
        assert!(world.broker.groups().all_unsaved().is_empty());
        // Its members are given up like any others.
        world.commit(&group, 0);
        world.pass(Duration::from_secs(1_801));
        assert_eq!(world.state(&group), Some(GroupState::Empty));
        world.save(&group);
        world.pass(KEEP - DAY);
        world.reopen();
        assert_eq!(world.state(&group), Some(GroupState::Empty));
        world.sweep();
        assert_eq!(world.offsets(&group), 1);
        world.pass(DAY);
        world.sweep();
        assert_eq!((world.offsets(&group), world.state(&group)), (0, None));
        world.reopen();
        assert_eq!(world.state(&group), None);
    }

    #[test]
    fn a_commit_in_time_keeps_the_offsets() {
        let mut world = World::new(2);
        let group = group();
        world.commit(&group, 0);
        world.pass(KEEP);
        let mut late = world.broker.expired_offsets(KEEP);
        world.commit_at(&group, 0, 6);
        let outcome = world.committer.commit_group(vec![late.remove(0)]).remove(0);
        assert!(matches!(outcome, Err(CommitError::OffsetFenced { .. })), "{outcome:?}");
        assert_eq!(world.offsets(&group), 1);
    }

    #[test]
    fn offsets_of_a_topic_that_went_in_between_do_no_harm() {
        let mut world = World::new(2);
        let group = group();
        world.commit(&group, 0);
        world.pass(KEEP);
        let late = world.broker.expired_offsets(KEEP);
        world.committer.delete_topic(world.topic.id()).unwrap();
        let outcome = world.committer.commit_group(late).remove(0);
        assert!(matches!(outcome, Err(CommitError::OffsetFenced { .. })), "{outcome:?}");
    }

    #[test]
    fn producers_go_with_their_last_batch_also_from_disk() {
        let mut world = World::new(2);
        world.append(0, batch(1, 0)).unwrap();
        world.pass(DAY / 2);
        world.append(0, batch(2, 0)).unwrap();
        assert_eq!(world.committer.expire_producers(DAY).unwrap(), 0);
        world.pass(DAY / 2);
        assert_eq!(world.committer.expire_producers(DAY).unwrap(), 1);
        // Who is forgotten begins anywhere, who is not is held to its sequence.
        let gap = |outcome| matches!(outcome, Err(CommitError::OutOfOrderSequence { .. }));
        assert!(gap(world.append(0, batch(2, 7))));
        world.reopen();
        assert!(gap(world.append(0, batch(2, 7))));
        world.append(0, batch(1, 7)).unwrap();
        world.pass(DAY);
        assert_eq!(world.committer.expire_producers(DAY).unwrap(), 2);
        assert!(world.committer.producers.is_empty());
    }
}
