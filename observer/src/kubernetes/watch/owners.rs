//! What stands above a controller whose name does not tell it: asked for once, and remembered.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::ReplicaSet, batch::v1::Job};
use kube::{Api, Client, core::PartialObjectMeta};
use serde::de::DeserializeOwned;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Instant,
};

use super::objects::controller;
use crate::kubernetes::{Owner, OwnerKind, Pod, Store};

/// Answers that are remembered, at most.
const MOST_ANSWERS: usize = 1024;
/// Questions that may wait; another is asked with its pod's next change.
const MOST_QUESTIONS: usize = 256;
/// Questions at once, and the time in which one more may be asked: 600 an hour, whatever happens.
const AT_ONCE: u32 = 60;
const EVERY: Duration = Duration::from_secs(6);

/// A controller to be asked for.
pub(super) struct Question {
    namespace: String,
    owner: Owner,
}

pub(super) struct Owners {
    store: Arc<Store>,
    answers: Mutex<Answers>,
    questions: Sender<Question>,
}

#[derive(Default)]
struct Answers {
    by_uid: HashMap<String, Option<Owner>>,
    order: VecDeque<String>,
}

impl Answers {
    fn put(&mut self, uid: &str, above: Option<Owner>) {
        if self.by_uid.insert(uid.to_owned(), above).is_none() {
            self.order.push_back(uid.to_owned());
        }
        while self.order.len() > MOST_ANSWERS {
            if let Some(oldest) = self.order.pop_front() {
                self.by_uid.remove(&oldest);
            }
        }
    }
}

impl Owners {
    /// With the questions, which [`answer`](Self::answer) takes.
    pub(super) fn new(store: Arc<Store>) -> (Arc<Self>, Receiver<Question>) {
        let (questions, asked) = channel(MOST_QUESTIONS);
        let owners = Self {
            store,
            answers: Mutex::default(),
            questions,
        };
        (Arc::new(owners), asked)
    }

    /// Puts a pod into the store, with the answer where there is one; else asks.
    pub(super) fn apply(&self, pod: Pod) {
        let Some(owner) = pod.asked().cloned() else {
            self.store.apply(pod);
            return;
        };
        // Under the lock, so that an answer comes before this or finds the pod.
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.by_uid.get(&owner.uid).cloned();
        let namespace = pod.namespace().to_owned();
        match &answer {
            Some(above) => self.store.apply(pod.answered(above.as_ref())),
            None => self.store.apply(pod),
        }
        drop(answers);
        if answer.is_none() {
            let _ = self.questions.try_send(Question { namespace, owner });
        }
    }

    fn answered(&self, uid: &str, above: Option<Owner>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.put(uid, above.clone());
        self.store.answer(uid, above.as_ref());
    }

    fn is_answered(&self, uid: &str) -> bool {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.by_uid.contains_key(uid)
    }

    /// Asks, for as long as the program runs.
    pub(super) async fn answer(self: Arc<Self>, client: Client, mut asked: Receiver<Question>) {
        let mut allowance = AT_ONCE;
        let mut since = Instant::now();
        while let Some(Question { namespace, owner }) = asked.recv().await {
            if self.is_answered(&owner.uid) {
                continue;
            }
            if allowance == 0 {
                tokio::time::sleep_until(since + EVERY).await;
            }
            let gained = since.elapsed().as_secs() / EVERY.as_secs();
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            since += EVERY.saturating_mul(gained);
            allowance = allowance
                .saturating_add(gained)
                .min(AT_ONCE)
                .saturating_sub(1);
            let found = match owner.kind {
                OwnerKind::ReplicaSet => ask::<ReplicaSet>(&client, &namespace, &owner).await,
                OwnerKind::Job => ask::<Job>(&client, &namespace, &owner).await,
                _ => Ok(None),
            };
            match found {
                Ok(above) => self.answered(&owner.uid, above),
                Err(error) => tracing::debug!(
                    error = super::chain(&error),
                    "a controller can't be asked for"
                ),
            }
        }
    }
}

/// What stands above a controller. Nothing, where it is gone or must not be asked for. An error is asked again with the next
/// change of a pod.
async fn ask<K>(
    client: &Client,
    namespace: &str,
    owner: &Owner,
) -> Result<Option<Owner>, kube::Error>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client.clone(), namespace);
    match api.get(&owner.name).await {
        // Another by the same name is not the pod's.
        Ok(found) if found.metadata.uid.as_deref() != Some(&*owner.uid) => Ok(None),
        Ok(found) => Ok(controller(
            found.metadata.owner_references.unwrap_or_default(),
        )),
        Err(kube::Error::Api(status)) if [403, 404].contains(&status.code) => Ok(None),
        Err(error) => Err(error),
    }
}
