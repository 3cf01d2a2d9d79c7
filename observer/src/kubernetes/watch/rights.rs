//! What the API server lets us do, asked once: for `observer doctor`.

use std::time::Duration;

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::Pod,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    core::PartialObjectMeta,
};

use super::chain;
use crate::kubernetes::account::{Heard, Right, Unheard};

/// How long all questions may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take until the server is connected.
const CONNECT: Duration = Duration::from_secs(3);

/// Asks which of these rights we lack, and whether a pod is on the node.
///
/// # Errors
/// The server can't be reached, or does not know us.
pub async fn ask(
    mut config: Config,
    rights: &[&'static Right],
    node: Option<&str>,
) -> Result<Heard, Unheard> {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(PATIENCE);
    let address = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| Unheard::Away(chain(&error)))?;
    let all = async {
        let mut lacking = Vec::new();
        for right in rights {
            if !has(&client, right).await? {
                lacking.push(*right);
            }
        }
        let has_pods = match node {
            Some(node) => pods_on(&client, node).await?,
            None => None,
        };
        Ok(Heard { lacking, has_pods })
    };
    match tokio::time::timeout(PATIENCE, all).await {
        Ok(heard) => heard.map_err(|error: kube::Error| match error {
            kube::Error::Api(status) => Unheard::Stranger(status.message),
            error => Unheard::Away(format!("{address}: {}", chain(&error))),
        }),
        Err(_) => Err(Unheard::Away(format!("{address}: it does not answer"))),
    }
}

async fn has(client: &Client, right: &Right) -> Result<bool, kube::Error> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    for verb in right.verbs {
        let attributes = ResourceAttributes {
            group: Some(right.group.to_owned()),
            resource: Some(right.resource.to_owned()),
            name: right.name.map(str::to_owned),
            verb: Some((*verb).to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn pods_on(client: &Client, node: &str) -> Result<Option<bool>, kube::Error> {
    let pods: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
    let one = ListParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .limit(1);
    match pods.list_metadata(&one).await {
        Ok(list) => Ok(Some(!list.items.is_empty())),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(error),
    }
}
