//! The keys of the platform API: namespaces, services, what runs of them, what was done to them, and who runs them.
//! Names in them stand for themselves.

use crate::lastbackend::{Name, ServiceId};
use crate::store::KeyRange;

/// The engine that runs the services, whether or not it is there at the moment.
pub const ENGINE: &str = "engine";
/// There while an engine runs the services.
pub const ENGINE_ALIVE: &str = "engine-alive";
/// Stands for the namespace itself where a service is named.
const ITSELF: &str = "-";

/// `namespace/<namespace>`
pub fn namespace(name: &Name) -> String {
    format!("namespace/{name}")
}

/// All namespaces.
pub fn namespaces() -> KeyRange {
    KeyRange::prefix("namespace/")
}

/// The namespace that a key of [`namespaces`] names.
pub fn parse_namespace(key: &str) -> Option<Name> {
    Name::new(key.strip_prefix("namespace/")?).ok()
}

/// `service/<namespace>/<service>`
pub fn service(id: &ServiceId) -> String {
    format!("service/{}/{}", id.namespace, id.name)
}

/// The services of a namespace.
pub fn services(namespace: &Name) -> KeyRange {
    KeyRange::prefix(format!("service/{namespace}/"))
}

/// The services of all namespaces.
pub fn all_services() -> KeyRange {
    KeyRange::prefix("service/")
}

/// The service that a key of [`all_services`] names.
pub fn parse_service(key: &str) -> Option<ServiceId> {
    parse_id(key.strip_prefix("service/")?)
}

/// `run/<namespace>/<service>`
pub fn run(id: &ServiceId) -> String {
    format!("run/{}/{}", id.namespace, id.name)
}

/// What runs of the services of a namespace.
pub fn runs(namespace: &Name) -> KeyRange {
    KeyRange::prefix(format!("run/{namespace}/"))
}

/// What runs of all services.
pub fn all_runs() -> KeyRange {
    KeyRange::prefix("run/")
}

/// The service that a key of [`all_runs`] names.
pub fn parse_run(key: &str) -> Option<ServiceId> {
    parse_id(key.strip_prefix("run/")?)
}

/// `activity/<namespace>/<service>/<time>`
///
/// The time is written such that what happened last comes first; `-` stands for the namespace itself.
pub fn activity(namespace: &Name, service: Option<&Name>, nanos: u64) -> String {
    format!("activity/{namespace}/{}/{:016x}", service.map_or(ITSELF, Name::as_str), u64::MAX - nanos)
}

/// All that was done to a namespace, or to a service of it, the last first.
pub fn activities(namespace: &Name, service: Option<&Name>) -> KeyRange {
    KeyRange::prefix(format!("activity/{namespace}/{}/", service.map_or(ITSELF, Name::as_str)))
}

/// Whose a key of [`activities`] is, and the time in nanoseconds since the Unix epoch.
pub fn parse_activity(key: &str) -> Option<(Name, Option<Name>, u64)> {
    let mut parts = key.strip_prefix("activity/")?.split('/');
    let namespace = Name::new(parts.next()?).ok()?;
    let service = match parts.next()? {
        ITSELF => None,
        name => Some(Name::new(name).ok()?),
    };
    let time = parts.next().filter(|time| time.len() == 16)?;
    let lower = time.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let time = u64::from_str_radix(time, 16).ok().filter(|_| lower)?;
    parts.next().is_none().then_some((namespace, service, u64::MAX - time))
}

fn parse_id(text: &str) -> Option<ServiceId> {
    let (namespace, name) = text.split_once('/')?;
    Some(ServiceId { namespace: Name::new(namespace).ok()?, name: Name::new(name).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_both_ways() {
        let name = |text| Name::new(text).expect("name");
        let id = ServiceId { namespace: name("demo"), name: name("web") };
        assert_eq!(service(&id), "service/demo/web");
        assert_eq!(parse_namespace(&namespace(&id.namespace)), Some(id.namespace.clone()));
        assert_eq!(parse_service(&service(&id)), Some(id.clone()));
        assert_eq!(parse_run(&run(&id)), Some(id.clone()));
        assert!(services(&id.namespace).contains("service/demo/web"));
        assert!(!services(&name("dem")).contains("service/demo/web"), "not by a prefix");
        let (first, second) = (activity(&id.namespace, Some(&id.name), 5), activity(&id.namespace, None, 7));
        assert_eq!(parse_activity(&first), Some((id.namespace.clone(), Some(id.name.clone()), 5)));
        assert_eq!(parse_activity(&second), Some((id.namespace.clone(), None, 7)));
        assert!(activity(&id.namespace, None, 8) < second, "the last comes first");
        assert!(activities(&id.namespace, Some(&id.name)).contains(&first));
        assert!(!activities(&id.namespace, None).contains(&first));
    }

    #[test]
    fn malformed_keys_are_nobody() {
        for key in [
            "",
            "namespace/",
            "namespace/a/b",
            "namespace/A",
            "service/a",
            "service/a/",
            "service/a/b/c",
            "run/a/B",
        ] {
            assert_eq!(parse_namespace(key), None, "{key}");
            assert_eq!((parse_service(key), parse_run(key)), (None, None), "{key}");
        }
        for key in [
            "activity/a/b",
            "activity/a/b/1",
            "activity/a/-/000000000000000G",
            "activity/a/-/+00000000000000f",
        ] {
            assert_eq!(parse_activity(key), None, "{key}");
        }
    }
}
