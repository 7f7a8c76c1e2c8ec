//! The result of an earlier ADD, as the runtime gives it back in `prevResult`.

use crate::field::{Field, FieldError};
use ipnet::IpNet;
use std::net::IpAddr;

/// What CHECK needs of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrevResult {
    /// Interfaces, in the order of the result; an IPAM result has none.
    pub interfaces: Vec<PrevInterface>,
    /// Addresses with the index of their interface.
    pub ips: Vec<PrevIp>,
    /// Destinations of the routes.
    pub routes: Vec<IpNet>,
}

/// An interface of an earlier result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrevInterface {
    /// Its name.
    pub name: String,
    /// Path of its network namespace; absent on the host.
    pub sandbox: Option<String>,
}

/// An address of an earlier result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrevIp {
    /// The address with its prefix.
    pub address: IpNet,
    /// Index of its interface.
    pub interface: Option<usize>,
}

impl PrevResult {
    /// Reads a result of any version of the specification.
    pub fn parse(result: &Field<'_>) -> Result<Self, FieldError> {
        let list = |name| Ok(result.get(name)?.map(|list| list.items()).transpose()?.unwrap_or_default());
        let interfaces: Vec<PrevInterface> =
            list("interfaces")?.iter().map(interface).collect::<Result<_, _>>()?;
        let ips = list("ips")?.iter().map(|item| ip(item, interfaces.len())).collect::<Result<_, _>>()?;
        let routes =
            list("routes")?.iter().map(|item| item.require("dst")?.parse()).collect::<Result<_, _>>()?;
        Ok(Self { interfaces, ips, routes })
    }

    /// The addresses that belong to an interface in a container: those that name it, and those that name none.
    pub fn addresses_of<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
        let names = move |ip: &&PrevIp| match ip.interface.and_then(|at| self.interfaces.get(at)) {
            Some(named) => named.name == interface && named.sandbox.is_some(),
            None => true,
        };
        self.ips.iter().filter(names).map(|ip| ip.address.addr())
    }
}

fn interface(item: &Field<'_>) -> Result<PrevInterface, FieldError> {
    let sandbox = item.get("sandbox")?.map(|field| field.text()).transpose()?;
    Ok(PrevInterface {
        name: item.require("name")?.text()?.to_owned(),
        sandbox: sandbox.filter(|path| !path.is_empty()).map(str::to_owned),
    })
}

fn ip(item: &Field<'_>, interfaces: usize) -> Result<PrevIp, FieldError> {
    let index = |field: Field<'_>| {
        let at = field.value().as_u64().and_then(|at| usize::try_from(at).ok());
        let at = at.ok_or_else(|| field.kind("the index of an interface"))?;
        if at >= interfaces {
            return Err(field.invalid(format!("{at} is the index of none of the {interfaces} interfaces")));
        }
        Ok(at)
    };
    Ok(PrevIp {
        address: item.require("address")?.parse()?,
        interface: item.get("interface")?.map(index).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(value: &Value) -> Result<PrevResult, String> {
        let document = json!({ "prevResult": value });
        let field = Field::root(&document).require("prevResult").expect("there");
        PrevResult::parse(&field).map_err(|error| error.to_string())
    }

    #[test]
    fn results_of_all_versions() {
        let old = json!({
            "cniVersion": "0.4.0",
            "interfaces": [{"name": "veth0", "mac": "x"}, {"name": "eth0", "sandbox": "/run/netns/a"}],
            "ips": [{"version": "4", "address": "10.0.0.5/32", "gateway": "169.254.1.1", "interface": 1},
                    {"version": "6", "address": "fd00::5/128"},
                    {"version": "4", "address": "10.9.9.9/24", "interface": 0}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
            "dns": {}
        });
        let result = parse(&old).expect("valid");
        let of: Vec<String> = result.addresses_of("eth0").map(|address| address.to_string()).collect();
        assert_eq!(of, ["10.0.0.5", "fd00::5"]);
        assert_eq!(result.routes.len(), 1);
        assert!(parse(&json!({})).expect("empty").ips.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (result, message) in [
            (json!([]), "prevResult: [] is not an object"),
            (json!({"ips": {}}), "prevResult.ips: {} is not a list"),
            (json!({"ips": [{}]}), "prevResult.ips[0].address: missing"),
            (
                json!({"ips": [{"address": "10.0.0.5"}]}),
                "prevResult.ips[0].address: \"10.0.0.5\": invalid IP",
            ),
            (
                json!({"ips": [{"address": "10.0.0.5/32", "interface": 0}]}),
                "prevResult.ips[0].interface: 0 is",
            ),
            (
                json!({"ips": [{"address": "10.0.0.5/32", "interface": -1}]}),
                "prevResult.ips[0].interface: -1 is",
            ),
            (json!({"interfaces": [{"mac": ""}]}), "prevResult.interfaces[0].name: missing"),
            (json!({"routes": [{"gw": "10.0.0.1"}]}), "prevResult.routes[0].dst: missing"),
        ] {
            let error = parse(&result).expect_err(message);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
