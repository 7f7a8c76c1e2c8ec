//! The pools that a pod chooses by its annotations.

use common::name::PodText;
use common::pool_id::Scoped;
use common::pool_list::PoolList;
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

/// The pools of its namespace that a pod chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The pools to try, in this order; not empty.
    pub pools: Vec<Chosen>,
    /// Whether the address is kept for the next pod of this name.
    pub fixed: bool,
    /// Whether an address of either family will do, as none was asked for.
    pub any_family: bool,
}

/// What a pod's annotations choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfPod {
    /// Pools of its namespace.
    Scoped(Choice),
    /// Pools that nodes lease blocks of.
    Listed(PoolList),
}

/// The annotations of a pod, each without blanks around it, and empty if it is not there.
struct Annotations<'a>(&'a BTreeMap<String, String>);

impl OfPod {
    /// Reads the annotations of a pod; `None` if they choose no pool. The service pool goes before the namespace pools,
    /// which are not looked at then. The error names the annotation.
    pub fn read(
        annotations: &BTreeMap<String, String>,
        namespace: &PodText,
        pod: &PodText,
        any_family: bool,
    ) -> Result<Option<Self>, String> {
        let annotations = Annotations(annotations);
        let (pools, listed) = (annotations.scoped(namespace)?, annotations.listed()?);
        let fixed = annotations.fixed(pod)?;
        if pools.is_empty() {
            return match annotations.cant_be_kept(fixed, listed.is_some()) {
                Some(reason) => Err(reason),
                None => Ok(listed.map(Self::Listed)),
            };
        }
        if listed.is_some() {
            return Err(format!(
                "annotations.{}: the pod names pools of its namespace too, by {}; one of the two can be",
                annotation::POOLS,
                annotations.scope(),
            ));
        }
        Ok(Some(Self::Scoped(Choice { pools, fixed, any_family })))
    }
}

