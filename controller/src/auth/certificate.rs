//! Client certificates: the common name says who it is, and each organization `coil:ROLE` gives a role.

use super::Role;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Name and roles in the subject of a certificate (DER), which was verified already. Nothing if it can't be read.
/// A certificate of the right authority without a role is somebody who may do nothing.
pub(super) fn subject(certificate: &[u8]) -> Option<(String, Vec<Role>)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or_default();
    let organizations = subject.iter_organization().filter_map(|name| name.as_str().ok());
    let roles = organizations.filter_map(|name| name.strip_prefix("coil:")?.parse().ok()).collect();
    // A name is chosen by whoever asked for the certificate: it must not forge a line of the log.
    Some((format!("certificate {}", name.escape_debug()), roles))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn made(entries: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in entries {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().expect("key");
        params.self_signed(&key).expect("certificate").der().to_vec()
    }

    #[test]
    fn organizations_are_roles() {
        let (cn, o) = (DnType::CommonName, DnType::OrganizationName);
        for (entries, name, roles) in [
            (&[(cn.clone(), "alice"), (o.clone(), "coil:admin")][..], "certificate alice", vec![Role::Admin]),
            (
                &[(cn.clone(), "bob"), (o.clone(), "coil:namespace:a")],
                "certificate bob",
                vec![Role::Namespace("a".to_owned())],
            ),
            (&[(cn.clone(), "eve"), (o.clone(), "admin")], "certificate eve", vec![]),
            (&[(cn.clone(), "coil:admin")], "certificate coil:admin", vec![]),
            (&[(cn.clone(), "a\nb"), (o, "coil:root")], "certificate a\\nb", vec![]),
            (&[], "certificate ", vec![]),
        ] {
            assert_eq!(subject(&made(entries)), Some((name.to_owned(), roles)), "{entries:?}");
        }
        assert_eq!(subject(b"nonsense"), None);
    }
}
