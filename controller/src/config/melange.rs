//! What operators choose of the tenants' API.

use crate::melange::{Generator, Settings};
use clap::Args;
use std::net::IpAddr;

/// Blocks and addresses of tenants.
#[derive(Debug, Clone, Args)]
pub struct MelangeConfig {
    /// For how many days an address that a tenant has deallocated can be restored, before it is given again
    #[arg(long, env = "COIL_KEEP_DEALLOCATED_IPS_DAYS", value_name = "DAYS", default_value_t = 2)]
    pub keep_deallocated_ips_days: u32,
    /// Name server of the blocks of tenants that are made without
    #[arg(long, env = "COIL_DNS1", value_name = "ADDRESS")]
    pub dns1: Option<IpAddr>,
    /// Second name server of the blocks of tenants that are made without
    #[arg(long, env = "COIL_DNS2", value_name = "ADDRESS")]
    pub dns2: Option<IpAddr>,
    /// How the IPv6 addresses of tenants are generated: `tenant` of the tenant's id and the MAC address, `eui64` of
    /// the MAC address alone (RFC 2462)
    #[arg(long, env = "COIL_IPV6_GENERATOR", value_name = "ALGORITHM", default_value = "tenant")]
    pub ipv6_generator: Generator,
}

impl MelangeConfig {
    /// What the use cases need of it.
    pub fn settings(&self) -> Settings {
        Settings {
            dns1: self.dns1,
            dns2: self.dns2,
            keep_deallocated_ips_days: self.keep_deallocated_ips_days,
            generator: self.ipv6_generator,
        }
    }
}