impl Annotations<'_> {
    fn value(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    /// The annotation that names pools of the namespace.
    fn scope(&self) -> &'static str {
        let service = !self.value(annotation::SERVICE_POOL).is_empty();
        if service { annotation::SERVICE_POOL } else { annotation::NAMESPACE_POOLS }
    }

    fn scoped(&self, namespace: &PodText) -> Result<Vec<Chosen>, String> {
        let annotation = self.scope();
        let scoped = |name: &str| {
            let name = PodText::new(name).map_err(|error| format!("annotations.{annotation}: {error}"))?;
            Ok::<_, String>(Scoped { namespace: namespace.clone(), name })
        };
        let value = self.value(annotation);
        if annotation == annotation::SERVICE_POOL {
            return Ok(vec![Chosen::Service(scoped(value)?)]);
        }
        let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(|name| scoped(name).map(Chosen::Namespace)).collect()
    }

    fn listed(&self) -> Result<Option<PoolList>, String> {
        PoolList::read(self.value(annotation::POOLS))
            .map_err(|error| format!("annotations.{}: {error}", annotation::POOLS))
    }

    /// Whether the address is to be kept. Only the pod of a `StatefulSet` comes back under its name, so that for others
    /// none is.
    fn fixed(&self, pod: &PodText) -> Result<bool, String> {
        let (keep, fixed) = (self.value(annotation::KEEP), self.value(annotation::FIXED));
        if !matches!(keep, "" | "true" | "false") {
            return Err(format!(
                r#"annotations.{}: {keep:?} is neither "true" nor "false""#,
                annotation::KEEP
            ));
        }
        if !keep.is_empty() && !fixed.is_empty() && (keep == "true") != (fixed == "true") {
            return Err(format!(
                "annotations.{}: {keep:?} contradicts {}, which is {fixed:?}",
                annotation::KEEP,
                annotation::FIXED
            ));
        }
        Ok((keep == "true" || fixed == "true") && stateful_set(pod.as_str()).is_some())
    }

    /// Why no address is kept for the pod, though it asks for that. `listed`: it names pools that nodes lease blocks of.
    fn cant_be_kept(&self, fixed: bool, listed: bool) -> Option<String> {
        let keep = self.value(annotation::KEEP) == "true";
        let name = if keep { annotation::KEEP } else { annotation::FIXED };
        (fixed && (keep || listed)).then(|| {
            format!(
                "annotations.{name}: the address can't be kept, as its block is a node's and the pod may come back on \
                 another one; name pools of the namespace, by {} or {}",
                annotation::NAMESPACE_POOLS,
                annotation::SERVICE_POOL
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pod: &str, annotations: &[(&str, &str)]) -> Result<Option<OfPod>, String> {
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let text = |text| PodText::new(text).expect("text");
        OfPod::read(&annotations.collect(), &text("team"), &text(pod), false)
    }

    fn names(chosen: Option<OfPod>) -> Vec<String> {
        let name = |chosen: &Chosen| match chosen {
            Chosen::Service(pool) => format!("service {pool}"),
            Chosen::Namespace(pool) => format!("namespace {pool}"),
        };
        match chosen {
            None => Vec::new(),
            Some(OfPod::Scoped(choice)) => choice.pools.iter().map(name).collect(),
            Some(OfPod::Listed(pools)) => pools.iter().map(|pool| format!("pool {pool}")).collect(),
        }
    }

    const SERVICE: &str = "hcipam_service_ippool";
    const POOLS: &str = "hcipam_ns_ippool";
    const FIXED: &str = "hcipm_ip_fixed";
    const LIST: &str = "coil.io/pool";
    const KEEP: &str = "coil.io/fixed";

    #[test]
    fn pools_in_order() {
        for (annotations, expected) in [
            (&[][..], &[][..]),
            (&[("other", "x"), (POOLS, ""), (SERVICE, " "), (LIST, " "), (KEEP, "")], &[]),
            (&[(FIXED, "true")], &[]),
            (&[(KEEP, "false")], &[]),
            (&[(POOLS, "a")], &["namespace team/a"]),
            (&[(POOLS, "a, b,,c")], &["namespace team/a", "namespace team/b", "namespace team/c"]),
            (&[(SERVICE, "s"), (POOLS, "a,b")], &["service team/s"]),
            (&[(LIST, "b, a")], &["pool b", "pool a"]),
            (&[(LIST, "a"), (KEEP, "false"), (POOLS, "")], &["pool a"]),
        ] {
            assert_eq!(names(read("p-0", annotations).expect("valid")), expected, "{annotations:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_annotation() {
        for (annotations, expected) in [
            (&[(POOLS, "a,b\u{7}")][..], "annotations.hcipam_ns_ippool: "),
            (&[(LIST, "a,B")], "annotations.coil.io/pool: pool name \"B\" is malformed: "),
            (&[(LIST, "a,")], "annotations.coil.io/pool: a name is missing"),
            (
                &[(LIST, "a"), (POOLS, "b")],
                "annotations.coil.io/pool: the pod names pools of its namespace too, by hcipam_ns_ippool",
            ),
            (
                &[(LIST, "a"), (SERVICE, "b"), (POOLS, "c")],
                "annotations.coil.io/pool: the pod names pools of its namespace too, by hcipam_service_ippool",
            ),
            (&[(KEEP, "True")], "annotations.coil.io/fixed: \"True\" is neither \"true\" nor \"false\""),
            (&[(POOLS, "a"), (KEEP, "yes")], "annotations.coil.io/fixed: \"yes\" is neither"),
            (
                &[(POOLS, "a"), (KEEP, "false"), (FIXED, "true")],
                "annotations.coil.io/fixed: \"false\" contradicts hcipm_ip_fixed, which is \"true\"",
            ),
            (
                &[(POOLS, "a"), (KEEP, "true"), (FIXED, "no")],
                "annotations.coil.io/fixed: \"true\" contradicts",
            ),
            (
                &[(KEEP, "true")],
                "annotations.coil.io/fixed: the address can't be kept, as its block is a node's",
            ),
            (&[(LIST, "a"), (KEEP, "true")], "annotations.coil.io/fixed: the address can't be kept"),
            (&[(LIST, "a"), (FIXED, "true")], "annotations.hcipm_ip_fixed: the address can't be kept"),
        ] {
            let error = read("db-0", annotations).expect_err(expected);
            assert!(error.starts_with(expected), "{annotations:?}: {error}");
        }
    }

    #[test]
    fn only_pods_of_a_set_are_kept_an_address() {
        let fixed = |pod, name, value| match read(pod, &[(POOLS, "a"), (name, value)]).expect("valid") {
            Some(OfPod::Scoped(choice)) => choice.fixed,
            other => panic!("{other:?}"),
        };
        for name in [FIXED, KEEP] {
            assert!(fixed("db-0", name, "true") && fixed("a-b-12", name, "true"));
            assert!(!fixed("db-0", name, "false"));
            for pod in ["db", "db-", "-0", "db-x1"] {
                assert!(!fixed(pod, name, "true"), "{pod}");
            }
        }
        assert!(!fixed("db-0", FIXED, "True"));
        let both = read("db-0", &[(POOLS, "a"), (FIXED, "true"), (KEEP, "true")]).expect("valid");
        assert!(matches!(both, Some(OfPod::Scoped(choice)) if choice.fixed));
        // Whoever does not come back has nothing to be kept.
        assert_eq!(names(read("web-x1", &[(LIST, "a"), (KEEP, "true")]).expect("valid")), ["pool a"]);
    }
}
