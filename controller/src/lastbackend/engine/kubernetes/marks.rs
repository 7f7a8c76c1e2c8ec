//! What objects are marked with, and read by. The labels are those of the other engines.

use crate::lastbackend::engine::wanted::Wanted;
use kube::core::ObjectMeta;
use std::collections::BTreeMap;

/// Whose it is: the engine's id in the store.
pub(super) const OWNER: &str = "coil/owner";
const NAMESPACE: &str = "coil/namespace";
const SERVICE: &str = "coil/service";
const UID: &str = "coil/uid";
const SHAPE: &str = "coil/shape";
/// With the value `allowed`, on a Namespace that was there before: services may run in it.
const SERVICES: &str = "coil/services";

type Labels = BTreeMap<String, String>;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|&(label, value)| (label.to_owned(), value.to_owned())).collect()
}

/// The labels of a Namespace.
pub(super) fn of_namespace(owner: &str, name: &str) -> Labels {
    labels(&[(OWNER, owner), (NAMESPACE, name)])
}

/// The labels of what belongs to a service.
pub(super) fn of_service(owner: &str, wanted: &Wanted) -> Labels {
    labels(&[
        (OWNER, owner),
        (NAMESPACE, wanted.id().namespace.as_str()),
        (SERVICE, wanted.id().name.as_str()),
        (UID, wanted.uid()),
        (SHAPE, wanted.shape()),
    ])
}

/// The labels by which the pods of a service are found. They never change.
pub(super) fn selector(owner: &str, wanted: &Wanted) -> Labels {
    labels(&[(OWNER, owner), (UID, wanted.uid())])
}

fn label<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(name).map(String::as_str)
}

/// What the marks of something that belongs to a service say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) service: (String, String),
    pub(super) uid: String,
    pub(super) shape: String,
}

/// Nothing if they are not all there.
pub(super) fn read(meta: &ObjectMeta) -> Option<Marks> {
    let label = |name| label(meta, name).map(str::to_owned);
    Some(Marks {
        // A copy of an object's labels elsewhere marks nothing.
        service: (label(NAMESPACE).filter(|name| meta.namespace.as_ref() == Some(name))?, label(SERVICE)?),
        uid: label(UID)?,
        shape: label(SHAPE)?,
    })
}

/// The same of an object that has the name of its service, as those have that the engine makes.
pub(super) fn read_object(meta: &ObjectMeta) -> Option<Marks> {
    read(meta).filter(|marks| meta.name.as_ref() == Some(&marks.service.1))
}

/// Whether something was made for this installation, and, if `uid` is given, for the service that has it.
pub(super) fn is_of(meta: &ObjectMeta, owner: &str, uid: Option<&str>) -> bool {
    label(meta, OWNER) == Some(owner) && uid.is_none_or(|uid| label(meta, UID) == Some(uid))
}

/// Whether services may run in a Namespace that was there before.
pub(super) fn allows_services(meta: &ObjectMeta) -> bool {
    label(meta, SERVICES) == Some("allowed")
}
