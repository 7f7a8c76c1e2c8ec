//! Who sends a request, and what it may do.
//!
//! * [`role`]: what each role may do: the one place where that is decided
//! * [`tokens`]: bearer tokens, of which only the hashes are kept
//! * [`certificate`]: roles in client certificates (feature `tls`)

#[cfg(feature = "tls")]
mod certificate;
mod role;
mod tokens;

pub use role::{Action, BadRole, Owner, Role, Scope, allowed};
pub use tokens::{NewToken, Tokens, TokensError};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use common::server::{ClientCertificate, Peer};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name that the log knows: of the token, of the certificate, or of the process or address.
    pub name: String,
    /// Where the connection comes from.
    pub peer: Peer,
    /// What it may do is what one of these may do.
    pub roles: Vec<Role>,
    /// The request's id.
    pub request: String,
}

impl Caller {
    /// The controller itself, which acts by what somebody else says.
    pub fn itself(by: &str) -> Self {
        let (name, peer) = (format!("coil-controller, by {by}"), Peer::this_process());
        Self { name, peer, roles: Vec::new(), request: String::new() }
    }

    /// Whether it may do this to what belongs to the scope.
    pub fn may(&self, action: Action, owner: &Owner) -> bool {
        self.roles.iter().any(|role| role.may(action, owner))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why nobody is known to have sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// It brought nothing.
    #[error(
        "who are you? Send a token (`Authorization: Bearer …`; coilctl: --token-file or COIL_TOKEN), or show a client \
         certificate (coilctl: --cert and --key)"
    )]
    Anonymous,
    /// It brought a header that is no bearer token.
    #[error("the header Authorization must be `Bearer` and a token, once")]
    Malformed,
    /// It comes from a page of another site, in a browser on this machine.
    #[error(
        "without authentication, the headers Host and Origin must name this machine: localhost, 127.0.0.1 or [::1]"
    )]
    Elsewhere,
    /// It brought a token that is not in the file.
    #[error("the token is not known to this controller")]
    UnknownToken,
}

/// How callers are known.
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    /// The tokens, if there is a file of them.
    pub tokens: Option<watch::Receiver<Arc<Tokens>>>,
    /// Whether client certificates are asked for.
    pub certificates: bool,
}

impl Authentication {
    /// Who sends a request. A process at the other end of a unix socket is let in by the socket's permissions, as an
    /// admin; so is whoever reaches a TCP port while no authentication is configured, as that port is on loopback.
    pub fn identify(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> Result<(String, Vec<Role>), Unauthenticated> {
        match peer {
            Peer::Process { .. } => return Ok((peer.to_string(), vec![Role::Admin])),
            Peer::Tcp(_) if self.tokens.is_none() && !self.certificates => {
                let admin = || (peer.to_string(), vec![Role::Admin]);
                return is_from_here(headers).then(admin).ok_or(Unauthenticated::Elsewhere);
            }
            Peer::Tcp(_) => {}
            Peer::Unknown => return Err(Unauthenticated::Anonymous),
        }
        if headers.contains_key(header::AUTHORIZATION) {
            let tokens = self.tokens.as_ref().ok_or(Unauthenticated::UnknownToken)?;
            let token = bearer(headers).ok_or(Unauthenticated::Malformed)?;
            let tokens = Arc::clone(&tokens.borrow());
            let (name, role) = tokens.find(token).ok_or(Unauthenticated::UnknownToken)?;
            return Ok((format!("token {name}"), vec![role.clone()]));
        }
        match certificate {
            #[cfg(feature = "tls")]
            Some(certificate) => certificate::subject(&certificate.0).ok_or(Unauthenticated::Anonymous),
            _ => Err(Unauthenticated::Anonymous),
        }
    }
}

/// Whether the headers of a request to a port on loopback name this machine, if they are there. A browser sends what a
/// page of any site tells it to, also to loopback; but it says whose page it is, and what the page calls this machine.
fn is_from_here(headers: &HeaderMap) -> bool {
    let here = |authority: &str| match authority.parse::<Authority>() {
        Ok(authority) => {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        Err(_) => false,
    };
    let host = headers.get_all(header::HOST).iter().all(|host| host.to_str().is_ok_and(here));
    let of_origin = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| here(authority));
    host && headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(of_origin))
}

/// The token of the one header that there may be.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(values: &[&str]) -> HeaderMap {
        let pairs = values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value)));
        pairs.map(|(name, value)| (name, value.expect("header"))).collect()
    }

    fn with_tokens() -> (Authentication, String) {
        let new = NewToken::make("ci", "operator".parse().expect("role")).expect("random");
        let tokens = Tokens::parse(&new.entry()).expect("tokens");
        let (_, receiver) = watch::channel(Arc::new(tokens));
        (Authentication { tokens: Some(receiver), certificates: false }, new.token)
    }

    const TCP: Peer =
        Peer::Tcp(std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000));

    #[test]
    fn tokens_are_asked_for_on_tcp() {
        let (authentication, token) = with_tokens();
        let identify = |peer, values: &[&str]| authentication.identify(peer, &headers(values), None);
        let good = format!("Bearer {token}");
        let (name, roles) = identify(TCP, &[&good]).expect("known");
        assert_eq!((name.as_str(), roles), ("token ci", vec![Role::Operator]));
        assert_eq!(identify(TCP, &[]), Err(Unauthenticated::Anonymous));
        assert_eq!(identify(TCP, &["Bearer coil_0"]), Err(Unauthenticated::UnknownToken));
        assert_eq!(identify(TCP, &[&format!("Bearer {token}0")]), Err(Unauthenticated::UnknownToken));
        for bad in [&["Bearer "][..], &["Basic YTpi"], &[&token], &[&good, &good], &["Bearer"]] {
            assert_eq!(identify(TCP, bad), Err(Unauthenticated::Malformed), "{bad:?}");
        }
        assert_eq!(identify(Peer::Unknown, &[&good]), Err(Unauthenticated::Anonymous));
    }

    #[test]
    fn unix_sockets_and_open_loopback_are_for_admins() {
        let (authentication, _) = with_tokens();
        let process = Peer::Process { uid: 0, gid: 0, pid: Some(7) };
        let (name, roles) = authentication.identify(process, &headers(&[]), None).expect("known");
        assert_eq!((name.as_str(), roles), ("uid=0 gid=0 pid=7", vec![Role::Admin]));
        let (name, roles) =
            Authentication::default().identify(TCP, &headers(&["Bearer x"]), None).expect("known");
        assert_eq!((name.as_str(), roles), ("127.0.0.1:40000", vec![Role::Admin]));
    }

    #[test]
    fn pages_of_other_sites_are_not_admins() {
        for (name, value, from_here) in [
            (header::HOST, "127.0.0.1:9898", true),
            (header::HOST, "LocalHost", true),
            (header::HOST, "[::1]:9898", true),
            (header::HOST, "rebound.example:9898", false),
            (header::HOST, "10.0.0.1:9898", false),
            (header::HOST, "localhost.example", false),
            (header::HOST, "", false),
            (header::ORIGIN, "http://127.0.0.1:9898", true),
            (header::ORIGIN, "https://site.example", false),
            (header::ORIGIN, "null", false),
        ] {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
            let outcome = Authentication::default().identify(TCP, &headers, None);
            assert_eq!(outcome.is_ok(), from_here, "{name}: {value}: {outcome:?}");
        }
    }
}
