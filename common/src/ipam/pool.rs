//! A pool as an operator configures it, and the spaces that follow from it.

use super::addr::{Family, Range, Unit};
use super::space::{Space, SpaceError};
use super::tenant_block::TenantBlock;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Which address of a block, if any, is its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BlockGateway {
    /// None: pods are routed one by one, and every address of a block is given.
    #[default]
    None,
    /// The first one. The block is an L2 subnet of its own: its first address is never given, nor, in IPv4, its
    /// last, which is the broadcast address.
    First,
}

/// What makes a pool invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// A subnet has bits set beyond its prefix.
    #[error("subnet {subnet} has host bits set; did you mean {meant}?")]
    HostBits {
        /// As given.
        subnet: IpNet,
        /// The network that contains it.
        meant: IpNet,
    },
    /// Two subnets of the pool share addresses.
    #[error("subnets {0} and {1} overlap")]
    Overlap(IpNet, IpNet),
    /// The block size does not fit the family, or is too large.
    #[error("{field} {size} is not between {min} and {max}")]
    BlockSize {
        /// Name of the field.
        field: &'static str,
        /// As given: a prefix length.
        size: u8,
        /// The shortest prefix allowed.
        min: u8,
        /// The longest prefix allowed.
        max: u8,
    },
    /// A subnet is smaller than a block.
    #[error("subnet {subnet} is smaller than a block (/{size})")]
    SubnetSmallerThanBlock {
        /// The subnet.
        subnet: IpNet,
        /// Prefix length of a block.
        size: u8,
    },
    /// A pool needs a subnet.
    #[error("the pool has no subnet; `subnets` must name one at least")]
    NoSubnet,
}

/// A pool: a named set of subnets, cut in blocks. Lengths are prefix lengths, as in CIDR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pool {
    /// The subnets, of both families, without overlap.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Cidr>))]
    pub subnets: Vec<IpNet>,
    /// Prefix length of an IPv4 block; 28 unless given.
    #[serde(default = "default_block_size")]
    pub block_size: u8,
    /// Prefix length of an IPv6 block; 124 unless given.
    #[serde(default = "default_block_size_v6")]
    pub block_size_v6: u8,
    /// Addresses that are never given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Cidr>))]
    pub exclude: Vec<IpNet>,
    /// Whether a block has a gateway of its own.
    #[serde(default)]
    pub block_gateway: BlockGateway,
    /// A disabled pool gives nothing new; what is held stays held.
    #[serde(default)]
    pub disabled: bool,
    /// The tenant's block of which its addresses are: its only subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_block: Option<TenantBlock>,
}

fn default_block_size() -> u8 {
    Pool::BLOCK_SIZE
}

fn default_block_size_v6() -> u8 {
    Pool::BLOCK_SIZE_V6
}

impl Pool {
    /// Default prefix length of an IPv4 block.
    pub const BLOCK_SIZE: u8 = 28;
    /// Default prefix length of an IPv6 block.
    pub const BLOCK_SIZE_V6: u8 = 124;

    /// A routed pool of these subnets, all else by default.
    pub fn of_subnets(subnets: Vec<IpNet>) -> Self {
        Self {
            subnets,
            block_size: Self::BLOCK_SIZE,
            block_size_v6: Self::BLOCK_SIZE_V6,
            exclude: Vec::new(),
            block_gateway: BlockGateway::None,
            disabled: false,
            from_block: None,
        }
    }

    /// A block of this family has 2^bits addresses.
    pub fn block_bits(&self, family: Family) -> u8 {
        let prefix = match family {
            Family::V4 => self.block_size,
            Family::V6 => self.block_size_v6,
        };
        family.bits().saturating_sub(prefix)
    }

    /// Whether the pool has a subnet of this family.
    pub fn has(&self, family: Family) -> bool {
        self.subnets.iter().any(|subnet| Family::of(subnet.addr()) == family)
    }

