//! The pools that a pod chooses by its annotations.

use common::name::PodText;
use common::pool_id::Scoped;
use common::store::record::stateful_set;
use common::wire::node::annotation;
use std::collections::BTreeMap;

/// A pool that a pod names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// A service pool.
    Service(Scoped),
    /// A namespace pool.
    Namespace(Scoped),
}

/// What a pod's annotations choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The pools to try, in this order; not empty.
    pub pools: Vec<Chosen>,
    /// Whether the address is kept for the next pod of this name.
    pub fixed: bool,
    /// Whether an address of either family will do, as none was asked for.
    pub any_family: bool,
}

impl Choice {
    /// Reads the annotations of a pod; `None` if they choose no pool. The service pool goes before the namespace pools,
    /// which are not looked at then. Only the pod of a `StatefulSet` comes back under its name, so that for others no
    /// address is kept. The error names the annotation.
    pub fn of(
        annotations: &BTreeMap<String, String>,
        namespace: &PodText,
        pod: &PodText,
        any_family: bool,
    ) -> Result<Option<Self>, String> {
        let value = |name: &str| annotations.get(name).map_or("", |value| value.trim());
        let scoped = |annotation: &str, name: &str| {
            let name = PodText::new(name).map_err(|error| format!("annotations.{annotation}: {error}"))?;
            Ok::<_, String>(Scoped { namespace: namespace.clone(), name })
        };
        let service = value(annotation::SERVICE_POOL);
        let pools = if service.is_empty() {
            let names =
                value(annotation::NAMESPACE_POOLS).split(',').map(str::trim).filter(|name| !name.is_empty());
            let pools = names.map(|name| scoped(annotation::NAMESPACE_POOLS, name).map(Chosen::Namespace));
            pools.collect::<Result<Vec<_>, _>>()?
        } else {
            vec![Chosen::Service(scoped(annotation::SERVICE_POOL, service)?)]
        };
        let fixed = value(annotation::FIXED) == "true" && stateful_set(pod.as_str()).is_some();
        Ok((!pools.is_empty()).then_some(Self { pools, fixed, any_family }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(pod: &str, annotations: &[(&str, &str)]) -> Result<Option<Choice>, String> {
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let text = |text| PodText::new(text).expect("text");
        Choice::of(&annotations.collect(), &text("team"), &text(pod), false)
    }

    fn names(choice: Option<&Choice>) -> Vec<String> {
        let name = |chosen: &Chosen| match chosen {
            Chosen::Service(pool) => format!("service {pool}"),
            Chosen::Namespace(pool) => format!("namespace {pool}"),
        };
        choice.into_iter().flat_map(|choice| &choice.pools).map(name).collect()
    }

    #[test]
    fn pools_in_order() {
        let (service, pools, fixed) = ("hcipam_service_ippool", "hcipam_ns_ippool", "hcipm_ip_fixed");
        for (annotations, expected) in [
            (&[][..], &[][..]),
            (&[("other", "x"), (pools, ""), (service, " ")], &[]),
            (&[(fixed, "true")], &[]),
            (&[(pools, "a")], &["namespace team/a"]),
            (&[(pools, "a, b,,c")], &["namespace team/a", "namespace team/b", "namespace team/c"]),
            (&[(service, "s"), (pools, "a,b")], &["service team/s"]),
        ] {
            assert_eq!(
                names(choice("p-0", annotations).expect("valid").as_ref()),
                expected,
                "{annotations:?}"
            );
        }
        let error = choice("p", &[(pools, "a,b\u{7}")]).expect_err("a control character");
        assert!(error.starts_with("annotations.hcipam_ns_ippool: "), "{error}");
    }

    #[test]
    fn only_pods_of_a_set_are_kept_an_address() {
        let fixed = |pod, value| {
            let annotations = [("hcipam_ns_ippool", "a"), ("hcipm_ip_fixed", value)];
            choice(pod, &annotations).expect("valid").expect("pools").fixed
        };
        assert!(fixed("db-0", "true") && fixed("a-b-12", "true"));
        for (pod, value) in [
            ("db-0", "false"),
            ("db-0", "True"),
            ("db", "true"),
            ("db-", "true"),
            ("-0", "true"),
            ("db-x1", "true"),
        ] {
            assert!(!fixed(pod, value), "{pod} {value}");
        }
    }
}
