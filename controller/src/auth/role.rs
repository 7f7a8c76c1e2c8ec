//! Roles, and what each may do. This is the one place where that is decided; routes say what they do, and to what.

use std::fmt;
use std::str::FromStr;

/// What a caller is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Role {
    /// May do everything.
    Admin,
    /// May do everything that takes no address away from running containers.
    Operator,
    /// May read everything.
    Viewer,
    /// May read and change what belongs to one tenant.
    Tenant(String),
    /// May read and change what belongs to one namespace.
    Namespace(String),
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Shows something.
    Read,
    /// Changes something that nobody uses, or in a way that its users need not notice.
    Change,
    /// May take addresses away from containers that use them.
    Force,
}

/// To whom belongs what a request shows or changes, as its route knows before the request is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To the whole cluster.
    Cluster,
    /// To the namespace that this parameter of the path names.
    Namespace(&'static str),
    /// To the namespace that this field of the JSON body names.
    NamespaceInBody(&'static str),
    /// To the tenant that this parameter of the path names.
    Tenant(&'static str),
    /// To a tenant that only the use case knows, which asks once more.
    AnyTenant,
}

/// To whom belongs what a request shows or changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The whole cluster.
    Cluster,
    /// A namespace.
    Namespace(String),
    /// A tenant.
    Tenant(String),
    /// Some tenant.
    AnyTenant,
}

impl Role {
    /// Whether the role may do this to what belongs to that owner.
    pub fn may(&self, action: Action, owner: &Owner) -> bool {
        match (self, action) {
            (Self::Admin, _)
            | (Self::Operator, Action::Read | Action::Change)
            | (Self::Viewer, Action::Read) => true,
            (Self::Tenant(own), Action::Read | Action::Change) => {
                matches!(owner, Owner::Tenant(tenant) if tenant == own) || *owner == Owner::AnyTenant
            }
            (Self::Namespace(own), Action::Read | Action::Change) => {
                matches!(owner, Owner::Namespace(namespace) if namespace == own)
            }
            (Self::Operator | Self::Tenant(_) | Self::Namespace(_), Action::Force)
            | (Self::Viewer, Action::Change | Action::Force) => false,
        }
    }
}

/// The roles that may do something, for people: what a 403 and the description of a route say.
pub fn allowed(action: Action, scope: Scope) -> &'static str {
    match (action, scope) {
        (Action::Read, Scope::Cluster) => "admin, operator or viewer",
        (Action::Change, Scope::Cluster) => "admin or operator",
        (Action::Force, _) => "admin",
        (Action::Read, Scope::Namespace(_) | Scope::NamespaceInBody(_)) => {
            "admin, operator, viewer, or the namespace's own"
        }
        (Action::Change, Scope::Namespace(_) | Scope::NamespaceInBody(_)) => {
            "admin, operator, or the namespace's own"
        }
        (Action::Read, Scope::Tenant(_) | Scope::AnyTenant) => "admin, operator, viewer, or the tenant's own",
        (Action::Change, Scope::Tenant(_) | Scope::AnyTenant) => "admin, operator, or the tenant's own",
    }
}

/// A text is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role; there are admin, operator, viewer, tenant:NAME and namespace:NAME")]
pub struct BadRole(String);

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        let named = |name: &str| !name.is_empty() && !name.chars().any(char::is_control);
        match text.split_once(':') {
            None if text == "admin" => Ok(Self::Admin),
            None if text == "operator" => Ok(Self::Operator),
            None if text == "viewer" => Ok(Self::Viewer),
            Some(("tenant", name)) if named(name) => Ok(Self::Tenant(name.to_owned())),
            Some(("namespace", name)) if named(name) => Ok(Self::Namespace(name.to_owned())),
            _ => Err(BadRole(text.to_owned())),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::Operator => f.write_str("operator"),
            Self::Viewer => f.write_str("viewer"),
            Self::Tenant(name) => write!(f, "tenant:{name}"),
            Self::Namespace(name) => write!(f, "namespace:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every role × action × owner, written down once more.
    #[test]
    fn who_may_do_what() {
        let owners = [
            Owner::Cluster,
            Owner::Namespace("a".to_owned()),
            Owner::Namespace("b".to_owned()),
            Owner::Tenant("a".to_owned()),
            Owner::Tenant("b".to_owned()),
            Owner::AnyTenant,
        ];
        // Columns as above; r: read, c: change, f: force.
        for (role, may) in [
            ("admin", ["rcf", "rcf", "rcf", "rcf", "rcf", "rcf"]),
            ("operator", ["rc", "rc", "rc", "rc", "rc", "rc"]),
            ("viewer", ["r", "r", "r", "r", "r", "r"]),
            ("namespace:a", ["", "rc", "", "", "", ""]),
            ("tenant:a", ["", "", "", "rc", "", "rc"]),
        ] {
            let role: Role = role.parse().expect("role");
            for (owner, may) in owners.iter().zip(may) {
                for (letter, action) in [('r', Action::Read), ('c', Action::Change), ('f', Action::Force)] {
                    assert_eq!(role.may(action, owner), may.contains(letter), "{role} {action:?} {owner:?}");
                }
            }
        }
    }

    #[test]
    fn roles_have_one_spelling() {
        for text in ["admin", "operator", "viewer", "tenant:a b", "namespace:team-a", "namespace:a:b"] {
            assert_eq!(text.parse::<Role>().expect("role").to_string(), text);
        }
        for bad in
            ["", "Admin", "root", "tenant", "tenant:", "namespace:", "admin:", "viewer ", "namespace:a\n"]
        {
            assert!(bad.parse::<Role>().is_err(), "{bad:?}");
        }
    }
}
