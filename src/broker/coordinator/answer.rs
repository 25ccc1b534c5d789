//! The way of an answer from a group to who waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::Coordinator;
use crate::broker::group::{GroupError, JoinResponse, Reply, SyncResponse, Token};
use crate::types::GroupId;

/// The answer to a join or a sync. The request is made when this is, not when it is first polled;
/// dropping it tells the group that nobody waits any more.
#[derive(Debug)]
pub struct Pending<T> {
    answer: oneshot::Receiver<Answer<T>>,
    /// Whom to tell; `None` once answered.
    waiting: Option<(Coordinator, GroupId, Token)>,
}

impl<T> Pending<T> {
    /// The answer to a request that a group has taken.
    pub(super) fn new(
        answer: oneshot::Receiver<Answer<T>>,
        coordinator: Coordinator,
        group: GroupId,
        token: Token,
    ) -> Self {
        Self { answer, waiting: Some((coordinator, group, token)) }
    }

    /// The answer to a request that reached no group.
    pub(super) fn refused(error: GroupError) -> Self {
        let (sender, answer) = oneshot::channel();
        drop(sender.send(Err(error)));
        Self { answer, waiting: None }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, GroupError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(context));
        self.waiting = None;
        Poll::Ready(answer.unwrap_or(Err(GroupError::Stopped)))
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Some((coordinator, group, token)) = self.waiting.take() {
            coordinator.cancel(&group, token);
        }
    }
}

pub(super) type Answer<T> = Result<T, GroupError>;

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Waiter {
    Join(oneshot::Sender<Answer<JoinResponse>>),
    Sync(oneshot::Sender<Answer<SyncResponse>>),
}

impl Waiter {
    /// Pairs the reply with who waits for it.
    pub(super) fn delivery(self, reply: Reply) -> Option<Delivery> {
        match (self, reply) {
            (Self::Join(to), Reply::Join(_, answer)) => Some(Delivery::Join(to, answer)),
            (Self::Sync(to), Reply::Sync(_, answer)) => Some(Delivery::Sync(to, answer)),
            _ => None,
        }
    }
}

/// A reply on its way to who waits for it.
pub(super) enum Delivery {
    Join(oneshot::Sender<Answer<JoinResponse>>, Answer<JoinResponse>),
    Sync(oneshot::Sender<Answer<SyncResponse>>, Answer<SyncResponse>),
}

pub(super) fn deliver(delivery: Delivery) {
    // Failing means that the client is gone; its session will end.
    match delivery {
        Delivery::Join(to, answer) => drop(to.send(answer)),
        Delivery::Sync(to, answer) => drop(to.send(answer)),
    }
}
