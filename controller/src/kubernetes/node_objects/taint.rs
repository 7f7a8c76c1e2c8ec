//! The taint by which a node takes no pods before its coild is there: it is taken away, and nothing else.

use super::super::tell::{TellError, answer};
use super::merge;
use common::store::retry::{Attempts, IsConflict, seed};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::{Value, json};

/// Its key; `kubelet --register-with-taints=coil.io/not-ready=:NoSchedule` sets it.
pub(super) const NOT_READY: &str = "coil.io/not-ready";

/// What changes a Node to one without the taint; nothing if it has none. It names the version of which it knows the other
/// taints: the API server refuses it (409) when they may be others.
fn removal(node: &Node) -> Option<Value> {
    let version = node.metadata.resource_version.as_ref()?;
    let taints = node.spec.as_ref()?.taints.as_ref()?;
    let rest: Vec<_> = taints.iter().filter(|taint| taint.key != NOT_READY).collect();
    if rest.len() == taints.len() {
        return None;
    }
    // In a merge patch, null removes what it stands for.
    let rest = if rest.is_empty() { Value::Null } else { json!(rest) };
    Some(json!({"metadata": {"resourceVersion": version}, "spec": {"taints": rest}}))
}

/// The API server has refused a change, or was not asked.
struct Failed(TellError);

impl IsConflict for Failed {
    fn is_conflict(&self) -> bool {
        matches!(&self.0, TellError::Kubernetes(kube::Error::Api(status)) if status.code == 409)
    }
}

/// Takes the taint from a Node that may have it.
pub(super) async fn remove(nodes: &Api<Node>, name: &str) -> Result<(), TellError> {
    let mut attempts = Attempts::new(seed(name));
    loop {
        match try_to_remove(nodes, name).await {
            Ok(()) => return Ok(()),
            Err(error) => attempts.after(Failed(error)).await.map_err(|Failed(error)| error)?,
        }
    }
}

async fn try_to_remove(nodes: &Api<Node>, name: &str) -> Result<(), TellError> {
    let Some(node) = answer(nodes.get_opt(name)).await? else { return Ok(()) };
    let Some(patch) = removal(&node) else { return Ok(()) };
    merge(nodes, name, patch).await?;
    tracing::info!(node = name, taint = NOT_READY, "coild is alive: the taint is taken away");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(taints: &Value) -> Node {
        let node = json!({"metadata": {"name": "n1", "resourceVersion": "17"}, "spec": {"taints": taints}});
        serde_json::from_value(node).expect("a node")
    }

    #[test]
    fn only_this_taint_goes() {
        let other = json!({"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule",
                           "timeAdded": "2026-01-01T00:00:00Z"});
        let own = json!({"key": NOT_READY, "effect": "NoSchedule"});
        let own_too = json!({"key": NOT_READY, "effect": "NoExecute", "value": "x"});
        let patch = |rest| Some(json!({"metadata": {"resourceVersion": "17"}, "spec": {"taints": rest}}));
        for (taints, wanted) in [
            (json!([own]), patch(Value::Null)),
            (json!([own, other, own_too]), patch(json!([other]))),
            (json!([other]), None),
            (json!([]), None),
            (Value::Null, None),
        ] {
            assert_eq!(removal(&node(&taints)), wanted, "{taints}");
        }
        let mut node = node(&json!([own]));
        node.metadata.resource_version = None;
        assert_eq!(removal(&node), None, "nothing is changed blindly");
    }
}
