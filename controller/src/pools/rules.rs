//! What a pool may look like: pure checks, beyond those of [`Pool::validate`].

use crate::error::{Error, Rule};
use common::ipam::{Family, Pool, Range, Space};
use common::name::PoolName;
use ipnet::IpNet;

/// How many subnets, and how many exclusions, a pool may have: its record must fit one value of the store.
pub(super) const MAX: usize = 1_000;

/// Checks all of a pool that can be checked without knowing the others.
pub(crate) fn validate(pool: &Pool) -> Result<(), Error> {
    for (field, count) in [("subnets", pool.subnets.len()), ("exclude", pool.exclude.len())] {
        if count > MAX {
            return Err(Rule::TooMany { field, count, max: MAX }.into());
        }
    }
    pool.validate()?;
    for exclude in &pool.exclude {
        validate_exclusion(*exclude, &pool.subnets)?;
    }
    for subnet in &pool.subnets {
        validate_rest(*subnet, pool)?;
    }
    Ok(())
}

/// An exclusion must be a network that lies in one of the subnets: anything else is a mistake, and would be
/// without effect.
pub(super) fn validate_exclusion(exclude: IpNet, subnets: &[IpNet]) -> Result<(), Rule> {
    if exclude.trunc() != exclude {
        return Err(Rule::HostBits { exclude, meant: exclude.trunc() });
    }
    if !subnets.iter().any(|subnet| subnet.contains(&exclude)) {
        return Err(Rule::Outside { exclude, subnets: subnets.to_vec() });
    }
    Ok(())
}

fn validate_rest(subnet: IpNet, pool: &Pool) -> Result<(), Rule> {
    let family = Family::of(subnet.addr());
    let inside: Vec<Range> = pool
        .exclude
        .iter()
        .filter(|exclude| subnet.contains(*exclude))
        .map(|net| Range::of_net(*net))
        .collect();
    match Space::new(family, pool.block_bits(family), &[Range::of_net(subnet)], &inside) {
        Ok(space) if space.last_index().is_some() => Ok(()),
        Ok(_) | Err(_) => Err(Rule::NothingLeft { subnet, family }),
    }
}

/// Checks that the subnets share no address with any of the pools.
pub(super) fn no_overlap<'a>(
    subnets: &[IpNet],
    pools: impl Iterator<Item = (&'a PoolName, &'a Pool)>,
) -> Result<(), Error> {
    for (name, pool) in pools {
        for subnet in subnets {
            let range = Range::of_net(*subnet);
            if let Some(other) = pool.subnets.iter().find(|other| Range::of_net(**other).overlaps(&range)) {
                return Err(Error::Overlap { subnet: *subnet, pool: name.clone(), other: *other });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("net")
    }

    fn pool(subnets: &[&str], exclude: &[&str]) -> Pool {
        let mut pool = Pool::of_subnets(subnets.iter().map(|text| net(text)).collect());
        pool.exclude = exclude.iter().map(|text| net(text)).collect();
        pool
    }

    #[test]
    fn exclusions_must_make_sense() {
        for (exclude, reason) in [
            (&["10.0.0.1/30"][..], "exclude 10.0.0.1/30 has host bits set; did you mean 10.0.0.0/30?"),
            (&["10.1.0.0/30"], "lies in no subnet of the pool; it has 10.0.0.0/24, fd00::/120"),
            (&["10.0.0.0/8"], "lies in no subnet"),
            (&["fd00::/64"], "lies in no subnet"),
            (&["10.0.0.0/24"], "leave no ipv4 address of subnet 10.0.0.0/24"),
            (&["fd00::/121", "fd00::80/121"], "leave no ipv6 address of subnet fd00::/120"),
        ] {
            let error =
                validate(&pool(&["10.0.0.0/24", "fd00::/120"], exclude)).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
        let good = pool(&["10.0.0.0/24", "fd00::/120"], &["10.0.0.0/25", "10.0.0.128/32", "fd00::/124"]);
        validate(&good).expect("something is left of both");
    }

    #[test]
    fn counts_are_bounded() {
        let many: Vec<String> = (0..=MAX).map(|n| format!("10.{}.{}.0/28", n / 256, n % 256)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = validate(&pool(&many, &[])).expect_err("too many").to_string();
        assert_eq!(error, "subnets has 1001 entries, at most 1000 are allowed");
        validate(&pool(&many[1..], &[])).expect("as many as allowed");
    }

    #[test]
    fn overlap_names_both() {
        let name = PoolName::new("other").expect("name");
        let other = pool(&["10.9.0.0/16", "10.0.4.0/24"], &[]);
        let error = no_overlap(&[net("fd00::/64"), net("10.0.0.0/16")], std::iter::once((&name, &other)))
            .expect_err("overlap")
            .to_string();
        assert!(error.starts_with("subnet 10.0.0.0/16 overlaps 10.0.4.0/24 of pool other"), "{error}");
        no_overlap(&[net("10.0.0.0/22"), net("10.0.5.0/24")], std::iter::once((&name, &other)))
            .expect("beside it");
    }
}