    /// Checks everything that can be checked without knowing the other pools.
    pub fn validate(&self) -> Result<(), PoolError> {
        if self.subnets.is_empty() {
            return Err(PoolError::NoSubnet);
        }
        self.validate_block_size("block_size", self.block_size, Family::V4)?;
        self.validate_block_size("block_size_v6", self.block_size_v6, Family::V6)?;
        for (position, subnet) in self.subnets.iter().enumerate() {
            if subnet.trunc() != *subnet {
                return Err(PoolError::HostBits { subnet: *subnet, meant: subnet.trunc() });
            }
            let family = Family::of(subnet.addr());
            let size = family.bits() - self.block_bits(family);
            if subnet.prefix_len() > size {
                return Err(PoolError::SubnetSmallerThanBlock { subnet: *subnet, size });
            }
            let range = Range::of_net(*subnet);
            if let Some(other) = self.subnets[..position].iter().find(|s| Range::of_net(**s).overlaps(&range))
            {
                return Err(PoolError::Overlap(*other, *subnet));
            }
        }
        Ok(())
    }

    fn validate_block_size(&self, field: &'static str, size: u8, family: Family) -> Result<(), PoolError> {
        let min = family.bits() - Unit::MAX_BITS;
        // A block with a gateway needs room for one more address besides it and the broadcast address.
        let max = match self.block_gateway {
            BlockGateway::None => family.bits(),
            BlockGateway::First => family.bits() - 2,
        };
        if (min..=max).contains(&size) { Ok(()) } else { Err(PoolError::BlockSize { field, size, min, max }) }
    }

    /// The pool's addresses of one family, cut in blocks.
    pub fn space(&self, family: Family) -> Result<Space, SpaceError> {
        let ranges_of = |nets: &[IpNet]| -> Vec<Range> {
            nets.iter().map(|net| Range::of_net(*net)).filter(|range| range.family() == family).collect()
        };
        Space::new(family, self.block_bits(family), &ranges_of(&self.subnets), &ranges_of(&self.exclude))
    }

    /// The offsets of a block that are never given, as inclusive runs: exclusions, what lies outside of the
    /// subnets, and gateway and broadcast address of a block that has them.
    pub fn unusable(&self, unit: Unit, space: &Space) -> Vec<(u32, u32)> {
        let mut runs = space.unusable_offsets(unit);
        if self.block_gateway == BlockGateway::First {
            let last = (1_u32 << unit.bits().min(Unit::MAX_BITS)) - 1;
            runs.push((0, 0));
            if unit.family() == Family::V4 {
                runs.push((last, last));
            }
        }
        merge(runs)
    }
}

fn merge(mut runs: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    runs.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(runs.len());
    for (first, last) in runs {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnets: &[&str]) -> Pool {
        Pool::of_subnets(subnets.iter().map(|text| text.parse().expect("subnet")).collect())
    }

    #[test]
    fn what_is_refused() {
        for (pool, reason) in [
            (pool(&[]), "no subnet"),
            (pool(&["10.0.0.1/16"]), "did you mean 10.0.0.0/16"),
            (pool(&["10.0.0.0/16", "10.0.4.0/24"]), "overlap"),
            (pool(&["10.0.0.0/29"]), "smaller than a block (/28)"),
            (pool(&["fd00::/126"]), "smaller than a block (/124)"),
            (Pool { block_size: 33, ..pool(&["10.0.0.0/16"]) }, "block_size 33 is not between 22 and 32"),
            (Pool { block_size: 21, ..pool(&["10.0.0.0/8"]) }, "block_size 21"),
            (
                Pool { block_size: 31, block_gateway: BlockGateway::First, ..pool(&["10.0.0.0/16"]) },
                "not between 22 and 30",
            ),
        ] {
            let error = pool.validate().expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
        pool(&["10.0.0.0/16", "10.1.0.0/28", "fd00::/64"]).validate().expect("valid");
    }

    #[test]
    fn a_block_with_a_gateway_keeps_its_ends() {
        let mut pool = pool(&["10.0.0.0/24", "fd00::/120"]);
        pool.block_gateway = BlockGateway::First;
        pool.exclude = vec!["10.0.0.1/32".parse().expect("net")];
        let space = pool.space(Family::V4).expect("space");
        let unit = Unit::containing("10.0.0.0".parse().expect("address"), 4);
        assert_eq!(pool.unusable(unit, &space), [(0, 1), (15, 15)]);
        let space = pool.space(Family::V6).expect("space");
        let unit = Unit::containing("fd00::".parse().expect("address"), 4);
        assert_eq!(pool.unusable(unit, &space), [(0, 0)]);
    }
}
